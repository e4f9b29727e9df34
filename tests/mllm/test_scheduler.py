"""What our scheduler takes for granted of vLLM's."""

import inspect
import re

import pytest
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from tests.mllm.engine import Size, engine_of
from workers.mllm import scheduler
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


def test_a_scheduler_that_plain_vllm_makes_for_one_request_at_a_time_is_refused_with_the_sentence(
    mllm_folder: str,
) -> None:
    with pytest.raises(ValueError, match=re.escape(Obstacle.SEATS.sentence)):
        engine_of(mllm_folder, Size(seats=1))


@pytest.mark.parametrize(("depth", "is_asynchronous"), [(1, False), (2, True)])
def test_lockstep_is_on_top_of_the_scheduler_that_vllm_would_take(
    mllm_folder: str, depth: int, is_asynchronous: bool
) -> None:
    made = engine_of(mllm_folder, Size(), depth).scheduler
    assert isinstance(made, AsyncScheduler) == is_asynchronous
