"""The loop of `bakehouse train`, with its caches, captions, guards and events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bakehouse.core.events import Step, result_of
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe import make_plan, recipe_for_folder
from bakehouse.training.loop import Callback, run_loop
from bakehouse.training.offload import PrefetchCallback
from bakehouse.training.prepare import build_components, prepare_model
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
    encoders = prepare_model(model, plan.recipe, model.device)
    components, state = result_of(build_components(plan, model, precision=work.precision))
    callbacks: list[Callback] = [PrefetchCallback(plan, components.objective, encoders)] if encoders else []
    for event in run_loop(components, state, callbacks):
        if isinstance(event, Step):
            yield


def _lora(rank: int) -> dict[str, object]:
    return {"adapter.rank": rank, "adapter.alpha": rank, "adapter.targets": "attention", "adapter.text": False}
