"""Counters of a server in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

_BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds."""
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """What has happened since the server was started."""

    def __init__(self) -> None:
        self._requests: dict[_Labels, int] = defaultdict(int)
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * len(_BUCKETS))
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)

    def count(self, dialect: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests[("dialect", dialect), ("status", str(status))] += 1
        for number, limit in enumerate(_BUCKETS):
            self._buckets[dialect][number] += seconds <= limit
        self._sums[dialect] += seconds
        self._counts[dialect] += 1

    def text(self, *, waiting: int, pictures: int, batches: int, devices: Sequence[Mapping[str, Any]]) -> str:
        """Return all metrics.

        Args:
            waiting: pictures in the queue.
            pictures: pictures drawn.
            batches: batches that drew them.
            devices: the state of each worker, as `Engine.devices` returns it.
        """
        lines = _metric("bakehouse_requests_total", "counter", "Requests answered.", self._requests)
        lines += self._histogram()
        lines += _metric("bakehouse_queue_pictures", "gauge", "Pictures that wait.", {(): waiting})
        lines += _metric("bakehouse_pictures_total", "counter", "Pictures drawn.", {(): pictures})
        lines += _metric("bakehouse_batches_total", "counter", "Batches that drew them.", {(): batches})
        for key, kind, text in (
            ("ready", "gauge", "Whether the worker is ready."),
            ("restarts", "counter", "Times the worker was started again."),
            ("bytes", "gauge", "Bytes of models on the device."),
            ("budget", "gauge", "Bytes that models may take on the device."),
            ("drawing", "gauge", "Pictures that are being drawn."),
        ):
            rows: dict[_Labels, int] = {(("device", str(one["device"])),): int(one[key]) for one in devices}
            name = f"bakehouse_worker_{key}" + ("_total" if kind == "counter" else "")
            lines += _metric(name, kind, text, rows)
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name = "bakehouse_request_seconds"
        lines = [f"# HELP {name} Seconds until requests were answered.", f"# TYPE {name} histogram"]
        for dialect, counts in sorted(self._buckets.items()):
            label = ("dialect", dialect)
            for limit, count in zip(_BUCKETS, counts, strict=True):
                lines.append(f"{name}_bucket{_labels((label, ('le', str(limit))))} {count}")
            lines.append(f"{name}_bucket{_labels((label, ('le', '+Inf')))} {self._counts[dialect]}")
            lines.append(f"{name}_sum{_labels((label,))} {self._sums[dialect]:.6f}")
            lines.append(f"{name}_count{_labels((label,))} {self._counts[dialect]}")
        return lines


def _metric(name: str, kind: str, text: str, rows: Mapping[_Labels, int]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return lines + [f"{name}{_labels(labels)} {value}" for labels, value in sorted(rows.items())]


def _labels(labels: _Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
