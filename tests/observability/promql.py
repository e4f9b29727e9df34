"""What an expression of PromQL asks for: its selectors, and the labels that it groups by."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([A-Za-z_:][\w:]*)\s*\{([^}]*)\}")
_LABEL = re.compile(r"([A-Za-z_]\w*)\s*(?:=~|!~|!=|=)")
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_LOOKS_LIKE_A_METRIC = re.compile(r"\b(?:judgefree_\w+|vllm:\w+|process_\w+|kubelet_\w+|up)\b")
_LABELS_OF_OURS = re.compile(r"judgefree_io_shard")


def complaints(expression: str, exposed: dict[str, set[str]]) -> Iterator[str]:
    """What the expression asks for that is not there."""
    bare = _STRINGS.sub('""', expression)
    selectors = [(name, _LABEL.findall(labels)) for name, labels in _SELECTOR.findall(bare)]
    there: set[str] = set()
    for name, labels in selectors:
        if name not in exposed:
            yield f"no metric {name}"
            continue
        there |= exposed[name]
        yield from (f"{name} has no label {label}" for label in labels if label not in exposed[name])
    for labels in _GROUPED.findall(bare):
        wanted = [label.strip() for label in labels.split(",") if label.strip()]
        yield from (f"no metric here has a label {label}" for label in wanted if label not in there)
    outside = _GROUPED.sub("", _SELECTOR.sub("", bare))
    named = set(_LOOKS_LIKE_A_METRIC.findall(outside)) - set(_LABELS_OF_OURS.findall(outside))
    yield from (f"{name} is used without braces" for name in sorted(named))
    if not selectors:
        yield "it asks for no metric"


def promtool(*words: str | Path, folder: Path | None = None) -> str:
    """What promtool says; fails the test where it complains, skips it where there is none."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; apt's package prometheus has it")
    ended = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
