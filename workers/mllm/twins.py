"""What makes a request one half of a twin pair: the `vllm_xargs` it carries, and what it may not ask for besides.

Pure: both vLLM's API process (to refuse) and its engine (to pair) read requests through this file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from vllm import SamplingParams

TWIN_KEY = "judgefree_twin"
ROLE_KEY = "judgefree_role"
RATIO_KEY = "judgefree_ratio"
KEYS = frozenset({TWIN_KEY, ROLE_KEY, RATIO_KEY})

_SEED_KEY = "seed of the twin"

MAX_RATIO = 2.0
"""Ratios lie in [-MAX_RATIO, MAX_RATIO]; past it the blend is noise."""
MAX_ID_LENGTH = 128

_OF_NO_EFFECT = frozenset(
    {
        *("extra_args", "output_kind", "stream_interval", "skip_clone", "skip_reading_prefix_cache"),
        *("logprobs", "logprob_token_ids", "flat_logprobs"),
        *("prompt_logprobs", "prompt_logprob_token_ids", "prompt_logprob_start"),
    }
)
"""Fields of SamplingParams in which twins may differ: they do not bear on which token is sampled."""


class TwinError(ValueError):
    """A request that claims to be a twin and cannot be one; the message is fit for the client."""


class Role(StrEnum):
    """Which context a member of the pair holds: with the image, or without it."""

    GROUNDED = "grounded"
    BLIND = "blind"


@dataclass(frozen=True, slots=True)
class Twin:
    """One half of a pair: the id that both halves share, this half's role, and the hallucination ratio h."""

    id: str
    role: Role
    ratio: float


def twin_of(extra_args: Mapping[str, Any] | None) -> Twin | None:
    """The twin that a request's `SamplingParams.extra_args` describe; None for an ordinary request.

    Raises TwinError when only some of the keys are there, one is misspelt, or a value is out of bounds.
    """
    given = {key for key in extra_args or () if key.startswith("judgefree_")}
    if not extra_args or not given:
        return None
    if given != KEYS:
        raise TwinError(f"A twin carries exactly the vllm_xargs {_list(KEYS)}; this request carries {_list(given)}.")
    twin_id, role, ratio = extra_args[TWIN_KEY], extra_args[ROLE_KEY], extra_args[RATIO_KEY]
    if not isinstance(twin_id, str) or not 0 < len(twin_id) <= MAX_ID_LENGTH:
        raise TwinError(f"{TWIN_KEY} must be a text of 1 to {MAX_ID_LENGTH} characters, not {twin_id!r:.80}.")
    if role not in list(Role):
        raise TwinError(f"{ROLE_KEY} must be 'grounded' or 'blind', not {role!r:.80}.")
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not math.isfinite(ratio):
        raise TwinError(f"{RATIO_KEY} must be a finite number, not {ratio!r:.80}.")
    if abs(ratio) > MAX_RATIO:
        raise TwinError(f"{RATIO_KEY} must lie in [-{MAX_RATIO:g}, {MAX_RATIO:g}], not {ratio!r}.")
    return Twin(twin_id, Role(role), float(ratio))


def take_seed(params: "SamplingParams") -> None:
    """Move a twin's seed to where only `seed_of` finds it, so that vLLM makes no random generator for the request.

    A member is held one token short of its first sample, and vLLM takes the sample of an unfinished prompt back by
    rewinding the request's generator, which ends the engine on a CPU.
    """
    if params.seed is not None:
        params.extra_args = {**(params.extra_args or {}), _SEED_KEY: params.seed}
        params.seed = None


def seed_of(params: "SamplingParams") -> int | None:
    """The seed that the client sent, wherever it now stands."""
    seed: int | None = (params.extra_args or {}).get(_SEED_KEY, params.seed)
    return seed


def refusals(params: "SamplingParams") -> list[str]:
    """The sampling parameters of a twin that paired decoding does not take, by name.

    vLLM applies these to each row by itself, before or after the blend, so that they would pull the twins apart.
    """
    asked = {
        "n": params.n > 1,
        "presence_penalty": params.presence_penalty != 0,
        "frequency_penalty": params.frequency_penalty != 0,
        "repetition_penalty": params.repetition_penalty != 1,
        "min_tokens": params.min_tokens > 0,
        "logit_bias": bool(params.logit_bias),
        "allowed_token_ids": bool(params.allowed_token_ids),
        "bad_words": bool(params.bad_words),
        "structured_outputs": params.structured_outputs is not None,
        "thinking_token_budget": params.thinking_token_budget is not None,
    }
    return [name for name, is_asked in asked.items() if is_asked]


def check_admissible(params: "SamplingParams") -> None:
    """Raise TwinError when `params` are those of a twin that cannot be served; ordinary requests always pass."""
    if twin_of(params.extra_args) is None:
        return
    if refused := refusals(params):
        raise TwinError(f"Paired decoding does not take {', '.join(refused)}.")


def disagreements(grounded: "SamplingParams", blind: "SamplingParams") -> list[str]:
    """The parameters in which two members of a pair differ, by name; empty for a sound pair."""
    one, other = _plain(grounded), _plain(blind)
    return sorted(name for name in one if one[name] != other[name])


def _plain(params: "SamplingParams") -> dict[str, Any]:
    fields = {name: value for name, value in msgspec.structs.asdict(params).items() if name not in _OF_NO_EFFECT}
    return {**fields, RATIO_KEY: (params.extra_args or {}).get(RATIO_KEY), "seed": seed_of(params)}


def _list(keys: "set[str] | frozenset[str]") -> str:
    return ", ".join(sorted(keys))
