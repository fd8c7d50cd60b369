"""The straight line on a tiny model."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Failed, Finished, Sampled, Saved, Started, Step
from bakehouse.core.run_folder import Run
from bakehouse.models.load import load_model
from bakehouse.recipe import Recipe, make_plan
from bakehouse.training import loop as loop_module
from bakehouse.training import train
from bakehouse.training.class_images import class_image_path


def steps(events):
    return [e for e in events if isinstance(e, Step)]


def test_a_run_folder_is_complete(recipe, tmp_path):
    run = Run(tmp_path / "run")
    events = list(train(recipe(sample__prompts=["zwx person", "person --w 70 --h 80"], sample__steps=2), run.folder))
    assert [e.step for e in steps(events)] == list(range(1, 13))
    assert isinstance(events[-1], Finished)
    assert {p.name for p in run.weights.iterdir()} == {"zwx-person-000001.safetensors", "zwx-person.safetensors"}
    assert len(list(run.samples.iterdir())) == 2 * 3
    with Image.open(run.samples / "step-000012-1.png") as picture:
        assert picture.size == (64, 80), "--w is rounded down to a multiple of 8, as kohya does"
    assert [type(e) for e in run.history()] == [type(e) for e in events]
    assert json.loads(run.plan.read_text())["steps"] == 12
    assert Recipe.load(run.recipe).concepts[0].subject == "zwx person"
    kinds = [type(e) for e in events if isinstance(e, (Started, Saved, Sampled))]
    assert kinds == [Started, Sampled, Sampled, Sampled, Sampled, Saved, Sampled, Sampled, Saved]


def test_every_image_is_trained_on_exactly_repeats_times_an_epoch(recipe, tmp_path, monkeypatch):
    from bakehouse.training.batch_builder import BatchBuilder

    seen = []
    original = BatchBuilder.batch

    def spy(self, slots, *args):
        seen.append([s.index for s in slots])
        return original(self, slots, *args)

    monkeypatch.setattr(BatchBuilder, "batch", spy)
    list(train(recipe(), tmp_path / "run"))
    for epoch in (seen[:6], seen[6:]):
        assert sorted(i for batch in epoch for i in batch) == sorted([0, 1, 2, 3, 4, 5] * 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_seed_decides_and_the_workers_do_not(recipe, tmp_path, workers):
    list(train(recipe(), tmp_path / "a"))
    again = recipe(data__workers=workers, data__cache="memory")
    list(train(again, tmp_path / "b"))
    list(train(recipe(seed=1), tmp_path / "c"))
    a, b, c = (load_file(tmp_path / x / "weights" / "zwx-person.safetensors") for x in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_it_learns(recipe, tmp_path):
    """Not only files: the loss falls."""
    settings = {"train__epochs": 6, "train__batch": 6, "concepts__0__repeats": 4, "schedule__kind": "constant"}
    settings |= {"optimizer__lr": 2e-2, "adapter__targets": "full", "adapter__rank": 8, "noise__min_timestep": 600}
    losses = [e.loss for e in steps(train(recipe(**settings), tmp_path / "run"))]
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:6])


def test_the_same_command_again_is_done_at_once(recipe, tmp_path):
    list(train(recipe(), tmp_path / "run"))
    events = list(train(recipe(), tmp_path / "run"))
    assert len(events) == 1
    assert isinstance(events[0], Finished)


def test_another_recipe_is_refused_and_its_keys_are_named(recipe, tmp_path):
    list(train(recipe(train__steps=1), tmp_path / "run"))
    with pytest.raises(UsageError, match=r"differs in: seed = 5 \(the run has 0\), train\.batch = 3") as e:
        list(train(recipe(train__steps=1, train__batch=3, seed=5), tmp_path / "run"))
    assert "--run" in e.value.hint


def test_changed_images_are_refused(recipe, tmp_path, photos):
    list(train(recipe(train__steps=1), tmp_path / "run"))
    (photos / "new.png").write_bytes((photos / "0.png").read_bytes())
    with pytest.raises(UsageError, match=r"images have changed.*new\.png"):
        list(train(recipe(train__steps=1), tmp_path / "run"))


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_state(recipe, tmp_path, monkeypatch):
    original = loop_module._optimizer_step

    def poisoned(components, state):
        if state.step == 7:
            with torch.no_grad():
                next(iter(state.adapter.parameters())).fill_(math.nan)
        return original(components, state)

    run = Run(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(loop_module, "_optimizer_step", poisoned)
        with pytest.raises(
            BakehouseError, match=r"step 8: the loss is not a number.*optimizer\.lr = 0\.001 is too high"
        ):
            list(train(recipe(), run.folder))
    *_, last = run.history()
    assert isinstance(last, Failed)
    assert last.last_good == "checkpoints/step-00000006"
    list(train(recipe(), run.folder))
    list(train(recipe(), tmp_path / "undisturbed"))
    a, b = (load_file(f / "weights" / "zwx-person.safetensors") for f in (run.folder, tmp_path / "undisturbed"))
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(("text", "key"), [(False, r"lr = 1e\+30"), (True, r"text_lr = 5e\+29")])
def test_a_learning_rate_that_is_far_too_high_is_named(recipe, tmp_path, text, key):
    burnt = recipe(adapter__text=text, optimizer__lr=1e30, schedule__kind="constant", train__max_grad_norm=0)
    with pytest.raises(BakehouseError, match=rf"optimizer\.{key} is too high"):
        list(train(burnt, tmp_path / "run"))


def test_class_images_are_generated_once(recipe, tmp_path):
    settings = {"prior__source": "class", "prior__images": 5, "prior__steps": 2, "train__steps": 1}
    made = recipe(**settings)
    plan = make_plan(made)
    assert {(c.prompt, c.width, c.height) for c in plan.class_images} == {("person", 64, 64), ("person", 48, 80)}
    list(train(made, tmp_path / "a"))
    model = load_model(made.model.base)
    paths = [class_image_path(c, model) for c in plan.class_images]
    before = [p.stat().st_mtime_ns for p in paths]
    events = list(train(recipe(**settings, seed=3), tmp_path / "b"))
    assert [p.stat().st_mtime_ns for p in paths] == before
    (step,) = steps(events)
    assert step.prior_loss is not None
    assert step.subject_loss is not None


def test_the_prior_weight_weighs(recipe, tmp_path):
    settings = {"prior__source": "captions", "prior__steps": 2, "train__steps": 1, "prior__weight": 0.25}
    (step,) = steps(train(recipe(**settings), tmp_path / "run"))
    assert step.loss == pytest.approx((step.subject_loss + 0.25 * step.prior_loss) / 2, rel=1e-5)


def test_full_fine_tune_saves_a_model_that_plain_diffusers_loads(recipe, tmp_path):
    from diffusers import StableDiffusionPipeline

    made = recipe(adapter__kind="full", train__epochs=1, optimizer__lr=1e-4, save__dtype="fp32")
    list(train(made, tmp_path / "run"))
    folder = tmp_path / "run" / "weights" / "zwx-person"
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    base = load_model(made.model.base)
    changed = [not torch.equal(a, b) for a, b in zip(pipe.unet.parameters(), base.unet.parameters(), strict=True)]
    assert sum(changed) > len(changed) / 2


def test_a_full_fine_tune_with_a_frozen_text_encoder_is_resumed_to_the_same_bits(recipe, tmp_path):
    settings = {"train__steps": 3, "save__dtype": "fp32", "save__state_every_seconds": 1e-6, "optimizer__lr": 1e-4}
    made = recipe(adapter={"kind": "full", "text": False}, **settings)
    for event in train(made, tmp_path / "cut"):
        if isinstance(event, Step) and event.step == 2:
            break
    list(train(made, tmp_path / "cut"))
    list(train(made, tmp_path / "whole"))
    file = "weights/zwx-person/unet/diffusion_pytorch_model.safetensors"
    cut, whole = (load_file(tmp_path / run / file) for run in ("cut", "whole"))
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


def test_accumulation_is_one_large_batch(recipe, tmp_path):
    """One step over two batches of 2 gives the gradient of their samples' mean."""
    settings = {"train__steps": 1, "train__accumulation": 3}
    (step,) = steps(train(recipe(**settings), tmp_path / "run"))
    assert step.step == 1
    assert make_plan(recipe(train__accumulation=3)).steps == 4


