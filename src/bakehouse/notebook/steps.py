"""The steps of the notebook, one for each cell, on one project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from IPython.display import display

from bakehouse.core.errors import BakehouseError
from bakehouse.core.file_store import protocol_of
from bakehouse.notebook.html import message
from bakehouse.notebook.machine import is_colab, mounted_drive, show
from bakehouse.notebook.panels.draw import DrawPanel
from bakehouse.notebook.panels.judge import JudgePanel
from bakehouse.notebook.panels.mend import MendPanel
from bakehouse.notebook.panels.panel import Panel
from bakehouse.notebook.panels.photos import PhotosPanel
from bakehouse.notebook.panels.plan import PlanPanel
from bakehouse.notebook.panels.publish import PublishPanel
from bakehouse.notebook.panels.share import SharePanel
from bakehouse.notebook.panels.subject import SubjectPanel
from bakehouse.notebook.panels.train import TrainPanel
from bakehouse.notebook.project import Project

FOLDER = Path("bakehouse")
"""Where projects are, below the working folder."""
AUTO, DRIVE, NOWHERE = "auto", "drive", "nowhere"
"""What stands for a place of the copy, beside folders and URLs."""


class Steps:
    """The panels of a project. Each method is a cell: it shows a panel, and returns when what needs no click is done.

    A training alone is not waited for, unless everything goes by itself.
    """

    def __init__(self, project: Project | None, *, by_itself: bool = False) -> None:
        self.project, self.by_itself = project, by_itself
        self.panels: dict[str, Panel] = {}

    def photos(self, source: str = "") -> None:
        """Show the panel for photos; `source` is a folder or zip that is taken at once."""
        self._show(PhotosPanel, source=source)

    def mend(self, base: str = "") -> None:
        """Show what is wrong with the photos for a base model."""
        self._show(MendPanel, base=base)

    def subject(self, subject: str = "", base: str = "") -> None:
        """Show the panel for name and kind; `subject` are trigger and class word: `zwx person`."""
        self._show(SubjectPanel, subject=subject, base=base)

    def plan(self, settings: str = "") -> None:
        """Show the plan; `settings` are more settings of the recipe: `adapter.rank=16 train.epochs=6`."""
        self._show(PlanPanel, settings=settings)

    def train(self) -> None:
        """Show the training; one that was begun goes on."""
        self._show(TrainPanel, waits=self.by_itself)

    def judge(self) -> None:
        """Show the verdict."""
        self._show(JudgePanel, waits=self.by_itself)

    def draw(self, prompt: str = "") -> None:
        """Show the panel that draws."""
        self._show(DrawPanel, prompt=prompt)

    def publish(self, to: str = "", person: str = "") -> None:
        """Show the panel that publishes; `person` is `real` or `none`."""
        self._show(PublishPanel, to=to, person=person)

    def share(self) -> None:
        """Show the link to the web page."""
        self._show(SharePanel)

    def _show(self, kind: type[Panel], *, waits: bool = True, **options: Any) -> None:
        if self.project is None:
            said = message("error", "there is no project", "run the cell Where things are kept first; it says why")
            show(said)
            return
        try:
            panel = kind(self.project, by_itself=self.by_itself, changed=self._refresh, **options)
        except BakehouseError as e:
            show(message("error", e.message, e.hint))
            return
        self.panels[kind.__name__] = panel
        display(panel.box)  # type: ignore[no-untyped-call]
        panel.guarded(panel.begin)
        if waits:
            try:
                panel.wait()
            except KeyboardInterrupt:
                panel.say("note", "this cell waits no longer; its work goes on")

    def _refresh(self) -> None:
        for panel in list(self.panels.values()):
            if not panel.is_at_work:
                panel.guarded(panel.refresh)


def open_project(name: str = "me", *, keep_in: str = AUTO, by_itself: bool = False, folder: str | None = None) -> Steps:
    """Open a project, or begin it; copy it back if this machine does not have it. Shows where it is.

    Args:
        name: of the project; another name is another subject.
        keep_in: where a copy of everything is kept while you work: a folder, a URL, `drive` (Google Drive on Colab), or
            `nowhere`. `auto`: `drive` on Colab, else nowhere.
        by_itself: whether each cell does its part without a click, with what the settings say.
        folder: where projects are on this machine. Default: `BAKEHOUSE_NOTEBOOK`, else `bakehouse` in the working
            folder.
    """
    try:
        project, said = _opened(name.strip(), keep_in, Path(folder or os.environ.get("BAKEHOUSE_NOTEBOOK") or FOLDER))
    except (BakehouseError, OSError) as e:
        hint = e.hint if isinstance(e, BakehouseError) else "check the folder"
        text = e.message if isinstance(e, BakehouseError) else str(e)
        show(message("error", text, hint))
        return Steps(None)
    show(said)
    return Steps(project, by_itself=by_itself)


def _copy_place(keep_in: str) -> str | None:
    """Return the folder or URL that a user's words mean; None: nowhere."""
    if keep_in == AUTO:
        keep_in = DRIVE if is_colab() else NOWHERE
    if keep_in in (NOWHERE, ""):
        return None
    if keep_in == DRIVE:
        return str(mounted_drive() / "bakehouse")
    return keep_in if protocol_of(keep_in) else str(Path(keep_in).expanduser().absolute())


def _opened(name: str, keep_in: str, root: Path) -> tuple[Project, str]:
    copy = _copy_place(keep_in.strip())
    project = Project((root.expanduser() / name).absolute(), copy)
    is_back = project.restore()
    where = f"The project “{name}” is in {project.folder}."
    if copy is None:
        below = "No copy is kept elsewhere: when this machine goes, so does the project." if is_colab() else ""
        return project, message("warning" if is_colab() else "done", where, below)
    begun = "It was copied back from there." if is_back else "All of it is copied there while you work."
    return project, message("done", where, f"Copy: {copy}/{name}. {begun}")
