"""`python -m loadtests`: a profile's load on a gateway, its report, and an exit status.

0: all thresholds are met and every accepted pair is there once. 1: something is not so. 2: it cannot be done as asked.
130: broken off by a signal; what was accepted until then is checked and reported all the same.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locust.html import get_html_report  # first: importing locust makes all that follows cooperative
from rich.console import Console

from loadtests.checking import fetch_all, list_all, with_pixels
from loadtests.figures import figures, verdicts
from loadtests.ledger import Ledger, check
from loadtests.profiles import SHIPPED, BadProfile, read_profile
from loadtests.report import HTML, SUMMARY, Outcome, lines, progress, summary, write
from loadtests.running import Cluster, Follow, Run, conduct, observer
from loadtests.samples import series
from loadtests.sampling import Sampler
from loadtests.working import serve
from pairs.clock import now
from pairs.errors import JudgefreeError


class NotReady(JudgefreeError):
    """No gateway that can serve answers under the URL."""

    type, status, title = "not-ready", 503, "There is nothing to test"


FAILED, MISTAKE, INTERRUPTED = 1, 2, 130
MASTER_PORT = 5557
_RECENT_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the head of a run, or a worker; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.worker:
            serve(asked.master_host, asked.master_port, asked.images)
            return 0
        return _run(asked)
    except JudgefreeError as error:
        print(f"judgefree: {error.detail}", file=sys.stderr)  # noqa: T201 - the one sentence for the person
        return MISTAKE


def _run(asked: Namespace) -> int:
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    profile = read_profile(asked.profile, asked.profiles)
    if asked.images is not None and not asked.images.is_dir():
        raise BadProfile(f"There is no folder {asked.images}.")
    _require_ready(asked.host)
    cluster = (
        Cluster(asked.master_bind_host, asked.master_port, asked.expect_workers, asked.expect_workers_max_wait)
        if asked.master
        else None
    )
    console.print(f"{asked.profile}: {profile.shape.kind} {profile.load} load on {asked.host}")
    run = conduct(asked.host, profile, asked.images, cluster, _following(console))
    found = _concluded(asked, run, console)
    for line in (*lines(found), *found["complaints"]):
        console.print(line)
    console.print(f"{asked.out / SUMMARY} and {asked.out / HTML} have it all.")
    return INTERRUPTED if run.was_broken_off else 0 if found["passed"] else FAILED


def _concluded(asked: Namespace, run: Run, console: Console) -> dict[str, Any]:
    """Check every accepted pair, hold the figures against the thresholds, write the report; the summary."""
    profile, ledger = read_profile(asked.profile, asked.profiles), run.ledger
    console.print(f"The load is over; fetching {len(ledger.accepted)} accepted pairs.")
    gateway = observer(asked.host)
    found = with_pixels(gateway, ledger, fetch_all(gateway, ledger, profile.drain_s))
    integrity = check(ledger, found, list(list_all(gateway, ledger)), run.untold)
    run.sampler.look()
    measured = figures(ledger, profile, run.course, run.span, run.sampler.samples)
    decided = verdicts(profile.thresholds, measured, len(integrity.failed))
    outcome = Outcome(decided, integrity, run.exceptions, run.was_broken_off)
    queue = series(run.sampler.samples, run.span.since)
    said = summary(asked.profile, profile, asked.host, measured, outcome, queue, run.sampler.missed)
    write(asked.out, get_html_report(run.environment, show_download_link=False), said, list(ledger.accepted))
    return said


def _require_ready(host: str) -> None:
    answer = observer(host).ask("GET", "/readyz", name="/readyz")
    if answer.status != 200:
        away = ", ".join(answer.body["away"]) if answer.status == 503 and answer.body else ""
        said = (
            f"it answers HTTP {answer.status}" + (f", away: {away}" if away else "") if answer.status else "no answer"
        )
        raise NotReady(f"No gateway that is ready is at {host}: {said}.")


def _following(console: Console) -> Follow:
    """A line now and then, of the last seconds."""

    def follow(ledger: Ledger, sampler: Sampler, level: float) -> None:
        present = now().timestamp()
        seen = ledger.measure(level, present - _RECENT_S, present)
        queue = f"{sampler.samples[-1].jobs} + {sampler.samples[-1].candidates}" if sampler.samples else "unknown"
        console.print(progress(seen, queue))

    return follow


def _parser() -> ArgumentParser:
    parser = ArgumentParser("loadtests", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="http://127.0.0.1:8080", help="the gateway's URL")
    parser.add_argument("--profile", default="mixed", help="which profile; the default is mixed")
    parser.add_argument("--profiles", type=Path, default=SHIPPED, metavar="FILE", help="profiles of your own, in TOML")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="images to send, instead of the demo world's")
    parser.add_argument("--out", type=Path, default=Path("loadtest"), metavar="FOLDER", help="where the report goes")
    parser.add_argument("--master", action="store_true", help="let workers make the load")
    parser.add_argument("--master-bind-host", default="*", help="where the master listens")
    parser.add_argument("--master-port", type=int, default=MASTER_PORT, help="the master's port")
    parser.add_argument("--expect-workers", type=int, default=1, help="how many workers the master waits for")
    parser.add_argument("--expect-workers-max-wait", type=float, default=120.0, metavar="SECONDS", help="how long")
    parser.add_argument("--worker", action="store_true", help="make load as a master says")
    parser.add_argument("--master-host", default="127.0.0.1", help="where the worker finds its master")
    return parser


if __name__ == "__main__":
    sys.exit(main())
