"""Selection of a checkpoint and strength, and the verdict on the run, each explained in a sentence with figures."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakehouse.evaluation.checkpoint_scores import BaseScores, ScoredCheckpoint
from bakehouse.evaluation.metrics import Interval

MIN_PROMPT_RETENTION = 0.85
"""Share of the base's prompt accuracy; each point below costs `PROMPT_COST` points of subject fidelity."""
MAX_DRIFT = 5.0
"""Points of prior drift; each point above costs `DRIFT_COST` points of subject fidelity."""
MAX_CLASS_SHIFT = 25.0
"""Points of class shift; each point above costs `SHIFT_COST` points."""
MAX_COPIES = 0.25
"""Share of images that are near copies; each point above costs `COPY_COST` points."""
MAX_BROKEN = 0.10
"""Share of broken images; each point above costs `BROKEN_COST` points, and a cell certainly above is not picked."""
BROKEN_COST = 1.0
PROMPT_COST, DRIFT_COST, SHIFT_COST, COPY_COST = 1.0, 1.0, 0.5, 0.5

LEARNED_FIDELITY = 0.5
"""Subject fidelity of a run that learned: half way from words alone to the subject's own images."""
VISIBLE_EFFECT = 0.15
"""Share of the way from the base's class images to the subject's own below which the trigger does nothing visible."""

Outcome = Literal["learned", "undertrained", "overtrained", "nothing changed", "not decided"]
State = Literal["kept", "broken", "open"]


@dataclass(frozen=True)
class Pick:
    """The selected checkpoint and strength, as `pick.json` holds it."""

    weights: str
    """The weights file, relative to the run folder; empty if no checkpoint can be recommended."""
    strength: float
    epoch: int
    why: str

    def to_json(self) -> dict[str, Any]:
        return {"weights": self.weights, "weight": self.strength, "epoch": self.epoch, "why": self.why}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Pick:
        return Pick(str(value["weights"]), float(value["weight"]), int(value["epoch"]), str(value["why"]))


@dataclass(frozen=True)
class Verdict:
    """The outcome of a run and what to do about it."""

    outcome: Outcome
    why: str
    advice: str
    """The next step; empty if the evaluation has no evidence for one."""

    def to_json(self) -> dict[str, str]:
        return {"word": self.outcome, "why": self.why, "mend": self.advice}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Verdict:
        return Verdict(value["word"], str(value["why"]), str(value["mend"]))


# --- limits -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LimitCheck:
    """One limit beside a cell's figure, both in the unit of the sentence."""

    name: str
    figure: Interval
    limit: float
    text: str
    """The figure in words: `prior drift 31 points (26-37, limit 5)`."""
    at_least: bool = False
    is_share: bool = False
    """A share of images: its interval has a width even at 0, so that below the limit it never counts as open."""

    @property
    def state(self) -> State:
        """Whether the interval is within the limit, beyond it, or the limit is inside of it."""
        low, high, value = self.figure.low, self.figure.high, self.figure.value
        if math.isnan(value):
            return "kept"
        if self.at_least:
            return "broken" if high < self.limit else "kept" if low >= self.limit else "open"
        if low > self.limit:
            return "broken"
        return "kept" if high <= self.limit or (self.is_share and value <= self.limit) else "open"


def limit_checks(cell: ScoredCheckpoint) -> list[LimitCheck]:
    """Return every limit beside the cell's figures."""
    drift, shift, copies = cell.drift.points, cell.drift.shift, cell.near_copies.share.scaled(100)
    retention, broken = cell.retention.scaled(100), cell.broken.scaled(100)
    return [
        LimitCheck(
            "prompt retention",
            retention,
            100 * MIN_PROMPT_RETENTION,
            f"{retention.value:.0f} % of the base's prompt accuracy ({_ends(retention)}, "
            f"at least {100 * MIN_PROMPT_RETENTION:.0f} %)",
            at_least=True,
        ),
        LimitCheck("prior drift", drift, MAX_DRIFT, _excess("prior drift", drift, MAX_DRIFT)),
        LimitCheck("class shift", shift, MAX_CLASS_SHIFT, _excess("class shift", shift, MAX_CLASS_SHIFT)),
        LimitCheck(
            "near copies",
            copies,
            100 * MAX_COPIES,
            f"{copies.value:.0f} % near copies of training images ({_ends(copies)}, limit {100 * MAX_COPIES:.0f} %)",
            is_share=True,
        ),
        LimitCheck(
            "broken images",
            broken,
            100 * MAX_BROKEN,
            f"{broken.value:.0f} % broken images ({_ends(broken)}, limit {100 * MAX_BROKEN:.0f} %)",
            is_share=True,
        ),
    ]


