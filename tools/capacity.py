"""docs/capacity.md, from the result files of `benchmarks.capacity` in benchmarks/results.

    python -m tools.capacity

No figure on the page is written by hand: run it again after a result file has changed; a test holds the page against
them.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "capacity.md"
OPEN, CLOSED, MIXED = "capacity_knee.json", "capacity_knee-closed.json", "capacity_mixed.json"

_ABOUT = """# Capacity: load tests, and what they found

Made by `python -m tools.capacity` from the JSON files in `benchmarks/results/`, which say on which machine and commit
they were measured.

## Put load on it

    make loadtest                                                # on a stack of its own, two minutes in all
    judgefree loadtest --profile knee                            # the gateway of the settings, or a stack of its own
    judgefree loadtest --host https://pairs.example.org --profile steady-open --images photographs/

Each profile leaves a folder (`loadtest/PROFILE` in the data folder, or below `--out`) with locust's HTML report,
`summary.json` and `accepted.txt`, the ids of the pairs that it made. **They stay in the store**; a reviewer of the load
test touches no others. API keys come from the settings (`JUDGEFREE_API_KEYS`). Several `--profile` are put on in turn.

| exit code | means |
| --- | --- |
| 0 | every threshold of the profile is met, every accepted pair is there once |
| 1 | a threshold is not met, or a pair is lost, doubled, mixed up or unfinished, or the load test itself had an error |
| 2 | it cannot be done as asked: no gateway that is ready, no such profile |
| 130 | broken off; what was accepted until then is checked and reported all the same |

After the load, **every accepted pair is fetched** by its id, and all that was finished meanwhile is listed: a pair that
is unknown is lost; an id that was given for two images, a second pair of an image, or a pair listed twice is doubled; a
pair with another image than it was accepted for is mixed up. What is not finished after `drain_s` fails the run too. A
share of requests (`repeat_share`) is sent twice under its idempotency key, and must not make a second pair.

Whether it is the same image does not go by the gateway's hashes alone: images are fetched, and their **pixels are
compared** with those that were sent (`compared` says of how many pairs). These are all images of at most 256 x 256
pixels, and at most 200 larger ones, evenly spread over the run. A JPEG of a folder of yours is left out, since two
decoders need not read the same pixels from it (all else is sent as PNG, in RGB), and so is an image that the gateway
has scaled down (`max_image_side`).

## Profiles

`loadtests/profiles.toml` has the shipped ones; `--profiles FILE` takes your own, in the same form. Under `open` load
images arrive at a rate, however long earlier ones take, and an image's time runs from the moment at which it was due;
under `closed` load so many posters each send their next image when the last one is a pair. A rate is put on as it is
asked for, at one image in five seconds as at 500 a second; a load follows its shape once a second, so that no part of a
`burst` may be shorter than 2 s.

| shape | does |
| --- | --- |
| `steady` | one level; `warm_up_s` is not counted |
| `ramp` | rises until the system no longer keeps up, finds the knee and says it |
| `burst` | a base with peaks; how long it takes to catch up |
| `soak` | one level for hours; figures by window, and the drift of the median latency |

Beside posters or arrivals there may be bulk uploaders, browsers of the list, exporters (who check that what they get is
whole), reviewers and bad clients, who send what is malformed, oversized, slow or cut off and must be refused as
docs/api.md says. Every image is new: scenes of the demo world, or a folder's with a few blocks of pixels changed.

The knee of an open ramp is the highest rate at which no more than `tolerance` of the arrivals stay behind, known to a
factor of `precision`: after a rate that was too much the queue is let run empty before a lower one is tried. That of a
closed ramp is the fewest posters with nine tenths of the plateau's throughput.

`summary.json`: `figures` (rates per second without warm-up and drain; latency in seconds from arrival to finished pair;
`error_share` of requests answered neither rightly nor with 429 or 503, `busy_share` of those; `lateness_p95_s`, by how
much the load generator was behind its own plan: if it is not small, use more workers; `levels` and `knee` of a ramp,
`recovery_s` of each burst (null where it was not seen, or not what was in work before the first), `windows` and `drift`
of a soak), `thresholds`, `integrity`, and `queue`: once a second, the entries that wait for the model or are with it
(`jobs`), the same for the verifier (`candidates`), and this run's pairs `in_work`; `queue_unseen` is how often the
gateway did not say.

## Many machines

    judgefree loadtest --host URL --profile knee --master --expect-workers 4    # needs no cores
    judgefree loadtest --worker --master-host MASTER                            # four times

