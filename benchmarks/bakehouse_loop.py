"""The training loop of `bakehouse train`, with its caches, captions, checks and events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bakehouse.core.events import Step, result_of
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe import make_plan, recipe_for_folder
from bakehouse.training.loop import run_loop
from bakehouse.training.offload import PrefetchCallback
from bakehouse.training.prepare import build_components, prepare_model
from bakehouse.training.step_callbacks import Callback
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
    encoders = prepare_model(model, plan.recipe, model.device)
    components, state = result_of(build_components(plan, model, precision=workload.precision))
    callbacks: list[Callback] = [PrefetchCallback(plan, components.objective, encoders)] if encoders else []
    for event in run_loop(components, state, callbacks):
        if isinstance(event, Step):
            yield


def _lora(rank: int) -> dict[str, object]:
    return {"adapter.rank": rank, "adapter.alpha": rank, "adapter.targets": "attention", "adapter.text": False}
