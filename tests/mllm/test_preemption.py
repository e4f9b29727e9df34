"""A pair of which vLLM preempts one member or both, in process with vLLM's real scheduler."""

import pytest
from vllm.v1.engine import FinishReason

from tests.mllm.engine import Engine, Size, as_member, engine_of, sample_of

MAX_TOKENS = 10
DEPTHS = [1, 2]


def preempt(engine: Engine, name: str) -> None:
    """What vLLM's scheduler does with the last of its batch when KV blocks run out."""
    request = engine.requests[name]
    engine.scheduler.running.remove(request)
    engine.scheduler._preempt_request(request, 0.0)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("preempted", [["grounded"], ["blind"], ["grounded", "blind"], ["blind", "grounded"]])
@pytest.mark.parametrize(("step_tokens", "steps"), [(48, 1), (48, 2), (48, 5), (64, 1), (64, 5)])
def test_a_preempted_member_is_caught_up_with(
    mllm_folder: str, depth: int, preempted: list[str], step_tokens: int, steps: int
) -> None:
    """A pair that is held: in its first chunk of prompt, once it is ready, amid its answer; one that fits, after its
    first token and amid its answer."""
    engine = engine_of(mllm_folder, Size(step_tokens=step_tokens), depth)
    free = engine.num_free_blocks
    engine.add("grounded", [1] * 40, MAX_TOKENS, as_member("t", "grounded"), "a scene")
    engine.add("blind", [2] * 9, MAX_TOKENS, as_member("t", "blind"))
    engine.add("ordinary", [3] * 9, 2 * MAX_TOKENS)
    sampled = [set(engine.step()) for _ in range(steps)]
    assert ("grounded" in sampled[0]) == (step_tokens == 64)
    for name in preempted:
        preempt(engine, name)
    while not engine.is_idle:
        samples = engine.step()
        assert ("grounded" in samples) == ("blind" in samples)
    expected = [sample_of("t", k) for k in range(MAX_TOKENS)]
    assert engine.tokens["grounded"] == engine.tokens["blind"] == expected
    assert all(end.finish_reason == FinishReason.LENGTH for end in engine.ends.values())
    assert all(engine.requests[name].num_preemptions == 1 for name in preempted)
    assert engine.num_free_blocks == free


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("lengths", [(39, 23), (23, 39), (23, 23), (24, 30)])
@pytest.mark.parametrize("ordinary", [5, 9])
def test_a_pair_that_no_cache_can_hold_is_ended_with_the_reason_and_others_go_on(
    mllm_folder: str, depth: int, lengths: tuple[int, int], ordinary: int
) -> None:
    """Each member fits by itself: at the start 5 and 3 of the 7 blocks, or 3 and 3 that grow."""
    engine = engine_of(mllm_folder, Size(blocks=8), depth)
    free = engine.num_free_blocks
    for name, token, length in zip(("grounded", "blind"), (1, 2), lengths, strict=True):
        engine.add(name, [token] * length, 2 * MAX_TOKENS, as_member("t", name))
    engine.add("ordinary", [3] * ordinary, MAX_TOKENS)
    for _ in range(100):
        engine.step()
    assert engine.is_idle
    for name in ("grounded", "blind"):
        assert engine.ends[name].finish_reason == FinishReason.ABORT
        assert engine.ends[name].stop_reason == "Twin 't' cannot go on: no room for both of its members."
    assert engine.ends["ordinary"].finish_reason == FinishReason.LENGTH
    assert engine.num_free_blocks == free


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_pair_that_holds_blocks_and_has_not_moved_for_the_wait_is_ended_with_the_reason_and_others_go_on(
    mllm_folder: str, depth: int
) -> None:
    """Two members of 3 blocks each, beside an ordinary request with 3 of the 7, which grows to 4."""
    engine = engine_of(mllm_folder, Size(blocks=8), depth)
    register, wait_s, free = engine.scheduler._register, engine.scheduler._wait_s, engine.num_free_blocks
    engine.add("ordinary", [3] * 17, MAX_TOKENS)
    for name, token in (("grounded", 1), ("blind", 2)):
        engine.add(name, [token] * 23, MAX_TOKENS, as_member("t", name))
    for _ in range(4):
        engine.step()
    pair = register.pairs["t"]
    held_since = pair.moved_at
    engine.step()
    assert len(pair.running) == 1
    assert pair.moved_at == held_since
    pair.moved_at -= wait_s
    while not engine.is_idle:
        engine.step()
    for name in ("grounded", "blind"):
        assert engine.tokens[name] == []
        assert engine.ends[name].finish_reason == FinishReason.ABORT
        expected = f"Twin 't' could not go on for {wait_s:g} s: no room for both of its members."
        assert engine.ends[name].stop_reason == expected
    assert register.timeouts == 1
    assert engine.tokens["ordinary"] == [sample_of("ordinary", k) for k in range(MAX_TOKENS)]
    assert engine.num_free_blocks == free


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_runner_that_samples_different_tokens_for_twins_is_caught(mllm_folder: str, depth: int) -> None:
    engine = engine_of(mllm_folder, Size(), depth)
    engine.add("grounded", [1] * 12, 2, as_member("t", "grounded"))
    engine.add("blind", [2] * 9, 2, as_member("t", "blind"))
    engine.names["blind"] = "somebody else"
    while not engine.is_idle:
        engine.step()
    assert engine.tokens["grounded"] != engine.tokens["blind"]
    assert engine.scheduler._register.divergences == 1
