"""Selection of a checkpoint and strength, and the verdict on the run, each explained in a sentence with figures."""

from __future__ import annotations

import math
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
PROMPT_COST, DRIFT_COST, SHIFT_COST, COPY_COST = 1.0, 1.0, 0.5, 0.5

LEARNED_FIDELITY = 0.6
"""Subject fidelity from which the subject is clearly recognizable; a run below it is undertrained."""
VISIBLE_FIDELITY = 0.15
"""Subject fidelity below which no change is visible."""

Outcome = Literal["learned", "undertrained", "overtrained", "nothing changed"]


@dataclass(frozen=True)
class Pick:
    """The selected checkpoint and strength, as `pick.json` holds it."""

    weights: str
    """The weights file, relative to the run folder."""
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
    """The next step; empty if none is needed."""

    def to_json(self) -> dict[str, str]:
        return {"word": self.outcome, "why": self.why, "mend": self.advice}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Verdict:
        return Verdict(value["word"], str(value["why"]), str(value["mend"]))


def utility(cell: ScoredCheckpoint) -> float:
    """Return subject fidelity in points less the cost of exceeded limits; the pick maximizes it.

    100 fidelity - PROMPT_COST max(0, 85 - prompt retention) - DRIFT_COST max(0, drift - 5)
    - SHIFT_COST max(0, class shift - 25) - COPY_COST max(0, near copies - 25), in points; unknown figures cost nothing.
    The limits are soft: a hard limit would discard the only cell that learned anything because of one odd image.
    """
    prompt = max(0.0, 100 * (MIN_PROMPT_RETENTION - _or(cell.prompt_retention, 1.0)))
    drift = max(0.0, _or(cell.drift.points.value, 0.0) - MAX_DRIFT)
    shift = max(0.0, _or(cell.drift.shift.value, 0.0) - MAX_CLASS_SHIFT)
    copies = max(0.0, 100 * (_or(cell.near_copies.share.value, 0.0) - MAX_COPIES))
    cost = PROMPT_COST * prompt + DRIFT_COST * drift + SHIFT_COST * shift + COPY_COST * copies
    return 100 * _or(cell.fidelity.value, 0.0) - cost


def significant(figure: Interval) -> float:
    """Return the figure if its interval lies above 0, else 0, so that no verdict rests on chance."""
    return figure.value if figure.low > 0 else 0.0


def within_limits(cell: ScoredCheckpoint) -> bool:
    """Return whether a cell exceeds none of the soft limits."""
    return (
        _or(cell.prompt_retention, 1.0) >= MIN_PROMPT_RETENTION
        and significant(cell.drift.points) <= MAX_DRIFT
        and significant(cell.drift.shift) <= MAX_CLASS_SHIFT
        and _or(cell.near_copies.share.value, 0.0) <= MAX_COPIES
    )


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
    """Select a cell and explain the choice."""
    cell = choose(cells)
    return Pick(cell.weights, cell.strength, cell.epoch, explain(cell, cells, base))


def explain(cell: ScoredCheckpoint, cells: Sequence[ScoredCheckpoint], base: BaseScores) -> str:
    """Return one sentence: what the pick shows, what it costs, and why a stronger one was not picked.

    `Epoch 6 at strength 0.8: subject in 93 % of images (92-97), 96 % of the base's prompt accuracy, ...`
    """
    parts = [f"subject in {_share(cell)}"]
    if not math.isnan(cell.prompt_retention):
        parts.append(f"{100 * min(cell.prompt_retention, 1.0):.0f} % of the base's prompt accuracy")
    if not math.isnan(cell.drift.points.value):
        parts.append(f"prior drift {_points(cell.drift.points.value)}")
    if significant(cell.drift.shift) > MAX_CLASS_SHIFT:
        parts.append(_excess("class shift", cell.drift.shift.value, MAX_CLASS_SHIFT))
    reason = _why_not_stronger(cell, cells)
    return f"{cell_name(cell)}: {', '.join(parts)}.{' ' + reason if reason else ''}"


def cell_name(cell: ScoredCheckpoint) -> str:
    """Return the name of a cell for the start of a sentence: `Epoch 6 at strength 0.8`."""
    return f"{cell.epoch_unit.capitalize()} {cell.epoch} at strength {cell.strength:g}"


