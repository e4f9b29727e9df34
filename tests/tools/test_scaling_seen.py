"""What a full vLLM makes: Prometheus sees what the simulation sees, and what is seen holds the number that it takes."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.observability.promql import promtool
from tools.scaling.autoscaler import Scaling, Trigger
from tools.scaling.cluster import FULL_S, GATEWAY, LOOK_S, MLLM, SCRAPE_S, SEEN_S, STILL_S, VERIFIER, simulate
from tools.scaling.manifests import documents
from tools.scaling.measured import read
from tools.scaling.page import ENVIRONMENT, MANIFESTS, RESULTS

[SCALED] = documents(MANIFESTS / "mllm.yaml", "ScaledObject")
[SEEN] = [one["metadata"] for one in SCALED["spec"]["triggers"] if one["name"] == "filled"]
CAPACITY = read(RESULTS, ENVIRONMENT).capacity
ONE = CAPACITY.generated_per_s
BY_WHAT_IS_SEEN = {
    GATEWAY: Scaling(GATEWAY, (Trigger("jobs", 1e9),), least=2, most=2),
    MLLM: Scaling(MLLM, (Trigger("filled", 0.9, over_s=120),), least=1, most=8),
    VERIFIER: Scaling(VERIFIER, (Trigger("candidates", 1e9),), least=4, most=4),
}
"""vLLMs by nothing else; enough of the others."""
THERE = "72x160"


def said(
    folder: Path,
    at: str,
    expected: list[float],
    lag: str,
    first: str = THERE,
    second: str = THERE,
    made: str = "0+300x160",
) -> None:
    """Fails unless the query is worth `expected` when 30 pairs/s come and two vLLMs make 20; a value each 15 s."""
    series = {
        'judgefree_pairs_admitted_total{namespace="judgefree", pod="g"}': "0+450x160",
        'judgefree_pairs_generated_total{namespace="judgefree", pod="g"}': made,
        'judgefree_queue_lag{namespace="judgefree", stream="jobs", pod="g"}': lag,
        'judgefree_queue_lag{namespace="judgefree", stream="candidates", pod="g"}': "9x160",
        'vllm:num_requests_running{namespace="judgefree", pod="a"}': first,
        'vllm:num_requests_running{namespace="judgefree", pod="b"}': second,
    }
    samples = [{"labels": "{}", "value": value} for value in expected]
    case = {
        "interval": f"{SCRAPE_S}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": SEEN["query"], "eval_time": at, "exp_samples": samples}],
    }
    (folder / "case.yaml").write_text(yaml.safe_dump({"tests": [case]}), encoding="utf-8")
    promtool("test", "rules", "case.yaml", folder=folder)


def test_the_query_looks_as_often_and_as_far_as_the_simulation() -> None:
    query = SEEN["query"]

    assert f"[{FULL_S // 60}m:{SCRAPE_S}s]" in query
    assert f"[{STILL_S // 60}m:{SCRAPE_S}s]" in query
    assert f"[{SEEN_S // 3600}h:{LOOK_S // 60}m]" in query


@pytest.mark.parametrize(("at", "expected"), [("4m", []), ("9m", [3.0]), ("38m", [3.0])])
def test_what_comes_is_told_in_full_vllms_while_jobs_wait_and_from_then_on(
    tmp_path: Path, at: str, expected: list[float]
) -> None:
    said(tmp_path, at, expected, lag="0x19 500x19 0x120")


def test_jobs_that_wait_for_less_than_two_minutes_show_nothing(tmp_path: Path) -> None:
    said(tmp_path, "20m", [], lag="0x19 500x5 0x130")


def test_a_vllm_that_came_less_than_three_minutes_before_shows_nothing(tmp_path: Path) -> None:
    """Jobs wait from the fifth minute to the ninth, and the vLLM comes in the seventh."""
    said(tmp_path, "20m", [], lag="0x19 500x15 0x120", second="_x27 72x130")


@pytest.mark.parametrize(("at", "expected"), [("7m", []), ("8m", []), ("12m", [3.0])])
def test_the_first_vllm_is_one_that_came(tmp_path: Path, at: str, expected: list[float]) -> None:
    """No vLLM is there for six minutes while jobs wait; of the first two, one minute's rate is not what they make."""
    there, made = "_x25 72x130", "0x25 15+300x130"
    said(tmp_path, at, expected, lag="500x160", first=there, second=there, made=made)


def test_a_lag_that_was_told_for_less_than_two_minutes_shows_nothing(tmp_path: Path) -> None:
    """vLLMs are there all along; the gateways that tell the lag come in the fifth minute, and jobs wait for one."""
    said(tmp_path, "20m", [], lag="_x19 500x4 0x130")


def test_vllms_that_make_nothing_while_jobs_wait_are_not_divided_by(tmp_path: Path) -> None:
    said(tmp_path, "20m", [], lag="500x160", made="7x160")


@pytest.mark.parametrize("rate", [0.5, 0.75, 1.5])
def test_what_is_seen_holds_the_number_that_it_takes_whatever_a_vllm_makes(rate: float) -> None:
    """Three and a half times what one makes want four at nine tenths."""
    capacity = replace(CAPACITY, generated_per_s=rate * ONE)

    outcome = simulate((3.5 * rate * ONE,) * 7200, capacity, BY_WHAT_IS_SEEN)

    assert outcome.replicas(MLLM)[-1] == 4
    assert outcome.changes(MLLM) <= 3
    assert outcome.turns(MLLM) == 0
    assert outcome.seconds[-1].jobs_lag == 0


def test_nothing_is_seen_of_vllms_that_were_never_full() -> None:
    outcome = simulate((0.7 * ONE,) * 3600, CAPACITY, BY_WHAT_IS_SEEN)

    assert set(outcome.replicas(MLLM)) == {1}


def test_what_was_seen_is_forgotten_after_six_hours() -> None:
    busy, calm = (3.5 * ONE,) * 3600, (0.95 * ONE,) * (SEEN_S + 3600)

    replicas = simulate(busy + calm, CAPACITY, BY_WHAT_IS_SEEN).replicas(MLLM)

    assert replicas[SEEN_S - 1] == 2
    assert replicas[-1] == 1
