"""vLLM's real scheduler with lockstep, in process, and the least that a model runner must answer for it to go on.

What vLLM's engine core does around a scheduler is here in a dozen lines, with one step or two in flight. The "model"
samples a token that depends on the pair and on how many it has sampled, so that every wrong step shows.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from zlib import crc32

import torch
from vllm import SamplingParams
from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
from vllm.multimodal.inputs import MultiModalFeatureSpec, MultiModalKwargsItem, PlaceholderRange
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

from tests.mllm.client import xargs
from workers.mllm.scheduler import Lockstep, LockstepScheduler

IMAGE_TOKENS = 36
WORDS = 64


@dataclass(frozen=True)
class Size:
    """How much room a scheduler has."""

    seats: int = 8
    step_tokens: int = 64
    blocks: int = 32
    block_size: int = 8
    is_caching: bool = True


@dataclass
class Step:
    """One step under way: what was scheduled, who samples a token, at which position, and whose is dropped."""

    scheduled: SchedulerOutput
    samples: dict[str, int]
    dropped: set[str] = field(default_factory=set)


@dataclass
class Engine:
    """A scheduler, the steps in flight, and what clients were told.

    depth: steps in flight at once, 1 or 2. names: what a request's tokens depend on, the same for both of a pair.
    """

    scheduler: Lockstep
    depth: int
    block_size: int
    in_flight: deque[Step] = field(default_factory=deque)
    tokens: dict[str, list[int]] = field(default_factory=dict)
    ends: dict[str, EngineCoreOutput] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def add(
        self, name: str, prompt: Sequence[int], max_tokens: int, twin: dict[str, Any] | None = None, image: str = ""
    ) -> Request:
        """A request arrives; with an `image`, IMAGE_TOKENS of its prompt, from the second on, are the image's."""
        params = SamplingParams(max_tokens=max_tokens, ignore_eos=True, temperature=0, extra_args=twin)
        position = PlaceholderRange(offset=1, length=IMAGE_TOKENS)
        feature = MultiModalFeatureSpec(MultiModalKwargsItem.dummy(), "image", image, position)
        request = Request(
            name,
            list(prompt),
            params,
            None,
            mm_features=[feature] if image else None,
            block_hasher=get_request_block_hasher(self.block_size, sha256),
        )
        self.tokens[name] = []
        self.names[name] = twin["judgefree_twin"] if twin else name
        self.requests[name] = request
        self.scheduler.add_request(request)
        return request

    def abort(self, name: str) -> None:
        """The client of a request hangs up."""
        self.scheduler.finish_requests(name, RequestStatus.FINISHED_ABORTED)

    def reset_prefix_cache(self) -> None:
        """As after new weights: everything that runs is preempted, and what it has in flight is dropped."""
        self.scheduler.reset_prefix_cache(reset_running_requests=True)
        dropped = {name for name, request in self.requests.items() if request.drop_stale_output}
        for step in self.in_flight:
            step.dropped |= dropped

    def step(self) -> dict[str, int]:
        """Schedule a step, and take the result of the oldest in flight when no more may be.

        Returns the requests that sample in the new step, each with the position of its token.
        """
        samples: dict[str, int] = {}
        if self.scheduler.has_requests():
            scheduled = self.scheduler.schedule()
            self._check_tokens_in_flight(scheduled)
            samples = self._samples(scheduled)
            self.in_flight.append(Step(scheduled, samples))
            if len(self.in_flight) < self.depth and (samples or self.scheduler.has_requests()):
                return samples
        if self.in_flight:
            self._finish(self.in_flight.popleft())
        return samples

    def _samples(self, scheduled: SchedulerOutput) -> dict[str, int]:
        samples = {}
        for name, count in scheduled.num_scheduled_tokens.items():
            request = self.requests[name]
            # vLLM has counted this step in already: computed is what will have run, and a placeholder is this sample.
            is_sampling = request.num_computed_tokens >= request.num_tokens + self._placeholders_before(request)
            assert count > 0
            if is_sampling:
                samples[name] = request.num_output_tokens + self._in_flight_samples(name)
        return samples

    def _check_tokens_in_flight(self, scheduled: SchedulerOutput) -> None:
        """A worker looks a token in flight up in what the step just before has sampled, and nowhere else."""
        before = self.in_flight[-1].samples if self.in_flight else {}
        for name in scheduled.num_scheduled_tokens:
            if name != self.names[name] and self._in_flight_samples(name):
                assert name in before, f"{name} runs a token that its worker does not hold"

    def _placeholders_before(self, request: Request) -> int:
        placeholders: int = request.num_output_placeholders
        return max(0, placeholders - 1)

    def _in_flight_samples(self, name: str) -> int:
        return sum(name in step.samples.keys() - step.dropped for step in self.in_flight)

    def _finish(self, step: Step) -> None:
        names = list(step.scheduled.num_scheduled_tokens)
        sampled = [[sample_of(self.names[name], step.samples[name])] if name in step.samples else [] for name in names]
        index = {name: k for k, name in enumerate(names)}
        result = ModelRunnerOutput(req_ids=names, req_id_to_index=index, sampled_token_ids=sampled)
        self._tell(self.scheduler.update_from_output(step.scheduled, result))

    def _tell(self, outputs: dict[int, EngineCoreOutputs]) -> None:
        for output in (output for batch in outputs.values() for output in batch.outputs):
            assert output.request_id not in self.ends, "an answer goes on after its end"
            self.tokens[output.request_id] += output.new_token_ids
            if output.finish_reason is not None:
                self.ends[output.request_id] = output

    @property
    def is_idle(self) -> bool:
        return not self.scheduler.has_requests() and not self.in_flight

    @property
    def num_free_blocks(self) -> int:
        blocks: int = self.scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
        return blocks


def sample_of(who: str, position: int) -> int:
    """What the "model" samples at a position of an answer: `who` is a pair's id or an ordinary request's name."""
    return crc32(f"{who} {position}".encode()) % WORDS


def as_member(twin: str, role: str, ratio: float = 0.5) -> dict[str, Any]:
    """The extra_args of a member of a pair."""
    return dict(xargs(twin, role, ratio))


@cache
def _model(folder: str) -> ModelConfig:
    return ModelConfig(model=folder, dtype="float32", seed=0)


def engine_of(folder: str, size: Size, depth: int = 1) -> Engine:
    """An engine for the model in `folder`, with nothing in it. depth 2 is asynchronous scheduling."""
    init_none_hash(sha256)
    model = _model(folder)
    cache_config = CacheConfig(block_size=size.block_size, enable_prefix_caching=size.is_caching)
    cache_config.num_gpu_blocks = size.blocks
    config = VllmConfig(
        model_config=model,
        cache_config=cache_config,
        scheduler_config=SchedulerConfig(
            max_num_seqs=size.seats,
            max_num_batched_tokens=size.step_tokens,
            max_model_len=model.max_model_len,
            is_encoder_decoder=False,
            enable_chunked_prefill=True,
        ),
    )
    config.scheduler_config.async_scheduling = depth > 1  # vLLM's CPU platform has just switched it off
    spec = FullAttentionSpec(block_size=size.block_size, num_kv_heads=1, head_size=1, dtype=torch.float32)
    kv_cache = KVCacheConfig(
        num_blocks=size.blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
    )
    return Engine(
        LockstepScheduler(
            config, kv_cache, StructuredOutputManager(config), block_size=size.block_size, log_stats=True
        ),
        depth,
        size.block_size,
    )
