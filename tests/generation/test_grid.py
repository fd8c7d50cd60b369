from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Progress, Warned, result_of
from bakehouse.core.run_folder import Run
from bakehouse.generation import (
    FromImage,
    Grid,
    GridSaved,
    ImageRequest,
    Pipeline,
    make_grid,
    parse_axis,
    read_recipe,
    resolve,
)
from bakehouse.generation import pipeline as pipelines
from bakehouse.generation.infotext import read


@pytest.fixture
def asked() -> ImageRequest:
    return ImageRequest(prompt="a robot at night", width=64, height=64, steps=2, seed=5)


def finished(work: Generator[Event, None, Grid]) -> tuple[Grid, list[Event]]:
    events: list[Event] = []
    return result_of(work, events.append), events


def counts(events: list[Event]) -> tuple[int, int]:
    (saved,) = (e for e in events if isinstance(e, GridSaved))
    return saved.made, saved.reused


def files(grid: Grid, z: int = 0) -> list[list[Path]]:
    """The images of one plane, none of which failed."""
    found = [[cell.path for cell in row] for row in grid.cells[z]]
    assert all(path is not None for row in found for path in row)
    return found  # type: ignore[return-value]


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def test_a_grid_of_a_run(trained: Run, asked: ImageRequest, tmp_path: Path) -> None:
    grid, events = finished(make_grid(trained.folder, "epoch", "weight=0,0.5,1", asked, tmp_path))
    assert [len(row) for row in files(grid)] == [3, 3, 3]
    assert (grid.x_labels[0], grid.y_labels) == ("Epoch: 1", ("Weight: 0", "Weight: 0.5", "Weight: 1"))
    progress = [e for e in events if isinstance(e, Progress)]
    assert ([e.done for e in progress], {e.total for e in progress}) == (list(range(10)), {9})
    base, half, full = files(grid)
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
    assert np.abs(pixels(files(grid)[1][0]) - np.asarray(alone.image, np.int16)).max() <= 1


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
        made.append(pixels(files(grid)[0][0]))
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
    read: list[str] = []
    load = pipelines.load_weights
    monkeypatch.setattr(pipelines, "load_weights", lambda path, *a: read.append(path.stem) or load(path, *a))
    epochs = ["zwx-000001", "zwx-000002", "zwx"]
    for i, axes in enumerate((("seed=1,2", "weight=0.5,1", "epoch"), ("epoch", "seed=1,2", "weight=0.5,1"))):
        x, y, z = axes
        finished(make_grid(trained.folder, x, y, asked, tmp_path / str(i), z=z))
        assert read == epochs, f"whatever axis they are on, each is read once: {axes}"
        read.clear()


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
    grid, _ = finished(
        make_grid(lora, "weight=0,1", 'replace="a ""robot"", at",a person', request, tmp_path / "a", z="steps=1,2")
    )
    recipe = read_recipe(grid.path)
    assert (recipe, recipe.request.seed, recipe.base) == (grid.recipe, 1, "crumb")
    again, _ = finished(
        make_grid(recipe.source(), recipe.x, recipe.y, recipe.request, tmp_path / "b", z=recipe.z, **recipe.opening())
    )
    assert np.array_equal(pixels(grid.path), pixels(again.path))
    for z in range(2):
        assert [p.name for row in files(again, z) for p in row] == [p.name for row in files(grid, z) for p in row]
    info = read(grid.path)
    assert info is not None
    assert (info.get("Script"), info.get("X Type"), info.get("X Values")) == ("X/Y/Z plot", "Weight", "0, 1")
    assert (info.get("Z Type"), info.get("Z Values")) == ("Steps", "1, 2")


