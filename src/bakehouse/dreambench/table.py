"""The table of a benchmark beside the published one, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from bakehouse.core.message_text import counted
from bakehouse.dreambench.result import BenchResult
from bakehouse.dreambench.scorers import MEASURES, Measure
from bakehouse.evaluation.metrics import Interval

PUBLISHED: Mapping[str, Mapping[Measure, float]] = {
    "real images": {"dino": 0.774, "clip_i": 0.885},
    "DreamBooth, Imagen": {"dino": 0.696, "clip_i": 0.812, "clip_t": 0.306},
    "DreamBooth, Stable Diffusion": {"dino": 0.668, "clip_i": 0.803, "clip_t": 0.305},
    "Textual Inversion, Stable Diffusion": {"dino": 0.569, "clip_i": 0.780, "clip_t": 0.255},
}
"""Table 1 of Ruiz et al. 2022, arXiv:2208.12242."""
_NAMES: Mapping[Measure, str] = {"dino": "DINO", "clip_i": "CLIP-I", "clip_t": "CLIP-T"}


def markdown(result: BenchResult) -> str:
    """Return the means beside the published ones, what to know of them, and a row for each subject."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: BenchResult) -> Iterator[str]:
    heads = [result.columns.get(m, f"{_NAMES[m]}: not measured") for m in MEASURES]
    yield f"| images | {' | '.join(heads)} |"
    yield "|---|---|---|---|"
    yield _row(f"**{result.base}, {counted(len(result.rows), 'subject')}**", [result.mean(m) for m in MEASURES])
    photos = [result.mean_of_photos(m) if m != "clip_t" else None for m in MEASURES]
    yield _row("the subjects' own photos, with each other", photos)
    names = "* | *".join(_NAMES[m] for m in MEASURES)
    yield f"| *published (Ruiz et al. 2022, table 1)* | *{names}* |"
    for name, values in PUBLISHED.items():
        published = (f"{values[m]:.3f}" if m in values else "" for m in MEASURES)
        yield f"| {name} | {' | '.join(published)} |"
    yield ""
    yield from _remarks(result)
    yield ""
    yield f"| subject | kind | photos | images | {' | '.join(heads)} |"
    yield "|---|---|---|---|---|---|---|"
    for r in result.rows:
        cells = " | ".join(_cell(r.scores.get(m)) for m in MEASURES)
        yield f"| {r.name} (`{r.subject}`) | {r.kind} | {r.photos} | {r.images} | {cells} |"


def _remarks(result: BenchResult) -> Iterator[str]:
    yield "In brackets are 95 % bootstrap intervals: of the means over subjects, of a subject over its prompts."
    yield f"Scored by {result.scorer}. Prompts: {result.prompts_from}; {result.settings}."
    if tuple(result.columns) != MEASURES:
        yield "**Scored neither by DINO nor CLIP: the figures cannot be compared with the published ones.**"
    elif not result.is_full_protocol:
        yield "**Not the whole protocol of 30 subjects, 25 prompts and 4 images: compare with care.**"
    yield from (f"{note[:1].upper()}{note[1:]}." for note in result.notes)


def _row(name: str, figures: list[Interval | None]) -> str:
    return f"| {name} | {' | '.join(_cell(figure) for figure in figures)} |"


def _cell(figure: Interval | None) -> str:
    if figure is None or math.isnan(figure.value):
        return ""
    text = f"{figure.value:.3f}"
    return text if math.isnan(figure.low) else f"{text} ({figure.low:.3f}-{figure.high:.3f})"