def make_verdict(cells: Sequence[ScoredCheckpoint], base: BaseScores) -> Verdict:
    """Return whether the run learned the subject, trained too little or too much, or changed nothing, with advice."""
    cell = choose(cells)
    strongest = max(cells, key=lambda c: _or(c.fidelity.value, 0.0))
    best = _or(strongest.fidelity.value, 0.0)
    fidelity = f"highest subject fidelity {max(0.0, 100 * best):.0f} of 100"
    drifts = any(significant(c.drift.points) > MAX_DRIFT or significant(c.drift.shift) > MAX_CLASS_SHIFT for c in cells)
    if best < VISIBLE_FIDELITY and not drifts:
        why = f"No checkpoint shows the subject ({fidelity})."
        advice = (
            "Check that the captions contain the trigger and that the loss falls. Then train with three times the "
            "learning rate or for three times as many epochs."
        )
        return Verdict("nothing changed", why, advice)
    if best < VISIBLE_FIDELITY:
        why = f"The class has changed, but the subject does not show yet ({fidelity})."
        return Verdict("undertrained", why, "Train for twice as many epochs, with class images to limit the drift.")
    if not within_limits(cell):
        advice = (
            "Train for fewer epochs or with half the learning rate, and limit the drift with class images "
            '(prior.source = "class", or a higher prior.weight).'
        )
        why = f"{cell_name(cell)} breaks {_a_limit(cell)}: {', '.join(_exceeded(cell))}."
        return Verdict("overtrained", why, advice)
    if cell.fidelity.value < LEARNED_FIDELITY:
        last = max(c.epoch for c in cells)
        # A weaker cell may be picked while fidelity still rises: what counts is where it is highest.
        rising = cell.epoch == last or (strongest.epoch == last and best < LEARNED_FIDELITY)
        why = f"{cell_name(cell)} shows the subject in only {_share(cell)}{', and fidelity was still rising' * rising}."
        longer = "Train longer with half the learning rate, or with a higher rank."
        advice = "Train for twice as many epochs." if rising else longer
        return Verdict("undertrained", why, advice)
    why = f"{cell_name(cell)} shows the subject in {_share(cell)}; prompt adherence is intact and drift is low."
    return Verdict("learned", why, _note_on_later(cell, cells))


def _why_not_stronger(cell: ScoredCheckpoint, cells: Sequence[ScoredCheckpoint]) -> str:
    """Explain why no later epoch (or higher strength) was picked: it is no better, or it costs too much."""
    stronger = [c for c in cells if c.epoch_times_strength > cell.epoch_times_strength]
    if not stronger:
        return "It is the last and strongest that was evaluated." if len(cells) > 1 else ""
    rival = max(stronger, key=lambda c: (_or(c.fidelity.value, 0.0), utility(c)))
    gain = 100 * (_or(rival.fidelity.value, 0.0) - _or(cell.fidelity.value, 0.0))
    exceeded = ", ".join(_exceeded(rival))
    if gain < 1.5:
        comparison = "is no better" + (f" and has {exceeded}" if exceeded else "")
    else:
        comparison = f"gains {_points(gain)} of subject fidelity, "
        comparison += f"but has {exceeded}" if exceeded else "which may be chance"
    return f"{cell_name(rival)} {comparison}."


def _exceeded(cell: ScoredCheckpoint) -> list[str]:
    """Return the limits that a cell exceeds, each with its figure: `prior drift 31 points (limit 5)`."""
    found = []
    if _or(cell.prompt_retention, 1.0) < MIN_PROMPT_RETENTION:
        found.append(
            f"{100 * cell.prompt_retention:.0f} % of the base's prompt accuracy "
            f"(at least {100 * MIN_PROMPT_RETENTION:.0f} %)"
        )
    if significant(cell.drift.points) > MAX_DRIFT:
        found.append(_excess("prior drift", cell.drift.points.value, MAX_DRIFT))
    if significant(cell.drift.shift) > MAX_CLASS_SHIFT:
        found.append(_excess("class shift", cell.drift.shift.value, MAX_CLASS_SHIFT))
    if _or(cell.near_copies.share.value, 0.0) > MAX_COPIES:
        share = 100 * cell.near_copies.share.value
        found.append(f"{share:.0f} % near copies of training images (limit {100 * MAX_COPIES:.0f} %)")
    return found


def _a_limit(cell: ScoredCheckpoint) -> str:
    return "a limit" if len(_exceeded(cell)) == 1 else "limits"


def _note_on_later(cell: ScoredCheckpoint, cells: Sequence[ScoredCheckpoint]) -> str:
    worse = [c.epoch for c in cells if c.strength == cell.strength and c.epoch > cell.epoch and not within_limits(c)]
    if not worse:
        return ""
    return f"From {cell.epoch_unit} {min(worse)} on, limits are broken: the next run can stop there."


def _share(cell: ScoredCheckpoint) -> str:
    s = cell.shown
    return f"{100 * s.value:.0f} % of images ({100 * s.low:.0f}-{100 * s.high:.0f})"


def _excess(name: str, points: float, limit: float) -> str:
    return f"{name} {_points(points)} (limit {limit:g})"


def _points(value: float) -> str:
    rounded = f"{value:.0f}"
    return f"{rounded} point{'s' * (rounded != '1')}"


def _or(value: float, default: float) -> float:
    return default if math.isnan(value) else value


def relative(path: Path, folder: Path) -> str:
    """Return a path relative to the run folder, as pick.json holds it."""
    return path.resolve().relative_to(folder.resolve()).as_posix()
