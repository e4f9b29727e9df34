"""What a part's log says to a person."""

import json
from pathlib import Path

import pytest

from judgefree.launcher.logs import doing, reason_in, tail, telling


def entry(event: str, level: str = "info", **more: object) -> str:
    return json.dumps({"event": event, "level": level, "part": "verifier", "timestamp": "2030-01-01T00:00:00Z"} | more)


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        (b"", ""),
        (b"one\ntwo\n\n", "two"),
        (b"model.safetensors:  10%\rmodel.safetensors:  20%", "model.safetensors:  20%"),
        (b"x" * 50_000 + b"\nthe end\n", "the end"),
        ("caf\u00e9\n".encode()[:-2], "caf\ufffd"),
        (entry("loading").encode() + b"\n", "loading"),
        (b"one\n" + entry("slow", "warning").encode() + b"\n", "one"),
        (b"one\n(EngineCore pid=7) WARNING 11-28 05:06:22 [cpu.py:1] no triton\n", "one"),
        (b"one\nW1128 05:06:15.528000 7 torch/triton.py:53] no triton\n[W1128 05:06:15.5 utils.cpp:68] NUMA\n", "one"),
        (b"one\n/lib/x.py:138: FutureWarning: old\n  if hasattr(value):\n", "one"),
    ],
)
def test_what_a_part_does_is_its_last_line_that_is_no_warning(tmp_path: Path, log: bytes, shown: str) -> None:
    (tmp_path / "mllm.log").write_bytes(log)
    assert doing(tail(tmp_path / "mllm.log", 0)) == shown


@pytest.mark.parametrize(("now", "shown"), [("stopped\n", ""), ("stopped\nstarting\n", "starting"), ("new\n", "new")])
def test_only_what_was_written_since_the_start_is_read(tmp_path: Path, now: str, shown: str) -> None:
    """The last log is shorter than where the start was: it was begun anew."""
    log = tmp_path / "verifier.log"
    log.write_text(now)
    assert doing(tail(log, len("stopped\n"))) == shown


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], []),
        (["one", "two", "three", "four"], ["two", "three", "four"]),
        ([entry("up"), entry("up again")], ["up", "up again"]),
        (
            [entry("the store is away", "warning", store="sqlite", tries=2), entry("up")],
            ["the store is away: store sqlite, tries 2"],
        ),
        ([entry("failed", "error", exception="Traceback:\n  here\nOSError: no disk")], ["failed: OSError: no disk"]),
        (["Traceback (most recent call last):", "    go()", "ValueError: no", "INFO: bye"], ["ValueError: no"]),
    ],
)
def test_of_a_dead_part_the_warnings_and_errors_are_told_or_else_the_last_lines(
    lines: list[str], told: list[str]
) -> None:
    assert telling(lines, 3) == told


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], None),
        (["There is no model here."], "There is no model here."),
        ([entry("the model is damaged", "error")], "the model is damaged"),
        (["  raise OSError(", "OSError: no network", "See the manual."], "OSError: no network"),
        (
            ["(APIServer pid=7) RuntimeError: the engine failed", " - leaked function"],
            "RuntimeError: the engine failed",
        ),
        (["a.b.FirstError: one", "during its handling:", "SecondError: two"], "SecondError: two"),
    ],
)
def test_the_reason_is_the_last_exception_or_else_the_last_line(lines: list[str], reason: str | None) -> None:
    assert reason_in(lines) == reason