def test_a_grid_made_again_has_the_weights_of_its_time(
    trained: Run, asked: ImageRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = finished(make_grid(trained.folder, "seed=1", None, asked, tmp_path))
    recipe = read_recipe(first.path)
    assert recipe.base == "", "a run knows its base"
    early = trained.weights / "zwx-000001.safetensors"
    monkeypatch.setattr("bakehouse.generation.model_source.selected_weights", lambda run: (early, 0.5))
    assert resolve(trained.folder).adapters == ((early, 0.5),)
    assert recipe.source().adapters == ((trained.weights / "zwx.safetensors", 1.0),)
    with pytest.raises(UsageError, match=r"gone\.safetensors, which the grid was made with"):
        replace(recipe, weights=(("gone.safetensors", 1.0),)).source()


def test_scores_stand_under_the_images(asked: ImageRequest, tmp_path: Path) -> None:
    heard: list[tuple[str, int]] = []
    plain, _ = finished(make_grid("crumb", "seed=1,2", None, asked, tmp_path))
    height = len(pixels(plain.path))

    def score(paths: Sequence[Path], requests: Sequence[ImageRequest]) -> list[str]:
        heard.extend((path.name, request.seed) for path, request in zip(paths, requests, strict=True))
        return [f"subject 0.{request.seed}" for request in requests]

    scored, events = finished(make_grid("crumb", "seed=1,2", None, asked, tmp_path, scores=score))
    assert counts(events) == (0, 2)
    assert heard == [(path.name, seed) for path, seed in zip(files(plain)[0], (1, 2), strict=True)]
    assert [cell.caption for cell in scored.cells[0][0]] == ["subject 0.1", "subject 0.2"]
    assert len(pixels(scored.path)) > height
    assert "subject 0.2" in scored.page.read_text()


def test_same_cells_are_made_once(asked: ImageRequest, tmp_path: Path) -> None:
    grid, events = finished(make_grid("crumb", "sampler=euler,Euler", "seed=1,1", asked, tmp_path))
    assert counts(events) == (1, 0)
    assert len({p for row in files(grid) for p in row}) == 1


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
        (("crumb", "size=64x64", "width=64", asked), r"both axes, size and width"),
        (("crumb", "strength=0.5", None, asked), r"strength has no effect without --image FILE"),
        (("crumb", "hires_steps=2", None, asked), r"hires_steps has no effect without --hires TIMES"),
        (("crumb", "lora_weight", None, asked), r"lora_weight varies the strength of an added adapter"),
        (("crumb", "trigger=a,b", None, asked), r"crumb is not a run, so there is no trigger"),
        (("crumb", "sampler=nothing", None, asked), r"axis sampler: sampler = 'nothing': unknown"),
        (("crumb", "seed=1-100", "steps=1-100", asked), r"10,000 cells: allowed are 2,000"),
        (
            ("crumb", "seed=1,2", None, replace(asked, image=FromImage(image=Image.new("RGB", (64, 64))))),
            r"image is in memory",
        ),
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
    files(grid)[0][0].write_text("broken")
    _, events = finished(make_grid("crumb", "seed=1", None, asked, tmp_path))
    assert counts(events) == (1, 0), "a damaged image is made again"


def test_a_cell_that_fails_is_blank_and_the_others_are_made(asked: ImageRequest, tmp_path: Path) -> None:
    grid, events = finished(make_grid("crumb", "size=64x64,63x64,64x72", "seed=1,2", asked, tmp_path))
    assert counts(events) == (4, 0)
    for row in grid.cells[0]:
        assert [cell.path is None for cell in row] == [False, True, False]
        assert "63" in row[1].failure
    warned = [e.message for e in events if isinstance(e, Warned)]
    assert len(warned) == 2
    assert all(w.startswith(f"Size: 63x64, Seed: {seed}: ") for w, seed in zip(warned, (1, 2), strict=True)), warned
    assert events[-1].failed == 2  # type: ignore[attr-defined]
    progress = [e for e in events if isinstance(e, Progress)]
    assert (progress[-1].done, progress[-1].total) == (6, 6)
    assert grid.cells[0][0][1].failure in grid.page.read_text()


def test_a_damaged_adapter_fails_alone(lora: Path, asked: ImageRequest, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(lora.read_bytes()[:-1000])
    grid, events = finished(make_grid(lora, f"adapter={lora},{broken}", "seed=1,2", asked, tmp_path / "grid"))
    assert counts(events) == (2, 0)
    assert all(row[1].path is None and row[1].failure for row in grid.cells[0])
    unharmed, _ = finished(make_grid(lora, "seed=1,2", None, asked, tmp_path / "alone"))
    for made, alone in zip(grid.cells[0], unharmed.cells[0][0], strict=True):
        assert made[0].path is not None and alone.path is not None
        assert np.array_equal(pixels(made[0].path), pixels(alone.path))


def test_a_failure_of_writing_ends_the_grid(
    asked: ImageRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise BakehouseError("the disk is full")

    monkeypatch.setattr("bakehouse.generation.grids.draw_cells.write", full)
    with pytest.raises(BakehouseError, match="the disk is full"):
        finished(make_grid("crumb", "seed=1,2", None, asked, tmp_path))


def test_an_added_adapter_is_an_axis(lora: Path, other_lora: Path, asked: ImageRequest, tmp_path: Path) -> None:
    axis = f"lora=none,{other_lora},{other_lora}:0.5"
    grid, _ = finished(make_grid(lora, axis, "lora_weight=0,0.5", asked, tmp_path / "a"))
    off, half = files(grid)
    same = [pixels(path) for path in (*off, half[0])]
    assert all(np.array_equal(same[0], other) for other in same), "at strength 0 it is as without it"
    assert not np.array_equal(pixels(half[1]), same[0])
    assert np.array_equal(pixels(half[1]), pixels(half[2])), "the axis of strengths decides"
    given, _ = finished(make_grid(lora, "seed=5", None, asked, tmp_path / "b", adapters=[(other_lora, 0.5)]))
    assert np.array_equal(pixels(files(given)[0][0]), pixels(half[1]))


def test_a_grid_from_an_image(asked: ImageRequest, tmp_path: Path) -> None:
    for name, color in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (64, 64), color).save(tmp_path / name)
    one = replace(asked, image=FromImage(image=str(tmp_path / "a.png")))
    images = f"image={tmp_path / 'a.png'},{tmp_path / 'b.png'}"
    grid, _ = finished(make_grid("crumb", images, "strength=0,0.5", one, tmp_path / "grid"))
    assert grid.x_labels == ("a.png", "b.png")
    (red, blue), _ = ([pixels(path).mean(axis=(0, 1)) for path in row] for row in files(grid))
    assert not np.allclose(red, blue)
    assert len({path for row in files(grid) for path in row}) == 4

    Image.new("RGB", (64, 64), "green").save(tmp_path / "a.png")
    _, events = finished(make_grid("crumb", images, "strength=0,0.5", one, tmp_path / "grid"))
    assert counts(events) == (2, 2), "cells belong to what the file holds"
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    images = images.replace("a.png", "c.png")
    moved = replace(one, image=FromImage(image=str(tmp_path / "c.png")))
    _, events = finished(make_grid("crumb", images, "strength=0,0.5", moved, tmp_path / "grid"))
    assert counts(events) == (0, 4), "whatever its name is"
    recipe = read_recipe(grid.path)
    assert recipe.request == replace(moved, variation_seed=1)


def test_triggers_are_an_axis(trained: Run, asked: ImageRequest, tmp_path: Path) -> None:
    request = replace(asked, prompt="zwx person at night")
    grid, _ = finished(make_grid(trained.folder, "trigger=zwx,qqq,none", None, request, tmp_path))
    prompts = [cell.request.prompt for cell in grid.cells[0][0]]
    assert prompts == ["zwx person at night", "qqq person at night", "person at night"]
