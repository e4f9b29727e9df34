"""Each image's dependency set, proven: with it alone, its process works as its own user on a read-only file system.

Together they are a deployment on a real Valkey, PostgreSQL and S3 server: a load test makes pairs, and the trainer
trains on them.
"""

import json
import re
import sys
from pathlib import Path

import httpx
import pytest

from tests.images.conftest import GATEWAY, LOADTEST, TRAINER, MakeContainer, Serving
from tools.images.container import Container

BASE_LIBRARIES = {
    "ld-linux-x86-64", "libbz2", "libc", "libcrypt", "libcrypto", "libdl", "libffi", "libgcc_s", "liblzma", "libm",
    "libnsl", "libnss_files", "libpthread", "libresolv", "librt", "libsqlite3", "libssl", "libstdc++", "libtirpc",
    "libutil", "libuuid", "libz",
}  # fmt: skip
"""Of Debian's shared libraries, what python:3.11-slim-bookworm has because its interpreter or apt asks for it."""
PROFILE = """
[brief]
load = "closed"
shape = { kind = "steady", level = 6, duration_s = 6, warm_up_s = 1 }
[brief.thresholds]
max_failed_pairs = 0
max_error_share = 0
"""
pytestmark = pytest.mark.timeout(900)  # the first test that needs the model waits for all that is started before it
SERVERS = ["gateway", "verifier", "mllm"]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Serving:
    served: Serving = request.getfixturevalue(request.param)
    return served


@pytest.fixture(scope="session")
def load(make_container: MakeContainer, gateway: Serving, verifier: Serving) -> Container:
    """The load test's container, after a load test of the gateway's has passed."""
    container = make_container(LOADTEST)
    container.prepare()
    (container.volume("/data") / "profiles.toml").write_text(PROFILE)
    asked = ["--host", gateway.url, "--profiles", "/data/profiles.toml", "--profile", "brief"]
    status, said = container.run([*container.image.entrypoint, *asked], {})
    assert status == 0, said + gateway.part.tail() + verifier.part.tail()
    return container


def test_the_gateways_image_makes_the_stores_tables(migrated: str) -> None:
    assert migrated.startswith("The store went from version 0 to ")


def test_its_own_health_check_passes(server: Serving) -> None:
    command = server.container.image.health_check
    assert command is not None
    assert server.container.run(command, server.environment) == (0, "")


def test_a_health_check_fails_where_nothing_answers(make_container: MakeContainer) -> None:
    container = make_container(GATEWAY)
    command = container.image.health_check
    assert command is not None
    assert container.run(command, {"JUDGEFREE_PORT": "1"})[0] != 0


def test_it_runs_as_a_user_without_any_right(server: Serving) -> None:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{server.part.process.pid}/status").read_text().splitlines()
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_it_can_write_to_its_volumes_and_nowhere_else(server: Serving) -> None:
    container = server.container
    places = ["/", "/app", "/app/lib/python3.11/site-packages/pairs", "/etc", "/usr/lib", *container.image.volumes]
    script = 'for place; do if touch "$place/written" 2>/dev/null; then echo "$place"; fi; done'
    status, said = container.run(["sh", "-c", script, "sh", *places], {})
    assert (status, said.split()) == (0, container.image.volumes)


def test_it_loads_no_shared_library_that_its_base_image_lacks(server: Serving, load: Container) -> None:
    mapped = Path(f"/proc/{server.part.process.pid}/maps").read_text()
    root = re.escape(str(server.container.folder / "root"))
    loaded = set(re.findall(rf"{root}(?!/app/|{sys.base_prefix}/)\S*/([^/\s]+?)\.so\S*$", mapped, re.MULTILINE))
    assert "libc" in loaded
    assert loaded - BASE_LIBRARIES == set()


def test_twins_are_answered_alike(mllm: Serving) -> None:
    fields = {"model": "demo", "temperature": 0, "max_tokens": 16}
    messages = [{"role": "user", "content": "Describe the image."}]
    answer = httpx.post(f"{mllm.url}/v1/chat/completions", json=fields | {"messages": messages}, timeout=60)
    assert answer.json()["choices"][0]["message"]["content"]


def test_every_pair_of_a_load_test_is_there_once(load: Container) -> None:
    summary = json.loads((load.volume("/data") / "loadtest" / "summary.json").read_text())
    assert summary["passed"]
    assert summary["integrity"]["accepted"] >= 8


def test_the_trainer_trains_on_the_pairs_of_the_deployment(
    make_container: MakeContainer, environment: dict[str, str], load: Container
) -> None:
    container = make_container(TRAINER)
    flags = [
        "--name",
        "first",
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--least",
        "2",
        "--lora-rank",
        "4",
        "--workers",
        "0",
    ]
    status, said = container.run([*container.image.entrypoint, "train", *flags], environment, timeout_s=240)
    assert status == 0, said
    assert (container.volume("/data") / "adapters" / "first" / "adapter_model.safetensors").is_file()


def test_the_load_test_refuses_a_gateway_that_is_not_there(make_container: MakeContainer) -> None:
    container = make_container(LOADTEST)
    status, said = container.run([*container.image.entrypoint, "--host", "http://127.0.0.1:1"], {})
    assert (status, said) == (2, "judgefree: No gateway that is ready is at http://127.0.0.1:1: no answer.\n")
