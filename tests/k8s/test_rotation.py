"""What docs/deployment.md has typed for another password or key reaches all that read it, and agrees with itself."""

import json
import re

import pytest

from tests.k8s.conftest import Rendered
from tests.k8s.documented import commands, secrets
from tests.k8s.rendering import Render, where
from tests.k8s.selecting import matches

RENDERS = ("gpu", "gpu-large", "base + gpu + postgres-single + s3")


def _patched() -> dict[str, dict[str, str]]:
    """The keys of each Secret that the page has changed, with what stands for their new values."""
    return {
        words[3]: json.loads(word.removeprefix("--patch="))["stringData"]
        for words in commands()
        for word in words
        if words[:3] == ["kubectl", "patch", "secret"] and word.startswith("--patch=")
    }


def _restarted() -> list[str]:
    return [word.removeprefix("--selector=") for words in commands() for word in words
            if words[:3] == ["kubectl", "rollout", "restart"] and word.startswith("--selector=")]  # fmt: skip


def _reading(render: Render, secret: str, keys: set[str]) -> set[str]:
    """The Deployments of which a pod has one of these keys of the Secret in its environment."""
    return {
        pod.owner
        for pod in render.pods
        if pod.kind == "Deployment"
        for container in pod.containers
        for variable in container.get("env", [])
        if (source := variable.get("valueFrom", {}).get("secretKeyRef"))
        if source["name"] == secret and source["key"] in keys
    }


@pytest.mark.parametrize("name", RENDERS)
def test_all_that_read_a_changed_secret_are_started_again_and_nothing_else(name: str, rendered: Rendered) -> None:
    selectors = _restarted()
    assert len(selectors) == 2
    for secret in ("judgefree-s3", "judgefree"):
        reading = _reading(rendered(name), secret, set(_patched()[secret]))
        for selector in selectors:
            [(key, values)] = re.findall(r"^(\S+) in \(([\w, ]+)\)$", selector)
            wanted = {"matchExpressions": [{"key": key, "operator": "In", "values": values.split(", ")}]}
            selected = {where(one) for one in rendered(name).of("Deployment")
                        if matches(wanted, one["metadata"].get("labels", {}))}  # fmt: skip
            assert selected == reading


def test_what_is_changed_is_what_was_made() -> None:
    made, changed = secrets(), _patched()
    assert set(changed) == {"judgefree", "judgefree-s3", "postgres-owner"}
    assert {name: set(keys) - set(made[name]) for name, keys in changed.items()} == {name: set() for name in changed}
    assert set(changed["judgefree-s3"]) == set(made["judgefree-s3"])


def test_the_databases_password_is_the_same_in_both_secrets(rendered: Rendered) -> None:
    old, new = (each["postgres-owner"]["password"] for each in (secrets(), _patched()))
    was, becomes = (each["judgefree"]["database-url"] for each in (secrets(), _patched()))
    assert new != old
    assert becomes == was.replace(f":{old}@", f":{new}@")
    [cluster] = rendered("gpu").of("Cluster")
    assert cluster["spec"]["bootstrap"]["initdb"]["secret"]["name"] == "postgres-owner"
    [label] = [words for words in commands() if words[:2] == ["kubectl", "label"]]
    assert label[2:4] == ["secret", "postgres-owner"]
    assert label[-1] == "cnpg.io/reload=true"


def test_the_single_databases_password_is_changed_in_its_pod(rendered: Rendered) -> None:
    render = rendered("base + gpu + postgres-single + s3")
    [single] = [one for one in render.of("StatefulSet") if one["metadata"]["name"] == "postgres"]
    [container] = single["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    [words] = [words for words in commands() if "psql" in words]
    assert "postgres-0" in words
    assert f"--username={environment['POSTGRES_USER']}" in words
    assert f"--dbname={environment['POSTGRES_DB']}" in words
    new = _patched()["postgres-owner"]["password"]
    assert words[-1] == f"--command=ALTER ROLE {environment['POSTGRES_USER']} PASSWORD '{new}'"
