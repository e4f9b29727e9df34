"""docs/evidence.md and its plots, from the result files in benchmarks/results.

    python -m tools.evidence

Nothing on the page is written by hand: run it again after a result file has changed, and a test holds the page against
them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from judgefree.ablation.writing import markdown as ablation_tables
from judgefree.improvement.chart import Point, Series
from tools.plots import plot

ROOT = Path(__file__).parent.parent
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"
SHOWN = {"chair_i": "CHAIR_i", "f1": "F1", "mean_words": "mean words"}
_TITLE = """# Evidence

Made by `python -m tools.evidence` from the JSON files in `benchmarks/results/`, which carry seeds, settings and the
machine. What the figures mean is in docs/evaluation.md; how the worlds are made, in docs/demo-worlds.md.
"""
_ABOUT_RUNS = """Runs of `judgefree improve`, each setting with several seeds (of scenes, pairs, training). Test scenes
decide nothing: the gate promotes by other ones. A round's figures are those of the model that is served after it, so a
round that was not promoted repeats the one before.
"""


@dataclass(frozen=True)
class Run:
    """One result file of `tools.improvement_result`."""

    found: Mapping[str, Any]

    @property
    def seed(self) -> int:
        return int(self.found["seed"])

    @property
    def tests(self) -> list[str]:
        return list(self.found["base"])

    @property
    def minutes(self) -> float:
        return sum(sum(one["seconds"].values()) for one in self.found["rounds"]) / 60

    @property
    def promoted(self) -> int:
        return sum(one["is_promoted"] for one in self.found["rounds"])

    def served(self, test: str) -> list[Mapping[str, Mapping[str, float]]]:
        """The figures on `test` of what was served before the first round and after each."""
        figures = [self.found["base"][test]]
        for one in self.found["rounds"]:
            figures.append(one["test"][test] if one["is_promoted"] else figures[-1])
        return figures


def page(results: Path) -> dict[str, str]:
    """Every file of the page by its path below docs/: the text, and the plots that it shows."""
    files: dict[str, str] = {}
    parts = [_TITLE, *_improvement(results, files), *_ablation(results), *_cost(results)]
    return {"evidence.md": "\n\n".join(part.strip() for part in parts) + "\n", **files}


def _improvement(results: Path, files: dict[str, str]) -> Iterator[str]:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("improve_*.json"))]
    if found:
        yield f"## Improvement in rounds\n\n{_ABOUT_RUNS}"
    for setting, group in groupby(sorted(found, key=lambda one: one["setting"]), lambda one: one["setting"]):
        runs = sorted(map(Run, group), key=lambda run: run.seed)
        name = f"images/evidence-{setting}.svg"
        files[name] = rounds_plot(runs)
        yield f"### {setting}\n\n{_about(runs)}\n\n![CHAIR_i and F1 by round]({name})\n"
        yield _by_round(runs)
        yield _by_seed(runs)
        yield _watched(runs)


def _about(runs: Sequence[Run]) -> str:
    first = runs[0].found
    asked = {name: value for name, value in first["asked"].items() if value not in (None, [], ())}
    said = ", ".join(f"`{name}` {_plain(value)}" for name, value in asked.items() if name not in ("test", "promote_on"))
    machine = first["machine"]
    stopped = "".join(f" Seed {run.seed} was stopped: {run.found['reason']}." for run in runs if run.found["reason"])
    return (
        f"Model `{first['model']}`; {said}; seeds {', '.join(str(run.seed) for run in runs)}. A run took "
        f"{mean(run.minutes for run in runs):.0f} minutes on {machine['cores']} cores ({machine['processor']})."
        f"{stopped}"
    )


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _by_round(runs: Sequence[Run]) -> str:
    """Of each test set and round the mean and standard deviation over the seeds."""
    rows = []
    for test in runs[0].tests:
        served = [run.served(test) for run in runs]
        for number in range(max(map(len, served))):
            there = [one[number] for one in served if number < len(one)]
            figures = (_spread([one[name]["value"] for one in there]) for name in SHOWN)
            rows.append((short(test), str(number), str(len(there)), *figures))
    said = "Mean over seeds ± standard deviation; round 0 is the base."
    return f"{said}\n\n{table(('test set', 'round', 'seeds', *SHOWN.values()), rows)}"


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _by_seed(runs: Sequence[Run]) -> str:
    """Of each test set and seed the base, and what was served after the first and after the last round."""
    rows = []
    for test in runs[0].tests:
        for run in runs:
            base, first, last = run.served(test)[0], run.served(test)[1], run.served(test)[-1]
            rows.append(
                (
                    short(test),
                    str(run.seed),
                    *(_interval(one["chair_i"]) for one in (base, first, last)),
                    *(f"{one['chair_i']['value'] / base['chair_i']['value'] - 1:+.0%}" for one in (first, last)),
                    *(_interval(one["f1"]) for one in (base, last)),
                    f"{last['f1']['value'] - base['f1']['value']:+.3f}",
                    "yes" if are_apart(base, last) else "no",
                    f"{run.promoted} of {len(run.found['rounds'])}",
                )
            )
    changes = ("CHAIR_i, base", "round 1", "last round", "change, round 1", "change, last")
    heads = ("test set", "seed", *changes, "F1, base", "last round", "difference", "intervals apart", "promoted")
    said = "With 95 % intervals over images; apart are those of the base and the last round, of both figures."
    return f"{said}\n\n{table(heads, rows)}"


def are_apart(base: Mapping[str, Mapping[str, float]], last: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether the last round is better than the base in both figures beyond the intervals of either."""
    return last["chair_i"]["high"] < base["chair_i"]["low"] and last["f1"]["low"] > base["f1"]["high"]


