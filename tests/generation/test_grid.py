from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Progress, result_of
from bakehouse.core.run_folder import Run
from bakehouse.generation import Drawn, Grid, ImageRequest, Pipeline, make_grid, parse_axis, read_recipe, resolve
from bakehouse.generation.infotext import read


@pytest.fixture
def asked() -> ImageRequest:
    return ImageRequest(prompt="a robot at night", width=64, height=64, steps=2, seed=5)


def finished(work: Generator[Event, None, Grid]) -> tuple[Grid, list[Event]]:
    events: list[Event] = []
    return result_of(work, events.append), events


def counts(events: list[Event]) -> tuple[int, int]:
    (drawn,) = (e for e in events if isinstance(e, Drawn))
    return drawn.made, drawn.reused


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def test_a_grid_of_a_run(trained: Run, asked: ImageRequest, tmp_path: Path) -> None:
    grid, events = finished(make_grid(trained.folder, "epoch", "weight=0,0.5,1", asked, tmp_path))
    assert (len(grid.cells), len(grid.cells[0])) == (3, 3)
    assert (grid.x_labels[0], grid.y_labels) == ("Epoch: 1", ("Weight: 0", "Weight: 0.5", "Weight: 1"))
    progress = [e for e in events if isinstance(e, Progress)]
    assert ([e.done for e in progress], {e.total for e in progress}) == (list(range(10)), {9})
    base, half, full = grid.cells
    assert all(np.array_equal(pixels(base[0]), pixels(other)) for other in base), "weight 0 is the base in every epoch"
    assert not np.array_equal(pixels(full[0]), pixels(full[1]))
    assert not np.array_equal(pixels(half[0]), pixels(full[0]))
    info = read(half[1])
    assert info is not None
    assert info.prompt == "a robot at night <lora:zwx-000002:0.5>"


def test_cells_are_the_pictures_a_pipeline_makes(lora: Path, asked: ImageRequest, tmp_path: Path) -> None:
    grid, _ = finished(make_grid(lora, "weight=1", "seed=7,5", asked, tmp_path))
    with Pipeline.open(lora) as pipeline:
        (alone,) = pipeline.txt2img(asked)
    assert np.abs(pixels(grid.cells[1][0]) - np.asarray(alone.image, np.int16)).max() <= 1


