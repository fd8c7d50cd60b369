"""Chart of a range test: one self-contained SVG file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from bakehouse.training.lr_finder.suggestion import RangeTestResult

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 48
HEADROOM = 0.35
"""Range above zero, as a share of the largest decrease; higher values are clipped, since divergence dwarfs the rest."""

STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; color: #1d2733 }
.rule { stroke: currentColor; stroke-opacity: .14 } text { fill: currentColor }
.subject { stroke: #2563c9 } .drift { stroke: #b8620a; stroke-dasharray: 5 4 } .pick { stroke: #1a7f4b }
path { fill: none; stroke-width: 2 }
.name-subject { fill: #2563c9 } .name-drift { fill: #b8620a } .name-pick { fill: #1a7f4b }
@media (prefers-color-scheme: dark) { svg { background: #14181d; color: #dde3ea }
.subject { stroke: #7fb0ff } .name-subject { fill: #7fb0ff } .drift { stroke: #f0a860 } .name-drift { fill: #f0a860 }
.pick { stroke: #62d394 } .name-pick { fill: #62d394 } }
"""

Scale = Callable[[float], float]


def lr_chart(test: RangeTestResult) -> str:
    """Return the chart: measurements over the learning rate (log scale), in percent of the initial loss."""
    rates = [m.lr for m in test.measurements]
    subject = [100 * m.subject / test.base_loss for m in test.measurements]
    drift = [100 * m.drift / test.base_loss for m in test.measurements]
    low, high = 1.1 * min(subject), max(-HEADROOM * min(subject), min(max(drift), -min(subject)))
    x = _scale(math.log10(rates[0]), math.log10(rates[-1]), LEFT, WIDTH - RIGHT)
    y = _scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [
        *_frame(x, y, rates, (low, high)),
        _line("drift", rates, drift, x, y, high),
        _line("subject", rates, subject, x, y, high),
        *_suggestion(test, x),
        f'<text class="name-subject" x="{LEFT + 8}" y="{TOP + 16}">the subject\'s loss</text>',
        f'<text class="name-drift" x="{LEFT + 8}" y="{TOP + 32}">drift of the class</text>',
    ]
    title = escape(f"Learning rate {test.peak_lr:g}: {test.why}")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{title}</title>'
    return f"{head}<style>{STYLE}</style>{''.join(parts)}</svg>\n"


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _frame(x: Scale, y: Scale, rates: Sequence[float], ends: tuple[float, float]) -> list[str]:
    """Return grid lines with their numbers: powers of ten below, percents at the left."""
    parts = []
    for power in range(math.ceil(math.log10(rates[0])), math.floor(math.log10(rates[-1])) + 1):
        at, foot = f"{x(power):.1f}", HEIGHT - BOTTOM
        parts.append(f'<line class="rule" x1="{at}" x2="{at}" y1="{TOP}" y2="{foot}"/>')
        parts.append(f'<text x="{at}" y="{foot + 18}" text-anchor="middle">1e{power}</text>')
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 100) if (ends[1] - ends[0]) / s <= 8 or s == 100)
    for k in range(math.ceil(ends[0] / step), math.floor(ends[1] / step) + 1):
        at = f"{y(k * step):.1f}"
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{float(at) + 4:.1f}" text-anchor="end">{_percent(k * step)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">learning rate</text>')
    return parts


def _percent(value: float) -> str:
    return f"{value:+g} %" if value else "0 %"


def _line(style: str, rates: Sequence[float], values: Sequence[float], x: Scale, y: Scale, top: float) -> str:
    """Return a polyline; values above `top` are clipped."""
    points = [f"{x(math.log10(r)):.1f},{y(min(v, top)):.1f}" for r, v in zip(rates, values, strict=True)]
    return f'<path class="{style}" d="M{" L".join(points)}"/>'


def _suggestion(test: RangeTestResult, x: Scale) -> list[str]:
    name = "lr" if test.lr is not None else "text_lr"
    at, label = f"{x(math.log10(test.peak_lr)):.1f}", f"optimizer.{name} = {test.peak_lr:g}"
    return [
        f'<line class="pick" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke-width="2"/>',
        f'<text class="name-pick" x="{at}" y="{TOP - 10}" text-anchor="middle">{label}</text>',
    ]