def state_of(cell: ScoredCheckpoint, name: str) -> State:
    """Return the state of one limit of a cell by the limit's name."""
    return next(check.state for check in limit_checks(cell) if check.name == name)


def broken_limits(cell: ScoredCheckpoint) -> list[str]:
    """Return the limits that a cell certainly breaks, each with its figure."""
    return [check.text for check in limit_checks(cell) if check.state == "broken"]


def open_questions(cell: ScoredCheckpoint) -> list[str]:
    """Return the figures of a cell whose intervals hold their limit."""
    found = [check.text for check in limit_checks(cell) if check.state == "open"]
    if not _learned(cell) and not _not_learned(cell):
        found.append(f"subject fidelity {_hundredths(cell.fidelity)} (learned from {100 * LEARNED_FIDELITY:.0f})")
    return found


def is_open(cell: ScoredCheckpoint) -> bool:
    """Return whether more images of a cell could decide the verdict."""
    if cell.effect.low < VISIBLE_EFFECT <= cell.effect.high:
        return True
    decided = bool(broken_limits(cell)) or _not_learned(cell) or not _shows_something(cell)
    return not decided and bool(open_questions(cell))


def _learned(cell: ScoredCheckpoint) -> bool:
    return cell.fidelity.low >= LEARNED_FIDELITY


def _not_learned(cell: ScoredCheckpoint) -> bool:
    return cell.fidelity.high < LEARNED_FIDELITY


def _shows_something(cell: ScoredCheckpoint) -> bool:
    return cell.effect.low >= VISIBLE_EFFECT


# --- selection --------------------------------------------------------------------------------------------------------


def utility(cell: ScoredCheckpoint) -> float:
    """Return subject fidelity in points less the cost of exceeded limits; the pick maximizes it.

    100 fidelity - PROMPT_COST max(0, 85 - prompt retention) - DRIFT_COST max(0, drift - 5)
    - SHIFT_COST max(0, class shift - 25) - COPY_COST max(0, near copies - 25) - BROKEN_COST max(0, broken - 10), in
    points; unknown figures cost nothing.
    The limits are soft: a hard limit would discard the only cell that learned anything because of one odd image.
    """
    prompt = max(0.0, 100 * (MIN_PROMPT_RETENTION - _or(cell.prompt_retention, 1.0)))
    drift = max(0.0, _or(cell.drift.points.value, 0.0) - MAX_DRIFT)
    shift = max(0.0, _or(cell.drift.shift.value, 0.0) - MAX_CLASS_SHIFT)
    copies = max(0.0, 100 * (_or(cell.near_copies.share.value, 0.0) - MAX_COPIES))
    broken = max(0.0, 100 * (_or(cell.broken.value, 0.0) - MAX_BROKEN))
    cost = BROKEN_COST * broken + PROMPT_COST * prompt + DRIFT_COST * drift + SHIFT_COST * shift + COPY_COST * copies
    return 100 * _or(cell.fidelity.value, 0.0) - cost


def pickable(cells: Sequence[ScoredCheckpoint]) -> list[ScoredCheckpoint]:
    """Return the cells that may be recommended: closer to the subject than words alone, and not broken."""
    return [c for c in cells if c.fidelity.low > 0 and state_of(c, "broken images") != "broken"]


