"""A1111's API on the wire: pictures, progress, interruption, options, lists."""

from __future__ import annotations

import base64
import io
import threading

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.generation import ImageRequest, Pipeline
from bakehouse.generation.infotext import Infotext
from tests.serve.conftest import image_in, png_text
from tests.serve.test_own import until

CAT = {"prompt": "a cat", "steps": 3, "seed": 7}


def drawn(running, path="txt2img", **fields):
    answer = running.post(f"/sdapi/v1/{path}", {**CAT, **fields})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["images"], parse_json(found["info"]), found["parameters"]


def test_a_picture_is_a1111s_and_not_bakehouses_own_spacing(running):
    images, info, parameters = drawn(running, sampler_name="Euler a", batch_size=2, cfg_scale=5)
    request = ImageRequest(**CAT, sampler="Euler a", schedule="Automatic", guidance=5.0, count=2)
    with Pipeline.open("crumb", device="cpu") as pipeline:
        expected = [made.image for made in pipeline.generate([request])]
    for text, image in zip(images, expected, strict=True):
        assert np.abs(np.asarray(image_in(text), int) - np.asarray(image, int)).max() <= 1
    assert info["all_seeds"] == [7, 8]
    assert info["sampler_name"] == "Euler a"
    assert info["sd_model_hash"] == Infotext.parse(info["infotexts"][0]).get("Model hash")
    assert parameters["batch_size"] == 2


def test_what_is_left_out_has_a1111s_defaults(running):
    answer = running.post("/sdapi/v1/txt2img", {"prompt": "a cat", "seed": 1, "width": 64, "height": 64})
    info = parse_json(answer.json()["info"])
    assert (info["steps"], info["cfg_scale"], info["sampler_name"]) == (50, 7.0, "Euler")


@pytest.mark.parametrize(
    ("fields", "sampler", "schedule"),
    [
        ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M", "Karras"),
        ({"sampler_name": "DPM++ 2M", "scheduler": "karras"}, "DPM++ 2M", "Karras"),
        ({"sampler_index": "k_euler_a"}, "Euler a", "Uniform"),
        ({"sampler_name": "DPM++ 2M", "scheduler": "exponential", "eta": 1.0}, "DPM++ 2M", "Exponential"),
    ],
)
def test_samplers_have_a1111s_names(running, fields, sampler, schedule):
    _, info, _ = drawn(running, **fields)
    made = Infotext.parse(info["infotexts"][0])
    assert (made.get("Sampler"), made.get("Schedule type")) == (sampler, schedule)


def test_an_image_and_its_mask(running):
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (0, 0, 64, 128))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    image = f"data:image/png;base64,{png_text((128, 128))}"
    images, info, parameters = drawn(
        running, "img2img", init_images=[image], mask=text, mask_blur=0, inpaint_full_res=False, inpainting_fill=1
    )
    right = np.asarray(image_in(images[0]).convert("RGB"))[:, 70:]
    assert np.abs(right.astype(int) - (200, 30, 30)).max() <= 8
    assert info["denoising_strength"] == 0.75
    assert "init_images" not in parameters
    assert not list((running.folder / "uploads").iterdir())


def test_the_second_pass(running):
    images, info, _ = drawn(running, enable_hr=True, hr_scale=1.5, denoising_strength=0.5, hr_second_pass_steps=2)
    assert image_in(images[0]).size == (192, 192)
    assert Infotext.parse(info["infotexts"][0]).get("Hires upscale") == "1.5"


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"sampler_name": "Eulr"}, 404, "Sampler not found"),
        ({"script_name": "x/y/z plot"}, 422, "Script 'x/y/z plot' not found"),
        ({"alwayson_scripts": {"controlnet": {}}}, 422, "controlnet not found"),
        ({"restore_faces": True}, 422, "restore_faces"),
        ({"hr_prompt": "another"}, 422, "hr_prompt"),
        ({"override_settings": {"sd_model_checkpoint": "other"}}, 404, "other"),
        ({"override_settings": {"nonsense": 1}}, 422, "nonsense"),
        ({"steps": 0}, 400, "steps"),
        ({"steps": "many"}, 422, "steps"),
        ({"enable_hr": True, "hr_upscaler": "/etc/passwd"}, 400, "unknown"),
    ],
)
def test_errors_have_a1111s_form(running, fields, status, said):
    answer = running.post("/sdapi/v1/txt2img", {**CAT, **fields})
    assert answer.status_code == status
    assert said in answer.json()["detail"]
    assert {"error", "detail", "body", "errors"} == set(answer.json())


def test_basic_authentication(running):
    answer = running.client.get("/sdapi/v1/samplers", auth=("anybody", running.tokens["read"]))
    assert answer.status_code == 200
    assert running.client.get("/sdapi/v1/samplers", auth=("anybody", "wrong")).status_code == 401


