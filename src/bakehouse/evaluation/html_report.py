"""The report of an evaluation: `report.html`, one self-contained page, and `grid.png`."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from bakehouse.core.events import Step
from bakehouse.core.files import atomic_path, write_html
from bakehouse.core.html_pages import InlineImage, inline_image, render
from bakehouse.core.message_text import counted
from bakehouse.core.run_folder import Run
from bakehouse.core.svg_charts import Axes, Line, Point, line_chart
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.checkpoint_scores import ScoredCheckpoint
from bakehouse.evaluation.html_format import (
    DASH,
    THUMBNAIL,
    Figure,
    in_points,
    interval,
    keep_units,
    number,
    percent,
    strengths_listed,
    with_interval,
)
from bakehouse.evaluation.html_strips import (
    broken_strips,
    class_strips,
    clearest_change,
    mark_strips,
    spread_over_prompts,
    subject_strips,
    word_strips,
)
from bakehouse.evaluation.metrics import Interval
from bakehouse.evaluation.result import Report
from bakehouse.evaluation.selection import (
    MAX_BROKEN,
    MAX_CLASS_SHIFT,
    MAX_COPIES,
    MAX_DRIFT,
    MIN_PROMPT_RETENTION,
    state_of,
)

MONTAGE = 4
"""Images in a cell of the grid."""
TONES = {
    "learned": "good",
    "undertrained": "warning",
    "overtrained": "error",
    "nothing changed": "soft",
    "not decided": "soft",
}
"""CSS variable of each outcome's colour."""
LOSS_WINDOW = 25
"""The loss is averaged over a 25th of the run, since single batches are noisy."""
DEFINITIONS = {
    "Subject fidelity": "from 0, what the base draws from words alone, to 100 % (the subject's own images): mean of "
    "likeness (cosine of whitened embeddings: what varies among images of one subject does not count) and of the share "
    "of attributes, as far as they tell the two apart. Below 0: less like the subject than words alone",
    "Shown": "an image shows the subject from {shown:.0f} % on: half way, or the 95th percentile of all images that do "
    "not show it if that is higher",
    "Prompt retention": "prompt accuracy as a share of the base's, with the same prompts and seeds",
    "Prior drift": "change of the class without the trigger, in points, by pairs of the same prompt and seed: the "
    "largest of likeness to the subject (trimmed mean), share of its attributes, and loss of prompt accuracy",
    "Class shift": "distance between class images before and after, in any direction, in percent of the distance from "
    "the base to the subject; up to {shift:g} is fine. High shift with low drift means degraded images",
    "Near copies": "images closer to one training image than training images are to each other, by embedding and by "
    "pixels",
    "Own marks": "regions that the photos share and that the base's images of the class lack, found without words",
    "Broken": "images on which the untouched base's own denoising error is outside of what its healthy images and the "
    "photos have; up to {broken:.0f} % are fine",
    "Pick": "the highest subject fidelity less 1 point for each point of prompt retention below {retention:.0f} % and "
    "of prior drift above {drift:g}, and half a point for each point of class shift above {shift:g} and of near copies "
    "above {copies:.0f} %; of all within one standard error the one with the least epoch × strength. Nothing is picked "
    "that is not closer to the subject than words alone",
    "Limits": "a limit is broken if the whole 95 % interval is beyond it; where it lies inside, more images are made",
}
TABLE_COLUMNS = (
    "checkpoint",
    "strength",
    "images",
    "subject",
    "shown",
    "similarity",
    "prompt retention",
    "prior drift",
    "class shift",
    "near copies",
    "broken",
    "diversity",
)


def write_report(report: Report, run: Run) -> Path:
    """Write report.html and grid.png into the run's report folder; return the path of the page.

    Raises:
        BakehouseError: an image is damaged, or the disk is full.
    """
    write_grid(report)
    return write_html(report.html_path, make_page(report, run))


