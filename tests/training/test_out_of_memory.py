"""Memory: what fits is found out, what does not is answered with what would, and helpers keep out of the way."""

from __future__ import annotations

import importlib
import json

import pytest
import torch
from safetensors.torch import load_file

import bakehouse.training.loop as loop_module
from bakehouse.adapters import LoRA, inject
from bakehouse.core.errors import BakehouseError, Problems
from bakehouse.core.events import Failed, Noted, Started, result_of
from bakehouse.core.run_folder import Run
from bakehouse.losses import LossSpec, NoiseSpec, denoising_loss
from bakehouse.models.quantize import is_quantized
from bakehouse.recipe import Recipe, make_plan
from bakehouse.recipe.memory_estimate import FOOTPRINTS, memory_use, savings
from bakehouse.training import bake
from bakehouse.training import out_of_memory as module
from bakehouse.training.offload import Helpers, wants_offload
from bakehouse.training.out_of_memory import is_out_of_memory, largest_batch, out_of_memory, powers_of_two, trial_of
from bakehouse.training.precision import Precision
from bakehouse.training.training_state import TrainState, find_state, restore_state, save_state
from benchmarks.workloads import DREAMBOOTH

bake_module = importlib.import_module("bakehouse.training.trainer")
"""The file, not the function that the package shows under its name."""


def test_every_device_says_it_in_its_own_words():
    cries = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        MemoryError(),
    ]
    assert all(map(is_out_of_memory, cries))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def real_oom():
    """What PyTorch itself raises here."""
    try:
        torch.empty(1 << 60, dtype=torch.uint8)
    except RuntimeError as e:
        return e
    raise AssertionError("this machine has an exbibyte")


def test_the_cpu_allocators_own_error_is_known():
    assert is_out_of_memory(real_oom())


@pytest.mark.parametrize("cry", [torch.OutOfMemoryError("no more"), real_oom()])
def test_running_out_is_answered_with_what_would_fit(recipe, tmp_path, monkeypatch, cry):
    def burst(parts, state):
        raise cry

    monkeypatch.setattr(loop_module, "_step", burst)
    wanted = recipe()
    with pytest.raises(BakehouseError, match="out of memory at step 1: cpu has") as e:
        list(bake(wanted, tmp_path / "run"))
    assert "--set train.gradient_checkpointing=true" in e.value.hint
    assert e.value.exit_code == 1
    assert isinstance(list(Run(tmp_path / "run").history())[-1], Failed)


def test_what_is_no_shortage_is_not_taken_for_one(recipe, tmp_path, monkeypatch):
    def burst(parts, state):
        raise RuntimeError("a bug")

    monkeypatch.setattr(loop_module, "_step", burst)
    with pytest.raises(RuntimeError, match="a bug"):
        list(bake(recipe(), tmp_path / "run"))


def settings(**changes) -> Recipe:
    values = {"model.base": "crumb", "train.device": "cpu", "train.batch": 4, "buckets.resolution": 512}
    return Recipe.parse({"concepts": [{"folder": "x"}]}).with_values({**values, **changes})


def test_advice_is_in_the_order_of_its_price_and_ends_where_it_fits(monkeypatch):
    monkeypatch.setattr(module, "family_of", lambda recipe: "sd1")
    wanted = settings(**{"adapter.text": True})
    lines = str(out_of_memory(wanted, 0, limit=1_000_000)).splitlines()
    keys = [line.split("--set ")[1].split("=")[0] for line in lines if "--set" in line]
    assert keys[0] == "train.gradient_checkpointing"
    assert keys[1:3] == ["train.batch", "train.batch"]
    assert keys[3:5] == ["model.quantize", "adapter.text"]
    assert set(keys[5:]) == {"buckets.resolution"}
    assert "no setting saves" in lines[-1]
    roomy = memory_use(settings(**{"train.gradient_checkpointing": True}), "sd1", "cpu").total * 2
    lines = str(out_of_memory(settings(), 0, limit=roomy)).splitlines()
    assert sum("fits" in line for line in lines[2:]) == 1 and "fits" in lines[-1]


