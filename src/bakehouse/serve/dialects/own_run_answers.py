"""Answers of the own API about runs, plans and prompts, as OpenAPI describes them: see `own_answers`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bakehouse.serve.dialects.own_answers import Answer

# --- runs -------------------------------------------------------------------------------------------------------------


class RunAnswer(Answer):
    """A run; times in seconds since the epoch."""

    name: str
    title: str
    kind: str
    subject: str
    base: str
    job: int | None = Field(description="Its number in the queue; null: it was not queued here.")
    state: Literal["waiting", "running", "stopping", "stopped", "failed", "done"]
    place: int | None = Field(description="In the queue, from 1; null if it does not wait.")
    waits_for: str = Field(description="What keeps the next one from beginning; empty: nothing.")
    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float | None = Field(description="Mean of the last steps.")
    seconds_left: float | None
    stopped: str = Field(description="Why it ended before its last step.")
    error: str
    warnings: list[str]
    added: float | None
    started: float | None
    ended: float | None
    device: str
    weights: list[str] = Field(description="Files that it has saved.")
    samples: int
    report: bool = Field(description="Whether it was evaluated.")
    served: str | None = Field(description="The model that it is offered as.")


class RunsAnswer(Answer):
    """All runs: waiting ones in their order, then the others, newest first."""

    runs: list[RunAnswer]
    problem: str = Field(description="Why no training begins; empty if one can.")


class RecipeAnswer(Answer):
    """A recipe."""

    toml: str
    recipe: dict[str, Any] = Field(description="The same as values.")


class Decision(Answer):
    """A setting that the plan chose."""

    key: str
    value: Any
    reason: str


class Bucket(Answer):
    """A bucket and the images in it."""

    bucket: tuple[int, int] = Field(description="Width and height in pixels.")
    images: int = Field(description="With repeats.")
    batches: int
    partial: int = Field(description="Images in the last batch if it is not full, else 0.")
    largest_scale: float
    most_lost: float = Field(description="Largest share of an image that is cropped.")


class Estimate(Answer):
    """Estimated time, memory and disk; accurate within a factor of two."""

    seconds: float
    memory_bytes: int = Field(description="On each device.")
    disk_bytes: int
    device: str
    devices: int
    traffic_bytes: int = Field(description="That each device sends, and receives, in a step.")
    traffic_seconds: float
    divided: bool = Field(description="The devices share the weights.")
    otherwise: Estimate | None = Field(description="With the other choice of sharing; null where there is none.")


class PlannedImage(Answer):
    """An image of a plan."""

    path: str
    sha256: str
    bucket: tuple[int, int]
    repeats: int
    prior: bool = Field(description="A class image.")


class _PlanFigures(Answer):
    """What every plan has."""

    recipe: dict[str, Any] = Field(description="Every setting with the value that it has in the training.")
    decisions: list[Decision]
    warnings: list[str]
    class_images: int = Field(description="Class images that are generated.")
    buckets: list[Bucket]
    epochs: int
    steps_per_epoch: int
    steps: int
    estimate: Estimate


class PlanAnswer(_PlanFigures):
    """A plan of a training that was not begun."""

    summary: list[str]
    images: int = Field(description="Images of the subject.")
    asked: dict[str, Any] = Field(description="The settings that were given.")
    toml: str = Field(description="The recipe, with paths relative to the datasets.")
    idle: dict[str, str] = Field(description="Settings that do nothing in it, with the reason.")


class RunPlanAnswer(_PlanFigures):
    """The plan that a run has begun with."""

    images: list[PlannedImage]


class LossesAnswer(Answer):
    """Columns with one row for each span of steps; null: the span has no such value."""

    step: list[int] = Field(description="The last of each span.")
    epoch: list[int]
    loss: list[float | None]
    subject: list[float | None]
    prior: list[float | None]
    rates: dict[str, list[float | None]] = Field(description="Learning rates by parameter group.")
    images_per_s: list[float | None]


class SampleRow(Answer):
    """A sample image."""

    step: int
    epoch: int
    number: int = Field(description="Of its prompt, from 0.")
    prompt: str
    url: str


class SamplesAnswer(Answer):
    """Sample images, by step and number."""

    samples: list[SampleRow]


class ReportAnswer(Answer):
    """An evaluation."""

    scores: dict[str, Any] = Field(description="As `report/scores.json` has them.")
    files: list[str]


class OfferedModelAnswer(Answer):
    """The model that a run is offered as."""

    name: str
    run: str
    weights: str | None = Field(description="The file that was chosen; null: the evaluation's pick, or the last.")


class RemovedAnswer(Answer):
    """What was removed."""

    removed: str


class SliderPlace(Answer):
    """What was measured of a slider at one strength."""

    strength: float
    position: float = Field(description="How much further it is to the positive prompt than the base.")
    health: float = Field(description="The base's error over that on its own images: 1 is as usual.")
    images: list[str] = Field(description="Addresses, in the order of their seeds.")


class SliderAnswer(Answer):
    """A slider's prompts and range."""

    name: str
    prompts: list[dict[str, Any]] = Field(description="As `slider.prompts` in its recipe.")
    keep: list[str]
    low: float = Field(description="Lowest useful strength.")
    high: float
    preferred: float
    places: list[SliderPlace]
    strip: str = Field(description="Address of a picture from end to end.")
    sample: dict[str, Any] = Field(description="Settings that the images were drawn with.")


