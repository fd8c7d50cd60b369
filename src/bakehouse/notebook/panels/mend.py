"""The panel that says what is wrong with the photos, and mends it: the commands that the audit names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from bakehouse.core.errors import BakehouseError
from bakehouse.core.message_text import counted, listed
from bakehouse.notebook import html
from bakehouse.notebook.machine import usual_base
from bakehouse.notebook.panels.panel import Panel, row
from bakehouse.notebook.project import PHOTOS, Project

_ERRORS_FOUND = 1
"""The exit code of an audit that has found errors."""
_KINDS: dict[str, html.Kind] = {"error": "error", "warning": "warning", "info": "note"}


class MendPanel(Panel):
    """Looks at the photos, shows what would be changed, changes it, and takes it back."""

    title = "What is wrong with them"
    below = "Duplicates, borders, text, sizes and more. Every change can be undone; your own files stay as they are."

    def __init__(self, project: Project, *, base: str, **more: Any) -> None:
        self._base = base or usual_base()
        super().__init__(project, **more)

    def controls(self) -> Sequence[Any]:
        self._fixes: list[list[str]] = []
        self._seen: list[Path] = []
        self.look = self.button("Look again", self._look)
        self.preview = self.button("Show what would change", self._preview)
        self.mend = self.button("Mend", self._mend, primary=True)
        self.undo = self.button("Undo", self._undo)
        words = "also for faces and text, which takes longer"
        self.detect = widgets.Checkbox(description=words, value=self.project.answers.detect, indent=False)
        self.detect.observe(lambda change: self.project.answer(detect=change["new"]), "value")
        return (row(self.mend, self.preview, self.undo, self.look), self.detect)

    def begin(self) -> None:
        self._label_undo()
        if self.project.images():
            # Photos of a training that has begun stay as they are, or it could not go on.
            mends = self.by_itself and not self.project.answers.training
            self.work(self._look_and_mend if mends else self._look)
        elif self.by_itself:
            self.say("error", "there are no photos yet", "add some in the panel Photos")

    def refresh(self) -> None:
        self._label_undo()
        if not self.is_at_work and self._seen and self._seen != self.project.images():
            self.say("note", "the photos have changed since they were looked at", "press Look again")

    def _look(self) -> None:
        from bakehouse.serve.tasks.operations import operation_of

        self.project.need_photos()
        answers = self.project.answers
        base = answers.base if answers.subject else self._base
        words = [
            "dataset",
            "audit",
            PHOTOS,
            "--base",
            base,
            *([] if self.detect.value else ["--no-faces", "--no-text"]),
        ]
        report = self.run("audit", [*words, "--json"], allowed=(0, _ERRORS_FOUND))
        self._seen = self.project.images()
        found = {one["fix"]: operation_of(one["fix"], Path(PHOTOS)) for one in report["findings"] if one["fix"]}
        self._fixes = [[*one["operation"].split(), PHOTOS, *one["arguments"]] for one in found.values() if one]
        rows = "".join(_finding(one, mends=bool(found.get(one["fix"]))) for one in report["findings"])
        self.show(rows)
        mended = f"{counted(len(self._fixes), 'command')} can mend some of it" if self._fixes else ""
        if report["findings"]:
            self.say("note", f"{counted(len(report['findings']), 'finding')} in {_photos(report)}", mended)
        else:
            self.say("done", f"nothing is wrong with {_photos(report)}")

    def _look_if_changed(self) -> None:
        if self._seen != self.project.images():
            self._look()

    def _preview(self) -> None:
        self._look_if_changed()
        shown = []
        for fix in self._fixes:
            found = self.run("mend", [*fix, "--dry-run", "--json"])
            rows = [(one["path"], one["why"]) for one in found["proposals"]]
            shown.append(
                html.folded(f"{' '.join(fix)}: {counted(len(rows), 'change')}", html.table(("file", "why"), rows))
            )
        self.show_commands([[*fix, "--dry-run"] for fix in self._fixes])
        self.show("".join(shown))
        self.say("note", "nothing was changed" if shown else "there is nothing that a command can mend")

    def _look_and_mend(self) -> None:
        self._look()
        if self._fixes:
            self._mend()

    def _mend(self) -> None:
        self._look_if_changed()
        fixes, failed, steps = self._fixes, [], 0
        for fix in fixes:
            try:
                done = self.run("mend", [*fix, "--json"])
                steps += bool(done["changes"])
            except BakehouseError as e:  # the others can still help
                failed.append(f"{' '.join(fix)}: {e.message}")
        self._look()
        self.show_commands(fixes)
        self._label_undo()
        self.keep()
        said = f"{counted(steps, 'command')} changed the photos" if steps else "nothing had to be changed"
        self.say("warning" if failed else "done", said, "\n".join(failed))

    def _undo(self) -> None:
        last = self._last_change()
        if not last:
            self.say("note", "there is nothing to undo")
            return
        self.run("mend", ["dataset", "undo", PHOTOS, "--json"])
        self._label_undo()
        self._look()
        self.show_commands([["dataset", "undo", PHOTOS]])
        self.keep()
        self.say("done", f"{last} is undone: the photos are as they were before it")

    def _last_change(self) -> str:
        """Return the name of the last change, empty if there is none; photos that were added are not taken back."""
        from bakehouse.curation.apply_and_undo import last_applied

        last = last_applied(self.project.photos) if self.project.photos.is_dir() else None
        return "" if last is None or last.operation == "import" else last.operation

    def _label_undo(self) -> None:
        last = self._last_change()
        self.undo.description = f"Undo {last}" if last else "Undo"


def _photos(report: dict[str, Any]) -> str:
    return counted(int(report["images"]), "photo")


def _finding(one: dict[str, Any], *, mends: bool) -> str:
    files = f" ({listed(one['files'], 3)})" if one["files"] else ""
    helps = one["fix"].partition(f" {PHOTOS}")[0] if mends else one["advice"]
    hint = f"mended by: {helps}" if mends else helps
    return html.message(_KINDS[one["level"]], f"{one['title']}: {one['why']}{files}", hint)
