"""The registry of models on this machine: downloaded ones of the catalogue, and those that the user has named."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from bakehouse.core.errors import BakehouseError, Problems, UsageError, did_you_mean
from bakehouse.core.files import data_dir, read_json, write_json
from bakehouse.core.folder_lock import InUseError, locked
from bakehouse.core.model_catalogue.entry import KINDS, Entry, Hub, Kind, Packaged, catalogue
from bakehouse.core.settings import Spec

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
_WAIT_SECONDS = 5.0


class UserModel(Spec):
    """A model of the user's with a short name (`bakehouse models add`). bakehouse never changes its files."""

    kind: Kind
    where: str
    """An absolute path, or a Hub id."""
    family: str = ""
    licence: str = ""
    sha256: str = ""
    """Hash of a file; empty for folders and Hub ids."""
    bytes: int | None = None


class FetchedFile(Spec):
    """A downloaded file."""

    name: str
    bytes: int
    sha256: str
    pinned: bool
    """Whether the catalogue has its hash; else this is the hash of the first download."""


class FetchedModel(Spec):
    """A model that `bakehouse models fetch` has downloaded."""

    folder: str
    """Folder with the files: bakehouse's own, or one in the Hub's cache."""
    files: tuple[FetchedFile, ...]
    revision: str = ""
    """Of a Hub repository."""
    shared: bool = False
    """The files were in the Hub's cache before, so bakehouse does not delete them."""

    @property
    def paths(self) -> list[Path]:
        """Paths of the files, the model first."""
        return [Path(self.folder) / f.name for f in self.files]


class ModelRegistry(Spec):
    """What `models.json` in the user's data folder holds."""

    own: dict[str, UserModel] = Field(default_factory=dict)
    fetched: dict[str, FetchedModel] = Field(default_factory=dict)


def registry_file() -> Path:
    """Return the path of the registry's file."""
    return data_dir("models.json")


def read_registry() -> ModelRegistry:
    """Return the registry as it is now; empty if there is no file.

    Raises:
        BakehouseError: the file is damaged.
    """
    path = registry_file()
    if not path.is_file():
        return ModelRegistry()
    try:
        return ModelRegistry.parse(read_json(path), source=str(path))
    except Problems as e:
        raise BakehouseError(
            str(e), hint="move it away; `bakehouse models fetch` and `bakehouse models add` write a new one"
        ) from e


@contextlib.contextmanager
def edit_registry() -> Iterator[ModelRegistry]:
    """Yield the registry to be changed; it is written when the block ends without an error. Others wait meanwhile."""
    deadline = time.monotonic() + _WAIT_SECONDS
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(registry_file().parent / "models", "changing the registry of models"))
                break
            except InUseError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        current = read_registry()
        draft = ModelRegistry(own=dict(current.own), fetched=dict(current.fetched))
        yield draft
        write_json(registry_file(), draft.model_dump(mode="json", exclude_defaults=True))


def model_names() -> list[str]:
    """Return the names of all models: of the catalogue and of the user."""
    return [*catalogue(), *read_registry().own]


def find_model(name: str) -> Entry | UserModel | None:
    """Return the model with a name, None if there is none; the user's models come before the catalogue's."""
    if not _NAME.fullmatch(name):
        return None
    return read_registry().own.get(name) or catalogue().get(name)


def fetch_command(entry: Entry) -> str:
    """Return the command that downloads a model, with size and licence."""
    size = f"{entry.bytes / 1e6:.0f} MB, " if entry.bytes else ""
    return f"bakehouse models fetch {entry.name}   ({size}{entry.licence})"


def locate_model(name: str, *kinds: Kind) -> str | None:
    """Return where the model with a name is: a path or a Hub id; None if no model has this name.

    Args:
        name: a short name such as `u2netp`.
        kinds: the kinds that are allowed; all if none is given.

    Raises:
        UsageError: the model is of another kind, or not on this machine; names the command that downloads it.
    """
    found = find_model(name)
    if found is None:
        return None
    if kinds and found.kind not in kinds:
        wanted = " or ".join(KINDS[k] for k in kinds)
        raise UsageError(
            f"{name!r} is {KINDS[found.kind]}, not {wanted}",
            hint="`bakehouse models list` shows all models and their kinds",
        )
    if isinstance(found, UserModel):
        if Path(found.where).is_absolute() and not Path(found.where).exists():
            raise UsageError(
                f"{name!r} is {found.where}, which does not exist any more",
                hint=f"if it was moved: bakehouse models add {name} PATH",
            )
        return found.where
    return _location_of(found)


def _location_of(entry: Entry) -> str:
    if isinstance(entry.source, Packaged):
        import bakehouse

        return str(Path(bakehouse.__file__).parent / entry.source.path)
    if isinstance(entry.source, Hub) and entry.is_pipeline:
        return entry.source.repo
    fetched = read_registry().fetched.get(entry.name)
    if fetched is None or not all(path.is_file() for path in fetched.paths):
        raise UsageError(
            f"{KINDS[entry.kind].partition(' ')[2]} {entry.name!r} is not on this machine", hint=fetch_command(entry)
        )
    return str(fetched.paths[0])


def model_path(name: str | Path, *kinds: Kind) -> Path:
    """Return the path of a model that is given by name or as a path. Files that it needs lie beside it.

    Args:
        name: `u2netp`, or the path of a file or folder.
        kinds: the kinds that a named model may be: `model_path("u2netp", "matte")`.

    Raises:
        UsageError: no file and no model has this name; or the model is of another kind or not on this machine.
    """
    given = Path(name).expanduser()
    if given.exists():
        return given
    found = locate_model(str(name), *kinds)
    if found is None:
        known = [n for n in model_names() if not kinds or (entry := find_model(n)) is None or entry.kind in kinds]
        raise UsageError(
            f"{str(name)!r} is neither a file nor the name of a model{did_you_mean(str(name), known)}",
            hint=f"names of models: {', '.join(known)}",
        )
    return Path(found)


def check_model_name(name: str) -> str:
    """Return `name` if a user may give it to a model.

    Raises:
        UsageError: it could be taken for a path or a Hub id, or is in the catalogue.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a model",
            hint="allowed are letters, digits and . _ + -, beginning with a letter or digit",
        )
    if name in catalogue():
        raise UsageError(f"{name!r} is already a name in the catalogue", hint="choose another name")
    return name
