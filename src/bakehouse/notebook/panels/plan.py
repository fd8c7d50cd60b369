"""The panel for the plan: what the training comes to, in plain words, before it begins."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.core.message_text import counted
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.units import duration, size
from bakehouse.notebook import html
from bakehouse.notebook.panels.panel import Panel, row
from bakehouse.notebook.project import PHOTOS, RECIPE, Project

_LONG_SECONDS = 12 * 3600
"""A training that would take longer is warned of."""
_STEPS = "train.steps="


def plan_arguments(project: Project) -> list[str]:
    """Return the command that plans a project's training and writes its recipe.

    Raises:
        UsageError: there are no photos, or the subject has no name.
    """
    project.need_subject()
    answers = project.answers
    words = ["plan", PHOTOS, "--subject", answers.subject, "--kind", answers.kind, "--base", answers.base]
    settings = [*answers.recipe_settings, *([f"save.mirror={project.mirror}"] if project.mirror else [])]
    return [*words, *(part for one in settings for part in ("--set", one)), "-o", RECIPE]


class PlanPanel(Panel):
    """Says how long it takes and what it needs, and why."""

    title = "Plan"
    below = "Every number follows from your photos, the kind and the base model. Nothing is trained yet."

    def __init__(self, project: Project, *, settings: str, **more: Any) -> None:
        self._settings = settings
        super().__init__(project, **more)

    def controls(self) -> Sequence[Any]:
        given = [one for one in self.project.answers.recipe_settings if one.startswith(_STEPS)]
        most = given[-1].removeprefix(_STEPS) if given and not self._settings else ""
        self.most = self.field("Most steps", value=most, placeholder="as planned")
        self.settings = self.field(
            "More settings",
            value=self._settings or self._known_settings(),
            placeholder="adapter.rank=16 train.epochs=6",
        )
        self.plan = self.button("Plan", self._plan, primary=True)
        return (self.most, self.settings, row(self.plan))

    def _known_settings(self) -> str:
        """Return the settings of the last plan, without the most steps, which have a field of their own."""
        return shlex.join(one for one in self.project.answers.recipe_settings if not one.startswith(_STEPS))

    def begin(self) -> None:
        known = not self._settings or _split(self._settings) == list(self.project.answers.recipe_settings)
        if self.project.answers.training or (self.project.is_planned and known):
            self._show_last()
        elif self.project.answers.subject and self.project.images():
            self.work(self._plan)
        else:
            self.say("note", "photos and a name are needed first; then press Plan")

    def _show_last(self) -> None:
        """Show the plan that was made last, if this machine made it."""
        with contextlib.suppress(ValueError):  # nothing, or the half of what a killed command has printed
            self._show(parse_json(self.project.commands.process("plan").printed()))
        if self.project.answers.training:
            self.say("note", "the training has begun; a new plan is for the next one")

    def _plan(self) -> None:
        most = self.most.value.strip()
        settings = [*_split(self.settings.value), *([f"{_STEPS}{most}"] if most else [])]
        self.project.answer(recipe_settings=settings)
        plan = self.run("plan", [*plan_arguments(self.project), "--json"])
        self.keep()
        self._show(plan)

    def _show(self, plan: dict[str, Any]) -> None:
        self.show(_figures(plan) + _reasons(plan))
        seconds = plan["estimate"]["seconds"]
        if seconds > _LONG_SECONDS:
            self.say("warning", f"this would take {duration(seconds)}", "fewer steps, a smaller base, or a GPU")
        elif plan["warnings"]:
            self.say("warning", "\n".join(plan["warnings"]))


def _split(text: str) -> list[str]:
    """Return the settings in a text, each `KEY=VALUE`; spaces in a value are quoted as in a shell.

    Raises:
        UsageError: one of them is no setting, or a quote is not closed.
    """
    try:
        settings = shlex.split(text)
    except ValueError as e:
        raise UsageError(f"the settings {text!r} cannot be read: {e}", hint="close the quote") from e
    if wrong := [one for one in settings if "=" not in one]:
        raise UsageError(f"{wrong[0]!r} is no setting", hint="write KEY=VALUE, such as adapter.rank=16")
    return settings


def _figures(plan: dict[str, Any]) -> str:
    cost = plan["estimate"]
    return html.figures(
        (
            ("takes about", duration(cost["seconds"]), f"on {cost['device']}, within a factor of two"),
            ("steps", f"{plan['steps']:,}", f"{counted(plan['epochs'], 'epoch')} of {plan['steps_per_epoch']:,}"),
            ("memory", size(cost["memory_bytes"]), f"{size(cost['disk_bytes'])} of disk"),
        )
    )


def _reasons(plan: dict[str, Any]) -> str:
    rows = [(one["key"], one["value"], one["reason"]) for one in plan["decisions"]]
    return html.folded("Every number with its reason", html.table(("setting", "value", "why"), rows))
