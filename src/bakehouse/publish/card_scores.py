"""The scores and the trigger report of a model card, from the run's evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bakehouse.data.triggers import Trigger
from bakehouse.evaluation.metrics import Interval
from bakehouse.publish.markdown_text import code, plain, table
from bakehouse.publish.publication_facts import PublicationFacts


def scores_section(facts: PublicationFacts) -> Iterator[str]:
    """Yield the lines of the scores; none for a model that was not evaluated, but a sentence."""
    yield from ("## Scores", "")
    cell, report = facts.scores, facts.report
    if facts.slider is not None:
        yield from _slider(facts)
        return
    if cell is None or report is None:
        yield from ("These weights were not evaluated.", "")
        return
    verdict = f"**{report.verdict.outcome.capitalize()}.** {plain(report.verdict.why)}"
    yield from (f"{verdict}", "")
    yield (
        f"{cell.images} images, compared with the untouched base on the same prompts and seeds; in brackets the 95 % "
        "interval."
    )
    yield ""
    rows = (
        ("subject fidelity", _share(cell.fidelity), "0: what words alone give; 100: the subject's own photos"),
        ("subject shown", _percent(cell.shown), "share of images in which the subject is recognised"),
        ("prompt retention", _percent(cell.retention), "prompt accuracy as a share of the base's; good from 85 %"),
        ("prior drift", _points(cell.drift.points), "change of the class without the trigger; good up to 5 points"),
        ("near copies", _percent(cell.near_copies.share), "images that repeat a training image; good up to 25 %"),
        ("broken images", _percent(cell.broken), "good up to 10 %"),
    )
    yield from table(("figure", "value", "meaning"), rows)
    yield ""


def _slider(facts: PublicationFacts) -> Iterator[str]:
    slider = facts.slider
    if slider is None or slider.correlation is None:
        yield from ("This slider was not evaluated.", "")
        return
    yield f"The attribute rises with the strength: rank correlation {slider.correlation:.2f}."
    if slider.others is not None:
        yield f"Other attributes change by {slider.others:.0f} points over the range."
    yield ""


def trigger_section(facts: PublicationFacts) -> Iterator[str]:
    """Yield what each trigger word stands for, whether it is needed, and what leaks without it."""
    if facts.slider is not None or not facts.triggers:
        return
    yield from ("## Trigger report", "")
    cell, report = facts.scores, facts.report
    rules = facts.trigger_rules
    for word, phrase in facts.triggers:
        line = f"- {code(phrase)}"
        if word in rules:
            line += f": {_rule(rules[word])}"
        elif report is not None and phrase == report.concept.subject and report.description:
            line += f": stands for {plain(report.description)}"
        yield line
    if cell is not None and report is not None:
        yield f"- with {code(report.concept.subject)}: the subject shows in {_percent(cell.shown)} of the images"
        yield (
            f"- without it, the same prompts with {code(report.concept.class_name or 'no trigger')}: the images change "
            f"by {_points(cell.drift.points)} of 100 towards the subject"
        )
    yield ""


def _rule(trigger: Trigger) -> str:
    taken = f"absorbs {', '.join(trigger.absorbs)}" if trigger.absorbs else f"strategy {trigger.strategy}"
    kept = f"; keeps {', '.join(trigger.keeps)} in captions" if trigger.keeps else ""
    return plain(f"a {trigger.kind}, {taken}{kept}")


def _share(figure: Interval) -> str:
    return _figure(figure.scaled(100), "")


def _percent(figure: Interval) -> str:
    return _figure(figure.scaled(100), " %")


def _points(figure: Interval) -> str:
    return _figure(figure, " points")


def _figure(figure: Interval, unit: str) -> str:
    if math.isnan(figure.value):
        return "not measured"
    return f"{figure.value:.0f}{unit} ({figure.low:.0f} to {figure.high:.0f})"
