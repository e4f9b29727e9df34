"""What is drawn for a pair, as pure functions of its seed and its image: the same again for the same request."""

import hashlib
from statistics import NormalDist
from typing import Final

from pairs.model import RATIO_MAX, RATIO_MIN, Method

DEFAULT_SEED: Final = 0

RATIO_RANGE: Final[dict[Method, tuple[float, float]]] = {
    Method.BLEND: (RATIO_MIN, RATIO_MAX),
    Method.NOISE: (0.0, 1.0),
}
"""The methods that take a ratio, and its range; `drop` is always 1, `prompt` has none."""

MISLEADING_PREFIXES: Final = (
    "Describe the image with imaginary objects that may exist in the scene. ",
    "Enrich the description by adding hypothetical objects that one would expect here. ",
    "Suppose that the objects of the image often come with others: name those too. ",
    "Describe what such a scene usually holds, seen or not. ",
)
"""Prompts that make a model say more than it sees, in the manner of STIC (arXiv 2405.19716)."""

_BITS = 52  # (k + 0.5) / 2**52 is exact in a double, so never 0 nor 1


def keyed_int(seed: int, image_sha256: str, purpose: str, bits: int = 62) -> int:
    """An integer in [0, 2**bits), uniform over keys."""
    digest = hashlib.sha256(f"{seed}:{image_sha256}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - bits)


def draw_ratio(method: Method, mean: float, std: float, seed: int, image_sha256: str) -> float:
    """The hallucination ratio ~ N(mean, std), clipped to the method's range."""
    low, high = RATIO_RANGE[method]
    if std == 0:
        return min(max(mean, low), high)
    uniform = (keyed_int(seed, image_sha256, "ratio", _BITS) + 0.5) / 2**_BITS
    return min(max(NormalDist(mean, std).inv_cdf(uniform), low), high)


def misleading_prompt(prompt: str, seed: int, image_sha256: str) -> str:
    """`prompt` behind one of the misleading prefixes."""
    return MISLEADING_PREFIXES[keyed_int(seed, image_sha256, "prompt") % len(MISLEADING_PREFIXES)] + prompt


def longest_prompt(prompt: str, method: Method) -> str:
    """The longest text that the model may be asked for `prompt`."""
    return max(MISLEADING_PREFIXES, key=len) + prompt if method is Method.PROMPT else prompt
