"""What containers run is there: an image of ours, its entry point, and arguments that this takes."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from functools import cache

import pytest
import typer
from accelerate.commands.launch import launch_command_parser

from judgefree.cli import app
from tests.k8s.conftest import Rendered
from tests.k8s.rendering import ROOT, Object, Render
from trainer.__main__ import COMMANDS as TRAINER
from trainer.recipe import Recipe
from workers.mllm.__main__ import parse as parse_mllm

DOCKERFILES = {
    "judgefree/gateway": "service/Dockerfile",
    "judgefree/verifier": "workers/clip/Dockerfile",
    "judgefree/mllm-cpu": "workers/mllm/Dockerfile.cpu",
    "judgefree/mllm-gpu": "workers/mllm/Dockerfile.gpu",
    "judgefree/trainer": "trainer/Dockerfile",
    "judgefree/loadtest": "loadtests/Dockerfile",
}
FOREIGN = {
    "docker.io/valkey/valkey": ["valkey-server"],
    "docker.io/library/postgres": ["postgres", "pg_isready"],
}
PACKAGES = "/app/lib/python3.11/site-packages/"


def _image(container: Object) -> str:
    name: str = container["image"].rpartition(":")[0]
    return name


def _entry_point(image: str) -> list[str]:
    [found] = re.findall(r"^ENTRYPOINT (.*)$", (ROOT / DOCKERFILES[image]).read_text(), re.MULTILINE)
    words: list[str] = json.loads(found)
    return words


def words(container: Object) -> list[str]:
    """What is run: the command, or the image's entry point, with the arguments; of a script, its line of Python."""
    command: list[str] = container.get("command") or _entry_point(_image(container))
    if command[0] == "sh":
        script = command[2].replace("\\\n", " ")
        return next((line.rstrip(" &").split() for line in script.splitlines() if line.startswith("python -P -m")), [])
    return [*command, *container.get("args", [])]


def check(said: Sequence[str]) -> None:
    """Raises where the program, or an argument, is not there."""
    if said[0] == "accelerate":
        launched = launch_command_parser().parse_args(
            [word.replace("$(JOB_COMPLETION_INDEX)", "0") for word in said[2:]]
        )
        assert launched.module
        said = ["python", "-P", "-m", launched.training_script, *launched.training_script_args]
    assert list(said[:3]) in (["python", "-P", "-m"], ["python3", "-P", "-m"])
    module, arguments = said[3], list(said[4:])
    match module:
        case "service" | "workers.clip":
            assert arguments == []
        case "workers.mllm":
            assert parse_mllm(arguments)[1] == [], "what judgefree does not know goes to vLLM, and may be wrong"
        case "trainer":
            assert arguments[0] in TRAINER
            Recipe.read(arguments[1:])
        case "loadtests":
            assert {word for word in arguments if word.startswith("--")} <= _flags_of_load_tests()
        case "judgefree":
            _check_judgefree(arguments)
        case _:
            raise AssertionError(f"no entry point {module}")


@cache
def _flags_of_load_tests() -> set[str]:
    """As it says them itself: locust makes cooperative whatever imports it."""
    told = subprocess.run([sys.executable, "-m", "loadtests", "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"^  (--[\w-]+)", told.stdout, re.MULTILINE))


def _check_judgefree(arguments: list[str]) -> None:
    group = typer.main.get_command(app)
    command = group.commands[arguments[0]]  # type: ignore[attr-defined]
    context = command.make_context(arguments[0], arguments[1:])
    assert context.args == []


def test_images_are_ours_or_known(each: Render) -> None:
    for pod in each.pods:
        for container in pod.containers:
            assert _image(container) in {**DOCKERFILES, **FOREIGN}, pod.owner
            if _image(container) in DOCKERFILES:
                assert (ROOT / DOCKERFILES[_image(container)]).is_file()


def test_images_are_of_this_version(each: Render) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ours = {container["image"] for pod in each.pods for container in pod.containers if _image(container) in DOCKERFILES}
    assert {image.rpartition(":")[2] for image in ours} == {version}


@pytest.mark.parametrize("render", ["kind-cpu + all that can be added", "gpu", "gpu-large"])
def test_commands_are_there_and_take_their_arguments(render: str, rendered: Rendered) -> None:
    checked = 0
    for pod in rendered(render).pods:
        for container in pod.containers:
            if _image(container) in DOCKERFILES and (said := words(container)):
                check(said)
                checked += 1
    assert checked >= 6


@pytest.mark.parametrize(
    "said",
    [
        ["python", "-P", "-m", "trainer", "trian"],
        ["python", "-P", "-m", "trainer", "train", "--beeta", "1"],
        ["python", "-P", "-m", "judgefree", "migrate", "--now"],
        ["python", "-P", "-m", "judgefree", "improve", "--rounds", "0"],
        ["python", "-P", "-m", "loadtests", "--workers"],
        ["python", "-P", "-m", "gateway"],
        ["accelerate", "launch", "--config", "fsdp.yaml", "--module", "trainer", "train", "--name"],
    ],
)
def test_a_mistake_is_found(said: list[str]) -> None:
    with pytest.raises((AssertionError, KeyError, SystemExit, typer.exceptions.TyperException)):
        check(said)


def test_accelerates_configuration_is_in_the_image(rendered: Rendered) -> None:
    [pod] = [pod for pod in rendered("gpu-large").pods if pod.kind == "JobSet"]
    [flag] = [word for word in pod.spec["containers"][0]["command"] if word.startswith("--config_file=")]
    path = flag.partition("=")[2]
    assert path.startswith(PACKAGES)
    assert (ROOT / path.removeprefix(PACKAGES)).is_file()
    assert _entry_point("judgefree/trainer")[0] == "python"
    assert "python -m venv --without-pip /app" in (ROOT / DOCKERFILES["judgefree/trainer"]).read_text()
    assert "python:3.11" in (ROOT / DOCKERFILES["judgefree/trainer"]).read_text()


def test_images_write_where_volumes_are(each: Render) -> None:
    """What an image declares is a volume of the pod: its root cannot be written."""
    for pod in each.pods:
        for container in pod.spec["containers"]:
            if _image(container) in DOCKERFILES:
                [declared] = re.findall(r"^VOLUME (.*)$", (ROOT / DOCKERFILES[_image(container)]).read_text(), re.M)
                mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
                assert set(json.loads(declared)) - mounted == set(), pod.owner


def test_users_are_the_images_own(each: Render) -> None:
    for pod in each.pods:
        if _image(pod.spec["containers"][0]) in DOCKERFILES:
            text = (ROOT / DOCKERFILES[_image(pod.spec["containers"][0])]).read_text()
            security = pod.spec["securityContext"]
            assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in text
