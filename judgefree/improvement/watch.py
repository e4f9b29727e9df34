"""The collapse watch: what a model's answers look like when self-training goes wrong, and when to stop. Pure."""

from collections.abc import Mapping, Sequence

_NGRAM = 2
_LOOP = 4
"""An answer repeats itself where it has the same words, so many in a row, twice."""

LEAST = {"mean_words": 0.5, "distinct_2": 0.5, "decided": 0.25}
"""Least share of what it was before the first round."""
MOST = {"repetition": 0.2, "kl": 1.0}
"""Most by which it may be above what it was before the first round; `kl` in nats a token."""


def figures(answers: Sequence[str]) -> dict[str, float]:
    """Of a set of answers: `mean_words`; `distinct_2`, the share of distinct ones among all pairs of neighbouring words
    (Li et al., arXiv 1510.03055); `repetition`, the share of answers that repeat themselves."""
    words = [answer.split() for answer in answers]
    pairs = [gram for one in words for gram in _grams(one, _NGRAM)]
    return {
        "mean_words": sum(map(len, words)) / len(words) if words else 0.0,
        "distinct_2": len(set(pairs)) / len(pairs) if pairs else 0.0,
        "repetition": sum(_repeats(one) for one in words) / len(words) if words else 0.0,
    }


def decided(decisions: Mapping[str, int]) -> float:
    """The share of pairs that were kept or swapped."""
    total = sum(decisions.values())
    return (total - decisions.get("discarded", 0)) / total if total else 0.0


def passed(first: Mapping[str, float], now: Mapping[str, float]) -> str | None:
    """Which bound is passed, in one sentence; None where none is. `first` is what it was before the first round."""
    for name, (least, most) in bounds(first).items():
        if least is not None and name in now and now[name] < least:
            return f"{name} fell from {first[name]:.3g} to {now[name]:.3g}"
        if most is not None and name in now and now[name] > most:
            return f"{name} rose from {first.get(name, 0.0):.3g} to {now[name]:.3g}"
    return None


def bounds(first: Mapping[str, float]) -> dict[str, tuple[float | None, float | None]]:
    """The least and the most that each figure may be, by its name; None is no bound."""
    least: dict[str, tuple[float | None, float | None]] = {
        name: (share * first[name], None) for name, share in LEAST.items() if name in first
    }
    return least | {name: (None, first.get(name, 0.0) + most) for name, most in MOST.items()}


def _grams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]


def _repeats(words: Sequence[str]) -> bool:
    grams = _grams(words, _LOOP)
    return len(set(grams)) < len(grams)
