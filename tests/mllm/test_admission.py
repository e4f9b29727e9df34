"""Pairs that sample in the step of their admission, and pairs that are held first, with vLLM's real scheduler."""

from collections.abc import Callable
from typing import Any

import pytest
from vllm.v1.engine import FinishReason

from tests.mllm.engine import Engine, Size, as_member, engine_of, sample_of

DEPTHS = [1, 2]
MAX_TOKENS = 4
EXPECTED = [sample_of("t", k) for k in range(MAX_TOKENS)]
GROUNDED, BLIND = 40, 9
"""Tokens of the prompts, of which 36 are the image's."""


def add(engine: Engine, role: str, length: int, image: str) -> None:
    engine.add(role, [len(role)] * length, MAX_TOKENS, as_member("t", role), image)


def arrive(engine: Engine) -> None:
    add(engine, "grounded", GROUNDED, "a scene")
    add(engine, "blind", BLIND, "")


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("first", ["grounded", "blind"])
def test_a_pair_that_is_sure_to_fit_samples_in_its_first_step(mllm_folder: str, depth: int, first: str) -> None:
    engine = engine_of(mllm_folder, Size(), depth)
    for role in sorted(("grounded", "blind"), key=lambda role: role != first):
        add(engine, role, *((GROUNDED, "a scene") if role == "grounded" else (BLIND, "")))
    assert engine.step() == {"grounded": 0, "blind": 0}
    while not engine.is_idle:
        engine.step()
    assert engine.tokens == {"grounded": EXPECTED, "blind": EXPECTED}
    assert engine.scheduler._held_steps == 0


def _with_images_in_both(engine: Engine) -> None:
    add(engine, "grounded", GROUNDED, "a scene")
    add(engine, "blind", GROUNDED, "another scene")


def _with_the_longer_prompt_cut(engine: Engine) -> None:
    engine.scheduler.scheduler_config.long_prefill_token_threshold = GROUNDED
    add(engine, "grounded", GROUNDED, "a scene")
    add(engine, "blind", GROUNDED + 1, "")


def _beside_blocks_that_are_kept_free(engine: Engine) -> None:
    engine.scheduler.kv_cache_manager.watermark_blocks = 22
    arrive(engine)


def _beside_a_request_with_blocks(engine: Engine) -> None:
    engine.add("ordinary", [3] * 9, MAX_TOKENS)
    engine.step()
    arrive(engine)


HELD: dict[str, tuple[Size, Callable[[Engine], Any]]] = {
    "the step has a token too few": (Size(step_tokens=GROUNDED + BLIND - 1), arrive),
    "the cache may have a block too few": (Size(blocks=10), arrive),
    "vLLM keeps blocks free": (Size(), _beside_blocks_that_are_kept_free),
    "others have the blocks": (Size(blocks=12), _beside_a_request_with_blocks),
    "the other has an image to encode too": (Size(step_tokens=128), _with_images_in_both),
    "vLLM is told to cut the other's prompt": (Size(step_tokens=128), _with_the_longer_prompt_cut),
}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("case", HELD)
def test_a_pair_that_might_not_fit_is_held_until_both_are_in_the_batch(mllm_folder: str, depth: int, case: str) -> None:
    size, traffic = HELD[case]
    engine = engine_of(mllm_folder, size, depth)
    traffic(engine)
    assert not engine.step().keys() & {"grounded", "blind"}
    while not engine.is_idle:
        samples = engine.step()
        assert ("grounded" in samples) == ("blind" in samples)
    assert engine.tokens["grounded"] == engine.tokens["blind"] == EXPECTED
    assert engine.scheduler._held_steps > 0


def leave_out(engine: Engine, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let vLLM have no KV blocks for a request, against all it has said."""
    manager = engine.scheduler.kv_cache_manager
    allocate = manager.allocate_slots

    def without_it(request: Any, *counts: Any, **named: Any) -> Any:
        return None if request.request_id == name else allocate(request, *counts, **named)

    monkeypatch.setattr(manager, "allocate_slots", without_it)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_pair_whose_first_member_vllm_leaves_out_after_all_waits(
    mllm_folder: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(mllm_folder, Size(), depth)
    arrive(engine)
    with monkeypatch.context() as patch:
        leave_out(engine, "grounded", patch)
        assert engine.step() == {}
    while not engine.is_idle:
        engine.step()
    assert engine.tokens == {"grounded": EXPECTED, "blind": EXPECTED}
    assert engine.scheduler._register.divergences == 0


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_pair_whose_second_member_vllm_leaves_out_after_all_ends_as_diverged(
    mllm_folder: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(mllm_folder, Size(), depth)
    free = engine.num_free_blocks
    arrive(engine)
    leave_out(engine, "blind", monkeypatch)
    while not engine.is_idle:
        engine.step()
    for role in ("grounded", "blind"):
        assert engine.ends[role].finish_reason == FinishReason.ABORT
        assert engine.ends[role].stop_reason == "Twin 't' has diverged: its members were not admitted together."
        assert engine.tokens[role] == []
    assert engine.scheduler._register.divergences == 1
    assert engine.num_free_blocks == free
