"""Every optimizer of the table goes downhill and goes on bit for bit after a stop."""

import dataclasses
import io
import math
import tomllib
from pathlib import Path

import pytest
import torch

from bakehouse.core.errors import Problems, UsageError
from bakehouse.recipe.optimizers import OPTIMIZERS, OptimizerSpec, current_rates

GPU = torch.cuda.is_available()


def optimizer_names():
    """All rows; those that cannot run here are skipped with the reason."""
    for name, row in OPTIMIZERS.items():
        yield pytest.param(name, marks=[pytest.mark.gpu] if row.needs_gpu else [])


@pytest.fixture(params=optimizer_names())
def spec(request):
    spec = OptimizerSpec(name=request.param)
    for problem in spec.problems("cuda" if GPU else "cpu"):
        pytest.skip(problem)
    return spec


class Bowl:
    """A quadratic of an adapter's shapes, its bottom at nought, stepped as the loop does it."""

    def __init__(self, spec):
        g = torch.Generator().manual_seed(0)
        device = "cuda" if spec.row.needs_gpu else "cpu"
        shapes = [(4, 6), (6,), (64, 80), (4, 2, 3, 3)]
        self.parameters = [torch.nn.Parameter(torch.randn(s, generator=g).to(device)) for s in shapes]
        rate = 1.0 if spec.row.finds_rate else 10 * spec.row.lr
        groups = [{"params": self.parameters[:2], "lr": rate}, {"params": self.parameters[2:], "lr": rate}]
        self.optimizer = spec.build(groups)

    def step(self):
        loss = sum(p.square().sum() for p in self.parameters)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def test_it_goes_downhill(spec):
    bowl = Bowl(spec)
    # Where the rate is found it is a millionth at first, and RAdam waits until its variance is known.
    losses = [bowl.step() for _ in range(30 if spec.row.finds_rate or spec.row.schedule_free else 4)]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]


def test_it_goes_on_bit_for_bit(spec):
    whole = Bowl(spec)
    for _ in range(6):
        whole.step()
    first = Bowl(spec)
    for _ in range(3):
        first.step()
    stored = io.BytesIO()
    torch.save(first.optimizer.state_dict(), stored)
    stored.seek(0)
    second = Bowl(spec)
    with torch.no_grad():
        for p, q in zip(second.parameters, first.parameters, strict=True):
            p.copy_(q)
    second.optimizer.load_state_dict(torch.load(stored, weights_only=True, map_location="cpu"))
    for _ in range(3):
        second.step()
    assert all(torch.equal(p, q) for p, q in zip(second.parameters, whole.parameters, strict=True))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("AdamW8bit", "adamw8bit"),
        ("PagedAdamW8bit", "pagedadamw8bit"),
        ("DAdaptation", "dadaptadam"),
        ("Lion", "lion"),
        ("AdaFactor", "adafactor"),
        ("SGDNesterov", "sgd"),
        ("AdamWScheduleFree", "adamwschedulefree"),
        ("prodigyplus.ProdigyPlusScheduleFree", "prodigyplusschedulefree"),
        ("bitsandbytes.optim.AdEMAMix8bit", "ademamix8bit"),
        ("adamw_schedule-free", "adamwschedulefree"),
    ],
)
def test_other_trainers_spellings(theirs, ours):
    assert OptimizerSpec(name=theirs).name == ours


def test_a_path_from_outside_is_no_name():
    with pytest.raises(Problems, match="not an optimizer"):
        OptimizerSpec.parse({"name": "os.system"})
    with pytest.raises(Problems, match="did you mean 'prodigy'"):
        OptimizerSpec.parse({"name": "prodgy"})


@pytest.mark.parametrize("name", ["adamw", "came"])
def test_a_misspelt_argument_is_named_also_where_the_library_would_drop_it(name):
    spec = OptimizerSpec(name=name, args={"weight_decy": 1})
    with pytest.raises(UsageError, match=r"args\.weight_decy: .* did you mean 'weight_decay'"):
        spec.build([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0}])


def test_a_wrong_value_is_the_optimizers_own_words():
    with pytest.raises(UsageError, match="AdamW says"):
        OptimizerSpec(args={"betas": [2, 3]}).build([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0}])


def test_one_rate_for_all_where_one_is_estimated():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.5)]
    with pytest.raises(UsageError, match=r"a single learning rate, but the groups have 0\.5, 1"):
        OptimizerSpec(name="prodigy").build(groups)


@pytest.mark.skipif(GPU, reason="a CUDA device is here")
def test_eight_bits_want_a_gpu():
    with pytest.raises(UsageError, match="'adamw8bit' needs a CUDA device"):
        OptimizerSpec(name="adamw8bit").build([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0}])


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    from bakehouse.recipe import optimizers

    row = dataclasses.replace(OPTIMIZERS["lion"], module="not_there", install="not-there")
    monkeypatch.setattr(optimizers, "OPTIMIZERS", {"lion": row})
    assert list(OptimizerSpec(name="lion").problems("cpu")) == [
        "optimizer.name = 'lion' needs a library: pip install not-there"
    ]


def test_the_extra_installs_what_the_table_names():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["optimizers"]
    wanted += project["optional-dependencies"]["gpu"]
    names = {w.split(">")[0] for w in wanted}
    assert {row.install for row in OPTIMIZERS.values() if row.install} <= names


def test_adafactor_may_choose_its_own_rate():
    """`relative_step`: 1e-2 at first, and 1 / sqrt(step) behind; the group's rate is not looked at."""
    spec = OptimizerSpec(name="adafactor", args={"relative_step": True})
    assert spec.row.finds_rate
    bowl = Bowl(spec)
    before = [p.detach().clone() for p in bowl.parameters]
    bowl.step()
    moved = (bowl.parameters[2] - before[2]).square().mean().sqrt().item()
    assert moved == pytest.approx(1e-2, rel=0.05)
    assert list(current_rates(bowl.optimizer).values()) == pytest.approx([1e-2, 1e-2])


def test_the_fused_step_is_the_plain_one():
    a, b = Bowl(OptimizerSpec()), Bowl(OptimizerSpec(args={"fused": False}))
    assert a.optimizer.param_groups[0]["fused"]
    for _ in range(3):
        a.step()
        b.step()
    assert all(torch.allclose(p, q, atol=1e-7) for p, q in zip(a.parameters, b.parameters, strict=True))


def test_the_shown_rate_holds_the_estimate():
    bowl = Bowl(OptimizerSpec(name="prodigy"))
    bowl.step()
    assert current_rates(bowl.optimizer) == {
        str(i): group["lr"] * group["d"] for i, group in enumerate(bowl.optimizer.param_groups)
    }


def test_the_document_names_every_row():
    text = (Path(__file__).parents[2] / "docs" / "optimizers.md").read_text("utf-8")
    named = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert named == set(OPTIMIZERS)
