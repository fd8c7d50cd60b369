from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.core.events import Event, Progress, Warned
from bakehouse.core.run_folder import Run
from bakehouse.generation import Picture, Request, Studio, resolve
from bakehouse.generation.pipeline import pick_dtype
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe.hardware import require_device


def difference(a: Image.Image, b: Image.Image) -> int:
    """The largest difference of any value, in levels of 255."""
    return int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max())


def one(pictures: Iterable[Picture]) -> Image.Image:
    (picture,) = pictures
    return picture.image


def test_same_seed_same_picture(studio: Studio, asked: Request) -> None:
    first = one(studio.txt2img(asked))
    assert difference(first, one(studio.txt2img(asked))) == 0
    assert difference(first, one(studio.txt2img(replace(asked, seed=6)))) > 20
    assert first.size == (64, 64)


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "DPM++ SDE"])
def test_alone_as_in_a_batch(drawing: Studio, asked: Request, sampler: str) -> None:
    """One level is what summing in another order can cost."""
    request = replace(asked, sampler=sampler, steps=4)
    others = [replace(request, prompt="a robot at night", negative="red", seed=seed) for seed in (1, 2)]
    alone = one(drawing.txt2img(request))
    before, among, _ = (p.image for p in drawing.pictures([others[0], request, others[1]]))
    assert difference(alone, among) <= 1
    assert difference(before, among) > 50


def test_the_ith_picture_has_seed_plus_i(studio: Studio, asked: Request) -> None:
    three = list(studio.txt2img(replace(asked, count=3)))
    assert [p.seed for p in three] == [5, 6, 7]
    assert difference(three[2].image, one(studio.txt2img(replace(asked, seed=7)))) <= 1


def test_batch_size_does_not_matter(studio: Studio, asked: Request) -> None:
    request = replace(asked, count=3)
    for a, b in zip(studio.txt2img(request, batch=1), studio.txt2img(request, batch=2), strict=True):
        assert difference(a.image, b.image) <= 1


def test_pictures_of_other_kinds_come_in_order(studio: Studio, asked: Request) -> None:
    long = replace(asked, prompt=", ".join(["green hoodie"] * 45))
    wide = replace(asked, width=128)
    wanted = [asked, long, wide, replace(asked, steps=1), asked]
    made = list(studio.pictures(wanted))
    assert [p.request.prompt for p in made] == [r.prompt for r in wanted]
    assert [p.image.size for p in made] == [(64, 64), (64, 64), (128, 64), (64, 64), (64, 64)]
    assert difference(made[0].image, made[4].image) == 0


def test_a_long_prompt_is_read_to_its_end(drawing: Studio, asked: Request) -> None:
    words = ", ".join(["green hoodie"] * 45)
    assert drawing.denoiser.token_count([words])[0] > 75
    a, b = (
        one(drawing.txt2img(replace(asked, prompt=f"{words}, {end}"))) for end in ("robot at night", "at the beach")
    )
    assert difference(a, b) > 1


def test_a_long_negative_prompt_does_not_need_a_long_prompt(studio: Studio, asked: Request) -> None:
    short = one(studio.txt2img(asked))
    assert difference(one(studio.txt2img(replace(asked, negative=", ".join(["green hoodie"] * 45)))), short) > 0


def test_guidance_of_one_reads_no_negative_prompt(studio: Studio, asked: Request) -> None:
    request = replace(asked, guidance=1.0)
    assert difference(one(studio.txt2img(request)), one(studio.txt2img(replace(request, negative="red")))) == 0


def test_minus_one_draws_a_seed_that_is_told(studio: Studio, asked: Request) -> None:
    (picture,) = studio.txt2img(replace(asked, seed=-1))
    assert 0 <= picture.seed < 2**32
    assert picture.infotext.get("Seed") == str(picture.seed)
    assert difference(picture.image, one(studio.txt2img(replace(asked, seed=picture.seed)))) == 0


def test_clip_skip_counts(studio: Studio, asked: Request) -> None:
    second, last = (next(studio.txt2img(replace(asked, clip_skip=n))) for n in (2, 1))
    assert difference(second.image, last.image) > 5
    assert (second.infotext.get("Clip skip"), last.infotext.get("Clip skip")) == ("2", "")


