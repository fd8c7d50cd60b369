from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.vision.taggers.base import MIN_SCORE, TagPrediction
from bakehouse.vision.taggers.factory import load_tagger
from bakehouse.vision.taggers.onnx_tagger import OnnxTagger
from bakehouse.vision.taggers.preprocessing import PREPROCESSING, Preprocessing, to_input

from . import make_onnx as make

ALL = {"character": 0.5, "general": 0.5}


def plain(color, size=(20, 20)):
    return Image.new("RGB", size, color)


def said(tagger, image, thresholds=ALL):
    return tagger.to_tags(tagger.predict([image])[0], thresholds)


def test_wd_sees_blue_first_and_white_around_the_picture(tmp_path):
    tagger = OnnxTagger(make.wd(tmp_path))
    assert said(tagger, plain("blue")) == ["first_channel", "^_^"]
    assert said(tagger, plain("red")) == ["third_channel", "^_^"]
    # A thin black strip is filled up with white: all channels are bright.
    assert {"first_channel", "second_channel", "third_channel", "a_hero"} <= set(said(tagger, plain("black", (2, 40))))
    assert said(tagger, plain("black")) == ["^_^"]


def test_characters_come_first_and_of_ratings_one(tmp_path):
    tagger = OnnxTagger(make.wd(tmp_path))
    words = said(tagger, plain("white"), {"rating": 0.5, "character": 0.5, "general": 0.5})
    assert words[:2] == ["sensitive", "a_hero"]
    assert "general" not in words
    assert said(tagger, plain("white"), {}) == []


def test_cl_tagger(tmp_path):
    tagger = OnnxTagger(make.cl(tmp_path))
    assert tagger.thresholds == {"general": 0.55, "character": 0.6}
    assert said(tagger, plain("blue")) == ["first_channel"]
    assert said(tagger, plain("lime")) == ["hero_(series)"]
    assert said(tagger, plain("black"), {"rating": 0.5, "quality": 0.5}) == ["safe", "best quality"]
    # Logits became probabilities.
    assert tagger.predict([plain("blue")])[0].scores["general"]["first_channel"] == pytest.approx(1 / (1 + np.exp(-4)))


def test_deepdanbooru(tmp_path):
    tagger = OnnxTagger(make.deepdanbooru(tmp_path))
    assert said(tagger, plain("red")) == ["red_all_over"]
    assert said(tagger, plain("blue"), {"rating": 0.5, "general": 0.5}) == ["safe", "blue_all_over"]
    # Its edges are repeated: a thin red strip is red all over.
    assert said(tagger, plain("red", (2, 40))) == ["red_all_over"]


def test_a_batch_is_the_same_as_one_by_one(tmp_path):
    tagger = OnnxTagger(make.wd(tmp_path / "any"))
    fixed = OnnxTagger(make.wd(tmp_path / "fixed", batch=2))
    images = [plain(c) for c in ("red", "lime", "blue", "white", "gray")]
    alone = [tagger.predict([image])[0] for image in images]
    for one, other in zip(alone, tagger.predict(images), strict=True):
        assert one.scores["general"] == pytest.approx(other.scores["general"], abs=1e-6)
    for one, other in zip(alone, fixed.predict(images), strict=True):
        assert one.scores["general"] == pytest.approx(other.scores["general"], abs=1e-6)
    assert tagger.predict([]) == []


def test_scores_below_the_floor_are_not_kept_and_sights_are_read_again(tmp_path):
    prediction = OnnxTagger(make.wd(tmp_path)).predict([plain("black")])[0]
    assert all(p >= MIN_SCORE for tags in prediction.scores.values() for p in tags.values())
    assert "never" not in prediction.scores["general"]
    again = TagPrediction.from_json(prediction.to_json())
    assert again.to_json() == prediction.to_json()


@pytest.mark.parametrize(
    ("name", "general"),
    [
        ("wd-vit-tagger-v3", 0.2614), ("wd-vit-large-tagger-v3", 0.2606), ("wd-swinv2-tagger-v3", 0.2653),
        ("wd-convnext-tagger-v3", 0.2682), ("wd-eva02-large-tagger-v3", 0.5296), ("wd-v1-4-moat-tagger-v2", 0.3771),
        ("wd-v1-4-convnextv2-tagger-v2", 0.371), ("wd-v1-4-convnext-tagger-v2", 0.3685), ("mine", 0.35),
        ("models--SmilingWolf--wd-v1-4-vit-tagger-v2/snapshots/1f3f3e8", 0.3537),
    ],
)  # fmt: skip
def test_thresholds_of_known_taggers(tmp_path, name, general):
    tagger = OnnxTagger(make.wd(tmp_path / name))
    assert tagger.thresholds == {"general": general, "character": 0.85}


