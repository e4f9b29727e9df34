"""Every object is one that Kubernetes, or the operator that it is for, takes."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.k8s.conftest import NAMES, Rendered
from tests.k8s.kubernetes import complaint
from tests.k8s.rendering import Object, Render, where

CRDS = Path(__file__).parent / "crds"
VERSIONS = ("1.32", "1.34", "1.37")


@pytest.fixture(scope="session")
def distinct(rendered: Rendered) -> list[Object]:
    """Each object of all renders once: most are in many."""
    return list({json.dumps(one, sort_keys=True): one for name in NAMES for one in rendered(name).objects}.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_on_kubernetes(distinct: list[Object], version: str) -> None:
    for one in distinct:
        for own in [one] if crd(one) is None else jobs_within(one):
            assert complaint(own, version) is None, where(one)


def test_every_custom_resource_is_valid_by_its_own_schema(distinct: list[Object]) -> None:
    customs = [(one, crd(one)) for one in distinct]
    for one, schema in customs:
        if schema is not None:
            jsonschema.validate(one, schema, jsonschema.Draft202012Validator)
    assert {f"{one['kind']}" for one, schema in customs if schema is not None} == {path.stem for path in CRDS.iterdir()}


def test_an_object_has_one_name_of_its_kind(each: Render) -> None:
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in each.objects]
    assert len(names) == len(set(names))


def test_every_object_is_in_the_namespace(each: Render) -> None:
    places = {one["metadata"].get("namespace") for one in each.objects if one["kind"] != "Namespace"}
    assert places == {"judgefree"}
    assert each.names("Namespace") == {"judgefree"}


@pytest.mark.parametrize("path", sorted(CRDS.glob("*.json")), ids=lambda path: path.stem)
def test_a_schema_of_ours_is_closed(path: Path) -> None:
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert open_objects(schema) == []


def jobs_within(one: Object) -> list[Object]:
    """The Jobs that a JobSet would make."""
    templates = [job["template"] for job in one["spec"].get("replicatedJobs", [])]
    return [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"{one['metadata']['name']}-{index}"},
            **template,
        }
        for index, template in enumerate(templates)
    ]


def crd(one: Object) -> Any:
    """Our schema for a custom resource; None for a kind of Kubernetes' own."""
    group = one["apiVersion"].rpartition("/")[0]
    is_own = "." not in group or (group.endswith(".k8s.io") and not group.startswith("jobset.x-"))
    return None if is_own else _schema(one["kind"])


@cache
def _schema(kind: str) -> Any:
    return json.loads((CRDS / f"{kind}.json").read_text())


def open_objects(schema: Any, path: str = "") -> list[str]:
    """Where a schema takes properties that it does not name."""
    if isinstance(schema, list):
        return [found for index, one in enumerate(schema) for found in open_objects(one, f"{path}/{index}")]
    if not isinstance(schema, dict):
        return []
    is_open = schema.get("type") == "object" and "additionalProperties" not in schema
    below = [found for key, one in schema.items() for found in open_objects(one, f"{path}/{key}")]
    return [path, *below] if is_open else below
