"""What is done to served pictures: the safety checker, the note of their origin, and headers that say so."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.generation.digital_source_type import SOURCE_TYPE
from bakehouse.generation.infotext import Infotext, encode
from bakehouse.serve.settings import ServeSettings
from bakehouse.serve.work.engine import EngineSettings
from bakehouse.serve.work.safety import SafetyChecker
from bakehouse.serve.work.worker_process import WorkerSettings
from tests.serve.conftest import image_in, start
from tests.serve.test_own import CAT


def make_checker(folder, threshold: float):
    """A tiny random checker in diffusers' layout; a cosine above the threshold is flagged."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**small, "image_size": 32, "patch_size": 16, "projection_dim": 8}
    config = CLIPConfig(text_config={**small, "vocab_size": 64}, vision_config=vision, projection_dim=8)
    torch.manual_seed(0)
    model = StableDiffusionSafetyChecker(config)
    model.concept_embeds_weights.data.fill_(threshold)
    model.special_care_embeds_weights.data.fill_(2.0)
    model.save_pretrained(folder)
    return folder


def test_a_checker_flags_what_is_above_its_thresholds(tmp_path):
    image = Image.new("RGB", (48, 40), (200, 30, 30))
    assert SafetyChecker(str(make_checker(tmp_path / "all", -2.0)), "cpu").flags(image)
    checker = SafetyChecker(str(make_checker(tmp_path / "pipeline" / "safety_checker", 2.0).parent), "cpu")
    assert not checker.flags(image)


def test_what_is_no_checker_is_refused(tmp_path):
    with pytest.raises(BakehouseError, match=r"config\.json"):
        SafetyChecker(str(tmp_path), "cpu")
    with pytest.raises(UsageError, match="no such folder"):
        SafetyChecker("nowhere", "cpu")
    pickled = make_checker(tmp_path / "pickled", 0.0)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(BakehouseError, match=r"no model\.safetensors"):
        SafetyChecker(str(pickled), "cpu")


def test_a_flagged_picture_is_black_and_the_answer_says_so(tmp_path):
    checker = make_checker(tmp_path / "checker", -2.0)
    engine = EngineSettings(workers=(WorkerSettings(device="cpu", safety_checker=str(checker)),))
    for running in start(tmp_path / "data", engine=engine):
        answer = running.post("/api/v1/draw", {**CAT, "steps": 1})
        (picture,) = answer.json()["pictures"]
        assert picture["flagged"]
        assert not np.asarray(image_in(picture["image"])).any()
        assert Infotext.parse(picture["infotext"]).get("Safety checker") == "flagged"
        assert answer.headers["x-flagged-pictures"] == "1"
        assert answer.headers["x-safety-checker"] == "on"


def test_every_answer_says_what_is_done_to_pictures(running):
    for path in ("/health", "/api/v1/models", "/models/nowhere", "/nowhere"):
        headers = running.get(path).headers
        assert (headers["x-safety-checker"], headers["x-watermark"]) == ("off", "off")
        assert headers["x-provenance"] == "iptc-digital-source-type"
    assert ServeSettings(models=()).picture_notes["X-Safety-Checker"] == "off"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("infotext", [True, False])
def test_a_served_file_says_that_a_model_has_made_it(running, kind, infotext):
    body = {**CAT, "steps": 1, "format": {"kind": kind, "infotext": infotext}}
    answer = running.post("/api/v1/draw", body, headers={"Accept": "image/*"})
    image = Image.open(io.BytesIO(answer.content))
    note = image.info.get("XML:com.adobe.xmp") or image.info["xmp"].decode()
    assert f'DigitalSourceType="{SOURCE_TYPE}"' in note
    assert (b"a cat" in answer.content or b"a\0 \0c" in answer.content) == infotext


def test_the_note_is_read_as_xmp():
    from xml.etree import ElementTree

    image = Image.open(io.BytesIO(encode(Image.new("RGB", (8, 8)), None, ".png", provenance=True)))
    text = image.info["XML:com.adobe.xmp"]
    root = ElementTree.fromstring(text[text.index("<x:xmpmeta") : text.index("<?xpacket end")])
    (description,) = root[0]
    assert SOURCE_TYPE in description.attrib.values()
    assert "XML:com.adobe.xmp" not in Image.open(io.BytesIO(encode(Image.new("RGB", (8, 8)), None, ".png"))).info
