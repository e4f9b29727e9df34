"""docs/benchmarks.md says what the result files say."""

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text()


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return found


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def median_and_range(ratios: list[float], median: float, digits: int = 2) -> str:
    return f"| {median:.{digits}f} | {min(ratios):.{digits}f} - {max(ratios):.{digits}f} |"


def test_the_system_against_the_loop_and_against_its_model() -> None:
    loop, service = result("two_pass"), result("end_to_end")
    rounds = [f"{one['served_pairs_per_s']:.1f} / {one['loop_pairs_per_s']:.1f}" for one in loop["rounds"]]
    assert f"every text equal | {loop['served_over_loop']:.1f} | {', '.join(rounds)} |" in PAGE
    assert loop["equal_texts"] == 1
    speeds = zip(*service["pairs_per_s"].values(), strict=True)
    rounds = [f"{first:.1f} / {second:.1f}" for first, second in speeds]
    assert f"| {service['ratio']:.2f} | {', '.join(rounds)} |" in PAGE


@pytest.mark.parametrize(
    ("row", "part", "place"),
    [
        ("| 1 twin pair in flight", "twins", "1 pairs"),
        ("| 8 pairs /", "twins", "8 pairs"),
        ("| 64 pairs / the same", "twins", "64 pairs"),
        ("| an ordinary request alone", "ordinary", "1 at a time"),
        ("| eight ordinary requests", "ordinary", "8 at a time"),
    ],
)
def test_paired_decodings_price(row: str, part: str, place: str) -> None:
    found = result(f"paired_decoding_{part}")[place]
    [line] = [line for line in PAGE.splitlines() if line.startswith(row)]
    processor = f"{found['processor_time_ratio']:.2f}"
    assert line.endswith(f"{median_and_range(found['ratios'], found['ratio'])[:-1]}| {processor} |")


def test_paired_decoding_against_the_loop() -> None:
    found = result("paired_decoding_loop")
    for row, name, digits in (("batch 1, tokens/s", "batch 1", 1), ("no HTTP)", "best batch", 2)):
        ratios = [one["served"] / one[name] for one in found["blended_tokens_per_s"]]
        median = found[f"served_over_{name.replace(' ', '_')}"]
        [line] = [line for line in PAGE.splitlines() if f"{row} |" in line]
        assert line.endswith(f"{median_and_range(ratios, median, digits)[:-1]}| - |")


def test_the_processor_alone() -> None:
    found = result("paired_decoding_processor")
    assert f"| one call | {found['greedy_ms']:.0f} ms | {found['drawn_ms']:.0f} ms |" in PAGE
    assert f"| {percent(found['greedy_share'])} | {percent(found['drawn_share'])} |" in PAGE
    assert f"wide, {found['head_ms']:,.0f} ms) and an argmax ({found['argmax_ms']:.0f} ms)" in PAGE
    counts = [
        ", ".join(str(found[f"{way}_operations"][twins]) for twins in ("64", "256")) for way in ("greedy", "drawn")
    ]
    assert f"| {counts[0]} | {counts[1]} |" in PAGE


def test_blending_beside_the_bandwidth_of_memory() -> None:
    core, gpu = result("paired_decoding_kernel_cpu"), result("paired_decoding_kernel_cuda")
    greedy, drawn = ([one[f"{way}_of_limit"] for one in core["calls"]] for way in ("greedy", "drawn"))
    assert f"({core['copy_gb_per_s']:.1f} GB/s by a copy" in PAGE
    shares = [f"{100 * min(ratios):.0f} to {100 * max(ratios):.0f} %" for ratios in (greedy, drawn)]
    assert f"a greedy call reaches {shares[0]} on these two cores, a drawn one {shares[1]}" in " ".join(PAGE.split())
    assert f"{gpu['copy_gb_per_s']:,.0f} GB/s" in PAGE
    for one in gpu["calls"]:
        if one["twins"] in (1, 16, 64, 256):
            cells = (
                f"{one['vocabulary']:,}",
                str(one["twins"]),
                f"{1000 * one['limit_ms']:.1f}",
                f"{1000 * one['greedy_ms']:.1f}",
                f"{100 * one['greedy_of_limit']:.0f} %",
                f"{1000 * one['drawn_ms']:,.0f}",
            )
            assert f"| {' | '.join(cells)} |" in PAGE


def test_training_on_a_gpu() -> None:
    found = result("dpo")
    assert f"{found['matrix_product']['tflop_per_s']:.0f} TFLOP/s" in PAGE
    for one in found["settings"]:
        cells = (
            str(one["batch_size"]),
            "yes" if one["gradient_checkpointing"] else "no",
            f"{one['tokens_per_s']:,.0f}",
            f"{one['peak_gb']['allocated']:.1f}",
            f"{one['predicted_gb']['total']:.1f}",
            f"{100 * one['share_of_matrix_product']:.0f} %",
        )
        assert f"| {' | '.join(cells)} |" in PAGE
