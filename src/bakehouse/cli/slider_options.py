"""Options that describe a slider: `bakehouse plan --kind slider --target person --positive ... --negative ...`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from bakehouse.cli.help_panels import SLIDER
from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from bakehouse.recipe import Recipe

_EXAMPLE = '--kind slider --target person --positive "person, big smile" --negative "person, frown"'


@dataclass(frozen=True)
class SliderOptions:
    """A slider in words; `expand_option_groups` makes an option of each field."""

    panel: ClassVar[str] = SLIDER

    target: Annotated[str | None, typer.Option(metavar="PROMPT", help="Prompt whose images change, e.g. person.")] = (
        None
    )
    positive: Annotated[
        str | None, typer.Option(metavar="PROMPT", help="What strength 1 shows, e.g. person, big smile.")
    ] = None
    negative: Annotated[
        str | None, typer.Option(metavar="PROMPT", help="What strength -1 shows, e.g. person, frown.")
    ] = None
    keep: Annotated[str | None, typer.Option(metavar="WORDS", help="Attributes to hold, separated by commas.")] = None
    positive_images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Images of strength 1, instead of training on prompts.")
    ] = None
    negative_images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Images of strength -1, with the same names.")
    ] = None

    @property
    def given(self) -> list[str]:
        """The options that were given."""
        return [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None]

    def recipe(self, *, kind: str | None, subject: str | None, base: str | None) -> Recipe:
        """Return the slider's recipe.

        Raises:
            UsageError: its prompts are missing, or other options do not belong to a slider.
        """
        from bakehouse.recipe import recipe_for_slider

        if kind not in (None, "slider"):
            raise UsageError(f"{self.given[0]} describes a slider, not --kind {kind}", hint=f"write {_EXAMPLE}")
        if subject is not None:
            raise UsageError("--subject is for training on images; a slider has --target", hint=f"write {_EXAMPLE}")
        if self.target is None or self.positive is None:
            missing = "--target" if self.target is None else "--positive"
            raise UsageError(f"a slider needs {missing}", hint=f"write {_EXAMPLE}")
        if (self.positive_images is None) != (self.negative_images is None):
            missing = "--positive-images" if self.positive_images is None else "--negative-images"
            raise UsageError(f"a slider from images needs {missing} too", hint="images of one name belong together")
        images = {}
        if self.positive_images is not None and self.negative_images is not None:
            images = {1.0: self.positive_images, -1.0: self.negative_images}
        keep = [words.strip() for words in (self.keep or "").split(",") if words.strip()]
        return recipe_for_slider(
            self.target, self.positive, self.negative or "", keep=keep, images=images, base=base or BUNDLED_BASE
        )
