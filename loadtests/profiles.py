"""What a load test is: a profile of a TOML file, with the limits that decide its exit status."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pairs.errors import JudgefreeError
from pairs.model import Value

TICK_S = 1.0
"""How often the load follows its shape: locust asks for the level no more often."""
SHIPPED = Path(__file__).parent / "profiles.toml"

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Unit = Literal["open", "closed"]


class BadProfile(JudgefreeError):
    """A file of profiles that cannot be read, or has no such profile."""

    type, status, title = "bad-profile", 400, "The load test's profile cannot be used"


class Steady(Value):
    """One level from beginning to end; what happens before `warm_up_s` is not counted."""

    kind: Literal["steady"]
    level: Positive
    duration_s: Positive
    warm_up_s: Annotated[float, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _something_is_counted(self) -> Self:
        if self.warm_up_s >= self.duration_s:
            raise ValueError("nothing is left to count: warm_up_s must be less than duration_s")
        return self


class Soak(Value):
    """One level for long; figures are kept for each `window_s`, and its first and last thirds are compared."""

    kind: Literal["soak"]
    level: Positive
    duration_s: Positive
    window_s: Positive
    warm_up_s: Annotated[float, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _a_window_is_counted(self) -> Self:
        if self.warm_up_s + self.window_s > self.duration_s:
            raise ValueError("not one window is counted: warm_up_s and window_s together must not exceed duration_s")
        return self


class Burst(Value):
    """`bursts` times: `base` for `every_s`, then `peak` for `lasting_s`; after the last one `every_s` of `base`."""

    kind: Literal["burst"]
    base: Positive
    peak: Positive
    every_s: Positive
    lasting_s: Positive
    bursts: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _no_part_is_skipped(self) -> Self:
        if min(self.every_s, self.lasting_s) < 2 * TICK_S:
            raise ValueError(
                f"a part of it may be skipped: every_s and lasting_s must be at least {2 * TICK_S:g}, since the load "
                f"follows its shape every {TICK_S:g} s"
            )
        return self


class Ramp(Value):
    """From `start` up by `growth` until the system no longer keeps up; under open load the knee is then closed in on
    until it is known to a factor of `precision`. A level is held for `hold_s` and measured after `settle_s`; it counts
    as kept up with while no more than `tolerance` of the arrivals stay behind."""

    kind: Literal["ramp"]
    start: Positive
    growth: Annotated[float, Field(gt=1)] = 1.5
    precision: Annotated[float, Field(gt=1)] = 1.15
    tolerance: Share = 0.1
    hold_s: Positive
    settle_s: Annotated[float, Field(ge=0)]
    most_levels: Annotated[int, Field(ge=2)] = 16

    @model_validator(mode="after")
    def _a_level_is_measured(self) -> Self:
        if self.settle_s >= self.hold_s:
            raise ValueError("no level is measured: settle_s must be less than hold_s")
        return self


Shape = Annotated[Steady | Soak | Burst | Ramp, Field(discriminator="kind")]


class Crowd(Value):
    """How many of a kind of user there are beside the load, and how long each pauses (on average) between two acts."""

    count: Annotated[int, Field(ge=0)]
    pause_s: Positive
    images: Annotated[int, Field(ge=1, le=64)] = 8
    """In one request of a bulk uploader."""


class Crowds(Value):
    """Who else is there, beside the posters whose number or rate the shape gives."""

    bulk: Crowd | None = None
    browser: Crowd | None = None
    exporter: Crowd | None = None
    reviewer: Crowd | None = None
    bad: Crowd | None = None


class Journey(Value):
    """How a poster goes about one image.

    `wait`: how it waits for the finished pair: under `post` the POST itself asks to wait, under `get` the POST is
    answered at once and a GET asks to wait, under `poll` the pair is asked for every `poll_s`. `fields` go with the
    request. One in `repeat_share` requests is sent twice under its idempotency key. After `give_up_s` it waits no more.
    """

    wait: Literal["post", "get", "poll"] = "get"
    poll_s: Positive = 0.5
    pause_s: Annotated[float, Field(ge=0)] = 0
    repeat_share: Share = 0.0
    give_up_s: Positive = 60
    fields: dict[str, str] = Field(default_factory=dict)


class Thresholds(Value):
    """Limits; what is not given is not asked for. Latencies run from the arrival of an image to its finished pair."""

    min_pairs_per_s: float | None = None
    max_p50_s: float | None = None
    max_p95_s: float | None = None
    max_p99_s: float | None = None
    max_error_share: Share | None = None
    max_busy_share: Share | None = None
    max_failed_pairs: int | None = None
    min_knee_pairs_per_s: float | None = None
    max_recovery_s: float | None = None
    max_drift: float | None = None
    max_lateness_p95_s: float | None = None


_OF_SHAPES: dict[str, str] = {"min_knee_pairs_per_s": "ramp", "max_recovery_s": "burst", "max_drift": "soak"}
"""Thresholds that only one kind of shape has anything for."""


class Profile(Value):
    """`load` says what a level is: arrivals a second (open) or posters at a time (closed)."""

    load: Unit
    arrivals: Literal["poisson", "even"] = "poisson"
    shape: Shape
    journey: Journey = Journey()
    users: Crowds = Crowds()
    thresholds: Thresholds = Thresholds()
    drain_s: Annotated[float, Field(gt=0, le=600)] = 60
    """Longest wait after the load's end until everything accepted is done."""

    @model_validator(mode="after")
    def _thresholds_are_of_the_shape(self) -> Self:
        kind = self.shape.kind
        for name in self.thresholds.model_dump(exclude_none=True):
            if _OF_SHAPES.get(name, kind) != kind:
                raise ValueError(f"a {kind} cannot meet thresholds.{name}: only a {_OF_SHAPES[name]} measures it")
        return self


def read_profile(name: str, file: Path = SHIPPED) -> Profile:
    """The profile `name` of a TOML file; raises BadProfile with what is wrong with which field."""
    try:
        profiles = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadProfile(f"{file} cannot be read as TOML: {error}") from error
    if name not in profiles:
        raise BadProfile(f"{file} has no profile {name}; it has {', '.join(profiles)}.")
    try:
        return Profile.model_validate(profiles[name])
    except ValidationError as error:
        said = "; ".join(": ".join(filter(None, (_place(one["loc"]), _reason(one["msg"])))) for one in error.errors())
        raise BadProfile(f"{file}, profile {name}: {said}.") from error


def _place(loc: tuple[str | int, ...]) -> str:
    return ".".join(map(str, loc))


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")