# --- blind tests ------------------------------------------------------------------------------------------------------


class Score(Answer):
    """A figure with its interval; null: not known."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Contender(Answer):
    """The base, or weights at a strength. The base has no figures: they are left out."""

    name: str
    picked: bool = Field(description="The evaluation's choice.")
    weights: str | None = None
    weight: float | None = Field(None, description="The strength.")
    epoch: float | None = None
    images: int | None = None
    fidelity: Score | None = None
    shown: Score | None = None


class BlindTestResult(Answer):
    """How often the second of two was chosen."""

    question: str
    first: str
    second: str
    votes: int
    same: int = Field(description="Votes that saw no difference.")
    share: Score = Field(description="Of the decided votes, those for the second.")


class BlindTestAnswer(Answer):
    """Who can be compared, and the results so far."""

    contenders: list[Contender]
    held_out: bool = Field(description="Whether the photos were not trained on.")
    references: list[str] = Field(description="Addresses of photos of the subject.")
    results: list[BlindTestResult]


class BlindPair(Answer):
    """A pair of pictures."""

    number: int
    prompt: str
    answered: bool


class BlindPairsAnswer(Answer):
    """Pairs, shuffled."""

    pairs: list[BlindPair]


class VoteAnswer(Answer):
    """A vote that was counted."""

    id: str


# --- plans ------------------------------------------------------------------------------------------------------------


class BaseChoice(Answer):
    """A base model that can be named."""

    name: str
    served: bool
    where: Literal["here", "hub"]


class PresetsAnswer(Answer):
    """What a training can be made from."""

    kinds: list[str]
    default_base: str
    bases: list[BaseChoice]


class BaseRow(Answer):
    """A base model."""

    name: str
    origin: Literal["package", "catalogue", "own", "hub"]
    is_here: bool = Field(description="Whether it is on this machine; if not, it can be fetched.")
    family: str
    what: str
    licence: str = Field(description="Empty: not known.")
    bytes: int | None
    page: str = Field(description="Address of a page about it.")
    removes: Literal["files", "name", ""] = Field(description="What `DELETE` takes away.")
    conventions: dict[str, Any] | None = Field(description="How it is usually asked for images.")
    served: bool


class BasesAnswer(Answer):
    """The base models that can be trained on."""

    bases: list[BaseRow]


# --- prompts ----------------------------------------------------------------------------------------------------------


class NamedAdapter(Answer):
    """An adapter that a prompt names."""

    name: str
    text: float = Field(description="Strength on the text encoders.")
    unet: float


class PromptPart(Answer):
    """A piece of a prompt that is shown in one way."""

    text: str
    kind: str = Field(description="text, syntax, switch, alternation, break, and, tag, comment or stray.")
    weight: float


class PromptNode(Answer):
    """A node of the syntax tree, in words."""

    text: str
    inside: list[PromptNode] = Field(default_factory=list, description="Left out where there is nothing in it.")


class PromptAnswer(Answer):
    """How a prompt is read."""

    warnings: list[str]
    adapters: list[NamedAdapter]
    parts: list[PromptPart] = Field(description="Joined, they are the prompt.")
    negative_parts: list[PromptPart]
    tree: list[PromptNode]


class TagCompletion(Answer):
    """A tag of a vocabulary."""

    tag: str
    count: int | None = Field(description="Images with it that the base model has seen; null: not known.")


class CompletionsAnswer(Answer):
    """Tags that complete what was typed."""

    tags: list[TagCompletion]


class RecalledAnswer(Answer):
    """The settings that a picture was made with."""

    request: dict[str, Any] = Field(description="As `/api/v1/draw` takes them.")
    model: str | None = Field(description="The served model that it names.")
    notes: list[str] = Field(description="What was left out.")


class TemplateRow(Answer):
    """A template."""

    name: str
    sentence: str
    tags: str
    negative: str
    slots: list[str]


class TemplateSetRow(Answer):
    """A set of templates."""

    name: str
    about: str
    prompts: list[TemplateRow]


class TemplatesAnswer(Answer):
    """The library of templates."""

    templates: list[TemplateSetRow]


class FilledAnswer(Answer):
    """The prompt that a template comes to."""

    prompt: str
    negative: str
