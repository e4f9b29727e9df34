"""What the simulation promises of any trace; that the shipped ScaledObjects do not flap; and that the page says so."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.scaling.__main__ import main
from tools.scaling.autoscaler import Scaling, Trigger
from tools.scaling.cluster import GATEWAY, MLLM, PARTS, VERIFIER, Capacity, Outcome, simulate
from tools.scaling.manifests import read_folder
from tools.scaling.measured import read
from tools.scaling.page import ENVIRONMENT, MANIFESTS, RESULTS, ROOT, Study, files, study
from tools.scaling.thresholds import fitted, target
from tools.scaling.traces import SHOWN, poisson, steady

CAPACITY = Capacity(
    paired_per_s=140,
    generated_per_s=20,
    in_flight=48,
    verified_per_s=90,
    concurrency=24,
    ahead=8,
    seats=64,
    held=96,
    start_s={GATEWAY: 3, MLLM: 60, VERIFIER: 10},
)
SHIPPED = read_folder(MANIFESTS)
FITTED = {name: fitted(one, CAPACITY) for name, one in SHIPPED.items()}
ROOM = 0.95 * SHIPPED[MLLM].most * CAPACITY.generated_per_s
"""Pairs a second that all replicas together keep up with."""

stretches = st.lists(st.tuples(st.floats(0, 3 * ROOM), st.integers(1, 600)), min_size=1, max_size=4)


def trace(parts: Sequence[tuple[float, int]]) -> tuple[float, ...]:
    return tuple(rate for rate, seconds in parts for _ in range(seconds))


def silence(seconds: int) -> tuple[float, ...]:
    return (0.0,) * seconds


def fixed(part: str, replicas: int) -> Scaling:
    """So many replicas, whatever happens."""
    return Scaling(part, (Trigger("jobs lag", 1e9),), least=replicas, most=replicas)


def manned(gateways: int, mllms: int, verifiers: int) -> dict[str, Scaling]:
    return {GATEWAY: fixed(GATEWAY, gateways), MLLM: fixed(MLLM, mllms), VERIFIER: fixed(VERIFIER, verifiers)}


@settings(max_examples=20)
@given(stretches)
def test_what_came_is_done_or_waits_at_every_second_and_replicas_stay_in_their_bounds(
    parts: list[tuple[float, int]],
) -> None:
    came = done = 0.0
    for one in simulate(trace(parts), CAPACITY, FITTED).seconds:
        came, done = came + one.arrived, done + one.done
        assert came == pytest.approx(done + one.in_work)
        assert 0 <= one.jobs_lag <= one.jobs + 1e-9
        assert 0 <= one.candidates_lag <= one.candidates + 1e-9
        for name, scaling in FITTED.items():
            assert scaling.least <= one.replicas[name] <= scaling.most
            assert one.ready[name] <= scaling.most


@settings(max_examples=8)
@given(stretches)
def test_when_nothing_comes_any_more_all_is_done_and_the_fewest_are_left(parts: list[tuple[float, int]]) -> None:
    busy = trace(parts)
    rest_s = round(sum(busy) / ROOM) + 3600

    last = simulate(busy + silence(rest_s), CAPACITY, FITTED).seconds[-1]

    assert last.in_work < 1e-6
    assert last.replicas == {GATEWAY: SHIPPED[GATEWAY].least, MLLM: SHIPPED[MLLM].least, VERIFIER: 0}


@settings(max_examples=8)
@given(st.floats(0, ROOM))
def test_the_same_load_for_long_enough_changes_nothing(rate: float) -> None:
    outcome = simulate((rate,) * 5400, CAPACITY, FITTED)

    assert all(outcome.changes(part, 3600) == 0 for part in PARTS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("replicas", [0.5, 0.8, 1.0, 1.6, 2.4, 4.0, 6.0])
def test_a_steady_load_with_its_chance_does_not_go_up_and_down(replicas: float, seed: int) -> None:
    """Also where arrivals are as many as one replica more, or fewer, is wanted for."""
    arrivals = steady(replicas * CAPACITY.generated_per_s, 7200, seed)

    outcome = simulate(arrivals, CAPACITY, FITTED)

    assert all(outcome.turns(part, 5400) == 0 for part in PARTS)


@settings(max_examples=8)
@given(st.floats(1, ROOM / 2))
def test_twice_the_load_ends_in_no_fewer_replicas_and_no_longer_queue_than_it_can_hold(rate: float) -> None:
    once, twice = (simulate((one,) * 3600, CAPACITY, FITTED).seconds[-1] for one in (rate, 2 * rate))

    assert all(twice.replicas[part] >= once.replicas[part] for part in PARTS)
    assert twice.jobs_lag == 0


def test_a_replica_does_what_was_measured_when_as_many_pairs_are_in_flight() -> None:
    two, one = (simulate((1000.0,) * 60, CAPACITY, manned(gateways, 1, 1)) for gateways in (2, 1))

    assert [second.generated for second in two.seconds[5:]] == pytest.approx([20.0] * 55)
    assert [second.generated for second in one.seconds[5:]] == pytest.approx([10.0] * 55)  # half of them in flight


def test_a_second_vllm_makes_as_many_pairs_more_with_the_same_gateways() -> None:
    one, two = (simulate((1000.0,) * 60, CAPACITY, manned(2, count, 2)).seconds[-1] for count in (1, 2))

    assert two.generated == pytest.approx(2 * one.generated)


def test_gateways_are_the_narrow_part_where_their_own_work_is() -> None:
    busy = replace(CAPACITY, paired_per_s=5.0)

    assert simulate((1000.0,) * 60, busy, manned(2, 4, 2)).seconds[-1].generated == 10


def test_nothing_waits_in_vllm_until_gateways_have_more_in_flight_than_it_has_seats() -> None:
    two, three = (simulate((1000.0,) * 60, CAPACITY, manned(count, 3, 2)).seconds[-1] for count in (2, 3))

    assert two.requests_waiting == 0
    assert three.requests_waiting == 3 * 3 * (3 * 24 - 64)


def test_candidates_wait_where_verifiers_are_the_narrow_part() -> None:
    slow = replace(CAPACITY, verified_per_s=5.0)

    last = simulate((20.0,) * 600, slow, manned(2, 1, 1)).seconds[-1]

    assert last.done == 5
    assert last.candidates_lag > 0
    assert last.jobs_lag == 0


def test_the_longest_wait_is_that_of_the_pair_that_waited_longest() -> None:
    outcome = simulate((0.0,) * 10 + (200.0,) + (0.0,) * 60, CAPACITY, manned(4, 1, 4))

    assert 9 <= waited(outcome) <= 9 + 5 * CAPACITY.pair_s  # 200 pairs at 20 a second, the last ones thinning out
    assert simulate((1000.0,) * 5, CAPACITY, manned(2, 1, 1)).longest_wait_s() is None


@pytest.fixture(scope="module")
def told() -> Study:
    return study()


LOAD_TURNS = {"steady": 0, "large folders": 3, "small folders": 1, "a day": 1, "a pause": 3}
"""How often the load of a trace turns round by itself; its end, a fall, is one more turn after what only rose."""
NIL = "a pause"


@pytest.mark.parametrize("shown", SHOWN)
def test_the_shipped_scaled_objects_turn_no_more_often_than_the_load_does(told: Study, shown: str) -> None:
    outcome = told.shipped[shown]

    assert outcome.turns(MLLM) <= LOAD_TURNS[shown] + 1
    assert outcome.changes(MLLM) <= 16
    assert outcome.changes(GATEWAY) <= 2
    assert outcome.changes(VERIFIER) == (3 if shown == NIL else 1)  # it ends when nothing comes, never before
    assert outcome.seconds[-1].replicas[VERIFIER] == 0
    assert outcome.longest_wait_s() is not None


def test_lag_alone_at_kedas_defaults_flaps_so_that_the_claim_is_not_empty(told: Study) -> None:
    assert told.lag_alone["steady"].turns(MLLM) >= 10
    assert told.lag_alone["a day"].turns(MLLM) >= 10
    assert all(told.lag_alone[shown].turns(VERIFIER) >= 10 for shown in SHOWN)  # stopped and started amid its work


def test_vllms_waiting_requests_alone_never_rise_so_that_arrivals_have_to_be_looked_at(told: Study) -> None:
    alone = told.waiting_alone

    assert max(alone.replicas(MLLM)) == 1
    assert alone.seconds[-1].in_work > 10_000


def test_with_wrong_figures_they_turn_no_more_often_than_the_load_does_either(told: Study) -> None:
    turns = {
        (otherwise, shown, part): outcome.turns(part) - LOAD_TURNS[shown]
        for otherwise, outcomes in told.wrong.items()
        for shown, outcome in outcomes.items()
        for part in PARTS
    }

    assert len(turns) == 3 * 3 * len(PARTS)
    assert {row: more for row, more in turns.items() if more > 1} == {}
    assert all(one.longest_wait_s() is not None for outcomes in told.wrong.values() for one in outcomes.values())


@pytest.mark.parametrize("share", [0.4, 0.6, 0.75, 1.3])
@pytest.mark.parametrize("shown", ["steady", "a day"])
def test_they_do_not_flap_whatever_share_of_its_rate_a_vllm_makes(shown: str, share: float) -> None:
    arrivals, capacity = mistaken(shown, share)

    outcome = simulate(arrivals, capacity, SHIPPED)

    assert all(outcome.turns(part) <= LOAD_TURNS[shown] + 1 for part in PARTS)


def test_without_what_a_full_vllm_was_seen_to_make_they_flap_so_that_it_has_to_be_looked_at() -> None:
    arrivals, capacity = mistaken("steady", 0.6)
    triggers = tuple(one for one in SHIPPED[MLLM].triggers if one.metric != "filled")

    outcome = simulate(arrivals, capacity, {**SHIPPED, MLLM: replace(SHIPPED[MLLM], triggers=triggers)})

    assert outcome.turns(MLLM) >= 10


def mistaken(shown: str, share: float) -> tuple[tuple[float, ...], Capacity]:
    """A trace of the page, and vLLMs that make only so much of what they were measured to make."""
    capacity = read(RESULTS, ENVIRONMENT).capacity
    one = capacity.generated_per_s
    return SHOWN[shown](one), replace(capacity, generated_per_s=share * one)


def waited(outcome: Outcome) -> int:
    wait_s = outcome.longest_wait_s()
    assert wait_s is not None
    return wait_s


def test_the_thresholds_are_those_that_the_measured_rates_call_for() -> None:
    """Within a quarter: rates are measured anew now and then. Past it `python -m tools.scaling` says the right ones."""
    capacity = read(RESULTS, ENVIRONMENT).capacity

    for scaling in SHIPPED.values():
        for trigger in scaling.triggers:
            assert trigger.target == pytest.approx(target(scaling.part, trigger, capacity), rel=0.25), (
                scaling.part,
                trigger,
            )


def test_the_page_and_its_plot_are_what_the_tool_makes_of_results_and_manifests(told: Study) -> None:
    made = files(told)

    assert made, "nothing is written"
    for path, text in made.items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"{path}: run python -m tools.scaling"
        if path.suffix == ".svg":
            ElementTree.fromstring(text)
        else:
            assert "{{" not in text


def test_a_trace_of_ones_own_is_followed_with_thresholds_for_ones_own_rates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "trace.txt"
    file.write_text("\n".join(str(round(one)) for one in poisson([4.0] * 600)), encoding="utf-8")

    assert main(["--trace", str(file), "--generated-per-s", "2.5", "--ready-s", "30"]) == 0
    said = capsys.readouterr().out

    assert "mllm: admitted: threshold 2" in said
    assert "longest wait" in said or "are not done" in said
    assert len([line for line in said.splitlines() if line[:7].strip().isdigit()]) == 10


@pytest.mark.parametrize("text", ["", "one\ntwo\n", "1\n-1\n", "nan\n", "inf\n"])
def test_a_file_that_is_no_trace_is_refused_in_one_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "trace.txt"
    file.write_text(text, encoding="utf-8")

    assert main(["--trace", str(file)]) == 2
    assert str(file) in capsys.readouterr().err
