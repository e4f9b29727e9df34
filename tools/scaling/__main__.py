"""`python -m tools.scaling`: write docs/scaling.md and its plot, or print what a trace of one's own would do."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tools.scaling.cluster import MLLM, Capacity
from tools.scaling.manifests import read_folder
from tools.scaling.measured import read
from tools.scaling.page import ENVIRONMENT, MANIFESTS, RESULTS, ROOT, files, report, study
from tools.scaling.thresholds import fitted
from tools.scaling.traces import read_trace


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or print; the exit status is 2 for a trace that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m tools.scaling", description=__doc__)
    parser.add_argument("--trace", type=Path, help="a file with one number a line: the pairs that come in that second")
    parser.add_argument("--generated-per-s", type=float, help="pairs that one vLLM makes in a second, not the measured")
    parser.add_argument("--verified-per-s", type=float, help="pairs that one verifier does in a second")
    parser.add_argument("--ready-s", type=int, help="seconds from the start of a vLLM until it is ready")
    given = parser.parse_args(arguments)
    if given.trace is None:
        for path, text in files(study()).items():
            (ROOT / path).write_text(text, encoding="utf-8")
            print(path)  # noqa: T201 - a tool for the terminal
        return 0
    try:
        arrivals = read_trace(given.trace)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    print("\n".join(_told(arrivals, given)))  # noqa: T201
    return 0


def _told(arrivals: Sequence[float], given: argparse.Namespace) -> list[str]:
    capacity, shipped = _capacity(read(RESULTS, ENVIRONMENT).capacity, given), read_folder(MANIFESTS)
    if given.generated_per_s is None and given.verified_per_s is None:
        return list(report(arrivals, capacity, shipped))
    scalings = {name: fitted(one, capacity) for name, one in shipped.items()}
    thresholds = [
        f"{name}: {trigger.metric}: threshold {round(trigger.target, 0 if trigger.target >= 10 else 1):g}"
        for name, one in scalings.items()
        for trigger in one.triggers
    ]
    head = "The thresholds for these rates, with which the trace is followed:"
    return [head, *thresholds, "", *report(arrivals, capacity, scalings)]


def _capacity(measured: Capacity, given: argparse.Namespace) -> Capacity:
    start_s = dict(measured.start_s) | ({MLLM: given.ready_s} if given.ready_s is not None else {})
    return replace(
        measured,
        generated_per_s=given.generated_per_s or measured.generated_per_s,
        verified_per_s=given.verified_per_s or measured.verified_per_s,
        start_s=start_s,
    )


if __name__ == "__main__":
    sys.exit(main())
