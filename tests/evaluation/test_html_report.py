import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from bakehouse.core import svg_charts
from bakehouse.core.events import result_of
from bakehouse.evaluation import evaluate
from bakehouse.evaluation.html_report import make_page, write_report

VOID = {"meta", "img", "br", "link", "line", "circle", "polyline", "polygon", "i"}


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links, self.images = [], [], 0

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.images += tag == "img"
        self.links += [v for k, v in values.items() if k in ("href", "src") and not v.startswith("data:")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def evaluated(new_run, scorer, generator):
    run = new_run(["0.3 0 0", "0.9 0 0", "1 0.3 0.3"])
    return run, result_of(evaluate(run, scorer=scorer, generator=generator, changes={"images": 16}))


def test_the_page_stands_alone(evaluated):
    _, report = evaluated
    text = report.html_path.read_text("utf-8")
    page = Balanced()
    page.feed(text)
    assert not page.open
    assert not page.links
    assert "http" not in re.sub(r"data:[^\"]+", "", text)
    assert page.images >= 9 + 3 * 8
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 5_000_000


def test_the_page_says_what_was_found(evaluated):
    run, report = evaluated
    text = make_page(report, run)
    assert "Learned" in text
    assert f"Epoch {report.pick.epoch} at strength {report.pick.strength:g}" in text
    for prompt in report.prompts.subject:
        assert prompt.prompt in text
    assert text.count('class="cell picked"') == 1
    assert "Training loss" in text
    assert "body: <b>violet</b>" in text


def test_words_of_the_user_are_escaped(evaluated):
    import dataclasses

    run, report = evaluated
    concept = report.concept.model_copy(update={"subject": "<script>alert(1)</script>"})
    assert "<script>" not in make_page(dataclasses.replace(report, concept=concept), run)


def test_a_page_without_its_pictures_still_tells_the_rest(evaluated):
    run, report = evaluated
    for path in (run.report / "cache" / "pictures").iterdir():
        path.unlink()
    for path in report.references:
        path.unlink()
    assert "Learned" in write_report(report, run).read_text("utf-8")


def test_the_grid_has_a_column_for_each_checkpoint(evaluated):
    from PIL import Image

    _, report = evaluated
    with Image.open(report.grid_path) as grid:
        assert grid.width > 3 * 64
        assert grid.format == "PNG"


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
