"""A slider trains on prompts alone: its loss, its trajectories, its ends, and what its file says."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from bakehouse.adapters import load_adapter
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Noted, Step, Stopped, Warned, result_of
from bakehouse.losses.slider import SliderPrompt, SliderSpec
from bakehouse.models.denoiser import Moments
from bakehouse.models.load import load_model
from bakehouse.recipe import make_plan, recipe_for_slider
from bakehouse.training import train
from bakehouse.training.loop import run_loop
from bakehouse.training.prepare import build_components
from bakehouse.training.slider_range import Place, find_range, usage_hint
from bakehouse.training.slider_stop import relative_change
from bakehouse.training.slider_trajectory import denoise, draw
from bakehouse.training.training_state import find_states, restore_state, save_state


@pytest.fixture
def recipe(tiny_folder):
    """A quick slider on the tiny model; keywords are dotted keys with `__` for the dot."""

    def make(**settings):
        quick = {
            "buckets.step": 16,
            "slider.sizes": [[64, 64]],
            "slider.steps": 6,
            "slider.points": 4,
            "slider.images": 1,
            "slider.strengths": [1.0],
            "train.batch": 1,
            "train.steps": 6,
            "train.epochs": 2,
            "sample.prompts": [],
            "sample.steps": 2,
            "optimizer.lr": 1e-2,
            "schedule.kind": "constant",
        }
        changes = {key.replace("__", "."): value for key, value in settings.items()}
        words = ("person", "person, big smile", "person, sad")
        return recipe_for_slider(*words, base=str(tiny_folder), settings={**quick, **changes})

    return make


def built(recipe, **more):
    components, state = result_of(build_components(make_plan(recipe), load_model(recipe.model.base), **more))
    return components, state


def randomize(adapter):
    generator = torch.Generator().manual_seed(5)
    for parameter in adapter.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2


def batches(objective, step):
    sizes = objective.batch_sizes(step)
    return [objective.batch(step, part, torch.Generator()) for part in range(len(sizes))]


@pytest.mark.parametrize("action", ["enhance", "erase"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_loss_is_the_formula_on_the_models_own_predictions(recipe, action, guidance):
    prompt = {"target": "person", "positive": "person, big smile", "negative": "person, sad", "neutral": "robot"}
    prompts = [{**prompt, "action": action, "guidance": guidance}]
    components, state = built(recipe(slider__prompts=prompts))
    randomize(state.adapter)
    model, sign = components.model, 1 if action == "enhance" else -1
    for batch in batches(components.objective, 0):
        t, one = batch.t.to(torch.float32), lambda text: model.encode_prompt([text])
        with torch.no_grad(), state.adapter.scaled(0):
            positive, negative, neutral = (
                model(batch.latents, t, one(text)) for text in ("person, big smile", "person, sad", "robot")
            )
        expected = neutral + sign * batch.strength * guidance * (positive - negative)
        assert torch.allclose(batch.target, expected, atol=1e-5)
        with torch.no_grad(), state.adapter.scaled(batch.strength):
            loss = components.objective.loss(model, state.adapter, batch, torch.Generator())
            pred = model(batch.latents, t, one("person"))
        assert torch.allclose(loss, (pred - expected).square().mean(dim=(1, 2, 3)), rtol=1e-4)


def test_a_step_has_a_batch_for_each_strength_on_the_same_images(recipe):
    objective = built(recipe(train__accumulation=2))[0].objective
    assert objective.batch_sizes(0) == [1, 1, 1, 1]
    up, down, other, _ = batches(objective, 0)
    assert (up.strength, down.strength) == (1.0, -1.0)
    assert torch.equal(up.latents, down.latents)
    assert not torch.equal(up.latents, other.latents)
    assert built(recipe(slider__both_ways=False))[0].objective.batch_sizes(0) == [1]


def test_gradients_are_those_of_the_strength_with_checkpointing_too(recipe):
    """The backward pass computes the predictions again, when the strength must still be -1."""
    found = []
    for on in (False, True):
        made = recipe(train__gradient_checkpointing=on, train__steps=1, train__epochs=1)
        model = load_model(made.model.base)
        model.use_gradient_checkpointing(on)
        components, state = result_of(build_components(make_plan(made), model))
        randomize(state.adapter)
        list(run_loop(components, state))
        found.append([p.detach().clone() for p in state.parameters()])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True))


def test_anchors_are_held_at_the_base(recipe):
    components, state = built(recipe(slider__anchors=[{"prompt": "robot", "weight": 0.5}]))
    randomize(state.adapter)
    (batch, _), model = batches(components.objective, 0), components.model
    assert batch.is_prior.tolist() == [False, True]
    assert batch.weight.tolist() == [1.0, 0.5]
    with torch.no_grad(), state.adapter.scaled(0):
        base = model(batch.latents[1:], batch.t[1:].float(), model.encode_prompt(["robot"]))
        losses = components.objective.loss(model, state.adapter, batch, torch.Generator())
    assert torch.allclose(batch.target[1:], base, atol=1e-5)
    assert losses[1] == pytest.approx(0, abs=1e-8)
    losses = components.objective.loss(model, state.adapter, batch, torch.Generator()).tolist()
    assert losses[1] > 1e-4


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "euler", "euler a", "dpm++ 2m"])
def test_noisy_images_have_the_noise_of_their_timesteps(tiny, monkeypatch, sampler):
    """With a network that knows the clean image, what is left beside it is the noise of exactly that timestep."""
    clean = torch.zeros(4, 8, 8)

    def knows(x_t, t, cond):
        abar = tiny.schedule.alphas_cumprod[t.round().long()].view(-1, 1, 1, 1).float()
        return (x_t - abar.sqrt() * clean) / (1 - abar).sqrt()

    monkeypatch.setattr(tiny, "forward", knows)
    spec = SliderSpec(prompts=[{"target": "person"}], sizes=[[64, 64]], steps=10, points=10, sampler=sampler)
    cond, uncond = tiny.encode_prompt(["person"]), tiny.encode_negative([""])
    options = {"count": 64, "seed": 3, "number": 0}
    made = denoise(tiny, spec, draw(spec, 8, 3, 0), cond, uncond, **options)
    assert sorted(made.timesteps.tolist()) == sorted(set(made.timesteps.tolist()))
    assert max(made.timesteps.tolist()) == 999
    for x_t, t in zip(made.latents, made.timesteps, strict=True):
        expected = (1 - tiny.schedule.alphas_cumprod[t]).sqrt().item()
        assert x_t.std().item() == pytest.approx(expected, rel=0.05), int(t)


def test_a_trajectory_is_a_function_of_seed_and_number(tiny):
    spec = SliderSpec(prompts=[{"target": "person"}], sizes=[[64, 64]], steps=5, points=3)
    cond, uncond = tiny.encode_prompt(["person"]), tiny.encode_negative([""])
    first, again, other, seeded = (
        denoise(tiny, spec, draw(spec, 8, seed, n), cond, uncond, count=2, seed=seed, number=n)
        for seed, n in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert torch.equal(first.latents, again.latents)
    assert torch.equal(first.timesteps, again.timesteps)
    assert not torch.equal(first.latents, other.latents)
    assert not torch.equal(first.latents, seeded.latents)


def test_prompts_kept_words_anchors_and_strengths_take_turns():
    spec = SliderSpec(
        prompts=[{"target": "a"}, {"target": "b"}],
        keep=["x", "y"],
        anchors=[{"prompt": "m"}, {"prompt": "n"}],
        sizes=[[64, 64]],
    )
    drawn = [draw(spec, 8, 0, n) for n in range(16)]
    assert {(d.target, d.strength) for d in drawn} == {(f"{t}, {k}", s) for t in "ab" for k in "xy" for s in (1, -1)}
    assert {(d.target, d.anchor) for d in drawn} == {(f"{t}, {k}", a) for t in "ab" for k in "xy" for a in (0, 1)}


def test_sizes_vary_from_half_to_the_whole():
    spec = SliderSpec(prompts=[{"target": "a"}], sizes=[[512, 512]], vary_sizes=True)
    sides = {side for n in range(200) for d in [draw(spec, 64, 0, n)] for side in (d.width, d.height)}
    assert sides == {256, 320, 384, 448, 512}


def test_a_trajectory_serves_several_steps(recipe, monkeypatch):
    components, _ = built(recipe(train__steps=8))
    calls = []
    monkeypatch.setattr(
        "bakehouse.training.slider.denoise", lambda *a, **k: calls.append(k["number"]) or denoise(*a, **k)
    )
    timesteps = [batches(components.objective, step)[0].t.item() for step in range(8)]
    assert calls == [0, 1]
    assert len(set(timesteps[:4])) == len(set(timesteps[4:])) == 4


@pytest.mark.parametrize("trajectories", ["base", "slider"])
def test_a_killed_run_ends_as_one_that_was_not(recipe, tmp_path, trajectories):
    """Also in the middle of a trajectory, which the slider denoised with weights that are gone."""
    made = recipe(slider__trajectories=trajectories, train__batch=2)
    plan = make_plan(made)
    components, whole = built(made)
    losses = [e.loss for e in run_loop(components, whole) if isinstance(e, Step)]

    components, state = built(made)
    events = run_loop(components, state)
    first = [e.loss for e in itertools.islice(events, 3) if isinstance(e, Step)]
    assert state.step == 3 < plan.steps
    save_state(state, tmp_path)
    components, resumed = built(made)
    restore_state(resumed, find_states(tmp_path).newest)
    rest = [e.loss for e in run_loop(components, resumed) if isinstance(e, Step)]
    assert first + rest == losses
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_the_slider_learns_its_ends(recipe):
    """Its two ends move apart, along the difference between the prompts."""
    components, state = built(recipe(train__steps=60, train__epochs=1, optimizer__lr=2e-3))
    objective = components.objective
    list(run_loop(components, state))
    trajectory, drawn = objective._probe(0)
    wanted = []
    for x_t, t in zip(trajectory.latents, trajectory.timesteps, strict=True):
        of = objective._predict_with_base(x_t, t.expand(len(x_t)), list(drawn.ends))
        wanted.append(2 * (of[drawn.ends[0]] - of[drawn.ends[1]]))
    found, target = objective.ends(), torch.cat(wanted)
    assert torch.cosine_similarity(found.flatten(), target.flatten(), dim=0) > 0.5
    assert (found - target).norm() < 0.9 * target.norm()  # at first they do not differ at all


def test_ends_that_are_the_same_to_the_base_are_refused_before_training(recipe):
    words = [{"target": "person", "positive": "person smile", "negative": "person  Smile"}]
    with pytest.raises(UsageError, match="are the same to the base's text encoder"):
        built(recipe(slider__prompts=words))


def test_ends_that_mean_nearly_the_same_are_warned_of(recipe, monkeypatch):
    monkeypatch.setattr("bakehouse.training.slider.SAME", 1e9)
    made = recipe()
    warned = [e for e in build_components(make_plan(made), load_model(made.model.base)) if isinstance(e, Warned)]
    assert len(warned) == 1
    assert "'person, big smile' and 'person, sad' mean nearly the same to the base" in warned[0].message


REFUSED = {
    "train.precision = 'fp16'": ({"train__precision": "fp16"}, "end in NaN"),
    "adapter.text": ({"adapter__text": True}, "trains the UNet alone"),
    "adapter.kind": ({"adapter": {"kind": "full"}}, "an adapter with a strength"),
    "slider.prompts is empty": ({"slider__prompts": []}, "--target person"),
    "slider.prompts.0": ({"slider__prompts": [{"target": "a", "negative": "a"}]}, "no difference to learn"),
    "slider.points": ({"slider__points": 9}, "more than slider.steps"),
    "slider.sampler": ({"slider__sampler": "wibble"}, "unknown"),
    "stop.when = 'learned'": ({"stop__when": "learned"}, "set 'settled'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_slider_cannot_have_is_refused_with_the_reason(recipe, name):
    settings, words = REFUSED[name]
    with pytest.raises(Problems) as e:
        make_plan(recipe(**settings))
    assert any(name in problem and words in problem for problem in e.value.problems), e.value.problems


def test_settings_of_images_are_said_to_do_nothing(recipe):
    warnings = make_plan(recipe(noise__offset=0.1, captions__shuffle=True)).warnings
    assert {w.split()[0] for w in warnings if "does nothing for a slider" in w} == {"noise", "captions"}


def test_a_run_leaves_a_plain_lora_with_its_range_and_a_strip(recipe, tmp_path):
    made = recipe(sample__prompts=["person"], train__steps=4)
    events = list(train(made, tmp_path / "run"))
    weights = tmp_path / "run" / "weights" / "person-big-smile.safetensors"
    with safe_open(weights, "pt") as f:
        metadata, names = f.metadata(), list(f.keys())
    assert all(name.startswith("lora_unet_") for name in names)
    assert metadata["ss_network_module"] == "networks.lora"
    assert "slider" in metadata["bakehouse.recipe"]
    found = json.loads((tmp_path / "run" / "report" / "slider.json").read_text("utf-8"))
    assert [p["strength"] for p in found["places"]] == [-1.0, 0.0, 1.0]
    if found["low"] < found["high"]:
        assert float(metadata["preferred weight"]) == found["preferred"]
        assert metadata["bakehouse.strength_range"] == f"{found['low']}, {found['high']}"
        assert metadata["modelspec.usage_hint"].startswith(f"Slider for strengths from {found['low']:g}")
        assert any(isinstance(e, Noted) and "Slider for strengths" in e.message for e in events)
    else:
        assert any(isinstance(e, Warned) and "moves nothing" in e.message for e in events)
    with Image.open(tmp_path / "run" / "report" / "slider.png") as strip:
        assert strip.width == 3 * 64
    with Image.open(tmp_path / "run" / "samples" / "step-000002-0.png") as sample:
        assert sample.size == (3 * 64, 64)
    model = load_model(made.model.base)
    adapter = load_adapter(weights, model.trainable_modules())
    x, t, cond = torch.randn(1, 4, 8, 8), torch.tensor([500]), model.encode_prompt(["person"])
    with torch.no_grad():
        up = model(x, t, cond)
        with adapter.scaled(-1):
            assert not torch.equal(model(x, t, cond), up)
    assert not [e for e in train(made, tmp_path / "run") if isinstance(e, Step)]


def places(*rows):
    return [Place(strength, position, health) for strength, position, health in rows]


def test_the_range_ends_where_nothing_more_changes_or_images_break():
    ordered = places((-3, -0.2, 1), (-2, -0.3, 1), (-1, -0.1, 1), (0, 0, 1), (1, 0.1, 1), (2, 0.3, 1.2), (3, 0.5, 1.6))
    found = find_range(ordered)
    assert (found.low, found.high, found.preferred, found.moves) == (-2, 2, 2, True)
    flat = find_range(places((-1, 0.1, 1), (0, 0, 1), (1, 0, 1)))
    assert (flat.low, flat.high, flat.moves) == (0, 0, False)
    downwards = find_range(places((-1, -0.1, 1), (0, 0, 1), (1, -0.2, 1)))
    assert (downwards.preferred, downwards.moves) == (-1, True)


def test_the_hint_names_both_ends():
    found = find_range(places((-1, -0.1, 1), (0, 0, 1), (1, 0.1, 1)))
    prompt = SliderPrompt(target="person", positive="person, smile", negative="person, sad")
    assert usage_hint(found, prompt) == (
        "Slider for strengths from -1 to 1 (-1: person, sad; 1: person, smile); 0 is the base."
    )
    erased = SliderPrompt(target="van gogh", action="erase")
    assert "-1: van gogh; 1: the opposite" in usage_hint(found, erased.model_copy(update={"neutral": ""}))


def test_a_run_stops_once_its_ends_stop_changing(recipe, tmp_path):
    """With a rate of almost zero they do not change at all after the first step."""
    made = recipe(stop__when="settled", train__steps=40, train__epochs=20, schedule__kind="piecewise",
                  schedule__pieces=[[0.1, 1.0], [0.11, 0.0], [1.0, 0.0]])  # fmt: skip
    events = list(train(made, tmp_path / "run"))
    (stopped,) = [e for e in events if isinstance(e, Stopped)]
    assert stopped.step < 12
    assert "the slider's ends changed by" in stopped.why
    steady = recipe(stop__when="settled", train__steps=8, train__epochs=4, stop__change=1e-6)
    assert not [e for e in train(steady, tmp_path / "other") if isinstance(e, Stopped)]


def test_change_is_relative():
    one = torch.ones(4)
    assert relative_change(one, one) == 0
    assert relative_change(one, 2 * one) == pytest.approx(0.5)
    assert relative_change(one, 0 * one) == float("inf")


@pytest.fixture
def pairs(recipe, tmp_path):
    """A slider from images: the positive ones are brighter than the negative ones."""
    rng = np.random.default_rng(0)
    for name in ("bright", "dark"):
        (tmp_path / name).mkdir()
    for i in range(3):
        noise = rng.integers(-40, 40, (64, 64, 3))
        for name, level in (("bright", 200), ("dark", 60)):
            Image.fromarray((noise + level).astype(np.uint8)).save(tmp_path / name / f"{i}.png")

    def make(**settings):
        made = recipe(**settings)
        folders = [
            {"folder": str(tmp_path / name), "strength": strength} for name, strength in (("bright", 1), ("dark", -1))
        ]
        return made.with_values({"concepts": folders, "buckets.resolution": 64})

    return make


def test_pairs_of_images_share_noise_and_timestep(pairs):
    components, state = built(pairs(train__batch=2))
    objective = components.objective
    assert objective.batch_sizes(0) == [2, 2]
    up, down = batches(objective, 0)
    assert (up.strength, down.strength) == (1.0, -1.0)
    assert up.noise_seed == down.noise_seed != batches(objective, 1)[0].noise_seed
    assert not torch.equal(up.latents, down.latents)
    # The same loss whatever generator the loop passes: noise is the pair's own.
    losses = [objective.loss(components.model, state.adapter, up, torch.Generator().manual_seed(s)) for s in (0, 1)]
    assert torch.equal(*losses)


def test_a_slider_from_images_tells_its_ends_apart(pairs, monkeypatch):
    """At strength 1 it predicts the noise in bright images better than at -1, and the other way round in dark ones."""

    def moments(self, view):  # the tiny VAE is random and makes all images alike
        level = 1.5 if self.images[view.index].record.concept == 0 else -1.5
        return Moments(torch.full((1, 4, 8, 8), level), torch.zeros(1, 4, 8, 8))

    monkeypatch.setattr("bakehouse.training.latent_cache.LatentCache.moments", moments)
    middle = {"noise__min_timestep": 300, "noise__max_timestep": 700}
    much = {"train__steps": 60, "train__epochs": 1, "train__batch": 2, "optimizer__lr": 2e-2}
    components, state = built(pairs(**much, **middle, adapter__targets="full"))
    list(run_loop(components, state))
    objective, model = components.objective, components.model
    found = {}
    for number in range(200, 220):
        for batch in batches(objective, number):
            for strength in (1.0, -1.0):
                with torch.no_grad(), state.adapter.scaled(strength):
                    loss = objective.loss(model, state.adapter, batch, torch.Generator()).mean().item()
                found.setdefault((batch.strength, strength), []).append(loss)
    mean = {key: sum(values) for key, values in found.items()}
    assert mean[1, 1] < mean[1, -1]
    assert mean[-1, -1] < mean[-1, 1]


def test_a_run_on_pairs_is_resumed_and_finished(pairs, tmp_path):
    made = pairs(train__steps=4, stop__when="settled")
    events = list(train(made, tmp_path / "run"))
    assert len([e for e in events if isinstance(e, Step)]) == 4
    assert (tmp_path / "run" / "report" / "slider.png").is_file()
    assert not [e for e in train(made, tmp_path / "run") if isinstance(e, Step)]
    plan = make_plan(made)
    assert (len(plan.images), plan.steps_per_epoch) == (6, 2)


def test_pairs_that_do_not_fit_are_refused(pairs, tmp_path):
    made = pairs()
    (tmp_path / "dark" / "1.png").unlink()
    with pytest.raises(Problems) as e:
        make_plan(made)
    assert "1: this image is not in" in " ".join(e.value.problems)
    Image.new("RGB", (32, 64)).save(tmp_path / "dark" / "1.png")
    with pytest.raises(Problems) as e:
        make_plan(made)
    assert "images of one name must have one size" in " ".join(e.value.problems)
    same = made.with_values({"concepts.1.strength": 1.0})
    with pytest.raises(Problems) as e:
        make_plan(same)
    assert "on both sides of 0" in " ".join(e.value.problems)
    with pytest.raises(Problems) as e:
        make_plan(made.with_values({"concepts.1.strength": 0.0}))
    assert "needs the strength that it shows" in " ".join(e.value.problems)
