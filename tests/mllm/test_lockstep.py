"""Properties of the rule that keeps twins in lockstep."""

from hypothesis import given
from hypothesis import strategies as st

from workers.mllm.lockstep import Member, may_sample, tokens_to_run, usable_prefix

members = st.builds(
    Member,
    is_running=st.booleans(),
    remaining=st.integers(1, 3),
    sampled=st.integers(0, 2),
    in_flight=st.integers(0, 1),
    was_scheduled=st.booleans(),
    needed_blocks=st.integers(0, 2),
)
READY = Member(is_running=True, remaining=1, sampled=4, in_flight=0, was_scheduled=True, needed_blocks=1)


@given(members, members, st.integers(0, 4), st.integers(0, 4))
def test_twins_sample_only_together_level_and_with_room_for_both(
    one: Member, other: Member, budget: int, blocks: int
) -> None:
    decision = may_sample([one, other], budget, blocks)
    assert decision == may_sample([other, one], budget, blocks)
    if decision:
        assert one.is_running
        assert other.is_running
        assert one.remaining == other.remaining == 1
        assert (one.sampled, one.in_flight) == (other.sampled, other.in_flight)
        assert budget >= 2
        assert blocks >= one.needed_blocks + other.needed_blocks


@given(members, members, st.integers(0, 4), st.integers(0, 4))
def test_twins_are_never_held_without_a_cause(one: Member, other: Member, budget: int, blocks: int) -> None:
    causes = [
        not one.is_ready,
        not other.is_ready,
        one.sampled != other.sampled,
        one.in_flight != other.in_flight,
        budget < 2,
        blocks < one.needed_blocks + other.needed_blocks,
    ]
    assert may_sample([one, other], budget, blocks) == (not any(causes))


@given(st.tuples(st.integers(2, 200), st.integers(2, 200)), st.integers(2, 64), st.integers(1, 5))
def test_twins_of_any_two_lengths_sample_in_the_step_after_the_slower_is_ready(
    prompts: tuple[int, int], chunk: int, answer: int
) -> None:
    """Both run by the rule alone, `chunk` tokens a step each, until they have an answer."""
    remaining, sampled, steps = list(prompts), [0, 0], 0
    while sampled != [answer, answer]:
        twins = [READY._replace(remaining=left, sampled=done) for left, done in zip(remaining, sampled, strict=True)]
        is_free = may_sample(twins, 2 * chunk, 2)
        for k in range(2):
            remaining[k] -= tokens_to_run(remaining[k], min(chunk, remaining[k]), is_free)
        assert (remaining[0] == 0) == (remaining[1] == 0)
        for k in range(2):
            if remaining[k] == 0:
                remaining[k], sampled[k] = 1, sampled[k] + 1
        steps += 1
    assert steps == -(-(max(prompts) - 1) // chunk) + answer


def test_ready_twins_with_room_sample() -> None:
    assert may_sample([READY, READY], 2, 2)
    assert may_sample([READY._replace(in_flight=1), READY._replace(in_flight=1)], 2, 2)


def test_a_lone_member_never_samples() -> None:
    assert not may_sample([READY], 10, 10)


def test_a_token_in_flight_that_the_worker_no_longer_holds_is_waited_for() -> None:
    stale = READY._replace(in_flight=1, was_scheduled=False)
    assert not may_sample([stale, READY._replace(in_flight=1)], 10, 10)


@given(st.integers(1, 500), st.integers(0, 500), st.booleans())
def test_a_held_member_never_runs_its_last_token_and_a_free_one_is_not_slowed(
    remaining: int, offered: int, is_free: bool
) -> None:
    offered = min(offered, remaining)
    ran = tokens_to_run(remaining, offered, is_free)
    assert 0 <= ran <= offered
    if is_free:
        assert ran == offered
    else:
        assert ran == min(offered, remaining - 1)


@given(st.integers(2, 600), st.sampled_from([16, 32, 128]), st.data())
def test_a_cached_prefix_leaves_two_tokens_and_wastes_less_than_a_block_more_than_it_must(
    known: int, block_size: int, data: st.DataObject
) -> None:
    hit = data.draw(st.integers(0, (known - 1) // block_size)) * block_size
    usable = usable_prefix(hit, known, block_size)
    assert usable <= hit
    assert usable % block_size == 0
    assert known - usable >= 2
    assert hit - usable <= block_size
    # So a member that is admitted can always run something and still be held one short.
    assert tokens_to_run(known - usable, known - usable, is_free=False) >= 1
