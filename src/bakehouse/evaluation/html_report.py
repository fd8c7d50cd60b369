"""`report.html`, one page that needs nothing beside itself, and `grid.png`."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import metadata, resources
from pathlib import Path

import numpy as np
from PIL import Image

from bakehouse.core.events import Step
from bakehouse.core.files import atomic_path, write_html
from bakehouse.core.pluralize import counted
from bakehouse.core.run_folder import Run
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.cell_scores import Cell
from bakehouse.evaluation.html_format import (
    DASH,
    THUMB,
    captioned,
    embedded,
    flag,
    in_points,
    maybe_picture,
    number,
    percent,
    picture,
    prose,
    spread,
    weights_listed,
    with_spread,
)
from bakehouse.evaluation.metrics import Interval
from bakehouse.evaluation.prompt_set import PER_PROMPT
from bakehouse.evaluation.result import Report
from bakehouse.evaluation.selection import KEEP_PROMPT, MOST_DRIFT, MOST_MEMORISED, MOST_SHIFT, sure
from bakehouse.evaluation.svg_charts import Axes, Line, Point, line_chart

COLUMNS = 8
MONTAGE = 4
"""Pictures in a cell of the grid."""
TONES = {"learned": "good", "undertrained": "warn", "overtrained": "bad", "nothing changed": "calm"}
SMOOTH = 25
"""The loss is averaged over a 25th of the run: single batches say little."""
MEANINGS = {
    "Subject": "mean of likeness by embedding and by attributes, each from 0 (the base) to 1 (its own images); "
    "a picture shows the subject from one half on",
    "Prompt kept": "what a prompt asks for and the judge finds, as a share of what it finds in the base's pictures "
    "of the same prompts and seeds",
    "Drift": "without the trigger, in points: the largest of the way towards the subject, the rise of its attributes "
    "and the loss of prompt accuracy",
    "Class moved": "how far the pictures without the trigger went in any one direction, as a share of the way to the "
    "subject; up to {shift:g} is fine",
    "Near copies": "pictures closer to one training image than those are to each other, by embedding and by pixels",
    "Pick": "the highest subject fidelity, where each point below {keep:.0f} % prompt kept and each above {drift:g} "
    "points of drift costs one, each above {shift:g} that the class moved a half; of those within one standard error "
    "the gentlest",
}


def write_report(report: Report, run: Run) -> Path:
    """Writes report.html and grid.png into the run's report folder; returns the page.

    Raises:
        BakehouseError: a picture is gone, or the disk is full.
    """
    write_grid(report)
    return write_html(report.html, make_page(report, run))


def make_page(report: Report, run: Run) -> str:
    """The page as text."""
    css = resources.files("bakehouse.evaluation").joinpath("page.css").read_text("utf-8")
    parts = (
        _header(report, run),
        _verdict(report, run),
        _subject_pictures(report),
        _class_pictures(report),
        _grid(report),
        _curves(report, run),
        _attributes(report),
        _table(report),
        _prompts(report),
        _reproduce(report, run),
    )
    title = escape(f"{report.title}: {report.verdict.word}")
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{css}</style></head><body><main>"
    )
    return head + "\n".join(part for part in parts if part) + "</main></body></html>\n"


def write_grid(report: Report) -> Path:
    """grid.png: a column for each checkpoint, a row for each weight, the same prompts in each cell."""
    from bakehouse.generation.contact_sheet import draw_grid

    epochs, weights, cells = _axes(report)
    pictures = [[_montage(report, cells.get((e, w))) for e in epochs] for w in weights]
    captions = [[_caption(cells.get((e, w))) for e in epochs] for w in weights]
    title = f"{report.concept.subject or report.title}: checkpoint x weight"
    across, down = [f"{report.picked.unit} {e}" for e in epochs], [f"weight {w:g}" for w in weights]
    page = draw_grid(pictures, across, down, title, captions=captions)
    with atomic_path(report.grid) as temporary:
        page.save(temporary, format="PNG", optimize=True)
    return report.grid


# --- sections ---------------------------------------------------------------------------------------------------------


def _header(report: Report, run: Run) -> str:
    epochs, weights, _ = _axes(report)
    when = datetime.now(UTC).strftime("%d %B %Y").lstrip("0")
    counts = f"{counted(len(epochs), 'checkpoint')} at {weights_listed([f'{w:g}' for w in weights])}"
    images = counted(len(report.references), "image")
    return (
        f'<header><p class="kind">Evaluation of the run <b>{escape(run.name)}</b>, {when}</p>'
        f"<h1>{escape(report.concept.subject or report.title)}</h1>"
        f'<p class="lead">Taught to <b>{escape(report.base_model)}</b> from {images}. '
        f"Judged: {counts}, beside the untouched base with the same prompts and seeds.</p></header>"
    )


def _verdict(report: Report, run: Run) -> str:
    cell, verdict = report.picked, report.verdict
    learned = verdict.word == "learned"
    mend = f'<p class="mend"><b>{"Note" if learned else "Next"}:</b> {escape(verdict.mend)}</p>' if verdict.mend else ""
    why = "" if learned else f'<p class="mend">{prose(verdict.why)}</p>'
    prompt = f"{report.concept.subject}, {_place(report)}" if _place(report) else report.concept.subject
    command = f'bakehouse generate {shlex.quote(run.folder.as_posix())} "{prompt}"'
    return (
        f'<section class="card verdict {TONES[verdict.word]}"><span class="badge">{verdict.word.capitalize()}</span>'
        f'<p class="pick">{prose(report.pick.why)}</p>{why}{mend}'
        f'<div class="tiles">{"".join(_tiles(report, cell))}</div>'
        f"<pre>{escape(command)}</pre></section>"
    )


def _tiles(report: Report, cell: Cell) -> Iterable[str]:
    yield _tile("Subject shown", percent(cell.shown.value), f"of pictures ({spread(cell.shown, 100)})")
    yield _tile("Prompt kept", percent(min(cell.kept, 1.0)), "of the base's accuracy")
    points = cell.drift.points
    yield _tile("Drift", number(points.value, 1), f"points ({spread(points)}) towards it or off the prompt")
    shift = cell.drift.shift
    yield _tile("Class moved", number(shift.value, 0), f"points ({spread(shift)}); 100 is as far as the subject")
    yield _tile("Near copies", percent(cell.memorised.share.value), "of a training image")
    base = report.base.diversity.value
    if base > 0 and not math.isnan(cell.diversity.value):
        yield _tile("Diversity", percent(cell.diversity.value / base), "of the base's, same prompt")


def _tile(what: str, figure: str, note: str) -> str:
    return f'<div class="tile"><span class="what">{what}</span><b>{figure}</b><span>{escape(note)}</span></div>'


def _subject_pictures(report: Report) -> str:
    cell = report.picked
    training = [picture(path, "a training image") for path in _some(report.references, COLUMNS)]
    chosen = _different(len(report.asks.subject), COLUMNS)
    columns = []
    for i in chosen:
        ask = report.asks.subject[i]
        mine, base = report.picture(cell, "subject", i), report.picture(None, "class", i)
        columns.append(
            (maybe_picture(mine, ask.prompt), maybe_picture(base, f"base: {ask.judged}"), _tail(ask.judged, report))
        )
    rows = [
        ("Taught from", counted(len(report.references), "image"), [f"<figure>{image}</figure>" for image in training]),
        (
            "Drawn now",
            f"{cell.unit} {cell.epoch} at {cell.weight:g}",
            [f"<figure>{mine}</figure>" for mine, _, _ in columns],
        ),
        ("The base", "same prompt and seed", [captioned(base, words) for _, base, words in columns]),
    ]
    return (
        "<section><h2>The subject</h2>"
        f'<p class="lead">Prompts begin with “{escape(report.concept.subject)}”; the base is asked for '
        f"“{escape(_class_words(report))}” instead.</p>{_rows(rows)}</section>"
    )


def _class_pictures(report: Report) -> str:
    cell = report.picked
    klass = [("class", i, report.asks.klass[i]) for i in _different(len(report.asks.klass), COLUMNS - 2)]
    other = [("other", i, ask) for i, ask in enumerate(report.asks.other[:2])]
    mine, base = [], []
    for series, i, ask in [*klass, *other]:
        mine.append(f"<figure>{maybe_picture(report.picture(cell, series, i), ask.prompt)}</figure>")
        base.append(captioned(maybe_picture(report.picture(None, series, i), f"base: {ask.prompt}"), ask.prompt))
    rows = [
        ("Drawn now", f"{cell.unit} {cell.epoch} at {cell.weight:g}", mine),
        ("The base", "same prompt and seed", base),
    ]
    return (
        "<section><h2>Without the trigger</h2>"
        '<p class="lead">What was not taught should stay as it was: the two rows should look alike.</p>'
        f"{_rows(rows)}</section>"
    )


def _rows(rows: Sequence[tuple[str, str, Sequence[str]]]) -> str:
    cells = "".join(
        f'<div class="row-name">{name}<small>{escape(note)}</small></div><div class="strip">{"".join(figures)}</div>'
        for name, note, figures in rows
    )
    return f'<div class="scroll"><div class="rows">{cells}</div></div>'


def _grid(report: Report) -> str:
    epochs, weights, cells = _axes(report)
    head = "".join(f"<th>{report.picked.unit} {epoch}</th>" for epoch in epochs)
    body = []
    for weight in weights:
        row = "".join(f"<td>{_grid_cell(report, cells.get((e, weight)))}</td>" for e in epochs)
        body.append(f"<tr><th>weight {weight:g}</th>{row}</tr>")
    return (
        "<section><h2>Checkpoint × weight</h2>"
        '<p class="lead">The same prompts and seeds in every cell. Red figures break a limit.</p>'
        f'<div class="scroll"><table class="cells"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div></section>"
    )


def _grid_cell(report: Report, cell: Cell | None) -> str:
    montage = _montage(report, cell)
    if cell is None or montage is None:
        return ""
    picked = cell == report.picked
    drift, kept, shift = cell.drift.points, cell.kept, cell.drift.shift
    star = '<span class="star">picked</span>' if picked else ""
    image = embedded(montage, f"{cell.unit} {cell.epoch} at weight {cell.weight:g}", 2 * THUMB)
    share = 0 if math.isnan(cell.fidelity.value) else max(0.0, 100 * cell.fidelity.value)
    return (
        f'<figure class="cell{" picked" * picked}">{image}<figcaption>'
        f'<div class="bar"><i style="width:{share:.0f}%"></i></div>'
        f"{star}<b>subject {percent(cell.fidelity.value)}</b>"
        f'<div class="pair"><span>prompt kept</span>{flag(percent(kept), kept < KEEP_PROMPT)}</div>'
        f'<div class="pair"><span>drift</span>{flag(in_points(drift), sure(drift) > MOST_DRIFT)}</div>'
        f'<div class="pair"><span>moved</span>{flag(in_points(shift), sure(shift) > MOST_SHIFT)}</div>'
        "</figcaption></figure>"
    )


def _curves(report: Report, run: Run) -> str:
    def kept(cell: Cell) -> Interval:
        # The base's own figure on the same prompts scales value and interval alike.
        known = cell.prompt.value and not math.isnan(cell.kept)
        return cell.prompt.scaled(100 * cell.kept / cell.prompt.value) if known else cell.prompt.scaled(math.nan)

    limit, unit = 100 * KEEP_PROMPT, report.picked.unit
    subject = Axes(f"Subject fidelity over {unit}s", unit, y_high=100)
    prompt = Axes(f"Prompt fidelity over {unit}s", unit, " %", 0, 120, limit, f"{limit:.0f} %")
    drift = Axes(f"Prior drift over {unit}s", unit, limit=MOST_DRIFT, limit_name=f"{MOST_DRIFT:g} points")
    moved = Axes(f"How far the class moved over {unit}s", unit, limit=MOST_SHIFT, limit_name=f"{MOST_SHIFT:g} points")
    charts: list[tuple[str, str, Callable[[Cell], Interval], Axes]] = [
        ("Subject", "0 is the base, 100 the subject's own images", lambda c: c.fidelity.scaled(100), subject),
        ("Prompt", "accuracy as a share of the base's", kept, prompt),
        ("Drift", "points to the subject or off the prompt, untriggered", lambda c: c.drift.points, drift),
        ("Class moved", "points in any one direction, without the trigger", lambda c: c.drift.shift, moved),
    ]
    cards = [_card(name, note, line_chart(_lines(report, of), axes)) for name, note, of, axes in charts]
    cards.append(_card("Training loss", "a running mean; it says little about likeness", _loss_chart(run)))
    drawn = "".join(card for card in cards if card)
    return (
        f"<section><h2>Over the {unit}s</h2>"
        '<p class="lead">One line for each weight; the shade is the 95 % interval, the ring the pick.</p>'
        f'<div class="charts">{drawn}</div></section>'
        if drawn
        else ""
    )


def _card(name: str, note: str, chart: str) -> str:
    return f'<div class="card"><h3>{name}</h3><p>{note}</p>{chart}</div>' if chart else ""


def _lines(report: Report, of: Callable[[Cell], Interval]) -> list[Line]:
    _, weights, _ = _axes(report)
    lines = []
    for i, weight in enumerate(weights):
        cells = sorted((c for c in report.cells if c.weight == weight), key=lambda c: c.epoch)
        points = []
        for cell in cells:
            figure = of(cell)
            said = f"{cell.unit} {cell.epoch} at {weight:g}: {number(figure.value, 1)} ({spread(figure)})"
            points.append(Point(cell.epoch, figure.value, figure.low, figure.high, said, cell == report.picked))
        lines.append(Line(f"{weight:g}", points, f"w{_shade(i, len(weights))}"))
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
        points = [Point(s, v, v, v) for s, v in _smoothed(known)]
        lines.append(Line(name, points, name, marks=False))
    return line_chart(lines, Axes("Training loss over steps", "step"))


def _smoothed(values: Sequence[tuple[float, float]], most: int = 150) -> list[tuple[float, float]]:
    """Means over a window of a 25th of the run, at no more than `most` places."""
    xs, ys = np.asarray(values, dtype=np.float64).T
    width = max(1, len(ys) // SMOOTH)
    sums = np.concatenate([[0.0], np.cumsum(ys)])
    places = np.unique(np.linspace(0, len(ys) - 1, min(most, len(ys))).astype(int))
    low, high = np.maximum(places - width // 2, 0), np.minimum(places + (width + 1) // 2 + 1, len(ys))
    return list(zip(xs[places].tolist(), ((sums[high] - sums[low]) / (high - low)).tolist(), strict=True))


def _attributes(report: Report) -> str:
    if not report.own:
        return ""
    cell = report.picked
    rows = []
    for group, value in report.own.items():
        base, leak = report.base.attributes.get(group, math.nan), cell.drift.each.get(group, math.nan)
        without = f"{leak:+.0f}" if not math.isnan(leak) else DASH
        rows.append(
            f"<tr><td>{escape(group)}: <b>{escape(value)}</b></td>"
            f"<td>{percent(cell.attributes.get(group, math.nan))}</td>"
            f"<td>{percent(base)}</td><td>{flag(without, leak > MOST_DRIFT)}</td></tr>"
        )
    return (
        "<section><h2>What makes the subject</h2>"
        '<p class="lead">The attributes that its images share, and how often they show.</p>'
        '<div class="scroll"><table class="figures"><thead><tr><th>attribute</th><th>with the trigger</th>'
        "<th>the base</th><th>without the trigger,<br>points above the base</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _table(report: Report) -> str:
    heads = (
        "checkpoint",
        "weight",
        "pictures",
        "subject",
        "shown",
        "likeness",
        "prompt kept",
        "drift",
        "class moved",
        "copies",
        "diversity",
    )
    rows = [_row(c, c == report.picked) for c in sorted(report.cells, key=lambda c: (c.epoch, c.weight))]
    base = report.base
    rows.append(
        f"<tr><td>the base</td><td></td><td>{base.images}</td><td>0</td><td></td><td>{number(base.similarity, 3)}</td>"
        f"<td>100 %</td><td>0</td><td>0</td><td></td><td>{number(base.diversity.value, 3)}</td></tr>"
        f"<tr><td>its own images</td><td></td><td></td><td>100</td><td></td><td>{number(base.real, 3)}</td>"
        "<td></td><td></td><td></td><td></td><td></td></tr>"
    )
    return (
        "<section><h2>All figures</h2>"
        '<p class="lead">Likeness is the mean cosine to the subject\'s images; small figures are 95 % intervals.</p>'
        f'<div class="scroll"><table class="figures"><thead><tr>{"".join(f"<th>{h}</th>" for h in heads)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _row(c: Cell, picked: bool) -> str:
    drift, shift = c.drift.points, c.drift.shift
    figures = (
        f"{c.unit} {c.epoch}",
        f"{c.weight:g}",
        str(c.images),
        with_spread(c.fidelity, 100),
        with_spread(c.shown, 100),
        number(c.similarity.value, 3),
        flag(percent(c.kept), c.kept < KEEP_PROMPT),
        f"{flag(number(drift.value, 1), sure(drift) > MOST_DRIFT)} <small>{spread(drift)}</small>",
        f"{flag(number(shift.value, 0), sure(shift) > MOST_SHIFT)} <small>{spread(shift)}</small>",
        flag(percent(c.memorised.share.value), c.memorised.share.value > MOST_MEMORISED),
        number(c.diversity.value, 3),
    )
    row = "".join(f"<td>{figure}</td>" for figure in figures)
    return f'<tr class="picked">{row}</tr>' if picked else f"<tr>{row}</tr>"


def _prompts(report: Report) -> str:
    rows = [
        f"<tr><td>{escape(mine.prompt)}</td><td>{escape(bare.prompt)}</td><td>{mine.seed}</td></tr>"
        for mine, bare in zip(report.asks.subject, report.asks.klass, strict=True)
    ]
    rows += [f"<tr><td></td><td>{escape(ask.prompt)}</td><td>{ask.seed}</td></tr>" for ask in report.asks.other]
    return (
        f"<section><h2>Prompts and seeds</h2><details><summary>All {len(rows)} of them</summary>"
        '<div class="scroll"><table class="figures words"><thead><tr><th>with the trigger</th>'
        f"<th>without, and the base</th><th>seed</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        "</details></section>"
    )


def _reproduce(report: Report, run: Run) -> str:
    look = report.look
    compared = "held-out images" if report.held_out else "the training images, for want of held-out ones"
    made = f"{look.steps} steps of {look.sampler}, guidance {look.guidance:g}, seeds from {report.spec.seed}"
    facts = {
        "Pictures": made,
        "Judge": f"{report.measures} ({report.judge})",
        "Compared with": compared,
        **{
            name: text.format(keep=100 * KEEP_PROMPT, drift=MOST_DRIFT, shift=MOST_SHIFT)
            for name, text in MEANINGS.items()
        },
    }
    notes = "".join(f"<p class='lead'>{escape(note[:1].upper() + note[1:])}.</p>" for note in report.notes)
    listed = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    version = metadata.version("bakehouse")
    return (
        f"<section><h2>How it was measured</h2>{notes}<dl>{listed}</dl>"
        f"<pre>bakehouse evaluate {escape(shlex.quote(run.folder.as_posix()))}</pre></section>"
        f"<footer>bakehouse {escape(version)}. All figures: scores.json beside this page.</footer>"
    )


# --- pictures ---------------------------------------------------------------------------------------------------------


def _axes(report: Report) -> tuple[list[int], list[float], dict[tuple[int, float], Cell]]:
    cells = {(c.epoch, c.weight): c for c in report.cells}
    return sorted({e for e, _ in cells}), sorted({w for _, w in cells}), cells


def _montage(report: Report, cell: Cell | None) -> Image.Image | None:
    """Four pictures as one, of the same prompts in every cell."""
    if cell is None:
        return None
    few = min(c.images for c in report.cells)
    found = [report.picture(cell, "subject", i) for i in _different(few, MONTAGE)]
    images = [open_image(path) for path in found if path is not None and path.is_file()]
    if not images:
        return None
    wide, high = min(images[0].width, 2 * THUMB), min(images[0].height, 2 * THUMB)
    columns = 1 if len(images) == 1 else 2
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * wide, rows * high), "white")
    for i, image in enumerate(images):
        page.paste(image.resize((wide, high), Image.Resampling.LANCZOS), (i % columns * wide, i // columns * high))
    return page


def _caption(cell: Cell | None) -> str:
    if cell is None:
        return ""
    drift = number(cell.drift.points.value, 0)
    return f"subject {percent(cell.fidelity.value)}, prompt {percent(cell.kept)}, drift {drift}"


def _different(count: int, most: int) -> list[int]:
    """Numbers of pictures, of as many different prompts as there are, in their order."""
    in_turn = [i for turn in range(PER_PROMPT) for i in range(turn, count, PER_PROMPT)]
    return sorted(in_turn[:most])


def _some(paths: Sequence[Path], most: int) -> list[Path]:
    return [paths[round(i)] for i in np.linspace(0, len(paths) - 1, min(most, len(paths)))]


# --- words ------------------------------------------------------------------------------------------------------------


def _class_words(report: Report) -> str:
    return report.concept.class_name or report.asks.klass[0].prompt


def _tail(prompt: str, report: Report) -> str:
    """A prompt without the class it begins with: what differs from picture to picture."""
    return prompt.removeprefix(f"{report.concept.class_name}, ")


def _place(report: Report) -> str:
    judged = report.asks.subject[0].judged if report.asks.subject else ""
    return judged.rsplit(", ", 1)[-1] if ", " in judged else ""


def _shade(i: int, count: int) -> int:
    """Light to dark for the weights, the same three for three."""
    return min(i if count > 1 else 1, 5)
