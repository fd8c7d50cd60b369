"""The datasets of a server: the folders of one root."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

from bakehouse.core.folder_lock import locked
from bakehouse.curation.apply_and_undo import HISTORY_FOLDER, last_applied
from bakehouse.data.scan import MASK_FOLDERS
from bakehouse.serve.datasets.image_index import DatasetIndex, Indexes
from bakehouse.serve.datasets.trash import Trash
from bakehouse.serve.errors import ServeError, bad_request
from bakehouse.serve.guard.paths import check_name, folder_named


class Datasets:
    """The folders of a root, each of which is a dataset; hidden ones are not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trash = Trash(root, "dataset")
        self._indexes = Indexes()

    def names(self) -> list[str]:
        """Return the names of all datasets, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if p.is_dir() and not p.name.startswith("."))

    def folder(self, name: str) -> Path:
        """Return a dataset's folder.

        Raises:
            ServeError: there is none with this name (404).
        """
        return folder_named(self.root, name, "dataset")

    def index(self, name: str) -> DatasetIndex:
        """Return the images of a dataset."""
        return self._indexes.of(self.folder(name))

    def create(self, name: str) -> Path:
        """Make an empty dataset.

        Raises:
            ServeError: the name cannot be used (400), or is taken (409).
        """
        path = self.root / self._free_name(name)
        path.mkdir(parents=True)
        return path

    def rename(self, name: str, new: str) -> Path:
        """Give a dataset another name; see `create` and `delete`."""
        folder, target = self.folder(name), self.root / self._free_name(new)
        with locked(folder / HISTORY_FOLDER, "renaming the dataset"):
            os.rename(folder, target)  # noqa: PTH104 - of a link, the link itself is renamed
        return target

    def delete(self, name: str) -> dict[str, Any]:
        """Move a dataset into the trash.

        Raises:
            InUseError: a step is being applied to it.
        """
        folder = self.folder(name)
        with locked(folder / HISTORY_FOLDER, "deleting the dataset"):
            return vars(self.trash.put(folder))

    def row(self, name: str) -> dict[str, Any]:
        """Return what is known of a dataset without decoding its images."""
        images = self.index(name).refresh()
        last = last_applied(self.folder(name))
        return {
            "name": name,
            "images": len(images),
            "captioned": sum(bool(image.caption) for image in images),
            "masks": sum(image.mask is not None for image in images),
            "bytes": sum(image.bytes for image in images),
            "changed": max((image.changed for image in images), default=0) / 1e9,
            "undo": None if last is None else {"number": last.number, "operation": last.operation},
            "cover": images[0].path if images else None,
        }

    def _free_name(self, name: str) -> str:
        check_name(name, "dataset")
        if name.lower() in MASK_FOLDERS:  # beside other datasets it would be read as the folder of their masks
            raise bad_request(f"{name!r} cannot be the name of a dataset: folders of masks have it")
        if (self.root / name).exists():
            raise ServeError(409, "exists", f"there is a dataset {name!r} already")
        return name


def without_server_paths(text: str, root: Path) -> str:
    """Return a message or a command with paths in a root as users know them: `datasets/me`."""
    for shown in dict.fromkeys((str(root), str(root.resolve()), shlex.quote(str(root)))):
        text = re.sub(re.escape(shown) + r"(?=[/\s'\"]|$)", root.name, text)
    return text
