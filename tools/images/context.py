"""The build context: which files of the repository `.dockerignore` lets through to a builder."""

import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tools.images.dockerfile import ROOT


def files(root: Path = ROOT) -> Iterator[Path]:
    """The paths from `root` of the files in its context, as a builder reads `.dockerignore`: the last pattern that
    matches a file or a folder above it decides."""
    rules = [line for line in (root / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    let_in = {line[1:].split("/")[0] for line in rules if line.startswith("!")}
    for name in sorted(let_in):
        yield from _below(root, Path(name), rules)


def _below(root: Path, path: Path, rules: list[str]) -> Iterator[Path]:
    whole = root / path
    if whole.is_file():
        if not _is_left_out(path, rules):
            yield path
        return
    for folder, _, names in os.walk(whole):
        inside = Path(folder).relative_to(root)
        yield from (inside / name for name in sorted(names) if not _is_left_out(inside / name, rules))


def copy(folder: Path, root: Path = ROOT) -> None:
    """Copy the context into `folder`."""
    for path in files(root):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, folder / path)


def _is_left_out(path: Path, rules: list[str]) -> bool:
    names = [str(path), *(str(folder) for folder in path.parents if folder != Path())]
    left_out = False
    for rule in rules:
        if any(_expression(rule.removeprefix("!")).fullmatch(name) for name in names):
            left_out = not rule.startswith("!")
    return left_out


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    tokens = re.findall(r"\*\*/?|\*|\?|\[[^]]*\]|.", pattern.strip("/"))
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meanings.get(one, one if one.startswith("[") else re.escape(one)) for one in tokens))
