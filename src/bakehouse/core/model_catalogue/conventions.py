"""Conventions of base models: guidance, sampler, sizes, quality and negative words, tags or sentences. Only data.

`conventions.toml` holds the entries. They are defaults for whoever asks a base model for images: the plan's samples,
class images and evaluation, and the prompts of templates. What the plan takes from here it writes into the recipe.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.settings import Spec

PLACE_OF_PROMPT = "{prompt}"
NO_CONVENTIONS = "none"
"""The name that stands for no entry."""
SHORT_HASH = 10
"""Digits of a sha256 that identify a file, as A1111 and Civitai show them."""

PromptForm = Literal["sentences", "tags"]
Side = Annotated[str, StringConstraints(pattern=r"^\d+x\d+$")]


class Conventions(Spec):
    """One entry: the usual settings and words of a base model, or of a family of them."""

    name: str
    title: str
    """As messages call it."""
    family: str
    """`sd1`, `sd2`, `sdxl`, or `crumb`."""
    whole_family: bool = False
    """Whether it holds for every model of the family that no other entry fits."""
    names: tuple[str, ...] = ()
    """Regular expressions for a model's name in lower case, with all but letters and digits removed."""
    hashes: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{10}$")], ...] = ()
    """The first ten digits of files' sha256."""
    resolution: int
    """Side in pixels of the images that it was trained on."""
    sizes: tuple[Side, ...]
    """Sizes in pixels that it generates well, upright or lying."""
    clip_skip: Annotated[int, Field(ge=1)] = 1
    """As A1111 counts it."""
    guidance: Annotated[float, Field(ge=1)]
    sampler: str
    prediction: Literal["epsilon", "v_prediction"] | None = None
    """None: models of the entry differ."""
    prompts: PromptForm
    """How it was captioned, and so how it is prompted."""
    quality: str = ""
    """Words that ask for its best images; see `with_quality`."""
    negative: str = ""
    """Negative prompt."""
    source: str = ""
    """Where its maker says so."""


@dataclass(frozen=True)
class KnownBase:
    """The entry that fits a model, and by what it was found."""

    conventions: Conventions
    by: str
    """`found by its name`, for messages."""

    @property
    def reason(self) -> str:
        """Why a plan takes a value from here."""
        return f"usual for {self.conventions.title}" + ("" if self.conventions.whole_family else f" ({self.by})")


@functools.cache
def all_conventions() -> dict[str, Conventions]:
    """Return all entries by name, in the order in which they are tried."""
    text = resources.files(__package__).joinpath("conventions.toml").read_text("utf-8")
    tables = parse_toml(text)
    return {name: Conventions.parse({"name": name, **values}, source=f"[{name}]") for name, values in tables.items()}


def find_conventions(names: Sequence[str], *, family: str | None, sha256: str = "") -> KnownBase | None:
    """Return what fits a model: by its hash, else its names, else its family; None if nothing fits.

    Args:
        names: what the model is called: a file without its ending, a folder, a Hub id, the title in its metadata.
        family: None if it is not known; then its names alone count.
        sha256: of its file; empty if it is unknown, or the model is a folder.
    """
    entries = [e for e in all_conventions().values() if family in (None, e.family)]
    short = sha256[:SHORT_HASH].lower()
    for entry in entries:
        if short and short in entry.hashes:
            return KnownBase(entry, "found by its sha256")
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    for entry in entries:
        if any(re.search(pattern, name) for pattern in entry.names for name in plain):
            return KnownBase(entry, "found by its name")
    return next((KnownBase(e, "found by its family") for e in entries if e.whole_family and family is not None), None)


def named_conventions(name: str, setting: str) -> KnownBase | None:
    """Return the entry that a user names in `setting`; None for `none`.

    Raises:
        UsageError: there is no such entry.
    """
    if name == NO_CONVENTIONS:
        return None
    entry = all_conventions().get(name)
    if entry is None:
        known = [*all_conventions(), NO_CONVENTIONS]
        raise UsageError(
            f"{setting} = {name!r}: there are no such conventions{did_you_mean(name, known)}",
            hint=f"allowed are {', '.join(known)}",
        )
    return KnownBase(entry, f"named by {setting}")


def with_quality(prompt: str, quality: str) -> str:
    """Return a prompt with quality words: in front of it, or around it where they have `{prompt}`."""
    if not quality.strip():
        return prompt
    if PLACE_OF_PROMPT in quality:
        return quality.replace(PLACE_OF_PROMPT, prompt) if prompt else quality.replace(PLACE_OF_PROMPT, "").strip(" ,")
    return ", ".join(part for part in (quality.strip().rstrip(","), prompt) if part)
