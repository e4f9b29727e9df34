"""The fields of a request for pairs: read from a form or from JSON into one value, `PairFields`."""

import json
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pairs.errors import MalformedRequest
from pairs.model import (
    RATIO_MAX,
    RATIO_MIN,
    Grounding,
    GroundingMethod,
    Hallucination,
    MaxTokens,
    Method,
    Ratio,
    Sampling,
    Seed,
    Temperature,
    TopK,
    TopP,
)
from pairs.settings import Settings
from service.bodies import TOO_DEEP, Body
from service.draws import DEFAULT_SEED, RATIO_RANGE, draw_ratio
from service.problems import InvalidFields, field_problems

MAX_PROMPT: Final = 100_000
"""Longest prompt, in characters: far past any context that a model is served with, and small beside an image."""

MAX_NAME: Final = 256

_NESTED = ("hallucination", "grounding")
_CONTRASTIVE_RATIO = -0.5


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HallucinationFields(_Fields):
    """How hallucination is injected: a fixed `ratio`, or one drawn from N(`ratio_mean`, `ratio_std`) and clipped."""

    method: Method = Method.BLEND
    ratio: Annotated[Ratio | None, Field(description="Fixed ratio: blend in [-2, 2], noise in [0, 1]")] = None
    ratio_mean: Annotated[float, Field(ge=RATIO_MIN, le=RATIO_MAX)] | None = None
    ratio_std: Annotated[float, Field(ge=0, le=2)] | None = None

    @model_validator(mode="after")
    def _fits_the_method(self) -> Self:
        is_drawn = self.ratio_mean is not None or self.ratio_std is not None
        if self.method not in RATIO_RANGE and (is_drawn or self.ratio is not None):
            raise ValueError(f"method {self.method} takes no ratio")
        if is_drawn and self.ratio is not None:
            raise ValueError("give either ratio, or ratio_mean and ratio_std")
        if self.ratio is not None:
            low, high = RATIO_RANGE[self.method]
            if not low <= self.ratio <= high:
                raise ValueError(f"ratio must be in [{low:g}, {high:g}] for method {self.method}")
        return self


class GroundingFields(_Fields):
    """How the normal answer is decoded: `contrastive` takes a `ratio` below 0, which is -0.5 if it is not given."""

    method: GroundingMethod = GroundingMethod.PLAIN
    ratio: Annotated[float | None, Field(ge=RATIO_MIN, lt=0)] = None

    @model_validator(mode="after")
    def _fits_the_method(self) -> Self:
        if self.method is GroundingMethod.PLAIN and self.ratio is not None:
            raise ValueError("only method contrastive takes a ratio")
        return self

    def carried_out(self) -> Grounding:
        if self.method is GroundingMethod.PLAIN:
            return Grounding()
        return Grounding(method=self.method, ratio=_CONTRASTIVE_RATIO if self.ratio is None else self.ratio)


class PairFields(_Fields):
    """What a request may say besides its images; what it leaves out comes from the settings."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT, examples=["Describe the image."])] | None = None
    hallucination: HallucinationFields = HallucinationFields()
    grounding: GroundingFields = GroundingFields()
    adapter: Annotated[
        str | None,
        Field(min_length=1, max_length=MAX_NAME, description="Name of a registered adapter; base: the model as it is"),
    ] = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature = 0.0
    top_p: TopP = 1.0
    top_k: Annotated[TopK, Field(description="0: all tokens")] = 0
    seed: Seed = DEFAULT_SEED

    @field_validator("prompt", "adapter")
    @classmethod
    def _is_storable(cls, text: str | None) -> str | None:
        if text is not None and "\0" in text:
            raise ValueError("must not hold the character NUL")
        if text is not None and not text.strip():
            raise ValueError("must not be blank")
        return text

    def sampling(self, settings: Settings) -> Sampling:
        return Sampling(
            max_tokens=self.max_tokens or settings.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
        )

    def injection(self, image_sha256: str, settings: Settings) -> Hallucination:
        """The injection for one image, its ratio drawn if it is not fixed."""
        asked = self.hallucination
        match asked.method:
            case Method.DROP:
                return Hallucination(method=asked.method, ratio=1.0)
            case Method.PROMPT:
                return Hallucination(method=asked.method, ratio=None)
        if asked.ratio is not None:
            return Hallucination(method=asked.method, ratio=asked.ratio)
        mean = settings.ratio_mean if asked.ratio_mean is None else asked.ratio_mean
        std = settings.ratio_std if asked.ratio_std is None else asked.ratio_std
        return Hallucination(method=asked.method, ratio=draw_ratio(asked.method, mean, std, self.seed, image_sha256))


def read_fields(body: Body) -> PairFields:
    """The fields of a body; raises InvalidFields naming each bad one."""
    nested = _nest(body.fields)
    try:
        if body.is_form:
            return PairFields.model_validate(nested)
        return PairFields.model_validate_json(json.dumps(nested), strict=True)  # 64 is a number, "64" is not
    except RecursionError as error:
        raise MalformedRequest(TOO_DEEP) from error
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":  # json.loads lets half a surrogate pair pass, and nests deeper
            is_deep = "recursion" in str(first["ctx"]["error"])
            raise MalformedRequest(TOO_DEEP if is_deep else "A text of the body is not Unicode.") from error
        raise InvalidFields(field_problems(list(error.errors(include_url=False)))) from error


def _nest(fields: dict[str, Any]) -> dict[str, Any]:
    """`{"hallucination.ratio": 1}` as `{"hallucination": {"ratio": 1}}`."""
    nested = fields
    for group in _NESTED:
        dotted = {name: value for name, value in nested.items() if name.startswith(f"{group}.")}
        given = nested.get(group, {})
        if dotted and isinstance(given, dict):
            rest = {name: value for name, value in nested.items() if name not in dotted}
            nested = rest | {group: given | {name.partition(".")[2]: value for name, value in dotted.items()}}
    return nested
