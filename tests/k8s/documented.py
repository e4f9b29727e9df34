"""What docs/deployment.md tells a platform engineer: its commands, the Secrets that they make, overlays to write,
tables."""

import re
import shlex
from typing import Any

import yaml

from tests.k8s.rendering import ROOT

PAGE = ROOT / "docs" / "deployment.md"
YOURS = ("yours", "yours-loadtest")
"""The overlays that the page has its reader write."""


def commands() -> list[list[str]]:
    """Each command of the page's shell blocks, as words."""
    lines = "".join(_blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if shlex.split(line, comments=True)]


def overlays() -> dict[str, str]:
    """The kustomization of each of YOURS, word for word. Raises ValueError where the page has more or fewer."""
    whole = [text for text in _blocks("yaml") if _is_whole(yaml.safe_load(text))]
    return dict(zip(YOURS, whole, strict=True))


def secrets() -> dict[str, dict[str, str]]:
    """Of each Secret that the page has made by hand, its keys with what stands for their values."""
    found: dict[str, dict[str, str]] = {}
    for words in commands():
        if words[:2] == ["kubectl", "create"] and "secret" in words:
            name = words[words.index("secret") + 2]
            pairs = [word.partition("=")[2].partition("=") for word in words if word.startswith("--from-literal=")]
            found[name] = {key: value for key, _, value in pairs}
    return found


def table(header: str) -> list[list[str]]:
    """The cells of the table whose header begins so."""
    lines = [line.strip() for line in PAGE.read_text().splitlines()]
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def _is_whole(found: dict[str, Any]) -> bool:
    return "resources" in found
