"""Laws of a step: batches may be cut anywhere, averages are looked at and put back, variations change nothing else."""

import pytest
import torch
from safetensors.torch import load_file

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Step
from bakehouse.losses import denoising
from bakehouse.models.denoiser import Moments
from bakehouse.models.load import load_model
from bakehouse.recipe import make_plan
from bakehouse.recipe.optimizers import OptimizerSpec
from bakehouse.training import loop as loop_module
from bakehouse.training import train
from bakehouse.training.batch_builder import BatchBuilder
from bakehouse.training.ema import averaged_weights
from bakehouse.training.latent_cache import AugmentedView, LatentCache
from bakehouse.training.precision import Precision
from bakehouse.training.text_cache import PromptEncoder
from bakehouse.training.training_state import TrainState


def weights(folder):
    return load_file(folder / "weights" / "zwx-person.safetensors")


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_a_step_does_not_depend_on_how_its_batch_is_cut(recipe, tmp_path, photos, monkeypatch):
    """Six images in one batch, or in three whose gradients are added: the same weights, where nothing is random."""
    for i in (4, 5):
        (photos / f"{i}.png").unlink()
    monkeypatch.setattr(Moments, "sample", lambda self, generator: self.mean)
    monkeypatch.setattr(denoising.NoiseSpec, "draw_timesteps", lambda *a: torch.full((a[2],), 700))
    monkeypatch.setattr(denoising.NoiseSpec, "draw", lambda self, latents, generator: torch.ones_like(latents))
    common = {"concepts__0__repeats": 1, "train__steps": 1, "save__dtype": "fp32", "optimizer__name": "sgd"}
    losses = {}
    for batch, parts in ((4, 1), (2, 2), (3, 2)):
        settings = {**common, "train__batch": batch, "train__accumulation": parts, "optimizer__lr": 0.1}
        (step,) = [e for e in train(recipe(**settings), tmp_path / f"{batch}") if isinstance(e, Step)]
        losses[batch] = step.loss
    whole = weights(tmp_path / "4")
    assert max(float(v.abs().max()) for k, v in whole.items() if "lora_up" in k) > 1e-6
    for batch in (2, 3):
        assert losses[batch] == pytest.approx(losses[4], rel=1e-5)
        assert all(torch.allclose(whole[k], weights(tmp_path / f"{batch}")[k], atol=2e-7) for k in whole)


def test_gradients_are_clipped_to_the_norm():
    p = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([p], lr=1.0)
    precision = Precision("fp32", torch.device("cpu"))
    for gradient, most, moved in ((3.0, 1.0, 1.0), (0.1, 1.0, 0.2), (3.0, 0.0, 6.0)):
        with torch.no_grad():
            p.zero_()
        p.grad = torch.full((4,), gradient)
        assert precision.step(optimizer, [p], most) == pytest.approx(2 * gradient)
        assert p.norm().item() == pytest.approx(moved, rel=1e-4)


class Weights(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(5))


def test_averaged_weights_are_swapped_in_and_back_bit_for_bit():
    """The average of a schedule-free optimizer is its x = (y - (1 - beta) z) / beta."""
    module = Weights()
    optimizer = OptimizerSpec(name="adamwschedulefree").build([{"params": [module.w], "lr": 0.1}])
    for _ in range(5):
        module.w.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    state = TrainState(5, module, optimizer, [])
    y, z = module.w.detach().clone(), optimizer.state[module.w]["z"]
    with averaged_weights(state):
        x = module.w.detach().clone()
    assert torch.allclose(x, (y - 0.1 * z) / 0.9, atol=1e-6)
    assert not torch.allclose(x, y, atol=1e-3)
    assert torch.equal(module.w, y)
    assert optimizer.param_groups[0]["train_mode"]


