"""Callbacks of the training loop: samples, weights and their evaluation, saved states."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bakehouse.core.events import Event, Stopped
from bakehouse.core.run_folder import Run
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe import Plan
from bakehouse.training.evaluator_protocol import Evaluator
from bakehouse.training.export_weights import WeightsWriter
from bakehouse.training.ranks import Ranks
from bakehouse.training.samples import GenerateBatch, generate_samples, sample_generator
from bakehouse.training.training_state import TrainState, save_state


class Callback(Protocol):
    """Work between steps: samples, weights, saved states."""

    def on_start(self, state: TrainState) -> Iterator[Event]:
        """Called before the first step of this process."""

    def on_step(self, state: TrainState) -> Iterator[Event]:
        """Called after every step; a reason in `state.ended` ends the training."""


@dataclass(frozen=True)
class OnMain:
    """Callbacks of rank 0. The others wait until it has finished, and do their part of what it does with all."""

    callbacks: Sequence[Callback]
    ranks: Ranks

    def on_start(self, state: TrainState) -> Iterator[Event]:
        """Call each callback's."""
        yield from self.ranks.main_events(self._started(state))

    def on_step(self, state: TrainState) -> Iterator[Event]:
        """Call each callback's; if one ends the training, it ends in all ranks."""
        state.ended = yield from self.ranks.main_events(self._stepped(state))

    def _started(self, state: TrainState) -> Generator[Event, None, None]:
        for callback in self.callbacks:
            yield from callback.on_start(state)

    def _stepped(self, state: TrainState) -> Generator[Event, None, str]:
        for callback in self.callbacks:
            yield from callback.on_step(state)
        return state.ended


@dataclass(frozen=True)
class SampleCallback:
    """Generates the recipe's sample images."""

    plan: Plan
    model: Denoiser
    generate: GenerateBatch
    run: Run

    def on_start(self, state: TrainState) -> Iterator[Event]:
        """Generate samples of the base, at the start of a run that asks for them."""
        if state.step == 0 and self.plan.recipe.sample.at_start:
            yield from generate_samples(self.plan.recipe, self.model, self.generate, self.run, 0)

    def on_step(self, state: TrainState) -> Iterator[Event]:
        """Generate samples where they are due."""
        spec = self.plan.recipe.sample
        if _is_due(state.step, self.plan, spec.every_epochs, spec.every_steps):
            yield from generate_samples(self.plan.recipe, self.model, self.generate, self.run, state.step)


@dataclass(frozen=True)
class WeightsCallback:
    """Saves weights during training, and has each of them evaluated where the run has an evaluator."""

    plan: Plan
    model: Denoiser
    generate: GenerateBatch
    writer: WeightsWriter
    evaluator: Evaluator | None

    def on_start(self, state: TrainState) -> Iterator[Event]:
        """Let the evaluator evaluate the base."""
        if self.evaluator:
            yield from self.evaluator.start(sample_generator(self.plan.recipe, self.model, self.generate))

    def on_step(self, state: TrainState) -> Iterator[Event]:
        """Save weights where they are due, but for the last step's; the evaluator may end the run."""
        plan, spec = self.plan, self.plan.recipe.save
        if state.step >= plan.steps or not _is_due(state.step, plan, spec.every_epochs, spec.every_steps):
            return
        epoch, within = divmod(state.step, plan.steps_per_epoch)
        number, unit = (state.step, "step") if within else (epoch, "epoch")
        title = plan.recipe.title
        name = f"{title}-step{number:08d}" if within else f"{title}-{number:06d}"
        yield from self.writer.save(state, name)
        self.writer.prune()
        if self.evaluator:
            generate = sample_generator(plan.recipe, self.model, self.generate)
            state.ended = yield from self.evaluator.evaluate(self.writer.path(name), number, unit, generate)
        if state.ended:
            yield Stopped(step=state.step, why=state.ended)


@dataclass
class StateCallback:
    """Saves the state to resume from: after each epoch, and every `save.state_every_seconds`."""

    plan: Plan
    run: Run
    last_saved: float = field(default_factory=time.monotonic)

    def on_start(self, state: TrainState) -> Iterator[Event]:
        """Do nothing: the state was just made or restored."""
        yield from ()

    def on_step(self, state: TrainState) -> Iterator[Event]:
        """Save the state where it is due. All that follows the step is done: this callback comes after the others."""
        state.unfinished = False
        at_epoch = state.step % self.plan.steps_per_epoch == 0
        if at_epoch or time.monotonic() - self.last_saved > self.plan.recipe.save.state_every_seconds:
            save_state(state, self.run.states)
            self.last_saved = time.monotonic()
        yield from ()


def _is_due(step: int, plan: Plan, every_epochs: int, every_steps: int) -> bool:
    """Return whether something that happens every so many epochs or steps (0: never) happens after `step`."""
    if every_steps and step % every_steps == 0:
        return True
    epoch, within = divmod(step, plan.steps_per_epoch)
    return bool(every_epochs) and within == 0 and epoch % every_epochs == 0
