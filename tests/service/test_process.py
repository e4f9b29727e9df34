"""`python -m service` as a process: it starts, serves, and ends in order; a mistake of a person's is one sentence."""

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.conftest import free_port
from tests.processes import ROOT, running_part


def _environment(valkey_url: str, folder: Path) -> dict[str, str]:
    return {
        "JUDGEFREE_REDIS_URL": valkey_url,
        "JUDGEFREE_NAMESPACE": f"test-{uuid4().hex}",
        "JUDGEFREE_DATA_DIR": str(folder / "data"),
        "JUDGEFREE_MLLM_URL": f"http://127.0.0.1:{free_port()}",
    }


def test_it_serves_until_it_is_told_to_end(valkey_url: str, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running_part(
        "service", ["--port", str(port)], _environment(valkey_url, tmp_path), f"{url}/healthz", tmp_path / "log"
    ) as gateway:
        assert httpx.get(f"{url}/readyz").json() == {"status": "away", "away": ["model"]}
        page, probed = httpx.get(url), httpx.head(url)
        assert (probed.status_code, probed.content) == (200, b"")
        assert probed.headers["content-length"] == page.headers["content-length"] == str(len(page.content))
        assert gateway.end() == 0
    assert "Traceback" not in gateway.log.read_text()


@pytest.mark.parametrize(
    ("setting", "value", "status", "told"),
    [
        ("JUDGEFREE_PORT", "http", 2, "setting port = 'http' (from JUDGEFREE_PORT)"),
        ("JUDGEFREE_REDIS_URL", "redis://127.0.0.1:1/0", 3, "The queue cannot be reached"),
        ("JUDGEFREE_DATABASE_URL", "postgresql+psycopg://127.0.0.1:1/none", 3, "The store cannot be read"),
    ],
)
def test_what_keeps_it_from_starting_is_told(
    valkey_url: str, tmp_path: Path, setting: str, value: str, status: int, told: str
) -> None:
    environment = _environment(valkey_url, tmp_path) | {setting: value, "JUDGEFREE_CONFIG": ""}
    ended = subprocess.run(
        [sys.executable, "-m", "service"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == status
    assert told in ended.stderr
