"""The facts of an examination: of adapter files, pairs of them, a run, and the images of its evaluation.

Everything here is plain data; `gather_facts` and the modules beside it read files and measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bakehouse.core.events import Failed, Step
    from bakehouse.evaluation.checkpoint_scores import ScoredCheckpoint
    from bakehouse.evaluation.metrics import Interval
    from bakehouse.evaluation.result import Report
    from bakehouse.evaluation.trigger_groups import TriggerScores
    from bakehouse.recipe import Recipe
    from bakehouse.weights.adapter_info import AdapterInfo

Input = Literal["adapter", "base", "pair", "run", "inputs", "plan", "evaluation", "other images", "faces", "outfits"]
"""What a check needs. `base`: an adapter's base model; `inputs`: the run's inputs.json; `plan`: what a plan of the same
images would choose; `other images`, `faces`: measured on an evaluation's images; `outfits`: images of each trigger."""


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BaseFacts:
    """An adapter beside a base model."""

    name: str
    family: str
    """`sd1`, `sd2`, `sdxl`."""
    prediction: str
    """`epsilon` or `v_prediction`; empty if the model's settings do not say."""
    missing: tuple[str, ...]
    """Modules of the adapter that the base does not have."""
    misfits: tuple[str, ...]
    """Modules whose shape differs from the base's."""
    change: float | None
    """Norm of all changes as a share of the norm of the weights that they change; None if no module was comparable."""


@dataclass(frozen=True)
class AdapterFacts:
    """One adapter file."""

    path: str
    info: AdapterInfo
    families: tuple[str, ...]
    """Families that it may be for; empty if it is for another one."""
    trained_for: str
    """What modules and header say of its base, in words; empty if nothing."""
    prediction: str
    """Prediction type of the header; empty if it names none."""
    zero: Mapping[str, tuple[int, int]]
    """By network: modules whose change is zero, and all whose change is known."""
    alpha_zero: int
    """Modules with an alpha of 0."""
    tags: Mapping[str, int]
    """How many captions had each tag, by the header; empty if it does not say."""
    prefix: str
    """What the training put in front of each caption, by the recipe in the header."""
    conversions: Mapping[str, str]
    """For each program that does not load the file, the command whose result it loads, where there is one."""
    base: BaseFacts | None = None


@dataclass(frozen=True)
class NetworkOverlap:
    """The changes of two adapters in the modules that both change, of one network."""

    network: str
    modules: int
    skipped: int
    """Modules of both whose changes need the base model to be computed."""
    cosine: float
    """Between the two changes, all modules as one vector."""
    kept: tuple[float, float]
    """How much of its own change each adapter has left beside the other, at strength 1: 1 = all of it, 0.6 = a part is
    undone, 1.4 = a part is added twice."""
    most_opposed: tuple[str, float]
    """The module with the lowest cosine."""


@dataclass(frozen=True)
class PairFacts:
    """Two adapter files beside each other."""

    first: AdapterFacts
    second: AdapterFacts
    overlaps: tuple[NetworkOverlap, ...]
    """One for each network that both change; empty if they share no module."""


# --- a run ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TriggerCaptions:
    """How often a trigger is in the captions of its images."""

    word: str
    subject: str
    """Trigger and class word."""
    folder: str
    images: int
    with_it: int
    example: str
    """A caption without it; empty if there is none."""


@dataclass(frozen=True)
class InputFacts:
    """What the run's inputs.json tells of its images."""

    images: int
    captions: Mapping[str, int]
    """Number of images with each caption, without triggers and subjects."""
    triggers: tuple[TriggerCaptions, ...]
    exposures: int
    """Images of the subject that were shown so far, with repeats."""


@dataclass(frozen=True)
class PlanFacts:
    """What a plan chooses today for the images of the run, where nothing is given."""

    lr: float | None
    exposures: int
    prior: str
    """Source of the class images that is usual for this kind of subject."""


@dataclass(frozen=True)
class RunFacts:
    """A run: its recipe and what happened."""

    folder: str
    recipe: Recipe
    started: bool
    finished: bool
    planned_steps: int
    steps: tuple[Step, ...]
    failed: Failed | None
    """How the run ended, if it failed and was not resumed."""
    inputs: InputFacts | None = None
    plan: PlanFacts | None = None


# --- images -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FaceFacts:
    """Faces in the images of an evaluation."""

    broken: Interval | None
    """Share of the subject's images whose face the scorer calls smeared or melted; None if it does not judge faces."""
    broken_of_base: Interval | None
    sharpness: Interval | None
    """Sharpness of the subject's faces as a share of that of the photos' or the base's, whichever is lower."""


@dataclass(frozen=True)
class EvaluationFacts:
    """The results of `bakehouse evaluate`, and further measurements of its images."""

    report: Report
    shown: ScoredCheckpoint
    """The checkpoint and strength that the verdict speaks of."""
    other_shift: Interval | None = None
    """How far images of other subjects moved from the base's, in % of the distance from the base to the subject."""
    faces: FaceFacts | None = None


# --- all of it --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """All that the checks are given."""

    adapters: tuple[AdapterFacts, ...] = ()
    programs: tuple[str, ...] = ()
    """Programs that must load the files."""
    pairs: tuple[PairFacts, ...] = ()
    run: RunFacts | None = None
    evaluation: EvaluationFacts | None = None
    outfits: TriggerScores | None = None
    missing: Mapping[Input, str] = field(default_factory=dict)
    """Why an input is not there, and the command that makes it."""
