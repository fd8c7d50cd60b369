"""Regions of a picture: what is asked for, what comes of it, and the same picture again from its infotext."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.core.events import Warned
from bakehouse.generation import Box, FromImage, Hires, ImageRequest, Inpaint, Pipeline, Region, Regions
from bakehouse.generation.infotext import Infotext, read, write
from bakehouse.generation.model_source import ModelSource
from bakehouse.generation.placed_adapters import Strengths, strengths
from bakehouse.generation.prompt_files import PromptFiles
from bakehouse.generation.read_prompts import PromptAdapter, ReadPrompt
from bakehouse.generation.region_infotext import read_regions, region_settings
from bakehouse.generation.region_masks import region_masks
from bakehouse.generation.reproduce import find_adapters, read_reproduction
from bakehouse.models.denoiser import Denoiser

PROMPT = "pink afro, tan skin, (green hoodie:1.2), [at the beach:in a forest:0.5]"


def largest_difference(a: Image.Image, b: Image.Image) -> int:
    return max(high for _, high in ImageChops.difference(a, b).getextrema())


def drawn(pipeline: Pipeline, request: ImageRequest, **how) -> Image.Image:
    return next(iter(pipeline.generate([request], **how))).image


@pytest.fixture
def with_loras(crumb: Denoiser, lora: Path, other_lora: Path, tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline whose prompts may name the adapters zwx and qqq."""
    for path in (lora, other_lora):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with Pipeline(crumb, ModelSource("crumb", title="crumb"), files=PromptFiles(tmp_path)) as opened:
        yield opened


def halves(left: str, right: str, **how) -> Regions:
    return Regions.parse([f"left: {left}", f"right: {right}"], **how)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("edge", [0, 5])
def test_regions_with_the_main_prompt_are_the_plain_prompt(pipeline, asked, guidance, edge):
    request = replace(asked, prompt=PROMPT, negative="red", guidance=guidance)
    plain = drawn(pipeline, request)
    for regions in (Regions.parse([f"0,0,100,100: {PROMPT}"], edge=edge), halves(PROMPT, PROMPT, edge=edge)):
        assert largest_difference(plain, drawn(pipeline, replace(request, regions=regions))) <= 1
    other = drawn(pipeline, replace(request, regions=halves(PROMPT, "a robot at night", edge=edge)))
    assert largest_difference(plain, other) > 2


def test_adapters_of_a_region_over_all_are_those_of_the_plain_prompt(with_loras, asked):
    prompt = f"{PROMPT} <lora:zwx:0.8:0.6> <lora:qqq:0.5>"
    plain = drawn(with_loras, replace(asked, prompt=prompt))
    regions = Regions.parse([f"0,0,100,100: {prompt}"])
    assert largest_difference(plain, drawn(with_loras, replace(asked, prompt=prompt, regions=regions))) <= 1
    alone = replace(asked, prompt=PROMPT, regions=replace(regions, base=0.0))
    assert largest_difference(plain, drawn(with_loras, alone)) <= 1, "the main prompt need not name them"
    assert largest_difference(plain, drawn(with_loras, replace(asked, prompt=PROMPT))) > 5


def test_each_region_has_its_own_adapters(with_loras, asked):
    def with_tags(left: str, right: str) -> Image.Image:
        return drawn(with_loras, replace(asked, regions=halves(f"{PROMPT}{left}", f"{PROMPT}{right}")))

    made = with_tags("<lora:zwx:1>", "<lora:qqq:1>")
    for others in (("<lora:qqq:1>", "<lora:zwx:1>"), ("<lora:zwx:1>", ""), ("", ""), ("<lora:zwx:1>", "<lora:qqq:-1>")):
        assert largest_difference(made, with_tags(*others)) > 2, others
    assert largest_difference(made, with_tags("<lora:zwx:1>", "<lora:qqq:1>")) == 0, "the same seed, the same picture"
    plain = drawn(with_loras, replace(asked, prompt=f"{PROMPT} <lora:zwx:4>"))
    same = with_tags("<lora:zwx:4>", "<lora:zwx:4>")
    assert largest_difference(plain, same) > 2, "the main prompt, which has a share, does not name it"


def test_what_each_prompt_asks_of_an_adapter():
    a, b = Path("a"), Path("b")

    def read(*tags: list[PromptAdapter]) -> ReadPrompt:
        return ReadPrompt((), tuple(tags[0]), regions=tuple(ReadPrompt((), tuple(one)) for one in tags[1:]))

    in_left = read([], [PromptAdapter(a, 0.5, 0.8)], [])
    assert strengths((a, None), in_left) == Strengths((0, 0.5, 0), (0, 0.8, 0))
    assert strengths((a, None), in_left, own=1.0) == Strengths((0, 0.5, 0), (0, 0.8, 0)), "it acts where it is named"
    assert strengths((b, None), in_left, own=0.7) == Strengths((0.7,) * 3, (0.7,) * 3), "nobody names it"
    both = read([PromptAdapter(a, 0.3, 0.3)], [PromptAdapter(a, 0.9, 0.9, rank=2)], [PromptAdapter(b, 1, 1)])
    assert strengths((a, None), both, own=1.0) == Strengths((0.3, 0, 0.3), (0.3, 0, 0.3))
    assert strengths((a, 2), both) == Strengths((0, 0.9, 0), (0, 0.9, 0))
    assert strengths((a, None), read([PromptAdapter(a, 0.2, 0.4)]), own=1.0) == Strengths((0.2,), (0.4,))


