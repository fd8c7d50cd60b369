"""Settings of an examination, and the thresholds of the checks with the reason for each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bakehouse.core.settings import Spec

Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=1)]


class Limits(Spec):
    """Thresholds of the checks. Those of images that `bakehouse evaluate` has as well are in `evaluation.selection`."""

    change_small: Annotated[float, Field(ge=0)] = 2.0**-12
    """Least norm of the change, as a share of the norm of the base's weights (A08). Half precision rounds a weight by
    up to 2^-11 of its value, so that a smaller change is lost when the adapter is merged."""
    change_large: Annotated[float, Field(gt=0)] = 0.5
    """Largest norm of the change, as a share of the norm of the base's weights (A08). A change half as large as the
    weights replaces the base rather than adapts it."""
    interference: Share = 0.2
    """Share of an adapter's own change that another one may undo or add (B03, B04). `bakehouse evaluate` compares
    strengths in steps of 0.2: a difference of one step is visible."""
    rate: Factor = 4.0
    """Factor between the learning rate and the plan's (C03). Measured on crumb (docs/learning-rate.md): four times the
    best rate destroys the model (score -139 after 92), a quarter of it learns next to nothing (score 4 after 70)."""
    loss_rise: Share = 0.2
    """Rise of the subject's loss from the first to the last fifth of the steps (C04), if it is more than chance."""
    exposures: Factor = 2.0
    """Factor between the images that were shown and those of the plan (C05). Measured on crumb (docs/learning-rate.md):
    with half as many steps at the same learning rate, fidelity was 39 instead of 92."""
    trigger_share: Share = 0.5
    """Share of a subject's images whose captions must have its trigger (C06)."""
    captions_alike: Share = 0.9
    """Share of the images with one and the same caption (C07)."""
    captions: Annotated[int, Field(ge=2)] = 4
    """Fewest images whose captions are compared (C07)."""
    face_sharpness: Share = 0.5
    """Sharpness of faces as a share of that in the photos and the base's images (D06): half of the variance of the
    Laplacian, the measure with which the audit finds blurred images (B05)."""
    separation: Share = 0.5
    """Separation of two triggers' images as a share of that of their photos (D07): half way, as subject fidelity counts
    from half way on."""
    taken_over: Share = 0.5
    """Share of another trigger's images that show an outfit (D08): most of them."""


class DoctorSpec(Spec):
    """How to examine."""

    base: str | None = None
    """Base model to compare adapters with. Default: the one that the run or the file names."""
    programs: tuple[str, ...] = ()
    """Programs that must load the file: then one that does not is an error."""
    draw: Annotated[int, Field(ge=0, le=1000)] = 0
    """Images to generate for the checks of images: of each trigger, and of an evaluation if there is none yet."""
    device: str = "auto"
    """Device on which images are generated."""
    limits: Limits = Limits()
