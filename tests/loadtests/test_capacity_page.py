import json
from pathlib import Path
from typing import Any

import pytest

from tools.capacity import CLOSED, MIXED, OPEN, PAGE, RESULTS, page

CORES = {"cores": 2, "processor": "some processor", "memory_gib": 8.2, "commit": "abc1234"}
GPU = {"name": "some GPU", "memory_gib": 79.6, "driver": "1.2"}
GPUS = {"cores": 16, "processor": "another processor", "memory_gib": 125.9, "gpus": [GPU, GPU], "commit": "def5678"}
ALONE = {"median": 20.0, "pairs_per_s": [19.0, 21.0]}
WHOLE = {"accepted": 300, "lost": {"count": 1}, "doubled": {"count": 2}}


def result(machine: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"machine": machine, "model_alone": ALONE, "integrity": WHOLE, "passed": True, "complaints": [], **more}


def knee(load: str, machine: dict[str, Any]) -> dict[str, Any]:
    levels = [
        level(1, 4.0, p50_s=None, in_work=1),
        level(2, 7.94, p50_s=0.25, in_work=2),
        level(4, 8.06, p50_s=0.5, in_work=4),
    ]
    found = {"load": load, "offered": 2.0, "pairs_per_s": 8.0, "best_pairs_per_s": 10.0}
    return result(machine, asked={"load": load}, figures={"knee": found, "levels": levels})


def level(offered: float, per_s: float, p50_s: float | None, in_work: int) -> dict[str, Any]:
    rates = dict.fromkeys(("arrived_per_s", "accepted_per_s", "finished_per_s"), per_s)
    return {"offered": offered, **rates, "p50_s": p50_s, "p95_s": p50_s and 2 * p50_s, "in_work": in_work}


def mixed(machine: dict[str, Any], **figures: Any) -> dict[str, Any]:
    found = {
        "seconds": 25.0,
        "accepted_per_s": 12.34,
        "pairs_per_s": 11.98,
        "latency_s": {"p50": 1.5, "p95": 2.5, "p99": 3.456},
        "requests": 900,
        "error_share": 0.0012,
        "busy_share": 0.05,
    }
    users = {"bulk": {"count": 1}, "bad": {"count": 3}}
    queue = [{"jobs": 4, "candidates": 1}, {"jobs": 9, "candidates": 2}]
    asked = {"load": "closed", "shape": {"level": 24.0}, "users": users}
    return result(machine, asked=asked, figures=found | figures, queue=queue)


def page_of(folder: Path, **results: dict[str, Any]) -> str:
    """Of results by the names of their files."""
    for name, one in results.items():
        (folder / {"opened": OPEN, "closed": CLOSED, "mixed": MIXED}[name]).write_text(json.dumps(one), "utf-8")
    return page(folder)


def section(said: str, head: str) -> str:
    """From its head to the next one."""
    return said.partition(f"# {head}\n")[2].partition("\n#")[0]


def test_the_page_on_capacity_is_what_the_tool_makes_of_the_result_files() -> None:
    assert (RESULTS / OPEN).exists()
    assert PAGE.read_text(encoding="utf-8") == page(RESULTS)


def test_the_page_says_that_a_load_test_failed_and_why(tmp_path: Path) -> None:
    passed = knee("open", CORES)
    said = page_of(tmp_path, opened=passed | {"passed": False, "complaints": ["2 pairs are lost."]})
    assert "**This load test failed:**\n\n- 2 pairs are lost.\n" in said
    assert "failed:" not in page_of(tmp_path, opened=passed)


def test_each_section_names_the_machine_of_its_own_result(tmp_path: Path) -> None:
    said = page_of(tmp_path, opened=knee("open", GPUS), closed=knee("closed", CORES), mixed=mixed(GPUS))
    cores = "On 2 cores of some processor, 8 GiB; no GPU (commit abc1234)."
    gpus = "On 16 cores of another processor, 126 GiB; 2 x some GPU, 80 GiB (commit def5678)."
    heads = ("The knee, by arrival rate", "The knee, by number of posters", "Everybody at once")
    assert [section(said, head).split("\n\n")[0].strip() for head in heads] == [gpus, cores, gpus]
    assert said.count("no GPU") == 1


@pytest.mark.parametrize(("machine", "where"), [(CORES, "and both share the cores"), (GPUS, "which has a GPU")])
def test_sizing_says_what_the_service_shares_with_its_vllm(tmp_path: Path, machine: dict[str, Any], where: str) -> None:
    assert f"reaches 0.40 of its vLLM, {where}. " in section(page_of(tmp_path, opened=knee("open", machine)), "Sizing")


def test_a_closed_knee_is_told_in_posters_with_every_level(tmp_path: Path) -> None:
    said = section(page_of(tmp_path, closed=knee("closed", CORES)), "The knee, by number of posters")
    assert "**The knee is where 2 posters send at a time: 8.0 pairs/s**, 0.40 of the 20.0 pairs/s" in said
    assert "(19.0, 21.0); the most at any level was 10.0 pairs/s, 0.50 of it." in said
    assert "300 pairs were accepted; 1 lost, 2 doubled." in said
    rows = [line for line in said.splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| 1 | 4.0 | 4.0 | 4.0 |  |  | 1 |",
        "| 2 | 7.9 | 7.9 | 7.9 | 0.25 | 0.50 | 2 |",
        "| 4 | 8.1 | 8.1 | 8.1 | 0.50 | 1.00 | 4 |",
    ]


def test_everybody_at_once_is_told_with_who_was_there_and_how_much_was_queued(tmp_path: Path) -> None:
    said = section(page_of(tmp_path, mixed=mixed(CORES)), "Everybody at once")
    assert "24 posters beside 1 bulk, 3 bad, 25 s. 300 pairs were accepted; 1 lost, 2 doubled." in said
    assert said.splitlines()[-1] == "| 12.3 | 12.0 | 1.50 | 2.50 | 3.46 | 900 | 0.12 % | 5.00 % | 8, 11 |"


def test_what_everybody_at_once_did_not_bring_is_left_empty(tmp_path: Path) -> None:
    nothing = mixed(CORES, pairs_per_s=0.0, latency_s=dict.fromkeys(("p50", "p95", "p99")))
    said = section(page_of(tmp_path, mixed=nothing | {"queue": []}), "Everybody at once")
    assert said.splitlines()[-1] == "| 12.3 | 0.0 |  |  |  | 900 | 0.12 % | 5.00 % | unknown |"
