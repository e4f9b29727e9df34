"""What a replica can do, from the result files in benchmarks/results and the settings that k8s/overlays/gpu has."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pairs.settings import ENV_PREFIX, Settings
from tools.scaling.cluster import GATEWAY, MLLM, VERIFIER, Capacity

_GATEWAY_MS = 7
"""Processor time of a pair in the gateway: docs/benchmarks.md, end to end."""
_AHEAD = 8
_BATCHES_OF_A_VERIFIER = 3
_REQUESTS_OF_A_PAIR = 3


@dataclass(frozen=True)
class Measured:
    """What one replica can do, and for each figure a sentence on where it is from."""

    capacity: Capacity
    sources: tuple[str, ...]


def read(results: Path, environment: Path) -> Measured:
    """The parts as they were measured, with the settings that the file `environment` changes.

    Raises FileNotFoundError for a missing file.
    """
    whole, cost, start = (_json(results / f"{name}.json") for name in ("end_to_end", "judge_cost", "start_up"))
    settings = _settings(environment)
    generated, verified = median(whole["pairs_per_s"]["service"]), 1000 / cost["ways"]["clip"]["ms_per_pair"]
    starts = {name: start["median_s"][name] for name in (GATEWAY, MLLM, VERIFIER)}
    capacity = Capacity(
        paired_per_s=1000 / _GATEWAY_MS,
        generated_per_s=generated,
        in_flight=whole["pairs_in_flight"],
        verified_per_s=verified,
        concurrency=settings["pairer_concurrency"],
        ahead=_AHEAD,
        seats=settings["max_num_seqs"] // _REQUESTS_OF_A_PAIR,
        held=_BATCHES_OF_A_VERIFIER * settings["batch_size"],
        start_s={name: round(seconds) for name, seconds in starts.items()},
    )
    return Measured(
        capacity,
        (
            f"a vLLM with {capacity.in_flight} pairs in flight: {generated:.1f} pairs/s, the median of "
            f"`end_to_end.json` through the whole service on {whole['machine']['cores']} cores",
            f"a gateway: {capacity.paired_per_s:.0f} pairs/s, what {_GATEWAY_MS} ms of processor time a pair "
            "(docs/benchmarks.md) leave of one core",
            f"a verifier: {verified:.0f} pairs/s on {cost['threads']} thread (`judge_cost.json`)",
            "from start to readiness: "
            + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in starts.items())
            + " (`start_up.json`)",
            f"from the settings of `k8s/overlays/gpu`: {capacity.concurrency} pairs in generation at each vLLM, per "
            f"gateway (`pairer_concurrency`), room for {capacity.seats} pairs in a vLLM (`max_num_seqs`), up to "
            f"{capacity.held} candidates in a verifier's hands (`batch_size`)",
        ),
    )


def _settings(environment: Path) -> dict[str, int]:
    """The numbers that matter here: as the file has them, else their defaults."""
    lines = (line.split("=", 1) for line in environment.read_text(encoding="utf-8").splitlines() if "=" in line)
    said = {name.strip(): value.strip() for name, value in lines}
    return {
        name: int(said.get(f"{ENV_PREFIX}{name.upper()}", Settings.model_fields[name].default))
        for name in ("pairer_concurrency", "max_num_seqs", "batch_size")
    }


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
