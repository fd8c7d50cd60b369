"""Line charts as SVG: no script, no network; colours come from CSS classes, so that light and dark both work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

LABEL_GAP = 13
"""Least distance between the line names at the right, in units of the view box."""


@dataclass(frozen=True)
class Size:
    """Size of the view box and its margins; the right margin holds the line names."""

    width: int = 360
    height: int = 230
    left: int = 40
    right: int = 64
    top: int = 14
    bottom: int = 34


@dataclass(frozen=True)
class Point:
    """A point with its interval (low = y = high: none) and the tooltip of its mark."""

    x: float
    y: float
    low: float
    high: float
    tooltip: str = ""
    ringed: bool = False

    @staticmethod
    def bare(x: float, y: float) -> Point:
        """Return a point without an interval."""
        return Point(x, y, y, y)


@dataclass(frozen=True)
class Line:
    """A line through points; `style` is its CSS class. `marks` draws its points and the band of their intervals."""

    name: str
    points: Sequence[Point]
    style: str
    marks: bool = True


@dataclass(frozen=True)
class VerticalMark:
    """A vertical line with its name above the plot; `style` is its CSS class."""

    x: float
    name: str
    style: str


@dataclass(frozen=True)
class Axes:
    """The axes of a chart, with an optional horizontal limit."""

    title: str
    x_name: str
    y_unit: str = ""
    y_low: float = 0.0
    y_high: float | None = None
    """None: from the data."""
    limit: float | None = None
    limit_name: str = ""
    log_x: bool = False
    """Logarithmic x axis with a tick at each power of ten; otherwise x counts whole steps."""
    signed: bool = False
    """Write y ticks with their sign."""


def line_chart(
    lines: Sequence[Line],
    axes: Axes,
    size: Size = Size(),
    marks: Sequence[VerticalMark] = (),
) -> str:
    """Return an `<svg class="chart">` element with an accessible title; empty if no point is known.

    CSS classes: `rule`, `tick`, `limit`, `limit-name`, `line`, `band`, `mark`, `ring` and `name`, most of them together
    with the line's own `style`.
    """
    points = [p for line in lines for p in line.points if not math.isnan(p.y)]
    if not points:
        return ""
    scale = _Scale.of(points, axes, size)
    parts = [_frame(scale, axes), *(_band(line, scale) for line in lines), *(_path(line, scale) for line in lines)]
    parts += [*(_vertical_mark(mark, scale) for mark in marks), _names(lines, scale)]
    head = f'<svg class="chart" viewBox="0 0 {size.width} {size.height}" role="img" aria-label="{escape(axes.title)}">'
    return f"{head}{''.join(parts)}</svg>"


def standalone(chart: str, title: str, css: str) -> str:
    """Return a chart as the text of an SVG file with its own style."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {chart.removeprefix("<svg ").partition(">")[0]}>'
    return f"{head}<title>{escape(title)}</title><style>{css}</style>{chart.partition('>')[2]}\n"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers (1, 2, 2.5 or 5 times a power of ten) from `low` to `high`, at most `most` + 1 of them."""
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
    """Maps data to units of the view box; y values outside of the axis are clipped."""

    size: Size
    log_x: bool
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    @staticmethod
    def of(points: Sequence[Point], axes: Axes, size: Size) -> _Scale:
        xs = [math.log10(p.x) if axes.log_x else p.x for p in points]
        top = axes.y_high
        if top is None:
            tallest = max([p.high for p in points if not math.isnan(p.high)] or [1.0])
            top = max(tallest * 1.08, 1e-6, 1.6 * (axes.limit or 0.0))
        margin = 0.5 if min(xs) == max(xs) else 0.0
        return _Scale(size, axes.log_x, min(xs) - margin, max(xs) + margin, axes.y_low, top)

    @property
    def right(self) -> int:
        return self.size.width - self.size.right

    @property
    def floor(self) -> int:
        return self.size.height - self.size.bottom

    def x(self, value: float) -> float:
        at = math.log10(value) if self.log_x else value
        return self.size.left + (at - self.x_low) / (self.x_high - self.x_low) * (self.right - self.size.left)

    def y(self, value: float) -> float:
        inside = min(max(value, self.y_low), self.y_high)
        share = (inside - self.y_low) / ((self.y_high - self.y_low) or 1.0)
        return self.floor - share * (self.floor - self.size.top)

    def x_ticks(self) -> list[tuple[float, str]]:
        """The ticks of the x axis with their labels."""
        if self.log_x:
            powers = range(math.ceil(self.x_low), math.floor(self.x_high) + 1)
            return [(10.0**power, f"1e{power}") for power in powers]
        return [(v, f"{v:g}") for v in ticks(self.x_low, self.x_high) if v == int(v)]


def _frame(scale: _Scale, axes: Axes) -> str:
    left, right, floor = scale.size.left, scale.right, scale.floor
    parts = []
    for value in ticks(scale.y_low, scale.y_high, max(5, scale.size.height // 45)):
        y = scale.y(value)
        parts.append(f'<line class="rule" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        number = f"{value:+g}" if axes.signed and value else f"{value:g}"
        parts.append(_tick(left - 6, y + 3.5, "end", f"{number}{axes.y_unit}"))
    for value, label in scale.x_ticks():
        x = scale.x(value)
        if axes.log_x:
            parts.append(f'<line class="rule" x1="{x:.1f}" y1="{scale.size.top}" x2="{x:.1f}" y2="{floor}"/>')
        parts.append(_tick(x, floor + 14, "middle", label))
    parts.append(_tick((left + right) / 2, scale.size.height - 4, "middle", axes.x_name))
    if axes.limit is not None and scale.y_low <= axes.limit <= scale.y_high:
        y = scale.y(axes.limit)
        parts.append(f'<line class="limit" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text class="limit-name" x="{left + 4}" y="{y - 4:.1f}">{escape(axes.limit_name)}</text>')
    return "".join(parts)


def _band(line: Line, scale: _Scale) -> str:
    """Return the area between the ends of the intervals."""
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
    vertices = " ".join(f"{scale.x(p.x):.1f},{scale.y(p.y):.1f}" for p in known)
    parts = [f'<polyline class="line {line.style}" points="{vertices}"/>']
    for p in known if line.marks else ():
        center = f'cx="{scale.x(p.x):.1f}" cy="{scale.y(p.y):.1f}"'
        if p.ringed:
            parts.append(f'<circle class="ring" {center} r="7"/>')
        parts.append(f'<circle class="mark {line.style}" {center} r="3.2"><title>{escape(p.tooltip)}</title></circle>')
    return "".join(parts)


def _vertical_mark(mark: VerticalMark, scale: _Scale) -> str:
    x, top = f"{scale.x(mark.x):.1f}", scale.size.top
    return (
        f'<line class="line {mark.style}" x1="{x}" y1="{top}" x2="{x}" y2="{scale.floor}"/>'
        f'<text class="name {mark.style}" x="{x}" y="{top - 8}" text-anchor="middle">{escape(mark.name)}</text>'
    )


def _names(lines: Sequence[Line], scale: _Scale) -> str:
    """Return each line's name at its end; names that would overlap are moved apart."""
    known = [(line, [p for p in line.points if not math.isnan(p.y)]) for line in lines]
    ends = sorted(((scale.y(points[-1].y), line) for line, points in known if points), key=lambda end: end[0])
    heights = [y for y, _ in ends]
    for i, j in pairwise(range(len(heights))):
        heights[j] = max(heights[j], heights[i] + LABEL_GAP)
    overflow = max(0.0, heights[-1] - scale.floor) if heights else 0.0
    heights = [y - overflow for y in heights]
    x = scale.right + 11
    return "".join(
        f'<text class="name {line.style}" x="{x}" y="{y + 4:.1f}">{escape(line.name)}</text>'
        for y, (_, line) in zip(heights, ends, strict=True)
    )


def _tick(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
