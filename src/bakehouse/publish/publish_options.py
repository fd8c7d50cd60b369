"""Settings of a publication."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bakehouse.core.settings import Spec


class PublishSpec(Spec):
    """What is published of a run, and how it is described."""

    weights: str | None = None
    """Name of a file or folder in the run's weights/. Default: the one that the evaluation picked, else the last."""
    strength: Annotated[float, Field(ge=-20, le=20)] | None = None
    """Strength to recommend. Default: the one that the evaluation picked, else 1."""
    title: str | None = None
    """Title of the card. Default: the subject."""
    author: str | None = None
    """Author, for the card and the files' metadata."""
    about: str | None = None
    """A paragraph for the card, in your words."""
    licence: str | None = None
    """Licence, by its id on the Hub. Default: the base's."""
    base: str | None = None
    """Hub id of the base model, for one that was trained from a file."""
    person: Literal["real", "none"] | None = None
    """`real`: a real person, who agrees to the publication; `none`: an invented person, or no person."""
    images: Annotated[int, Field(ge=0, le=24)] = 6
    """Images in the gallery."""
    public: bool = False
    """Make the repository visible to all."""
    replace_card: bool = False
    """Replace a card that was edited at the destination."""