def test_the_device_knows_better_than_the_estimate(monkeypatch):
    monkeypatch.setattr(module, "family_of", lambda recipe: "sd1")
    wanted = settings()
    limit = memory_use(wanted, "sd1", "cpu").total * 3
    error = out_of_memory(wanted, 0, limit=limit)
    assert f"about {limit * 1.05 / 1e9:.1f} GB" in error.message


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_every_saving_saves_and_keeps_the_images_of_a_step(kind):
    recipe = settings(**{"adapter": {"kind": kind, "text": True}, "train.accumulation": 3, "train.device": "cuda"})
    before = memory_use(recipe, "sd1", "cuda").total
    images = recipe.train.batch_size * recipe.train.accumulation
    for changes, _ in savings(recipe, "cuda"):
        kind = changes.get("adapter.kind")
        recipe = recipe.with_values({"adapter": {"kind": kind, "text": True}} if kind else changes)
        now = memory_use(recipe, "sd1", "cuda").total
        assert now < before, changes
        assert recipe.train.batch_size * recipe.train.accumulation == images
        before = now


def test_the_estimate_grows_with_what_it_should():
    base = settings()
    grows = {"train.batch": 8, "buckets.resolution": 768, "adapter": {"kind": "full"}, "train.accumulation": 2}
    for family in FOOTPRINTS:
        at = memory_use(base, family, "cuda")
        assert at.total == at.weights + at.optimizer + at.reserve + max(at.gradients, at.activations)
        for key, value in grows.items():
            assert memory_use(base.with_values({key: value}), family, "cuda").total > at.total, (family, key)
        half = memory_use(base.with_values({"model.quantize": "int8"}), family, "cuda")
        assert half.weights < at.weights
        whole = memory_use(base, family, "cpu")
        assert whole.total - whole.reserve > at.total - at.reserve, "fp32, and nothing is away"


def test_wanted_figures_are_within_reach_of_the_estimate():
    lora = settings(**{"adapter.rank": 32, "train.batch": 1, "train.device": "cuda"})
    assert memory_use(lora, "sd1", "cuda").total <= 6e9
    lean = lora.with_values({"buckets.resolution": 1024, "train.gradient_checkpointing": True})
    assert memory_use(lean, "sdxl", "cuda").total <= 10e9
    assert memory_use(settings(**DREAMBOOTH, **{"train.batch": 1}), "sd1", "cuda").total <= 10e9


def test_powers_of_two_divide_the_images_of_a_step():
    assert powers_of_two(12) == [1, 2, 4]
    assert powers_of_two(8) == [1, 2, 4, 8]
    assert powers_of_two(7) == [1]


def planned(recipe, **changes):
    return make_plan(recipe(train__batch="auto", train__accumulation=8, **changes))


def test_on_a_device_sizes_are_tried_until_one_bursts(recipe, monkeypatch):
    tried = []

    def trial(size):
        tried.append(size)
        if size > 2:
            raise RuntimeError("MPS backend out of memory")

    monkeypatch.setattr(module, "available_bytes", lambda device: None)
    assert result_of(largest_batch(planned(recipe), trial, torch.device("meta"))) == 2
    assert tried == [1, 2, 4]
    with pytest.raises(BakehouseError, match="out of memory"):
        result_of(largest_batch(planned(recipe), lambda size: trial(4), torch.device("meta")))
    with pytest.raises(ZeroDivisionError):
        result_of(largest_batch(planned(recipe), lambda size: 1 / 0, torch.device("meta")))


def test_on_a_cpu_the_estimate_decides(recipe, monkeypatch):
    plan = planned(recipe)

    def need(size):
        return memory_use(plan.recipe.with_values({"train.batch": size}), "sd1", "cpu").total

    monkeypatch.setattr(module, "available_bytes", lambda device: int((need(2) + need(4)) / 2 / module.MARGIN))
    assert result_of(largest_batch(plan, lambda size: pytest.fail("tried"), torch.device("cpu"))) == 2