def in_background(running, token, **fields):
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(running.post("/sdapi/v1/txt2img", {**CAT, **fields}, token))
    )
    thread.start()
    return thread, answers


def test_progress_and_interruption_are_the_callers_own(running):
    mine = running.new_token("interrupts")
    thread, answers = in_background(
        running, mine, steps=100, batch_size=1, n_iter=3, width=512, force_task_id="task(1)"
    )
    state = until(lambda: (p := running.get("/sdapi/v1/progress", mine).json())["state"]["sampling_step"] > 5 and p)
    assert 0 < state["progress"] < 1
    assert (state["state"]["job_count"], state["state"]["sampling_steps"]) == (3, 100)
    assert image_in(state["current_image"]).size == (64, 16)
    internal = running.post("/internal/progress", {"id_task": "task(1)"}, mine).json()
    assert internal["active"]
    assert internal["live_preview"].startswith("data:image/png;base64,")
    assert not running.post("/internal/progress", {"id_task": "task(1)"}, "other").json()["active"]
    assert running.get("/sdapi/v1/progress", "other").json()["progress"] == 0
    assert running.post("/sdapi/v1/interrupt", {}, "other").status_code == 200
    assert thread.is_alive()
    running.post("/sdapi/v1/interrupt", {}, mine)
    thread.join(20)
    assert answers[0].status_code == 200
    assert len(answers[0].json()["images"]) < 3


def test_a_skipped_picture_is_left_out(running):
    mine = running.new_token("skips")
    # Fourteen pictures of this size are a batch: they are skipped, and the last is drawn.
    thread, answers = in_background(running, mine, steps=4, n_iter=15, width=256, height=288)
    until(lambda: running.get("/sdapi/v1/progress", mine).json()["state"]["sampling_step"] > 0)
    running.post("/sdapi/v1/skip", {}, mine)
    thread.join(60)
    assert parse_json(answers[0].json()["info"])["all_seeds"] == [21]


def test_options_are_saved_for_the_caller_alone(running):
    mine = running.new_token("options")
    options = running.get("/sdapi/v1/options", mine).json()
    assert options["sd_model_checkpoint"].startswith("crumb")
    assert running.post("/sdapi/v1/options", {**options, "samples_format": "webp"}, mine).status_code == 200
    assert running.get("/sdapi/v1/options", mine).json()["samples_format"] == "webp"
    assert running.get("/sdapi/v1/options", "other").json()["samples_format"] == "png"
    answer = running.post("/sdapi/v1/txt2img", {**CAT, "steps": 1}, mine).json()
    assert image_in(answer["images"][0]).format == "WEBP"
    for wrong in ({"nonsense": 1}, {"sd_model_checkpoint": "other"}, {"CLIP_stop_at_last_layers": "two"}):
        assert running.post("/sdapi/v1/options", wrong, mine).status_code in (404, 422)


def test_lists(running):
    get = lambda name: running.get(f"/sdapi/v1/{name}", "read").json()  # noqa: E731
    assert {"DPM++ 2M", "Euler a", "DDIM"} <= {row["name"] for row in get("samplers")}
    assert "DEIS" not in {row["name"] for row in get("samplers")}
    assert {"Automatic", "Karras"} <= {row["label"] for row in get("schedulers")}
    assert [row["model_name"] for row in get("sd-models")] == ["crumb"]
    assert {"None", "Lanczos"} <= {row["name"] for row in get("upscalers")}
    assert "Latent" in {row["name"] for row in get("latent-upscale-modes")}
    assert get("loras") == []
    assert get("embeddings")["loaded"] == {}
    assert get("memory")["ram"]["total"] > 0
    for name in ("sd-vae", "prompt-styles", "face-restorers"):
        assert get(name) == []
    assert running.post("/sdapi/v1/refresh-loras", {}, "read").json() == {}


def test_work_on_finished_images(running):
    images, info, _ = drawn(running)
    read = running.post("/sdapi/v1/png-info", {"image": images[0]}).json()
    assert read["info"] == info["infotexts"][0]
    assert read["parameters"]["Seed"] == "7"
    assert running.post("/sdapi/v1/png-info", {"image": png_text()}).json()["info"] == ""
    extra = {"image": images[0], "upscaling_resize": 2, "upscaler_1": "Lanczos"}
    large = running.post("/sdapi/v1/extra-single-image", extra).json()["image"]
    assert image_in(large).size == (256, 256)
    assert running.post("/sdapi/v1/extra-single-image", {**extra, "upscaler_1": "/etc/x.pth"}).status_code == 422
    assert running.post("/sdapi/v1/extra-single-image", {**extra, "upscaling_resize": 99}).status_code == 422
    caption = running.post("/sdapi/v1/interrogate", {"image": images[0], "model": "deepdanbooru"}).json()["caption"]
    assert isinstance(caption, str)