def test_weight_zero_is_the_base(crumb: Denoiser, studio: Studio, asked: Request, lora: Path) -> None:
    base = one(studio.txt2img(asked))
    with Studio.open(lora) as adapted:
        with adapted.adapters_at(0):
            assert difference(base, one(adapted.txt2img(asked))) == 0
        assert difference(base, one(adapted.txt2img(asked))) > 20
    assert difference(base, one(adapted.txt2img(asked))) == 0, "closing takes the adapters off"


def test_weights_are_put_back(lora: Path, asked: Request) -> None:
    with Studio.open(lora) as studio:
        full = one(studio.txt2img(asked))
        with studio.adapters_at(0.3):
            assert studio.adapters == ((lora, 0.3),)
            assert difference(full, one(studio.txt2img(asked))) > 5
        assert studio.adapters == ((lora, 1.0),)
        assert difference(full, one(studio.txt2img(asked))) == 0


def test_several_adapters_each_count(lora: Path, other_lora: Path, asked: Request) -> None:
    with Studio.open(lora, adapters=[(other_lora, 0.5)]) as studio:
        assert studio.adapters == ((lora, 1.0), (other_lora, 0.5))
        both = one(studio.txt2img(asked))
        with studio.adapters_at(1, 0):
            alone = one(studio.txt2img(asked))
        assert difference(both, alone) > 5
        studio.swap(other_lora)
        assert studio.adapters == ((other_lora, 1.0), (other_lora, 0.5))
    with Studio.open(lora) as studio:
        assert difference(alone, one(studio.txt2img(asked))) == 0


def test_swapping_is_opening(lora: Path, other_lora: Path, asked: Request) -> None:
    with Studio.open(other_lora) as studio:
        wanted = one(studio.txt2img(asked))
    with Studio.open(lora) as studio:
        base, before = studio.denoiser, one(studio.txt2img(asked))
        with studio.restoring():
            studio.swap(other_lora)
            assert difference(wanted, one(studio.txt2img(asked))) == 0
            studio.swap("crumb")
            assert studio.adapters == ()
        assert studio.denoiser is base, "the base stays where it is"
        assert difference(before, one(studio.txt2img(asked))) == 0


def test_swapping_the_base_loads_it(
    make_tiny: Callable[..., Denoiser], asked: Request, studio: Studio, tmp_path: Path
) -> None:
    make_tiny(seed=1).save(tmp_path / "other")
    base = one(studio.txt2img(asked))
    with Studio.open("crumb") as other:
        other.swap(tmp_path / "other")
        assert difference(base, one(other.txt2img(asked))) > 5
        other.swap("crumb")
        assert difference(base, one(other.txt2img(asked))) == 0


def test_a_run_is_used_as_it_was_trained(trained: Run, asked: Request) -> None:
    with Studio.open(trained.folder) as studio:
        (picture,) = studio.txt2img(asked)
    assert picture.infotext.get("Clip skip") == "2"
    assert "<lora:zwx:1>" in picture.infotext.prompt


