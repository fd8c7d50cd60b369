"""Facts of an evaluation: its scores, and further measurements of its images. No image is generated here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from bakehouse.audit.image_stats import sharpness
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.run_folder import Run
from bakehouse.data.open_image import open_image
from bakehouse.doctor.facts import EvaluationFacts, FaceFacts, Input
from bakehouse.evaluation.checkpoint_scores import ScoredCheckpoint
from bakehouse.evaluation.image_cache import center_square
from bakehouse.evaluation.image_checks import MAX_PHOTOS, MAX_PHOTOS_BROKEN
from bakehouse.evaluation.image_scorers import ImageScorer
from bakehouse.evaluation.metrics import UNKNOWN, Floats, Interval, mean_interval, proportion
from bakehouse.evaluation.prior_drift import mean_shift
from bakehouse.evaluation.prompt_set import Series
from bakehouse.evaluation.result import Report
from bakehouse.vision.faces import FaceDetector, load_face_detector

MIN_FACES = 4
"""With fewer faces in the photos, the base's images or the subject's no sharpness is compared."""
FACE_SIDE = 64
"""Side in pixels to which faces are scaled before their sharpness is compared."""


def read_evaluation(run: Run) -> EvaluationFacts:
    """Return the results of a run's last evaluation.

    Raises:
        UsageError: it was not evaluated, or by another version.
        BakehouseError: the results are damaged.
    """
    report = Report.load(run)
    return EvaluationFacts(report, report.shown)


def look_at_images(
    facts: EvaluationFacts, scorer: ImageScorer, detector: FaceDetector | None
) -> tuple[EvaluationFacts, dict[Input, str]]:
    """Measure what the scores do not tell on the images of an evaluation.

    Args:
        facts: of `read_evaluation`.
        scorer: embeds images, and may judge faces.
        detector: of faces; None: none is installed.

    Returns:
        The facts, and why some are not known.
    """
    report, shown = facts.report, facts.shown
    try:
        photos = [center_square(open_image(p)) for p in report.references[:MAX_PHOTOS]]
    except BakehouseError as e:
        reason = f"the images of the training are gone: {e.message}"
        return facts, {"other images": reason, "faces": reason}
    missing: dict[Input, str] = {}
    shift = _other_shift(report, shown, photos, scorer)
    if shift is None:
        command = f"bakehouse evaluate {shlex.quote(str(report.folder.parent))} --set images=8"
        missing["other images"] = f"the evaluation has too few images of other subjects: {command}"
    faces = _faces(report, shown, photos, scorer, detector)
    if faces is None:
        missing["faces"] = (
            "too few faces were found in the images"
            if detector is not None
            else "no face detector is installed: bakehouse models fetch animeface centerface"
        )
    return replace(facts, other_shift=shift, faces=faces), missing


def installed_face_detector() -> FaceDetector | None:
    """Return the face detector that is installed; None if there is none."""
    try:
        return load_face_detector()
    except UsageError:
        return None


def _images(report: Report, cell: ScoredCheckpoint | None, series: Series, count: int) -> dict[int, Image.Image]:
    """Return the images of a series that are still there, by their number."""
    paths: Mapping[int, Path | None] = {i: report.image_path(cell, series, i) for i in range(count)}
    return {i: open_image(path) for i, path in paths.items() if path is not None and path.is_file()}


def _other_shift(
    report: Report, shown: ScoredCheckpoint, photos: Sequence[Image.Image], scorer: ImageScorer
) -> Interval | None:
    """Return how far images of other subjects moved, in % of the distance from the base's class to the subject."""
    count = len(report.prompts.other)
    after, before = (_images(report, cell, "other", count) for cell in (shown, None))
    both = [i for i in after if i in before]
    of_class = list(_images(report, None, "class", shown.images).values())
    if len(both) < 2 or not of_class or not photos:
        return None
    embedded = [np.asarray(scorer.embed([some[i] for i in both]), dtype=np.float64) for some in (after, before)]
    ends = [np.asarray(scorer.embed(some), dtype=np.float64).mean(axis=0) for some in (photos, of_class)]
    distance = float(np.linalg.norm(ends[0] - ends[1]))
    return mean_shift(embedded[0] - embedded[1]).scaled(100 / distance) if distance > 0 else None


def _faces(
    report: Report,
    shown: ScoredCheckpoint,
    photos: Sequence[Image.Image],
    scorer: ImageScorer,
    detector: FaceDetector | None,
) -> FaceFacts | None:
    """Return what is known of faces: by the scorer if it judges the photos right, and by their sharpness."""
    subject = list(_images(report, shown, "subject", shown.images).values())
    of_base = list(_images(report, None, "class", shown.images).values())
    if not subject or not of_base:
        return None
    of_photos = scorer.broken(photos) if photos else None
    broken = broken_of_base = None
    if of_photos is not None and float(of_photos.mean()) <= MAX_PHOTOS_BROKEN:
        seen = [scorer.broken(images) for images in (subject, of_base)]
        broken, broken_of_base = (proportion(s) if s is not None else None for s in seen)
    sharp = relative_sharpness(subject, of_base, photos, detector) if detector is not None else None
    return FaceFacts(broken, broken_of_base, sharp) if broken is not None or sharp is not None else None


def relative_sharpness(
    subject: Sequence[Image.Image],
    of_base: Sequence[Image.Image],
    photos: Sequence[Image.Image],
    detect: FaceDetector,
) -> Interval | None:
    """Return the mean sharpness of the subject's faces as a share of that of the photos' or the base's faces.

    The lower of the two counts: a base that draws soft faces is no fault of the training. None with too few faces.
    """
    values = [_sharpness_of_faces(images, detect) for images in (subject, of_base, photos)]
    if any(len(v) < MIN_FACES for v in values):
        return None
    usual = min(float(v.mean()) for v in values[1:])
    return mean_interval(values[0]).scaled(1 / usual) if usual > 0 else UNKNOWN


def _sharpness_of_faces(images: Sequence[Image.Image], detect: FaceDetector) -> Floats:
    """Return the variance of the Laplacian of each image's main face, all scaled to one size."""
    found = []
    for image in images:
        if faces := detect(image.convert("RGB")):
            face = image.convert("L").crop(tuple(round(x) for x in faces[0].box))  # type: ignore[arg-type]
            if min(face.size) >= 3:
                found.append(sharpness(face.resize((FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC)))
    return np.asarray(found, dtype=np.float64)
