"""A run of the tiny model with real adapter files, evaluated in the world of squares; and a Hub on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bakehouse.core.events import Saved, result_of
from bakehouse.core.run_folder import Run
from bakehouse.evaluation import evaluate
from bakehouse.recipe import recipe_for_folder, recipe_to_toml
from bakehouse.training.run_inputs import RunInputs
from tests.doctor.conftest import write_adapter as write_adapter
from tests.evaluation.conftest import HERO, PLACES, SquareGenerator, SquareScorer, square
from tests.publish.hub_server import Hub, running_hub

OPENRAIL = "---\nlicense: creativeml-openrail-m\n---\n"
NAME = "zwx-person.safetensors"
LEARNED, NOTHING = "0.9 0 0", "0 0 0"


class WorldOf(SquareGenerator):
    """Weights are real adapters here: a table says what each has learned."""

    def __init__(self, learned: Mapping[str, str], folder: Path) -> None:
        super().__init__()
        self._texts = {name: folder / f"{name}.txt" for name in learned}
        for name, path in self._texts.items():
            path.write_text(learned[name])

    def generate(self, variant: Any, prompts: Any, settings: Any) -> Iterator[Any]:
        if variant.weights is not None:
            variant = replace(variant, weights=self._texts[variant.weights.name])
        yield from super().generate(variant, prompts, settings)


@pytest.fixture(scope="session")
def base_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a model card that names its licence."""
    folder = tmp_path_factory.mktemp("base") / "tiny-base"
    shutil.copytree(tiny_folder, folder)
    (folder / "README.md").write_text(OPENRAIL)
    return folder


@pytest.fixture(scope="session")
def make_run(base_folder: Path, write_adapter: Callable[..., Path]) -> Callable[..., Run]:
    """Writes an evaluated run; `learned` is what each of its two weights has learned."""

    def make(
        folder: Path, first: str = LEARNED, last: str = LEARNED, *, evaluated: bool = True, kind: str = "character"
    ) -> Run:
        photos, run = folder / "photos of anna", Run(folder / "run")
        photos.mkdir(parents=True)
        for i in range(8):
            square(*HERO, list(PLACES.values())[i % 4], noise=i).save(photos / f"{i}.png")
            (photos / f"{i}.txt").write_text(f"zwx person, {list(PLACES)[i % 4]}")
        quick = {
            "buckets.resolution": 64, "buckets.step": 16, "train.batch": 8, "train.epochs": 2, "sample.prompts": [],
            "evaluate.images": 6, "evaluate.weights": [1.0], "evaluate.steps": 2,
        }  # fmt: skip
        recipe = recipe_for_folder(photos, "zwx person", kind=kind, base=str(base_folder), settings=quick)
        run.folder.mkdir()
        plan = RunInputs.from_recipe(recipe).plan
        run.recipe.write_text(recipe_to_toml(plan.recipe), "utf-8")
        header = {"bakehouse.recipe": recipe_to_toml(plan.recipe), "ss_sd_model_name": str(base_folder)}
        learned = {"zwx-person-000001.safetensors": first, NAME: last}
        for epoch, name in enumerate(learned, start=1):
            write_adapter(run.weights / name, seed=epoch, **header)
            run.append(Saved(step=epoch, epoch=epoch, path=f"weights/{name}"))
        if evaluated:
            world = WorldOf(learned, folder)
            result_of(evaluate(run, scorer=SquareScorer(), generator=world))
        return run

    return make


@pytest.fixture(scope="session")
def learned_run(make_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose first checkpoint learned its subject; the last one has damaged everything else."""
    return make_run(tmp_path_factory.mktemp("learned"), LEARNED, "1 0.9 0.9")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The Hub's routes on this machine, which the Hub's client takes for the Hub."""
    from huggingface_hub import constants

    with running_hub() as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its storage has routes of its own
        yield server
