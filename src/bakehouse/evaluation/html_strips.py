"""Rows of images of the report: subject, class, the clearest change, broken images and the subject's own marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bakehouse.core.errors import BakehouseError
from bakehouse.core.html_pages import inline_image
from bakehouse.core.message_text import counted
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.html_format import THUMBNAIL, Thumbnail, percent, thumbnail
from bakehouse.evaluation.image_cache import center_square
from bakehouse.evaluation.image_checks import Crop
from bakehouse.evaluation.metrics import Interval
from bakehouse.evaluation.prompt_set import PER_PROMPT
from bakehouse.evaluation.result import Report

COLUMNS = 8
"""Images in a row."""


@dataclass(frozen=True)
class Strip:
    """A row of images with its name."""

    name: str
    note: str
    images: Sequence[Thumbnail]


def subject_strips(report: Report) -> list[Strip]:
    """Return photos, generated images, and the base's of words alone and of the class, as a strip each."""
    cell = report.shown
    generated, words, base = [], [], []
    for i in spread_over_prompts(len(report.prompts.subject), COLUMNS):
        prompt = report.prompts.subject[i]
        generated.append(thumbnail(report.image_path(cell, "subject", i), prompt.prompt))
        if i < len(report.prompts.words):
            said = report.prompts.words[i].prompt
            words.append(thumbnail(report.image_path(None, "words", i), f"base, in words: {said}"))
        caption = prompt.bare_prompt.removeprefix(f"{report.concept.class_name}, ")
        base.append(thumbnail(report.image_path(None, "class", i), f"base: {prompt.bare_prompt}", caption))
    training = [thumbnail(path, "a training image") for path in _evenly_spaced(report.references, COLUMNS)]
    return [
        Strip("Training", counted(len(report.references), "image"), training),
        Strip("Generated", f"{cell.epoch_unit} {cell.epoch} at {cell.strength:g}", generated),
        Strip("Words alone", "base model, subject described", words),
        Strip("Base model", "same prompts and seeds", base),
    ]


def word_strips(report: Report) -> list[Strip]:
    """Return for each group of triggers its photos and its images, as a strip each."""
    strips = []
    for group in report.words.groups if report.words else ():
        photos = [thumbnail(Path(path), f"a training image of {group.prompt}") for path in group.examples[:COLUMNS]]
        images = [thumbnail(report.folder / path, group.prompt) for path in group.pictures[:COLUMNS]]
        strips.append(Strip(group.word, counted(group.photos, "training image"), photos))
        strips.append(Strip("Generated", f"{percent(group.own.value)} show it: {group.prompt}", images))
    return strips


def clearest_change(report: Report) -> list[Strip]:
    """Return the pair of images without the trigger that changed most, as two strips; empty if nothing changed."""
    cell, prompts = report.shown, report.prompts
    number_of = cell.drift.clearest
    if number_of is None:
        return []
    of_class = min(cell.images, len(prompts.class_prompts))
    series, some = ("class", prompts.class_prompts) if number_of < of_class else ("other", prompts.other)
    i = number_of if number_of < of_class else number_of - of_class
    if i >= len(some):
        return []
    pair = [
        thumbnail(report.image_path(None, series, i), f"base: {some[i].prompt}", "base model"),
        thumbnail(report.image_path(cell, series, i), some[i].prompt, "after training"),
    ]
    return [Strip("Most changed", f"{some[i].prompt}, seed {some[i].seed}", pair)]


def class_strips(report: Report) -> list[Strip]:
    """Return images without the trigger, after training and of the base, as a strip each."""
    cell, prompts = report.shown, report.prompts
    of_class = [
        ("class", i, prompts.class_prompts[i]) for i in spread_over_prompts(len(prompts.class_prompts), COLUMNS - 2)
    ]
    other = [("other", i, prompt) for i, prompt in enumerate(prompts.other[:2])]
    generated, base = [], []
    for series, i, prompt in [*of_class, *other]:
        generated.append(thumbnail(report.image_path(cell, series, i), prompt.prompt))
        base.append(thumbnail(report.image_path(None, series, i), f"base: {prompt.prompt}", prompt.prompt))
    return [
        Strip("Generated", f"{cell.epoch_unit} {cell.epoch} at {cell.strength:g}", generated),
        Strip("Base model", "same prompts and seeds", base),
    ]


def broken_strips(report: Report) -> list[Strip]:
    """Return the broken images of the cell that is shown, as one strip; empty if there are none."""
    cell = report.shown
    numbers = [i for i in cell.broken_images[:COLUMNS] if i < len(report.prompts.subject)]
    found = [
        thumbnail(
            report.image_path(cell, "subject", i), report.prompts.subject[i].prompt, report.prompts.subject[i].prompt
        )
        for i in numbers
    ]
    return [Strip("Broken", f"{len(cell.broken_images)} of {cell.images}", found)] if found else []


def mark_strips(report: Report) -> list[tuple[str, list[Strip]]]:
    """Return for each of the subject's own marks how often it shows, and its crops; the rarest come first."""
    rows = []
    for mark in sorted(report.marks, key=lambda mark: mark.in_images.value):
        title = (
            f"in {_share(mark.in_photos)} of the photos, {_share(mark.in_images)} of the generated images, "
            f"{_share(mark.in_words)} of those of words alone, {_share(mark.in_class)} of the base's"
        )
        photos = [_crop(report.references[c.number], c) for c in mark.photos]
        images = [_crop(report.image_path(report.shown, "subject", c.number), c) for c in mark.images]
        rows.append((title, [Strip("Photos", "", photos), Strip("Generated", "least like it first", images)]))
    return rows


def _share(figure: Interval) -> str:
    return percent(figure.value) if not math.isnan(figure.value) else "an unknown share"


def _crop(path: Path | None, crop: Crop) -> Thumbnail:
    caption = "" if crop.present else "absent"
    if path is None:
        return Thumbnail(None, "a crop", caption)
    try:
        image = center_square(open_image(path))
    except BakehouseError:
        return Thumbnail(None, "a crop", caption)
    left, top, right, bottom = (round(v * image.width) for v in crop.box)
    part = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    return Thumbnail(inline_image(part, THUMBNAIL), "the mark" if crop.present else "where the mark should be", caption)


def spread_over_prompts(count: int, most: int) -> list[int]:
    """Return the numbers of at most `most` of `count` images, of as many different prompts as possible, in order."""
    by_prompt = [i for first in range(PER_PROMPT) for i in range(first, count, PER_PROMPT)]
    return sorted(by_prompt[:most])


def _evenly_spaced(paths: Sequence[Path], most: int) -> list[Path]:
    """Return at most `most` of the paths, evenly spaced."""
    return [paths[round(i)] for i in np.linspace(0, len(paths) - 1, min(most, len(paths)))]
