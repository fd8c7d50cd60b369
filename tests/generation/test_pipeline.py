from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.core.events import Event, Progress, Warned
from bakehouse.core.run_folder import Run
from bakehouse.data.weighted_prompt import WeightedText
from bakehouse.generation import GeneratedImage, ImageRequest, Pipeline, resolve
from bakehouse.generation import pipeline as pipelines
from bakehouse.generation.pipeline import pick_dtype
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.sampling import SamplingCancelledError
from bakehouse.recipe.device_and_precision import require_device


def difference(a: Image.Image, b: Image.Image) -> int:
    """The largest difference of any value, in levels of 255."""
    return int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max())


def one(pictures: Iterable[GeneratedImage]) -> Image.Image:
    (picture,) = pictures
    return picture.image


def test_same_seed_same_picture(pipeline: Pipeline, asked: ImageRequest) -> None:
    first = one(pipeline.txt2img(asked))
    assert difference(first, one(pipeline.txt2img(asked))) == 0
    assert difference(first, one(pipeline.txt2img(replace(asked, seed=6)))) > 20
    assert first.size == (64, 64)


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "DPM++ SDE"])
def test_alone_as_in_a_batch(drawing: Pipeline, asked: ImageRequest, sampler: str) -> None:
    """One level is what summing in another order can cost."""
    request = replace(asked, sampler=sampler, steps=4)
    others = [replace(request, prompt="a robot at night", negative="red", seed=seed) for seed in (1, 2)]
    alone = one(drawing.txt2img(request))
    before, among, _ = (p.image for p in drawing.generate([others[0], request, others[1]]))
    assert difference(alone, among) <= 1
    assert difference(before, among) > 50


def test_the_ith_picture_has_seed_plus_i(pipeline: Pipeline, asked: ImageRequest) -> None:
    three = list(pipeline.txt2img(replace(asked, count=3)))
    assert [p.seed for p in three] == [5, 6, 7]
    assert difference(three[2].image, one(pipeline.txt2img(replace(asked, seed=7)))) <= 1


def test_batch_size_does_not_matter(pipeline: Pipeline, asked: ImageRequest) -> None:
    request = replace(asked, count=3)
    for a, b in zip(pipeline.txt2img(request, batch=1), pipeline.txt2img(request, batch=2), strict=True):
        assert difference(a.image, b.image) <= 1


def test_pictures_of_other_kinds_come_in_order(pipeline: Pipeline, asked: ImageRequest) -> None:
    long = replace(asked, prompt=", ".join(["green hoodie"] * 45))
    wide = replace(asked, width=128)
    wanted = [asked, long, wide, replace(asked, steps=1), asked]
    made = list(pipeline.generate(wanted))
    assert [p.request.prompt for p in made] == [r.prompt for r in wanted]
    assert [p.image.size for p in made] == [(64, 64), (64, 64), (128, 64), (64, 64), (64, 64)]
    assert difference(made[0].image, made[4].image) == 0


def test_a_long_prompt_is_read_to_its_end(drawing: Pipeline, asked: ImageRequest) -> None:
    words = ", ".join(["green hoodie"] * 45)
    assert drawing.denoiser.token_count([words])[0] > 75
    a, b = (
        one(drawing.txt2img(replace(asked, prompt=f"{words}, {end}"))) for end in ("robot at night", "at the beach")
    )
    assert difference(a, b) > 1


def test_a_long_negative_prompt_does_not_need_a_long_prompt(pipeline: Pipeline, asked: ImageRequest) -> None:
    short = one(pipeline.txt2img(asked))
    assert difference(one(pipeline.txt2img(replace(asked, negative=", ".join(["green hoodie"] * 45)))), short) > 0


def test_guidance_of_one_reads_no_negative_prompt(pipeline: Pipeline, asked: ImageRequest) -> None:
    request = replace(asked, guidance=1.0)
    assert difference(one(pipeline.txt2img(request)), one(pipeline.txt2img(replace(request, negative="red")))) == 0


def test_minus_one_draws_a_seed_that_is_told(pipeline: Pipeline, asked: ImageRequest) -> None:
    (picture,) = pipeline.txt2img(replace(asked, seed=-1))
    assert 0 <= picture.seed < 2**32
    assert picture.infotext.get("Seed") == str(picture.seed)
    assert difference(picture.image, one(pipeline.txt2img(replace(asked, seed=picture.seed)))) == 0


