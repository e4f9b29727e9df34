"""Each image's dependency set, proven: with it alone, its process works as its own user on a read-only file system.

Together they are a deployment on a real Valkey, PostgreSQL and S3 server: a load test makes pairs, and the trainer
trains on them.
"""

import json
import re
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.images.conftest import GATEWAY, LOADTEST, TRAINER, Collector, MakeContainer, Serving
from tests.mllm.client import client_of
from tests.mllm.server import MllmServer
from tools.images import dockerfile, tree
from tools.images.container import Container, obstacle

BASE_LIBRARIES = {
    "ld-linux-x86-64", "libbz2", "libc", "libcrypt", "libcrypto", "libdl", "libffi", "libgcc_s", "liblzma", "libm",
    "libnsl", "libnss_files", "libpthread", "libresolv", "librt", "libsqlite3", "libssl", "libstdc++", "libtirpc",
    "libutil", "libuuid", "libz",
}  # fmt: skip
"""Of Debian's shared libraries, what python:3.11-slim-bookworm has because its interpreter or apt asks for it."""
OPTIONAL_LIBRARIES = {"libfribidi"}
"""Pillow uses it for text where it is there, and does without."""
POSTERS = 8
PROFILE = f"""
[brief]
load = "closed"
shape = {{ kind = "steady", level = {POSTERS}, duration_s = 8, warm_up_s = 1 }}
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
    installed = {name.rstrip("0123456789") for name in server.container.image.system_packages}
    assert loaded - BASE_LIBRARIES - OPTIONAL_LIBRARIES == installed


async def test_the_model_answers_twins_alike(mllm: Serving) -> None:
    async with client_of(MllmServer(mllm.url, "demo")) as client:
        grounded, blind = await client.ask_pair(Image.new("RGB", (48, 48), "red"), 0.5, max_tokens=16)
    assert grounded.token_ids
    assert grounded.token_ids == blind.token_ids


def test_every_pair_of_a_load_test_is_there_once(load: Container) -> None:
    summary = json.loads((load.volume("/data") / "loadtest" / "summary.json").read_text())
    assert summary["passed"]
    assert summary["integrity"]["accepted"] >= POSTERS


def test_traces_of_the_pairs_come_from_every_part(load: Container, collector: Collector) -> None:
    deadline = time.monotonic() + 60
    awaited = (b"judgefree-gateway", b"judgefree-verifier", b"llm_request")  # the last one is vLLM's name for its part
    while missing := [one for one in awaited if not any(one in body for body in collector.received)]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.2)


def test_the_trainer_trains_on_the_pairs_of_the_deployment(
    make_container: MakeContainer, environment: dict[str, str], load: Container
) -> None:
    container = make_container(TRAINER)
    flags = ["--name", "first", "--steps", "1", "--batch-size", "2", "--least", "2", "--workers", "0"]
    status, said = container.run([*container.image.entrypoint, "train", *flags], environment)
    assert status == 0, said
    assert (container.volume("/data") / "adapters" / "first" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    "words", [["-c", "import judgefree.improvement.rounds"], ["-m", "accelerate.commands.launch", "--help"]]
)
def test_the_trainers_image_has_what_improvement_and_several_nodes_need(
    words: list[str], make_container: MakeContainer
) -> None:
    status, said = make_container(TRAINER).run(["python", "-P", *words], {})
    assert status == 0, said


def test_the_load_test_refuses_a_gateway_that_is_not_there(make_container: MakeContainer) -> None:
    container = make_container(LOADTEST)
    status, said = container.run([*container.image.entrypoint, "--host", "http://127.0.0.1:1"], {})
    assert (status, said) == (2, "judgefree: No gateway that is ready is at http://127.0.0.1:1: no answer.\n")


def test_an_image_that_lacks_a_dependency_does_not_start(package: Path, tmp_path: Path) -> None:
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    image = dockerfile.read(GATEWAY)
    lacking = tree.grow(tmp_path / "app", tree.names(image) - {"python-multipart"}, package)
    status, said = Container(image, lacking, tmp_path / "container").run(image.entrypoint, {})
    assert (status, said.splitlines()[-1]) == (1, "ModuleNotFoundError: No module named 'python_multipart'")
