"""Which replica takes the next pair, and which model counts: what must hold whatever the replicas are at."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairs.model import Policy
from service.choice import RESTS_S, Form, Load, choose, common, prevailing
from service.mllm import Served

NAMES = st.sampled_from([f"http://10.0.0.{number}:8000" for number in range(8)])
LOADS = st.lists(
    st.builds(Load, NAMES, st.booleans(), st.integers(0, 6), st.just(0), st.just(False)),
    max_size=8,
    unique_by=lambda one: one.name,
)
MOST = st.integers(1, 6)
TROUBLED = st.lists(
    st.builds(Load, NAMES, st.booleans(), st.integers(0, 6), st.integers(0, 4), st.booleans()).map(
        lambda one: one._replace(is_resting=one.is_resting and one.failures > 0)
    ),
    max_size=8,
    unique_by=lambda one: one.name,
)
"""Some of them have just failed, and of those some rest."""


@given(LOADS, MOST, NAMES)
def test_never_a_replica_that_is_away_or_full_and_always_one_that_is_neither(
    loads: list[Load], most: int, last: str
) -> None:
    able: list[str | None] = [one.name for one in loads if one.is_ready and one.in_work < most]
    assert choose(loads, most, last) in (able or [None])


@given(LOADS, MOST, NAMES)
def test_the_least_busy_is_chosen(loads: list[Load], most: int, last: str) -> None:
    chosen = choose(loads, most, last)
    busy = {one.name: one.in_work for one in loads if one.is_ready}
    assert chosen is None or busy[chosen] == min(busy.values())


@given(st.data(), LOADS, MOST, NAMES)
def test_the_choice_is_the_same_in_whatever_order_they_are_looked_at(
    data: st.DataObject, loads: list[Load], most: int, last: str
) -> None:
    assert choose(data.draw(st.permutations(loads)), most, last) == choose(loads, most, last)


@given(LOADS, MOST, NAMES, NAMES)
def test_one_that_is_away_changes_nothing_for_the_others(loads: list[Load], most: int, last: str, away: str) -> None:
    others = [one for one in loads if one.name != away]
    assert choose([*others, Load(away, False, 0)], most, last) == choose(others, most, last)


def _of_name(loads: list[Load], name: str) -> Load:
    return next(one for one in loads if one.name == name)


@given(TROUBLED, MOST, NAMES)
def test_one_that_rests_gets_nothing_while_another_is_awake(loads: list[Load], most: int, last: str) -> None:
    chosen = choose(loads, most, last)
    if chosen is not None and any(one.is_ready and not one.is_resting for one in loads):
        assert not _of_name(loads, chosen).is_resting


@given(TROUBLED, MOST, NAMES)
def test_nothing_stops_for_failures(loads: list[Load], most: int, last: str) -> None:
    """Idle ones are given something, however often they failed and though all rest."""
    idle = [one._replace(in_work=0) for one in loads]
    assert (choose(idle, most, last) is not None) == any(one.is_ready for one in idle)


@given(TROUBLED, MOST, NAMES)
def test_where_all_rest_the_one_that_failed_least_goes_first(loads: list[Load], most: int, last: str) -> None:
    resting = [one._replace(in_work=0, failures=one.failures + 1, is_resting=True) for one in loads if one.is_ready]
    chosen = choose(resting, most, last)
    assert chosen is None or _of_name(resting, chosen).failures == min(one.failures for one in resting)


@given(TROUBLED, MOST, NAMES)
def test_one_that_failed_has_one_at_a_time(loads: list[Load], most: int, last: str) -> None:
    chosen = choose(loads, most, last)
    if chosen is not None and _of_name(loads, chosen).failures:
        assert _of_name(loads, chosen).in_work == 0


@given(st.lists(st.integers(1, 9), max_size=12))
def test_a_replica_rests_longer_after_each_failure_in_a_row_up_to_the_longest(
    together: list[int],
) -> None:
    """Of so many pairs that were in work together and all failed, however many rounds of them."""
    form = Form()
    for failed, count in enumerate(together, 1):
        before = form
        for _ in range(count):
            form = form.after_failure(before, now_s=100.0)
        assert form == (failed, 100.0 + [*RESTS_S, *[max(RESTS_S)] * 12][failed - 1])


def test_a_late_failure_counts_for_a_replica_that_a_pair_has_come_out_of_since() -> None:
    assert Form().after_failure(Form(failures=3), now_s=5.0) == (1, 5.0 + RESTS_S[0])


@given(st.lists(NAMES, min_size=1, unique=True), NAMES)
def test_equally_busy_ones_take_turns(names: list[str], last: str) -> None:
    turns = []
    for _ in range(2 * len(names)):
        last = choose([Load(name, True, 0) for name in names], 1, last) or ""
        turns.append(last)
    assert Counter(turns) == dict.fromkeys(names, 2)
    assert turns[: len(names)] == turns[len(names) :]


@given(st.lists(NAMES, min_size=1, unique=True), st.lists(st.booleans(), max_size=60), st.randoms())
def test_pairs_that_come_and_go_are_never_further_apart_than_their_going(
    names: list[str], steps: list[bool], random: Random
) -> None:
    """A replica gets a pair only while no other has fewer; so only going makes a difference of more than one."""
    in_work, last, gone = dict.fromkeys(names, 0), "", 0
    for comes in steps:
        if comes:
            last = choose([Load(name, True, count) for name, count in in_work.items()], 100, last) or ""
            in_work[last] += 1
        elif busy := [name for name in names if in_work[name]]:
            in_work[random.choice(busy)] -= 1
            gone += 1
        assert max(in_work.values()) - min(in_work.values()) <= 1 + gone


@given(st.lists(st.sampled_from("abc")), st.sampled_from([None, *"abcd"]))
def test_the_model_of_most_replicas_counts_and_the_current_one_among_equals(
    models: list[str], current: str | None
) -> None:
    chosen = prevailing(models, current)
    if not models:
        assert chosen is None
        return
    most = max(models.count(model) for model in models)
    assert chosen is not None
    assert models.count(chosen) == most
    assert chosen == current or models.count(current or "") < most


@pytest.mark.parametrize("lengths", [(512,), (512, 256), (256, 512)])
def test_what_is_admitted_fits_every_replica(lengths: tuple[int, ...]) -> None:
    each = [Served("tiny", Policy(model="tiny"), length, "0.32", frozenset({str(length), "all"})) for length in lengths]
    assert common(each).max_model_len == min(lengths)
    assert common(each).adapters == ({"all"} if len(lengths) > 1 else {"512", "all"})
