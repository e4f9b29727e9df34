"""Each shape of load on the real system, for seconds: what it says of itself, and what fails it.

All are put on at the same time, since they mostly wait: each has to find its own pairs among the others'. How fast
this machine is decides nothing here. A pair that is asked for every so often (`wait = "poll"`) is seen finished that
much later on any machine: so a rate cannot be kept up with, and a burst cannot be over at once. Where a machine is so
slow that a second or two bring no pair at all, the load test has to say that something is unknown.
"""

import signal
import subprocess
import tomllib
from typing import Any

import pytest

from tests.e2e.stack import Stack
from tests.loadtests.program import Loadtest

PROFILES = """
[rising]
load = "open"
arrivals = "even"
shape = { kind = "ramp", start = 0.5, growth = 4, tolerance = 1, hold_s = 1.4, settle_s = 0.4, most_levels = 3 }
journey = { wait = "get", fields = { max_tokens = "16" } }
[rising.thresholds]
max_error_share = 0
max_failed_pairs = 0

[too-much]
load = "open"
arrivals = "even"
shape = { kind = "ramp", start = 16, growth = 2, hold_s = 1.4, settle_s = 0.4, most_levels = 2 }
journey = { wait = "poll", poll_s = 3, fields = { max_tokens = "16" } }
[too-much.thresholds]
max_error_share = 0
min_knee_pairs_per_s = 0

[posters]
load = "closed"
shape = { kind = "ramp", start = 1, growth = 2, hold_s = 1.4, settle_s = 0.4, most_levels = 3 }
journey = { wait = "get", fields = { max_tokens = "16" } }
[posters.thresholds]
max_error_share = 0
min_knee_pairs_per_s = 1e6

[bursts]
load = "open"
arrivals = "even"
shape = { kind = "burst", base = 0.5, peak = 10, every_s = 3, lasting_s = 2, bursts = 2 }
journey = { wait = "poll", poll_s = 3, fields = { max_tokens = "16" } }
[bursts.thresholds]
max_error_share = 0
max_recovery_s = 1

[long]
load = "closed"
shape = { kind = "soak", level = 2, duration_s = 8, window_s = 2, warm_up_s = 1 }
journey = { wait = "get", fields = { max_tokens = "16" } }
[long.thresholds]
max_error_share = 0
max_drift = 0

[cut]
load = "open"
shape = { kind = "ramp", start = 1, hold_s = 60, settle_s = 5 }
journey = { fields = { max_tokens = "16" } }

[cold]
load = "closed"
shape = { kind = "steady", level = 1, duration_s = 60, warm_up_s = 50 }
journey = { fields = { max_tokens = "16" } }
"""


BROKEN_OFF = ("cut", "cold")

Ended = tuple[int, str, dict[str, Any]]
"""Of a load test: its exit status, what it said, its summary."""


