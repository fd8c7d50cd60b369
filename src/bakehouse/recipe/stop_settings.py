"""Settings for ending a run before its last step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bakehouse.core.setting_needs import Needs, one_of
from bakehouse.core.settings import Spec

_LEARNED = Needs(one_of("when", "learned"))
_SETTLED = Needs(one_of("when", "settled"))
_EARLY = Needs(one_of("when", "learned", "settled"))


class StopSpec(Spec):
    """When a run ends: at its last step, or earlier if more training brings no improvement."""

    when: Literal["done", "learned", "settled"] = "done"
    """`done`: at the last step. `learned`: all saved weights are evaluated as by `bakehouse evaluate`, at strength 1;
    the run ends once the subject is shown and later weights are not significantly better, or the class drifts.
    `settled`: a slider ends once its two ends hardly change from one epoch to the next."""
    shown: Annotated[float, Field(gt=0, le=1), _LEARNED] = 0.8
    """Minimum share of images that show the subject, for a run to end early."""
    patience: Annotated[int, Field(ge=1, le=1000), _EARLY] = 1
    """Number of saved weights after the best ones that may bring no improvement before the run ends. `settled`: number
    of epochs in a row in which the ends hardly change."""
    change: Annotated[float, Field(gt=0, le=1), _SETTLED] = 0.1
    """Change of a slider's ends in an epoch, as a share of their distance, below which they hardly change."""
    drift: Annotated[float, Field(gt=0, le=100), _LEARNED] = 15.0
    """Prior drift, in points, above which a run ends at once if the subject is shown."""
    images: Annotated[int, Field(ge=2, le=10_000), _LEARNED] = 12
    """Number of images of the subject to evaluate each time, and of the class."""