def judged(cells: Sequence[ScoredCheckpoint]) -> ScoredCheckpoint:
    """Return the cell that a verdict speaks of: the pick, or without one the best."""
    return choose(pickable(cells) or cells)


def rank(cells: Sequence[ScoredCheckpoint]) -> list[ScoredCheckpoint]:
    """Return the cells by falling utility."""
    return sorted(cells, key=lambda c: (-utility(c), c.epoch_times_strength))


def choose(cells: Sequence[ScoredCheckpoint]) -> ScoredCheckpoint:
    """Return the best cell, or one that is as good and changes the base less.

    One-standard-error rule (Breiman et al. 1984, section 3.4.3): of all cells whose utility is within one standard
    error of the best, the one with the least epoch x strength is taken, then the one with the least drift. Only cells
    with the most images take part: the best of many figures from few images is often best by chance.
    """
    most = max(c.images for c in cells)
    return min(within_one_error([c for c in cells if c.images == most]), key=_tie_break)


def finalists(cells: Sequence[ScoredCheckpoint], count: int) -> list[ScoredCheckpoint]:
    """Return `count` cells to score on all images: the best, the first and last of those as good, then the next best.

    On few images many cells look alike. First and last are in the order of `_tie_break`; the best may be either.
    """
    order = rank(cells)
    near = sorted(within_one_error(cells), key=_tie_break)
    return _unique([order[0], near[0], near[-1], *order])[:count]


def within_one_error(cells: Sequence[ScoredCheckpoint]) -> list[ScoredCheckpoint]:
    """Return the best cell and all within one standard error of it."""
    best = rank(cells)[0]
    threshold = utility(best) - 100 * _or(best.fidelity.error, 0.0)
    return [c for c in cells if utility(c) >= threshold]


def _unique(cells: Sequence[ScoredCheckpoint]) -> list[ScoredCheckpoint]:
    # Cells hold dicts, so they have no hash.
    return list({id(c): c for c in cells}.values())


def _tie_break(cell: ScoredCheckpoint) -> tuple[float, float]:
    """The order of equally good cells: those that change the base least come first."""
    return cell.epoch_times_strength, _or(cell.drift.points.value, 0.0)


def make_pick(cells: Sequence[ScoredCheckpoint], base: BaseScores) -> Pick:
    """Select a cell and explain the choice; nothing is picked if no cell is better than words alone."""
    found = pickable(cells)
    if not found:
        return Pick("", 1.0, 0, f"No checkpoint is picked: {_no_better(judged(cells))}.")
    cell = choose(found)
    return Pick(cell.weights, cell.strength, cell.epoch, explain(cell, cells, base))


def _no_better(cell: ScoredCheckpoint) -> str:
    if math.isnan(cell.fidelity.value):
        return "subject fidelity is unknown, since the scorer cannot tell the subject from what words alone give"
    if cell.fidelity.low > 0:
        return f"{_lower(cell_name(cell))} has {', '.join(broken_limits(cell))}"
    return (
        f"the best, {_lower(cell_name(cell))}, is no closer to the subject than what the untouched base draws from "
        f"words alone (subject fidelity {_hundredths(cell.fidelity)} of 100)"
    )


def explain(cell: ScoredCheckpoint, cells: Sequence[ScoredCheckpoint], base: BaseScores) -> str:
    """Return one sentence: what the pick shows, what it costs, and why a stronger one was not picked.

    `Epoch 6 at strength 0.8: subject in 93 % of images (92-97), 96 % of the base's prompt accuracy, ...`
    """
    parts = [f"subject in {_share(cell)}"]
    if not math.isnan(cell.prompt_retention):
        parts.append(f"{100 * min(cell.prompt_retention, 1.0):.0f} % of the base's prompt accuracy")
    if not math.isnan(cell.drift.points.value):
        parts.append(f"prior drift {_points(cell.drift.points.value)}")
    if state_of(cell, "class shift") == "broken":
        parts.append(_excess("class shift", cell.drift.shift, MAX_CLASS_SHIFT))
    reason = _why_not_stronger(cell, cells)
    return f"{cell_name(cell)}: {', '.join(parts)}.{' ' + reason if reason else ''}"


