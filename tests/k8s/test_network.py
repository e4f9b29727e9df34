"""The policies let through what the settings need and nothing else, between all pods and to what is outside."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.k8s.conftest import Rendered
from tests.k8s.flows import Direction, allowed, concerned, needed
from tests.k8s.rendering import Object, Render
from tests.k8s.secrets import values

DIRECTIONS: tuple[Direction, ...] = ("Egress", "Ingress")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_just_what_is_needed_is_let_through(direction: Direction, each: Render) -> None:
    let, need = allowed(each, direction), concerned(needed(each, values(each)), direction)
    assert sorted(need - let) == [], "needed, and not let through"
    assert sorted(let - need) == [], "let through, and not needed"


def _policy(of: Render, name: str) -> Any:
    return next(one for one in of.of("NetworkPolicy") if one["metadata"]["name"] == name)["spec"]


def _any_port(spec: Object) -> None:
    spec["ingress"][0].pop("ports")


_MISTAKES: dict[str, Callable[[Render], Any]] = {
    "the gateway reaches no Valkey": lambda of: _policy(of, "gateway")["egress"].pop(0),
    "Valkey listens to all": lambda of: _policy(of, "valkey")["ingress"][0]["from"].append({"podSelector": {}}),
    "vLLM on any port": lambda of: _any_port(_policy(of, "mllm")),
    "the store's port is another": lambda of: _policy(of, "database")["egress"][0]["ports"][0].update(port=5433),
    "the metadata service": lambda of: _policy(of, "images")["egress"][0]["to"][0]["ipBlock"].pop("except"),
    "another namespace's gateway": lambda of: _policy(of, "valkey")["ingress"][0]["from"][0].update(
        namespaceSelector={}
    ),
    "no certificate comes": lambda of: _policy(of, "acme-solver")["ingress"].clear(),
    "nothing is denied": lambda of: _policy(of, "default-deny").update(podSelector={"matchLabels": {"no": "pod"}}),
}


@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_mistake_is_found(mistake: str, rendered: Rendered) -> None:
    broken = Render("broken", copy.deepcopy(rendered("gpu").objects))
    _MISTAKES[mistake](broken)
    need = needed(broken, values(broken))
    assert any(allowed(broken, direction) != concerned(need, direction) for direction in DIRECTIONS)