def test_a_schedule_free_run_resumes_bit_for_bit(recipe, tmp_path, monkeypatch):
    """With samples and variations on the way; stopped in the middle of an epoch's save and taken up again."""
    settings = {"optimizer__name": "AdamWScheduleFree", "data__augment__random_crop": True, "data__cache": "none"}
    settings |= {"sample__prompts": ["zwx person"], "sample__steps": 1, "train__steps": 8, "data__flip": True}
    original = loop_module._optimizer_step

    def stopped(components, state):
        if state.step == 7:
            raise BakehouseError("stopped")
        return original(components, state)

    monkeypatch.setattr(loop_module, "_optimizer_step", stopped)
    with pytest.raises(BakehouseError, match="stopped"):
        list(train(recipe(**settings), tmp_path / "run"))
    monkeypatch.undo()
    list(train(recipe(**settings), tmp_path / "run"))
    quiet = recipe(**{**settings, "sample__prompts": []})
    list(train(quiet, tmp_path / "undisturbed"))
    assert same(weights(tmp_path / "run"), weights(tmp_path / "undisturbed"))


def batch_builder(made, tmp_path):
    plan = make_plan(made)
    model = load_model(made.model.base)
    cache = LatentCache(plan.subject_images, made.data)
    assert list(cache.fill(model)) or made.data.cache == "none"
    prompts = PromptEncoder(model, _Nothing(), clip_skip=1, chunks=1)
    return plan, model, cache, BatchBuilder(plan, [], cache, prompts)


def test_every_sample_has_its_size_and_crop(recipe, tmp_path, monkeypatch):
    made = recipe(data__augment__random_crop=True, data__augment__zoom=2.0, data__augment__variants=3, data__flip=True)
    plan, _, cache, builder = batch_builder(made, tmp_path)
    told = []
    monkeypatch.setattr(
        "bakehouse.models.denoiser.Conditioning.with_sizes", lambda self, sizes: told.append(sizes) or self
    )
    slots = builder.slots(0)[0]
    batch = builder.batch(slots, 0, 0, torch.Generator().manual_seed(0))
    shows = [builder._sample(slot, 0, 0, i)[1] for i, slot in enumerate(slots)]
    assert batch.sizes.tolist() == [list(cache.sizes(show)) for show in shows]
    assert torch.equal(told[0], batch.sizes)
    for row, show in zip(batch.sizes.tolist(), shows, strict=True):
        image = plan.subject_images[show.index]
        assert row[:2] == [image.record.height, image.record.width]
        assert row[4:] == list(image.placement.bucket[::-1])
        assert tuple(batch.latents.shape[-2:]) == (row[4] // 8, row[5] // 8)


class _Nothing:
    """No adapter."""

    trains_text = False

    def scaled(self, _):
        return torch.no_grad()


def test_cached_variations_are_those_that_would_be_generated(recipe, tmp_path):
    settings = {"data__augment__random_crop": True, "data__augment__zoom": 2.0, "data__augment__color": 0.2}
    *_, kept, _ = batch_builder(recipe(**settings, data__augment__variants=3, data__workers=2), tmp_path)
    *_, fresh, _ = batch_builder(recipe(**settings, data__cache="none"), tmp_path)
    shows = [AugmentedView(i, False, v) for i in range(2) for v in range(3)]
    for show in shows:
        assert torch.equal(kept.moments(show).mean, fresh.moments(show).mean)
    assert not torch.equal(kept.moments(shows[0]).mean, kept.moments(shows[1]).mean)
    assert kept.variants(0) == 3
    assert fresh.variants(0) is None


def test_variations_are_drawn_by_seed_and_step(recipe, tmp_path):
    made = recipe(data__augment__random_crop=True, data__cache="none", train__epochs=4)
    *_, builder = batch_builder(made, tmp_path)
    once = [builder._sample(s, 3, 0, 0) for s in builder.slots(3)[0]]
    assert once == [builder._sample(s, 3, 0, 0) for s in builder.slots(3)[0]]
    numbers = {
        builder._sample(s, step, 0, at)[1].variant for step in range(8) for at, s in enumerate(builder.slots(step)[0])
    }
    assert len(numbers) == 16
