"""The registry of adapters, the same on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pairs.adapters import Adapter, Adapters, Promotion, earlier
from pairs.clock import now
from pairs.errors import AdapterExists, NothingEarlier, UnknownAdapter

MODEL = "tiny"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def an_adapter(name: str, /, **changes: Any) -> Adapter:
    fields = {"name": name, "model": MODEL, "path": f"/adapters/{name}", "snapshot_sha256": "0" * 64}
    return Adapter(**fields | {"created_at": now()} | changes)


@pytest.fixture
async def registry(store_url: str) -> AsyncIterator[Adapters]:
    opened = await Adapters.open(store_url)
    yield opened
    await opened.close()


async def test_an_adapter_comes_back_as_it_was_registered(registry: Adapters) -> None:
    adapter = an_adapter("round-1", parent="round-0", run="first", round=1)
    assert await registry.register(adapter)
    assert await registry.get("round-1") == adapter
    assert await registry.get("round-2") is None


async def test_an_adapter_registered_again_stays_as_it_was(registry: Adapters) -> None:
    adapter = an_adapter("round-1")
    await registry.register(adapter)
    assert not await registry.register(an_adapter("round-1", created_at=now() + timedelta(hours=1)))
    assert await registry.all() == [adapter]


async def test_a_name_is_taken_once(registry: Adapters) -> None:
    await registry.register(an_adapter("round-1"))
    for changes in ({"path": "/elsewhere"}, {"model": "another"}, {"snapshot_sha256": "1" * 64}):
        with pytest.raises(AdapterExists, match="another adapter called round-1"):
            await registry.register(an_adapter("round-1", **changes))


async def test_the_same_adapter_from_many_writers_at_once_is_there_once(registry: Adapters) -> None:
    adapter = an_adapter("round-1")
    assert sum(await asyncio.gather(*(registry.register(adapter) for _ in range(5)))) == 1


@pytest.mark.parametrize("changes", [{"name": "base"}, {"name": MODEL}, {"name": "a@b"}, {"path": "not/absolute"}])
def test_an_adapter_that_could_not_be_asked_for_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        an_adapter("round-1", **changes)


async def test_a_model_is_served_as_it_is_until_an_adapter_is_promoted(registry: Adapters) -> None:
    assert await registry.promoted(MODEL) is None
    first, second = an_adapter("round-1"), an_adapter("round-2")
    for adapter in (first, second):
        await registry.register(adapter)
        assert await registry.promote(MODEL, adapter.name, "better") == adapter
        assert await registry.promoted(MODEL) == adapter
    assert await registry.promoted("another") is None
    assert await registry.promote(MODEL, None, "worse after all") is None
    assert await registry.promoted(MODEL) is None
    told = [(one.model, one.adapter, one.reason) for one in await registry.history(MODEL)]
    assert told == [(MODEL, "round-1", "better"), (MODEL, "round-2", "better"), (MODEL, None, "worse after all")]


async def test_a_promotion_repeated_is_one(registry: Adapters) -> None:
    await registry.register(an_adapter("round-1"))
    for _ in range(2):
        await registry.promote(MODEL, "round-1", "better")
    [promotion] = await registry.history(MODEL)
    assert abs(promotion.promoted_at - now()) < timedelta(minutes=1)


async def test_what_is_not_registered_for_the_model_cannot_be_promoted(registry: Adapters) -> None:
    await registry.register(an_adapter("round-1"))
    await registry.register(an_adapter("foreign", model="another"))
    for name in ("round-2", "foreign"):
        with pytest.raises(UnknownAdapter, match=f"tiny has no adapter {name}; there are round-1, base"):
            await registry.promote(MODEL, name, "better")
    assert await registry.history(MODEL) == []


async def test_adapters_are_listed_oldest_first(registry: Adapters) -> None:
    later, sooner = (an_adapter(name, created_at=EPOCH + timedelta(days=days)) for name, days in (("a", 2), ("b", 1)))
    foreign = an_adapter("c", model="another", created_at=EPOCH)
    for adapter in (later, sooner, foreign):
        await registry.register(adapter)
    assert await registry.all(MODEL) == [sooner, later]
    assert await registry.all() == [foreign, sooner, later]


def _history(names: str) -> list[Promotion]:
    """A promotion for each letter; `-` is the model as it is."""
    return [Promotion(MODEL, None if name == "-" else name, EPOCH, "") for name in names]


@pytest.mark.parametrize(
    ("names", "before"),
    [
        ("A", None),
        ("AB", "A"),
        ("ABC", "B"),
        ("ABCB", "A"),
        ("ABCBA", None),
        ("ABAC", "A"),
        ("-A", None),
        ("AC-B", None),
    ],
)
def test_going_back_leads_to_what_was_served_before(names: str, before: str | None) -> None:
    assert earlier(_history(names)) == before


@pytest.mark.parametrize("names", ["", "A-"])
def test_from_the_model_as_it_is_there_is_no_way_back(names: str) -> None:
    with pytest.raises(NothingEarlier):
        earlier(_history(names))


@given(st.text(alphabet="ABCD-", max_size=8))
def test_going_back_again_and_again_ends_with_the_model_as_it_is(names: str) -> None:
    history = _history(names)
    for _ in range(len(names)):
        if not history or history[-1].adapter is None:
            break
        history += _history(earlier(history) or "-")
    assert not history or history[-1].adapter is None