def test_an_interrupted_grid_makes_nothing_twice(
    asked: ImageRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_grid("crumb", "seed=1-3", "steps=1,2", asked, tmp_path, batch=1)
    done = 0
    for event in work:
        done = event.done if isinstance(event, Progress) else done
        if done == 2:
            work.close()
    first = {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()}
    assert (len(first), (tmp_path / "grid.png").exists()) == (2, False)

    _, events = finished(make_grid("crumb", "seed=1-3", "steps=1,2", asked, tmp_path, batch=1))
    assert counts(events) == (4, 2)
    assert all(p.stat().st_mtime_ns == when for p, when in first.items())

    monkeypatch.setattr(Pipeline, "open", lambda *_, **__: pytest.fail("nothing is missing, so nothing is loaded"))
    _, events = finished(make_grid("crumb", "seed=1-3", "steps=1,2", asked, tmp_path))
    assert counts(events) == (0, 6)
    _, events = finished(make_grid("crumb", "steps=2,1", "seed=3,1", asked, tmp_path, title="turned"))
    assert counts(events) == (0, 4)


def test_cells_belong_to_what_decides_them(lora: Path, other_lora: Path, asked: ImageRequest, tmp_path: Path) -> None:
    made = []
    for model, request, more in (
        ("crumb", asked, {}),
        (lora, asked, {}),
        (other_lora, asked, {}),
        (lora, asked, {"adapters": [other_lora]}),
        (lora, asked, {"adapters": [(other_lora, 0.5)]}),
        (lora, replace(asked, negative="red"), {}),
        (lora, replace(asked, guidance=5.0), {}),
    ):
        grid, events = finished(make_grid(model, "seed=1", None, request, tmp_path, **more))
        assert counts(events) == (1, 0)
        made.append(pixels(grid.cells[0][0]))
    assert all(not np.array_equal(a, b) for i, a in enumerate(made) for b in made[:i])


def test_cells_are_told_apart_by_schedule_and_precision(asked: ImageRequest, tmp_path: Path) -> None:
    crumb = resolve("crumb")
    for source, more in (
        (crumb, {}),
        (replace(crumb, prediction="v_prediction"), {}),
        (replace(crumb, zero_terminal_snr=True), {}),
        (crumb, {"dtype": "bf16"}),
    ):
        _, events = finished(make_grid(source, "seed=1", None, replace(asked, steps=1), tmp_path, **more))
        assert counts(events) == (1, 0)


def test_the_costly_thing_changes_least(
    trained: Run, asked: ImageRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swaps: list[str] = []
    swap = Pipeline.swap
    monkeypatch.setattr(Pipeline, "swap", lambda self, ref: swaps.append(Path(ref).stem) or swap(self, ref))
    finished(make_grid(trained.folder, "seed=1-3", "epoch", asked, tmp_path))
    assert swaps == ["zwx-000001", "zwx-000002", "zwx"]


def test_an_open_pipeline_is_left_as_it_was(trained: Run, asked: ImageRequest, tmp_path: Path) -> None:
    with Pipeline.open(trained.folder) as pipeline:
        before = pipeline.adapters
        finished(make_grid(pipeline, "epoch=1,2", None, asked, tmp_path))
        assert pipeline.adapters == before
        with pipeline.adapter_strengths(0.5):
            _, events = finished(make_grid(pipeline, "epoch=1,2", None, asked, tmp_path))
        assert counts(events) == (2, 0), "another weight is another picture"


def test_a_grid_is_made_again_from_its_png(lora: Path, asked: ImageRequest, tmp_path: Path) -> None:
    request = replace(asked, prompt='a "robot", at night \u732b', seed=-1)
    grid, _ = finished(make_grid(lora, "weight=0,1", 'replace="a ""robot"", at",a person', request, tmp_path / "a"))
    recipe = read_recipe(grid.path)
    assert (recipe, recipe.request.seed, recipe.base) == (grid.recipe, 1, "crumb")
    again, _ = finished(make_grid(recipe.model, recipe.x, recipe.y, recipe.request, tmp_path / "b", base=recipe.base))
    assert np.array_equal(pixels(grid.path), pixels(again.path))
    assert [p.name for row in again.cells for p in row] == [p.name for row in grid.cells for p in row]
    info = read(grid.path)
    assert info is not None
    assert (info.get("Script"), info.get("X Type"), info.get("X Values")) == ("X/Y/Z plot", "Weight", "0, 1")


def test_captions_stand_under_the_pictures(asked: ImageRequest, tmp_path: Path) -> None:
    heard: list[tuple[tuple[int, int], int]] = []
    plain, _ = finished(make_grid("crumb", "seed=1,2", None, asked, tmp_path))
    height = len(pixels(plain.path))

    def score(image: Image.Image, cell: Any) -> str:
        heard.append((image.size, cell.request.seed))
        return "0.5"

    finished(make_grid("crumb", "seed=1,2", None, asked, tmp_path, caption=score))
    assert heard == [((64, 64), 1), ((64, 64), 2)]
    assert len(pixels(plain.path)) > height


def test_same_cells_are_made_once(asked: ImageRequest, tmp_path: Path) -> None:
    grid, events = finished(make_grid("crumb", "sampler=euler,Euler", "seed=1,1", asked, tmp_path))
    assert counts(events) == (1, 0)
    assert len({p for row in grid.cells for p in row}) == 1


def test_axes_can_be_given_whole(asked: ImageRequest, tmp_path: Path) -> None:
    axis = parse_axis("seed=1,2", resolve("crumb"), asked)
    grid, _ = finished(make_grid("crumb", axis, None, asked, tmp_path))
    assert (grid.x_labels, grid.y_labels) == (("Seed: 1", "Seed: 2"), ("",))


def test_errors_come_before_any_picture(asked: ImageRequest, tmp_path: Path, lora: Path) -> None:
    cases: list[tuple[tuple[Any, ...], str]] = [
        (("crumb", "seed", "seed=1", asked), r"both axes, seed and seed, vary the same setting"),
        ((lora, f"adapter={lora}", f"checkpoint={lora}", asked), r"both axes, adapter and checkpoint"),
        (("crumb", "weight", None, asked), r"crumb has no adapter, so there is no strength to vary"),
        (("crumb", "epoch", None, asked), r"crumb is not a run"),
        (("crumb", "seed", "replace=cat,dog", asked), r"'cat', its first value, is not in the prompt"),
        (("crumb", "seed", "steps=0,1", asked), r"steps = 0: allowed are 1 to 1000"),
        (("crumb", "adapter=no.safetensors", None, asked), r"'no\.safetensors' does not exist"),
        (("crumb", "seed", None, replace(asked, count=2)), r"count = 2: a grid has one image"),
    ]
    for arguments, message in cases:
        with pytest.raises(UsageError, match=message):
            next(make_grid(*arguments, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_no_grid(asked: ImageRequest, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"a\.png is not a grid"):
        read_recipe(tmp_path / "a.png")
    grid, _ = finished(make_grid("crumb", "seed=1", None, asked, tmp_path))
    grid.cells[0][0].write_text("broken")
    with pytest.raises(BakehouseError, match=r"cannot read .*\n.*delete it"):
        finished(make_grid("crumb", "seed=1", None, asked, tmp_path))
