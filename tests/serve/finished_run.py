"""A run folder as a training and an evaluation leave it, without the minutes that they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from bakehouse.core.events import Finished, Sampled, Started, Step
from bakehouse.core.files import write_json
from bakehouse.core.run_folder import Run
from bakehouse.recipe import make_plan, plan_to_toml, recipe_for_folder, scan_concepts

SCORES = Path(__file__).with_name("scores_of_an_evaluation.json")
"""What `bakehouse evaluate` wrote of a run on crumb, without its pictures."""
EPOCHS, STEPS = 2, 8
STATES = ("weights/mrx-woman-000002.safetensors@1", "weights/mrx-woman.safetensors@1")


def write_finished_run(
    folder: Path, dataset: Path, *, evaluated: bool = True, loss: float = 0.1, **settings: Any
) -> Run:
    """Write a run of `STEPS` steps on a dataset; keys of `settings` have `__` for a dot."""
    run = Run(folder)
    values = {key.replace("__", "."): value for key, value in settings.items()}
    recipe = recipe_for_folder(dataset, "mrx woman", settings=values)
    plan = make_plan(recipe, scan_concepts(recipe))
    folder.mkdir(parents=True)
    run.recipe.write_text(plan_to_toml(plan))
    run.append(Started(run=folder.name, step=0, steps=STEPS, epochs=EPOCHS, device="cpu"))
    for number in range(1, STEPS + 1):
        value = loss / number
        run.append(
            Step(step=number, epoch=(number - 1) * EPOCHS // STEPS + 1, loss=value, subject_loss=value,
                 prior_loss=value / 10, rates={"unet": 1e-3}, images_per_s=1.0, memory=1)
        )  # fmt: skip
    run.samples.mkdir()
    for step in (0, STEPS // 2, STEPS):
        for number in range(2):
            path = run.samples / f"step-{step:06d}-{number}.png"
            Image.new("RGB", (64, 64), (20 * step, 60 * number + 40, 120)).save(path)
            run.append(Sampled(step=step, path=f"samples/{path.name}"))
    run.append(Finished(step=STEPS, seconds=1, weights="weights/mrx-woman.safetensors"))
    run.weights.mkdir()
    (run.weights / "mrx-woman.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    if evaluated:
        _write_report(run, dataset)
    return run


def _write_report(run: Run, dataset: Path) -> None:
    scores = json.loads(SCORES.read_text("utf-8"))
    place = run.report / "cache" / "pictures"
    place.mkdir(parents=True)
    names = [f"base/words/{n}" for n in range(4)] + [f"{state}/subject/{n}" for state in STATES for n in range(4)]
    for number, name in enumerate(names):
        Image.new("RGB", (64, 64), (19 * number, 90, 200 - 11 * number)).save(
            place / f"{number:024x}.webp", lossless=True
        )
        scores["pictures"][name] = f"cache/pictures/{number:024x}.webp"
    scores["references"] = [str(path.resolve()) for path in sorted(dataset.glob("*.png"))]
    write_json(run.report / "scores.json", scores)
