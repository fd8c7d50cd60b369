"""What a slider's training costs beside LECO's, at an equal loss: `python -m benchmarks.slider`.

LECO denoises a new image for every step, up to one timestep. bakehouse uses each image for several steps, at another of
its timesteps each time. Both train the same slider from the same seed here, and are measured on images that neither has
seen. The cost is counted in passes of one image through the network: a backward pass counts as two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bakehouse.core.events import Step, result_of
from bakehouse.losses.slider import SliderBatch
from bakehouse.models.load import load_model
from bakehouse.recipe import Plan, make_plan, recipe_for_slider
from bakehouse.training.loop import TrainingComponents, run_loop
from bakehouse.training.objective import make_objective
from bakehouse.training.prepare import build_components
from bakehouse.training.training_state import TrainState

LECO = {"slider.points": 1, "slider.trajectories": "slider", "slider.steps": 50}
OURS: dict[str, Any] = {}
"""Settings of both sides: LECO's defaults, and the plan's."""
_WASTED = 6
"""Passes of a LECO step that come to nothing: the unguided halves of its four predictions, one with a backward pass."""


@dataclass
class Curve:
    """A training: its loss on unseen images and its passes so far, at some of its steps."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    passes: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def cost_of(self, loss: float) -> float | None:
        """Return the passes after which the loss was reached for good, between two measurements; None: never."""
        last = max((i for i, x in enumerate(self.losses) if x > loss), default=-1)
        if last + 1 >= len(self.losses):
            return None
        if last < 0:
            return self.passes[0]
        a, b = self.losses[last], self.losses[last + 1]
        share = (a - loss) / (a - b)
        return self.passes[last] + share * (self.passes[last + 1] - self.passes[last])


class PassCounter:
    """Counts the images that go through a model's network."""

    def __init__(self, model: Any) -> None:
        self.passes = 0.0
        inner: Callable[..., Any] = model.forward

        def forward(x_t: torch.Tensor, *rest: Any) -> Any:
            self.passes += len(x_t) * (3 if torch.is_grad_enabled() else 1)
            return inner(x_t, *rest)

        object.__setattr__(model, "forward", forward)


def plan_for(arguments: argparse.Namespace, settings: dict[str, Any]) -> Plan:
    """Return the plan of the slider, with the settings of one side."""
    more = {
        "slider.both_ways": False,
        "train.batch": arguments.batch,
        "train.steps": arguments.steps,
        "train.epochs": 1,
        "schedule.kind": "constant",
        "seed": arguments.seed,
    }
    ends = (arguments.target, arguments.positive, arguments.negative)
    return make_plan(recipe_for_slider(*ends, base=arguments.model, settings={**more, **settings}))


def unseen_batches(plan: Plan, components: TrainingComponents, state: TrainState) -> list[SliderBatch]:
    """Return batches of trajectories that neither side trains on: of the base, with another seed."""
    recipe = plan.recipe.with_values(
        {"seed": plan.recipe.seed + 1000, "slider.trajectories": "base", "slider.points": 8, "slider.steps": 30}
    )
    objective = make_objective(Plan(**{**vars(plan), "recipe": recipe}), components.model, state.adapter)
    return [objective.batch(step, 0, torch.Generator()) for step in range(24)]  # type: ignore[misc]


def curve_of(plan: Plan, every: int, wasted: int) -> Curve:
    """Train, and measure the loss on unseen images after every few steps; `wasted` passes are added for each step."""
    model = load_model(plan.recipe.model.base)
    components, state = result_of(build_components(plan, model))
    unseen = unseen_batches(plan, components, state)
    counter, curve = PassCounter(model), Curve()

    def measure() -> None:
        before = counter.passes
        with torch.no_grad():
            losses = [components.objective.loss(model, state.adapter, b, torch.Generator()).mean() for b in unseen]
        counter.passes = before
        curve.steps.append(state.step)
        curve.losses.append(float(torch.stack(losses).mean()))
        curve.passes.append(counter.passes / plan.recipe.train.batch_size + state.step * wasted)

    measure()
    began = time.monotonic()
    for _ in (e for e in steps(components, state) if e.step % every == 0):
        measure()
    curve.seconds = time.monotonic() - began
    return curve


def steps(components: TrainingComponents, state: TrainState) -> Iterator[Step]:
    """Yield each step of a training."""
    yield from (event for event in run_loop(components, state) if isinstance(event, Step))


def main() -> None:
    """Train both, and print their losses and what they cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="crumb")
    parser.add_argument("--target", default="person")
    parser.add_argument("--positive", default="person, big smile")
    parser.add_argument("--negative", default="person, sad")
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--every", type=int, default=16, help="steps between measurements")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    leco = curve_of(plan_for(arguments, LECO), arguments.every, _WASTED)
    ours = curve_of(plan_for(arguments, OURS), arguments.every, 0)
    table = Table(title=f"{arguments.model}: loss on unseen images, passes for each image of a batch", box=None)
    for head in ("step", "as LECO", "reused", "passes as LECO", "passes reused"):
        table.add_column(head, justify="right")
    for i, step in enumerate(leco.steps):
        numbers = (leco.losses[i], ours.losses[i])
        passes = (leco.passes[i], ours.passes[i])
        table.add_row(str(step), *(f"{x:.5f}" for x in numbers), *(f"{x:,.0f}" for x in passes))
    console = Console()
    console.print(table)
    reached = max(min(leco.losses), min(ours.losses))
    for loss in (leco.losses[0] + share * (reached - leco.losses[0]) for share in (0.5, 0.75, 0.9, 1.0)):
        a, b = leco.cost_of(loss), ours.cost_of(loss)
        if a and b:
            console.print(f"loss {loss:.5f}: {a / b:.1f} x fewer passes")
    console.print(
        f"passes per step: {leco.passes[-1] / leco.steps[-1]:.1f} as LECO, "
        f"{ours.passes[-1] / ours.steps[-1]:.1f} reused; {leco.seconds:.0f} s and {ours.seconds:.0f} s here, "
        "where the wasted passes are not made"
    )


if __name__ == "__main__":
    main()
