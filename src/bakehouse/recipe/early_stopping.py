"""Settings for ending a run before its last step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bakehouse.core.setting_needs import Needs, one_of
from bakehouse.core.settings import Spec

_LEARNED = Needs(one_of("when", "learned"))


class StopSpec(Spec):
    """When a run ends: at its last step, or earlier if more training brings no improvement."""

    when: Literal["done", "learned"] = "done"
    """`learned`: all weights that are saved on the way are judged as `bakehouse evaluate` does it, at weight 1, and the
    run ends once the subject shows and what came later is no better than chance explains, or the class drifts."""
    shown: Annotated[float, Field(gt=0, le=1), _LEARNED] = 0.8
    """Share of the pictures that must show the subject; before that no run is ended."""
    patience: Annotated[int, Field(ge=1, le=1000), _LEARNED] = 1
    """Saved weights after the best that may be no better before the run ends."""
    drift: Annotated[float, Field(gt=0, le=100), _LEARNED] = 15.0
    """Points of prior drift above which a run ends at once, if the subject shows."""
    images: Annotated[int, Field(ge=2, le=10_000), _LEARNED] = 12
    """Pictures of the subject that are judged each time; as many of the class."""
