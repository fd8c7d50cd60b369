"""Make collages of two folders of images in a third one, as one step that can be undone; both folders are only read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Noted, OnEvent, ignore, progress_callback, result_of
from bakehouse.core.files import writing_to
from bakehouse.curation.apply_and_undo import apply_proposals, recover
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.collage.collage import Collage
from bakehouse.curation.collage.collage_captions import subject_of
from bakehouse.curation.collage.cut_out import find_cut_outs
from bakehouse.curation.journal import Step
from bakehouse.curation.operation import take_proposals
from bakehouse.curation.preview_page import write_preview
from bakehouse.data.image_records import ImageSet
from bakehouse.data.scan import scan
from bakehouse.data.tag_groups import plain

OPERATION = "collage"


@dataclass(frozen=True)
class CollageResult:
    """What was proposed, and the step that wrote it."""

    proposals: tuple[Proposal, ...]
    step: Step | None
    """None if nothing was written."""


def collage_folders(
    a: Path | str,
    b: Path | str,
    out: Path | str,
    spec: Collage,
    *,
    dry_run: bool = False,
    preview: Path | None = None,
    on_event: OnEvent = ignore,
) -> CollageResult:
    """Make collages of the subjects of two folders in `out`, with captions.

    The same settings make the same collages: a repeated call changes nothing, another seed adds to the folder.

    Args:
        a: images of the first subject; masks or alpha say what is cut out.
        b: images of the second.
        out: the dataset that gets the collages, new or existing.
        spec: the settings.
        dry_run: only report what would be made.
        preview: write an HTML page with the collages, and nothing else.
        on_event: called with progress, notes and warnings.

    Raises:
        UsageError: a folder has no images or masks, its trigger is not known, or nothing fits side by side.
        Problems: a background is neither a colour nor an image.
    """
    out = Path(out)
    sets = [scan(folder) for folder in (a, b)]
    _check_apart(out, sets)
    subjects = _subjects(sets, spec)
    if not spec.pair:
        on_event(Noted(message="captions have no word for the pair; --pair WORD gives it one"))
    cut_outs = [result_of(find_cut_outs(images, spec.masks), on_event) for images in sets]
    for images, found in zip(sets, cut_outs, strict=True):
        if not found:
            raise UsageError(
                f"{images.root}: nothing can be cut out",
                hint=f"`bakehouse dataset mask {images.root}` makes masks; images must show the subject whole, "
                "or cut it off at the lower edge alone",
            )
    made = tuple(take_proposals(spec.collages(cut_outs[0], cut_outs[1], subjects), on_event))
    if preview is not None:
        write_preview(
            preview, OPERATION, ImageSet((), root=out), made, progress=progress_callback(on_event, "previewing")
        )
    if dry_run or preview is not None:
        return CollageResult(made, None)
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    recover(out)
    settings = {"a": str(Path(a).resolve()), "b": str(Path(b).resolve()), **spec.settings(mode="json")}
    step = apply_proposals(
        out,
        OPERATION,
        made,
        settings=settings,
        progress=progress_callback(on_event, "making collages"),
        on_event=on_event,
    )
    return CollageResult(made, step)


def _check_apart(out: Path, sets: list[ImageSet]) -> None:
    roots = [images.root.resolve() for images in sets]
    if roots[0] == roots[1]:
        raise UsageError(f"{sets[0].root} is given twice", hint="a collage needs the images of two subjects")
    for images, root in zip(sets, roots, strict=True):
        if out.resolve() == root or root in out.resolve().parents:
            raise UsageError(
                f"-o {out} is in {images.root}, whose images are cut out",
                hint="choose a folder of its own: the pair is a group beside those of its subjects",
            )


def _subjects(sets: list[ImageSet], spec: Collage) -> tuple[str, str]:
    options = ("--trigger-a", "--trigger-b")
    first, second = (
        subject_of(images.root, images, given, option)
        for images, given, option in zip(sets, spec.triggers, options, strict=True)
    )
    words = [plain(first), plain(second), *([plain(spec.pair)] if spec.pair else [])]
    if len(set(words)) < len(words):
        raise UsageError(
            f"the words {', '.join(words)} are not all different",
            hint="each subject and the pair need words of their own: --trigger-a, --trigger-b, --pair",
        )
    return first, second