def make_page(report: Report, run: Run) -> str:
    """Return the text of report.html."""
    epochs, strengths, _ = _axes(report)
    outcome = report.verdict.outcome
    return render(
        "bakehouse.evaluation",
        "html_report.html.j2",
        title=f"{report.title}: {outcome}",
        report=report,
        run_name=run.name,
        date=datetime.now(UTC).strftime("%d %B %Y").lstrip("0"),
        subject=report.concept.subject or report.title,
        evaluated=f"{counted(len(epochs), 'checkpoint')} at {strengths_listed(strengths)}",
        tone=TONES[outcome],
        pick_sentence=keep_units(report.pick.why),
        why="" if outcome == "learned" else keep_units(report.verdict.why),
        tiles=list(_tiles(report)),
        generate_command=_generate_command(report, run) if report.picked else "",
        class_prompt=report.concept.class_name or report.prompts.class_prompts[0].prompt,
        subject_strips=subject_strips(report),
        description=report.description or report.concept.class_name,
        known_rows=_known_images(report),
        margin=_margin(report),
        class_strips=class_strips(report),
        clearest=clearest_change(report),
        broken_strips=broken_strips(report),
        mark_strips=mark_strips(report),
        word_strips=word_strips(report),
        word_rows=_word_rows(report),
        epochs=epochs,
        grid=_grid(report),
        charts=_charts(report, run),
        attributes=_attributes(report),
        columns=TABLE_COLUMNS,
        rows=_table(report),
        prompt_rows=list(_prompt_rows(report)),
        notes=[f"{note[:1].upper()}{note[1:]}." for note in report.notes],
        method=_method(report),
        evaluate_command=f"bakehouse evaluate {shlex.quote(run.folder.as_posix())}",
        version=metadata.version("bakehouse"),
    )


def write_grid(report: Report) -> Path:
    """Write grid.png: a column for each checkpoint, a row for each strength, the same prompts in each cell."""
    from bakehouse.generation.contact_sheet import draw_grid

    epochs, strengths, cells = _axes(report)
    images = [[_montage(report, cells.get((e, s))) for e in epochs] for s in strengths]
    captions = [[_caption(cells.get((e, s))) for e in epochs] for s in strengths]
    title = f"{report.concept.subject or report.title}: checkpoint x strength"
    across, down = [f"{report.shown.epoch_unit} {e}" for e in epochs], [f"strength {s:g}" for s in strengths]
    page = draw_grid(images, across, down, title, captions=captions)
    with atomic_path(report.grid_path) as temporary:
        page.save(temporary, format="PNG", optimize=True)
    return report.grid_path


# --- verdict ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """One headline figure of the pick."""

    name: str
    value: str
    note: str


def _tiles(report: Report) -> Iterator[Tile]:
    cell = report.shown
    drift, shift = cell.drift.points, cell.drift.shift
    yield Tile("Subject shown", percent(cell.shown.value), f"of images ({interval(cell.shown, 100)})")
    gain = f"points ({interval(cell.gain, 100)})"
    yield Tile("Above words alone", number(100 * cell.gain.value, 0), gain)
    yield Tile("Prompt retention", percent(min(cell.prompt_retention, 1.0)), "of the base's prompt accuracy")
    yield Tile("Prior drift", number(drift.value, 1), f"points ({interval(drift)}), limit {MAX_DRIFT:g}")
    yield Tile("Class shift", number(shift.value, 0), f"points ({interval(shift)}), limit {MAX_CLASS_SHIFT:g}")
    yield Tile("Near copies", percent(cell.near_copies.share.value), "of images, of a training image")
    if not math.isnan(cell.broken.value):
        yield Tile(
            "Broken images",
            percent(cell.broken.value),
            f"({interval(cell.broken, 100)}), limit {100 * MAX_BROKEN:.0f} %",
        )
    base = report.base.diversity.value
    if base > 0 and not math.isnan(cell.diversity.value):
        yield Tile("Diversity", percent(cell.diversity.value / base), "of the base's, same prompts")


def _generate_command(report: Report, run: Run) -> str:
    bare = report.prompts.subject[0].bare_prompt if report.prompts.subject else ""
    place = bare.rsplit(", ", 1)[-1] if ", " in bare else ""
    prompt = f"{report.concept.subject}, {place}" if place else report.concept.subject
    return f'bakehouse generate {shlex.quote(run.folder.as_posix())} "{prompt}"'


