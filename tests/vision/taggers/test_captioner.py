"""Captioners on tiny random models of the real architectures, built here: real processors, real generation."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.vision.taggers.captioner import FLORENCE_TASKS, Captioner
from bakehouse.vision.taggers.factory import load_tagger

WORDS = ["a", "girl", "dog", "red", "hat", "with", "photo", "of", "##s", ".", "sits"]
IMAGES = [Image.new("RGB", (50, 30), "red"), Image.new("RGB", (20, 40), "blue")]


@pytest.fixture(scope="session")
def blip(tmp_path_factory):
    """A BLIP of two small layers with a vocabulary of words."""
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    folder = tmp_path_factory.mktemp("blip")
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = {**size, **ids, "vocab_size": 18, "encoder_hidden_size": 16, "max_position_embeddings": 160}
    config = BlipConfig(
        text_config={**text, "projection_dim": 16},
        vision_config={**size, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        BlipForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate([*marks, *WORDS])}, bos_token="[DEC]")
    pictures = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder


def test_blip_writes_a_sentence_for_each_picture(blip):
    captioner = Captioner(blip, device="cpu")
    predictions = captioner.predict(IMAGES)
    assert len(predictions) == 2
    for prediction in predictions:
        assert prediction.text == " ".join(prediction.text.split())
        assert captioner.to_tags(prediction, {}) == ([prediction.text] if prediction.text else [])
    assert captioner.predict(IMAGES) == predictions
    assert captioner.predict([]) == []


def test_blip_goes_on_from_a_prompt(blip):
    plain, asked = Captioner(blip, device="cpu"), Captioner(blip, "a photo of", device="cpu")
    assert all(prediction.text.startswith("a photo of") for prediction in asked.predict(IMAGES))
    assert asked.key != plain.key
    assert plain.key == Captioner(blip, device="cpu").key


def test_a_captioner_is_known_by_its_folder(blip):
    assert load_tagger(str(blip), device="cpu").key == Captioner(blip, device="cpu").key


def test_florence_is_asked_by_its_task(florence):
    captioner = Captioner(florence, device="cpu")
    predictions = captioner.predict(IMAGES)
    assert len(predictions) == 2
    assert all("<" not in prediction.text and prediction.text == prediction.text.strip() for prediction in predictions)
    assert captioner.predict(IMAGES) == predictions
    assert Captioner(florence, FLORENCE_TASKS[0], device="cpu").key != captioner.key
    with pytest.raises(UsageError, match="Florence-2 supports only <CAPTION>"):
        Captioner(florence, "what is this?", device="cpu")


def test_what_is_no_captioner_is_named(tmp_path):
    with pytest.raises(BakehouseError, match="cannot load captioner"):
        Captioner(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BakehouseError, match="cannot load captioner"):
        load_tagger(str(tmp_path))


@pytest.fixture(scope="session")
def florence(tmp_path_factory):
    """A Florence-2 with a tiny image tower and a tiny BART."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("florence")
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    asked = "What does the image describe ? Describe with a paragraph what is shown in the image ."
    words = [*marks, *WORDS, *asked.split(), "<image>"]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(words))}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        additional_special_tokens=["<image>"], extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    config = Florence2Config(
        image_token_id=vocabulary["<image>"],
        text_config={
            "model_type": "bart", "vocab_size": len(vocabulary), "d_model": 16, "encoder_layers": 1,
            "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
            "max_position_embeddings": 256, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
            "decoder_start_token_id": 2, "forced_eos_token_id": 2,
        },
        vision_config={
            "embed_dim": [8, 8, 8, 16], "num_heads": [2, 2, 2, 2], "num_groups": [2, 2, 2, 2], "depths": [1, 1, 1, 1],
            "window_size": 4, "projection_dim": 16,
        },
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        Florence2ForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"height": 64, "width": 64}, do_center_crop=False)
    # 64 pixels are 2 x 2 places after the tower's strides of 32 in all, and there is one for the whole picture.
    pictures.image_seq_length = 5
    Florence2Processor(pictures, tokenizer, num_additional_image_tokens=2).save_pretrained(folder)
    return folder
