"""Percentiles of what was measured, exact: load tests hold every value."""

import math
from collections.abc import Collection

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}


def quantile(values: Collection[float], share: float) -> float | None:
    """The least value that at least `share` (in (0, 1]) of the values do not exceed (nearest rank); None of none."""
    if not values:
        return None
    return sorted(values)[math.ceil(share * len(values)) - 1]


def quantiles(values: Collection[float]) -> dict[str, float | None]:
    """The values at QUANTILES, by name."""
    ordered = sorted(values)
    return {
        name: ordered[math.ceil(share * len(ordered)) - 1] if ordered else None for name, share in QUANTILES.items()
    }
