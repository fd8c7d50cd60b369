"""The models that a server offers: their names in requests, and what a worker has said of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError, nearest
from bakehouse.serve.errors import ServeError

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*(/[A-Za-z0-9][\w.+-]*)?")
_RANGE = re.compile(r"(-?[0-9]{1,3}(?:\.[0-9]{1,6})?), (-?[0-9]{1,3}(?:\.[0-9]{1,6})?)")
"""As `adapters.file_metadata` writes it; files come from anywhere."""


@dataclass(frozen=True)
class ModelToServe:
    """A model as the user names it: `MODEL`, or `NAME=MODEL`."""

    name: str
    ref: str
    base: str | None = None

    @classmethod
    def parse(cls, text: str, base: str | None = None) -> ModelToServe:
        """Return what `NAME=MODEL` or `MODEL` says; without a name it is a Hub id, or the file's or folder's.

        Raises:
            UsageError: the name cannot be part of a URL.
        """
        name, equals, ref = text.partition("=")
        if not equals or Path(text).expanduser().exists():
            name, ref = "", text
        path = Path(ref).expanduser()
        if not name:
            name = ref if _NAME.fullmatch(ref) and not path.exists() else _url_name(path)
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be the name of a model in a URL",
                hint="give it one of letters, digits, . _ + -: bakehouse serve dog=PATH",
            )
        return cls(name, str(path.resolve()) if path.exists() else ref, base)


@dataclass(frozen=True)
class ServedModel:
    """A model that requests may name."""

    name: str
    ref: str
    base: str | None
    key: str
    """Of its base: models with the same key share it in memory."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What `WorkerModels.describe` returned."""

    @property
    def bytes(self) -> int:
        """Bytes of its base's weights on the disk."""
        return int(self.facts.get("bytes", 0))

    @property
    def native_size(self) -> int:
        """Side in pixels of the images that it was trained on."""
        return int(self.facts.get("native", 512))

    @property
    def adapters(self) -> list[dict[str, Any]]:
        """Its adapters: name, path, strength, metadata."""
        return list(self.facts.get("adapters", []))

    def strength_range(self, number: int) -> tuple[float, float] | None:
        """Return the lowest and highest useful strength of an adapter, if its training has measured them."""
        text = str(self.adapters[number].get("metadata", {}).get("bakehouse.strength_range", ""))
        found = _RANGE.fullmatch(text)
        return (float(found[1]), float(found[2])) if found else None

    @property
    def triggers(self) -> list[str]:
        """The words that its adapters were trained on, as their files say."""
        phrases = (str(one.get("metadata", {}).get("modelspec.trigger_phrase", "")) for one in self.adapters)
        return list(dict.fromkeys(word.strip() for phrase in phrases for word in phrase.split(",") if word.strip()))

    @property
    def file(self) -> Path:
        """The base's file or folder."""
        return Path(str(self.facts.get("file", self.ref)))


class ServedModels:
    """All models of a server, in the order in which they were named; the first is the default."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._models = {model.name: model for model in models}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def __contains__(self, name: str) -> bool:
        return name in self._models

    @property
    def default(self) -> ServedModel:
        return next(iter(self._models.values()))

    def with_model(self, model: ServedModel) -> ServedModels:
        """Return these models and one more."""
        return ServedModels([*self, model])

    def without(self, name: str) -> ServedModels:
        """Return these models without one."""
        return ServedModels(model for model in self if model.name != name)

    def find(self, name: str | None) -> ServedModel:
        """Return the model with a name; None: the default.

        Raises:
            ServeError: there is none (404).
        """
        if name is None:
            return self.default
        if name not in self._models:
            match = nearest(name, self._models)
            guess = f"did you mean {match!r}? " if match else ""
            raise ServeError(
                404,
                "model_not_found",
                f"model {name!r} is not served here",
                hint=f"{guess}served are {', '.join(self._models)}",
            )
        return self._models[name]


def check_names(models: Iterable[ModelToServe]) -> list[ModelToServe]:
    """Check that no two models have the same name.

    Raises:
        UsageError: two have.
    """
    found: dict[str, ModelToServe] = {}
    for model in models:
        if model.name in found:
            raise UsageError(
                f"two models have the name {model.name!r}: {found[model.name].ref} and {model.ref}",
                hint="name one of them: bakehouse serve NAME=PATH",
            )
        found[model.name] = model
    return list(found.values())


def _url_name(path: Path) -> str:
    name = path.expanduser().resolve()
    stem = name.stem if name.is_file() else name.name
    return re.sub(r"[^\w.+-]+", "-", stem).strip("-._+")
