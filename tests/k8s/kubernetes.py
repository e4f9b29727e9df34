"""Kubernetes' own schemas, as kubernetes-validate ships them, each read once: its `validate` reads megabytes a call."""

import re
from functools import cache

import jsonschema
from kubernetes_validate.utils import all_versions, schema_contents
from referencing import Registry, Resource
from referencing.jsonschema import Schema, SchemaRegistry

from tests.k8s.rendering import Object


def complaint(one: Object, version: str) -> str | None:
    """What Kubernetes `version` would say of the object, strictly: a field that it does not know is wrong too."""
    try:
        validator = _validator(version, one["kind"].lower(), one["apiVersion"])
    except FileNotFoundError:
        return f"Kubernetes {version} knows no {one['kind']} in {one['apiVersion']}"
    error = jsonschema.exceptions.best_match(validator.iter_errors(one))
    return None if error is None else f"{error.json_path}: {error.message}"


@cache
def _validator(version: str, kind: str, api_version: str) -> jsonschema.Draft202012Validator:
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = schema_contents(f"kubernetes-json-schema/{_folder(version)}/{kind}-{group}.json", version)
    return jsonschema.Draft202012Validator(schema, registry=Resource.from_contents(schema) @ _definitions(version))


@cache
def _definitions(version: str) -> SchemaRegistry:
    empty: Registry[Schema] = Registry()
    return (
        Resource.from_contents(schema_contents(f"kubernetes-json-schema/{_folder(version)}/_definitions.json", version))
        @ empty
    )


def _folder(version: str) -> str:
    [release] = {one for one in all_versions() if one.startswith(f"{version}.")}
    return f"v{release}-local-strict"
