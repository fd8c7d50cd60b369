"""Publishing to a folder, or to any URL that fsspec supports."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from bakehouse.core.events import Event, Progress
from bakehouse.core.file_store import FileStore
from bakehouse.core.files import write_json
from bakehouse.publish.destination import Changes, Comparison, Published, changes, check_others
from bakehouse.publish.publication import CARD, MANIFEST, Publication


class StoreDestination:
    """A folder or URL. Each file appears whole, and the manifest last."""

    repo = "PATH/TO/THIS/FOLDER"

    def __init__(self, store: FileStore) -> None:
        self._store = store

    def update(
        self, publication: Publication, folder: Path, *, replace_card: bool
    ) -> Generator[Event, None, Published]:
        """Write the files that are different there.

        Raises:
            UsageError: another program's files are in the way.
            BakehouseError: the destination cannot be written.
        """
        store = self._store
        found, there, present = self._look(publication, replace_card=replace_card)
        due = [f for f in found.files if not (found.is_same(f) and present[f.name] == f.size)]
        for done, one in enumerate(due):
            yield Progress(what="copying files", done=done, total=len(due))
            store.put(one.path, one.name)
        if due or there is None:
            store.put(write_json(folder / MANIFEST, found.manifest), MANIFEST)
        yield Progress(what="copying files", done=len(due), total=len(due))
        return Published(
            where=store.url,
            changed=tuple(f.name for f in due),
            unchanged=len(publication.files) - len(due),
            notes=found.notes,
        )

    def compare(self, publication: Publication, folder: Path, *, replace_card: bool) -> Comparison:
        """Say what `update` would write.

        Raises:
            UsageError: another program's files are in the way.
            BakehouseError: the destination cannot be read.
        """
        found, there, present = self._look(publication, replace_card=replace_card)
        files = found.states(publication, lambda f: present[f.name] == f.size)
        exists = there is not None or any(size is not None for size in present.values())
        return Comparison(self._store.url, exists, files, found.notes)

    def _look(
        self, publication: Publication, *, replace_card: bool
    ) -> tuple[Changes, bytes | None, dict[str, int | None]]:
        """Return what differs, the manifest that is there, and the sizes of the files that are there."""
        store = self._store
        there = store.read(MANIFEST)
        present = {f.name: store.size(f.name) for f in publication.files}
        if there is None and not _begun(publication, store):
            check_others(there, store.url, [name for name, size in present.items() if size is not None])
        return changes(publication, there, store.read(CARD), replace_card=replace_card), there, present


def _begun(publication: Publication, store: FileStore) -> bool:
    """Whether a publication was killed here before its manifest was written: what is there is its beginning."""
    first = next((f for f in publication.files if store.size(f.name) is not None), None)
    return first is not None and first is publication.files[0] and store.read(first.name) == first.path.read_bytes()
