"""The panel that draws with what was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from bakehouse.core.errors import UsageError
from bakehouse.core.message_text import counted
from bakehouse.notebook import html
from bakehouse.notebook.panels.panel import Panel, row
from bakehouse.notebook.project import PICTURES, Project
from bakehouse.notebook.server import DrawServer

_SHOWN = 12
_RANDOM = -1


class DrawPanel(Panel):
    """A prompt, how many, and the newest pictures."""

    title = "Draw"
    below = "The model stays loaded, so that the second picture comes at once. Each file says how it was made."

    def __init__(self, project: Project, *, prompt: str, **more: Any) -> None:
        self._prompt = prompt
        super().__init__(project, **more)

    def controls(self) -> Sequence[Any]:
        self.prompt = self.field("Prompt", widgets.Textarea, value=self._prompt, rows=2)
        self.count = self.field("Pictures", widgets.BoundedIntText, value=4, min=1, max=32)
        self.seed = self.field("Seed", widgets.IntText, value=_RANDOM)
        self.seed.tooltip = "the same seed draws the same picture; -1: another each time"
        self.draw = self.button("Draw", self._draw, primary=True)
        self.refresh_prompt()
        return (self.prompt, row(self.count, self.seed), row(self.draw))

    def refresh_prompt(self) -> None:
        """Begin with the subject where nothing was written."""
        if not self.prompt.value:
            self.prompt.value = self.project.answers.subject

    def begin(self) -> None:
        drawn = self._drawn()
        self.show(html.pictures(drawn, _SHOWN, large=True))
        if self.by_itself and not drawn:
            self.work(self._draw)

    def refresh(self) -> None:
        self.refresh_prompt()

    def _drawn(self) -> list[Path]:
        """Return all pictures, newest first."""
        return sorted(self.project.pictures.glob("*.png"), reverse=True) if self.project.pictures.is_dir() else []

    def _draw(self) -> None:
        prompt = " ".join(self.prompt.value.split())
        if not prompt:
            raise UsageError("the prompt is empty", hint="write what to draw, with the trigger in it")
        self.project.need_weights()
        address = DrawServer(self.project).start(self.show_progress)
        more = ["-n", str(self.count.value), "--seed", str(self.seed.value), "-o", PICTURES]
        made = self.project.commands.run(
            "generate", ["generate", address.model, prompt, *more, "--json"], self.show_progress,
            secrets={"BAKEHOUSE_TOKEN": address.token},
        )  # fmt: skip
        self.show_commands([["generate", self.project.run_name, prompt, *more]])
        self.show(html.pictures(self._drawn(), _SHOWN, large=True))
        self.keep()
        self.say("done", f"{counted(len(made), 'picture')} in {self.project.pictures}")
