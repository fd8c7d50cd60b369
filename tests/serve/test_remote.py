"""`bakehouse generate http://host:port/MODEL`: the files that it writes are those that are drawn here."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from bakehouse.cli.main import main
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.generation import ImageRequest
from bakehouse.generation.img2img_settings import FromImage, Inpaint
from bakehouse.generation.regions import Region, Regions
from bakehouse.generation.remote import RemoteModel, _split, draw_body
from bakehouse.serve.dialects.own_body import DrawBody
from tests.serve.conftest import png


@pytest.fixture
def said(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def say(*words: str, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as e:
            main(list(words))
        out, err = capsys.readouterr()
        assert (e.value.code or 0) == code, err
        return out, err

    return say


def test_a_script_moves_to_a_server_by_one_word(live, said, tmp_path, monkeypatch):
    options = [
        "a {cat|dog}",
        "--steps",
        "2",
        "--seed",
        "7",
        "-n",
        "3",
        "--sampler",
        "euler",
        "--json",
        "--negative",
        "x",
    ]
    here = json.loads(said("generate", "crumb", *options, "-o", "here")[0])
    monkeypatch.setenv("BAKEHOUSE_TOKEN", live.ready["token"])
    there = json.loads(said("generate", live.ready["url"] + "/crumb", *options, "-o", "there")[0])
    names = [one["path"].partition("/")[2] for one in here]
    assert [one["path"].partition("/")[2] for one in there] == names == ["00001-7.png", "00002-8.png", "00003-9.png"]
    for one, other in zip(here, there, strict=True):
        assert {**one, "path": ""} == {**other, "path": ""}
        first, second = (np.asarray(Image.open(tmp_path / path["path"]), int) for path in (one, other))
        assert np.abs(first - second).max() <= 1


def test_an_image_is_sent_along(live, said, tmp_path):
    (tmp_path / "red.png").write_bytes(png((128, 128)))
    words = ["a cat", "--image", "red.png", "--strength", "0.2", "--steps", "2", "--token", live.ready["token"], "-q"]
    path = said("generate", live.ready["url"], *words)[0].strip()
    assert path.endswith("-red.png")
    mean = np.asarray(Image.open(tmp_path / path).convert("RGB"), float).mean((0, 1))
    assert mean[0] > mean[1] + 40


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["{url}/crum", "a cat"], 2, "did you mean 'crumb'"),
        (["{url}/crumb", "a cat", "--steps", "999"], 2, "server's limit"),
        (["{url}/crumb", "a cat", "--weight", "1", "--adapter", "x"], 2, "--weight, --adapter"),
        (["{url}/crumb"], 2, "PROMPT is missing"),
        (["http://", "a cat"], 2, "not the address of a model"),
        (["http://me:secret@127.0.0.1/crumb", "a cat"], 2, "BAKEHOUSE_TOKEN"),
        (["http://127.0.0.1:9/crumb", "a cat"], 1, "cannot be reached"),
    ],
)
def test_what_cannot_be_drawn_there_says_why(live, said, words, status, expected):
    _, err = said("generate", *(word.format(url=live.ready["url"]) for word in words), "--token", live.ready["token"],
                  code=status)  # fmt: skip
    assert expected in err
    assert "secret" not in err
    assert live.ready["token"] not in err


def test_a_token_that_is_missing_is_asked_for(live, said):
    assert "BAKEHOUSE_TOKEN" in said("generate", live.ready["url"] + "/crumb", "a cat", code=2)[1]


def test_a_request_is_sent_whole(tmp_path):
    """Every field of a request arrives: a field that is added to it must be added to the API."""
    import asyncio

    (tmp_path / "a.png").write_bytes(png())
    regions = Regions(regions=(Region(area="0,0,50,100", prompt="b"), Region(mask=tmp_path / "a.png", prompt="c")))
    request = ImageRequest(
        prompt="a", negative="b", width=64, height=72, steps=3, guidance=2.0, sampler="euler a", seed=3, clip_skip=2,
        variation_seed=4, variation_strength=0.5, seed_resize=(64, 64), tiling=True, rng="nv", ensd=5, eta=0.5,
        image=FromImage(image=tmp_path / "a.png", strength=0.4), inpaint=Inpaint(mask=tmp_path / "a.png", blur=2),
        regions=regions,
    )  # fmt: skip

    async def save(text: str, name: str):
        path = tmp_path / f"{name}.png"
        path.write_bytes(__import__("base64").b64decode(text))
        assert path.read_bytes() == png()
        return tmp_path / "a.png"

    body = DrawBody.model_validate(json.loads(json.dumps(draw_body(request))))
    made = asyncio.run(body.drawing("crumb", save)).request
    assert {**vars(made), "regions": None} == {**vars(request), "regions": None}
    assert [one.box for one in made.regions.regions] == [one.box for one in regions.regions]


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_many_images_are_asked_for_in_parts(strength):
    request = ImageRequest(prompt="x", seed=5, variation_seed=9, variation_strength=strength, count=7)
    parts = [one for part in _split(request, 3) for one in part.each()]
    assert parts == list(request.each())


def test_another_kind_of_server_is_told_apart(live):
    with pytest.raises(UsageError, match="not the address"):
        RemoteModel.parse("https://")
    model = RemoteModel.parse("http://127.0.0.1:7860/owner/model", "t")
    assert (model.url, model.model) == ("http://127.0.0.1:7860", "owner/model")
    with pytest.raises(BakehouseError, match="no such address"):
        RemoteModel(live.ready["url"] + "/nowhere", None, live.ready["token"])._send("GET", "/x?y")