def test_clip_skip_counts(pipeline: Pipeline, asked: ImageRequest) -> None:
    second, last = (next(pipeline.txt2img(replace(asked, clip_skip=n))) for n in (2, 1))
    assert difference(second.image, last.image) > 5
    assert (second.infotext.get("Clip skip"), last.infotext.get("Clip skip")) == ("2", "")


def test_weight_zero_is_the_base(crumb: Denoiser, pipeline: Pipeline, asked: ImageRequest, lora: Path) -> None:
    base = one(pipeline.txt2img(asked))
    with Pipeline.open(lora) as adapted:
        with adapted.adapter_strengths(0):
            assert difference(base, one(adapted.txt2img(asked))) == 0
        assert difference(base, one(adapted.txt2img(asked))) > 20
    assert difference(base, one(adapted.txt2img(asked))) == 0, "closing takes the adapters off"


def test_weights_are_put_back(lora: Path, asked: ImageRequest) -> None:
    with Pipeline.open(lora) as pipeline:
        full = one(pipeline.txt2img(asked))
        with pipeline.adapter_strengths(0.3):
            assert pipeline.adapters == ((lora, 0.3),)
            assert difference(full, one(pipeline.txt2img(asked))) > 5
        assert pipeline.adapters == ((lora, 1.0),)
        assert difference(full, one(pipeline.txt2img(asked))) == 0


def test_several_adapters_each_count(lora: Path, other_lora: Path, asked: ImageRequest) -> None:
    with Pipeline.open(lora, adapters=[(other_lora, 0.5)]) as pipeline:
        assert pipeline.adapters == ((lora, 1.0), (other_lora, 0.5))
        both = one(pipeline.txt2img(asked))
        with pipeline.adapter_strengths(1, 0):
            alone = one(pipeline.txt2img(asked))
        assert difference(both, alone) > 5
        pipeline.swap(other_lora)
        assert pipeline.adapters == ((other_lora, 1.0), (other_lora, 0.5))
    with Pipeline.open(lora) as pipeline:
        assert difference(alone, one(pipeline.txt2img(asked))) == 0


def test_swapping_is_opening(lora: Path, other_lora: Path, asked: ImageRequest) -> None:
    with Pipeline.open(other_lora) as pipeline:
        wanted = one(pipeline.txt2img(asked))
    with Pipeline.open(lora) as pipeline:
        base, before = pipeline.denoiser, one(pipeline.txt2img(asked))
        with pipeline.restoring():
            pipeline.swap(other_lora)
            assert difference(wanted, one(pipeline.txt2img(asked))) == 0
            pipeline.swap("crumb")
            assert pipeline.adapters == ()
        assert pipeline.denoiser is base, "the base stays where it is"
        assert difference(before, one(pipeline.txt2img(asked))) == 0


