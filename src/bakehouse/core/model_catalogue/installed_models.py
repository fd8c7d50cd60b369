"""The models that this machine knows by name: the catalogue's, the user's own, and what was fetched of them."""

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
from bakehouse.core.model_catalogue.entry import KINDS, Entry, Hub, Kind, Packaged, shipped
from bakehouse.core.settings import Spec

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
_WAIT_SECONDS = 5.0


class Own(Spec):
    """A model that the user has put on the shelf. Its files stay the user's."""

    kind: Kind
    where: str
    """An absolute path, or a Hub id."""
    family: str = ""
    licence: str = ""
    sha256: str = ""
    """Of a file; empty for folders and Hub ids."""
    bytes: int | None = None


class FetchedFile(Spec):
    """A file as it came."""

    name: str
    bytes: int
    sha256: str
    pinned: bool
    """Whether the catalogue knew its hash; else it was believed the first time."""


class Fetched(Spec):
    """What bakehouse itself has brought here."""

    folder: str
    """Where the files lie: a folder of bakehouse's own, or one of the Hub's cache."""
    files: tuple[FetchedFile, ...]
    revision: str = ""
    """Of a Hub repository."""
    shared: bool = False
    """The files were in the Hub's cache before, so that they are not bakehouse's to delete."""

    @property
    def paths(self) -> list[Path]:
        """The files, the model first."""
        return [Path(self.folder) / f.name for f in self.files]


class Shelf(Spec):
    """One file in the user's data folder."""

    own: dict[str, Own] = Field(default_factory=dict)
    fetched: dict[str, Fetched] = Field(default_factory=dict)


def shelf_file() -> Path:
    """Where the shelf is written down."""
    return data_dir("models.json")


def read_shelf() -> Shelf:
    """The shelf as it is now.

    Raises:
        BakehouseError: its file is damaged.
    """
    path = shelf_file()
    if not path.is_file():
        return Shelf()
    try:
        return Shelf.parse(read_json(path), source=str(path))
    except Problems as e:
        raise BakehouseError(str(e), hint="move it away; `bakehouse models fetch` and `add` write it anew") from e


@contextlib.contextmanager
def changing() -> Iterator[Shelf]:
    """The shelf to be changed; written, whole, when the block ends well. Others wait their turn."""
    deadline = time.monotonic() + _WAIT_SECONDS
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(shelf_file().parent / "models", "writing down a model"))
                break
            except InUseError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        shelf = read_shelf()
        draft = Shelf(own=dict(shelf.own), fetched=dict(shelf.fetched))
        yield draft
        write_json(shelf_file(), draft.model_dump(mode="json", exclude_defaults=True))


def names() -> list[str]:
    """Every name on the shelf."""
    return [*shipped(), *read_shelf().own]


def find(name: str) -> Entry | Own | None:
    """What a name stands for; the user's own go before the catalogue's."""
    if not _NAME.fullmatch(name):
        return None
    return read_shelf().own.get(name) or shipped().get(name)


def fetch_command(entry: Entry) -> str:
    """What to type to have a model."""
    size = f"{entry.bytes / 1e6:.0f} MB, " if entry.bytes else ""
    return f"bakehouse models fetch {entry.name}   ({size}{entry.licence})"


def target(name: str, *kinds: Kind) -> str | None:
    """Where the model of a name is: a path or a Hub id; None where the name is not on the shelf.

    Args:
        kinds: what it may be.

    Raises:
        UsageError: of another kind; or not on this machine (says how to have it).
    """
    found = find(name)
    if found is None:
        return None
    if kinds and found.kind not in kinds:
        wanted = " or ".join(KINDS[k] for k in kinds)
        raise UsageError(f"{name!r} is {KINDS[found.kind]}, not {wanted}", hint="bakehouse models list")
    if isinstance(found, Own):
        if Path(found.where).is_absolute() and not Path(found.where).exists():
            raise UsageError(
                f"{name!r} stands for {found.where}, which is gone",
                hint=f"bakehouse models add {name} PATH tells where it is now",
            )
        return found.where
    return _target_of(found)


def _target_of(entry: Entry) -> str:
    if isinstance(entry.source, Packaged):
        import bakehouse

        return str(Path(bakehouse.__file__).parent / entry.source.path)
    if isinstance(entry.source, Hub) and entry.is_pipeline:
        return entry.source.repo
    there = read_shelf().fetched.get(entry.name)
    if there is None or not all(path.is_file() for path in there.paths):
        raise UsageError(
            f"{KINDS[entry.kind].partition(' ')[2]} {entry.name!r} is not on this machine", hint=fetch_command(entry)
        )
    return str(there.paths[0])


def model_path(name: str | Path, *kinds: Kind) -> Path:
    """The file or folder of a helper model: of a name on the shelf, or a path as it is. What belongs to it lies beside.

    Args:
        name: `u2netp`, or the path of a file.
        kinds: what it may be: `model_path("u2netp", "matte")`.

    Raises:
        UsageError: nothing of that name; of another kind; or not fetched yet (names the command that does it).
    """
    given = Path(name).expanduser()
    if given.exists():
        return given
    found = target(str(name), *kinds)
    if found is None:
        known = [n for n in names() if not kinds or (entry := find(n)) is None or entry.kind in kinds]
        raise UsageError(
            f"{str(name)!r} is no file and no model on the shelf{did_you_mean(str(name), known)}",
            hint=f"known are {', '.join(known)}",
        )
    return Path(found)


def check_name(name: str) -> str:
    """A name that the user may give.

    Raises:
        UsageError: it could be taken for a path or a Hub id, or is the catalogue's.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no short name", hint="letters, digits, and . _ + - inside")
    if name in shipped():
        raise UsageError(f"{name!r} is the catalogue's name for {shipped()[name].origin}", hint="choose another")
    return name
