"""The loop of `bakehouse train`, with its caches, captions, guards and events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bakehouse.core.events import Step, result_of
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe import make_plan, recipe_for_folder
from bakehouse.training.loop import train
from bakehouse.training.trainer import equip, prepare
from benchmarks.work import Work, pictures


def steps(work: Work, model: Denoiser, folder: Path) -> Iterator[None]:
    """The real loop on the real plan."""
    settings = {
        "concepts.0.repeats": 50 * work.batch,
        "buckets.resolution": work.side,
        "train.batch": work.batch,
        "train.epochs": 1,
        "train.device": work.device,
        "train.precision": work.precision,
        "prior.source": "none",
        "sample.prompts": [],
        "data.cache": "memory",
        **({} if "adapter" in work.settings else _lora(work.rank)),
        **work.settings,
    }
    plan = make_plan(recipe_for_folder(pictures(folder, work.side), "zwx person", settings=settings))
    helpers = equip(model, plan.recipe, model.device)
    made = prepare(plan, model, precision=work.precision, helpers=helpers)
    parts, state = result_of(made)
    for event in train(parts, state):
        if isinstance(event, Step):
            yield


def _lora(rank: int) -> dict[str, object]:
    return {"adapter.rank": rank, "adapter.alpha": rank, "adapter.targets": "attention", "adapter.text": False}