def test_what_the_list_does_not_tell_stands_in_a_file(tmp_path):
    model = make.wd(tmp_path, channels_first=True)
    with pytest.raises(UsageError, match="channels first"):
        OnnxTagger(model)
    (tmp_path / "tagger.toml").write_text('channels = "rgb"\nthresholds = {general = 0.2}\n')
    tagger = OnnxTagger(model)
    assert said(tagger, plain("red"))[0] == "first_channel"
    assert tagger.thresholds == {"general": 0.2}
    (tmp_path / "tagger.toml").write_text('chanels = "rgb"\n')
    with pytest.raises(Problems, match="did you mean 'channels'"):
        OnnxTagger(model)


def test_a_size_that_is_not_said(tmp_path):
    model = make.wd(tmp_path, side="S")
    with pytest.raises(UsageError, match="no fixed input size"):
        OnnxTagger(model)
    (tmp_path / "tagger.toml").write_text("size = 24\n")
    assert said(OnnxTagger(model), plain("red"))[0] == "third_channel"


def test_broken_taggers_are_named(tmp_path):
    model = make.wd(tmp_path)
    labels = tmp_path / "selected_tags.csv"
    text = labels.read_text()
    labels.write_text(text + "99,one_more,0,1\n")
    with pytest.raises(BakehouseError, match="11 tags"):
        OnnxTagger(model)
    labels.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="wrong columns a, b"):
        OnnxTagger(model)
    labels.unlink()
    with pytest.raises(UsageError, match=r"selected_tags\.csv"):
        OnnxTagger(model)
    labels.write_text(text)
    model.write_bytes(b"\xffnot onnx")
    with pytest.raises(UsageError, match="cannot load ONNX network"):
        OnnxTagger(model)


def test_the_key_is_of_what_it_sees(tmp_path):
    keys = {OnnxTagger(make.wd(tmp_path / "a")).key, OnnxTagger(make.wd(tmp_path / "b")).key}
    assert len(keys) == 1
    (tmp_path / "b" / "tagger.toml").write_text("thresholds = {general = 0.9}\n")
    keys.add(OnnxTagger(tmp_path / "b" / "model.onnx").key)
    assert len(keys) == 1
    (tmp_path / "b" / "tagger.toml").write_text('pad = "edge"\n')
    keys |= {OnnxTagger(tmp_path / "b" / "model.onnx").key, OnnxTagger(make.cl(tmp_path / "c")).key}
    assert len(keys) == 3


def test_pictures_go_in_as_the_profile_says():
    image = plain((255, 0, 51))
    wd = to_input([image], PREPROCESSING["selected_tags.csv"], 8, channels_first=False)
    assert wd.shape == (1, 8, 8, 3)
    assert wd.dtype == np.float32
    assert wd[0, 0, 0].tolist() == [51, 0, 255]
    cl = to_input([image], PREPROCESSING["tag_mapping.json"], 8, channels_first=True)
    assert cl.shape == (1, 3, 8, 8)
    assert cl[0, :, 0, 0] == pytest.approx([51 / 127.5 - 1, -1, 1])
    camie = to_input([image], PREPROCESSING["metadata.json"], 8, channels_first=True)
    assert camie[0, :, 0, 0] == pytest.approx([(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225], abs=1e-5)
    stretched = to_input([plain("red", (4, 40))], Preprocessing(pad="stretch"), 8, channels_first=False)
    assert stretched[0, :, :, 0] == pytest.approx(np.ones((8, 8)))


def test_taggers_are_opened_by_name_and_path(tmp_path, monkeypatch):
    make.wd(tmp_path / "wd")
    assert load_tagger(str(tmp_path / "wd" / "model.onnx")).key == load_tagger(str(tmp_path / "wd")).key
    assert load_tagger("crumb").name == "crumb"
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))
    with pytest.raises(UsageError, match="bakehouse models fetch wd-vit-v3"):
        load_tagger("wd-vit-v3")
    with pytest.raises(UsageError, match="did you mean 'wd-vit-v3'"):
        load_tagger("wd-vit-3")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="does not contain a tagger"):
        load_tagger(str(tmp_path / "empty"))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match="is not a tagger"):
        load_tagger(str(tmp_path / "a.txt"))
    with pytest.raises(UsageError, match="does not exist"):
        load_tagger("models/none.onnx")
    (tmp_path / "wd" / "model.onnx").rename(tmp_path / "wd" / "a.onnx")
    make.cl(tmp_path / "wd").rename(tmp_path / "wd" / "b.onnx")
    with pytest.raises(UsageError, match="several models"):
        load_tagger(str(tmp_path / "wd"))
