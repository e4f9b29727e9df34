"""Properties of the rule that keeps twins in lockstep."""

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from workers.mllm.lockstep import (
    blocks_for_next,
    has_room,
    may_sample,
    may_sample_at_once,
    tokens_held_short,
    usable_prefix,
)


@dataclass(frozen=True)
class Member:
    """A request as vLLM's scheduler counts it, by what is left for it to run."""

    remaining: int
    num_output_tokens: int = 4
    num_output_placeholders: int = 0
    num_computed_tokens: int = 40

    @property
    def num_tokens(self) -> int:
        return self.num_computed_tokens + self.remaining - self.num_output_placeholders


members = st.builds(
    Member,
    remaining=st.integers(1, 3),
    num_output_tokens=st.integers(0, 2),
    num_output_placeholders=st.integers(0, 1),
    num_computed_tokens=st.integers(0, 90),
)
READY = Member(1)


@given(members, members)
def test_twins_sample_together_level_and_with_one_token_left_and_are_never_held_without_a_cause(
    one: Member, other: Member
) -> None:
    are_level = (one.num_output_tokens, one.num_output_placeholders) == (
        other.num_output_tokens,
        other.num_output_placeholders,
    )
    assert may_sample(one, other) == may_sample(other, one)
    assert may_sample(one, other) == (are_level and one.remaining == other.remaining == 1)


@given(st.lists(st.integers(1, 200), max_size=2), st.lists(st.sampled_from([8, 16, 32]), max_size=2))
def test_a_token_takes_a_block_of_each_cache_whose_blocks_are_full(ran: list[int], sizes: list[int]) -> None:
    held = [-(-tokens // size) for tokens in ran for size in sizes]
    then = [-(-(tokens + 1) // size) for tokens in ran for size in sizes]
    assert blocks_for_next(ran, sizes) == sum(then) - sum(held)


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
def test_there_is_room_for_both_tokens_and_all_their_blocks_or_for_neither(needed: int, budget: int, free: int) -> None:
    assert has_room(needed, budget, free) == (not (budget < 2 or free < needed))


@given(
    st.tuples(st.integers(2, 90), st.integers(2, 90)),
    st.lists(st.sampled_from([8, 16]), min_size=1, max_size=2),
    st.integers(0, 200),
    st.integers(0, 90),
    st.data(),
)
def test_twins_sample_at_once_if_both_surely_fit_and_never_if_they_may_not(
    lengths: tuple[int, int], sizes: list[int], budget: int, free: int, data: st.DataObject
) -> None:
    cached = sizes[0] * data.draw(st.integers(0, (lengths[0] - 2) // sizes[0]))
    remaining = lengths[0] - cached
    offered = data.draw(st.integers(1, remaining))
    decision = may_sample_at_once(remaining, offered, lengths, sizes, budget, free)
    held = sum(-(-length // size) for length in lengths for size in sizes)
    fits = offered == remaining and remaining + lengths[1] <= budget and held <= free
    assert fits or not decision
    spare = 2 * len(lengths) * len(sizes)
    assert decision or not fits or held + spare > free


@given(st.tuples(st.integers(2, 200), st.integers(2, 200)), st.integers(2, 64), st.integers(1, 5))
def test_twins_of_any_two_lengths_sample_in_the_step_after_the_slower_is_ready(
    prompts: tuple[int, int], chunk: int, answer: int
) -> None:
    """Both run by the rule alone, `chunk` tokens a step each, until they have an answer."""
    remaining, sampled, steps = list(prompts), [0, 0], 0
    while sampled != [answer, answer]:
        one, other = (Member(left, done) for left, done in zip(remaining, sampled, strict=True))
        is_free = may_sample(one, other)
        for k in range(2):
            offered = min(chunk, remaining[k])
            remaining[k] -= offered if is_free else tokens_held_short(remaining[k], offered)
        assert (remaining[0] == 0) == (remaining[1] == 0)
        for k in range(2):
            if remaining[k] == 0:
                remaining[k], sampled[k] = 1, sampled[k] + 1
        steps += 1
    assert steps == -(-(max(prompts) - 1) // chunk) + answer


def test_ready_twins_sample() -> None:
    assert may_sample(READY, READY)
    in_flight = replace(READY, num_output_placeholders=1)
    assert may_sample(in_flight, in_flight)


@given(st.integers(1, 500), st.integers(0, 500))
def test_a_held_member_runs_all_but_its_last_token(remaining: int, offered: int) -> None:
    offered = min(offered, remaining)
    assert tokens_held_short(remaining, offered) == min(offered, remaining - 1)


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
    assert tokens_held_short(known - usable, known - usable) >= 1