def test_a_trial_is_a_real_step_on_the_largest_bucket(recipe, make_tiny):
    plan = planned(recipe)
    model = make_tiny()
    adapter = inject(LoRA(rank=2, alpha=1.0), model.parts(), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(list(adapter.parameters()), lr=0.0)
    shapes = []
    model.unet.conv_in.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))
    loss = denoising_loss(LossSpec(), NoiseSpec(), model.schedule)
    trial_of(plan, model, adapter, optimizer, Precision("fp32", model.device), loss)(3)
    largest = max((i.placement.bucket for i in plan.images), key=lambda b: b[0] * b[1])
    assert set(shapes) == {(3, 4, largest[1] // 8, largest[0] // 8)}
    assert optimizer.state, "the optimizer's states were there"


def test_a_batch_that_was_found_holds_for_the_run(recipe, tmp_path, monkeypatch):
    wanted = recipe(train__batch="auto", train__accumulation=4, train__epochs=1, save__every_epochs=0)
    monkeypatch.setattr(bake_module, "largest_batch", lambda *a: iter_then(2))
    stream = bake(wanted, tmp_path / "run")
    events = [event for event, _ in zip(stream, range(400), strict=False) if not isinstance(event, Failed)]
    assert any(isinstance(e, Noted) and "train.batch = 2 x 2" in e.message for e in events)
    assert json.loads((tmp_path / "run" / "inputs.json").read_text())["batch"] == {"batch": 2, "accumulation": 2}
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert (plan["recipe"]["train"]["batch"], plan["recipe"]["train"]["accumulation"]) == (2, 2)
    steps = next(e.steps for e in events if isinstance(e, Started))
    assert steps == plan["steps"] == plan["steps_per_epoch"]
    # Less is free when it goes on: the run keeps its batch.
    monkeypatch.setattr(bake_module, "largest_batch", lambda *a: pytest.fail("tried again"))
    again = list(bake(wanted, tmp_path / "run"))
    assert again[-1].step == steps
    list(bake(recipe(train__batch=2, train__accumulation=2, train__epochs=1, save__every_epochs=0), tmp_path / "same"))
    a, b = (load_file(tmp_path / run / "weights" / "zwx-person.safetensors") for run in ("run", "same"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def iter_then(value):
    yield from ()
    return value


def test_batch_is_a_number_or_auto(recipe):
    with pytest.raises(Problems, match=r"train\.batch = 0"):
        recipe(train__batch=0)
    with pytest.raises(Problems, match=r"train\.batch = 'many'"):
        recipe(train__batch="many")
    assert recipe(train__batch="auto").train.batch_size == 1
    decided = {d.key: d.value for d in make_plan(recipe(train__batch="auto")).decisions}
    assert decided["train.accumulation"] == 4


def test_a_quantised_base_cannot_be_fine_tuned(recipe):
    with pytest.raises(Problems, match=r"model\.quantize = 'int8' keeps weights that cannot learn"):
        make_plan(recipe(model__quantize="int8", adapter={"kind": "full"}))


def test_a_run_on_a_quantised_base(recipe, make_tiny, tmp_path):
    wide = make_tiny(block_out_channels=(32, 64, 64, 64), norm_num_groups=8)
    wide.save(tmp_path / "wide", dtype=torch.float32)
    values = {"model.base": str(tmp_path / "wide"), "train.steps": 2, "save.every_epochs": 0}
    losses = {}
    for quantize in (None, "int8"):
        wanted = recipe().with_values({**values, **({"model.quantize": quantize} if quantize else {})})
        events = list(bake(wanted, tmp_path / f"run-{quantize}"))
        losses[quantize] = [e.loss for e in events if hasattr(e, "loss")]
    assert losses["int8"] != losses[None]
    assert losses["int8"] == pytest.approx(losses[None], rel=0.03)


def test_helpers_come_when_called_and_go_when_told(make_tiny):
    model = make_tiny()
    meta = torch.device("meta")
    # The UNet's device is stood in for by one that computes nothing and shows where tensors are.
    model.unet.to(meta)
    helpers = Helpers(model, text_learns=False)
    assert not helpers.here
    cond = model.encode_prompt(["zwx person"])
    assert helpers.here == {"text_encoder"}
    assert cond.hidden.device == meta
    assert next(model.text_encoder.parameters()).device == meta
    assert next(model.vae.parameters()).device.type == "cpu"


def test_helpers_go_home_unchanged_unless_every_step_needs_them(make_tiny):
    model = make_tiny()
    before = {n: p.clone() for n, p in model.named_parameters()}
    helpers = Helpers(model, text_learns=False)
    assert helpers.here == {"text_encoder", "vae"}, "on the UNet's device from the start"
    assert helpers.leave() > 0 and not helpers.here
    model.decode(model.encode_image(torch.zeros(1, 3, 64, 64)).mean)
    assert helpers.here == {"vae"}
    helpers.leave()
    for _ in range(2):
        model.encode_prompt(["zwx person"])
        helpers.after_step()
        assert not helpers.here
    helpers.after_step()
    for step in range(4):
        model.encode_prompt(["zwx person"])
        helpers.after_step()
        assert bool(helpers.here) == (step >= 2)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_what_learns_is_no_helper(make_tiny):
    model = make_tiny()
    helpers = Helpers(model, text_learns=True)
    assert helpers.here == {"vae"}


def test_offload_is_for_devices_with_a_memory_of_their_own():
    cuda, cpu, mps = (torch.device(d) for d in ("cuda", "cpu", "mps"))
    assert wants_offload(None, cuda) and not wants_offload(None, cpu) and not wants_offload(None, mps)
    assert not wants_offload(False, cuda) and not wants_offload(True, cpu) and wants_offload(True, mps)


def test_captions_are_encoded_ahead_of_their_epoch(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(bake_module, "wants_offload", lambda wanted, device: True)
    told = []
    real = Helpers.leave
    monkeypatch.setattr(Helpers, "leave", lambda self: told.append(self.here) or real(self))
    shuffled = recipe(adapter__text=False, captions__shuffle=True, captions__caption_dropout=0.3, save__every_epochs=0)
    events = list(bake(shuffled, tmp_path / "away"))
    assert any(isinstance(e, Noted) and "wait in main memory" in e.message for e in events)
    steps_per_epoch = make_plan(shuffled).steps_per_epoch
    assert told[0] == {"text_encoder", "vae"}
    within = told[1:steps_per_epoch]
    assert within and not any(within), "no step of the first epoch needed anybody"
    monkeypatch.undo()
    list(bake(shuffled, tmp_path / "here"))
    a, b = (load_file(tmp_path / run / "weights" / "zwx-person.safetensors") for run in ("away", "here"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_the_loss_scale_goes_on_where_it_was(make_tiny, tmp_path):
    def fresh(scale):
        adapter = inject(LoRA(rank=2, alpha=1.0), make_tiny().parts(), generator=torch.Generator().manual_seed(0))
        precision = Precision("fp32", torch.device("cpu"))
        precision._scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=4)
        return TrainState(0, adapter, torch.optim.AdamW(list(adapter.parameters())), [], precision)

    state = fresh(1024.0)
    for poison in (1.0, 1.0, float("inf"), 1.0):
        parameters = state.parameters()
        state.precision.backward(sum(p.sum() for p in parameters) * poison)
        state.precision.step(state.optimizer, parameters, 1.0)
        state.optimizer.zero_grad()
    wanted = state.precision.state_dict()
    assert wanted["scale"] == 512.0 and wanted["_growth_tracker"] == 1
    again = fresh(8.0)
    save_state(state, tmp_path)
    restore_state(again, find_state(tmp_path).newest)
    assert again.precision.state_dict() == wanted
    plain = Precision("bf16", torch.device("cpu"))
    assert plain.state_dict() == {}
    plain.load_state_dict(wanted)


def test_bf16_on_a_cpu_learns_without_a_scale(recipe, tmp_path):
    losses = {}
    for precision in ("fp32", "bf16"):
        wanted = recipe(train__precision=precision, train__steps=2, save__every_epochs=0)
        events = list(bake(wanted, tmp_path / precision))
        losses[precision] = [e.loss for e in events if hasattr(e, "loss")]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
    assert losses["bf16"] != losses["fp32"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_run_on_a_gpu(recipe, tmp_path, precision):
    wanted = recipe(train__precision=precision, train__device="cuda", train__batch="auto", model__quantize="int8")
    events = list(bake(wanted, tmp_path / "run"))
    assert all(torch.isfinite(torch.tensor(e.loss)) for e in events if hasattr(e, "loss"))
    again = list(bake(wanted, tmp_path / "run"))
    assert again[-1].seconds == 0.0


def test_is_quantized_only_where_asked(make_tiny):
    assert not is_quantized(make_tiny())
