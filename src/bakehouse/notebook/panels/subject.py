"""The panel for the subject: its name and kind, and the base model that learns it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue import catalogue, find_model
from bakehouse.core.units import size
from bakehouse.notebook.machine import usual_base
from bakehouse.notebook.panels.panel import Panel, row
from bakehouse.notebook.project import Project

_KINDS: Mapping[str, tuple[str, str]] = {
    "Person": ("character", "person"),
    "Animal": ("character", "animal"),
    "Thing": ("object", "thing"),
    "Style": ("style", "style"),
}
"""What the panel offers: the kind of the recipe, and the class word."""


class SubjectPanel(Panel):
    """Asks what it is called, what it is, and which base model learns it."""

    title = "Name and kind"
    below = "The trigger is a short word that the model does not know yet: in prompts it stands for your subject."

    def __init__(self, project: Project, *, subject: str, base: str, **more: Any) -> None:
        self._subject, self._base = subject, base
        super().__init__(project, **more)

    def controls(self) -> Sequence[Any]:
        answers = self.project.answers
        trigger, _, class_word = (self._subject or answers.subject).strip().partition(" ")
        kind = next((k for k, (_, word) in _KINDS.items() if word == class_word), None)
        kind = kind or next(k for k, (name, _) in _KINDS.items() if name == answers.kind)
        self.name = self.field("Name", placeholder="Mira")
        self.kind = self.field(
            "Kind", widgets.ToggleButtons, options=list(_KINDS), value=kind, style={"button_width": "86px"}
        )
        self.class_word = self.field("What it is", value=class_word or _KINDS[kind][1])
        self.trigger = self.field("Trigger", value=trigger)
        base = self._base or (answers.base if answers.subject else usual_base())
        offered = _bases()
        if base not in dict(offered).values():
            offered.append((base, base))
        self.base = self.field("Base model", widgets.Dropdown, options=offered, value=base)
        self.name.observe(lambda change: setattr(self.trigger, "value", trigger_for(change["new"])), "value")
        self.kind.observe(lambda change: setattr(self.class_word, "value", _KINDS[change["new"]][1]), "value")
        self.save = self.button("Save", self._save, primary=True)
        return (self.name, self.kind, self.class_word, self.trigger, self.base, row(self.save))

    def begin(self) -> None:
        if self._subject or (self.by_itself and self.trigger.value):
            self.work(self._save)
        elif self.project.answers.subject:
            self._say_saved()
        elif self.by_itself:
            self.say("error", "the subject has no name yet", "fill in subject in the settings above: zwx person")

    def _save(self) -> None:
        trigger, class_word = self.trigger.value.strip(), " ".join(self.class_word.value.split())
        if not trigger or not class_word or " " in trigger:
            raise UsageError(
                f"the trigger {trigger!r} and what it is, {class_word!r}, are needed",
                hint="the trigger is one word, such as zwx; what it is: person, dog, cup",
            )
        base = self.base.value
        entry = catalogue().get(base)
        if entry is not None and base != BUNDLED_BASE and find_model(base) is not None:
            self.project.commands.start("fetch", ["models", "fetch", base, "--quiet"])
            self.show_commands([["models", "fetch", base]])
            self.project.commands.wait("fetch", self.show_progress)
        kind, _ = _KINDS[self.kind.value]
        self.project.answer(subject=f"{trigger} {class_word}", kind=kind, base=base)
        self.keep()
        self._say_saved()

    def _say_saved(self) -> None:
        answers = self.project.answers
        self.say("done", f"saved: in prompts it is “{answers.subject}”; {answers.base} learns it")


def trigger_for(name: str) -> str:
    """Return a short word that hardly any model knows, made from a name: its consonants, then an `x`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    letters = re.sub("[^a-z]", "", plain)
    consonants = re.sub("[aeiou]", "", letters) or letters
    return f"{consonants[:3] or 'zw'}x".rjust(3, "z")


def _bases() -> list[tuple[str, str]]:
    """Return the base models of the catalogue, with how much has to be downloaded."""
    found = [(f"{BUNDLED_BASE} (built in, small, for trying out)", BUNDLED_BASE)]
    for name, entry in catalogue().items():
        if entry.kind == "base" and name != BUNDLED_BASE:
            found.append((f"{name} ({size(entry.bytes)})" if entry.bytes else name, name))
    return found
