"""What our scheduler takes for granted of vLLM's."""

import inspect
import re
from typing import Any

import pytest
from vllm.config import VllmConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.structured_output import StructuredOutputManager

from tests.mllm.engine import Size, engine_of
from workers.mllm import scheduler
from workers.mllm.launch import SCHEDULER
from workers.mllm.obstacles import Obstacle
from workers.mllm.scheduler import Lockstep

OVERRIDDEN = {
    "__init__",
    "add_request",
    "finish_requests",
    "schedule",
    "update_from_output",
    "_free_request",
    "_get_local_prefix_cache_hit",
    "_handle_blocked_waiting_request",
    "_preempt_request",
    "_reserve_prefill_lookahead",
}


def test_our_names_hide_none_of_vllms_but_those_that_are_meant() -> None:
    """A method or attribute of ours with the name of one of vLLM's would break its scheduler in silence."""
    ours = {name for name, value in vars(Lockstep).items() if inspect.isfunction(value) or isinstance(value, property)}
    assert {name for name in ours if hasattr(AsyncScheduler, name)} == OVERRIDDEN
    attributes = set(re.findall(r"self\.(_\w+)(?:: [^=\n]+)? = ", inspect.getsource(scheduler)))
    theirs = set(re.findall(r"self\.(\w+)", inspect.getsource(Scheduler) + inspect.getsource(AsyncScheduler)))
    assert attributes >= {"_register", "_is_free"}
    assert not (attributes | (ours - OVERRIDDEN)) & theirs


KV_CONNECTOR = {"kv_connector": "ExampleConnector", "kv_role": "kv_both"}
EC_CONNECTOR = {
    "ec_connector": "ECExampleConnector",
    "ec_role": "ec_both",
    "ec_connector_extra_config": {"shared_storage_path": "unused"},
}
NGRAM = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 2}
REFUSED: list[tuple[Obstacle, dict[str, Any]]] = [
    (Obstacle.SPECULATION, {"speculative_config": NGRAM}),
    (Obstacle.PIPELINE, {"pipeline_parallel_size": 2}),
    (Obstacle.DATA, {"data_parallel_size": 2}),
    (Obstacle.CONNECTOR, {"kv_transfer_config": KV_CONNECTOR}),
    (Obstacle.CONNECTOR, {"ec_transfer_config": EC_CONNECTOR}),
    (Obstacle.PRIORITY, {"scheduling_policy": "priority"}),
    (Obstacle.SEATS, {"max_num_seqs": 1}),
]


def _config(folder: str, **changes: Any) -> VllmConfig:
    """What vLLM makes of its arguments, in the process that answers HTTP."""
    return EngineArgs(model=folder, dtype="float32", scheduler_cls=SCHEDULER, **changes).create_engine_config()


def _make_scheduler(folder: str, config: VllmConfig) -> None:
    """As the engine's process makes it, once the KV cache is laid out."""
    kv_cache = engine_of(folder, Size()).scheduler.kv_cache_config
    config.cache_config.num_gpu_blocks = kv_cache.num_blocks
    made = config.scheduler_config.get_scheduler_cls()
    made(config, kv_cache, StructuredOutputManager(config), block_size=Size().block_size)


def test_a_set_up_without_obstacles_is_taken(mllm_folder: str) -> None:
    _make_scheduler(mllm_folder, _config(mllm_folder))


@pytest.mark.parametrize(("obstacle", "changes"), REFUSED, ids=str)
def test_a_scheduler_of_plain_vllm_refuses_what_lockstep_does_not_work_with(
    mllm_folder: str, obstacle: Obstacle, changes: dict[str, Any]
) -> None:
    config = _config(mllm_folder, **changes)
    with pytest.raises(ValueError, match=re.escape(obstacle.sentence)):
        _make_scheduler(mllm_folder, config)


def test_an_engine_of_several_is_refused_although_vllm_tells_it_that_it_is_alone(mllm_folder: str) -> None:
    """Dense models: vLLM's own engines are made so, and only the index says that there are others."""
    config = _config(mllm_folder, data_parallel_size=2)
    config.parallel_config.data_parallel_index = 1
    config.parallel_config.reconfigure_for_independent_dp_rank()
    assert config.parallel_config.data_parallel_size == 1
    with pytest.raises(ValueError, match=re.escape(Obstacle.DATA.sentence)):
        _make_scheduler(mllm_folder, config)


def test_batch_sharded_sampling_is_refused(mllm_folder: str) -> None:
    config = _config(mllm_folder)
    config.parallel_config.enable_batch_sharded_sampling = True  # vLLM takes the flag only with several devices
    with pytest.raises(ValueError, match=re.escape(Obstacle.SHARDING.sentence)):
        _make_scheduler(mllm_folder, config)


@pytest.mark.parametrize(("depth", "is_asynchronous"), [(1, False), (2, True)])
def test_lockstep_is_on_top_of_the_scheduler_that_vllm_would_take(
    mllm_folder: str, depth: int, is_asynchronous: bool
) -> None:
    made = engine_of(mllm_folder, Size(), depth).scheduler
    assert isinstance(made, AsyncScheduler) == is_asynchronous
