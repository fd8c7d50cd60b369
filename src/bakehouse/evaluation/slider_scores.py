"""Evaluation of a slider: does the asked attribute move with the strength, and does the rest stay?

It reads the images that the training made at the end, from one end of the slider to the other, and scores them.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Progress
from bakehouse.core.files import read_json, write_html, write_json
from bakehouse.core.html_pages import inline_image, render
from bakehouse.core.run_folder import Run
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.image_scorers import ImageScorer, scorer_for
from bakehouse.losses.slider import SliderPrompt, with_words
from bakehouse.recipe.recipe import Recipe

RISES = 0.9
"""Least rank correlation of an attribute that follows the strength."""
STAYS = 10.0
"""Points by which other attributes may change on average."""
_WIDEST = 2400
"""Longest side of the strip in the report, in pixels."""


@dataclass(frozen=True)
class StrengthScore:
    """The images at one strength."""

    strength: float
    attribute: float
    """How far they are from the negative to the positive end, by the scorer."""
    others: float | None
    """Share of the other attributes, in points, that differ from the same seed's image at strength 0; None: the scorer
    names no attributes."""


@dataclass(frozen=True, kw_only=True)
class SliderScored(Event):
    """A slider was evaluated."""

    report: str
    """Path of report.html."""
    low: float
    high: float
    correlation: float
    """Spearman's rank correlation of strength and attribute, over the range."""
    others: float | None
    """Mean change of other attributes over the range, in points."""
    verdict: str
    """`follows`, `does not follow`, or `changes more than it should`."""
    reason: str


def evaluate_slider(
    run: Run, recipe: Recipe, scorer: ImageScorer | None = None
) -> Generator[Event, None, Sequence[StrengthScore]]:
    """Score a slider's images from end to end; writes report/report.html and report/scores.json.

    Raises:
        UsageError: the training is not finished, or the scorer is missing.
    """
    ranges = run.report / "slider.json"
    if not ranges.is_file():
        raise UsageError(
            f"{run.folder}: there are no images of the slider yet; they are made at the end of its training",
            hint=f"finish it: bakehouse train {run.folder}",
        )
    found = read_json(ranges)
    scorer = scorer or scorer_for(recipe.model.base)
    strengths = [float(place["strength"]) for place in found["places"]]
    subjects = list(_subjects(recipe))
    base = [_image(run, 0.0, i) for i in range(len(subjects))]
    rows = []
    for done, strength in enumerate(strengths):
        yield Progress(what="scoring the slider's images", done=done, total=len(strengths))
        images = [_image(run, strength, i) for i in range(len(subjects))]
        rows.append(
            StrengthScore(strength, _attribute(scorer, images, subjects), _others(scorer, images, base, subjects))
        )
    yield Progress(what="scoring the slider's images", done=len(strengths), total=len(strengths))
    low, high = float(found["low"]), float(found["high"])
    inside = [row for row in rows if low <= row.strength <= high]
    correlation = rank_correlation([r.strength for r in inside], [r.attribute for r in inside])
    changes = [r.others for r in inside if r.strength and r.others is not None]
    others = float(np.mean(changes)) if changes else None
    verdict, reason = judge(low, high, correlation, others)
    write_json(
        run.report / "scores.json", {"correlation": correlation, "others": others, "rows": [asdict(r) for r in rows]}
    )
    _write_report(run, recipe, found, rows, verdict, reason)
    yield SliderScored(
        report=str(run.report / "report.html"),
        low=low, high=high, correlation=correlation, others=others, verdict=verdict, reason=reason,
    )  # fmt: skip
    return rows


def judge(low: float, high: float, correlation: float, others: float | None) -> tuple[str, str]:
    """Return the verdict on a slider, and its reason in one sentence."""
    if low >= high:
        return "does not follow", "no strength moves the attribute"
    span = f"from {low:g} to {high:g}"
    if correlation < RISES:
        return (
            "does not follow",
            f"the attribute does not rise with the strength {span} (rank correlation {correlation:.2f})",
        )
    rises = f"the attribute rises with the strength {span} (rank correlation {correlation:.2f})"
    if others is None:
        return "follows", rises
    if others > STAYS:
        return (
            "changes more than it should",
            f"{rises}, but others change by {others:.0f} points: name them in slider.keep",
        )
    return "follows", f"{rises}, and others change by {others:.0f} points"


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two series; 0 where one of them is constant."""
    a, b = (_ranks(np.asarray(values, dtype=np.float64)) for values in (x, y))
    if len(a) < 2 or not a.std() or not b.std():
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return ranks from 0; equal values share the mean of theirs."""
    return np.asarray([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values], dtype=np.float64)


Subject = tuple[str, str, str]
"""The prompt of an image, and both ends with the same kept words."""


def _subjects(recipe: Recipe) -> Sequence[Subject]:
    """Return what each image of a strength is of, in the order in which the training made them."""
    spec = recipe.slider
    turns: Sequence[tuple[SliderPrompt, str]] = list(itertools.product(spec.prompts, spec.keep or ("",)))
    found = []
    for i in range(spec.images):
        prompt, kept = turns[i % len(turns)]
        positive, negative, _ = prompt.ends
        more, less = (positive, negative) if prompt.direction > 0 else (negative, positive)
        found.append((with_words(prompt.target, kept), with_words(more, kept), with_words(less, kept)))
    return found


def _attribute(scorer: ImageScorer, images: Sequence[Image.Image], subjects: Sequence[Subject]) -> float:
    scores = scorer.between(images, [more for _, more, _ in subjects], [less for _, _, less in subjects])
    return float(np.mean(scores))


def _others(
    scorer: ImageScorer, images: Sequence[Image.Image], base: Sequence[Image.Image], subjects: Sequence[Subject]
) -> float | None:
    """Return the points of the attributes beside the asked one that differ from strength 0; None if there are none."""
    differ = []
    pairs = zip(scorer.attributes(images), scorer.attributes(base), subjects, strict=True)
    for now, before, (_, more, less) in pairs:
        asked = _asked(scorer, more, less)
        groups = [g for g in before if g not in asked and scorer.is_reliable(g)]
        differ += [now.get(group) != before[group] for group in groups]
    return 100 * float(np.mean(differ)) if differ else None


def _asked(scorer: ImageScorer, more: str, less: str) -> set[str]:
    """Return the groups in which the two ends differ."""
    a, b = scorer.requested_attributes(more), scorer.requested_attributes(less)
    return {group for group in {*a, *b} if a.get(group) != b.get(group)}


def _image(run: Run, strength: float, number: int) -> Image.Image:
    return open_image(run.report / "slider" / f"{strength:g}-{number}.png").convert("RGB")


def _write_report(
    run: Run, recipe: Recipe, found: Mapping[str, Any], rows: Sequence[StrengthScore], verdict: str, reason: str
) -> Path:
    path = run.report / "report.html"
    prompt = recipe.slider.prompts[0]
    with Image.open(run.report / "slider.png") as strip:
        shown = inline_image(strip.convert("RGB"), _WIDEST)
    places = {place["strength"]: place for place in found["places"]}
    text = render(
        "bakehouse.evaluation", "slider_report.html.j2",
        title=f"{run.name}: slider", run_name=run.name, recipe=recipe, ends=prompt.ends, strip=shown,
        rows=[(row, places[row.strength], found["low"] <= row.strength <= found["high"]) for row in rows],
        found=found, verdict=verdict, reason=reason, tone="good" if verdict == "follows" else "warning",
    )  # fmt: skip
    write_html(path, text)
    return path