def cell_name(cell: ScoredCheckpoint) -> str:
    """Return the name of a cell for the start of a sentence: `Epoch 6 at strength 0.8`."""
    return f"{cell.epoch_unit.capitalize()} {cell.epoch} at strength {cell.strength:g}"


def make_verdict(
    cells: Sequence[ScoredCheckpoint], base: BaseScores, images: int, run: Path, *, has_rate: bool = True
) -> Verdict:
    """Return whether the run learned the subject, trained too little or too much, or changed nothing.

    A verdict is given where an interval is on one side of its limit; else it is `not decided`. Advice is given where
    the run's own cells are evidence for it, or where a command can measure what to do.

    Args:
        cells: the run's cells.
        base: the base's scores.
        images: number of images that were asked for.
        run: the run folder, for the command in the advice.
        has_rate: whether a network trained, whose learning rate a range test can find; False: an embedding alone.
    """
    cell = judged(cells)
    learn_more = _find_rate(run) if has_rate else _ADD_ADAPTER
    folder = shlex.quote(run.as_posix())
    if math.isnan(cell.fidelity.value):
        why = "The scorer cannot tell the subject from what the untouched base draws from words alone."
        return Verdict("not decided", why, "")
    fidelity = f"subject fidelity {_hundredths(cell.fidelity)} of 100"
    more = f"bakehouse evaluate {folder} --set images={2 * max(images, cell.images)}"
    visible = [c for c in cells if _shows_something(c)]
    if not visible:
        count = max(c.images for c in cells)
        most = max((c for c in cells if c.images == count), key=lambda c: _or(c.effect.high, 0.0))
        if strongest := max((c for c in cells if broken_limits(c)), key=lambda c: len(broken_limits(c)), default=None):
            why = f"The class has changed, but the subject does not show ({fidelity}). "
            why += f"{cell_name(strongest)} has {', '.join(broken_limits(strongest))}."
            return Verdict("undertrained", why, learn_more)
        if most.effect.high < VISIBLE_EFFECT:
            why = f"With the trigger, no checkpoint draws anything closer to the subject than without it ({fidelity})."
            return Verdict("nothing changed", why, learn_more)
        return Verdict("not decided", f"Not decided with {cell.images} images: {fidelity}.", f"More images: {more}")
    if broken := broken_limits(cell):
        limits = "a limit" if len(broken) == 1 else "limits"
        return Verdict("overtrained", f"{cell_name(cell)} breaks {limits}: {', '.join(broken)}.", _gentler(cell, cells))
    if _not_learned(cell):
        shows = f"{cell_name(cell)} shows the subject in only {_share(cell)} ({fidelity})"
        rising = _rising(cells)
        return Verdict("undertrained", f"{shows}.", rising or learn_more)
    if questions := open_questions(cell):
        why = f"Not decided with {cell.images} images of {_lower(cell_name(cell))}: {', '.join(questions)}."
        return Verdict("not decided", why, f"More images: {more}")
    known = base.calibration
    if known.margin <= 0:
        why = (
            f"{cell_name(cell)} scores as the subject ({fidelity}), but so do others: the best 5 % of images that do "
            f"not show it reach {100 * known.highest:.0f}, its own begin at {100 * known.lowest_own:.0f}."
        )
        return Verdict("not decided", why, "")
    why = f"{cell_name(cell)} shows the subject in {_share(cell)}; prompt adherence is intact and drift is low."
    return Verdict("learned", why, _note_on_later(cell, cells))


_ADD_ADAPTER = (
    "Vectors alone show only what the base can draw: train an adapter beside them with --set adapter.kind=lora, or "
    "more of them with --set embedding.vectors=8"
)


def _find_rate(run: Path) -> str:
    """Advise the command that measures the learning rate, of which these cells say nothing."""
    return f"Measure which learning rates learn: bakehouse find-rate {shlex.quote((run / 'recipe.toml').as_posix())}"


