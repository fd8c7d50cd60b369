"""What a training looks like while it runs: its loss, and the same pictures from epoch to epoch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bakehouse.core.events import Step
from bakehouse.core.run_folder import Run
from bakehouse.core.svg_charts import Axes, Line, Point, Size, line_chart
from bakehouse.notebook import html
from bakehouse.serve.runs.losses import loss_columns

_POINTS = 120
_SAMPLE = re.compile(r"step-(\d+)-(\d+)\.png")
_MOST = 6
"""Pictures in a strip: the first, and the newest ones."""


def loss_chart(steps: Sequence[Step]) -> str:
    """Return the curve of the loss, with class images theirs apart; empty before the second step."""
    if len(steps) < 2:
        return ""
    columns = loss_columns(steps, _POINTS)
    has_prior = any(value is not None for value in columns["prior"])
    lines = [_line("subject", columns["step"], columns["subject"])]
    if has_prior:
        lines.append(_line("prior", columns["step"], columns["prior"]))
    chart = line_chart(lines, Axes("Loss from step to step", "step"), Size(width=520, height=200))
    return f"<div class='bh-chart'>{chart}</div>"


def _line(name: str, steps: Sequence[int], values: Sequence[float | None]) -> Line:
    points = [Point.bare(x, y) for x, y in zip(steps, values, strict=True) if y is not None]
    return Line(name, points, name, marks=False)


def sample_strips(run: Run) -> str:
    """Return a strip for each prompt that the training draws: the newest pictures to the right."""
    strips: dict[int, list[tuple[int, Path]]] = {}
    for path in sorted(run.samples.glob("step-*.png")) if run.samples.is_dir() else ():
        if found := _SAMPLE.fullmatch(path.name):
            strips.setdefault(int(found[2]), []).append((int(found[1]), path))
    return "".join(_strip(strip) for _, strip in sorted(strips.items()))


def _strip(strip: Sequence[tuple[int, Path]]) -> str:
    shown = [*strip[:1], *strip[1:][1 - _MOST :]]
    return f"<div class='bh-strip'>{''.join(html.picture(path, below=f'step {step}') for step, path in shown)}</div>"
