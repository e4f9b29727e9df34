"""Who may run its last known token in this step: the rule that keeps twins in lockstep. Pure.

A request samples in the step that runs the last token it knows. Twins must sample together, from logits of the same
step, so a member is held one token short of that until both can go.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Member(NamedTuple):
    """What the rule must know of one half of a pair, as the scheduler sees it before a step.

    remaining: tokens known or in flight that have not run yet. sampled: tokens sampled and returned. in_flight:
    tokens sampled by a step whose result is still under way (async scheduling). is_running: admitted in an earlier
    step. was_scheduled: ran in the step just before, so that the worker still holds its token in flight.
    needed_blocks: KV blocks that one more token takes.
    """

    is_running: bool
    remaining: int
    sampled: int
    in_flight: int
    was_scheduled: bool
    needed_blocks: int

    @property
    def is_ready(self) -> bool:
        """Whether nothing but its last known token is left to run, and the worker can look that token up."""
        return self.is_running and self.remaining == 1 and (self.in_flight == 0 or self.was_scheduled)


def may_sample(members: Sequence[Member], token_budget: int, free_blocks: int) -> bool:
    """Whether the members of a pair may run their last known tokens in this step; if not, neither may.

    token_budget: tokens that the step can still take; free_blocks: KV blocks that can still be given out. Both must
    suffice for the two members, or the step could end between them.
    """
    if len(members) != 2:
        return False
    one, other = members
    is_level = one.sampled == other.sampled and one.in_flight == other.in_flight
    has_room = token_budget >= 2 and free_blocks >= one.needed_blocks + other.needed_blocks
    return one.is_ready and other.is_ready and is_level and has_room


def tokens_to_run(remaining: int, offered: int, is_free: bool) -> int:
    """How many of the `offered` tokens a member with `remaining` left may run: all but the last, unless `is_free`."""
    return offered if is_free else max(0, min(offered, remaining - 1))


def usable_prefix(hit: int, known: int, block_size: int) -> int:
    """The longest prefix-cache hit that leaves a member two tokens to run, in whole blocks.

    With one token left a member could not be held short in the step of its admission: vLLM takes no tokens at all
    for "the queue's head does not fit" and stops looking at the queue.
    """
    return hit if hit <= known - 2 else max(0, known - 2) // block_size * block_size
