"""One function draws everywhere: samples, class images and `generate` give the same picture for the same request."""

import json

import pytest
import torch
from PIL import Image

from bakehouse.core.events import Sampled, Warned
from bakehouse.core.run_folder import Run
from bakehouse.generation import ImageRequest, Pipeline
from bakehouse.models.load import load_model
from bakehouse.models.text_to_image import model_key
from bakehouse.recipe import make_plan
from bakehouse.training import train
from bakehouse.training.class_images import class_image_path, generate_class_images

LONG = "zwx person, " + ", ".join(f"smiling at place {i}" for i in range(20))
EXACT = {
    "save__dtype": "fp32",
    "train__steps": 1,
    "optimizer__lr": 1e-2,
    "sample__every_steps": 1,
    "train__channels_last": False,
}


def pixels(image):
    return image.size, image.tobytes()


def test_a_sample_is_what_generate_makes_of_the_final_weights(recipe, tmp_path):
    lines = [f"{LONG} --n dark --l 3", "zwx person --l 0.5 --d 4", "person --w 75 --l 7 --ss euler_a --s 3"]
    how = {"sample__prompts": lines, "sample__steps": 2, "model__clip_skip": 2, "model__max_tokens": 225}
    run = Run(tmp_path / "run")
    events = list(train(recipe(**how, **EXACT), run.folder))
    assert not [e for e in events if isinstance(e, Warned) and "tokens" in e.message]
    requests = [
        ImageRequest(prompt=LONG, negative="dark", guidance=3, steps=2, seed=1, width=64, height=64),
        ImageRequest(prompt="zwx person", guidance=1, steps=2, seed=4, width=64, height=64),
        ImageRequest(prompt="person", guidance=7, steps=3, seed=1, width=72, height=64, sampler="Euler a"),
    ]
    with Pipeline.open(run.folder, device="cpu") as pipeline:
        expected = [pixels(p.image) for p in pipeline.generate(requests, batch=1)]
    for number, picture in enumerate(expected):
        with Image.open(run.samples / f"step-000001-{number}.png") as sample:
            assert pixels(sample) == picture


def test_a_sample_of_nan_is_not_written_and_training_continues(recipe, tmp_path, monkeypatch):
    from bakehouse.models import text_to_image

    draw = text_to_image.sample
    monkeypatch.setattr(
        text_to_image, "sample", lambda *a, **k: draw(*a, **k) * (torch.nan if k["seeds"] == [4] else 1)
    )
    when = {"sample__at_start": False, "sample__every_steps": 1, "train__steps": 1}
    asked = recipe(sample__prompts=["person", "person --d 4"], sample__steps=1, **when)
    events = list(train(asked, tmp_path / "run"))
    assert [e.path for e in events if isinstance(e, Sampled)] == ["samples/step-000001-0.png"]
    (said,) = [e.message for e in events if isinstance(e, Warned) and "NaN" in e.message]
    assert "samples 1 to 1 of step 1: the image of 'person' with seed 4" in said
    assert [p.name for p in (tmp_path / "run" / "samples").iterdir()] == ["step-000001-0.png"]
    assert (tmp_path / "run" / "weights" / "zwx-person.safetensors").is_file()


def test_a_class_image_is_what_generate_makes_of_the_base(recipe):
    how = {"prior__source": "class", "prior__images": 2, "prior__steps": 2, "model__clip_skip": 2}
    made = recipe(**how)
    model = load_model(made.model.base)
    images = make_plan(made).class_images
    list(generate_class_images(images, model))
    with Pipeline.open(made.model.base, device="cpu") as pipeline:
        for image in images[:2]:
            asked = ImageRequest(
                prompt="person", seed=image.noise_seed, width=image.width, height=image.height, steps=2, guidance=7,
                clip_skip=2,
            )  # fmt: skip
            (picture,) = pipeline.txt2img(asked)
            with Image.open(class_image_path(image, model)) as kept:
                assert pixels(kept) == pixels(picture.image)


def test_class_images_are_read_as_the_training_reads_them(recipe, photos):
    for text in photos.glob("*.txt"):
        text.write_text(LONG + f", {text.stem}")
    drawn = {}
    for tokens in (75, 150):
        made = recipe(prior__source="captions", prior__steps=1, model__max_tokens=tokens)
        model = load_model(made.model.base)
        image = make_plan(made).class_images[0]
        list(generate_class_images([image], model))
        with Image.open(class_image_path(image, model)) as kept:
            drawn[tokens] = kept.tobytes()
    assert drawn[75] != drawn[150], "with 150 tokens the second half of the caption is seen"


@pytest.mark.parametrize(
    "changed",
    [
        {"model__clip_skip": 2},
        {"model__max_tokens": 150},
        {"prior__steps": 3},
        {"prior__guidance": 5.0},
        {"prior__sampler": "euler"},
        {"prior__prompt": "a man"},
    ],
)
def test_the_key_of_a_class_image_holds_every_setting_that_decides_it(recipe, changed):
    plans = [make_plan(recipe(**{"prior__source": "class", "prior__images": 1, **c})) for c in ({}, changed)]
    first, second = (plan.class_images[0].key("model") for plan in plans)
    assert first != second


def test_the_key_of_a_class_image_holds_what_the_model_is(tiny_folder, tmp_path, make_tiny):
    from bakehouse.models.quantize_int8 import quantize_base

    def opened(**how):
        return load_model(str(tiny_folder), **how)

    small = opened()
    quantize_base(small, text=False)
    to_the_end = opened(prediction="v_prediction")
    to_the_end.use_zero_terminal_snr()
    models = [opened(), opened(prediction="v_prediction"), to_the_end, opened(dtype=torch.bfloat16), small]
    assert len({model_key(m) for m in models}) == len(models)
    assert model_key(opened()) == model_key(opened())


def test_settings_of_class_images_are_saved_beside_them(recipe):
    made = recipe(prior__source="class", prior__images=1, prior__steps=1, model__clip_skip=2)
    model = load_model(made.model.base)
    (image, *_) = make_plan(made).class_images
    list(generate_class_images([image], model))
    told = json.loads((class_image_path(image, model).parent / "made-with.json").read_text("utf-8"))
    assert (told["clip_skip"], told["max_tokens"], told["prompt"]) == (2, 75, "person")
