"""Who may run its last known token in this step: the rule that keeps twins in lockstep. Pure.

A request samples in the step that runs the last token it knows. Twins must sample together, from logits of the same
step, so a member is held one token short of that until both can go: at once when both are sure to be admitted whole in
one step, else once both are in the batch.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol


class Counts(Protocol):
    """What vLLM's scheduler counts of a request: tokens known, those of them that have run, those that were sampled and
    returned, and those sampled by a step whose result is still under way (async scheduling).
    """

    @property
    def num_tokens(self) -> int: ...

    @property
    def num_computed_tokens(self) -> int: ...

    @property
    def num_output_tokens(self) -> int: ...

    @property
    def num_output_placeholders(self) -> int: ...


def may_sample(one: Counts, other: Counts) -> bool:
    """Whether admitted twins may run their last known tokens in this step if there is room; if not, neither may.

    Both have sampled equally often, and nothing else is left for either to run. A token still in flight is one of the
    step just before, where the worker finds it: vLLM has two steps under way at most (pipeline parallelism is refused).
    """
    in_flight = one.num_output_placeholders
    return (
        in_flight == other.num_output_placeholders
        and one.num_output_tokens == other.num_output_tokens
        and one.num_tokens + in_flight - one.num_computed_tokens == 1
        and other.num_tokens + in_flight - other.num_computed_tokens == 1
    )


def blocks_for_next(ran: Iterable[int], block_sizes: Iterable[int]) -> int:
    """KV blocks that one more token of each member takes; ran: tokens that each has run, block_sizes: of each cache."""
    needed = 0
    for tokens in ran:
        for size in block_sizes:
            needed += tokens % size == 0
    return needed


def has_room(needed_blocks: int, token_budget: int, free_blocks: int) -> bool:
    """Whether the last known tokens of both twins fit into this step, or the step could end between them.

    needed_blocks: KV blocks that the two take; token_budget: tokens that the step can still take; free_blocks: KV
    blocks that can still be given out.
    """
    return token_budget >= 2 and free_blocks >= needed_blocks


def may_sample_at_once(
    remaining: int,
    offered: int,
    lengths: tuple[int, int],
    block_sizes: Sequence[int],
    token_budget: int,
    free_blocks: int,
) -> bool:
    """Whether two members at the head of the queue may sample in the step of their admission: run all that they know.

    Asked when vLLM has settled what the first one gets, and before the other: so only where nothing can keep that one
    out or cut it short, whatever is cached. remaining: the first one's tokens that have not run; offered: how many of
    them vLLM gives it; lengths: tokens that each knows; block_sizes: of each cache; token_budget and free_blocks: what
    the step can still take and the cache still give.
    """
    # A cached prefix spares tokens but takes its blocks all the same, and one more where half a block is copied.
    blocks = sum(length // size + 2 for length in lengths for size in block_sizes)
    return offered == remaining and token_budget >= remaining + lengths[1] and free_blocks >= blocks


def tokens_held_short(remaining: int, offered: int) -> int:
    """How many of the `offered` tokens a member with `remaining` left may run while it is held: all but its last."""
    return max(0, min(offered, remaining - 1))


def usable_prefix(hit: int, known: int, block_size: int) -> int:
    """The longest prefix-cache hit that leaves a member two tokens to run, in whole blocks.

    With one token left a member could not be held short in the step of its admission: vLLM takes no tokens at all
    for "the queue's head does not fit" and stops looking at the queue.
    """
    return hit if hit <= known - 2 else max(0, known - 2) // block_size * block_size
