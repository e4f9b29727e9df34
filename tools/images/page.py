"""The table of docs/containers.md, from benchmarks/results/images.json: python -m tools.images.page puts it there."""

import json
import re
from pathlib import Path
from typing import Any

from tools.images import dockerfile
from tools.images.dockerfile import ROOT

PAGE = ROOT / "docs" / "containers.md"
RESULT = ROOT / "benchmarks" / "results" / "images.json"
_HEAD = "| image | Dockerfile | distributions | MB | seconds until it is ready |"
_TABLE = re.compile(rf"{re.escape(_HEAD)}\n(?:\|.*\n)+")


def main() -> None:
    PAGE.write_text(_TABLE.sub(lambda _: table(RESULT), PAGE.read_text()))


def table(result: Path) -> str:
    """The table in Markdown, largest image first."""
    images: dict[str, dict[str, Any]] = json.loads(result.read_text())["images"]
    rows = [_HEAD, re.sub(r"[^|]+", " --- ", _HEAD)]
    for path, found in sorted(images.items(), key=lambda item: -item[1]["bytes"]):
        title = dockerfile.read(path).labels["org.opencontainers.image.title"].removeprefix("judgefree ")
        size, ready = round(found["bytes"] / 10**6), found["ready_s"]
        rows.append(f"| {title} | `{path}` | {found['distributions']} | {size:,} | {ready:.1f} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
