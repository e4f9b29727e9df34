"""Ablation: what is compared, how a run goes on, what is made of its results; and one small cell for real."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judgefree.ablation.cells import (
    CELLS,
    DEFAULT,
    EQUAL,
    FACTORS,
    REDUCED,
    SENSITIVITY,
    Arrangement,
    Asked,
    fields_of,
    missing,
    trials,
    usable,
)
from judgefree.ablation.figures import Spread, report, summary, tables
from judgefree.ablation.machine import describe_machine
from judgefree.ablation.running import Bench, Folder, run
from judgefree.ablation.writing import about, findings, write
from judgefree.cli import run as main
from judgefree.client import Client
from judgefree.improvement.programs import Programs
from judgefree.mistakes import Mistake
from pairs.settings import Settings
from tests.conftest import free_port

ARRANGEMENTS: tuple[Arrangement, ...] = ("verified", "keep", "swap", "off", "random")
some_cells = st.lists(st.sampled_from(list(CELLS)), unique=True)
decisions = st.fixed_dictionaries({name: st.integers(0, 2000) for name in ("kept", "swapped", "discarded")})


def test_every_cell_stands_in_one_table_and_the_default_in_each_of_equal_cells() -> None:
    named = Counter(name for members in FACTORS.values() for name in members)
    assert named == Counter(dict.fromkeys(CELLS, 1)) | Counter({DEFAULT: len(FACTORS) - 1})
    assert tuple(FACTORS["number of pairs"]) == SENSITIVITY


def test_cells_are_equal_or_differ_in_nothing_but_their_size() -> None:
    assert all(CELLS[name].count is None for name in EQUAL)
    assert [CELLS[name].count for name in SENSITIVITY] == [64, 128, 256, 512, 1024, 2048, 4096]
    assert set(EQUAL) | set(SENSITIVITY) == set(CELLS)


@pytest.mark.parametrize("name", [name for name in CELLS if name != DEFAULT])
def test_a_cell_is_the_default_with_one_thing_changed(name: str) -> None:
    cell, default = CELLS[name], CELLS[DEFAULT]
    changed = [
        part for part in ("pool", "arrangement", "train", "count") if getattr(cell, part) != getattr(default, part)
    ]
    assert len(changed) == 1
    if changed == ["pool"]:
        pool = replace(cell.pool, name=default.pool.name)
        assert (pool.fields == default.pool.fields) is not (pool.scorer == default.pool.scorer)


@pytest.mark.parametrize("name", CELLS)
def test_what_is_asked_of_all_pools_holds_where_it_has_a_meaning(name: str) -> None:
    pool = CELLS[name].pool
    fields = fields_of(pool, Asked(ratio_mean=0.35, ratio_std=0.1, grounding_ratio=-1.0), 3)
    assert (fields.seed, fields.adapter) == (3, "base")
    is_drawn = pool.name in ("blend", "noise", "phrase")
    assert (fields.ratio_mean, fields.ratio_std) == ((0.35, 0.1) if is_drawn else (None, None))
    assert fields.grounding_ratio == (None if name == "twice" else -1.0)


def test_pools_of_one_name_are_one_pool() -> None:
    pools = {cell.pool.name: cell.pool for cell in CELLS.values()}
    assert all(cell.pool == pools[cell.pool.name] for cell in CELLS.values())
    assert len(pools) == 10


@given(some_cells, st.integers(1, 4))
def test_every_trial_is_run_once_and_each_scorer_s_stack_started_once(names: list[str], seeds: int) -> None:
    found = list(trials(names, seeds))
    assert sorted(trial.name for trial in found) == sorted(f"{name}-{seed}" for name in names for seed in range(seeds))
    scorers = [trial.cell.pool.scorer for trial in found]
    assert scorers == sorted(scorers, key=["sentence", "phrase"].index)
    for scorer in set(scorers):
        of_scorer = [trial.seed for trial in found if trial.cell.pool.scorer == scorer]
        assert of_scorer == sorted(of_scorer)


def test_a_cell_that_is_not_there_is_said() -> None:
    with pytest.raises(Mistake, match="no cell blond; there are default, drop"):
        list(trials(["blond"], 1))


@given(decisions, st.sampled_from(ARRANGEMENTS))
def test_an_arrangement_never_counts_on_more_pairs_than_there_are(counts: dict[str, int], how: Arrangement) -> None:
    assert 0 <= usable(counts, how) <= counts["kept"] + counts["swapped"]
    assert usable(counts, "keep") == counts["kept"]


@given(decisions, some_cells, st.integers(8, 1000))
def test_a_pool_grows_until_every_cell_has_its_pairs(counts: dict[str, int], names: list[str], count: int) -> None:
    cells = [CELLS[name] for name in names]
    lacking = missing(counts, cells, count)
    assert all((usable(counts, cell.arrangement) < (cell.count or count)) is (cell in lacking) for cell in cells)
    more = {name: number + max(count, 4096) for name, number in counts.items()}
    assert missing(more, cells, count) == []


def test_reduced_is_some_of_all() -> None:
    assert set(REDUCED) < set(CELLS)


def result(cell: str, seed: int, chair_i: float, right: float | None = 0.9) -> dict[str, Any]:
    data = {
        "demo:theme_breaking:8:1": {"chair_i": {"adapter": chair_i, "base": 0.3}, "f1": {"adapter": 0.7, "base": 0.6}}
    }
    return {
        "cell": cell,
        "seed": seed,
        "pairs": 64,
        "steps": 8,
        "decisions": {"kept": 50, "swapped": 14},
        "right": right,
        "seconds": {"generating": 1.0, "training": 2.0, "evaluating": 3.0},
        "data": data,
    }


def test_a_cell_s_figures_are_mean_and_standard_deviation_over_its_seeds() -> None:
    found = summary([result(DEFAULT, 0, 0.2), result(DEFAULT, 1, 0.1)])
    difference = found["data"]["demo:theme_breaking:8:1"]["chair_i"]["difference"]
    assert difference["mean"] == pytest.approx(-0.15)
    assert difference["std"] == pytest.approx(0.0707107)
    assert (found["pairs"], found["steps"], found["images"]) == (64, 8, 64)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=5))
def test_a_spread_holds_all_seeds(values: list[float]) -> None:
    spread = Spread.of(values)
    assert min(values) - 1e-9 <= spread.mean <= max(values) + 1e-9
    assert spread.std is not None
    assert spread.std >= 0


def test_a_spread_of_one_seed_has_no_deviation() -> None:
    assert Spread.of([0.25]).said("+") == "+0.250"


def test_tables_are_of_factors_with_something_to_compare() -> None:
    found = report([result(DEFAULT, 0, 0.2), result("off", 0, 0.25, None)])
    [table] = tables(found)
    assert table.headings == ("verification", "right", "theme_breaking CHAIR_i", "theme_breaking F1", "s")
    assert table.rows == (("off", "-", "-0.050", "+0.100", "6"), ("swap and discard", "0.900", "-0.100", "+0.100", "6"))


def test_a_table_of_sizes_says_them_and_the_text_above_it_too() -> None:
    small, large = (result(f"pairs-{count}", 0, 0.2) | {"pairs": count, "steps": count // 8} for count in (64, 128))
    found = findings(Asked(), [small, large])
    [table] = tables(found)
    assert [row[0] for row in table.rows] == ["64", "128"]
    assert "trained on 64, 128 pairs in 8, 16 steps" in about(found)


def test_the_result_is_written_for_machines_and_for_people(tmp_path: Path) -> None:
    found = findings(Asked(), [result(DEFAULT, 0, 0.2), result("off", 0, 0.25)])
    beside = write(found, tmp_path / "new" / "ablation.json")
    assert json.loads((tmp_path / "new" / "ablation.json").read_text())["machine"] == describe_machine()
    assert "| off | 0.900 | -0.050 | +0.100 | 6 |" in beside.read_text().splitlines()
    with pytest.raises(Mistake, match="cannot be written"):
        write(found, tmp_path)


def test_an_ablation_goes_on_as_what_it_was(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "one")
    folder.hold(Asked(count=64))
    folder.hold(Asked(count=64))
    with pytest.raises(Mistake, match="Another ablation"):
        folder.hold(Asked(count=65))


def test_what_is_done_is_not_done_again(tmp_path: Path, settings: Settings) -> None:
    """No gateway answers here, so whatever were done again would fail."""
    folder, wanted = Folder(tmp_path), list(trials(REDUCED, 2))
    for trial in wanted:
        (folder.trial(trial) / "result.json").write_text(json.dumps(result(trial.cell.name, trial.seed, 0.2)))
    with Client("http://127.0.0.1:9") as client:
        programs = Programs(settings, tmp_path / "trainer.log")
        asyncio.run(run(wanted, Bench(settings, Asked(), folder, client, programs, Silent())))
    assert [one["cell"] for trial in wanted if (one := folder.result(trial)) is not None] == [
        trial.cell.name for trial in wanted
    ]


class Silent:
    """Nobody looks on."""

    def phase(self, *_: object) -> None: ...

    def progress(self, *_: object) -> None: ...

    def finished(self, *_: object) -> None: ...

    def left_out(self, *_: object) -> None: ...


def ablate(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    own = {
        "DATA_DIR": folder / "data",
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "PORT": free_port(),
        "MLLM_PORT": free_port(),
        "VERIFIER_PORT": free_port(),
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JUDGEFREE_")}
    environment = clean | {f"JUDGEFREE_{name}": str(value) for name, value in own.items()}
    command = [sys.executable, "-m", "judgefree", "ablate", *words]
    return subprocess.run(
        command, env=environment | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--count", "100"], "leave out --cells, --count, --reduced"),
        (["--cells", "off"], "leave out --cells, --count, --reduced"),
        (["--most", "4095"], "4096 pairs cannot come of 4095 images"),
    ],
)
def test_a_sensitivity_has_sizes_of_its_own(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUDGEFREE_DATA_DIR", str(tmp_path))
    assert main(["ablate", "--sensitivity", *words]) == 2
    assert said in " ".join(capfd.readouterr().err.split())


@pytest.mark.timeout(900)  # it starts a stack of its own: a minute where the machine is free, minutes where it is not
def test_a_small_ablation_trains_each_cell_on_its_pairs_and_is_not_run_twice(tmp_path: Path) -> None:
    small = [
        "--cells",
        "off,pairs-64",
        "--most",
        "256",
        "--seeds",
        "1",
        "--count",
        "8",
        "--test",
        "demo:theme_breaking:8:20000",
    ]
    words = [*small, "--out", str(tmp_path / "ablation.json"), "--", "--epochs", "1"]
    done = ablate(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "ablation.json").read_text())
    off = found["cells"]["off"]
    assert (off["pairs"], off["steps"]) == (8, 1)
    assert found["cells"]["pairs-64"]["pairs"] == 64
    assert 0 < off["right"]["mean"] <= 1
    assert off["images"] % 8 == 0
    pools = list((tmp_path / "data" / "ablate" / "ablation" / "pools").iterdir())
    assert [pool.name for pool in pools] == ["blend-0"]

    again = ablate(tmp_path, *words)
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""  # no part was started
    assert json.loads((tmp_path / "ablation.json").read_text())["trials"] == found["trials"]

    other = ablate(tmp_path, *small[:-2], "--test", "demo:dense:8:20000")
    assert other.returncode == 2
    assert "choose another --name" in other.stderr