def _rising(cells: Sequence[ScoredCheckpoint]) -> str:
    """Return that fidelity was still rising in the last epoch, or with strength, if it is beyond chance."""
    last = max(c.epoch for c in cells)
    most = max(c.strength for c in cells)
    ends = {(c.epoch, c.strength): c for c in cells}
    final = ends.get((last, most))
    earlier = [c for c in cells if c.strength == most and c.epoch < last]
    if final and earlier and not broken_limits(final):
        before = max(earlier, key=lambda c: c.epoch)
        if final.fidelity.low > before.fidelity.high:
            unit = final.epoch_unit
            return (
                f"Train longer: from {unit} {before.epoch} to {last} subject fidelity still rose, "
                f"{_hundredths(before.fidelity)} to {_hundredths(final.fidelity)}."
            )
    return ""


def _gentler(cell: ScoredCheckpoint, cells: Sequence[ScoredCheckpoint]) -> str:
    """Return which earlier or weaker cell breaks no limit and what it costs, if there is one that shows something."""
    better = [c for c in cells if _shows_something(c) and not broken_limits(c) and c is not cell]
    if not better:
        return ""
    best = max(better, key=lambda c: _or(c.fidelity.value, 0.0))
    return f"{cell_name(best)} breaks no limit, with subject fidelity {_hundredths(best.fidelity)} of 100."


def _why_not_stronger(cell: ScoredCheckpoint, cells: Sequence[ScoredCheckpoint]) -> str:
    """Explain why no later epoch (or higher strength) was picked: it is no better, or it costs too much."""
    stronger = [c for c in cells if c.epoch_times_strength > cell.epoch_times_strength]
    if not stronger:
        return "It is the last and strongest that was evaluated." if len(cells) > 1 else ""
    rival = max(stronger, key=lambda c: (_or(c.fidelity.value, 0.0), utility(c)))
    gain = 100 * (_or(rival.fidelity.value, 0.0) - _or(cell.fidelity.value, 0.0))
    exceeded = ", ".join(broken_limits(rival))
    if gain < 1.5:
        comparison = "is no better" + (f" and has {exceeded}" if exceeded else "")
    else:
        comparison = f"gains {_points(gain)} of subject fidelity, "
        comparison += f"but has {exceeded}" if exceeded else "which may be chance"
    return f"{cell_name(rival)} {comparison}."


def _note_on_later(cell: ScoredCheckpoint, cells: Sequence[ScoredCheckpoint]) -> str:
    worse = [c.epoch for c in cells if c.strength == cell.strength and c.epoch > cell.epoch and broken_limits(c)]
    if not worse:
        return ""
    return f"From {cell.epoch_unit} {min(worse)} on, limits are broken: the next run can stop there."


def _share(cell: ScoredCheckpoint) -> str:
    s = cell.shown
    return f"{100 * s.value:.0f} % of images ({100 * s.low:.0f}-{100 * s.high:.0f})"


def _excess(name: str, figure: Interval, limit: float) -> str:
    return f"{name} {_points(figure.value)} ({_ends(figure)}, limit {limit:g})"


def _ends(figure: Interval) -> str:
    low, high = f"{figure.low:.0f}", f"{figure.high:.0f}"
    return f"{low} to {high}" if low.startswith("-") else f"{low}-{high}"


def _hundredths(figure: Interval) -> str:
    """Return a share with its interval in hundredths: `62 (55-68)`."""
    return f"{100 * figure.value:.0f} ({_ends(figure.scaled(100))})"


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _points(value: float) -> str:
    rounded = f"{value:.0f}"
    return f"{rounded} point{'s' * (rounded != '1')}"


def _or(value: float, default: float) -> float:
    return default if math.isnan(value) else value


def relative(path: Path, folder: Path) -> str:
    """Return a path relative to the run folder, as pick.json holds it."""
    return path.resolve().relative_to(folder.resolve()).as_posix()