def test_keep_last_removes_older_weights(recipe, tmp_path):
    run = Run(tmp_path / "run")
    list(train(recipe(train__epochs=4, save__keep_last=2), run.folder))
    names = [p.stem for p in run.list_weights()]
    assert sorted(names) == ["zwx-person", "zwx-person-000002", "zwx-person-000003"]


def test_averaged_weights_are_what_is_saved_and_do_not_change_the_training(recipe, tmp_path):
    runs = {ema: steps(train(recipe(train__ema=ema, train__epochs=1), tmp_path / str(ema))) for ema in (0.0, 0.9)}
    assert [e.loss for e in runs[0.0]] == [e.loss for e in runs[0.9]]
    a, b = (load_file(tmp_path / x / "weights" / "zwx-person.safetensors") for x in ("0.0", "0.9"))
    ups = [k for k in a if "lora_up" in k]
    plain, averaged = (sum(w[k].abs().sum().item() for k in ups) for w in (a, b))
    assert 0.3 * plain < averaged < plain


def test_masks_change_the_loss(recipe, tmp_path, photos):
    (plain,) = steps(train(recipe(train__steps=1), tmp_path / "a"))
    for i in range(6):
        with Image.open(photos / f"{i}.png") as picture:
            size = picture.size
        mask = Image.new("L", size, 0)
        mask.paste(255, (0, 0, size[0], size[1] // 2))
        mask.save(photos / f"{i}-masklabel.png")
    (masked,) = steps(train(recipe(train__steps=1), tmp_path / "b"))
    (ignored,) = steps(train(recipe(train__steps=1, loss__masked=False), tmp_path / "c"))
    assert masked.loss != plain.loss
    assert ignored.loss == plain.loss


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_a_gpu(recipe, tmp_path, precision):
    events = list(train(recipe(train__precision=precision, train__device="cuda"), tmp_path / "run"))
    assert all(math.isfinite(e.loss) for e in steps(events))


def test_tensorboard_has_separate_losses_and_samples(recipe, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = {"prior__source": "captions", "prior__steps": 1, "train__steps": 3, "save__tensorboard": True}
    list(train(recipe(**settings, sample__prompts=["zwx person"], sample__steps=1), tmp_path / "run"))
    log = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    log.Reload()
    assert {"loss/all", "loss/subject", "loss/prior", "lr/unet", "images_per_s"} <= set(log.Tags()["scalars"])
    assert [e.step for e in log.Scalars("loss/all")] == [1, 2, 3]
    assert log.Tags()["images"]


@pytest.mark.parametrize("setting", ["channels_last", "gradient_checkpointing"])
def test_what_saves_time_or_memory_changes_nothing_but_rounding(recipe, tmp_path, setting):
    def losses(on):
        run = train(recipe(train__steps=3, **{f"train__{setting}": on}), tmp_path / str(on))
        return [e.loss for e in steps(run)]

    plain, other = losses(False), losses(True)
    assert other == pytest.approx(plain, rel=1e-4)


def test_xformers_without_cuda_is_refused(recipe, tmp_path):
    with pytest.raises(UsageError, match="xformers"):
        list(train(recipe(train__attention="xformers", train__steps=1), tmp_path / "run"))


V_TO_THE_END = {"model__prediction": "v_prediction", "noise__zero_terminal_snr": True}


def test_losses_samples_and_files_share_one_schedule(recipe, tmp_path, monkeypatch):
    from bakehouse.generation import resolve
    from bakehouse.models import text_to_image
    from bakehouse.training import objective

    seen = {}
    loss, draw = objective.DenoisingLoss, text_to_image.sample
    monkeypatch.setattr(objective, "DenoisingLoss", lambda *a: seen.setdefault("loss", a[2]) and loss(*a))
    monkeypatch.setattr(
        text_to_image,
        "sample",
        lambda model, *a, **k: seen.setdefault("samples", model.schedule) and draw(model, *a, **k),
    )
    run = Run(tmp_path / "run")
    list(train(recipe(**V_TO_THE_END, sample__prompts=["zwx person"], sample__steps=2), run.folder))
    assert seen["loss"] is seen["samples"]
    assert seen["loss"].snr(torch.tensor([999])) == 0
    with safe_open(run.weights / "zwx-person.safetensors", "pt") as file:
        assert file.metadata()["ss_zero_terminal_snr"] == "True"
    assert resolve(run.folder).zero_terminal_snr


def test_a_fine_tune_carries_the_schedule_it_was_trained_on(recipe, tmp_path):
    run = Run(tmp_path / "run")
    list(train(recipe(**V_TO_THE_END, adapter__kind="full", train__steps=1), run.folder))
    schedule = load_model(run.weights / "zwx-person").schedule
    assert schedule.is_zero_terminal
    assert schedule.prediction == "v_prediction"


def test_class_images_are_generated_before_the_schedule_changes(recipe, tmp_path, monkeypatch):
    from bakehouse.models import text_to_image

    seen, draw = [], text_to_image.sample
    monkeypatch.setattr(
        text_to_image, "sample", lambda model, *a, **k: seen.append(model.schedule) or draw(model, *a, **k)
    )
    settings = {"prior__source": "class", "prior__images": 1, "prior__steps": 1, "train__steps": 1}
    list(train(recipe(**V_TO_THE_END, **settings), tmp_path / "run"))
    assert seen
    assert not any(schedule.is_zero_terminal for schedule in seen)


def test_a_run_has_its_resolved_recipe(recipe, tmp_path):
    open_one = recipe(train__steps=1)
    list(train(open_one, tmp_path / "run"))
    kept = Recipe.load(tmp_path / "run" / "recipe.toml")
    assert kept == make_plan(open_one).recipe != open_one
    assert kept.prior.source is not None and kept.sample.guidance == make_plan(open_one).recipe.sample.guidance
    assert [type(e) for e in train(kept, tmp_path / "run")] == [Finished], "the kept recipe is the run's own"
