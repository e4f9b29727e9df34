"""What is asked of an improvement run: written down with it, and the same when it goes on."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from pairs.model import RATIO_MIN, Method, Ratio, Temperature, Value

POOL = "demo:unlabelled"
PROMOTION = ("demo:in_distribution:400:30000", "demo:theme_breaking:400:30000")
"""Scenes of another seed than the ones that weights and evidence are measured on."""


MOST_ROUNDS = 99
"""So many have scenes of their own."""


class Asked(Value):
    """`images`: paths, or WORLD:SPLIT, of which each round takes `count` new scenes. `promote_on` are the data sets of
    the gate, `test` those that are only reported. With `grounding_ratio` (h < 0) the normal answers are decoded by
    contrast. With `least_decided` each round raises the mean ratio until so large a share of its pairs is decided.
    `train` are further flags of `judgefree train`."""

    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] = 5
    images: tuple[str, ...] = (POOL,)
    count: Annotated[int, Field(ge=1)] = 1024
    promote_on: tuple[str, ...] = PROMOTION
    test: tuple[str, ...] = ()
    method: Method = Method.BLEND
    ratio_mean: Ratio | None = None
    ratio_std: Annotated[float, Field(ge=0, le=2)] | None = None
    least_decided: Annotated[float, Field(gt=0, lt=1)] | None = None
    grounding_ratio: Annotated[float, Field(ge=RATIO_MIN, lt=0)] | None = None
    temperature: Temperature | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    train: tuple[str, ...] = ()

    @field_validator("least_decided")
    @classmethod
    def _has_a_ratio_to_raise(cls, least: float | None, info: ValidationInfo) -> float | None:
        method = info.data.get("method", Method.BLEND)
        if least is not None and method is not Method.BLEND:
            raise ValueError(f"method {method} has no ratio that could be raised")
        return least