def test_a_batch_does_not_matter(with_loras, asked):
    words = ", ".join(["green hoodie"] * 45)  # more than 75 tokens in one of them
    regions = halves(f"{PROMPT} <lora:zwx:1>", f"{words} BREAK red <lora:qqq:0.5>")
    request = replace(asked, count=3, regions=regions)
    for a, b in zip(with_loras.txt2img(request, batch=1), with_loras.txt2img(request, batch=3), strict=True):
        assert largest_difference(a.image, b.image) <= 1


def test_plain_pictures_among_those_with_regions_stay_what_they_were(with_loras, asked):
    plain = replace(asked, prompt=f"{PROMPT} <lora:zwx:1>")
    alone = drawn(with_loras, plain)
    made = list(with_loras.generate([plain, replace(asked, regions=halves("red <lora:zwx:1>", "blue")), plain]))
    assert [largest_difference(alone, made[i].image) for i in (0, 2)] == [0, 0]


def test_hires_and_images_take_regions_too(pipeline, asked):
    left, right = halves("pink afro", "green hoodie"), halves("pink afro", "a robot at night")
    image = FromImage(image=Image.new("RGB", (80, 64), "teal"), strength=0.9)
    for request in (
        replace(asked, hires=Hires(scale=1.5, strength=0.9)),
        replace(asked, image=image, width=None, height=None),
    ):
        assert largest_difference(*(drawn(pipeline, replace(request, regions=r)) for r in (left, right))) > 2
    with pytest.raises(Problems, match="only masked"):
        ImageRequest(
            prompt="x", image=image, regions=left, inpaint=Inpaint(mask=Image.new("L", (80, 64)), area="only masked")
        )


def test_names_and_boxes_become_masks():
    names = ("left", "right", "top", "bottom", "left-third", "middle-third", "right-third")
    masks = dict(zip(names, region_masks(Regions.parse([f"{n}: x" for n in names], edge=0), (96, 60)), strict=True))
    assert all(mask.shape == (60, 96) for mask in masks.values())
    assert (masks["left"] + masks["right"] == 1).all() and masks["left"][:, :48].all()
    assert (masks["top"] + masks["bottom"] == 1).all() and masks["top"][:30].all()
    assert (masks["left-third"] + masks["middle-third"] + masks["right-third"] == 1).all()
    (box,) = region_masks(Regions.parse(["25,10,50,100: x"], edge=0), (96, 60))
    assert box[6:, 24:48].all() and box.sum() == 54 * 24
    (same,) = region_masks(Regions(regions=(Region(area=Box(25, 10, 50, 100), prompt="x"),), edge=0), (96, 60))
    assert (box == same).all()


def test_edges_are_soft_and_halves_still_make_a_whole():
    left, right = region_masks(halves("a", "b", edge=5), (64, 64))
    np.testing.assert_allclose(left + right, 1, atol=0.01)
    row = left[32]
    assert row[0] == 1 and row[-1] == 0 and (np.diff(row) <= 0).all() and 0 < row[30] < 1
    assert (np.abs(left - left[:1]) < 0.01).all(), "the picture's own edges are not soft"


def test_masks_are_read_from_brightness_or_transparency(tmp_path):
    gray = Image.new("L", (32, 32))
    gray.paste(255, (0, 0, 16, 32))
    gray.paste(128, (16, 0, 24, 32))
    clear = Image.merge("RGBA", (*[Image.new("L", (32, 32), 9)] * 3, gray))
    gray.save(tmp_path / "gray.png")
    regions = (Region(mask=tmp_path / "gray.png", prompt="a"), Region(mask=clear, prompt="b"))
    of_file, in_memory = region_masks(Regions(regions=regions, edge=0), (64, 64))
    assert (of_file == in_memory).all() and of_file.shape == (64, 64)
    assert of_file[0, 0] == 1 and of_file[0, 63] == 0 and of_file[0, 40] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lft: a", "'lft'; did you mean 'left'"),
        ("middle: a", "no area of an image is called 'middle'"),
        ("10,0,150,100: a", "right = 150: allowed are 0 to 100"),
        ("-5,0,50,100: a", "left = -5: allowed are 0 to 100"),
        ("nan,0,50,100: a", "left = nan: allowed are 0 to 100"),
        ("60,0,50,100: a", "left = 60 must be less than right = 50"),
        ("10,0,50: a", "'10,0,50' cannot be read as a box"),
        ("left: ", "the region left cannot be drawn:\n  - it has no prompt"),
        ("a cat", "'a cat' has no colon"),
        ("mask=me: a", "its mask cannot be read"),
    ],
)
def test_each_region_that_cannot_be_read_is_said(text, said):
    with pytest.raises(UsageError) as e:
        Region.parse(text)
    assert said in str(e.value)


