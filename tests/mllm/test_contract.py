"""The contract of the lockstep scheduler as a model, and vLLM's real scheduler held against it by random traffic.

The model knows no blocks, budgets or batches. It says of every request how it must end, and with which tokens; that
twins sample in the same steps; that nobody starves; and that in the end nothing is left behind. Hypothesis makes the
traffic (arrivals, hang-ups, waits, preemptions), with a fixed seed, on small batches, budgets and caches.
"""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from vllm.v1.engine import FinishReason

from tests.mllm.engine import IMAGE_TOKENS, Engine, Size, as_member, engine_of, sample_of
from workers.mllm.pairing import Pair
from workers.mllm.scheduler import DEFAULT_WAIT_S
from workers.mllm.twins import Role

LONGEST_PROMPT = 60
MOST_TOKENS = 12
PATIENCE = 100
"""In this many steps somebody samples, if nothing is preempted or hung up on: eight prompts of LONGEST_PROMPT take 60
steps of eight tokens, and preemptions for want of KV blocks come on top.
"""

BLOCK_SIZE = 8
ROOM_FOR_ANY_PAIR = 2 * -(-(LONGEST_PROMPT + MOST_TOKENS) // BLOCK_SIZE) + 1

sizes = st.builds(
    Size,
    seats=st.sampled_from([2, 3, 5, 8]),
    step_tokens=st.sampled_from([8, 11, 24, 40, 128]),
    blocks=st.integers(ROOM_FOR_ANY_PAIR, 2 * ROOM_FOR_ANY_PAIR),
    block_size=st.just(BLOCK_SIZE),
    is_caching=st.booleans(),
)
prompts = st.integers(2, LONGEST_PROMPT)
answers = st.integers(1, MOST_TOKENS)
images = st.sampled_from(["", "a scene", "another scene"])


@dataclass
class Expected:
    """What the model says of a request: the twin id and role, if it is a member, and how it must end.

    reason: None to be answered in full; else part of the sentence that its client gets.
    """

    max_tokens: int
    twin: str | None = None
    role: Role | None = None
    is_rejected: bool = False
    reason: str | None = None
    has_hung_up: bool = False


class Contract(RuleBasedStateMachine):
    """The model, its traffic, and the engine that must agree with it."""

    folder: str
    depth: int

    def __init__(self) -> None:
        super().__init__()
        self.engine: Engine
        self.expected: dict[str, Expected] = {}
        self.idle_steps = 0

    @initialize(size=sizes)
    def start(self, size: Size) -> None:
        self.engine = engine_of(self.folder, size, self.depth)
        self.num_blocks = self.engine.num_free_blocks

    # What arrives

    @rule(length=prompts, max_tokens=answers, image=images)
    def an_ordinary_request_arrives(self, length: int, max_tokens: int, image: str) -> None:
        self._arrive(Expected(max_tokens), length, image)

    @rule(lengths=st.tuples(prompts, prompts), max_tokens=answers, image=images)
    def a_pair_arrives(self, lengths: tuple[int, int], max_tokens: int, image: str) -> None:
        twin = f"twin {len(self.expected)}"
        self._arrive(Expected(max_tokens, twin, Role.GROUNDED), lengths[0], image)
        self._arrive(Expected(max_tokens, twin, Role.BLIND), lengths[1], "")

    @rule(role=st.sampled_from(Role), length=prompts, max_tokens=answers)
    def half_a_pair_arrives(self, role: Role, length: int, max_tokens: int) -> None:
        self._arrive(Expected(max_tokens, f"twin {len(self.expected)}", role), length, "")

    @precondition(lambda self: self._halves())
    @rule(length=prompts, data=st.data())
    def the_other_half_arrives(self, length: int, data: st.DataObject) -> None:
        half = self.expected[data.draw(st.sampled_from(self._halves()))]
        self._arrive(Expected(half.max_tokens, half.twin, _other(half)), length, "")

    @precondition(lambda self: self._halves())
    @rule(length=prompts, data=st.data())
    def the_other_half_arrives_and_disagrees(self, length: int, data: st.DataObject) -> None:
        half = self.expected[data.draw(st.sampled_from(self._halves()))]
        other = Expected(half.max_tokens + 1, half.twin, _other(half))
        half.reason = other.reason = f"{half.twin!r}: its members disagree on max_tokens"
        self._arrive(other, length, "")

    @precondition(lambda self: self._members())
    @rule(length=prompts, data=st.data())
    def a_third_request_of_an_id_arrives(self, length: int, data: st.DataObject) -> None:
        known = self.expected[data.draw(st.sampled_from(self._members()))]
        reason = f"{known.twin!r} already has a {known.role} member"
        self._arrive(Expected(known.max_tokens, known.twin, known.role, True, reason), length, "")

    # What goes wrong

    @precondition(lambda self: self._alive())
    @rule(data=st.data())
    def a_client_hangs_up(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self._alive()))
        gone = self.expected[name]
        gone.has_hung_up = True
        for other in self._alive():
            if not gone.is_rejected and gone.twin and self.expected[other].twin == gone.twin:
                self.expected[other].reason = f"{gone.twin!r} has lost its other member: it was cancelled"
        self.engine.abort(name)
        self.idle_steps = 0

    @precondition(lambda self: self._halves())
    @rule()
    def the_wait_for_the_other_halves_is_over(self) -> None:
        for name in self._halves():
            half = self.expected[name]
            missing = _other(half)
            half.reason = f"{half.twin!r} waited {DEFAULT_WAIT_S:g} s for its {missing} member, which did not arrive"
            self._pair(half).moved_at -= DEFAULT_WAIT_S + 1
        self._step()

    @precondition(lambda self: self.engine.scheduler.running)
    @rule()
    def vllm_preempts_the_last_in_its_batch(self) -> None:
        scheduler = self.engine.scheduler
        scheduler._preempt_request(scheduler.running.pop(), 0.0)
        self.idle_steps = 0

    @rule()
    def the_prefix_cache_is_reset_under_running_requests(self) -> None:
        self.engine.reset_prefix_cache()
        self.idle_steps = 0

    @rule(times=st.integers(1, 12))
    def steps_go_by(self, times: int) -> None:
        for _ in range(times):
            self._step()

    # What must hold

    @invariant()
    def twins_have_sampled_equally_often(self) -> None:
        for twin in self._whole():
            one, other = (self.engine.tokens[name] for name in twin)
            assert one == other

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for name in self._halves():
            self.expected[name].reason = "did not arrive"
            self._pair(self.expected[name]).moved_at -= DEFAULT_WAIT_S + 1
        while not self.engine.is_idle:
            self._step()
        for name, expected in self.expected.items():
            self._check_end(name, expected)
        assert self.engine.num_free_blocks == self.num_blocks
        assert not self.engine.scheduler._register.pairs
        assert not self.engine.scheduler.running
        assert not self.engine.scheduler.waiting

    def _check_end(self, name: str, expected: Expected) -> None:
        end = self.engine.ends.get(name)
        if end is None:
            assert expected.has_hung_up
        elif expected.reason is None:
            assert end.finish_reason == FinishReason.LENGTH, end.stop_reason
            who = expected.twin or name
            assert self.engine.tokens[name] == [sample_of(who, k) for k in range(expected.max_tokens)]
        else:
            assert end.finish_reason == FinishReason.ABORT
            assert expected.reason in str(end.stop_reason)

    def _step(self) -> None:
        samples = self.engine.step()
        for one, other in self._whole():
            assert (one in samples) == (other in samples)
            assert samples.get(one) == samples.get(other)
        is_due = len(self._alive()) > len(self._halves())
        self.idle_steps = self.idle_steps + 1 if is_due and not samples else 0
        assert self.idle_steps < PATIENCE, "nobody gets on"

    # The model's books

    def _arrive(self, expected: Expected, length: int, image: str) -> None:
        assume(len(self._alive()) < 24)
        name = f"request {len(self.expected)}"
        self.expected[name] = expected
        twin = as_member(expected.twin, expected.role) if expected.twin and expected.role else None
        prompt = [1] * (max(length, IMAGE_TOKENS + 2) if image else length)
        self.engine.add(name, prompt, expected.max_tokens, twin, image)

    def _alive(self) -> list[str]:
        """Requests that are neither answered, nor turned away, nor hung up on."""
        return [name for name in self.expected if name in self.engine.scheduler.requests]

    def _members(self) -> list[str]:
        return [name for name in self._alive() if self.expected[name].twin]

    def _whole(self) -> list[tuple[str, str]]:
        """The pairs of which both members live."""
        by_twin: dict[str, list[str]] = {}
        for name in self._members():
            by_twin.setdefault(str(self.expected[name].twin), []).append(name)
        return [(names[0], names[1]) for names in by_twin.values() if len(names) == len(Role)]

    def _halves(self) -> list[str]:
        whole = {name for pair in self._whole() for name in pair}
        return [name for name in self._members() if name not in whole]

    def _pair(self, member: Expected) -> Pair:
        return self.engine.scheduler._register.pairs[str(member.twin)]


def _other(member: Expected) -> Role:
    return next(role for role in Role if role != member.role)


@pytest.mark.parametrize(
    "depth",
    [1, 2],
    ids=["synchronous", "asynchronous"],
)
def test_the_scheduler_keeps_the_contract(mllm_folder: str, depth: int) -> None:
    machine = type("Contract", (Contract,), {"folder": mllm_folder, "depth": depth})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=200,
            stateful_step_count=50,
            suppress_health_check=list(HealthCheck),
        ),
    )
