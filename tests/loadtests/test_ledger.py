"""The books: whatever is lost or doubled on the way is found, and nothing else is."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.ledger import Acceptance, Found, Integrity, Ledger, News, Settlement, check
from loadtests.pixels import Pixels

NUMBERS = st.sets(st.integers(0, 40), min_size=1)


def acceptance(number: int, key: str | None = None) -> Acceptance:
    return Acceptance(
        id=f"pair-{number}",
        sha256=f"image-{number}",
        pixels=pixels(number),
        key=key or f"key-{number}",
        place=0,
        at=number,
        created_at="then",
    )


def pixels(number: int) -> Pixels:
    return Pixels(width=48, height=48, sha256=f"pixels-{number}")


def news(acceptances: list[Acceptance], number: int = 1, sender: str = "a", is_last: bool = True) -> News:
    return News(
        sender=sender,
        number=number,
        is_last=is_last,
        arrivals=[],
        acceptances=acceptances,
        settlements=[],
        outcomes={"ok": len(acceptances)},
    )


def books(numbers: set[int]) -> Ledger:
    ledger = Ledger()
    ledger.take(news([acceptance(number) for number in numbers]))
    return ledger


def checked(ledger: Ledger, missing: Iterable[int] = (), others: Iterable[tuple[str, str]] = ()) -> Integrity:
    """The check where the gateway has everything but `missing`, and finished pairs of others."""
    lost = {f"pair-{number}" for number in missing}
    ours = ledger.accepted.values()
    found = {one["id"]: Found(None if one["id"] in lost else "done", one["sha256"]) for one in ours}
    listed = [(one["id"], one["sha256"]) for one in ours if one["id"] not in lost]
    return check(ledger, found, [*listed, *others], untold=0)


@given(NUMBERS)
def test_what_was_accepted_and_is_there_once_is_whole(numbers: set[int]) -> None:
    integrity = checked(books(numbers), others=[("a stranger's", "a stranger's image")])
    assert integrity.is_whole
    assert integrity.accepted == len(numbers)


@given(NUMBERS, NUMBERS)
def test_exactly_the_missing_are_lost(numbers: set[int], missing: set[int]) -> None:
    integrity = checked(books(numbers), missing)
    assert set(integrity.lost) == {f"pair-{number}" for number in numbers & missing}
    assert integrity.is_whole == (not numbers & missing)
    assert not integrity.doubled


@given(NUMBERS, st.data())
def test_a_second_pair_of_an_accepted_image_is_doubled(numbers: set[int], data: st.DataObject) -> None:
    number = data.draw(st.sampled_from(sorted(numbers)))
    integrity = checked(books(numbers), others=[("another", f"image-{number}")])
    assert integrity.doubled == ("another",)
    assert not integrity.is_whole


def test_a_request_that_is_repeated_under_its_key_has_one_pair() -> None:
    ledger = books({1})
    ledger.take(news([acceptance(1)], number=2))
    assert checked(ledger).is_whole
    assert len(ledger.accepted) == 1


def test_one_id_for_two_images_is_doubled() -> None:
    ledger = books({1})
    ledger.take(news([acceptance(1, key="another request")], number=2))
    assert checked(ledger).doubled == ("pair-1",)


def test_two_ids_for_one_image_and_a_pair_that_is_listed_twice_are_doubled() -> None:
    ledger = books({1, 2})
    ledger.take(news([{**acceptance(3), "sha256": "image-1"}], number=2))
    assert len(checked(ledger).doubled) == 1
    assert checked(books({1, 2}), others=[("pair-2", "image-2")]).doubled == ("pair-2",)


def test_an_unfinished_pair_and_one_with_another_image_break_the_books_and_a_failed_one_does_not() -> None:
    ledger = books({1, 2, 3})
    found = {
        "pair-1": Found("verifying", "image-1"),
        "pair-2": Found("failed", "image-2", "twins differ"),
        "pair-3": Found("done", "image-9"),
    }
    integrity = check(ledger, found, [], untold=0)
    assert (integrity.unfinished, integrity.mixed_up) == (("pair-1",), ("pair-3",))
    assert integrity.failed == {"pair-2": "twins differ"}
    assert not integrity.is_whole
    failed_only = check(books({2}), {"pair-2": found["pair-2"]}, [], untold=0)
    assert failed_only.is_whole


def test_images_that_the_gateway_swapped_before_it_took_their_hashes_are_mixed_up() -> None:
    ledger = books({1, 2, 3, 4})
    ledger.accepted["pair-4"]["pixels"] = None
    of = {1: pixels(2), 2: pixels(1), 3: pixels(3), 4: pixels(4)}
    found = {f"pair-{number}": Found("done", f"image-{number}", pixels=one) for number, one in of.items()}
    integrity = check(ledger, found, [], untold=0)
    assert (integrity.mixed_up, integrity.compared) == (("pair-1", "pair-2"), 3)
    assert not integrity.is_whole


def test_an_image_that_was_not_looked_at_or_may_be_scaled_down_breaks_nothing_and_is_not_counted_as_compared() -> None:
    scaled = Pixels(width=24, height=24, sha256="smaller")
    found = {"pair-1": Found("done", "image-1"), "pair-2": Found("done", "image-2", pixels=scaled)}
    integrity = check(books({1, 2}), found, [], untold=0)
    assert integrity.is_whole
    assert integrity.compared == 0


def test_news_that_is_missing_or_never_ends_breaks_the_books() -> None:
    ledger = Ledger()
    ledger.take(news([acceptance(1)], number=1, is_last=False))
    ledger.take(news([acceptance(3)], number=3))
    assert (ledger.gaps, ledger.ended) == (1, 1)
    assert not checked(ledger).is_whole
    assert not check(books({1}), {"pair-1": Found("done", "image-1")}, [], untold=1).is_whole


def test_news_that_is_told_twice_is_entered_once() -> None:
    ledger = Ledger()
    for number in (1, 1, 2, 1):
        ledger.take(news([acceptance(number)], number))
    assert ledger.outcomes["ok"] == 2
    assert checked(ledger).is_whole


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), max_size=60), st.floats(0, 50), st.floats(51, 120))
def test_a_level_counts_what_happened_in_it(times: list[tuple[float, float]], since: float, until: float) -> None:
    ledger = Ledger()
    told = news([{**acceptance(number), "at": at} for number, (at, _) in enumerate(times)])
    told["arrivals"] = [{"at": at, "late_s": 0} for at, _ in times]
    told["settlements"] = [settlement(number, at, took_s) for number, (at, took_s) in enumerate(times)]
    ledger.take(told)
    level = ledger.measure(1, since, until)
    within = [at for at, _ in times if since <= at < until]
    ends = [at + took_s for at, took_s in times]
    assert level.arrived_per_s * (until - since) == pytest.approx(len(within))
    assert level.accepted_per_s * (until - since) == pytest.approx(len(within))
    assert level.finished_per_s * (until - since) == pytest.approx(sum(since <= end < until for end in ends))
    assert level.in_work == sum(at < until for at, _ in times) - sum(end < until for end in ends)
    latencies, unfinished = ledger.latencies(since, until)
    assert (len(latencies), unfinished) == (len(within), 0)
    assert ledger.in_work == 0


def settlement(number: int, arrived_at: float, took_s: float) -> Settlement:
    at = arrived_at + took_s
    return Settlement(id=f"pair-{number}", status="done", at=at, arrived_at=arrived_at, latency_s=took_s)