# --- images -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReportGridCell:
    """One cell of the grid of checkpoints and strengths."""

    image: InlineImage
    alt: str
    picked: bool
    fidelity: str
    bar: int
    """Length of the bar of subject fidelity, percent."""
    figures: Sequence[tuple[str, Figure]]


def _grid(report: Report) -> list[tuple[str, list[ReportGridCell | None]]]:
    epochs, strengths, cells = _axes(report)
    return [(f"strength {s:g}", [_grid_cell(report, cells.get((e, s))) for e in epochs]) for s in strengths]


def _grid_cell(report: Report, cell: ScoredCheckpoint | None) -> ReportGridCell | None:
    montage = _montage(report, cell)
    if cell is None or montage is None:
        return None
    fidelity = cell.fidelity.value
    return ReportGridCell(
        inline_image(montage, 2 * THUMBNAIL),
        f"{cell.epoch_unit} {cell.epoch} at strength {cell.strength:g}",
        cell == report.picked,
        percent(fidelity),
        0 if math.isnan(fidelity) else round(100 * min(max(fidelity, 0.0), 1.0)),
        [
            ("prompt", _retention(cell)),
            ("drift", Figure(in_points(cell.drift.points), over=_drifts(cell))),
            ("shift", Figure(in_points(cell.drift.shift), over=_shifts(cell))),
        ],
    )


def _retention(cell: ScoredCheckpoint) -> Figure:
    return Figure(percent(cell.prompt_retention), over=state_of(cell, "prompt retention") == "broken")


def _drifts(cell: ScoredCheckpoint) -> bool:
    return state_of(cell, "prior drift") == "broken"


def _shifts(cell: ScoredCheckpoint) -> bool:
    return state_of(cell, "class shift") == "broken"


# --- charts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chart:
    """A chart with its heading."""

    name: str
    note: str
    svg: Markup


def _charts(report: Report, run: Run) -> list[Chart]:
    limit, unit = 100 * MIN_PROMPT_RETENTION, report.shown.epoch_unit
    over = f"over {unit}s"
    fidelity = Axes(f"Subject fidelity {over}", unit, " %", y_high=100)
    prompt = Axes(f"Prompt retention {over}", unit, " %", 0, 120, limit, f"{limit:.0f} %")
    drift = Axes(f"Prior drift {over}", unit, limit=MAX_DRIFT, limit_name=f"{MAX_DRIFT:g} points")
    shift = Axes(f"Class shift {over}", unit, limit=MAX_CLASS_SHIFT, limit_name=f"{MAX_CLASS_SHIFT:g} points")
    charts: list[tuple[str, str, Callable[[ScoredCheckpoint], Interval], Axes]] = [
        ("Subject fidelity", "0 is the base, 100 the subject's own images", lambda c: c.fidelity.scaled(100), fidelity),
        ("Prompt retention", "prompt accuracy as a share of the base's", lambda c: c.retention.scaled(100), prompt),
        ("Prior drift", "points, without the trigger", lambda c: c.drift.points, drift),
        ("Class shift", "points in any direction, without the trigger", lambda c: c.drift.shift, shift),
    ]
    found = [(name, note, line_chart(_lines(report, figure_of), axes)) for name, note, figure_of, axes in charts]
    found.append(("Training loss", "running mean; it says little about likeness", _loss_chart(run)))
    # svg_charts escapes names and tooltips.
    return [Chart(name, note, Markup(svg)) for name, note, svg in found if svg]


def _lines(report: Report, figure_of: Callable[[ScoredCheckpoint], Interval]) -> list[Line]:
    _, strengths, _ = _axes(report)
    lines = []
    for i, strength in enumerate(strengths):
        points = []
        for cell in sorted((c for c in report.cells if c.strength == strength), key=lambda c: c.epoch):
            figure = figure_of(cell)
            tooltip = f"{cell.epoch_unit} {cell.epoch} at {strength:g}: {number(figure.value, 1)} ({interval(figure)})"
            points.append(Point(cell.epoch, figure.value, figure.low, figure.high, tooltip, cell == report.picked))
        shade = min(i if len(strengths) > 1 else 1, 5)
        lines.append(Line(f"{strength:g}", points, f"w{shade}"))
    return lines


