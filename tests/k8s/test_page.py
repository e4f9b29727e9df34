"""docs/deployment.md says what is there: overlays, components, Secrets, images, folders."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.k8s.conftest import NAMES, OVERLAYS, Rendered
from tests.k8s.documented import PAGE, commands, secrets
from tests.k8s.rendering import K8S, ROOT
from tests.k8s.test_commands import DOCKERFILES

_BY_THE_READER = {"k8s/overlays/gpu-loadtest"}
"""Overlays that the page has its reader make."""


def _rows(header: str) -> list[list[str]]:
    """The cells of the table whose header begins so."""
    lines = PAGE.read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def _ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _kustomization(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found


def test_the_overlays_are_made_of_what_the_page_says() -> None:
    told = {overlay: (_ticked(base), _ticked(components)) for names, base, components in _rows("overlay")
            for overlay in _ticked(names)}  # fmt: skip
    there = {}
    for path in sorted((K8S / "overlays").rglob("kustomization.yaml")):
        read = _kustomization(path.parent)
        bases = [one.partition("base")[2] for one in read["resources"] if "base" in one]
        components = [Path(one).name for one in read["components"]]
        there[str(path.parent.relative_to(K8S / "overlays"))] = ([f"base{one}" for one in bases], components)
    assert told == there


def test_every_component_is_on_the_page() -> None:
    told = {name for row in _rows("component") for name in _ticked(row[0])}
    assert told == {path.name for path in (K8S / "components").iterdir()}


def test_every_overlay_is_tested() -> None:
    assert set(OVERLAYS) == {path.name for path in (K8S / "overlays").iterdir()}


def test_folders_in_commands_are_there() -> None:
    flags = ("-k", "--file", "--filename")
    named = {word for words in commands() for flag, word in pairwise(words) if flag in flags}
    assert len(named) >= 6
    assert {word for word in named - _BY_THE_READER if not (ROOT / word).exists()} == set()


def test_images_are_built_from_their_files() -> None:
    built = {words[3].partition(":")[0]: words[5] for words in commands() if words[:2] == ["docker", "build"]}
    assert built.items() <= DOCKERFILES.items()
    assert {"judgefree/gateway", "judgefree/verifier", "judgefree/mllm-cpu", "judgefree/trainer"} == set(built)


def test_the_page_makes_every_secret_and_no_other(rendered: Rendered) -> None:
    asked: dict[str, set[str]] = {"postgres-owner": {"username", "password"}}
    for render in map(rendered, ("gpu", "gpu-large")):
        for pod in render.pods:
            for container in pod.containers:
                for variable in container.get("env", []):
                    if secret := variable.get("valueFrom", {}).get("secretKeyRef"):
                        asked.setdefault(secret["name"], set()).add(secret["key"])
        for monitor in render.of("PodMonitor"):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                if secret := endpoint.get("authorization", {}).get("credentials"):
                    asked.setdefault(secret["name"], set()).add(secret["key"])
    assert {name: set(keys) for name, keys in secrets().items()} == asked
    assert secrets()["judgefree"]["metrics-key"] in secrets()["judgefree"]["api-keys"].split()
    assert {key for row in _rows("key") for key in _ticked(row[0])} == asked["judgefree"]


@pytest.mark.parametrize("name", [name for name in NAMES if "postgres-single" not in name and "kind" not in name])
def test_the_database_of_the_page_is_the_one_that_is_made(name: str, rendered: Rendered) -> None:
    [cluster] = rendered(name).of("Cluster")
    initdb = cluster["spec"]["bootstrap"]["initdb"]
    owner, password = secrets()["postgres-owner"]["username"], secrets()["postgres-owner"]["password"]
    place = f"{cluster['metadata']['name']}-rw:5432/{initdb['database']}"
    assert secrets()["judgefree"]["database-url"] == f"postgresql+psycopg://{owner}:{password}@{place}"
    assert owner == initdb["owner"]
    assert secrets()["postgres-owner"].keys() == {"username", "password"}
