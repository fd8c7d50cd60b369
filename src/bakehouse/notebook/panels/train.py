"""The panel for the training: begins it, follows it while it runs, and goes on with it after a disconnect."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import write_text
from bakehouse.core.message_text import counted
from bakehouse.core.run_folder import EventReader
from bakehouse.core.units import duration, number
from bakehouse.notebook import html
from bakehouse.notebook.panels.panel import Panel, row
from bakehouse.notebook.panels.plan import plan_arguments
from bakehouse.notebook.panels.training_view import loss_chart, sample_strips
from bakehouse.notebook.project import RECIPE
from bakehouse.notebook.server import DrawServer
from bakehouse.serve.runs.run_status import RunStatus

_LOOK_SECONDS = 1.0
_COMMAND = "train"


class TrainPanel(Panel):
    """Trains in a process of its own: the kernel, the page or the machine may go away."""

    title = "Training"
    below = "It goes on when the page is closed. After a disconnect, run all cells again: it goes on where it was."

    def controls(self) -> Sequence[Any]:
        self.train = self.button("Train", self._train, primary=True)
        self.again = self.button("Train anew", self._train_anew)
        self.stop = self.button("Stop", self._stop, waits=False)
        return (row(self.train, self.stop, self.again),)

    def views(self) -> Sequence[Any]:
        self.curve, self.samples = self.area(), self.area()
        return (self.curve, self.samples)

    def begin(self) -> None:
        commands, answers = self.project.commands, self.project.answers
        if commands.is_running(_COMMAND):
            self.work(self._follow)
        elif (answers.training == "wanted" and not self._is_finished()) or (self.by_itself and not answers.training):
            self.work(self._train)
        elif answers.training:
            self._show_end(self._read_status())
        else:
            self.say("note", "nothing is trained yet")

    def _is_finished(self) -> bool:
        return self._read_status().is_finished and bool(self.project.run.list_weights())

    def _read_status(self) -> RunStatus:
        status = RunStatus()
        for event in EventReader(self.project.run).read_new():
            status.add(event)
        return status

    def _train(self) -> None:
        """Begin the run, or go on with it: the same command does both."""
        project = self.project
        if project.answers.training and self._is_finished():
            raise UsageError("this training is finished", hint="Train anew begins another")
        project.need_subject()
        if not (project.answers.training and (project.folder / project.run_recipe).is_file()):
            if not project.is_planned:
                self.run("plan", [*plan_arguments(project), "--json"])
            write_text(project.folder / project.run_recipe, (project.folder / RECIPE).read_text("utf-8"))
        project.answer(training="wanted")
        self.keep()
        DrawServer(project).stop()  # the device is the training's
        arguments = [
            "train",
            project.run_recipe,
            "--run",
            project.run_name,
            *(["--restore"] if project.mirror else []),
            "--quiet",
        ]
        self.show_commands([arguments])
        project.commands.start(_COMMAND, arguments)
        self._follow()

    def _train_anew(self) -> None:
        self.project.need_subject()
        if self.project.commands.is_running(_COMMAND):
            raise UsageError("a training is at work", hint="stop it, or wait until it has ended")
        self.project.answer(run=self.project.answers.run + 1, training="")
        self.curve.value = self.samples.value = ""
        self._train()

    def _stop(self) -> None:
        if not self.project.commands.is_running(_COMMAND):
            self.say("note", "nothing is being trained")
            return
        self.project.answer(training="stopped")
        self.project.commands.stop(_COMMAND)

    def _follow(self) -> None:
        """Show the training until it has ended."""
        project, reader, status, drawn = self.project, EventReader(self.project.run), RunStatus(), 0
        while True:
            is_running = project.commands.is_running(_COMMAND)
            for event in reader.read_new():
                status.add(event)
            if status.step:
                self.show_progress(_words(status), status.step / max(status.steps, 1))
                self.curve.value = html.styled(loss_chart(status.losses))
            else:
                self.show_progress("preparing: the base model is loaded, photos are encoded", None)
            if status.samples != drawn:
                drawn = status.samples
                self.samples.value = html.styled(sample_strips(project.run))
            if not is_running:
                break
            time.sleep(_LOOK_SECONDS)
        try:
            project.commands.wait(_COMMAND, self.show_progress)
        except BakehouseError:
            if project.answers.training != "stopped":
                raise
        self.keep()
        self._show_end(status)

    def _show_end(self, status: RunStatus) -> None:
        self.curve.value = html.styled(loss_chart(status.losses))
        self.samples.value = html.styled(sample_strips(self.project.run))
        warnings = "\n".join(dict.fromkeys(status.warnings[-3:]))
        if status.is_finished:
            why = f"; {status.stopped}" if status.stopped else ""
            self.say("done", f"trained: {counted(status.step, 'step')} in {_epochs(status)}{why}", warnings)
        else:
            at = f" at step {status.step} of {status.steps}" if status.steps else ""
            self.say("warning", f"stopped{at}", "Train goes on from the last saved state")


def _epochs(status: RunStatus) -> str:
    return counted(status.epoch or status.epochs, "epoch")


def _words(status: RunStatus) -> str:
    left = "" if status.seconds_left is None else f", about {duration(status.seconds_left)} left"
    epoch = f", epoch {status.epoch} of {status.epochs}" if status.epochs > 1 else ""
    return f"step {status.step:,} of {status.steps:,}{epoch}, loss {number(status.loss)}{left}"