def _loss_chart(run: Run) -> str:
    steps = [e for e in run.history() if isinstance(e, Step)]
    lines = []
    for name, values in (
        ("subject", [(e.step, e.subject_loss if e.subject_loss is not None else e.loss) for e in steps]),
        ("prior", [(e.step, e.prior_loss) for e in steps if e.prior_loss is not None]),
    ):
        known = [(s, v) for s, v in values if v is not None and math.isfinite(v)]
        if len(known) < 2:
            continue
        lines.append(Line(name, [Point.bare(s, v) for s, v in _smoothed(known)], name, marks=False))
    return line_chart(lines, Axes("Training loss over steps", "step"))


def _smoothed(values: Sequence[tuple[float, float]], most: int = 150) -> list[tuple[float, float]]:
    """Return means over a window of 1 / LOSS_WINDOW of the run, at no more than `most` places."""
    xs, ys = np.asarray(values, dtype=np.float64).T
    width = max(1, len(ys) // LOSS_WINDOW)
    sums = np.concatenate([[0.0], np.cumsum(ys)])
    places = np.unique(np.linspace(0, len(ys) - 1, min(most, len(ys))).astype(int))
    low, high = np.maximum(places - width // 2, 0), np.minimum(places + (width + 1) // 2 + 1, len(ys))
    return list(zip(xs[places].tolist(), ((sums[high] - sums[low]) / (high - low)).tolist(), strict=True))


# --- what is known ----------------------------------------------------------------------------------------------------


def _known_images(report: Report) -> list[tuple[str, Figure]]:
    """Return how images score of which it is known whether they show the subject."""
    known = report.base.calibration
    rows = [("base model, words alone", known.words_alone), ("base model, class", known.class_images)]
    rows += [(f"another subject: {name}", figure) for name, figure in known.impostors.items()]
    rows.append(("the subject's held-out images" if report.held_out else "the subject's images", known.own))
    return [(name, with_interval(figure, 100)) for name, figure in rows]


def _margin(report: Report) -> str:
    """Return in a sentence how far the subject's images are from all others; empty if it is unknown."""
    known = report.base.calibration
    if math.isnan(known.margin):
        return ""
    between = (
        f"95 % of the images that do not show the subject score below {100 * known.highest:.0f}, 95 % of its own above "
        f"{100 * known.lowest_own:.0f}: a margin of {100 * known.margin:.0f} points."
    )
    return between if known.margin > 0 else f"{between} The scorer mixes them up; look at the images."


# --- tables -----------------------------------------------------------------------------------------------------------


def _attributes(report: Report) -> list[tuple[str, str, list[Figure]]]:
    """Return for each of the subject's attributes its group, its value and three figures."""
    cell = report.shown
    rows = []
    for group, value in report.subject_attributes.items():
        increase = cell.drift.each.get(group, math.nan)
        leak = Figure(f"{increase:+.0f}" if not math.isnan(increase) else DASH, over=increase > MAX_DRIFT)
        shares = (cell.attributes.get(group, math.nan), report.base.attributes.get(group, math.nan))
        rows.append((group, value, [*(Figure(percent(share)) for share in shares), leak]))
    return rows


def _table(report: Report) -> list[tuple[bool, list[Figure]]]:
    """Return the rows of `TABLE_COLUMNS`, each with whether it is the pick; base and own images come last."""
    cells = sorted(report.cells, key=lambda c: (c.epoch, c.strength))
    rows = [(c == report.picked, list(_row(c))) for c in cells]
    base, none = report.base, ""
    similarity, diversity = number(base.similarity, 3), number(base.diversity.value, 3)
    words, of_class, of_own = (
        number(100 * f.value, 0)
        for f in (base.calibration.words_alone, base.calibration.class_images, base.calibration.own)
    )
    in_words = (
        "words alone",
        none,
        str(len(report.prompts.words)),
        words,
        *[none] * 6,
        percent(base.broken.value),
        none,
    )
    of_base = (
        "base model",
        none,
        str(base.images),
        of_class,
        none,
        similarity,
        "100 %",
        "0",
        "0",
        none,
        none,
        diversity,
    )
    own = ("subject's images", none, none, of_own, none, number(base.reference_similarity, 3), *[none] * 6)
    return [*rows, *((False, [Figure(text) for text in texts]) for texts in (in_words, of_base, own))]


def _row(cell: ScoredCheckpoint) -> Iterator[Figure]:
    copies = cell.near_copies.share.value
    yield Figure(f"{cell.epoch_unit} {cell.epoch}")
    yield Figure(f"{cell.strength:g}")
    yield Figure(str(cell.images))
    yield with_interval(cell.fidelity, 100)
    yield with_interval(cell.shown, 100)
    yield Figure(number(cell.similarity.value, 3))
    yield _retention(cell)
    yield with_interval(cell.drift.points, places=1, over=_drifts(cell))
    yield with_interval(cell.drift.shift, over=_shifts(cell))
    yield Figure(percent(copies), over=state_of(cell, "near copies") == "broken")
    yield with_interval(cell.broken, 100, over=state_of(cell, "broken images") == "broken")
    yield Figure(number(cell.diversity.value, 3))


def _word_rows(report: Report) -> list[tuple[str, list[Figure]]]:
    """Return for each word what its images show, in percent, and the share of its photos that are told apart."""
    groups = report.words.groups if report.words else ()
    shares = [[with_interval(g.shows[o.word], 100) for o in groups] for g in groups]
    return [(g.prompt, [*row, Figure(percent(g.in_photos))]) for g, row in zip(groups, shares, strict=True)]


def _prompt_rows(report: Report) -> Iterator[tuple[str, str, int]]:
    for words in report.prompts.words:
        yield "", words.prompt, words.seed
    for subject, class_prompt in zip(report.prompts.subject, report.prompts.class_prompts, strict=True):
        yield subject.prompt, class_prompt.prompt, subject.seed
    for other in report.prompts.other:
        yield "", other.prompt, other.seed


def _method(report: Report) -> dict[str, str]:
    settings = report.settings
    limits = {"shift": MAX_CLASS_SHIFT, "drift": MAX_DRIFT, "shown": 100 * report.base.calibration.shown_from}
    limits |= {"retention": 100 * MIN_PROMPT_RETENTION, "copies": 100 * MAX_COPIES, "broken": 100 * MAX_BROKEN}
    words = {"Quality words": settings.quality, "Negative prompt": settings.negative}
    return {
        "Images": f"{counted(settings.steps, 'step')} of {settings.sampler}, guidance {settings.guidance:g}, "
        f"seeds from {report.spec.seed}",
        **{name: text for name, text in words.items() if text},
        "Scorer": f"{report.measures} ({report.scorer})",
        "Compared with": "held-out images" if report.held_out else "the training images (there are no held-out images)",
        **{name: text.format(**limits) for name, text in DEFINITIONS.items()},
    }


# --- grid.png ---------------------------------------------------------------------------------------------------------


def _axes(report: Report) -> tuple[list[int], list[float], dict[tuple[int, float], ScoredCheckpoint]]:
    cells = {(c.epoch, c.strength): c for c in report.cells}
    return sorted({e for e, _ in cells}), sorted({s for _, s in cells}), cells


def _montage(report: Report, cell: ScoredCheckpoint | None) -> Image.Image | None:
    """Return four images as one, of the same prompts in every cell."""
    if cell is None:
        return None
    few = min(c.images for c in report.cells)
    found = [report.image_path(cell, "subject", i) for i in spread_over_prompts(few, MONTAGE)]
    images = [open_image(path) for path in found if path is not None and path.is_file()]
    if not images:
        return None
    wide, high = min(images[0].width, 2 * THUMBNAIL), min(images[0].height, 2 * THUMBNAIL)
    columns = 1 if len(images) == 1 else 2
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * wide, rows * high), "white")
    for i, image in enumerate(images):
        page.paste(image.resize((wide, high), Image.Resampling.LANCZOS), (i % columns * wide, i // columns * high))
    return page


def _caption(cell: ScoredCheckpoint | None) -> str:
    if cell is None:
        return ""
    drift = number(cell.drift.points.value, 0)
    return f"subject {percent(cell.fidelity.value)}, prompt {percent(cell.prompt_retention)}, drift {drift}"
