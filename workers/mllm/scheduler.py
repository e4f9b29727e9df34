"""vLLM's scheduler with twins in lockstep: what `--scheduler-cls` names.

Everything is decided by `workers.mllm.lockstep` and `workers.mllm.pairing`; this file reads the scheduler's state and
applies the decisions through the methods that vLLM's own scheduling loop asks for every request.
"""

import os
import time
from itertools import islice
from typing import Any

from vllm.config import VllmConfig
from vllm.logger import init_logger
from vllm.platforms import current_platform
from vllm.sampling_params import SamplingType
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from workers.mllm.launch import WAIT_VARIABLE
from workers.mllm.lockstep import (
    blocks_for_next,
    has_room,
    may_sample,
    may_sample_at_once,
    tokens_held_short,
    usable_prefix,
)
from workers.mllm.metrics import Tally, attach
from workers.mllm.obstacles import Obstacle
from workers.mllm.pairing import BOTH, Pair, Refusal, Register
from workers.mllm.twins import Role, take_seed

logger = init_logger(__name__)

DEFAULT_WAIT_S = 30.0


class Lockstep(Scheduler):  # type: ignore[misc]
    """What lockstep adds to a scheduler of vLLM: by itself to `Scheduler`, in front of it in the bases to a subclass.

    Raises ValueError at construction for a set-up in which lockstep is not proven (`workers.mllm.obstacles`).
    """

    running: list[Request]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if obstacle := self._obstacle():
            raise ValueError(obstacle.sentence)
        self._register = Register()
        managers = self.kv_cache_manager.coordinator.single_type_managers
        self._block_sizes = [manager.block_size for manager in managers]
        self._wait_s = float(os.environ.get(WAIT_VARIABLE, DEFAULT_WAIT_S))
        self._farewells: list[tuple[int, EngineCoreOutput]] = []
        self._tokens_left = 0
        self._needed_blocks: dict[str, int] = {}  # of the pairs that may sample in this step, by id
        self._is_free: dict[str, bool] = {}
        self._at_once: list[Pair] = []  # may sample in this step, of which both are to be admitted
        self._held_steps = 0
        self._told = Tally()
        self._has_preempted = False
        self._now = time.monotonic()

    def _obstacle(self) -> Obstacle | None:
        obstacles = {
            Obstacle.SPECULATION: self.vllm_config.speculative_config is not None,
            Obstacle.PIPELINE: self.use_pp,
            Obstacle.DATA: self._is_one_of_several,
            Obstacle.CONNECTOR: self.connector is not None or self.ec_connector is not None,
            Obstacle.PRIORITY: self.scheduler_config.policy != "fcfs",
            Obstacle.SHARDING: self.parallel_config.enable_batch_sharded_sampling,
            Obstacle.SEATS: self.max_num_active_reqs < 2,
        }
        return next((obstacle for obstacle, is_there in obstacles.items() if is_there), None)

    @property
    def _is_one_of_several(self) -> bool:
        """Whether this engine has others beside it. For a dense model vLLM sets the size of each to 1 and keeps the
        index, so that the first does not know and the others do: vLLM does not start without them.
        """
        parallel = self.parallel_config
        is_one: bool = parallel.data_parallel_size > 1 or parallel.data_parallel_index > 0
        return is_one

    # Arrival and departure

    def add_request(self, request: Request) -> None:
        super().add_request(request)
        pair, refusal = self._register.enter(request, time.monotonic())
        if pair is None:
            refusal = refusal or self._hindrance(request)
        else:
            take_seed(request.sampling_params)
            if pair.is_whole:
                self._queue_together(pair)
        if refusal is not None:
            self._end(refusal.requests, refusal.reason)

    def _hindrance(self, request: Request) -> Refusal | None:
        """What keeps an ordinary request from being served; see `_must_run_whole`."""
        longest = self._step_budget - self.max_num_running_reqs
        if request.num_tokens > longest and self._must_run_whole(request):
            reason = f"On a CPU, a sampled answer with a seed takes a prompt of at most {longest} tokens."
            return Refusal([request], reason)
        return None

    def _must_run_whole(self, request: Request) -> bool:
        """Whether a prompt may not be run in parts: then vLLM 0.32 takes back a sample, for which it rewinds the
        request's random generator, and generators of a CPU cannot be rewound (the engine would end).
        """
        params = request.sampling_params
        is_seeded = params is not None and params.sampling_type == SamplingType.RANDOM_SEED
        return is_seeded and current_platform.is_cpu()

    @property
    def _step_budget(self) -> int:
        """The most tokens that one step takes."""
        budget: int = min(self.max_num_scheduled_tokens, self.scheduler_config.max_num_batched_tokens)
        return budget

    def _queue_together(self, pair: Pair) -> None:
        """Twins stand side by side in the queue, at the place of the later one, so that they are admitted together.

        The grounded one, whose image has to be encoded, is in front: see `may_sample_at_once`.
        """
        twins = [pair.members[role] for role in Role]
        self.waiting.remove_requests(twins)
        for member in twins:
            self.waiting.add_request(member)

    def finish_requests(self, request_ids: Any, finished_status: RequestStatus) -> list[Request]:
        finished: list[Request] = super().finish_requests(request_ids, finished_status)
        self._end_widows()
        return finished

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> Any:
        self._register.leave(request)
        return super()._free_request(request, delay_free_blocks)

    def _end_widows(self) -> None:
        for refusal in self._register.take_widows():
            self._end(refusal.requests, refusal.reason)

    def _end(self, requests: list[Request], reason: str) -> None:
        """Finish `requests` now and tell their clients why, with the next outputs."""
        logger.warning(reason)
        for request in Scheduler.finish_requests(
            self, [request.request_id for request in requests], RequestStatus.FINISHED_ABORTED
        ):
            farewell = EngineCoreOutput(
                request.request_id,
                [],
                finish_reason=FinishReason.ABORT,
                stop_reason=reason,
                events=request.take_events(),
            )
            self._farewells.append((request.client_index, farewell))
        self._register.forget(requests)

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        outputs: dict[int, EngineCoreOutputs] = super().update_from_output(scheduler_output, model_runner_output)
        self._end_widows()
        for client, farewell in self._farewells:
            outputs.setdefault(client, EngineCoreOutputs()).outputs.append(farewell)
        self._farewells.clear()
        self._tell_counts(outputs)
        return outputs

    def _tell_counts(self, outputs: dict[int, EngineCoreOutputs]) -> None:
        """Send the counts along with vLLM's statistics when they have changed, as what came since they were sent last:
        of several API servers one gets them, now this, now that.
        """
        register, told = self._register, self._told
        tally = Tally(len(register.pairs), self._held_steps, register.divergences, register.timeouts)
        if tally == told:
            return
        stats = next((output.scheduler_stats for output in outputs.values() if output.scheduler_stats), None)
        if stats is not None:
            attach(stats, tally.since(told))
            self._told = tally

    # A step

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        self._tokens_left = self._step_budget
        self._is_free.clear()
        self._at_once.clear()
        self._needed_blocks.clear()
        self._has_preempted = False
        self._now = time.monotonic()
        if self._register.pairs:
            for refusal in self._register.overdue(self._now, self._wait_s):
                self._end(refusal.requests, refusal.reason)
            self._look_at_pairs()
            self._put_ready_first()
        scheduled: SchedulerOutput = super().schedule(throttle_prefills)
        self._note_progress(scheduled)
        self._end_parted(scheduled)
        return scheduled

    def _note_progress(self, scheduled: SchedulerOutput) -> None:
        """Note which pairs run in this step. If nobody does, and nothing is under way that could free a KV block, then
        no later step will differ: end the pairs that hold blocks.
        """
        if self._register.pairs:
            for pair in self._register.pairs_of(scheduled.num_scheduled_tokens):
                pair.moved_at = self._now
        if scheduled.num_scheduled_tokens or scheduled.preempted_req_ids:
            return
        is_idle = not any(request.num_in_flight_tokens for request in self.running)
        if is_idle and self._pause_state == PauseState.UNPAUSED:
            self._end_stuck()

    def _end_stuck(self) -> None:
        for refusal in self._register.stuck():
            self._end(refusal.requests, refusal.reason)

    def _end_parted(self, scheduled: SchedulerOutput) -> None:
        """End a pair of which one member samples in this step and the other does not after all."""
        for pair in self._at_once:
            ran = [one for one in pair.members.values() if one.request_id in scheduled.num_scheduled_tokens]
            if sum(not member.is_prefill_chunk for member in ran) == 1:
                refusal = self._register.parted(pair)
                self._end(refusal.requests, refusal.reason)

    def _look_at_pairs(self) -> None:
        """Read the state of every admitted pair once; nothing but a preemption changes it within a step.

        Leaves at most one pair half admitted: several could wait for ever for each other's KV blocks.
        """
        halves = []
        for pair in self._register.pairs.values():
            running = pair.running
            if len(running) == BOTH:
                one, other = running
                if may_sample(one, other):
                    ran = one.num_computed_tokens, other.num_computed_tokens
                    self._needed_blocks[pair.id] = blocks_for_next(ran, self._block_sizes)
            elif running and pair.is_whole:
                halves.append(running)
        for running in halves[1:]:
            self._preempt(running)

    def _put_ready_first(self) -> None:
        """Put ready twins in front, side by side, and preempt from the tail until their next tokens fit.

        Nothing that is scheduled before or between them can then take the KV blocks that were counted for them.
        """
        pairs = self._register.pairs
        front = [request for twin in self._needed_blocks for request in pairs[twin].members.values()]
        if self.running[: len(front)] != front:
            ids = {request.request_id for request in front}
            self.running = front + [request for request in self.running if request.request_id not in ids]
        while sum(self._needed_blocks.values()) > self._num_free_blocks:
            last = self.running[-1]
            pair = self._register.pair_of(last)
            victims = [last] if pair is None else pair.running
            if len(victims) == len(self.running):
                self._end_stuck()
                return
            self._preempt(victims)
        if len(front) <= self._tokens_left:
            self._is_free.update(dict.fromkeys(self._needed_blocks, True))

    def _preempt(self, requests: list[Request]) -> None:
        for request in requests:
            self.running.remove(request)
            self._preempt_request(request, self._now)
            self._has_preempted = True

    def _preempt_request(self, request: Request, timestamp: float, drop_stale_output: bool = False) -> None:
        super()._preempt_request(request, timestamp, drop_stale_output)
        if pair := self._register.pair_of(request):
            self._needed_blocks.pop(pair.id, None)
            self._is_free[pair.id] = False
            twin = pair.twin_of(request)
            if drop_stale_output and twin is not None and twin.num_stale_output_tokens:
                twin.drop_stale_output = True  # preempted before, with the token of the same step in flight

    def _handle_blocked_waiting_request(self, request: Request) -> bool:
        if self._has_preempted or not super()._handle_blocked_waiting_request(request):
            return False
        return self._register.may_enter(request, self._num_free_seats)

    def _get_local_prefix_cache_hit(self, request: Request, *bounds: Any, **named: Any) -> Any:  # 0.33 bounds the hit
        blocks, hit, boundary, has_diverged = super()._get_local_prefix_cache_hit(request, *bounds, **named)
        if self._register.pair_of(request) is not None:
            usable = usable_prefix(hit, request.num_tokens, self.block_size)
            if usable < hit:
                blocks, hit = self.kv_cache_manager.truncate_computed_blocks(blocks, usable), usable
        return blocks, hit, boundary, has_diverged

    def _reserve_prefill_lookahead(self, request: Request, num_computed_tokens: int, num_new_tokens: int) -> int:
        """vLLM asks this for every request of a step, running or waiting: how many tokens may it run?"""
        offered: int = super()._reserve_prefill_lookahead(request, num_computed_tokens, num_new_tokens)
        allowed = offered
        pair = self._register.pair_of(request)
        if pair is None:
            if offered < _remaining(request, num_computed_tokens) and self._must_run_whole(request):
                allowed = 0
        else:
            remaining = _remaining(request, num_computed_tokens)
            if pair.id not in self._is_free:  # decided at the first member, and kept for the other
                self._is_free[pair.id] = self._may_sample(pair, request, remaining, offered)
            if not self._is_free[pair.id]:
                allowed = tokens_held_short(remaining, offered)
                self._held_steps += allowed < offered
        self._tokens_left -= allowed
        return allowed

    def _may_sample(self, pair: Pair, first: Request, remaining: int, offered: int) -> bool:
        """Whether there is room for both members to sample in this step; first: the one that vLLM asks for first."""
        needed = self._needed_blocks.get(pair.id)
        if needed is not None:
            return has_room(needed, self._tokens_left, self._num_free_blocks)
        twin = pair.twin_of(first)
        if twin is None or not self._are_next(first, twin) or not self._is_never_cut(twin):
            return False
        lengths = first.num_tokens, twin.num_tokens
        free_blocks = self._num_free_blocks - self.kv_cache_manager.watermark_blocks
        is_free = may_sample_at_once(remaining, offered, lengths, self._block_sizes, self._tokens_left, free_blocks)
        if is_free:
            self._at_once.append(pair)
        return is_free

    def _are_next(self, first: Request, twin: Request) -> bool:
        """Whether two requests that were never admitted before are the next two of the queue."""
        are_next = [*islice(self.waiting, BOTH)] == [first, twin]
        return are_next and first.status is twin.status is RequestStatus.WAITING

    def _is_never_cut(self, request: Request) -> bool:
        """Whether vLLM runs the whole of a prompt at once, given budget and blocks."""
        most = self.scheduler_config.long_prefill_token_threshold
        is_bounded = 0 < most < request.num_tokens
        return not (request.has_encoder_inputs or is_bounded or self.need_mamba_block_aligned_split)

    @property
    def _num_free_seats(self) -> int:
        seats: int = self.max_num_active_reqs - len(self.running) - self.num_waiting_for_streaming_input
        return seats

    @property
    def _num_free_blocks(self) -> int:
        blocks: int = self.kv_cache_manager.block_pool.get_num_free_blocks()
        return blocks


def _remaining(request: Request, num_computed_tokens: int) -> int:
    """Tokens known or in flight that have not run yet."""
    remaining: int = request.num_tokens + request.num_output_placeholders - num_computed_tokens
    return remaining


class LockstepScheduler(Lockstep):
    """For `--scheduler-cls`: on top of the scheduler that vLLM itself takes, asynchronous (its default on GPUs) or not.

    The asynchronous one is right without asynchronous scheduling too, but notes each token in the prefix cache twice.
    """

    def __new__(cls, vllm_config: VllmConfig, *args: Any, **kwargs: Any) -> "LockstepScheduler":
        return object.__new__(AsyncLockstepScheduler if vllm_config.scheduler_config.async_scheduling else cls)


class AsyncLockstepScheduler(LockstepScheduler, AsyncScheduler):  # type: ignore[misc]
    """What `LockstepScheduler` makes under asynchronous scheduling."""
