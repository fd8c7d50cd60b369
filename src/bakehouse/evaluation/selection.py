"""Which checkpoint at which weight, and what the whole run came to, each in a sentence with its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakehouse.evaluation.cell_scores import Base, Cell
from bakehouse.evaluation.metrics import Interval

KEEP_PROMPT = 0.85
"""Of the base's prompt accuracy; each point below costs `PROMPT_COST` points of subject fidelity."""
MOST_DRIFT = 5.0
"""Points; each point above costs `DRIFT_COST` points of subject fidelity."""
MOST_SHIFT = 25.0
"""Points that the class may move in other directions; each above costs `SHIFT_COST` points."""
MOST_MEMORISED = 0.25
"""Share of pictures that are near copies; each point above costs `COPY_COST` points."""
PROMPT_COST, DRIFT_COST, SHIFT_COST, COPY_COST = 1.0, 1.0, 0.5, 0.5

LEARNED = 0.6
"""Subject fidelity that is plain to see; below it a run that still rises is undertrained."""
NOTHING = 0.15
"""Subject fidelity below which no one would see a change."""

Word = Literal["learned", "undertrained", "overtrained", "nothing changed"]


@dataclass(frozen=True)
class Pick:
    """The choice, as `pick.json` holds it."""

    weights: str
    """Relative to the run folder."""
    weight: float
    epoch: int
    why: str

    def to_json(self) -> dict[str, Any]:
        return {"weights": self.weights, "weight": self.weight, "epoch": self.epoch, "why": self.why}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Pick:
        return Pick(str(value["weights"]), float(value["weight"]), int(value["epoch"]), str(value["why"]))


@dataclass(frozen=True)
class Verdict:
    """What the run came to and what to do about it."""

    word: Word
    why: str
    mend: str
    """The next step; empty where nothing needs one."""

    def to_json(self) -> dict[str, str]:
        return {"word": self.word, "why": self.why, "mend": self.mend}


def utility(cell: Cell) -> float:
    """Subject fidelity in points less what the soft limits cost: what the pick makes greatest.

    100 f - PROMPT_COST max(0, 85 - kept) - DRIFT_COST max(0, drift - 5) - SHIFT_COST max(0, shift - 25)
    - COPY_COST max(0, copies - 25); unknown figures cost nothing. The limits are soft, for a hard one would throw away
    the only cell that learned anything because a sixth robot of six came out wrong.
    """
    prompt = max(0.0, 100 * (KEEP_PROMPT - _or(cell.kept, 1.0)))
    drifted = max(0.0, _or(cell.drift.points.value, 0.0) - MOST_DRIFT)
    moved = max(0.0, _or(cell.drift.shift.value, 0.0) - MOST_SHIFT)
    copies = max(0.0, 100 * (_or(cell.memorised.share.value, 0.0) - MOST_MEMORISED))
    harm = PROMPT_COST * prompt + DRIFT_COST * drifted + SHIFT_COST * moved + COPY_COST * copies
    return 100 * _or(cell.fidelity.value, 0.0) - harm


def sure(figure: Interval) -> float:
    """The figure where its interval lies above 0, else 0: no verdict rests on what chance explains."""
    return figure.value if figure.low > 0 else 0.0


def keeps_limits(cell: Cell) -> bool:
    """Whether no soft limit is broken."""
    return (
        _or(cell.kept, 1.0) >= KEEP_PROMPT
        and sure(cell.drift.points) <= MOST_DRIFT
        and sure(cell.drift.shift) <= MOST_SHIFT
        and _or(cell.memorised.share.value, 0.0) <= MOST_MEMORISED
    )


def rank(cells: Sequence[Cell]) -> list[Cell]:
    """Best first."""
    return sorted(cells, key=lambda c: (-utility(c), c.dose))


def choose(cells: Sequence[Cell]) -> Cell:
    """The best cell, or a gentler one that is as good.

    One-standard-error rule (Breiman et al. 1984, section 3.4.3): of all cells whose utility is within one standard
    error of the best, the one with the least epoch x weight is taken, then the one that drifts least. Only cells judged
    on the most pictures take part: the best of many figures from few pictures is the luckiest.
    """
    most = max(c.images for c in cells)
    return min(as_good([c for c in cells if c.images == most]), key=_gentleness)


def finalists(cells: Sequence[Cell], count: int) -> list[Cell]:
    """Those worth a closer look: the best, of those as good as it the gentlest and the strongest, then the next best.

    On few pictures many cells look alike; both ends of them are looked at, for the best may lie at either.
    """
    order = rank(cells)
    near = sorted(as_good(cells), key=_gentleness)
    return _once([order[0], near[0], near[-1], *order])[:count]


def as_good(cells: Sequence[Cell]) -> list[Cell]:
    """The best and all within one standard error of it."""
    best = rank(cells)[0]
    line = utility(best) - 100 * _or(best.fidelity.error, 0.0)
    return [c for c in cells if utility(c) >= line]


def _once(cells: Sequence[Cell]) -> list[Cell]:
    # Cells hold dicts, so they have no hash.
    return list({id(c): c for c in cells}.values())


def _gentleness(cell: Cell) -> tuple[float, float]:
    return cell.dose, _or(cell.drift.points.value, 0.0)


def make_pick(cells: Sequence[Cell], base: Base) -> Pick:
    """The pick of all cells and its reason."""
    cell = choose(cells)
    return Pick(cell.weights, cell.weight, cell.epoch, explain(cell, cells, base))


