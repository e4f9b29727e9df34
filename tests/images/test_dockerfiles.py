"""What every Dockerfile promises; hadolint holds the rest."""

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tools.images import dockerfile
from tools.images.dockerfile import DOCKERFILES, ROOT, Image
from tools.images.page import PAGE, RESULT, table

LABELS = {"title", "description", "licenses", "source", "revision", "version"}
PORTS = {
    "service/Dockerfile": "8080",
    "workers/clip/Dockerfile": "8081",
    "workers/mllm/Dockerfile.cpu": "8000",
    "workers/mllm/Dockerfile.gpu": "8000",
}
"""The servers' default ports; the other images hold programs that end."""


LIBRARIES = {"workers/mllm/Dockerfile.cpu": ["libnuma1"]}
"""Of Debian's, what the base image lacks and a wheel asks for."""


@pytest.fixture(params=DOCKERFILES)
def image(request: pytest.FixtureRequest) -> Image:
    return dockerfile.read(request.param)


@pytest.fixture(params=[path for path in DOCKERFILES if not path.endswith(".gpu")])
def own_image(request: pytest.FixtureRequest) -> Image:
    """An image that is not made from vLLM's."""
    return dockerfile.read(request.param)


def test_there_are_no_others() -> None:
    tracked = subprocess.run(["git", "ls-files", "*Dockerfile*"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(tracked.stdout.split()) == set(DOCKERFILES)


def test_hadolint_finds_nothing() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "hadolint", *DOCKERFILES], cwd=ROOT, capture_output=True, text=True
    )
    assert (linted.returncode, linted.stdout) == (0, "")


def test_it_runs_as_a_user_by_number_who_is_not_root(image: Image) -> None:
    assert image.user == (10001, 10001)
    assert image.final[-3].keyword == "USER"  # nothing is run or copied after it


def test_its_labels_are_filled(image: Image) -> None:
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in image.labels.items()}
    assert labels.keys() == LABELS
    assert all(labels.values())
    license_name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]
    assert labels["licenses"] == license_name
    assert {labels[name] for name in ("source", "revision", "version")} == {"${SOURCE}", "${REVISION}", "${VERSION}"}


def test_its_bases_have_versions(image: Image) -> None:
    bases = [image.defaults[re.sub(r"[${}]", "", stage[0].text.split()[0])] for stage in image.stages]
    for base in bases:
        _, _, tag = base.partition(":")
        assert re.search(r"\d+\.\d+", tag), base


def test_its_entry_point_is_a_program_of_ours_in_exec_form(image: Image) -> None:
    assert image.entrypoint[1:3] == ["-P", "-m"]
    assert find_spec(f"{image.module}.__main__") is not None
    assert image.every("CMD") == []


def test_a_server_says_its_port_and_is_asked_for_its_health_there(image: Image) -> None:
    port = PORTS.get(image.path)
    if port is None:
        assert image.health_check is None
        return
    assert image.health_check is not None
    assert image.one("EXPOSE").text == port
    assert f", {port})" in image.health_check[-1]
    assert "/health" in image.health_check[-1]


def test_its_writable_places_are_volumes_of_its_users(image: Image) -> None:
    assert {"/data", "/tmp"} <= set(image.volumes) <= {"/data", "/tmp", "/cache"}
    made = next(one.text for one in image.every("RUN") if "install --directory" in one.text)
    assert {*made.split("10001")[-1].split()} == {*image.volumes} - {"/tmp"}
    inside = [value for value in image.environment.values() if value.startswith("/") and ":" not in value]
    assert all(value.startswith(tuple(image.volumes)) for value in inside)
    assert image.environment["JUDGEFREE_DATA_DIR"] == "/data"


def test_its_final_stage_has_what_the_build_stage_made_and_no_tools(own_image: Image) -> None:
    assert [one.text for one in own_image.every("COPY")] == ["--from=build /app /app"]
    assert not any(re.search(r"\b(pip|gcc|make|curl|git)\b", one.text) for one in own_image.every("RUN"))
    assert own_image.system_packages == LIBRARIES.get(own_image.path, [])
    assert own_image.base == "python:3.11-slim-bookworm"


def test_it_leaves_no_cache_of_pip(image: Image) -> None:
    calls = [call for stage in image.stages for one in stage for call in one.text.split("&&") if " pip " in call]
    assert calls
    assert all("--no-cache-dir" in call for call in calls)


def test_it_installs_the_makefiles_torch_where_its_part_needs_one(image: Image) -> None:
    wanted = re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert wanted is not None
    given = [one.text for one in image.stages[0] if one.keyword == "ARG" and one.text.startswith("TORCH=")]
    needs_torch = image.module in ("workers.clip", "trainer") or image.path.endswith("mllm/Dockerfile.cpu")
    assert given == ([f"TORCH={wanted[1]}"] if needs_torch else [])


def test_the_gpu_image_is_vllms_own_of_the_version_that_is_tested() -> None:
    image = dockerfile.read("workers/mllm/Dockerfile.gpu")
    [pinned] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["mllm-gpu"]
    assert image.base == f"vllm/vllm-openai:v{pinned.removeprefix('vllm==')}"


def test_the_page_has_the_table_that_the_tool_makes_of_the_result_file() -> None:
    assert table(RESULT) in PAGE.read_text()
