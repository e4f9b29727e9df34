"""docs/scaling.md and its plots, from benchmarks/results and k8s/components/keda. No figure on the page is by hand."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import Final

from tools.scaling.autoscaler import Metric, Rules, Scaling
from tools.scaling.cluster import GATEWAY, MLLM, PARTS, VERIFIER, Capacity, Outcome, simulate
from tools.scaling.drawing import Curve, drawing
from tools.scaling.manifests import read_folder
from tools.scaling.measured import Measured, read
from tools.scaling.thresholds import by_lag_alone, by_waiting_requests_alone, target
from tools.scaling.traces import SHOWN

ROOT: Final = Path(__file__).parent.parent.parent
RESULTS, MANIFESTS = ROOT / "benchmarks" / "results", ROOT / "k8s" / "components" / "keda"
ENVIRONMENT = ROOT / "k8s" / "overlays" / "gpu" / "settings.env"
PAGE, PLOT = Path("docs/scaling.md"), Path("docs/images/scaling.svg")
_TEXT = Path(__file__).parent / "page.md"
_LATE_S = 300
_WITH_WRONG_FIGURES = ("steady", "large folders", "a day")
_OF: Final[Mapping[Metric, str]] = {
    "admitted": "pairs accepted a second, over {} s",
    "generated": "pairs generated a second, over {} s",
    "jobs": "jobs that are not done (length of the stream)",
    "candidates": "candidates that are not done (length of the stream)",
    "filled": "vLLMs that the pairs accepted over {} s fill, by the most that a full one was seen to make",
    "requests waiting": "requests for which vLLM has no room",
}

Scalings = Mapping[str, Scaling]


@dataclass(frozen=True)
class Study:
    """Every run that the page tells of, by trace."""

    measured: Measured
    scalings: Scalings
    shipped: Mapping[str, Outcome]
    lag_alone: Mapping[str, Outcome]
    waiting_alone: Outcome
    """Of the trace `steady`."""
    wrong: Mapping[str, Mapping[str, Outcome]]
    """The shipped ones where the replicas are not what the thresholds were made for, by what is otherwise."""


def study() -> Study:
    measured, scalings = read(RESULTS, ENVIRONMENT), read_folder(MANIFESTS)
    capacity = measured.capacity
    slow = replace(capacity, start_s={**capacity.start_s, MLLM: _LATE_S})
    otherwise = {
        f"vLLM is ready only after {_LATE_S} s": slow,
        "vLLM makes half as many pairs": replace(capacity, generated_per_s=capacity.generated_per_s / 2),
        "vLLM makes twice as many pairs": replace(capacity, generated_per_s=capacity.generated_per_s * 2),
    }
    shown = capacity.generated_per_s
    return Study(
        measured,
        scalings,
        _outcomes(scalings, capacity, shown),
        _outcomes({name: by_lag_alone(one) for name, one in scalings.items()}, capacity, shown),
        simulate(
            SHOWN["steady"](shown), capacity, {name: by_waiting_requests_alone(one) for name, one in scalings.items()}
        ),
        {name: _outcomes(scalings, one, shown, _WITH_WRONG_FIGURES) for name, one in otherwise.items()},
    )


def files(study: Study) -> dict[Path, str]:
    """What is to be written, by its path in the repository."""
    sections = {
        "triggers": "\n".join(_triggers(study.scalings, study.measured.capacity)),
        "behaviour": "\n".join(_behaviour(study.scalings)),
        "sources": "\n".join(_wrapped(one, "- ") for one in study.measured.sources),
        "outcomes": "\n".join(_outcome_rows(study)),
        "wrong": "\n".join(_wrong_rows(study)),
        "waiting": _wrapped(_waiting(study), ""),
    }
    text = _TEXT.read_text(encoding="utf-8")
    for name, section in sections.items():
        text = text.replace(f"{{{{{name}}}}}", section)
    return {PAGE: text, PLOT: _plot(study)}


def _outcomes(
    scalings: Scalings, capacity: Capacity, rate: float, traces: Iterable[str] = tuple(SHOWN)
) -> dict[str, Outcome]:
    return {name: simulate(SHOWN[name](rate), capacity, scalings) for name in traces}


def _triggers(scalings: Scalings, capacity: Capacity) -> Iterator[str]:
    yield from _head("Deployment", "replicas", "wanted of a replica", "threshold", "what the figures below call for")
    for scaling in scalings.values():
        for trigger in scaling.triggers:
            called_for = target(scaling.part, trigger, capacity)
            yield _row(
                scaling.part,
                f"{scaling.least} to {scaling.most}",
                _OF[trigger.metric].format(trigger.over_s),
                f"{trigger.target:g}",
                f"{called_for:.0f}" if called_for >= 1 else f"{called_for:g}",
            )


def _behaviour(scalings: Scalings) -> Iterator[str]:
    yield from _head("Deployment", "more", "fewer", "none")
    for one in scalings.values():
        none = f"after {one.cooldown_s} s without a sign of work" if one.least == 0 else "never"
        yield _row(one.part, _rules(one.up), _rules(one.down), none)


def _rules(rules: Rules) -> str:
    units = {"Pods": "", "Percent": " %"}
    limits = ", ".join(f"at most {one.value}{units[one.kind]} in {one.period_s} s" for one in rules.policies)
    return limits if rules.window_s == 0 else f"{limits}, once more were not wished for in {rules.window_s} s"


def _outcome_rows(study: Study) -> Iterator[str]:
    yield from _head(
        "trace",
        "scaled by",
        *(f"{name}: changes (turns)" for name in PARTS),
        "most vLLMs",
        "vLLM hours",
        "longest wait",
    )
    for trace in SHOWN:
        for name, outcomes in (("as shipped", study.shipped), ("lag alone", study.lag_alone)):
            yield _row(trace, name, *_figures(outcomes[trace]))


def _figures(outcome: Outcome) -> Iterator[str]:
    for part in PARTS:
        yield f"{outcome.changes(part)} ({outcome.turns(part)})"
    yield str(max(outcome.replicas(MLLM)))
    yield f"{outcome.replica_hours(MLLM):.1f}"
    wait_s = outcome.longest_wait_s()
    yield "not all done" if wait_s is None else f"{wait_s} s"


def _wrong_rows(study: Study) -> Iterator[str]:
    yield from _head(
        "otherwise",
        "trace",
        *(f"{name}: changes (turns)" for name in PARTS),
        "most vLLMs",
        "vLLM hours",
        "longest wait",
    )
    for name, outcomes in study.wrong.items():
        for trace, outcome in outcomes.items():
            yield _row(name, trace, *_figures(outcome))


def _waiting(study: Study) -> str:
    alone, shipped = study.waiting_alone, study.shipped["steady"]
    wait_s = alone.longest_wait_s()
    return (
        f"By waiting requests alone vLLM has at most {max(alone.replicas(MLLM))} replica on the trace *steady* below, "
        f"against {max(shipped.replicas(MLLM))} as shipped, and "
        + ("not all is done at its end." if wait_s is None else f"the longest wait is {wait_s} s.")
    )


def _wrapped(text: str, mark: str) -> str:
    return fill(text, 120, initial_indent=mark, subsequent_indent=" " * len(mark), break_on_hyphens=False)


def _plot(study: Study) -> str:
    charts: dict[str, Sequence[Curve]] = {}
    for trace in SHOWN:
        both = (("as shipped", study.shipped[trace]), ("lag alone, KEDA's defaults", study.lag_alone[trace]))
        charts[f"{trace}: vLLMs"] = [Curve(name, one.replicas(MLLM)) for name, one in both]
        charts[f"{trace}: jobs that are not done"] = [
            Curve(name, [second.jobs for second in one.seconds]) for name, one in both
        ]
        charts[f"{trace}: verifiers"] = [Curve(name, one.replicas(VERIFIER)) for name, one in both]
    return drawing(charts, columns=3)


def report(arrivals: Sequence[float], capacity: Capacity, scalings: Scalings) -> Iterator[str]:
    """For a terminal: what becomes of a trace, minute by minute and in all."""
    outcome = simulate(arrivals, capacity, scalings)
    yield f"{'minute':>7}{'pairs/s':>9}{GATEWAY:>9}{MLLM:>6}{VERIFIER:>10}{'jobs':>9}{'candidates':>12}"
    for begin in range(0, len(outcome.seconds), 60):
        minute = outcome.seconds[begin : begin + 60]
        last, arrived = minute[-1], sum(one.arrived for one in minute) / len(minute)
        counts = "".join(f"{last.replicas[name]:>{width}}" for name, width in ((GATEWAY, 9), (MLLM, 6), (VERIFIER, 10)))
        yield f"{begin // 60:>7}{arrived:>9.1f}{counts}{last.jobs:>9.0f}{last.candidates:>12.0f}"
    for name in PARTS:
        yield (
            f"{name}: {outcome.changes(name)} changes, {outcome.turns(name)} turns, "
            f"{outcome.replica_hours(name):.1f} replica hours, at most {max(outcome.replicas(name))}"
        )
    wait_s, left = outcome.longest_wait_s(), outcome.seconds[-1].in_work
    yield f"longest wait: {wait_s} s" if wait_s is not None else f"at the end {left:.0f} pairs are not done"


def _head(*cells: str) -> Iterator[str]:
    yield _row(*cells)
    yield _row(*("---" for _ in cells))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
