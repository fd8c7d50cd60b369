"""The losses of a run as columns for a curve: means over equal spans of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bakehouse.core.events import Step


def loss_columns(steps: Sequence[Step], points: int) -> dict[str, Any]:
    """Return at most `points` rows as columns; a value is the mean of its span, None where the span has none."""
    size = max(1, -(-len(steps) // points))
    spans = [steps[start : start + size] for start in range(0, len(steps), size)]
    names = list(dict.fromkeys(name for step in steps for name in step.rates))
    return {
        "step": [span[-1].step for span in spans],
        "epoch": [span[-1].epoch for span in spans],
        "loss": _means(spans, lambda step: step.loss),
        "subject": _means(spans, lambda step: step.subject_loss),
        "prior": _means(spans, lambda step: step.prior_loss),
        "rates": {name: [span[-1].rates.get(name) for span in spans] for name in names},
        "images_per_s": _means(spans, lambda step: step.images_per_s),
    }


def _means(spans: Sequence[Sequence[Step]], value: Callable[[Step], float | None]) -> list[float | None]:
    return [_mean([found for step in span if (found := value(step)) is not None]) for span in spans]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