def test_embeddings_are_made_once(studio: Studio, asked: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    encode = studio.denoiser.encode_prompt
    monkeypatch.setattr(studio.denoiser, "encode_prompt", lambda p, **k: calls.extend(p) or encode(p, **k))
    list(studio.txt2img(replace(asked, count=3), batch=1))
    list(studio.txt2img(asked))
    assert calls == [asked.prompt, ""]


def test_infotext_says_how_to_make_it_again(lora: Path, asked: Request) -> None:
    with Studio.open(lora, adapters=[]) as studio, studio.adapters_at(0.75):
        (picture,) = studio.txt2img(replace(asked, negative="blurry", sampler="dpm++ 2m karras"))
    text = str(picture.infotext)
    assert text.startswith(f"{asked.prompt} <lora:zwx:0.75>\nNegative prompt: blurry\nSteps: 2, Sampler: DPM++ 2M, ")
    for said in ("Schedule type: Karras", "CFG scale: 3", "Seed: 5", "Size: 64x64", "Model: crumb", "RNG: CPU"):
        assert said in text
    name, _, short = picture.infotext.get("Lora hashes").partition(": ")
    assert (name, len(short), len(picture.infotext.get("Model hash"))) == ("zwx", 12, 10)


def test_progress_is_told_in_steps(studio: Studio, asked: Request) -> None:
    heard: list[Event] = []
    list(studio.txt2img(replace(asked, count=2, sampler="heun"), batch=1, on_event=heard.append))
    done = [e.done for e in heard if isinstance(e, Progress)]
    assert done == sorted(done)
    assert (done[-1], {e.total for e in heard if isinstance(e, Progress)}) == (4, {4})


def test_short_memory_halves_the_batch(studio: Studio, asked: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = type(studio.denoiser).forward

    def small(self: Denoiser, x_t: torch.Tensor, *rest: object) -> torch.Tensor:
        if len(x_t) > 2:
            raise torch.OutOfMemoryError("too many")
        return forward(self, x_t, *rest)

    wanted = [p.image for p in studio.txt2img(replace(asked, count=3))]
    monkeypatch.setattr(type(studio.denoiser), "forward", small)
    heard: list[Event] = []
    made = [p.image for p in studio.txt2img(replace(asked, count=3), on_event=heard.append)]
    assert max(difference(a, b) for a, b in zip(wanted, made, strict=True)) <= 1
    assert [e.message for e in heard if isinstance(e, Warned)]
    monkeypatch.setattr(type(studio.denoiser), "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(BakehouseError, match="one picture of 64x64 does not fit"):
        list(studio.txt2img(asked))


def test_impossible_requests_are_told_at_once() -> None:
    with pytest.raises(Problems) as told:
        Request(prompt="x", width=0, steps=0, guidance=float("nan"), seed=-2, count=0, clip_skip=0)
    assert len(told.value.problems) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 100}, r"width = 100: must be a multiple of 8; the nearest is 96"),
        ({"sampler": "eular a"}, r"did you mean 'euler a'"),
        ({"clip_skip": 9}, r"clip_skip = 9"),
        ({"prompt": "red hat, " * 90}, r"the prompt has \d+ tokens: at most 225"),
        ({"negative": "red hat, " * 90}, r"the negative prompt has \d+ tokens"),
    ],
)
def test_what_this_model_cannot_make(studio: Studio, asked: Request, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list(studio.txt2img(replace(asked, **changes)))


def test_errors_before_any_work(studio: Studio, asked: Request, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch = 0"):
        studio.txt2img(asked, batch=0)
    with pytest.raises(UsageError, match=r"multiple of 8"):
        studio.pictures([asked, replace(asked, height=99)])
    with pytest.raises(UsageError, match=r"1 weights, but crumb has 0 adapters"), studio.adapters_at(0.5):
        pass
    with pytest.raises(UsageError, match=r"does not exist"):
        Studio.open("crumb", adapters=[tmp_path / "no.safetensors"])
    with pytest.raises(UsageError, match=r"device = 'gpu' is not available here: use auto, cpu"):
        require_device("gpu")
    with pytest.raises(UsageError, match=r"dtype = 'half': allowed are auto"):
        pick_dtype("half", "cpu")  # type: ignore[arg-type]


def test_auto_is_half_precision_on_a_gpu_alone() -> None:
    assert pick_dtype("auto", "cuda") == torch.float16
    assert pick_dtype("auto", "cuda:1", "bf16") == torch.bfloat16
    assert pick_dtype("auto", "cpu", "bf16") == torch.float32


def test_importing_the_room_loads_no_torch() -> None:
    code = "import sys, bakehouse.generation as g; g.Request, g.make_grid, g.resolve; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_prediction_is_another_model(tiny_folder: Path, asked: Request) -> None:
    with Studio.open(tiny_folder) as studio:
        epsilon = one(studio.txt2img(asked))
        studio._use(resolve(tiny_folder, prediction="v_prediction"))
        assert studio.denoiser.schedule.prediction == "v_prediction"
        assert difference(epsilon, one(studio.txt2img(asked))) > 5
        studio._use(replace(studio.source, zero_terminal_snr=True))
        assert studio.denoiser.schedule.is_zero_terminal


def test_rescaled_guidance_is_another_picture_and_said(studio: Studio, asked: Request) -> None:
    strong = replace(asked, guidance=9.0)
    (level,) = studio.txt2img(replace(strong, guidance_rescale=0.7))
    assert difference(one(studio.txt2img(strong)), level.image) > 5
    assert level.infotext.get("CFG Rescale") == "0.7"
    assert next(iter(studio.txt2img(strong))).infotext.get("CFG Rescale") == ""
    several = [strong, replace(strong, guidance_rescale=0.7), strong]
    assert difference(level.image, list(studio.pictures(several))[1].image) == 0, "each as it would be alone"