def test_values_out_of_range_are_said():
    with pytest.raises(Problems) as e:
        Regions.parse(["left: a"], base=1.5, edge=-1)
    assert "base = 1.5" in str(e.value) and "edge = -1" in str(e.value)
    with pytest.raises(Problems, match="0 regions"):
        Regions(regions=())
    with pytest.raises(Problems, match="an area or a mask, and not both"):
        Region(area="left", mask="m.png", prompt="a")


def test_what_only_the_picture_tells_is_refused_before_the_first_one(with_loras, asked, tmp_path):
    Image.new("L", (64, 32), 255).save(tmp_path / "flat.png")
    Image.new("L", (64, 64), 0).save(tmp_path / "black.png")
    for text, said in (
        (f"mask={tmp_path / 'flat.png'}: a", "flat.png is 64x32, the image is 64x64: the shape differs"),
        (f"mask={tmp_path / 'black.png'}: a", "marks nothing"),
        (f"mask={tmp_path / 'none.png'}: a", "none.png: it does not exist"),
        ("left: a <lora:zwy:1>", "the region left: <lora:zwy> is not used.*did you mean <lora:zwx>"),
        ("left: a AND b", "the region left has AND"),
    ):
        with pytest.raises(BakehouseError, match=said):
            with_loras.generate([asked, replace(asked, regions=Regions.parse([text]))])
    with pytest.raises(UsageError, match="the main prompt has AND"):
        with_loras.generate([replace(asked, prompt="a AND b", regions=Regions.parse(["left: a"]))])


def test_warnings_name_the_region(pipeline, asked):
    heard: list[Warned] = []
    request = replace(asked, regions=Regions.parse(["left: a <hypernet:x:1>"]))
    drawn(pipeline, request, on_event=heard.append)
    assert any(isinstance(event, Warned) and event.message.startswith("the region left: ") for event in heard), heard


def test_infotext_tells_the_regions_and_brings_them_back(with_loras, lora, other_lora, asked, tmp_path):
    Image.new("L", (64, 64), 255).save(tmp_path / "all.png")
    texts = ['left: a "red" hat: <lora:zwx:0.8:0.6>', "33.3,0,100,50.25: b", f"mask={tmp_path / 'all.png'}: c"]
    request = replace(asked, prompt="two, people <lora:qqq:0.5>", regions=Regions.parse(texts, base=0.35, edge=2.5))
    made = next(with_loras.txt2img(request))
    path = write(made.image, made.infotext, tmp_path / "made.png")
    info = read(path)
    assert info is not None and info == made.infotext == Infotext.parse(str(made.infotext))
    assert info.get("Region 1") == texts[0] and info.get("Region base") == "0.35" and len(info.get("Lora hashes")) > 20
    wanted = read_reproduction(path)
    assert wanted.notes == () and wanted.request.regions is not None
    assert [str(region) for region in wanted.request.regions.regions] == texts
    adapters = find_adapters(wanted, (lora, other_lora))
    with Pipeline.open("crumb", adapters=adapters) as pipeline:
        again = next(pipeline.txt2img(wanted.request))
    assert largest_difference(again.image, made.image) == 0
    assert again.infotext == made.infotext


def test_an_own_adapter_that_a_region_names_is_not_written_into_the_main_prompt(crumb, lora, asked):
    with Pipeline.open("crumb", adapters=[lora]) as pipeline:
        made = next(pipeline.txt2img(replace(asked, regions=Regions.parse(["left: red <lora:zwx:0.8>"]))))
        plain = next(pipeline.txt2img(asked))
    assert "<lora" not in made.infotext.prompt and "zwx" in made.infotext.get("Lora hashes")
    assert "<lora:zwx:1>" in plain.infotext.prompt


def test_masks_that_have_gone_or_changed_are_said(tmp_path):
    mask = tmp_path / "m.png"
    Image.new("L", (8, 8), 255).save(mask)
    settings = {name: str(value) for name, value in region_settings(Regions.parse([f"mask={mask}: a"])).items()}
    assert read_regions(settings)[1] == ()
    mask.rename(tmp_path / "elsewhere.png")
    with pytest.raises(UsageError, match=r"m\.png of a region, which is not there"):
        read_regions(settings)
    (tmp_path / "beside").mkdir()
    Image.new("L", (8, 8), 254).save(tmp_path / "beside" / "m.png")
    regions, notes = read_regions(settings, tmp_path / "beside")
    assert regions is not None and regions.regions[0].mask == tmp_path / "beside" / "m.png"
    assert "not the one" in notes[0]
