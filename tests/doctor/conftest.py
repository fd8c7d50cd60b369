"""Runs and adapter files in which a problem is made on purpose: written, not trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bakehouse.adapters import LoRA, inject, save_adapter
from bakehouse.core.events import Event, Failed, Finished, Saved, Started, Step, result_of
from bakehouse.core.run_folder import Run
from bakehouse.doctor import DoctorSpec, Report, examine
from bakehouse.recipe import recipe_for_folder, recipe_to_toml
from bakehouse.training.run_inputs import RunInputs

TAGS = {"photos": {"zwx person": 8, "smiling": 4}}
HEADER = {
    "ss_base_model_version": "sd_v1",
    "modelspec.architecture": "stable-diffusion-v1/lora",
    "modelspec.prediction_type": "epsilon",
    "modelspec.trigger_phrase": "zwx person",
    "ss_tag_frequency": json.dumps(TAGS),
}


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch):
    """Hundreds of events, each waiting for the disk, are most of the time; no test pulls the plug."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="session")
def write_adapter(make_tiny: Callable[..., Any]) -> Callable[..., Path]:
    """Writes an adapter for the tiny model whose change has about a hundredth of the norm of the weights."""
    model = make_tiny()

    def write(path: Path, *, seed: int = 0, scale: float = 0.02, spec: Any = None, **header: str) -> Path:
        generator = torch.Generator().manual_seed(seed)
        spec = spec or LoRA(rank=4, alpha=4, targets="attention", text=True)
        adapter = inject(spec, model.trainable_modules(), generator=generator)
        with torch.no_grad():
            for parameter in adapter.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale**0.5)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_adapter(adapter, path, {k: v for k, v in {**HEADER, **header}.items() if v}, dtype=torch.float32)
        adapter.remove()
        return path

    return write


def changed(path: Path, change: Callable[[str, torch.Tensor], torch.Tensor], out: Path | None = None) -> Path:
    """Write a file with each tensor changed, and the header as it was."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as f:
        header = f.metadata()
    tensors = {key: change(key, tensor).contiguous() for key, tensor in load_file(path).items()}
    save_file(tensors, out or path, header)
    return out or path


@pytest.fixture
def new_run(tmp_path: Path, tiny_folder: Path, write_adapter: Callable[..., Path]) -> Callable[..., Run]:
    """Writes a run of the tiny model as if it had been trained: healthy, unless a keyword makes it ail."""

    def make(
        *,
        captions: Callable[[int], str] = lambda i: f"zwx person, place {i}",
        losses: Callable[[int, int], float] = lambda i, steps: 0.2 - 0.1 * i / steps + 0.01 * (i % 3),
        settings: Mapping[str, Any] | None = None,
        stop_at: int | None = None,
        failure: str = "",
        prior: bool = False,
        kind: str = "character",
    ) -> Run:
        photos, run = tmp_path / "photos", Run(tmp_path / "runs" / "me")
        photos.mkdir()
        rng = np.random.default_rng(0)
        for i in range(8):
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(photos / f"{i}.png")
            (photos / f"{i}.txt").write_text(captions(i))
        quick = {"buckets.resolution": 64, "buckets.step": 16, "train.batch": 8, "sample.prompts": []}
        recipe = recipe_for_folder(
            photos, "zwx person", kind=kind, base=str(tiny_folder), settings={**quick, **(settings or {})}
        )
        run.folder.mkdir(parents=True)
        inputs = RunInputs.from_recipe(recipe)
        plan = inputs.plan
        inputs.save(run)
        run.recipe.write_text(recipe_to_toml(plan.recipe), "utf-8")
        done = plan.steps if stop_at is None else stop_at
        events: list[Event] = [
            Started(run=str(run.folder), step=0, steps=plan.steps, epochs=plan.epochs, device="cpu"),
            *(_step(i, losses(i, done), plan, prior) for i in range(1, done + 1)),
        ]
        write_adapter(run.weights / "zwx-person.safetensors")
        events.append(Saved(step=done, epoch=plan.epochs, path="weights/zwx-person.safetensors"))
        if failure:
            events.append(Failed(step=done, error=failure, last_good=None))
        elif stop_at is None:
            events.append(Finished(step=done, seconds=60.0, weights="weights/zwx-person.safetensors"))
        lines = [json.dumps(event.to_json()) for event in events]
        run.events.write_text("\n".join(lines) + "\n", "utf-8")
        return run

    return make


def _step(number: int, loss: float, plan: Any, prior: bool) -> Step:
    return Step(
        step=number, epoch=(number - 1) // plan.steps_per_epoch + 1, loss=loss, subject_loss=loss,
        prior_loss=0.1 if prior else None, rates={"unet": plan.recipe.optimizer.lr}, images_per_s=9.0, memory=1,
    )  # fmt: skip


def look(*paths: Path | Run, **spec: Any) -> Report:
    """Examine files or a run."""
    named = [p.folder if isinstance(p, Run) else p for p in paths]
    return result_of(examine(named, DoctorSpec.parse(spec)))


def found(report: Report, check: str) -> dict[str, str]:
    """The results of one check by their names."""
    return {f.name: f.result for f in report.findings if f.id == check}