def explain(cell: Cell, cells: Sequence[Cell], base: Base) -> str:
    """One sentence: what the pick shows, what it keeps, and why not another.

    `Epoch 6 at weight 0.8: shows the subject in 93 % of pictures (92-97), keeps 96 % of the base's prompt accuracy ...`
    """
    parts = [f"shows the subject in {_share(cell)}"]
    if not math.isnan(cell.kept):
        parts.append(f"keeps {min(cell.kept, 1.0):.0%} of the base's prompt accuracy".replace("%", " %"))
    if not math.isnan(cell.drift.points.value):
        parts.append(f"drifts {_points(cell.drift.points.value)}")
    if sure(cell.drift.shift) > MOST_SHIFT:
        parts.append(f"moves the class by {_points(cell.drift.shift.value)}")
    said = _and(parts)
    reason = _why_not_more(cell, cells)
    return f"{name_of(cell)}: {said}{'; ' + reason if reason else ''}."


def name_of(cell: Cell) -> str:
    return f"{cell.unit.capitalize()} {cell.epoch} at weight {cell.weight:g}"


def judge_run(cells: Sequence[Cell], base: Base) -> Verdict:
    """Learned, undertrained, overtrained or nothing changed, and the mend."""
    cell = choose(cells)
    strongest = max(cells, key=lambda c: _or(c.fidelity.value, 0.0))
    best = _or(strongest.fidelity.value, 0.0)
    at = f"{name_of(cell)}"
    moved = any(sure(c.drift.points) > MOST_DRIFT or sure(c.drift.shift) > MOST_SHIFT for c in cells)
    if best < NOTHING and not moved:
        why = f"No checkpoint draws the subject: the best has {max(0.0, 100 * best):.0f} of 100 points of fidelity."
        mend = (
            "Look whether the captions hold the trigger and the loss falls; then train with three times the "
            "learning rate or for three times as many epochs."
        )
        return Verdict("nothing changed", why, mend)
    if best < NOTHING:
        why = (
            f"The class moves, but the subject does not show yet: {max(0.0, 100 * best):.0f} of 100 points of fidelity."
        )
        return Verdict("undertrained", why, "Train twice as many epochs, with prior preservation to hold the class.")
    if not keeps_limits(cell):
        mend = (
            "Train fewer epochs or with half the learning rate, and hold the class by prior preservation "
            '(prior.source = "class", or a higher prior.weight).'
        )
        return Verdict("overtrained", f"Where the subject shows, the model {_damage(cell).removeprefix('it ')}.", mend)
    if cell.fidelity.value < LEARNED:
        last = max(c.epoch for c in cells)
        # A gentler cell may be picked while the subject shows more and more: what counts is where it shows most.
        rising = cell.epoch == last or (strongest.epoch == last and best < LEARNED)
        why = f"{at} shows the subject in {_share(cell)} only" + (", and it was still rising." if rising else ".")
        mend = (
            "Train twice as many epochs."
            if rising
            else "Train longer with half the learning rate, or with a higher rank."
        )
        return Verdict("undertrained", why, mend)
    why = f"{at} shows the subject in {_share(cell)} and still does as it is told."
    return Verdict("learned", why, _later_note(cell, cells))


def _why_not_more(cell: Cell, cells: Sequence[Cell]) -> str:
    """Why not a later epoch (or a higher weight): it is no better, or it costs too much."""
    later = [c for c in cells if c.dose > cell.dose]
    if not later:
        return "it was the last and strongest judged" if len(cells) > 1 else ""
    rival = max(later, key=lambda c: (_or(c.fidelity.value, 0.0), utility(c)))
    gain = 100 * (_or(rival.fidelity.value, 0.0) - _or(cell.fidelity.value, 0.0))
    name = f"{rival.unit} {rival.epoch} at {rival.weight:g}"
    better = f"shows {gain:.0f} points more of it" if gain >= 1.5 else "is no better"
    cost = _damage(rival)
    if cost:
        return f"{name} {better} {'but' if gain >= 1.5 else 'and'} {cost.removeprefix('it ')}"
    return f"{name} {better}" if gain < 1.5 else f"{name} {better}, within what chance explains"


def _damage(cell: Cell) -> str:
    """What a cell breaks, in words; empty where it keeps the limits."""
    broken = []
    if _or(cell.kept, 1.0) < KEEP_PROMPT:
        broken.append(f"keeps only {100 * cell.kept:.0f} % of the prompt accuracy")
    if sure(cell.drift.points) > MOST_DRIFT:
        broken.append(f"drifts {_points(cell.drift.points.value)}")
    if sure(cell.drift.shift) > MOST_SHIFT:
        broken.append(f"moves the class by {_points(cell.drift.shift.value)}")
    if _or(cell.memorised.share.value, 0.0) > MOST_MEMORISED:
        broken.append(f"copies training images in {100 * cell.memorised.share.value:.0f} % of pictures")
    return f"it {_and(broken)}" if broken else ""


def _later_note(cell: Cell, cells: Sequence[Cell]) -> str:
    worse = [c for c in cells if c.weight == cell.weight and c.epoch > cell.epoch and not keeps_limits(c)]
    return (
        f"From {cell.unit} {min(c.epoch for c in worse)} on the class suffers: next time stop there." if worse else ""
    )


def _and(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def _share(cell: Cell) -> str:
    s = cell.shown
    return f"{100 * s.value:.0f} % of pictures ({100 * s.low:.0f}-{100 * s.high:.0f})"


def _points(value: float) -> str:
    shown = f"{value:.0f}"
    return f"{shown} point{'s' * (shown != '1')}"


def _or(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value


def relative(path: Path, folder: Path) -> str:
    """A path as pick.json holds it."""
    return path.resolve().relative_to(folder.resolve()).as_posix()
