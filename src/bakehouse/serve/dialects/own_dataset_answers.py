"""Answers of the own API about datasets, their images and the trash, as OpenAPI describes them: see `own_answers`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bakehouse.serve.dialects.own_answers import Answer

# --- datasets ---------------------------------------------------------------------------------------------------------


class UndoableStep(Answer):
    """The step that `undo` would take back."""

    number: int
    operation: str


class DatasetRow(Answer):
    """A dataset."""

    name: str
    images: int
    captioned: int = Field(description="Images with a caption.")
    masks: int
    bytes: int
    changed: float = Field(description="Seconds since the epoch; 0: it has no images.")
    undo: UndoableStep | None
    cover: str | None = Field(description="Path of its first image.")


class DatasetsAnswer(Answer):
    """The datasets, by name."""

    datasets: list[DatasetRow]


class FolderRow(Answer):
    """A folder of a dataset."""

    path: str = Field(description="Empty: the dataset itself.")
    images: int


class DatasetAnswer(DatasetRow):
    """A dataset and its folders."""

    folders: list[FolderRow]


class StepRow(Answer):
    """A step of a dataset's journal."""

    number: int
    operation: str
    settings: dict[str, str]
    state: str = Field(description="`done` or `undone`.")
    time: float = Field(description="Seconds since the epoch.")
    changes: int = Field(description="Files that it has changed.")


class HistoryAnswer(Answer):
    """Steps, oldest first."""

    steps: list[StepRow]


class UndoneAnswer(Answer):
    """The step that was undone."""

    undone: StepRow


class FindingFix(Answer):
    """The command that fixes a finding."""

    operation: str | None = Field(description="To be sent to `/operations`; null: requests may not run it.")
    arguments: list[str]
    command: str = Field(description="As a command line.")


class AuditFinding(Answer):
    """One thing that an audit has found."""

    id: str
    level: str = Field(description="error, warning or info.")
    title: str
    why: str
    files: list[str]
    notes: dict[str, str] = Field(description="The figure of each file.")
    threshold: str
    fix: FindingFix | None
    advice: str = Field(description="What to do where no command can fix it.")
    unsure: bool = Field(description="Found by a rule of thumb: needs a look at the images.")
    key: str = Field(description="Distinguishes several findings of one check.")


class AuditFix(FindingFix):
    """One of the most effective commands."""

    findings: list[str] = Field(description="Names of the findings that it fixes.")
    images: int
    benefit: float = Field(description="Images affected x severity.")


class AuditReport(Answer):
    """The report of an audit."""

    dataset: str
    version: int
    images: int = Field(description="Usable images.")
    unusable: int
    exit_code: int = Field(description="1: there are errors.")
    findings: list[AuditFinding]
    fixes: list[AuditFix]
    passed: list[str] = Field(description="Checks that have found nothing.")
    skipped: dict[str, str] = Field(description="Why other checks were not run.")


class AuditAnswer(Answer):
    """The last audit of a dataset."""

    report: AuditReport
    stale: bool = Field(description="The dataset was changed since.")
    time: float | None = Field(description="Seconds since the epoch.")
    task: str


class OperationOption(Answer):
    """An option of a command."""

    name: str
    takes: str = Field(description="flag, number, text, name or word.")
    values: list[str] | None = Field(description="The words that it may be.")


class OperationRow(Answer):
    """A command that may be run on datasets."""

    name: str
    help: str
    takes_findings: bool
    options: list[OperationOption]


class OperationsAnswer(Answer):
    """The commands that may be run on datasets."""

    operations: list[OperationRow]


# --- images -----------------------------------------------------------------------------------------------------------


class RefusedFile(Answer):
    """A file that was not added."""

    name: str
    why: str


class UploadAnswer(Answer):
    """What was added, as one step."""

    added: list[str]
    refused: list[RefusedFile]
    step: int | None


class ImageRow(Answer):
    """An image of a dataset."""

    path: str
    width: int | None = Field(description="Null: it cannot be read.")
    height: int | None
    bytes: int
    changed: float = Field(description="Seconds since the epoch.")
    caption: str | None
    tags: list[str]
    mask: bool
    findings: list[str] = Field(description="Ids of the last audit's findings about it.")


class ImagesAnswer(Answer):
    """A page of the images that were asked for."""

    total: int
    offset: int
    images: list[ImageRow]


class TagCount(Answer):
    """A tag and the images that have it."""

    tag: str
    count: int


class DatasetTagsAnswer(Answer):
    """The tags of a dataset, the most frequent first."""

    tags: list[TagCount]


class StepAnswer(Answer):
    """The step that a change has made."""

    step: int | None = Field(description="Its number; null: nothing has changed.")


class CaptionsAnswer(StepAnswer):
    """Captions that were written."""

    changed: list[str] = Field(description="Images whose caption is another one now.")


class CaptionChange(Answer):
    """The change of one caption."""

    path: str
    before: str | None
    after: str


class TagChangesAnswer(StepAnswer):
    """Changes of captions; a preview has no step."""

    changes: list[CaptionChange]


class TriggersAnswer(Answer):
    """The triggers of a dataset."""

    triggers: list[dict[str, Any]] = Field(description="As `[[triggers]]` in a recipe.")
    explanation: dict[str, Any] | None = Field(description="As `bakehouse triggers explain --json` prints it.")
    captions: list[CaptionChange] = Field(description="The first captions that compiling would change.")
    changes: int = Field(description="How many it would change.")
    problem: str = Field(description="Why they cannot be explained; empty if they can.")


class TriggersStepAnswer(Answer):
    """The step that has declared triggers."""

    step: StepRow | None = Field(description="Null: nothing has changed.")


# --- drawn images -----------------------------------------------------------------------------------------------------


class CandidateRow(Answer):
    """A drawn image that waits for an answer, or has one."""

    name: str
    state: Literal["waiting", "refused", "added"]
    prompt: str
    caption: str
    fidelity: float | None
    prompt_score: float | None
    nearest: str | None = Field(description="The image of the dataset that is most like it.")


class DroppedCandidate(Answer):
    """A drawn image that was not kept."""

    name: str
    prompt: str
    reason: str


class CandidateSet(Answer):
    """Drawn images of one run."""

    run: str
    key: str
    weights: str
    strength: float
    candidates: list[CandidateRow]
    dropped: list[DroppedCandidate]


class CandidatesAnswer(Answer):
    """Drawn images for a dataset, of all runs."""

    sets: list[CandidateSet]


# --- the trash --------------------------------------------------------------------------------------------------------


class TrashRow(Answer):
    """What was deleted and can be restored."""

    id: str
    kind: Literal["dataset", "run", "publication"]
    name: str
    deleted: float = Field(description="Seconds since the epoch.")


class TrashAnswer(Answer):
    """The trash, newest first."""

    trash: list[TrashRow]


class TrashedAnswer(Answer):
    """Where something was moved."""

    trash: TrashRow


class NotKept(Answer):
    """What was deleted and had nothing to restore: a training that has not begun."""

    id: None
    kind: Literal["run"]
    name: str


class DeletedRunAnswer(Answer):
    """Where a run was moved."""

    trash: TrashRow | NotKept


class RestoredAnswer(Answer):
    """What was restored."""

    restored: TrashRow


class DeletedForGoodAnswer(Answer):
    """What was deleted for good."""

    deleted: TrashRow
