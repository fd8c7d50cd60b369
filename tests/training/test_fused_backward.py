"""Steps on the way back come to what one step at the end comes to."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Step
from bakehouse.recipe import make_plan, scan_concepts
from bakehouse.recipe.memory_estimate import memory_use
from bakehouse.recipe.optimizers import OPTIMIZERS, OptimizerSpec
from bakehouse.training import precision, train
from bakehouse.training.fused_backward import FusedBackward
from bakehouse.training.precision import Precision


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4))


ALONE = [n for n, row in OPTIMIZERS.items() if row.each_alone and not row.needs_gpu]


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("piece", [1, 1500, 10**9])
def test_the_result_is_that_of_one_optimizer_step(name, piece):
    ends, norms = [], []
    for early in (False, True):
        net = layers()
        parameters = list(net.parameters())
        optimizer = OptimizerSpec(name=name, lr=1e-2).build([{"params": parameters, "lr": 1e-2}])
        steps = FusedBackward(optimizer, parameters, piece) if early else None
        for k in range(3):
            x = torch.randn(5, 8, generator=torch.Generator().manual_seed(k))
            net(x).square().mean().backward()
            if steps:
                norms[k] = (norms[k], steps.finish())
            else:
                norms.append(float(nn.utils.get_total_norm([p.grad for p in parameters])))
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        ends.append([p.detach().clone() for p in parameters])
        assert all(p.grad is None for p in parameters)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    assert all(a == pytest.approx(b, rel=1e-5) for a, b in norms)


def test_gradients_never_all_exist_at_once():
    net = nn.Sequential(*(nn.Linear(32, 32, bias=False) for _ in range(10)))
    parameters = list(net.parameters())
    most = 0

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            nonlocal most
            most = max(most, sum(p.grad.nbytes for p in parameters if p.grad is not None))
            return super().step(closure)

    steps = FusedBackward(Watched(parameters, lr=0.1), parameters, chunk_bytes=2 * 32 * 32 * 4)
    net(torch.randn(2, 32)).sum().backward()
    assert most == 2 * 32 * 32 * 4
    assert steps.finish() > 0


FULL = {"adapter": {"kind": "full", "text": True}}


@pytest.mark.parametrize(
    "settings",
    [
        FULL,
        {**FULL, "train__gradient_checkpointing": True},
        {**FULL, "prior__source": "captions", "prior__target": "base"},
        {**FULL, "train__ema": 0.9},
    ],
)
def test_a_run_ends_with_the_same_weights(recipe, tmp_path, monkeypatch, settings):
    pieces = []

    class Small(FusedBackward):
        def __init__(self, optimizer, parameters):
            super().__init__(optimizer, parameters, chunk_bytes=4000)

        def _step(self):
            pieces.append(self)
            super()._step()

    monkeypatch.setattr(precision, "FusedBackward", Small)
    made = {}
    same = {"train__max_grad_norm": 0.0, "optimizer__lr": 1e-4, "train__epochs": 1, "save__dtype": "fp32"}
    for fused in (False, True):
        run = tmp_path / str(fused)
        events = list(train(recipe(**settings, **same, train__fused_backward=fused), run))
        made[fused] = [load_file(f) for f in sorted(run.rglob("*.safetensors")) if "checkpoints" not in str(f)]
    assert len(pieces) > 4 * sum(isinstance(e, Step) for e in events)
    assert made[True]
    for a, b in zip(made[False], made[True], strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_the_plan_turns_clipping_off_and_says_why(recipe):
    wanted = recipe(train__fused_backward=True, **FULL)
    made = make_plan(wanted, scan_concepts(wanted))
    assert made.recipe.train.max_grad_norm == 0
    assert any(d.key == "train.max_grad_norm" and "norm" in d.reason for d in made.decisions)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"train__max_grad_norm": 1.0}, "train.max_grad_norm"),
        ({"train__accumulation": 2}, "train.accumulation"),
        ({"train__batch": "auto"}, "train.batch"),
        ({"train__precision": "fp16"}, "train.precision"),
        ({"optimizer__name": "prodigy"}, "prodigy"),
        ({"adapter": {"kind": "lora"}}, "adapter.kind"),
    ],
)
def test_what_needs_all_gradients_at_once_is_refused(recipe, settings, named):
    with pytest.raises((UsageError, Problems), match=named):
        wanted = recipe(train__fused_backward=True, **{**FULL, **settings})
        make_plan(wanted, scan_concepts(wanted))


def test_a_loss_scale_is_refused():
    scaled = Precision("fp16", torch.device("mps"))
    with pytest.raises(UsageError, match="fp16"):
        scaled.enable_fused_backward(torch.optim.SGD([torch.zeros(1, requires_grad=True)]), [])


def test_the_memory_estimate_includes_the_fused_backward_pass(recipe):
    settings = {"adapter": {"kind": "full"}, "train__gradient_checkpointing": True, "train__batch": 1}
    plain, fused = (memory_use(recipe(**settings, train__fused_backward=f), "sd1", "cuda") for f in (False, True))
    assert fused.gradients < 0.1 * plain.gradients
    assert fused.total < plain.total
