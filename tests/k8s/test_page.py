"""docs/deployment.md says what is there: overlays, components, Secrets, images, folders."""

import re
import subprocess
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.k8s.conftest import NAMES, OVERLAYS, Rendered, copy_shipped
from tests.k8s.documented import PAGE, YOURS, commands, secrets, table
from tests.k8s.rendering import K8S, ROOT, Object, Render, where
from tests.k8s.test_commands import DOCKERFILES

_BY_THE_READER = {f"k8s/overlays/{name}" for name in YOURS}


def _ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


_UNITS = {"m": 1e-3, "Mi": 1 / 1024, "Gi": 1.0, "": 1.0}
"""Cores and GiB."""


def _sum(of: Render, kind: str, what: str) -> float:
    """Of all that runs for ever, with its replicas."""
    found = 0.0
    for one in of.of("Deployment", "StatefulSet"):
        for container in one["spec"]["template"]["spec"]["containers"]:
            [(number, unit)] = re.findall(r"^([\d.]+)(\D*)$", container["resources"][kind][what])
            found += one["spec"].get("replicas", 1) * float(number) * _UNITS[unit]
    return found


def _settings(of: Render) -> Object:
    [found] = [one["data"] for one in of.of("ConfigMap") if one["metadata"]["name"].startswith("settings-")]
    read: Object = found
    return read


