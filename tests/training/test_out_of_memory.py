"""Memory: running out is answered with what would fit, and what saves memory trains the same."""

from __future__ import annotations

import pytest
import torch

import bakehouse.training.loop as loop_module
from bakehouse.adapters import LoRA, inject
from bakehouse.core.errors import BakehouseError, Problems
from bakehouse.core.events import Failed
from bakehouse.core.run_folder import Run
from bakehouse.models.quantize_int8 import is_quantized
from bakehouse.recipe import Recipe, make_plan
from bakehouse.recipe.memory_estimate import FOOTPRINTS, memory_use, savings
from bakehouse.training import out_of_memory as module
from bakehouse.training import train
from bakehouse.training.out_of_memory import is_out_of_memory, out_of_memory_error
from bakehouse.training.precision import Precision
from bakehouse.training.training_state import TrainState, find_states, restore_state, save_state
from benchmarks.workloads import DREAMBOOTH


def test_out_of_memory_errors_of_every_device_are_recognised():
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
def test_running_out_of_memory_names_settings_that_fit(recipe, tmp_path, monkeypatch, cry):
    def burst(parts, state):
        raise cry

    monkeypatch.setattr(loop_module, "_optimizer_step", burst)
    wanted = recipe()
    with pytest.raises(BakehouseError, match="out of memory at step 1: cpu has") as e:
        list(train(wanted, tmp_path / "run"))
    assert "--set train.gradient_checkpointing=true" in e.value.hint
    assert e.value.exit_code == 1
    assert isinstance(list(Run(tmp_path / "run").history())[-1], Failed)


def test_other_errors_are_not_taken_for_out_of_memory(recipe, tmp_path, monkeypatch):
    def burst(parts, state):
        raise RuntimeError("a bug")

    monkeypatch.setattr(loop_module, "_optimizer_step", burst)
    with pytest.raises(RuntimeError, match="a bug"):
        list(train(recipe(), tmp_path / "run"))


def settings(**changes) -> Recipe:
    values = {"model.base": "crumb", "train.device": "cpu", "train.batch": 4, "buckets.resolution": 512}
    return Recipe.parse({"concepts": [{"folder": "x"}]}).with_values({**values, **changes})


def test_advice_is_ordered_by_cost_and_ends_where_it_fits(monkeypatch):
    monkeypatch.setattr(module, "family_name", lambda recipe: "sd1")
    wanted = settings(**{"adapter.text": True})
    lines = str(out_of_memory_error(wanted, 0, limit=1_000_000)).splitlines()
    keys = [line.split("--set ")[1].split("=")[0] for line in lines if "--set" in line]
    assert keys[0] == "train.gradient_checkpointing"
    assert keys[1:3] == ["train.batch", "train.batch"]
    assert keys[3:5] == ["model.quantize", "adapter.text"]
    assert set(keys[5:]) == {"buckets.resolution"}
    assert "no setting saves" in lines[-1]
    roomy = memory_use(settings(**{"train.gradient_checkpointing": True}), "sd1", "cpu").total * 2
    lines = str(out_of_memory_error(settings(), 0, limit=roomy)).splitlines()
    assert sum("fits" in line for line in lines[2:]) == 1 and "fits" in lines[-1]


def test_the_estimate_is_scaled_if_the_device_ran_out_below_it(monkeypatch):
    monkeypatch.setattr(module, "family_name", lambda recipe: "sd1")
    wanted = settings()
    limit = memory_use(wanted, "sd1", "cpu").total * 3
    error = out_of_memory_error(wanted, 0, limit=limit)
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


def test_the_estimate_meets_the_memory_goals():
    lora = settings(**{"adapter.rank": 32, "train.batch": 1, "train.device": "cuda"})
    assert memory_use(lora, "sd1", "cuda").total <= 6e9
    lean = lora.with_values({"buckets.resolution": 1024, "train.gradient_checkpointing": True})
    assert memory_use(lean, "sdxl", "cuda").total <= 10e9
    assert memory_use(settings(**DREAMBOOTH, **{"train.batch": 1}), "sd1", "cuda").total <= 10e9


def test_a_quantised_base_cannot_be_fine_tuned(recipe):
    with pytest.raises(Problems, match=r"model\.quantize = 'int8' freezes weights"):
        make_plan(recipe(model__quantize="int8", adapter={"kind": "full"}))


def test_a_run_on_a_quantised_base(recipe, make_tiny, tmp_path):
    wide = make_tiny(block_out_channels=(32, 64, 64, 64), norm_num_groups=8)
    wide.save(tmp_path / "wide", dtype=torch.float32)
    values = {"model.base": str(tmp_path / "wide"), "train.steps": 2, "save.every_epochs": 0}
    losses = {}
    for quantize in (None, "int8"):
        wanted = recipe().with_values({**values, **({"model.quantize": quantize} if quantize else {})})
        events = list(train(wanted, tmp_path / f"run-{quantize}"))
        losses[quantize] = [e.loss for e in events if hasattr(e, "loss")]
    assert losses["int8"] != losses[None]
    assert losses["int8"] == pytest.approx(losses[None], rel=0.03)


def test_the_loss_scale_is_restored(make_tiny, tmp_path):
    def fresh(scale):
        adapter = inject(
            LoRA(rank=2, alpha=1.0), make_tiny().trainable_modules(), generator=torch.Generator().manual_seed(0)
        )
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
    restore_state(again, find_states(tmp_path).newest)
    assert again.precision.state_dict() == wanted
    plain = Precision("bf16", torch.device("cpu"))
    assert plain.state_dict() == {}
    plain.load_state_dict(wanted)


def test_bf16_on_a_cpu_learns_without_a_scale(recipe, tmp_path):
    losses = {}
    for precision in ("fp32", "bf16"):
        wanted = recipe(train__precision=precision, train__steps=2, save__every_epochs=0)
        events = list(train(wanted, tmp_path / precision))
        losses[precision] = [e.loss for e in events if hasattr(e, "loss")]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
    assert losses["bf16"] != losses["fp32"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_run_on_a_gpu(recipe, tmp_path, precision):
    wanted = recipe(train__precision=precision, train__device="cuda", train__batch="auto", model__quantize="int8")
    events = list(train(wanted, tmp_path / "run"))
    assert all(torch.isfinite(torch.tensor(e.loss)) for e in events if hasattr(e, "loss"))
    again = list(train(wanted, tmp_path / "run"))
    assert again[-1].seconds == 0.0


def test_is_quantized_only_where_asked(make_tiny):
    assert not is_quantized(make_tiny())
