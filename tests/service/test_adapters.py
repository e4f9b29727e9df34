"""With which adapter a request is answered: what it asks for, else the settings', else the promoted one, else none."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pairs.adapters import Adapter, Adapters
from pairs.clock import now
from pairs.errors import ModelUnavailable, StoreUnavailable, UnknownAdapter
from pairs.model import Policy
from pairs.settings import Settings
from service.adapters import Shelf
from service.mllm import Served
from tests.conftest import MakeSettings

MODEL = "tiny"


@pytest.fixture
async def registry(settings: Settings) -> AsyncIterator[Adapters]:
    """Adapters a and b; b is promoted."""
    opened = await Adapters.open(settings.store_url)
    for name in "ab":
        adapter = Adapter(name=name, model=MODEL, path=f"/{name}", snapshot_sha256="0" * 64, created_at=now())
        await opened.register(adapter)
        await opened.promote(MODEL, name, "test")
    yield opened
    await opened.close()


def serving_with(*adapters: str) -> Served:
    return Served(MODEL, Policy(model=MODEL), 512, "0.32", frozenset(adapters))


@pytest.mark.parametrize(
    ("own", "asked", "chosen"),
    [
        (None, None, "b"),
        (None, "a", "a"),
        (None, "base", None),
        ("a", None, "a"),
        ("a", "b", "b"),
        ("a", "base", None),
        ("base", None, None),
        ("base", "a", "a"),
        ("unregistered", None, "unregistered"),
        ("unregistered", "unregistered", "unregistered"),
    ],
)
async def test_what_is_asked_for_is_over_the_settings_and_these_are_over_the_promotion(
    registry: Adapters, make_settings: MakeSettings, own: str | None, asked: str | None, chosen: str | None
) -> None:
    shelf = Shelf(registry, make_settings(adapter=own))
    assert await shelf.chosen(MODEL, asked) == chosen


async def test_a_promotion_is_seen_at_the_next_look(registry: Adapters, settings: Settings) -> None:
    shelf = Shelf(registry, settings)
    await shelf.refresh(serving_with())
    await registry.promote(MODEL, None, "test")
    assert await shelf.chosen(MODEL, None) == "b"
    await shelf.refresh(serving_with())
    assert await shelf.chosen(MODEL, None) is None
    assert shelf.default is None


async def test_a_name_that_is_not_known_is_refused_with_those_that_are(
    registry: Adapters, make_settings: MakeSettings
) -> None:
    for own, names in ((None, "a, b, base"), ("pinned", "pinned, a, b, base")):
        with pytest.raises(UnknownAdapter, match=f"tiny has no adapter c; there are {names}"):
            await Shelf(registry, make_settings(adapter=own)).chosen(MODEL, "c")
    with pytest.raises(UnknownAdapter, match="another has no adapter a; there are base"):
        await Shelf(registry, make_settings()).chosen("another", "a")


async def test_an_adapter_of_the_settings_must_be_loaded_or_registered(
    registry: Adapters, make_settings: MakeSettings
) -> None:
    await Shelf(registry, make_settings(adapter="a")).refresh(serving_with())
    shelf = Shelf(registry, make_settings(adapter="pinned"))
    await shelf.refresh(serving_with("pinned"))
    with pytest.raises(ModelUnavailable, match="its adapter pinned is not loaded"):
        await shelf.refresh(serving_with())


async def test_while_the_store_is_away_what_is_known_holds_and_nothing_is_guessed(
    make_settings: MakeSettings, registry: Adapters, settings: Settings, tmp_path: Path
) -> None:
    knowing, new = Shelf(registry, settings), Shelf(registry, settings)
    await knowing.refresh(serving_with())
    await knowing.chosen(MODEL, "a")
    await registry.close()
    shutil.rmtree(settings.data_dir)
    for shelf in (knowing, new):
        await shelf.refresh(serving_with())
    assert await knowing.chosen(MODEL, None) == "b"
    assert await knowing.path(MODEL, "a") == "/a"
    for asked in (None, "a"):
        with pytest.raises(StoreUnavailable):
            await new.chosen(MODEL, asked)
