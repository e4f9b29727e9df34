import json
from pathlib import Path

from tools.capacity import OPEN, PAGE, RESULTS, page


def test_the_page_on_capacity_is_what_the_tool_makes_of_the_result_files() -> None:
    assert (RESULTS / OPEN).exists()
    assert PAGE.read_text(encoding="utf-8") == page(RESULTS)


def test_the_page_says_that_a_load_test_failed_and_why(tmp_path: Path) -> None:
    result = {
        "machine": {"cores": 2, "processor": "some processor", "memory_gib": 8.0},
        "asked": {"load": "open"},
        "figures": {"knee": None, "levels": []},
        "model_alone": {"median": 20.0, "pairs_per_s": [20.0]},
        "passed": False,
        "complaints": ["2 pairs are lost."],
    }
    (tmp_path / OPEN).write_text(json.dumps(result), encoding="utf-8")
    assert "**This load test failed:**\n\n- 2 pairs are lost.\n" in page(tmp_path)
    (tmp_path / OPEN).write_text(json.dumps({**result, "passed": True, "complaints": []}), encoding="utf-8")
    assert "failed:" not in page(tmp_path)
