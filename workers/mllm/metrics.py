"""What lockstep counts, on vLLM's own `/metrics`.

Lockstep happens in the engine's process and `/metrics` is served by the API's. vLLM sends `SchedulerStats` from the
one to the other with every step, and hands them to the classes that the entry point `vllm.stat_logger_plugins` names.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prometheus_client import Counter, Gauge
from vllm.config import VllmConfig
from vllm.v1.metrics.loggers import AggregateStatLoggerBase
from vllm.v1.metrics.stats import IterationStats, MultiModalCacheStats, SchedulerStats

_PREFIX = "judgefree_mllm_"


@dataclass(slots=True)
class Tally:
    """Pairs in the register now, and what has happened since the engine started, or since another tally."""

    twins_in_flight: int = 0
    held_steps: int = 0
    divergences: int = 0
    timeouts: int = 0

    def since(self, earlier: "Tally") -> "Tally":
        """The pairs in the register now, and what has happened since `earlier`."""
        return Tally(
            twins_in_flight=self.twins_in_flight,
            held_steps=self.held_steps - earlier.held_steps,
            divergences=self.divergences - earlier.divergences,
            timeouts=self.timeouts - earlier.timeouts,
        )


TWINS_IN_FLIGHT = Gauge(
    f"{_PREFIX}twins_in_flight",
    "Twin pairs of which at least one member is unfinished",
    multiprocess_mode="mostrecent",
)
COUNTERS = {
    name: Counter(f"{_PREFIX}{name}", text)
    for name, text in {
        "held_steps": "Times that a member of a pair was held one token short of sampling for a step",
        "divergences": "Twin pairs whose members did not end together with the same tokens; must stay 0",
        "timeouts": "Twin pairs that were ended because they waited too long for each other or for room",
    }.items()
}


def attach(stats: SchedulerStats, tally: Tally) -> None:
    """Put `tally` into what the engine's process sends.

    The counts of KV fetches are the one open mapping among vLLM's stats. They belong to KV connectors, with which
    paired decoding does not work.
    """
    stats.num_kv_fetch_reqs_by_stage |= {_PREFIX + name: count for name, count in asdict(tally).items()}


def detach(stats: SchedulerStats) -> Tally | None:
    """Take the tally out of what the API's process received, before vLLM's own loggers see it; None without one."""
    sent = stats.num_kv_fetch_reqs_by_stage
    found = {name.removeprefix(_PREFIX): sent.pop(name) for name in list(sent) if name.startswith(_PREFIX)}
    return Tally(**found) if found else None


class TwinMetrics(AggregateStatLoggerBase):  # type: ignore[misc]
    """For `vllm.stat_logger_plugins`: adds what an engine has counted to Prometheus metrics. Idle without lockstep.

    Of several API servers each is told a part of it, and a scrape of any adds their counters up.
    """

    def __init__(self, vllm_config: VllmConfig, engine_indexes: Sequence[int]) -> None:
        """All that lockstep counts comes with the statistics."""

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: MultiModalCacheStats | None = None,
        engine_idx: int = 0,
        **_: Any,
    ) -> None:
        tally = detach(scheduler_stats) if scheduler_stats is not None else None
        if tally is None:
            return
        TWINS_IN_FLIGHT.set(tally.twins_in_flight)
        for name, counter in COUNTERS.items():
            counter.inc(getattr(tally, name))

    def log_engine_initialized(self) -> None:
        """Nothing to say: the metrics stand at zero from the start."""
