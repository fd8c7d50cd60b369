from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.run_folder import Run
from bakehouse.generation import (
    AXES,
    Extend,
    FromImage,
    Hires,
    ImageRequest,
    Inpaint,
    ModelSource,
    parse_axis,
    resolve,
)
from bakehouse.generation.grids.cells import GridCell
from bakehouse.generation.grids.request_axes import NOT_VARIED
from bakehouse.generation.grids.request_axes import PART_NAMES as NAMES
from bakehouse.generation.templates import library

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
        ("size=64x128,128x64", ((64, 128), (128, 64))),
        ("guidance=0-1 [5]", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("steps=1-10 [5]", (1, 3, 5, 7, 10)),
        ("steps=1-10 (+2)", (1, 3, 5, 7, 9)),
        ("weight=-.5-.5 [3]", (-0.5, 0.0, 0.5)),
        ("prompt=1-3", ("1-3",)),
        ("tiling", (False, True)),
        ("emphasis=original, no-norm", ("original", "no-norm")),
        ("clip-skip=none,1", (None, 1)),
        ("eta=none, 1", (None, 1.0)),
        ("lora=none", ((),)),
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
    assert put("seed resize=64x128", cell)[0].request.seed_resize == (64, 128)
    assert [c.request.hires for c in put("hires=none,1.5", cell)] == [None, Hires(scale=1.5)]
    assert put("lora_weight=0.5", cell)[0] == GridCell(ASKED, lora_strength=0.5)
    assert put("weight=0.5", cell)[0] == GridCell(ASKED, strength=0.5)
    assert put("adapter=a.safetensors", cell)[0] == GridCell(ASKED, weights="a.safetensors")
    for name in ("prompt", "negative", "seed", "steps", "guidance", "clip_skip"):
        assert getattr(put(f"{name}=2", cell)[0].request, name) in ("2", 2)


def has_text(hint: Any) -> bool:
    """Whether a field's type can be written as one value of an axis."""
    parts = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    simple = (int, float, bool, str, Extend, tuple[int, int])
    return any(part in simple or get_origin(part) is Literal for part in parts)


def test_every_field_of_a_request_is_an_axis() -> None:
    for name, hint in get_type_hints(ImageRequest).items():
        if has_text(hint):
            assert (name in AXES) != (name in NOT_VARIED), name
    named = {name: NAMES.get(name, "_".join(name)) for name in PART_FIELDS}
    assert not [field for field, name in named.items() if name not in AXES]


PART_FIELDS = [
    (part, field)
    for part, made in (("image", FromImage), ("inpaint", Inpaint), ("hires", Hires))
    for field in get_type_hints(made)
]


@pytest.mark.parametrize(("part", "field"), PART_FIELDS)
def test_every_field_of_a_part_changes_that_field_alone(part: str, field: str, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(image)
    given: dict[str, Any] = {"image": FromImage(image="b.png"), "inpaint": Inpaint(mask="c.png"), "hires": None}
    if part == "hires":
        given = {"image": None, "inpaint": None, "hires": Hires()}
    before = replace(ASKED, **given)
    text = {
        "image": str(image), "mask": str(image), "strength": "0.3", "resize": "crop", "extend": '"left=8,up=16"',
        "invert": "yes", "blur": "9", "content": "fill", "area": "only masked", "padding": "7", "scale": "1.5",
        "upscaler": "lanczos", "steps": "3",
    }[field]  # fmt: skip
    axis = parse_axis(f"{NAMES.get((part, field), f'{part}_{field}')}={text}", CRUMB, before)
    after = axis.apply(GridCell(before), 0).request
    changed = replace(getattr(after, part), **{field: getattr(getattr(before, part), field)})
    assert getattr(after, part) != getattr(before, part)
    assert replace(after, **{part: changed}) == before


def test_a_template_is_put_around_the_prompt() -> None:
    request = replace(ASKED, prompt="a zwx cat")
    name = library()[0].name
    axis = parse_axis(f"template={name}:1,{name}:2", CRUMB, request)
    prompts = [axis.apply(GridCell(request), i).request.prompt for i in range(2)]
    assert all("a zwx cat" in prompt and prompt != "a zwx cat" for prompt in prompts)
    assert prompts[0] != prompts[1]


def test_labels_name_files_by_their_names_alone(lora: Path) -> None:
    axis = parse_axis(f"lora=none,{lora},{lora}:0.5", CRUMB, ASKED)
    assert axis.labels == ("LoRA: none", f"LoRA: {lora.stem}", f"LoRA: {lora.stem}:0.5")
    assert parse_axis(f"model={lora.parent}/base.safetensors", CRUMB, ASKED).labels == ("base",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede=1", r"axis 'sede': unknown; did you mean 'seed'\?\n.*allowed are epoch"),
        ("seed=1.5", r"axis seed: '1\.5' is not a whole number"),
        ("weight=much", r"axis weight: 'much' is not a number"),
        ("weight=nan", r"axis weight: 'nan': must be finite"),
        ("seed=1,-1", r"axis seed: -1: a random seed could not be made again"),
        ("prompt", r"axis prompt needs values"),
        ("schedule=karas", r"axis schedule: .*karas"),
        ("emphasis=loud", r"axis emphasis: 'loud': unknown\n.*allowed are original"),
        ("tiling=perhaps", r"axis tiling: 'perhaps': allowed are yes and no"),
        ("image=nowhere.png", r"axis image: nowhere\.png: there is no such file"),
        ("lora=nowhere", r"axis lora: adapter 'nowhere' does not exist"),
        ("template=nothing", r"axis template: "),
        ("seed=1-100000", r"axis seed: range '1-100000' has 100,000 values"),
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
