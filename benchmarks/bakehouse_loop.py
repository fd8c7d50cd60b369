"""The training loop of `bakehouse train`, with its caches, captions, checks and events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bakehouse.core.events import Step, result_of
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe import make_plan, recipe_for_folder
from bakehouse.training.loop import train
from bakehouse.training.trainer import equip, prepare
from benchmarks.workloads import Workload, write_images


def steps(workload: Workload, model: Denoiser, folder: Path) -> Iterator[None]:
    """Run the real loop on a real plan."""
    settings = {
        "concepts.0.repeats": 50 * workload.batch,
        "buckets.resolution": workload.side,
        "train.batch": workload.batch,
        "train.epochs": 1,
        "train.device": workload.device,
        "train.precision": workload.precision,
        "prior.source": "none",
        "sample.prompts": [],
        "data.cache": "memory",
        **({} if "adapter" in workload.settings else _lora(workload.rank)),
        **workload.settings,
    }
    plan = make_plan(recipe_for_folder(write_images(folder, workload.side), "zwx person", settings=settings))
    helpers = equip(model, plan.recipe, model.device)
    made = prepare(plan, model, precision=workload.precision, helpers=helpers)
    parts, state = result_of(made)
    for event in train(parts, state):
        if isinstance(event, Step):
            yield


def _lora(rank: int) -> dict[str, object]:
    return {"adapter.rank": rank, "adapter.alpha": rank, "adapter.targets": "attention", "adapter.text": False}
