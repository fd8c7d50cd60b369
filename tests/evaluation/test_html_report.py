import re
from html.parser import HTMLParser

import pytest

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
    for words in ("Words alone", "violet body, orange hat", "example tobi", "a margin of", "Own marks"):
        assert words in text, words


def test_the_pair_that_drifted_most_is_shown(new_run, scorer, generator):
    run = new_run(["1 0.5 0"])
    report = result_of(evaluate(run, scorer=scorer, generator=generator, changes={"images": 8, "weights": [1.0]}))
    assert report.shown.drift.clearest is not None
    assert "Most changed" in make_page(report, run)


def test_a_run_that_shows_nothing_has_a_page_without_a_pick(new_run, scorer, generator):
    run = new_run(["0 0 0"])
    report = result_of(evaluate(run, scorer=scorer, generator=generator, changes={"images": 8, "weights": [1.0]}))
    text = make_page(report, run)
    assert report.picked is None
    assert "No checkpoint is picked" in text
    assert "bakehouse generate" not in text
    assert 'class="cell picked"' not in text


def test_words_of_the_user_are_escaped(evaluated):
    import dataclasses

    run, report = evaluated
    concept = report.concept.model_copy(update={"subject": "<script>alert(1)</script>"})
    assert "<script>" not in make_page(dataclasses.replace(report, concept=concept), run)


def test_a_page_without_its_images_still_has_the_rest(evaluated):
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
