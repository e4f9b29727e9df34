"""One step of KEDA and the HorizontalPodAutoscaler does what their pages say."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.scaling.autoscaler import DEFAULT_DOWN, DEFAULT_UP, SYNC_S, Policy, Rules, Scaling, State, Trigger, step

LAG = Trigger("jobs lag", target=10)
RATE = Trigger("admitted", target=5, over_s=120)
BY_LAG = Scaling("mllm", (LAG,), least=1)


def followed(scaling: Scaling, values: Sequence[float], begin: State) -> list[int]:
    """The replicas after each sync of the HPA, `values` of the first trigger one after the other."""
    state, replicas = begin, []
    for number, value in enumerate(values):
        state = step(state, scaling, number * SYNC_S, {scaling.triggers[0]: value})
        replicas.append(state.replicas)
    return replicas


@pytest.mark.parametrize(("value", "replicas"), [(36, 4), (43, 4), (45, 5), (35, 4), (50, 5), (51, 6)])
def test_the_wish_is_the_metric_over_its_target_rounded_up_but_a_tenth_off_changes_nothing(
    value: float, replicas: int
) -> None:
    assert step(State(4), replace(BY_LAG, down=Rules(0, DEFAULT_DOWN.policies)), 0, {LAG: value}).replicas == replicas


def test_of_several_triggers_the_largest_wish_wins() -> None:
    scaling = Scaling("mllm", (LAG, RATE), least=1)

    assert step(State(1), scaling, 0, {LAG: 21, RATE: 9}).replicas == 3
    assert step(State(1), scaling, 0, {LAG: 1, RATE: 24}).replicas == 5


def test_by_default_replicas_rise_by_four_or_to_twice_as_many_in_a_sync_whichever_is_more() -> None:
    assert followed(BY_LAG, [1000] * 5, State(1)) == [5, 10, 20, 40, 80]


def test_by_default_replicas_fall_only_after_five_minutes_of_smaller_wishes_and_then_at_once() -> None:
    replicas = followed(BY_LAG, [80] + [5] * 25, State(8))

    assert replicas[:20] == [8] * 20
    assert replicas[20] == 1


def test_a_wish_within_the_window_keeps_the_replicas() -> None:
    values = ([80.0] + [5.0] * 15) * 5

    assert set(followed(BY_LAG, values, State(8))) == {8}


def test_a_window_for_more_waits_until_all_its_wishes_agree() -> None:
    patient = replace(BY_LAG, up=Rules(60, DEFAULT_UP.policies))

    assert followed(patient, [5, 40, 40, 40, 40], State(1)) == [1, 1, 1, 1, 4]


def test_a_policy_bounds_the_change_within_its_period() -> None:
    slowly = replace(BY_LAG, up=Rules(0, (Policy("Pods", 2, 60),)), down=Rules(0, (Policy("Pods", 1, 120),)))

    assert followed(slowly, [90] * 9, State(1)) == [3, 3, 3, 3, 5, 5, 5, 5, 7]
    assert followed(slowly, [5] * 17, State(4)) == [3] * 8 + [2] * 8 + [1]


@pytest.mark.parametrize(("select", "replicas"), [("Max", 6), ("Min", 3), ("Disabled", 2)])
def test_of_several_policies_the_selected_one_holds(select: str, replicas: int) -> None:
    up = Rules(0, (Policy("Pods", 4, 15), Policy("Percent", 50, 15)), select)  # type: ignore[arg-type]

    assert step(State(2), replace(BY_LAG, up=up), 0, {LAG: 1000}).replicas == replicas


def test_keda_starts_from_none_only_past_the_activation_and_only_when_it_looks() -> None:
    eager = Trigger("candidates lag", target=10, activation=3)
    scaling = Scaling("verifier", (eager,), polling_s=30)

    assert step(State(0), scaling, 15, {eager: 100}).replicas == 0
    assert step(State(0), scaling, 30, {eager: 3}).replicas == 0
    assert step(State(0), scaling, 30, {eager: 4}).replicas == 1


def test_keda_stops_the_last_one_when_the_cooldown_is_over_and_never_below_the_least() -> None:
    idle = Scaling("verifier", (LAG,), cooldown_s=60, polling_s=15)

    assert followed(idle, [5, 0, 0, 0, 0], State(1)) == [1, 1, 1, 1, 0]
    assert set(followed(replace(idle, least=1), [0] * 40, State(1))) == {1}


policies = st.builds(
    Policy, st.sampled_from(["Pods", "Percent"]), st.integers(1, 200), st.sampled_from([15, 60, 120, 300])
)
rules = st.builds(
    Rules,
    st.sampled_from([0, 30, 300, 600]),
    st.lists(policies, min_size=1, max_size=3).map(tuple),
    st.sampled_from(["Max", "Min", "Disabled"]),
)
scalings = st.builds(
    Scaling,
    part=st.just("mllm"),
    triggers=st.just((LAG, RATE)),
    least=st.integers(0, 3),
    most=st.integers(3, 20),
    polling_s=st.sampled_from([5, 15, 30]),
    cooldown_s=st.sampled_from([30, 300]),
    up=rules,
    down=rules,
)
values = st.floats(0, 1000)


def after(scaling: Scaling, seen: list[tuple[float, float]]) -> list[State]:
    states = [State(scaling.least)]
    for number, (lag, rate) in enumerate(seen):
        states.append(step(states[-1], scaling, number * SYNC_S, {LAG: lag, RATE: rate}))
    return states


@given(scalings, st.lists(st.tuples(values, values), max_size=60))
def test_replicas_stay_between_the_least_and_the_most_whatever_is_seen(
    scaling: Scaling, seen: list[tuple[float, float]]
) -> None:
    assert all(scaling.least <= one.replicas <= scaling.most for one in after(scaling, seen))


@given(scalings, st.lists(st.tuples(values, values), max_size=40), values, values, st.floats(0, 500))
def test_more_of_a_metric_never_means_fewer_replicas(
    scaling: Scaling, seen: list[tuple[float, float]], lag: float, rate: float, more: float
) -> None:
    state, second = after(scaling, seen)[-1], len(seen) * SYNC_S
    fewer = step(state, scaling, second, {LAG: lag, RATE: rate}).replicas

    assert step(state, scaling, second, {LAG: lag + more, RATE: rate}).replicas >= fewer
    assert step(state, scaling, second, {LAG: lag, RATE: rate + more}).replicas >= fewer