def test_after_a_failed_swap_all_is_as_before(
    lora: Path, other_lora: Path, asked: ImageRequest, pipeline: Pipeline, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(other_lora.read_bytes()[:-8])
    pipeline.use(replace(pipeline.source, adapters=((lora, 0.7),)), [(other_lora, 0.5)])
    before = one(pipeline.txt2img(asked))
    with pytest.raises(BakehouseError):
        pipeline.swap(broken)
    assert pipeline.adapters == ((lora, 0.7), (other_lora, 0.5))
    assert difference(before, one(pipeline.txt2img(asked))) == 0


def test_swapping_the_base_loads_it(
    make_tiny: Callable[..., Denoiser], asked: ImageRequest, pipeline: Pipeline, tmp_path: Path
) -> None:
    make_tiny(seed=1).save(tmp_path / "other")
    base = one(pipeline.txt2img(asked))
    with Pipeline.open("crumb") as other:
        other.swap(tmp_path / "other")
        assert difference(base, one(other.txt2img(asked))) > 5
        other.swap("crumb")
        assert difference(base, one(other.txt2img(asked))) == 0


def test_a_run_is_used_as_it_was_trained(trained: Run, asked: ImageRequest) -> None:
    with Pipeline.open(trained.folder) as pipeline:
        (picture,) = pipeline.txt2img(asked)
    assert picture.infotext.get("Clip skip") == "2"
    assert "<lora:zwx:1>" in picture.infotext.prompt


def test_embeddings_are_made_once(pipeline: Pipeline, asked: ImageRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    encode = pipeline.denoiser.encode_text
    monkeypatch.setattr(pipeline.denoiser, "encode_text", lambda p, **k: calls.append(p.pieces) or encode(p, **k))
    list(pipeline.txt2img(replace(asked, count=3), batch=1))
    list(pipeline.txt2img(asked))
    assert calls == [(WeightedText(asked.prompt),), ()]


def test_infotext_says_how_to_make_it_again(lora: Path, asked: ImageRequest) -> None:
    with Pipeline.open(lora, adapters=[]) as pipeline, pipeline.adapter_strengths(0.75):
        (picture,) = pipeline.txt2img(replace(asked, negative="blurry", sampler="dpm++ 2m karras"))
    text = str(picture.infotext)
    assert text.startswith(f"{asked.prompt} <lora:zwx:0.75>\nNegative prompt: blurry\nSteps: 2, Sampler: DPM++ 2M, ")
    for said in ("Schedule type: Karras", "CFG scale: 3", "Seed: 5", "Size: 64x64", "Model: crumb", "RNG: CPU"):
        assert said in text
    name, _, short = picture.infotext.get("Lora hashes").partition(": ")
    assert (name, len(short), len(picture.infotext.get("Model hash"))) == ("zwx", 12, 10)


def test_progress_is_told_in_steps(pipeline: Pipeline, asked: ImageRequest) -> None:
    heard: list[Event] = []
    list(pipeline.txt2img(replace(asked, count=2, sampler="heun"), batch=1, on_event=heard.append))
    done = [e.done for e in heard if isinstance(e, Progress)]
    assert done == sorted(done)
    assert (done[-1], {e.total for e in heard if isinstance(e, Progress)}) == (4, {4})


def test_short_memory_halves_the_batch(
    pipeline: Pipeline, asked: ImageRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = type(pipeline.denoiser).forward

    def small(self: Denoiser, x_t: torch.Tensor, *rest: object) -> torch.Tensor:
        if len(x_t) > 2:
            raise torch.OutOfMemoryError("too many")
        return forward(self, x_t, *rest)

    wanted = [p.image for p in pipeline.txt2img(replace(asked, count=3))]
    monkeypatch.setattr(type(pipeline.denoiser), "forward", small)
    heard: list[Event] = []
    made = [p.image for p in pipeline.txt2img(replace(asked, count=3), on_event=heard.append)]
    assert max(difference(a, b) for a, b in zip(wanted, made, strict=True)) <= 1
    assert [e.message for e in heard if isinstance(e, Warned)]
    monkeypatch.setattr(type(pipeline.denoiser), "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(BakehouseError, match="one image of 64x64 does not fit"):
        list(pipeline.txt2img(asked))


def test_impossible_requests_are_told_at_once() -> None:
    with pytest.raises(Problems) as told:
        ImageRequest(prompt="x", width=0, steps=0, guidance=float("nan"), seed=-2, count=0, clip_skip=0)
    assert len(told.value.problems) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 100}, r"width = 100: must be a multiple of 8; the nearest is 96"),
        ({"sampler": "eular a"}, r"did you mean 'euler a'"),
        ({"clip_skip": 9}, r"clip_skip = 9"),
    ],
)
def test_what_this_model_cannot_make(
    pipeline: Pipeline, asked: ImageRequest, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        list(pipeline.txt2img(replace(asked, **changes)))


def test_errors_before_any_work(pipeline: Pipeline, asked: ImageRequest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch = 0"):
        pipeline.txt2img(asked, batch=0)
    with pytest.raises(UsageError, match=r"multiple of 8"):
        pipeline.generate([asked, replace(asked, height=99)])
    with pytest.raises(UsageError, match=r"1 strengths, but crumb has 0 adapters"), pipeline.adapter_strengths(0.5):
        pass
    with pytest.raises(UsageError, match=r"does not exist"):
        Pipeline.open("crumb", adapters=[tmp_path / "no.safetensors"])
    with pytest.raises(UsageError, match=r"device = 'gpu' is not available here: use auto, cpu"):
        require_device("gpu")
    with pytest.raises(UsageError, match=r"dtype = 'half': allowed are auto"):
        pick_dtype("half", "cpu")  # type: ignore[arg-type]


def test_auto_is_half_precision_on_a_gpu_alone() -> None:
    assert pick_dtype("auto", "cuda") == torch.float16
    assert pick_dtype("auto", "cuda:1", "bf16") == torch.bfloat16
    assert pick_dtype("auto", "cpu", "bf16") == torch.float32


def test_importing_the_room_loads_no_torch() -> None:
    names = "g.ImageRequest, g.make_grid, g.resolve"
    code = f"import sys, bakehouse.generation as g; {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_prediction_is_another_model(tiny_folder: Path, asked: ImageRequest) -> None:
    with Pipeline.open(tiny_folder) as pipeline:
        epsilon = one(pipeline.txt2img(asked))
        pipeline.use(resolve(tiny_folder, prediction="v_prediction"))
        assert pipeline.denoiser.schedule.prediction == "v_prediction"
        assert difference(epsilon, one(pipeline.txt2img(asked))) > 5
        pipeline.use(replace(pipeline.source, zero_terminal_snr=True))
        assert pipeline.denoiser.schedule.is_zero_terminal


def test_rescaled_guidance_is_another_picture_and_said(pipeline: Pipeline, asked: ImageRequest) -> None:
    strong = replace(asked, guidance=9.0)
    (level,) = pipeline.txt2img(replace(strong, guidance_rescale=0.7))
    assert difference(one(pipeline.txt2img(strong)), level.image) > 5
    assert level.infotext.get("CFG Rescale") == "0.7"
    assert next(iter(pipeline.txt2img(strong))).infotext.get("CFG Rescale") == ""
    several = [strong, replace(strong, guidance_rescale=0.7), strong]
    assert difference(level.image, list(pipeline.generate(several))[1].image) == 0, "each as it would be alone"


def test_a_cancelled_generation_leaves_the_pipeline_ready(lora: Path, asked: ImageRequest) -> None:
    def cancel(event: Event) -> None:
        raise SamplingCancelledError("stop")

    with Pipeline.open(lora) as pipeline:
        wanted = one(pipeline.txt2img(asked))
        with pytest.raises(SamplingCancelledError):
            list(pipeline.txt2img(asked, on_event=cancel))
        assert difference(wanted, one(pipeline.txt2img(asked))) == 0


def test_threads_share_a_pipeline(lora: Path, asked: ImageRequest) -> None:
    """Each block with its own strength gives the images that it gives alone."""
    strengths = (0.0, 0.5, 1.0)
    with Pipeline.open(lora) as pipeline:

        def generate(strength: float) -> Image.Image:
            with pipeline.adapter_strengths(strength):
                return one(pipeline.txt2img(asked))

        alone = [generate(strength) for strength in strengths]
        with ThreadPoolExecutor(len(strengths)) as pool:
            together = list(pool.map(generate, strengths))
    assert [difference(a, b) for a, b in zip(alone, together, strict=True)] == [0, 0, 0]


def test_an_open_request_is_no_spec(asked: ImageRequest) -> None:
    with pytest.raises(ValueError, match="must be resolved first"):
        asked.to_spec(step_prompts=())


def test_earlier_names_still_work() -> None:
    import bakehouse

    assert bakehouse.Studio is bakehouse.Pipeline is Pipeline
    assert bakehouse.Request is bakehouse.ImageRequest is ImageRequest


def test_use_loads_only_what_differs(
    pipeline: Pipeline, lora: Path, other_lora: Path, asked: ImageRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = pipelines.load_weights

    def counted(path: Path, *more: Any) -> Any:
        read.append(path.stem)
        return load(path, *more)

    monkeypatch.setattr(pipelines, "load_weights", counted)
    plain = pipeline.source
    with_own = replace(plain, adapters=((lora, 1.0),))
    pipeline.use(with_own, [(other_lora, 0.5)])
    assert pipeline.adapters == ((lora, 1.0), (other_lora, 0.5))
    pipeline.use(replace(with_own, adapters=((lora, 0.3),)))
    assert pipeline.adapters == ((lora, 0.3), (other_lora, 0.5)), "added adapters stay, strengths are set"
    assert read == [lora.stem, other_lora.stem], "each was read once"
    pipeline.use(plain, [])
    assert pipeline.adapters == ()


def test_use_puts_all_on_after_one_failed(
    pipeline: Pipeline, lora: Path, other_lora: Path, asked: ImageRequest, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"broken")
    wanted = replace(pipeline.source, adapters=((lora, 1.0),)), [(other_lora, 0.5)]
    pipeline.use(*wanted)
    (before,) = pipeline.txt2img(asked)
    with pytest.raises(BakehouseError):
        pipeline.use(replace(pipeline.source, adapters=((broken, 1.0),)), [(other_lora, 0.5)])
    pipeline.use(*wanted)
    (after,) = pipeline.txt2img(asked)
    assert before.image.tobytes() == after.image.tobytes()
