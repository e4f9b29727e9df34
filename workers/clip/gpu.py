"""Use of the GPU that the encoder is on, asked for when metrics are read. Where there is no GPU these are absent."""

from collections.abc import Iterator
from typing import Final

import torch
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_TEXTS: Final = {
    "judgefree_gpu_memory_bytes": "Memory of the GPU",
    "judgefree_gpu_memory_used_bytes": "Memory of the GPU in use by all processes",
    "judgefree_gpu_memory_reserved_bytes": "Memory of the GPU that this process has reserved",
    "judgefree_gpu_busy_ratio": "Share of the last moment in which the GPU computed, where the driver tells it",
}


class Gpu(Collector):
    """The current CUDA device."""

    def __init__(self) -> None:
        self._tells_use = _tells_use()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The names, without a look at the device."""
        return (GaugeMetricFamily(name, text, labels=["device"]) for name, text in _TEXTS.items())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        free, total = torch.cuda.mem_get_info()
        values: list[float] = [total, total - free, torch.cuda.memory_reserved()]
        families = list(self.describe())
        if self._tells_use:
            values.append(torch.cuda.utilization() / 100)
        else:
            del families[-1]  # the use, which is not told
        for family, value in zip(families, values, strict=True):
            family.add_metric([torch.cuda.get_device_name()], value)
            yield family


def _tells_use() -> bool:
    try:
        torch.cuda.utilization()
    except Exception:  # noqa: BLE001 - torch asks through pynvml, which may be missing, and has errors of its own
        return False
    return True