The master sends its workers the profile; they must reach the gateway and the master's port (5557, `--master-port`), and
have the API key in their own settings. Workers take turns at making a rate; posters are shared out in number.
The clocks of all must agree (NTP), since times are compared across them. A worker that goes away fails the run, since
nobody knows then what it was told.
"""

_HOW = (
    "`python -m benchmarks.capacity` ran the whole system and the load generator on one machine, which each section "
    "names. Before and after each load test the same requests went straight to the same vLLM, as many pairs in flight "
    "as the gateway has: its ceiling."
)


def page(results: Path) -> str:
    """The whole page; sections of result files that are not there are left out."""
    found = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in results.glob("capacity_*.json")}
    parts = [_ABOUT]
    if found:
        parts += ["## What was measured", _HOW]
    if OPEN in found:
        parts += _knee(found[OPEN])
    if CLOSED in found:
        parts += _knee(found[CLOSED])
    if MIXED in found:
        parts += _mixed(found[MIXED])
    if OPEN in found:
        parts += _sizing(found[OPEN])
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _machine(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    gpus = Counter(f"{gpu['name']}, {gpu['memory_gib']:.0f} GiB" for gpu in machine.get("gpus", ()))
    said = " and ".join(f"{count} x {gpu}" for gpu, count in gpus.items()) or "no GPU"
    return (
        f"On {machine['cores']} cores of {machine['processor']}, {machine['memory_gib']:.0f} GiB; {said} "
        f"(commit {machine['commit']})."
    )


def _knee(result: Mapping[str, Any]) -> Iterator[str]:
    knee, levels = result["figures"]["knee"], result["figures"]["levels"]
    is_open = result["asked"]["load"] == "open"
    yield "### The knee, " + ("by arrival rate" if is_open else "by number of posters")
    yield _machine(result)
    yield from _failed(result)
    if knee is None:
        yield "No level was kept up with."
        return
    alone = result["model_alone"]["median"]
    unit = "images/s arrive" if is_open else "posters send at a time"
    yield (
        f"**The knee is where {knee['offered']:.3g} {unit}: {knee['pairs_per_s']:.1f} pairs/s**, "
        f"{knee['pairs_per_s'] / alone:.2f} of the {alone:.1f} pairs/s that the model alone does "
        f"({_list(result['model_alone']['pairs_per_s'])}); the most at any level was "
        f"{knee['best_pairs_per_s']:.1f} pairs/s, {knee['best_pairs_per_s'] / alone:.2f} of it. {_whole(result)}"
    )
    heads = ("offered", "arrived/s", "accepted/s", "pairs/s", "p50, s", "p95, s", "in work at the end")
    yield _table(
        heads,
        [
            (
                f"{one['offered']:.3g}",
                *(f"{one[name]:.1f}" for name in ("arrived_per_s", "accepted_per_s", "finished_per_s")),
                *(_seconds(one[name]) for name in ("p50_s", "p95_s")),
                str(one["in_work"]),
            )
            for one in levels
        ],
    )


def _mixed(result: Mapping[str, Any]) -> Iterator[str]:
    figures, shape, users = result["figures"], result["asked"]["shape"], result["asked"]["users"]
    latency, waiting = figures["latency_s"], [one["jobs"] + one["candidates"] for one in result["queue"]]
    others = ", ".join(f"{crowd['count']} {name}" for name, crowd in users.items())
    yield "### Everybody at once"
    yield _machine(result)
    yield from _failed(result)
    yield f"{shape['level']:.0f} posters beside {others}, {figures['seconds']:.0f} s. {_whole(result)}"
    yield _table(
        ("accepted/s", "pairs/s", "p50, s", "p95, s", "p99, s", "requests", "errors", "busy", "queued, mean and most"),
        [
            (
                *(f"{figures[name]:.1f}" for name in ("accepted_per_s", "pairs_per_s")),
                *(_seconds(latency[name]) for name in ("p50", "p95", "p99")),
                str(figures["requests"]),
                *(f"{100 * figures[name]:.2f} %" for name in ("error_share", "busy_share")),
                f"{mean(waiting):.0f}, {max(waiting)}" if waiting else "unknown",
            )
        ],
    )


def _sizing(result: Mapping[str, Any]) -> Iterator[str]:
    knee, alone = result["figures"]["knee"], result["model_alone"]["median"]
    if knee is None:
        return
    where = "which has a GPU" if result["machine"].get("gpus") else "and both share the cores"
    yield "## Sizing"
    yield (
        "Measure one replica of your own model first: `judgefree loadtest --profile knee` against a deployment with "
        "one vLLM. The knee k is what that replica takes for good; plan for two thirds of it "
        f"(here {2 / 3 * knee['pairs_per_s']:.0f} pairs/s). Past it the queue grows without end: at a rate r for t "
        "seconds by (r - k) t pairs, and once nothing more arrives it takes (r - k) t / k seconds to run empty. Here "
        f"the service reaches {knee['pairs_per_s'] / alone:.2f} of its vLLM, {where}. On a GPU the "
        "gateway and the verifier take nothing from the model; if the knee then lies far below what `python -m "
        "benchmarks.capacity` says of the model alone, add gateways or verifiers before GPUs."
    )


def _failed(result: Mapping[str, Any]) -> Iterator[str]:
    if not result["passed"]:
        yield "**This load test failed:**"
        yield "\n".join(f"- {complaint}" for complaint in result["complaints"] or ["It was broken off."])


def _whole(result: Mapping[str, Any]) -> str:
    integrity = result["integrity"]
    lost, doubled = integrity["lost"]["count"], integrity["doubled"]["count"]
    return f"{integrity['accepted']} pairs were accepted; {lost} lost, {doubled} doubled."


def _seconds(value: float | None) -> str:
    """Nothing where nothing was measured."""
    return "" if value is None else f"{value:.2f}"


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    PAGE.write_text(page(RESULTS), encoding="utf-8")


if __name__ == "__main__":
    main()