def _kustomization(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found


def test_the_overlays_are_made_of_what_the_page_says() -> None:
    told = {overlay: (_ticked(base), _ticked(components)) for names, base, components in table("overlay")
            for overlay in _ticked(names)}  # fmt: skip
    there = {}
    for path in sorted(path for name in OVERLAYS for path in (K8S / "overlays" / name).rglob("kustomization.yaml")):
        read = _kustomization(path.parent)
        bases = [one.partition("base")[2] for one in read["resources"] if "base" in one]
        components = [Path(one).name for one in read["components"]]
        there[str(path.parent.relative_to(K8S / "overlays"))] = ([f"base{one}" for one in bases], components)
    assert told == there


def test_every_component_is_on_the_page() -> None:
    told = {name for row in table("component") for name in _ticked(row[0])}
    assert told == {path.name for path in (K8S / "components").iterdir()}


def test_every_overlay_is_tested() -> None:
    tracked = subprocess.run(["git", "ls-files", "k8s/overlays"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(OVERLAYS) == {Path(path).parts[2] for path in tracked.stdout.splitlines()}


def test_the_readers_overlays_are_neither_tested_nor_committed(tmp_path: Path) -> None:
    for name in (*OVERLAYS, *YOURS):
        (tmp_path / "k8s" / "overlays" / name).mkdir(parents=True)
    copy_shipped(tmp_path / "k8s", tmp_path / "copied")
    assert {path.name for path in (tmp_path / "copied" / "overlays").iterdir()} == set(OVERLAYS)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert [any(fnmatch(f"/k8s/overlays/{name}/", line) for line in ignored) for name in YOURS] == [True] * len(YOURS)
    assert not any(fnmatch(f"/k8s/overlays/{name}/", line) for name in OVERLAYS for line in ignored)


def test_folders_in_commands_are_there() -> None:
    flags = ("-k", "--file", "--filename")
    named = {word for words in commands() for flag, word in pairwise(words) if flag in flags}
    assert len(named) >= 6
    assert {word for word in named - _BY_THE_READER if not (ROOT / word).exists()} == set()


def test_what_is_applied_to_gpus_is_the_readers_own_overlay() -> None:
    applied = [words[words.index("-k") + 1] for words in commands() if "-k" in words]
    assert set(applied) == {"k8s/overlays/kind-cpu", *_BY_THE_READER}


def test_commands_say_the_namespace() -> None:
    """What a YAML says for itself, and forms of `kubectl` that know no namespace, are left out."""
    asking = [words for words in commands() if words[0] == "kubectl" and words[1] not in ("apply", "kustomize")]
    assert [words for words in asking if "--namespace" not in words and words[:3] != ["kubectl", "create", "-f"]] == []
    inline = re.findall(r"`(kubectl (?:rollout|scale|get|delete|create|wait)[^`]*)`", PAGE.read_text())
    assert [command for command in inline if "--namespace judgefree" not in command] == []


@pytest.mark.parametrize("name", YOURS)
def test_all_of_the_readers_overlays_lies_in_the_namespace(name: str, rendered: Rendered) -> None:
    cluster_wide = {"Namespace"}
    there = [one for one in rendered(name).objects if one["kind"] not in cluster_wide]
    assert [where(one) for one in there if one["metadata"].get("namespace") != "judgefree"] == []


def test_the_readers_overlay_has_a_host_a_bucket_a_region_and_a_class_for_shared_volumes(rendered: Rendered) -> None:
    yours, stock = rendered("yours"), rendered("gpu")
    [ingress] = yours.of("Ingress")
    [rule], [tls] = ingress["spec"]["rules"], ingress["spec"]["tls"]
    assert [rule["host"]] == tls["hosts"] != ["pairs.example.org"]
    for name in ("JUDGEFREE_BLOB_URL", "JUDGEFREE_SNAPSHOT_URL", "AWS_DEFAULT_REGION"):
        assert _settings(yours)[name] != _settings(stock)[name]
    assert {one["spec"].get("storageClassName") for one in yours.of("PersistentVolumeClaim")} == {"your-shared-class"}
    [exported] = [words[1] for words in commands() if words[0] == "export" and "JUDGEFREE_BLOB_URL" in words[1]]
    assert exported == f"JUDGEFREE_BLOB_URL={_settings(yours)['JUDGEFREE_BLOB_URL']}"


def test_a_load_test_leaves_the_readers_overlay_as_it_is(rendered: Rendered) -> None:
    tested = {(one["kind"], one["metadata"]["name"]): one for one in rendered("yours-loadtest").objects}
    yours = {(one["kind"], one["metadata"]["name"]): one for one in rendered("yours").objects}
    assert {key: tested.get(key) for key in yours} == yours


def test_images_are_built_from_their_files() -> None:
    built = {words[3].partition(":")[0]: words[5] for words in commands() if words[:2] == ["docker", "build"]}
    assert built.items() <= DOCKERFILES.items()
    assert {"judgefree/gateway", "judgefree/verifier", "judgefree/mllm-cpu", "judgefree/trainer"} == set(built)


def test_images_for_gpus_have_the_names_under_which_they_run() -> None:
    told = {image: file for names, files in table("image") for image in _ticked(names) for file in _ticked(files)}
    assert told == {image: file for image, file in DOCKERFILES.items() if image != "judgefree/mllm-cpu"}


def test_what_kube_prometheus_stack_wants_is_said_where_it_is_installed_and_nowhere_else() -> None:
    [values] = re.findall(r"^   ```yaml\n(.*?)^   ```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    said = yaml.safe_load(values)
    taken = said["prometheus"]["prometheusSpec"]
    assert taken == {"podMonitorSelectorNilUsesHelmValues": False, "ruleSelectorNilUsesHelmValues": False}
    assert said["grafana"]["sidecar"]["dashboards"] == {"searchNamespace": "ALL"}
    assert [page.name for page in PAGE.parent.glob("*.md") if "NilUsesHelmValues" in page.read_text()] == [PAGE.name]


def test_the_laptop_is_told_what_the_parts_ask_for_and_may_take(rendered: Rendered) -> None:
    [told] = re.findall(
        r"ask for ([\d.]+) cores and ([\d.]+) GiB, and may take ([\d.]+) cores and ([\d.]+) GiB",
        " ".join(PAGE.read_text().split()),
    )
    there = rendered("kind-cpu")
    assert [float(number) for number in told] == pytest.approx(
        [_sum(there, kind, what) for kind in ("requests", "limits") for what in ("cpu", "memory")]
    )


def test_jobs_that_are_waited_for_are_deleted_when_the_page_says(rendered: Rendered) -> None:
    waited = {word.removeprefix("job/") for words in commands() for word in words
              if words[:2] == ["kubectl", "wait"] and word.startswith("job/")}  # fmt: skip
    left = {one["metadata"]["name"]: one["spec"]["ttlSecondsAfterFinished"] for one in rendered("yours").of("Job")}
    assert {name: left[name] for name in waited} == {"pull-models": 3600, "migrate": 3600}
    assert "`pull-models` and `migrate` are deleted an hour after they ended" in PAGE.read_text()


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
    assert {key for row in table("key") for key in _ticked(row[0])} == asked["judgefree"]


@pytest.mark.parametrize("name", [name for name in NAMES if "postgres-single" not in name and "kind" not in name])
def test_the_database_of_the_page_is_the_one_that_is_made(name: str, rendered: Rendered) -> None:
    [cluster] = rendered(name).of("Cluster")
    initdb = cluster["spec"]["bootstrap"]["initdb"]
    owner, password = secrets()["postgres-owner"]["username"], secrets()["postgres-owner"]["password"]
    place = f"{cluster['metadata']['name']}-rw:5432/{initdb['database']}"
    assert secrets()["judgefree"]["database-url"] == f"postgresql+psycopg://{owner}:{password}@{place}"
    assert owner == initdb["owner"]
    assert secrets()["postgres-owner"].keys() == {"username", "password"}