def _watched(runs: Sequence[Run]) -> str:
    names = {"mean_words": "mean words", "distinct_2": "distinct-2", "repetition": "repetition", "kl": "KL to base"}
    rows = []
    for run in runs:
        for number, watch in enumerate([run.found["watch_before"], *(one["watch"] for one in run.found["rounds"])]):
            seen = (f"{watch[name]:.3f}" if name in watch else "-" for name in names)
            decisions = run.found["rounds"][number - 1]["decisions"] if number else {}
            shares = " / ".join(str(decisions.get(one, 0)) for one in ("kept", "swapped", "discarded"))
            rows.append((str(run.seed), str(number), *seen, shares if number else "-"))
    heads = ("seed", "round", *names.values(), "kept / swapped / discarded")
    return f"What the collapse watch saw of each round's adapter:\n\n{table(heads, rows)}"


def rounds_plot(runs: Sequence[Run]) -> str:
    """CHAIR_i and F1 by round, a curve for each test set: the mean over seeds, whiskers over their intervals."""
    figures = {
        label: [_series(place, test, name, runs) for place, test in enumerate(runs[0].tests)]
        for name, label in (("chair_i", "CHAIR_i"), ("f1", "F1"))
    }
    most = max(len(run.found["rounds"]) for run in runs)
    return plot(figures, most, "mean over seeds; whiskers: lowest to highest bound of their 95 % intervals")


def _series(place: int, test: str, name: str, runs: Sequence[Run]) -> Series:
    served = [run.served(test) for run in runs]
    points = []
    for number in range(max(map(len, served))):
        there = [one[number][name] for one in served if number < len(one)]
        low, high = min(one["low"] for one in there), max(one["high"] for one in there)
        points.append(Point(number, mean(one["value"] for one in there), low, high))
    return Series(short(test), place, tuple(points))


def _ablation(results: Path) -> Iterator[str]:
    for name, title in (("ablation", "Ablation"), ("sensitivity", "Number of pairs")):
        path = results / f"{name}.json"
        if path.exists():
            yield f"## {title}\n\n{ablation_tables(json.loads(path.read_text(encoding='utf-8')))}"


_WAYS = {
    "clip": "CLIP",
    "yes": 'the MLLM, "yes" to each sentence',
    "likelihood": "the MLLM, likelihood of each answer",
}


def _cost(results: Path) -> Iterator[str]:
    path = results / "judge_cost.json"
    if not path.exists():
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    yield (
        f"## Cost of verification\n\n{found['pairs']} pairs, {found['threads']} thread, on "
        f"{found['machine']['processor']}, {found['rounds']} rounds in turns (`benchmarks.judge_cost`); accuracy is by "
        f"the sign of the margin, of all pairs and of the half that each is surest of.\n\n{_measured(found['ways'])}"
    )
    real = found["on_real_models"]
    clip, judge = (real["parameters"][name] / 1e9 for name in ("clip", "judge"))
    yield (
        'The demo\'s MLLM is hardly larger than its CLIP, and its vocabulary of 70 words has no "yes": the first judge '
        "is measured for its cost alone. So these ratios are not those of real models. For those, operations computed "
        "from the architectures (`tools/architecture.py`), of a pair of answers of "
        f"{real['assumed']['sentences']} sentences of {real['assumed']['tokens_a_sentence']} tokens: ViT-L-14-336 "
        f"({clip:.2f} B parameters) and LLaVA-1.5-7B ({judge:.2f} B, {real['weights_over_clip']} times as many).\n\n"
        f"{_computed(real)}"
    )


def _measured(ways: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for way, said in _WAYS.items():
        one = ways[way]
        least, most = min(one["over_clip_rounds"]), max(one["over_clip_rounds"])
        shares = ("-" if one[name] is None else f"{one[name]:.3f}" for name in ("accuracy", "surest_half"))
        costs = (f"{one['cpu_ms_per_pair']:.1f}", f"{one['over_clip']:.2f} ({least:.2f} - {most:.2f})")
        rows.append((said, f"{one['parameters'] / 1e6:.2f} M", *costs, f"{one['peak_mib']:.0f}", *shares))
    heads = ("verified by", "parameters", "processor ms a pair", "over CLIP", "peak MiB", "accuracy", "surest half")
    return table(heads, rows)


def _computed(real: Mapping[str, Any]) -> str:
    over = {"clip": 1.0} | real["over_clip"]
    rows = [(said, f"{real['tflop_a_pair'][way]:.2f}", f"{over[way]:.1f}") for way, said in _WAYS.items()]
    return table(("verified by", "TFLOP a pair", "over CLIP"), rows)


def short(test: str) -> str:
    """A data set's name without how many images it has and from which seed."""
    return ":".join(test.split(":")[:2])


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _interval(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def main() -> None:
    for name, text in page(RESULTS).items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8")
        print(DOCS / name)  # noqa: T201 - what it wrote


if __name__ == "__main__":
    main()
