"""What the launcher shows of a part that starts for long."""

from pathlib import Path

import pytest

from judgefree.launcher.board import last_line


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        (b"", ""),
        (b"one\ntwo\n\n", "two"),
        (b"model.safetensors:  10%\rmodel.safetensors:  20%", "model.safetensors:  20%"),
        (b"x" * 5000 + b"\nthe end\n", "the end"),
        ("caf\u00e9\n".encode()[:-2], "caf\ufffd"),
    ],
)
def test_the_last_line_of_a_log(tmp_path: Path, log: bytes, shown: str) -> None:
    (tmp_path / "mllm.log").write_bytes(log)
    assert last_line(tmp_path / "mllm.log") == shown
