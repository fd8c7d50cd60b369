from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bakehouse.core.errors import UsageError
from bakehouse.core.run_folder import Run
from bakehouse.generation import AXES, ImageRequest, ModelSource, make_axis, parse_axis, resolve
from bakehouse.generation.grid_axes import Axis, GridCell

CRUMB = ModelSource("crumb", title="crumb")
ASKED = ImageRequest(prompt="a cat in a hat", seed=3)


def values(text: str, source: ModelSource = CRUMB) -> tuple[object, ...]:
    return parse_axis(text, source, ASKED).values


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("seed=1,2, 7", (1, 2, 7)),
        ("seed=1-4", (1, 2, 3, 4)),
        ("seed=9,1-2", (9, 1, 2)),
        ("steps=10-30 (+10)", (10, 20, 30)),
        ("steps=30-10(-10)", (30, 20, 10)),
        ("steps=1-10 [4]", (1, 4, 7, 10)),
        ("weight=0-1 (+0.25)", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("weight=-1-1", (-1.0, 0.0, 1.0)),
        ("weight=0.4-1.0 [4]", (0.4, 0.6, 0.8, 1.0)),
        ("guidance=4", (4.0,)),
        ('prompt="a cat, red",a dog', ("a cat, red", "a dog")),
        ('prompt="she said ""no"", twice"', ('she said "no", twice',)),
        ("sampler=Euler a,DDIM", ("Euler a", "DDIM")),
        ("replace=cat, dog", ("cat", "dog")),
        ("size=64x128,128x64", ("64x128", "128x64")),
        ("seed", (3, 4, 5, 6)),
        ("weight", (0.4, 0.6, 0.8, 1.0)),
    ],
)
def test_values_as_the_webui_writes_them(text: str, wanted: tuple[object, ...]) -> None:
    assert values(text) == wanted


def test_an_axis_is_read_back_from_its_own_text() -> None:
    for text in ('prompt="a, b", c, "say ""x"""', "weight=0.25, 1, -0.5", "steps=10-30 (+10)", "sampler"):
        axis = parse_axis(text, CRUMB, ASKED)
        assert parse_axis(str(axis), CRUMB, ASKED) == axis


def test_values_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\ufeffa cat, red\n\n  a dog\n", encoding="utf-8")
    assert values(f"prompt=@{tmp_path / 'prompts.txt'}") == ("a cat, red", "a dog")


def test_epochs_of_a_run(trained: Run) -> None:
    source = resolve(trained.folder)
    axis = parse_axis("epoch", source, ASKED)
    assert axis.labels == ("Epoch: 1", "Epoch: 2", "Epoch: 3")
    assert [Path(v).stem for v in axis.values] == ["zwx-000001", "zwx-000002", "zwx"]
    assert values("epoch=last,1", source) == (axis.values[2], axis.values[0])
    assert values("epoch=1-2", source) == axis.values[:2]
    assert parse_axis("checkpoint", source, ASKED).labels == ("zwx-000001", "zwx-000002", "zwx")
    assert values("checkpoint=zwx-000002", source) == (axis.values[1],)


def put(text: str, cell: GridCell) -> list[GridCell]:
    axis = parse_axis(text, CRUMB, ASKED)
    return [axis.apply(cell, i) for i in range(len(axis.values))]


def test_each_kind_changes_its_own_thing() -> None:
    cell = GridCell(ASKED)
    assert put("replace=cat,dog", cell)[1].request.prompt == "a dog in a hat"
    assert put("size=64x128", cell)[0].request == replace(ASKED, width=64, height=128)
    assert put("weight=0.5", cell)[0] == GridCell(ASKED, strength=0.5)
    assert put("adapter=a.safetensors", cell)[0] == GridCell(ASKED, weights="a.safetensors")
    for name in ("prompt", "negative", "seed", "steps", "guidance", "sampler", "clip_skip"):
        assert getattr(put(f"{name}=2", cell)[0].request, name) in ("2", 2)


@pytest.mark.parametrize("name", AXES)
def test_every_row_has_labels(name: str, trained: Run) -> None:
    texts = {"size": ["64x64"], "epoch": [1], "sampler": ["Euler"]}.get(name, ["1"])
    axis = make_axis(name, texts, resolve(trained.folder), ASKED)
    assert isinstance(axis, Axis)
    assert all(axis.labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede=1", r"axis 'sede': unknown; did you mean 'seed'\?\n.*allowed are epoch"),
        ("seed=1.5", r"axis seed: '1\.5' is not a whole number"),
        ("weight=much", r"axis weight: 'much' is not a number"),
        ("prompt", r"axis prompt needs values"),
        ("seed=", r"axis seed needs values"),
        ("size=64", r"WIDTHxHEIGHT"),
        ("steps=1-9 (-1)", r"a step of -1 does not lead from 1 to 9"),
        ("steps=1-9 (+0)", r"a step of 0"),
        ("epoch=1", r"crumb is not a run, so it has no epochs"),
        ("prompt=@nowhere.txt", r"cannot read nowhere\.txt"),
    ],
)
def test_errors_name_the_axis_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_axis(text, CRUMB, ASKED)


def test_an_epoch_that_is_not_there(trained: Run) -> None:
    with pytest.raises(UsageError, match=r"epoch 7: zwx-run has 1, 2, 3"):
        parse_axis("epoch=7", resolve(trained.folder), ASKED)


def test_a_word_to_replace_must_be_there() -> None:
    with pytest.raises(UsageError, match=r"replace: 'dog', its first value, is not in the prompt 'a cat in a hat'"):
        put("replace=dog,cat", GridCell(ASKED))
