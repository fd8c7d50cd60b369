"""The licence of a published model: taken from the base, which may demand it or forbid publishing at all."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from bakehouse.core.errors import BakehouseError, UsageError, did_you_mean
from bakehouse.core.model_catalogue import Entry, catalogue, read_registry
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.models.hub import current_repo_id
from bakehouse.models.identify import read_header
from bakehouse.models.model_card import card_licence
from bakehouse.models.model_reference import resolve_model


@dataclass(frozen=True)
class Licence:
    """A licence, and its conditions for models that are trained on a model under it."""

    id: str
    """The Hub's id, or our name of one that the Hub does not know."""
    title: str
    derived: Literal["any", "same", "none"]
    other: bool = False
    """Whether the Hub calls it `other`."""
    link: str = ""

    @property
    def hub_fields(self) -> dict[str, str]:
        """The fields of a model card."""
        if not self.other:
            return {"license": self.id}
        return {"license": "other", "license_name": self.id} | ({"license_link": self.link} if self.link else {})


@functools.cache
def licences() -> dict[str, Licence]:
    """Return the known licences by their ids."""
    rows = _rows()
    wanted = Licence.__dataclass_fields__
    return {name: Licence(name, **{k: v for k, v in row.items() if k in wanted}) for name, row in rows.items()}


@functools.cache
def _rows() -> Mapping[str, Mapping[str, Any]]:
    return parse_toml(resources.files("bakehouse.publish").joinpath("licences.toml").read_text("utf-8"))


def find_licence(name: str) -> Licence | None:
    """Return the licence that a name stands for; None if it is not known."""
    wanted = _letters(name)
    for id_, row in _rows().items():
        if wanted in (_letters(id_), *map(_letters, row["spelled"])):
            return licences()[id_]
    return None


def _letters(text: str) -> str:
    """Letters, digits and plus signs: `OpenRAIL++` is not `OpenRAIL`."""
    return re.sub(r"[^a-z0-9+]", "", text.lower())


def licence_for(base: str, asked: str | None) -> Licence:
    """Return the licence of a model that was trained on a base.

    Args:
        base: the base model, as a recipe names it.
        asked: the licence that the user wants; None: the base's.

    Raises:
        UsageError: the base's licence forbids it, demands another one than asked for, or neither is known.
    """
    name = base_licence(base)
    found, wanted = find_licence(name), _known(asked) if asked else None
    if name and found is None:
        raise UsageError(
            f"the licence of the base model {base} is {name!r}, and what that allows for models "
            "that are trained on it is not known",
            hint=f"read it; if it allows publishing them: bakehouse models add NAME {base} --licence ID, with one of "
            f"{', '.join(licences())}",
        )
    if found is None:
        if wanted is None:
            raise UsageError(
                f"the licence of the base model {base} is not known, and a model that is trained on it has to obey it",
                hint=f"look it up and pass it: --licence ID, with one of {', '.join(licences())}",
            )
        return _allowed(base, wanted)
    _allowed(base, found)
    if wanted is not None and found.derived == "same" and wanted != found:
        raise UsageError(
            f"{base} is under {found.title}, which every model trained on it has to keep; --licence asks for "
            f"{wanted.title}",
            hint="leave --licence out",
        )
    return wanted or found


def _known(asked: str) -> Licence:
    found = find_licence(asked)
    if found is None:
        raise UsageError(
            f"licence {asked!r} is not known{did_you_mean(asked, licences())}", hint=f"known: {', '.join(licences())}"
        )
    return found


def _allowed(base: str, licence: Licence) -> Licence:
    if licence.derived == "none":
        raise UsageError(
            f"{base} is under {licence.title}, which forbids publishing models made from it",
            hint="train on another base to publish the result: bakehouse models list shows bases with their licences",
        )
    return licence


def base_licence(base: str) -> str:
    """Return the name of a base's licence, as far as catalogue, model card or file say; empty if none of them does."""
    entry = _catalogued(base)
    if entry is not None:
        return entry.licence
    own = [m.licence for n, m in read_registry().own.items() if m.licence and base in (n, m.where)]
    if own:
        return own[0]
    try:
        path = resolve_model(base).path
    except BakehouseError:  # a base that was moved away: the run is still there
        return ""
    if path is None:
        return ""
    return card_licence(path) if path.is_dir() else _header_licence(path)


def _catalogued(base: str) -> Entry | None:
    """The catalogue's entry of a base: by its name, by its Hub id, or by the name of its file."""
    known = catalogue()
    if base in known:
        return known[base]
    hub_id = current_repo_id(base)
    for entry in known.values():
        if entry.kind == "base" and entry.origin.endswith(f"huggingface.co/{hub_id}"):
            return entry
    names = {f.name: entry for entry in known.values() if entry.kind == "base" for f in entry.files[:1]}
    return names.get(Path(base).name)


def _header_licence(path: Path) -> str:
    return read_header(path).metadata.get("modelspec.license", "") if path.suffix == ".safetensors" else ""
