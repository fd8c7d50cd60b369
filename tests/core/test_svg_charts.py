import re
import xml.etree.ElementTree as ET
from itertools import pairwise

from bakehouse.core import svg_charts


def test_round_ticks():
    assert svg_charts.ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert svg_charts.ticks(0, 0.5) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert svg_charts.ticks(1, 12) == [2.5, 5, 7.5, 10]
    assert svg_charts.ticks(3, 3) == [3]


def test_names_at_line_ends_do_not_overlap():
    lines = [
        svg_charts.Line(n, [svg_charts.Point(1, y, y, y), svg_charts.Point(2, y, y, y)], "w0")
        for n, y in (("a", 5), ("b", 5.1), ("c", 5.2))
    ]
    svg = svg_charts.line_chart(lines, svg_charts.Axes("t", "epoch", y_high=100))
    heights = sorted(float(y) for y in re.findall(r'class="name w0" x="\d+" y="([\d.]+)"', svg))
    assert all(b - a >= svg_charts.LABEL_GAP - 0.11 for a, b in pairwise(heights))
    assert max(heights) <= svg_charts.Size().height


def test_nothing_to_draw():
    nothing = float("nan")
    assert (
        svg_charts.line_chart(
            [svg_charts.Line("a", [svg_charts.Point(1, nothing, nothing, nothing)], "w0")], svg_charts.Axes("t", "x")
        )
        == ""
    )
    assert svg_charts.line_chart([], svg_charts.Axes("t", "x")) == ""


def test_one_checkpoint_draws_a_dot():
    svg = svg_charts.line_chart(
        [svg_charts.Line("a", [svg_charts.Point(4, 5, 4, 6, ringed=True)], "w0")], svg_charts.Axes("t", "x", limit=3)
    )
    assert svg.count("<circle") == 2


def test_a_logarithmic_chart_as_a_file_of_its_own():
    lines = [svg_charts.Line("loss", [svg_charts.Point.bare(1e-5 * 10**k, k - 9) for k in range(4)], "a", marks=False)]
    axes = svg_charts.Axes("t", "lr", " %", y_low=-10, y_high=-7, log_x=True, signed=True)
    marks = [svg_charts.VerticalMark(1e-3, "lr = 0.001", "b")]
    svg = svg_charts.standalone(svg_charts.line_chart(lines, axes, marks=marks), "<title>", ".a { stroke: red }")
    text = list(ET.fromstring(svg).itertext())
    assert {"1e-5", "1e-2", "-10 %", "lr = 0.001", "<title>"} <= set(text)
    vertices = re.search(r'polyline class="line a" points="([^"]+)"', svg)[1].split()
    xs, ys = zip(*(map(float, v.split(",")) for v in vertices), strict=True)
    steps = {round(b - a) for a, b in pairwise(xs)}
    assert len(steps) == 1, "powers of ten are equally far apart"
    assert ys[-1] == ys[-2], "clipped at the top"