@pytest.fixture(scope="module")
def ended(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Every profile above, run to its end."""
    loadtest = Loadtest(stack, tmp_path_factory.mktemp("shapes"), PROFILES)
    running = {profile: loadtest.load(profile) for profile in tomllib.loads(PROFILES)}
    said = {profile: break_off(running[profile]) for profile in BROKEN_OFF}
    for profile, process in running.items():
        said[profile] = said.get(profile, "") + process.communicate(timeout=120)[1]
    return {profile: (one.returncode, said[profile], loadtest.summary(profile)) for profile, one in running.items()}


def break_off(process: "subprocess.Popen[str]") -> str:
    """Tell a load test to end in its first seconds; what it has said until then."""
    assert process.stderr is not None
    begun = [process.stderr.readline() for _ in range(2)]  # the second line is of the load's first seconds
    process.send_signal(signal.SIGINT)
    return "".join(begun)


def test_a_ramp_that_keeps_up_ends_at_its_most_levels_and_says_that_the_knee_lies_further_up(
    ended: dict[str, Ended],
) -> None:
    code, said, found = ended["rising"]
    assert (code, found["complaints"]) == (0, []), said
    assert_whole(found)
    levels, knee = found["figures"]["levels"], found["figures"]["knee"]
    assert [one["offered"] for one in levels] == [0.5, 2, 8]
    assert levels[0]["arrived_per_s"] < levels[-1]["arrived_per_s"]
    if levels[-1]["finished_per_s"] == 0:
        assert knee is None
        assert "No knee: " in said
        return
    assert (knee["offered"], knee["is_bracketed"]) == (8, False)
    assert knee["pairs_per_s"] == levels[-1]["finished_per_s"]
    assert knee["best_pairs_per_s"] == max(one["finished_per_s"] for one in levels)
    assert "The knee is at 8 images/s arriving at least: no level was too much: " in said


def test_after_a_rate_that_was_too_much_the_queue_runs_empty_and_half_of_it_is_tried(ended: dict[str, Ended]) -> None:
    code, said, found = ended["too-much"]
    levels = found["figures"]["levels"]
    assert [one["offered"] for one in levels] == [16, 8]
    assert found["figures"]["knee"] is None
    assert all(one["finished_per_s"] < one["arrived_per_s"] for one in levels), "without a drain, 16/s end under 8/s"
    assert "No knee: not even the lowest level was kept up with." in said
    assert (code, found["complaints"]) == (1, ["min_knee_pairs_per_s is 0, and it was not measured."])
    assert found["complaints"][0] in said
    assert found["figures"]["latency_s"]["p50"] >= 3, "it asks again after that long"
    assert_whole(found)


def test_a_ramp_of_posters_has_its_knee_where_fewer_bring_less_than_nine_tenths(ended: dict[str, Ended]) -> None:
    code, said, found = ended["posters"]
    levels, knee = found["figures"]["levels"], found["figures"]["knee"]
    rates = [one["finished_per_s"] for one in levels]
    assert [one["offered"] for one in levels] == [1, 2, 4]
    missed = f"min_knee_pairs_per_s is 1e+06, and it was {told(knee and knee['pairs_per_s'])}."
    assert (code, found["complaints"]) == (1, [missed])
    assert missed in said
    assert_whole(found)
    if max(rates) == 0:
        assert knee is None
        return
    at = [one["offered"] for one in levels].index(knee["offered"])
    assert knee["pairs_per_s"] == rates[at] >= 0.9 * max(rates)
    assert all(fewer < 0.9 * max(rates) for fewer in rates[:at])
    assert knee["best_pairs_per_s"] == max(rates)
    assert knee["is_bracketed"] == (max(rates[1:]) < 1.05 * rates[0])
    assert f"The knee is at {knee['offered']:g} posters at a time" in said


def test_each_burst_is_caught_up_with_later_than_it_ends_and_the_worst_is_held_against_the_limit(
    ended: dict[str, Ended],
) -> None:
    code, said, found = ended["bursts"]
    recoveries = found["figures"]["recovery_s"]
    assert len(recoveries) == 2
    assert min(recoveries) > 1, "what came last in a burst is not asked for earlier than 3 s later"
    assert found["figures"]["most_in_work"] > 10
    assert found["figures"]["latency_s"]["p50"] >= 3
    assert f"After the bursts it had caught up within {', '.join(f'{one:.2f} s' for one in recoveries)}." in said
    missed = f"max_recovery_s is 1, and it was {max(recoveries):.4g}."
    assert (code, found["complaints"]) == (1, [missed])
    assert missed in said
    assert_whole(found)


def test_a_soak_has_figures_for_each_whole_window_and_the_drift_of_its_latency(ended: dict[str, Ended]) -> None:
    code, said, found = ended["long"]
    figures = found["figures"]
    windows, drift = figures["windows"], figures["drift"]
    assert figures["seconds"] >= 7
    assert len(windows) == int(figures["seconds"] / 2)
    counted = figures["pairs_per_s"] * figures["seconds"]
    assert sum(2 * one["pairs_per_s"] for one in windows) <= counted + 1e-6
    assert all(one["p50_s"] <= one["p95_s"] for one in windows if one["pairs_per_s"] > 0)
    assert (drift is not None) == ("Median latency of the last third over the first: " in said)
    missed = f"max_drift is 0, and it was {told(drift)}."
    assert (code, found["complaints"]) == (1, [missed])
    assert missed in said
    assert_whole(found)


def test_what_is_broken_off_before_there_is_anything_to_measure_says_so(ended: dict[str, Ended]) -> None:
    (cut_code, cut_said, cut), (cold_code, cold_said, cold) = (ended[profile] for profile in BROKEN_OFF)
    assert (cut_code, cold_code) == (130, 130)
    assert [(one["was_broken_off"], one["passed"]) for one in (cut, cold)] == [(True, False)] * 2
    assert (cut["figures"]["levels"], cut["figures"]["knee"]) == ([], None)
    assert "No knee: it was over before the first level was measured." in cut_said
    assert cold["figures"]["seconds"] == cold["figures"]["pairs_per_s"] == 0
    assert "0.0 accepted/s, 0.0 pairs/s over 0 s; to the finished pair p50 unknown" in cold_said
    for one in (cut, cold):
        assert_whole(one)


def told(found: float | None) -> str:
    return "not measured" if found is None else f"{found:.4g}"


def assert_whole(found: dict[str, Any]) -> None:
    """Pairs were accepted, and each of them is there, once, finished."""
    integrity = found["integrity"]
    assert integrity["is_whole"]
    assert integrity["accepted"] > 0
    assert integrity["failed"]["count"] == integrity["lost"]["count"] == integrity["doubled"]["count"] == 0
