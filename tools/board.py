"""Grafana's board: `python -m tools.board` writes it. One row a stage, in the order of a pair's way.

In an expression `@` stands for the labels that the board's two variables choose by.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "k8s" / "components" / "monitoring" / "judgefree.json"
_CHOSEN = 'namespace=~"$namespace", judgefree_io_shard=~"$shard"'
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_WIDTH, _HEIGHT, _A_LINE = 8, 7, 3


@dataclass(frozen=True)
class Panel:
    """A graph: `queries` are expressions, each with the legend of its lines; `least` is the axis' end, if fixed."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    least: float | None = 0


def _rate(metric: str, by: str = "", more: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{@{more}}}[$__rate_interval]))"


def _quantiles(metric: str, more: str = "") -> tuple[tuple[str, str], ...]:
    rate = _rate(f"{metric}_bucket", "le", more)
    return tuple((f"histogram_quantile({share}, {rate})", f"p{share * 100:g}") for share in (0.5, 0.95, 0.99))


def _mean(metric: str, by: str) -> str:
    return f"{_rate(f'{metric}_sum', by)} / {_rate(f'{metric}_count', by)}"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Admission": (
        Panel("Pairs accepted", "reqps", ((_rate("judgefree_pairs_admitted_total"), "accepted"),)),
        Panel(
            "Requests", "reqps",
            ((_rate("judgefree_http_requests_total", "route, status"), "{{route}} {{status}}"),),
        ),
        Panel(
            "Time of POST /v1/pairs", "s",
            _quantiles("judgefree_http_request_seconds", ', method="POST", route="/v1/pairs"'),
        ),
    ),
    "Queue": (
        Panel("Not done", "short", (("max by (stream) (judgefree_queue_depth{@})", "{{stream}}"),)),
        Panel("Not taken yet", "short", (("max by (stream) (judgefree_queue_lag{@})", "{{stream}}"),)),
        Panel("Age of the oldest", "s", (("max by (stream) (judgefree_queue_oldest_seconds{@})", "{{stream}}"),)),
        Panel("Wait for generation", "s", _quantiles("judgefree_generation_wait_seconds")),
        Panel(
            "Valkey", "bytes",
            (("max(judgefree_queue_memory_bytes{@})", "memory"), ("max(judgefree_queue_aof_bytes{@})", "file")),
        ),
        Panel(
            "Room on Valkey's disk", "percentunit",
            ((
                'kubelet_volume_stats_available_bytes{namespace=~"$namespace", persistentvolumeclaim=~"queue-valkey.*"}'
                ' / kubelet_volume_stats_capacity_bytes{namespace=~"$namespace", '
                'persistentvolumeclaim=~"queue-valkey.*"}',
                "{{persistentvolumeclaim}}",
            ),),
        ),
    ),
    "Generation": (
        Panel("Pairs generated", "reqps", ((_rate("judgefree_pairs_generated_total", "method"), "{{method}}"),)),
        Panel("Time of a generation", "s", _quantiles("judgefree_generation_seconds")),
        Panel("In generation", "short", (("sum by (pod) (judgefree_pairs_in_generation{@})", "{{pod}}"),)),
        Panel(
            "vLLM's requests", "short",
            (("sum(vllm:num_requests_running{@})", "running"), ("sum(vllm:num_requests_waiting{@})", "waiting")),
        ),
        Panel("vLLM's tokens", "short", ((_rate("vllm:generation_tokens_total", "pod"), "{{pod}}"),)),
        Panel("vLLM's time of a request", "s", _quantiles("vllm:e2e_request_latency_seconds")),
        Panel(
            "vLLM's replicas, as gateways see them", "short",
            (
                ('min(judgefree_mllm_replicas{@, state="ready"})', "ready"),
                ('max by (state) (judgefree_mllm_replicas{@, state!="ready"})', "{{state}}"),
            ),
        ),
    ),
    "Twins": (
        Panel("Twins in flight", "short", (("sum by (pod) (judgefree_mllm_twins_in_flight{@})", "{{pod}}"),)),
        Panel("Steps held", "short", ((_rate("judgefree_mllm_held_steps_total", "pod"), "{{pod}}"),)),
        Panel(
            "Broken twins", "short",
            (
                ("sum(increase(judgefree_mllm_divergences_total{@}[$__rate_interval]))", "diverged"),
                ("sum(increase(judgefree_mllm_timeouts_total{@}[$__rate_interval]))", "timed out"),
                ("sum(increase(judgefree_unequal_twins_total{@}[$__rate_interval]))", "unequal at the gateway"),
            ),
        ),
    ),
    "Verification": (
        Panel("Wait for verification", "s", _quantiles("judgefree_verification_wait_seconds")),
        Panel("Time of a verification", "s", _quantiles("judgefree_verification_seconds")),
        Panel("Batch", "short", _quantiles("judgefree_verifier_batch_size")),
        Panel(
            "Mean time of a batch by step", "s",
            ((_mean("judgefree_verifier_stage_seconds", "stage"), "{{stage}}"),),
        ),
        Panel("In work", "short", (("sum by (pod) (judgefree_verifier_held{@})", "{{pod}}"),)),
        Panel("Images", "short", ((_rate("judgefree_verifier_images_total", "source"), "{{source}}"),)),
    ),
    "Store": (
        Panel("Finished pairs", "short", (("max by (decision) (judgefree_pairs{@})", "{{decision}}"),)),
        Panel(
            "Mean time of a call to the store", "s",
            ((_mean("judgefree_store_operation_seconds", "operation"), "{{operation}}"),),
        ),
        Panel(
            "Mean time of a call to the image store", "s",
            ((_mean("judgefree_blob_operation_seconds", "operation"), "{{operation}}"),),
        ),
    ),
    "Decisions": (
        Panel(
            "Decisions", "reqps",
            ((_rate("judgefree_verifier_decisions_total", "decision, reason"), "{{decision}} {{reason}}"),),
        ),
        Panel(
            "Decisions by ratio", "short",
            ((
                "sum by (ratio, decision) (increase(judgefree_verifier_decisions_total{@}[$__range]))",
                "{{ratio}} {{decision}}",
            ),),
            "bargauge",
        ),
        Panel(
            "Share kept or swapped by method", "percentunit",
            ((
                _rate("judgefree_verifier_decisions_total", "method", ', decision!="discarded"')
                + " / " + _rate("judgefree_verifier_decisions_total", "method"),
                "{{method}}",
            ),),
        ),
        Panel("From admission to decision", "s", _quantiles("judgefree_pair_seconds")),
    ),
    "Margins": (
        Panel(
            "Margins", "short",
            (("sum by (le) (increase(judgefree_verifier_margin_bucket{@}[$__range]))", "{{le}}"),), "bargauge",
        ),
        Panel(
            "Mean margin", "short",
            ((f"{_rate('judgefree_verifier_margin_sum')} / {_rate('judgefree_verifier_margin_count')}", "margin"),),
            least=None,
        ),
    ),
    "Errors": (
        Panel("Parts that answer", "short", (("min by (part) (judgefree_part_up{@})", "{{part}}"),)),
        Panel(
            "Failed attempts", "reqps",
            (
                (_rate("judgefree_generation_failures_total", "outcome"), "generation {{outcome}}"),
                (_rate("judgefree_verifier_failures_total", "outcome"), "verification {{outcome}}"),
            ),
        ),
        Panel(
            "Errors of ours", "reqps",
            ((_rate("judgefree_http_requests_total", "route", ', status=~"5.."'), "{{route}}"),),
        ),
    ),
    "Resources": (
        Panel("Processors", "short", ((_rate("process_cpu_seconds_total", "component, pod"), "{{pod}}"),)),
        Panel("Memory", "bytes", (("sum by (pod) (process_resident_memory_bytes{@})", "{{pod}}"),)),
        Panel("vLLM's cache", "percentunit", (("max by (pod) (vllm:kv_cache_usage_perc{@})", "{{pod}}"),)),
        Panel(
            "Verifiers' GPUs: memory", "bytes",
            (
                ("sum by (pod) (judgefree_gpu_memory_used_bytes{@})", "{{pod}} used"),
                ("sum by (pod) (judgefree_gpu_memory_bytes{@})", "{{pod}} there"),
            ),
        ),
        Panel("Verifiers' GPUs: busy", "percentunit", (("avg by (pod) (judgefree_gpu_busy_ratio{@})", "{{pod}}"),)),
    ),
}  # fmt: skip


