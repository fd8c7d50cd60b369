"""The panel for photos: uploaded, or taken from a folder or an archive."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import ipywidgets as widgets

from bakehouse.core.errors import UsageError
from bakehouse.core.file_names import to_file_name
from bakehouse.core.files import write_bytes
from bakehouse.core.message_text import counted
from bakehouse.notebook import html
from bakehouse.notebook.panels.panel import Panel, row
from bakehouse.notebook.project import PHOTOS, Project

_SHOWN = 24
_INBOX = "inbox"


class PhotosPanel(Panel):
    """Photos come in; copies of them, so that the originals are never touched."""

    title = "Photos"
    below = (
        "About 20 of the subject: different places, light, distance and expression. Photos, captions beside them "
        "(.txt) or a zip. Larger ones than some megabytes together: put them in a folder, and name it."
    )

    def __init__(self, project: Project, *, source: str, **more: Any) -> None:
        self._source = source
        self._seen: list[tuple[Path, int]] = []
        super().__init__(project, **more)

    def controls(self) -> Sequence[Any]:
        self.upload = widgets.FileUpload(
            accept="image/*,.zip,.txt,.heic,.avif", multiple=True, description="Choose files",
            layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.upload.observe(self._uploaded, "value")
        self.path = self.field("Or a folder or zip", value=self._source, placeholder="/content/drive/MyDrive/photos")
        self.add = self.button("Add", self._add_path, primary=True)
        return (row(self.upload), row(self.path, self.add))

    def begin(self) -> None:
        self.refresh()
        if self._source and not self.project.images():
            self.work(self._add_path)
        elif self.by_itself and not self.project.images():
            self.say("error", "there are no photos yet", "choose files, or name a folder or zip, and run all again")

    def refresh(self) -> None:
        images = self.project.images()
        seen = [(path, path.stat().st_mtime_ns) for path in images]
        if seen == self._seen:
            return
        self._seen = seen
        self.show(f"<p>{html.text(counted(len(images), 'photo'))}</p>" * bool(images) + html.pictures(images, _SHOWN))

    def _add_path(self) -> None:
        source = self.path.value.strip()
        if not source:
            raise UsageError("no folder or zip is named", hint="write its path, or choose files")
        self._import([Path(source).expanduser().absolute()])

    def _uploaded(self, change: Mapping[str, Any]) -> None:
        files = list(_files(change["new"]))
        if files:
            self.work(lambda: self._add_uploaded(files))

    def _add_uploaded(self, files: Sequence[tuple[str, bytes]]) -> None:
        # Another folder each time: what is imported again from the same one is taken for the same files.
        inbox = self.project.folder / _INBOX / time.strftime("%Y%m%d-%H%M%S")
        sources: list[Path] = []
        for name, content in files:
            path = PurePosixPath(name.replace("\\", "/"))
            safe = to_file_name(path.stem, "photo") + path.suffix.lower()
            is_archive = path.suffix.lower() == ".zip"
            target = inbox / safe if is_archive else inbox / "uploaded" / safe
            sources.append(write_bytes(target, content) if is_archive else write_bytes(target, content).parent)
        try:
            self._import(list(dict.fromkeys(sources)))
        finally:
            shutil.rmtree(self.project.folder / _INBOX, ignore_errors=True)
            self.upload.value = type(self.upload.value)()

    def _import(self, sources: Sequence[Path]) -> None:
        new, notes = 0, ""
        for source in sources:  # one by one: together each would have a folder of its own
            done = self.run("photos", ["dataset", "import", str(source), "-o", PHOTOS, "--json"])
            new += sum(len(one["new"]) for one in done["sources"])
            notes += "\n".join(done["warnings"])
        self.refresh()
        self.keep()
        if new:
            self.say("warning" if notes else "done", f"{counted(new, 'photo')} added", notes)
        else:
            self.say("warning", "no new photos: all of them are there already", notes)


def _files(value: Any) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of uploaded files; ipywidgets 7, which Colab has, keeps them in a dict."""
    if isinstance(value, Mapping):
        for name, file in value.items():
            yield str(name), bytes(file["content"])
    else:
        for file in value:
            yield str(file["name"]), bytes(file["content"])
