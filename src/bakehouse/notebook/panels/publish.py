"""The panel that publishes what was trained: to a folder, a URL, or the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from bakehouse.core.errors import UsageError
from bakehouse.core.message_text import counted
from bakehouse.notebook import html
from bakehouse.notebook.panels.panel import Panel, row
from bakehouse.notebook.project import PUBLISHED, Project

_PEOPLE = {
    "Choose": "",
    "No real person": "none",
    "A real person, who agrees to this": "real",
}


class PublishPanel(Panel):
    """With a model card, a gallery, the scores and files for other programs."""

    title = "Publish"
    below = "To a folder, a URL, or the Hugging Face Hub (hub:owner/name), there private unless you make it public."

    def __init__(self, project: Project, *, to: str, person: str, **more: Any) -> None:
        self._to, self._person = to, person
        super().__init__(project, **more)

    def controls(self) -> Sequence[Any]:
        person = self._person if self._person in _PEOPLE.values() else ""
        self.to = self.field("Where", value=self._to or PUBLISHED, placeholder="hub:me/mira")
        self.person = self.field("It shows", widgets.Dropdown, options=list(_PEOPLE.items()), value=person)
        self.token = self.field("Token of the Hub", widgets.Password, placeholder="kept nowhere; empty: HF_TOKEN")
        self.public = self.field("Public", widgets.Checkbox, value=False)
        self.anyway = self.field("Publish anyway", widgets.Checkbox, value=False)
        self.anyway.layout.display = "none"
        self.look = self.button("Show what would be published", self._look)
        self.publish = self.button("Publish", self._publish, primary=True)
        buttons = row(self.publish, self.look)
        return (self.to, self.person, self.token, self.public, self.anyway, buttons)

    def begin(self) -> None:
        if self.by_itself and self._to:
            self.work(self._publish)

    def _words(self) -> list[str]:
        self.project.need_weights()
        to = self.to.value.strip()
        if not to:
            raise UsageError("the destination is empty", hint="write a folder, hub:owner/name, or a URL")
        person = ["--person", self.person.value] if self.person.value else []
        public = ["--public"] if self.public.value else []
        return ["publish", self.project.run_name, "--to", to, *person, *public]

    def _look(self) -> dict[str, Any]:
        planned: dict[str, Any] = self.run("publish", [*self._words(), "--dry-run", "--json"])
        facts = [(name, planned[name]) for name in ("title", "weights", "strength", "base", "licence")]
        images = ("gallery", counted(len(planned["images"]), "image"))
        self.show(html.table(("", f"to {planned['to']}"), [*facts, images]))
        self._warn(planned["concerns"])
        return planned

    def _warn(self, concerns: Sequence[dict[str, str]]) -> None:
        self.anyway.layout.display = "" if concerns else "none"
        if concerns:
            self.say("warning", "\n".join(one["why"] for one in concerns), "tick Publish anyway, if you want to")

    def _publish(self) -> None:
        words, token = [*self._words(), "--yes"], self.token.value.strip()
        if not self.anyway.value and self._look()["concerns"]:
            return
        done = self.run("publish", [*words, "--json"], secrets={"HF_TOKEN": token} if token else {})
        self.token.value = ""
        self.show_commands([words])
        self.say("done", f"published to {done['where']}: {counted(len(done['changed']), 'file')} written")