def board() -> dict[str, Any]:
    """The board as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "collapsed": False})
        y += 1
        for index, panel in enumerate(row):
            x, line = index % _A_LINE * _WIDTH, index // _A_LINE
            panels.append(_panel(panel, x, y + line * _HEIGHT))
        y += -(-len(row) // _A_LINE) * _HEIGHT
    return {
        "title": "judgefree",
        "uid": "judgefree",
        "tags": ["judgefree"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [panel | {"id": number} for number, panel in enumerate(panels, 1)],
    }


def _panel(panel: Panel, x: int, y: int) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": _SOURCE,
            "expr": expression.replace("@", _CHOSEN),
            "legendFormat": legend,
            "instant": panel.kind != "timeseries",
            "format": "heatmap" if legend == "{{le}}" else "time_series",  # of cumulated buckets, each one's own
        }
        for number, (expression, legend) in enumerate(panel.queries)
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": panel.least}, "overrides": []},
        "targets": targets,
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    namespace, shard = (
        {
            "name": name,
            "type": "query",
            "datasource": _SOURCE,
            "query": f"label_values(judgefree_part_up, {label})",
            "includeAll": True,
            "allValue": ".*",
            "refresh": 2,
        }
        for name, label in (("namespace", "namespace"), ("shard", "judgefree_io_shard"))
    )
    return [source, namespace, shard]


if __name__ == "__main__":
    FILE.write_text(json.dumps(board(), indent=1) + "\n")
