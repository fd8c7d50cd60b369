"""Line charts as inline SVG: no script, no network, colours from the page so that light and dark both work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 40, 64, 14, 34
"""Room around the plot, in units of the view box; the right holds the lines' names."""
LABEL_GAP = 13
"""Units between the names at the lines' ends."""


@dataclass(frozen=True)
class Point:
    """One mark, its interval (the same number thrice: none) and what it says when pointed at."""

    x: float
    y: float
    low: float
    high: float
    note: str = ""
    ringed: bool = False


@dataclass(frozen=True)
class Line:
    """A line through points; `style` is a class of the page's."""

    name: str
    points: Sequence[Point]
    style: str
    marks: bool = True


@dataclass(frozen=True)
class Axes:
    """What a chart shows and how far it goes; a limit is a dashed line with words at it."""

    title: str
    x_name: str
    y_unit: str = ""
    y_low: float = 0.0
    y_high: float | None = None
    """None: from the data."""
    limit: float | None = None
    limit_name: str = ""


def line_chart(lines: Sequence[Line], axes: Axes) -> str:
    """An SVG element with a title for those who do not see it; empty where there is nothing to draw."""
    points = [p for line in lines for p in line.points if not math.isnan(p.y)]
    if not points:
        return ""
    scale = _Scale.of(points, axes)
    parts = [_frame(scale, axes), *(_band(line, scale) for line in lines), *(_path(line, scale) for line in lines)]
    parts += [_names(lines, scale)]
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(axes.title)}">'
    return f"{head}{''.join(parts)}</svg>"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) from `low` to `high`, at most `most` + 1 of them."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power * most >= span * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


@dataclass(frozen=True)
class _Scale:
    """From figures to units of the view box."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    @staticmethod
    def of(points: Sequence[Point], axes: Axes) -> _Scale:
        xs = [p.x for p in points]
        top = axes.y_high
        if top is None:
            tallest = max([p.high for p in points if not math.isnan(p.high)] or [1.0])
            top = max(tallest * 1.08, 1e-6, 1.6 * (axes.limit or 0.0))
        margin = 0.5 if min(xs) == max(xs) else 0.0
        return _Scale(min(xs) - margin, max(xs) + margin, axes.y_low, top)

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        inside = min(max(value, self.y_low), self.y_high)
        return HEIGHT - BOTTOM - (inside - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)


def _frame(scale: _Scale, axes: Axes) -> str:
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value in ticks(scale.y_low, scale.y_high):
        y = scale.y(value)
        parts.append(f'<line class="rule" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(_tick(LEFT - 6, y + 3.5, "end", f"{value:g}{axes.y_unit}"))
    whole = [v for v in ticks(scale.x_low, scale.x_high) if v == int(v)]
    parts += [_tick(scale.x(value), floor + 14, "middle", f"{value:g}") for value in whole]
    parts.append(_tick((LEFT + right) / 2, HEIGHT - 4, "middle", axes.x_name))
    if axes.limit is not None and scale.y_low <= axes.limit <= scale.y_high:
        y = scale.y(axes.limit)
        parts.append(f'<line class="limit" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text class="limit-name" x="{LEFT + 4}" y="{y - 4:.1f}">{escape(axes.limit_name)}</text>')
    return "".join(parts)


def _band(line: Line, scale: _Scale) -> str:
    """The intervals as an area behind the line."""
    known = [p for p in line.points if not math.isnan(p.low)]
    if len(known) < 2 or not line.marks:
        return ""
    upper = [f"{scale.x(p.x):.1f},{scale.y(p.high):.1f}" for p in known]
    lower = [f"{scale.x(p.x):.1f},{scale.y(p.low):.1f}" for p in reversed(known)]
    return f'<polygon class="band {line.style}" points="{" ".join(upper + lower)}"/>'


def _path(line: Line, scale: _Scale) -> str:
    known = [p for p in line.points if not math.isnan(p.y)]
    if not known:
        return ""
    way = " ".join(f"{scale.x(p.x):.1f},{scale.y(p.y):.1f}" for p in known)
    parts = [f'<polyline class="line {line.style}" points="{way}"/>']
    for p in known if line.marks else ():
        at = f'cx="{scale.x(p.x):.1f}" cy="{scale.y(p.y):.1f}"'
        if p.ringed:
            parts.append(f'<circle class="ring" {at} r="7"/>')
        parts.append(f'<circle class="mark {line.style}" {at} r="3.2"><title>{escape(p.note)}</title></circle>')
    return "".join(parts)


def _names(lines: Sequence[Line], scale: _Scale) -> str:
    """Each line's name at its end; those that would overlap are moved apart."""
    ends = [(scale.y([p for p in line.points if not math.isnan(p.y)][-1].y), line) for line in lines if _drawn(line)]
    ends.sort(key=lambda end: end[0])
    heights = [y for y, _ in ends]
    for i, j in pairwise(range(len(heights))):
        heights[j] = max(heights[j], heights[i] + LABEL_GAP)
    overflow = max(0.0, heights[-1] - (HEIGHT - BOTTOM)) if heights else 0.0
    heights = [y - overflow for y in heights]
    x = WIDTH - RIGHT + 11
    return "".join(
        f'<text class="name {line.style}" x="{x}" y="{y + 4:.1f}">{escape(line.name)}</text>'
        for y, (_, line) in zip(heights, ends, strict=True)
    )


def _drawn(line: Line) -> bool:
    return any(not math.isnan(p.y) for p in line.points)


def _tick(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
