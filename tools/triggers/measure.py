"""Train an arm, generate its prompts and count tags of the images."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bakehouse import training
from bakehouse.captions.triggers import explain
from bakehouse.core.events import Event, Progress, Step
from bakehouse.core.files import write_json
from bakehouse.data.compile_captions import inseparable_pairs
from bakehouse.generation import ImageRequest, Pipeline
from bakehouse.recipe import Recipe, make_plan, scan_concepts
from bakehouse.recipe.compile_recipe_captions import compile_recipe, compiled_images
from bakehouse.vision.taggers import CrumbTagger
from tools.triggers.arms import CLASS, WORD, Arm, write_images

PLACES = ("white background", "at the beach", "in a forest", "gray background", "in the city", "in a meadow")
SEEDS = 4
"""Images of each prompt in each place."""
SEED = 5000
STEPS = 8
BASE_PROMPTS = {
    "class": f"{CLASS}, {{place}}, portrait",
    "other": f"{CLASS}, green afro, round glasses, red hoodie, {{place}}, portrait",
}


def recipe_of(arm: Arm, folder: Path) -> Recipe:
    """Return the planned recipe for a character on crumb, without samples."""
    values = {
        "name": arm.name.replace(" ", "-").replace(",", ""),
        "concepts": [{"folder": str(folder.resolve()), "subject": f"{WORD} {CLASS}"}],
        "triggers": list(arm.triggers),
        "sample": {"prompts": []},
        "save": {"every_epochs": 0},
        "train": {} if arm.epochs is None else {"epochs": arm.epochs},
    }
    return Recipe.parse(values, source=f"the arm {arm.name}")


def predicted(recipe: Recipe) -> dict[str, Any]:
    """Return the explanation of `triggers explain` for a recipe."""
    images = scan_concepts(recipe)
    plan = make_plan(recipe.model_copy(update={"triggers": ()}), compiled_images(recipe, images))
    repeats = [i.repeats for i in plan.subject_images]
    return explain(compile_recipe(recipe, images), recipe.triggers, repeats).to_json()


def train(recipe: Recipe, run: Path) -> Iterator[Event]:
    """Train an arm; one that is refused because its triggers are indistinguishable is trained all the same.

    Its compiled captions are given with all its words as one trigger, so that class images have none of them.
    """
    images = scan_concepts(recipe)
    if not inseparable_pairs(compile_recipe(recipe, images)):
        return training.train(recipe, run, images)
    together = ", ".join(t.head for t in recipe.triggers)
    concept = recipe.concepts[0].model_copy(update={"trigger": together, "class_word": CLASS})
    as_one = recipe.model_copy(update={"triggers": (), "concepts": (concept,)})
    return training.train(as_one, run, compiled_images(recipe, images))


def result_of(arm: Arm, out: Path) -> Path:
    """Return the path of an arm's result."""
    return out / arm.name.replace(" ", "-").replace(",", "") / "result.json"


def measure(arm: Arm, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the arm's result; finished parts are not repeated."""
    done = result_of(arm, out)
    place = done.parent
    if done.is_file():
        found: dict[str, Any] = json.loads(done.read_text("utf-8"))
        return found
    write_images(arm, place / "images", out / "render")
    recipe = recipe_of(arm, place / "images")
    for event in train(recipe, place / "run"):
        if not isinstance(event, Step | Progress):
            say(f"{arm.name}: {event.to_json()['event']}")
    result = {"predicted": predicted(recipe), "seen": seen(place / "run", arm.prompts, place / "pictures", say)}
    write_json(done, result)
    return result


def base_rates(out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the base model on the same places and seeds, without the trigger."""
    done = out / "base.json"
    if not done.is_file():
        write_json(done, seen("crumb", BASE_PROMPTS, out / "base", say))
    found: dict[str, Any] = json.loads(done.read_text("utf-8"))
    return found


def seen(
    model: str | Path, prompts: Mapping[str, str], album: Path, say: Callable[[str], None]
) -> dict[str, list[dict[str, str]]]:
    """Return the tagger's attributes of each image of each prompt, by group."""
    pipeline, tagger = Pipeline.open(model), CrumbTagger.load()
    album.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, prompt in prompts.items():
        requests = [
            ImageRequest(prompt=prompt.format(place=p), seed=SEED + 100 * i, count=SEEDS, steps=STEPS)
            for i, p in enumerate(PLACES)
        ]
        pictures = [p.image for p in pipeline.generate(requests, batch=SEEDS)]
        for i in range(0, len(pictures), SEEDS):
            pictures[i].save(album / f"{name.replace(' ', '-')}-{i // SEEDS}.png")
        tagged = tagger(pictures)
        found[name] = [{g: v for g, (v, _) in tagged.best(i).items()} for i in range(len(pictures))]
        say(f"{album.parent.name}: {name}, {len(pictures)} pictures")
    return found


def share(pictures: list[dict[str, str]], **wanted: str) -> tuple[int, int]:
    """Count the images with all of some values (`hair_color="lavender"`); return count and total."""
    asked = {g.replace("_", " "): v for g, v in wanted.items()}
    return sum(all(p[g] == v for g, v in asked.items()) for p in pictures), len(pictures)


def interval(hits: int, of: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson 1927)."""
    z, p = 1.96, hits / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of))
