"""What a run leaves: locust's HTML report, a JSON summary, the ids of its pairs, and a few lines for a person."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtests.figures import Verdict
from loadtests.knee import Level
from loadtests.ledger import Integrity
from loadtests.profiles import Profile

_SHOWN = 20
"""Ids that the summary names of each kind; all of the run's are in ACCEPTED."""
HTML, SUMMARY, ACCEPTED = "report.html", "summary.json", "accepted.txt"


@dataclass(frozen=True)
class Outcome:
    """All that decides the exit status: 0 if everything is in order."""

    verdicts: Sequence[Verdict]
    integrity: Integrity
    exceptions: int
    was_broken_off: bool

    @property
    def complaints(self) -> list[str]:
        """What is not in order, a sentence each."""
        found = [_complaint(one) for one in self.verdicts if not one.is_met]
        checks = {
            "accepted pairs are lost": len(self.integrity.lost),
            "accepted pairs are not finished": len(self.integrity.unfinished),
            "pairs are there twice": len(self.integrity.doubled),
            "pairs have another image than the one they were accepted for": len(self.integrity.mixed_up),
            "times news of the load test's own processes is missing, so that pairs may be lost unseen": (
                self.integrity.untold
            ),
            "errors in the load test's own code": self.exceptions,
        }
        return found + [f"{count} {said}." for said, count in checks.items() if count]


def _complaint(one: Verdict) -> str:
    found = "not measured" if one.found is None else f"{one.found:.4g}"
    return f"{one.threshold} is {one.limit:g}, and it was {found}."


def summary(
    name: str,
    profile: Profile,
    host: str,
    figures: dict[str, Any],
    outcome: Outcome,
    queue: list[dict[str, Any]],
    queue_unseen: int,
) -> dict[str, Any]:
    """The JSON summary; what it means is in docs/capacity.md."""
    integrity = asdict(outcome.integrity)
    for kind in ("lost", "unfinished", "doubled", "mixed_up"):
        integrity[kind] = {"count": len(integrity[kind]), "ids": list(integrity[kind])[:_SHOWN]}
    failed: dict[str, str] = integrity["failed"]
    integrity["failed"] = {"count": len(failed), "reasons": sorted(set(failed.values()))[:_SHOWN]}
    return {
        "profile": name,
        "host": host,
        "passed": not outcome.complaints and not outcome.was_broken_off,
        "was_broken_off": outcome.was_broken_off,
        "complaints": outcome.complaints,
        "asked": profile.model_dump(mode="json", exclude_none=True),
        "figures": figures,
        "thresholds": [asdict(one) for one in outcome.verdicts],
        "integrity": integrity | {"is_whole": outcome.integrity.is_whole},
        "queue": queue,
        "queue_unseen": queue_unseen,
    }


def write(folder: Path, html: str, found: dict[str, Any], accepted: Sequence[str]) -> None:
    """Write the three files. Raises OSError where the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HTML).write_text(html, encoding="utf-8")
    (folder / SUMMARY).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (folder / ACCEPTED).write_text("".join(f"{one}\n" for one in accepted), encoding="utf-8")


def progress(seen: Level, queued: str) -> str:
    """What the last seconds were like, for a person; without a load, the queue is left to run empty."""
    load = f"load {_level(seen.offered)}" if seen.offered else "no load, the queue runs empty"
    latency = "" if seen.p95_s is None else f", p95 {seen.p95_s:.2f} s"
    return (
        f"{load}: {seen.arrived_per_s:.1f} images/s arrive, {seen.finished_per_s:.1f} pairs/s{latency}; "
        f"{seen.in_work} in work, queued {queued}"
    )


def lines(found: dict[str, Any]) -> list[str]:
    """The summary for a person: rates, latency, the knee, integrity."""
    figures, integrity = found["figures"], found["integrity"]
    latency = figures["latency_s"]
    said = [
        f"{figures['accepted_per_s']:.1f} accepted/s, {figures['pairs_per_s']:.1f} pairs/s over "
        f"{figures['seconds']:.0f} s; to the finished pair p50 {_s(latency['p50'])}, p95 {_s(latency['p95'])}, "
        f"p99 {_s(latency['p99'])}; errors {100 * figures['error_share']:.2f} %, busy "
        f"{100 * figures['busy_share']:.2f} % of {figures['requests']} requests.",
        *_knee(found),
        f"{integrity['accepted']} pairs accepted, all fetched again: {integrity['lost']['count']} lost, "
        f"{integrity['doubled']['count']} doubled, {integrity['mixed_up']['count']} mixed up, "
        f"{integrity['unfinished']['count']} unfinished, {integrity['failed']['count']} failed; the pixels of "
        f"{integrity['compared']} compared with what was sent.",
    ]
    if "recovery_s" in figures:
        said.append(f"After the bursts it had caught up within {', '.join(map(_s, figures['recovery_s']))}.")
    if figures.get("drift") is not None:
        said.append(f"Median latency of the last third over the first: {figures['drift']:.2f}.")
    return said


def _knee(found: dict[str, Any]) -> list[str]:
    if "levels" not in found["figures"]:
        return []
    knee = found["figures"]["knee"]
    if not found["figures"]["levels"]:
        return ["No knee: it was over before the first level was measured."]
    if knee is None:
        return ["No knee: not even the lowest level was kept up with."]
    unit = "images/s arriving" if knee["load"] == "open" else "posters at a time"
    where = "" if knee["is_bracketed"] else " at least: no level was too much"
    return [
        f"The knee is at {_level(knee['offered'])} {unit}{where}: {knee['pairs_per_s']:.1f} pairs/s, p50 "
        f"{_s(knee['p50_s'])}, p95 {_s(knee['p95_s'])}. The most at any level: {knee['best_pairs_per_s']:.1f} pairs/s."
    ]


def _level(offered: float) -> str:
    return f"{round(offered, 1):g}"


def _s(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds:.2f} s"
