"""The store, the same on SQLite and on PostgreSQL."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.exc import DataError

from pairs.errors import UnknownPair
from pairs.model import Decision, Pair, PairId, Policy, Verdict
from pairs.store import PairFilter, Store
from tests.examples import a_pair


async def test_a_pair_comes_back_as_it_was_put_in(store: Store) -> None:
    pair = a_pair()
    assert await store.insert([pair]) == 1
    assert await store.get(pair.id) == pair


async def test_a_pair_inserted_again_stays_as_it_was(store: Store) -> None:
    pair = a_pair()
    await store.insert([pair])
    assert await store.insert([pair.model_copy(update={"margin": 0.9}), a_pair()]) == 1
    assert await store.get(pair.id) == pair


async def test_the_same_pair_from_many_writers_at_once_is_there_once(store: Store, store_url: str) -> None:
    pair = a_pair()
    others = [await Store.open(store_url) for _ in range(4)]
    assert sum(await asyncio.gather(*(other.insert([pair]) for other in [store, *others]))) == 1
    await asyncio.gather(*(other.close() for other in others))


async def test_many_parts_may_open_an_empty_store_at_once(store_url: str) -> None:
    stores = await asyncio.gather(*(Store.open(store_url) for _ in range(5)))
    await asyncio.gather(*(store.close() for store in stores))


async def test_pages_go_newest_first_through_every_pair_once(store: Store) -> None:
    made = [a_pair() for _ in range(7)]
    await store.insert(made)
    seen: list[PairId] = []
    cursor: PairId | None = None
    while True:
        page = await store.page(PairFilter(), limit=3, before=cursor)
        seen += [pair.id for pair in page.pairs]
        if page.next is None:
            break
        cursor = page.next
    assert seen == [pair.id for pair in reversed(made)]


async def test_filters_leave_only_what_was_asked_for(store: Store) -> None:
    kept = a_pair(policy=Policy(model="m", adapter="round-1"), margin=0.5)
    swapped = a_pair(Decision.SWAPPED, margin=-0.4)
    old = a_pair(Decision.DISCARDED, margin=0.01, created_at=kept.created_at - timedelta(days=2))
    await store.insert([kept, swapped, old])

    async def found(wanted: PairFilter) -> set[PairId]:
        return {pair.id for pair in (await store.page(wanted, limit=10)).pairs}

    assert await found(PairFilter(decision=Decision.SWAPPED)) == {swapped.id}
    assert await found(PairFilter(min_margin=0.3)) == {kept.id, swapped.id}
    assert await found(PairFilter(policy="m@round-1")) == {kept.id}
    assert await found(PairFilter(since=kept.created_at - timedelta(days=1))) == {kept.id, swapped.id}
    assert await found(PairFilter(verdicts=(Verdict.DISCARD,))) == {old.id}


async def test_a_scan_sees_every_pair_once_in_order(store: Store) -> None:
    made = [a_pair() for _ in range(10)]
    await store.insert(made)
    assert [pair async for batch in store.scan(PairFilter(), batch=3) for pair in batch] == made


@pytest.mark.parametrize("verdict", list(Verdict))
async def test_a_review_holds_over_the_decision(store: Store, verdict: Verdict) -> None:
    pair = a_pair()
    await store.insert([pair])
    await store.review(pair.id, verdict)
    reviewed = await store.get(pair.id)
    assert isinstance(reviewed, Pair)
    assert (reviewed.decision, reviewed.review) == (Decision.KEPT, verdict)
    expected = {
        Verdict.KEEP: (pair.chosen, pair.rejected),
        Verdict.SWAP: (pair.rejected, pair.chosen),
        Verdict.DISCARD: (None, None),
    }
    assert (reviewed.chosen, reviewed.rejected) == expected[verdict]
    assert [pair.id for pair in (await store.page(PairFilter(verdicts=(verdict,)), limit=2)).pairs] == [pair.id]


async def test_reviewing_an_unknown_pair_is_refused(store: Store) -> None:
    with pytest.raises(UnknownPair):
        await store.review(a_pair().id, Verdict.KEEP)


async def test_counts_name_every_decision(store: Store) -> None:
    await store.insert([a_pair(), a_pair(), a_pair(Decision.SWAPPED)])
    assert await store.counts() == {Decision.KEPT: 2, Decision.SWAPPED: 1, Decision.DISCARDED: 0}


async def test_a_value_that_the_database_refuses_is_no_outage(postgres_url: str) -> None:
    store = await Store.open(postgres_url)
    with pytest.raises(DataError):  # PostgreSQL's text holds no NUL; waiting for it to come back would be for ever
        await store.insert([a_pair(prompt="a\0b")])
    await store.close()
