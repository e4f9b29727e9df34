"""Grafana's board and the alert rules ask for metrics that the parts really expose, and for nothing else."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.rendering import K8S, ROOT, render
from tests.observability.exposed import everything, of_gateway, of_plugin, of_verifier
from tests.observability.promql import complaints, promtool
from tools.board import FILE, ROWS, board

MONITORING = K8S / "components" / "monitoring"
OPERATIONS = ROOT / "docs" / "operations.md"
PAGE = ROOT / "docs" / "observability.md"


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    return everything()


def groups() -> list[Any]:
    rules: list[Any] = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]["groups"]
    return rules


def alerts() -> list[Any]:
    return [rule for group in groups() for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    """Title and expression, with Grafana's variables put in."""
    for panel in board()["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$namespace", ".*").replace("$shard", ".*")
            yield panel["title"], re.sub(r"\$__(rate_interval|range)", "5m", expression)


def test_every_panel_asks_for_metrics_and_labels_that_there_are(exposed: dict[str, set[str]]) -> None:
    found = {title: list(complaints(expression, exposed)) for title, expression in queries()}
    assert {title: said for title, said in found.items() if said} == {}


def test_every_alert_asks_for_metrics_and_labels_that_there_are(exposed: dict[str, set[str]]) -> None:
    found = {rule["alert"]: list(complaints(rule["expr"], exposed)) for rule in alerts()}
    assert {name: said for name, said in found.items() if said} == {}


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("rate(judgefree_nothing_total{}[5m])", "no metric judgefree_nothing_total"),
        ('judgefree_queue_lag{queue="jobs"}', "judgefree_queue_lag has no label queue"),
        ("sum by (colour) (judgefree_queue_lag{})", "no metric here has a label colour"),
        ("sum(judgefree_queue_lag)", "judgefree_queue_lag is used without braces"),
        ("rate(judgefree_pair_seconds{}[5m])", "no metric judgefree_pair_seconds"),
        ("vllm:num_requests_asleep{}", "no metric vllm:num_requests_asleep"),
    ],
)
def test_what_there_is_not_is_found(exposed: dict[str, set[str]], expression: str, said: str) -> None:
    assert said in list(complaints(expression, exposed))


def test_the_board_shows_every_metric_of_ours() -> None:
    shown = " ".join(expression for _, expression in queries())
    ours = {one.name for one in (*of_gateway(), *of_verifier(), *of_plugin()) if one.name.startswith("judgefree_")}
    # Told by another figure of the board: a rate that the counts have too, what alone is reserved of what is in use.
    told_otherwise = {
        "judgefree_pairs_per_second",
        "judgefree_queue_takes_writes",
        "judgefree_gpu_memory_reserved_bytes",
    }
    assert {name for name in ours if name not in shown} == told_otherwise


def test_the_board_in_k8s_is_the_one_that_is_written_here() -> None:
    assert json.loads(FILE.read_text()) == board(), "run python -m tools.board"


def test_panels_lie_beside_each_other_and_not_on_each_other() -> None:
    taken = set[tuple[int, int]]()
    for panel in board()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_promtool_takes_every_query_of_the_board(tmp_path: Path) -> None:
    rules = [{"record": f"panel:query{number}", "expr": expression} for number, (_, expression) in enumerate(queries())]
    (tmp_path / "board.yaml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", tmp_path / "board.yaml")


def test_promtool_takes_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}))
    (tmp_path / "cases.yaml").write_text((Path(__file__).parent / "rules_cases.yaml").read_text())
    promtool("check", "rules", tmp_path / "rules.yaml")
    promtool("test", "rules", "cases.yaml", folder=tmp_path)


def test_every_alert_fires_in_some_case() -> None:
    cases = yaml.safe_load((Path(__file__).parent / "rules_cases.yaml").read_text())["tests"]
    fired = {one["alertname"] for case in cases for one in case["alert_rule_test"] if one.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in alerts()}


def test_operations_says_of_each_alert_what_it_means_and_what_to_do() -> None:
    section = OPERATIONS.read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `Judgefree")]
    assert [row[0].strip() for row in rows] == [f"`{rule['alert']}`" for rule in alerts()]
    for name, means, to_do in rows:
        assert len(means.strip()) > 20, name
        assert len(to_do.strip()) > 20, name


@pytest.mark.parametrize("part", ["gateway", "verifier", "vLLM"])
def test_the_page_has_every_metric_of_ours_as_it_is(part: str) -> None:
    real = {"gateway": of_gateway, "verifier": of_verifier, "vLLM": of_plugin}[part]()
    rows = {
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels) or '-'} | {one.text} |"
        for one in real
        if one.name.startswith("judgefree_")
    }
    section = PAGE.read_text().partition(f"\n### Of the {part}\n")[2].partition("\n#")[0]
    assert {line for line in section.splitlines() if line.startswith("| `judgefree_")} == rows


def test_the_page_names_the_board_s_rows_in_order() -> None:
    named = [title for title in ROWS if f"**{title}**" in PAGE.read_text()]
    assert named == list(ROWS)


def test_the_component_renders_beside_the_base(tmp_path: Path) -> None:
    folder = tmp_path / "k8s"
    shutil.copytree(K8S, folder)
    (folder / "monitored").mkdir()
    (folder / "monitored" / "kustomization.yaml").write_text(
        "namespace: judgefree\nresources: [../base/shard, ../base/shared]\ncomponents: [../components/monitoring]\n"
    )
    made = render(folder / "monitored", "base + monitoring")
    [shown] = [one for one in made.of("ConfigMap") if one["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    assert json.loads(shown["data"]["judgefree.json"]) == board()
    ports = {pod.component: set(pod.ports().values()) for pod in made.pods}
    for monitor in made.of("PodMonitor"):
        [chosen] = monitor["spec"]["selector"]["matchExpressions"]
        for component in chosen["values"]:
            assert {one["port"] for one in monitor["spec"]["podMetricsEndpoints"]} <= ports[component]
