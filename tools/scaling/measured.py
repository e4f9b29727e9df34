"""What a replica can do, from the result files in benchmarks/results and the defaults of the settings."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pairs.settings import Settings
from tools.scaling.cluster import GATEWAY, MLLM, VERIFIER, Capacity

_AHEAD = 8
_BATCHES_OF_A_VERIFIER = 3
_REQUESTS_OF_A_PAIR = 3


@dataclass(frozen=True)
class Measured:
    """What one replica can do, and for each figure a sentence on where it is from."""

    capacity: Capacity
    sources: tuple[str, ...]


def read(results: Path) -> Measured:
    """The parts as they were measured. Raises FileNotFoundError for a missing result file."""
    whole, cost, start = (_json(results / f"{name}.json") for name in ("end_to_end", "judge_cost", "start_up"))
    defaults = {name: one.default for name, one in Settings.model_fields.items()}
    generated, verified = median(whole["pairs_per_s"]["service"]), 1000 / cost["ways"]["clip"]["ms_per_pair"]
    starts = {name: start["median_s"][name] for name in (GATEWAY, MLLM, VERIFIER)}
    seats = defaults["max_num_seqs"] // _REQUESTS_OF_A_PAIR
    capacity = Capacity(
        generated_per_s=generated,
        verified_per_s=verified,
        concurrency=defaults["pairer_concurrency"],
        ahead=_AHEAD,
        seats=seats,
        held=_BATCHES_OF_A_VERIFIER * defaults["batch_size"],
        start_s={name: round(seconds) for name, seconds in starts.items()},
    )
    return Measured(
        capacity,
        (
            f"a vLLM with a gateway's {capacity.concurrency} pairs in flight: {generated:.1f} pairs/s, the median of "
            f"`end_to_end.json` through the whole service on {whole['machine']['cores']} cores",
            f"a verifier: {verified:.0f} pairs/s on {cost['threads']} thread (`judge_cost.json`)",
            "from start to readiness: "
            + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in starts.items())
            + " (`start_up.json`)",
            f"from the settings' defaults: {capacity.concurrency} pairs in generation a gateway "
            f"(`pairer_concurrency`), room for {seats} pairs in a vLLM (`max_num_seqs`), up to {capacity.held} "
            "candidates in a verifier's hands (`batch_size`)",
        ),
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
