"""What every adapter obeys, whatever the algorithm."""

import pytest
import torch
from torch import nn

from bakehouse.adapters import LoRA, LoRALayer, inject
from bakehouse.adapters.layer import AdapterLayer, linear_map
from bakehouse.core.errors import BakehouseError


@pytest.fixture
def tiny(small):
    """The laws are tried some four hundred times."""
    return small


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_zero_at_init(tiny, spec, output):
    before = output(tiny)
    inject(spec, tiny.trainable_modules())
    assert torch.equal(output(tiny), before)


def test_forward_is_merged_forward(tiny, spec, output, randomised):
    base = output(tiny)
    adapter = randomised(spec, tiny).eval()
    forward = output(tiny)
    assert (forward - base).abs().max() > 0.05
    adapter.merge_into()
    torch.testing.assert_close(output(tiny), forward, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("multiplier", [-1.5, 0.5])
def test_scaled_is_scaled_delta(tiny, spec, output, randomised, multiplier):
    adapter = randomised(spec, tiny).eval()
    with adapter.scaled(multiplier):
        forward = output(tiny)
        adapter.merge_into()
        torch.testing.assert_close(output(tiny), forward, atol=2e-5, rtol=1e-4)
        adapter.unmerge()


def test_scaled_zero_is_the_base_and_restores(tiny, spec, output, randomised):
    base = output(tiny)
    adapter = randomised(spec, tiny).eval()
    full = output(tiny)
    with adapter.scaled(0):
        assert torch.equal(output(tiny), base)
        with adapter.scaled(1.0):
            assert torch.equal(output(tiny), full)
        assert torch.equal(output(tiny), base)
    assert torch.equal(output(tiny), full)
    with pytest.raises(ZeroDivisionError), adapter.scaled(0):
        raise ZeroDivisionError
    assert torch.equal(output(tiny), full)


def test_text_encoders_can_have_a_strength_of_their_own(tiny, spec, randomised):
    adapter = randomised(spec, tiny).eval()
    x_t, t = torch.ones(1, 4, 8, 8), torch.tensor([500])
    with torch.no_grad():
        with adapter.scaled(0.5):
            text = tiny.encode_prompt(["a red robot"])
        with adapter.scaled(-1.5):
            expected = tiny(x_t, t, text)
        with adapter.scaled(-1.5, text=0.5):
            assert torch.equal(tiny.encode_prompt(["a red robot"]).hidden, text.hidden)
            assert torch.equal(tiny(x_t, t, text), expected)
            adapter.merge_into()
            torch.testing.assert_close(
                tiny(x_t, t, tiny.encode_prompt(["a red robot"])), expected, atol=2e-5, rtol=1e-4
            )
            adapter.unmerge()


def test_scaled_zero_while_merged(tiny, spec, output, randomised):
    base = output(tiny)
    adapter = randomised(spec, tiny).eval()
    adapter.merge_into()
    merged = output(tiny)
    with adapter.scaled(0):
        assert torch.equal(output(tiny), base)
    assert torch.equal(output(tiny), merged)


def test_the_strength_of_a_merged_adapter_can_be_set(tiny, spec, output, randomised):
    adapter = randomised(spec, tiny).eval()
    adapter.set_multiplier(0.5)
    half = output(tiny)
    adapter.set_multiplier(1.0)
    adapter.merge_into()
    adapter.set_multiplier(0.5)
    torch.testing.assert_close(output(tiny), half, atol=2e-5, rtol=1e-4)
    assert adapter.multiplier == 0.5


def test_merging_twice_is_merging_once_and_can_be_undone(tiny, spec, randomised):
    before = weights(tiny)
    adapter = randomised(spec, tiny)
    adapter.merge_into()
    once = weights(tiny)
    adapter.merge_into()
    assert same(weights(tiny), once) and not same(once, before)
    adapter.unmerge()
    adapter.unmerge()
    assert same(weights(tiny), before)


def test_merging_for_good(tiny, spec, output, randomised):
    adapter = randomised(spec, tiny).eval()
    forward = output(tiny)
    adapter.merge_into(keep=False)
    with pytest.raises(BakehouseError, match="without keeping"):
        adapter.unmerge()
    adapter.remove()
    torch.testing.assert_close(output(tiny), forward, atol=2e-5, rtol=1e-4)


def test_unmerging_out_of_order_is_an_error(tiny, randomised):
    first = randomised(LoRA(rank=2), tiny)
    second = randomised(LoRA(rank=3), tiny, seed=1)
    first.merge_into()
    second.merge_into()
    with pytest.raises(BakehouseError, match="reverse order"):
        first.unmerge()
    second.unmerge()
    first.unmerge()


@pytest.mark.parametrize("merged", [False, True])
def test_remove_restores_the_model(tiny, spec, output, randomised, merged):
    before, names, base = weights(tiny), [n for n, _ in tiny.named_modules()], output(tiny)
    adapter = randomised(spec, tiny)
    assert same(weights(tiny), before) and [n for n, _ in tiny.named_modules()] == names
    if merged:
        adapter.merge_into()
    adapter.remove()
    adapter.remove()
    assert same(weights(tiny), before) and torch.equal(output(tiny), base)
    assert not any("forward" in m.__dict__ for m in tiny.modules())


def test_several_adapters_add_up_in_any_order(tiny, other_small, output, randomised):
    specs = [LoRA(rank=2, alpha=3.0, targets="full"), LoRA(rank=3, alpha=1.0, text=True)]
    first, second = randomised(specs[0], tiny, seed=1), randomised(specs[1], tiny, seed=2)
    both, base = output(tiny), output(other_small)
    randomised(specs[1], other_small, seed=2)
    of_second = output(other_small)
    randomised(specs[0], other_small, seed=1)
    torch.testing.assert_close(output(other_small), both, atol=1e-5, rtol=1e-5)
    first.remove()
    assert torch.equal(output(tiny), of_second)
    second.remove()
    assert torch.equal(output(tiny), base)


def test_state_goes_there_and_back(tiny, spec, output, randomised, other_small):
    adapter = randomised(spec, tiny).eval()
    again = inject(spec, other_small.trainable_modules()).eval()
    again.load_state_dict(adapter.state_dict())
    assert torch.equal(output(other_small), output(tiny))
    assert same(again.state_dict(), adapter.state_dict())


def test_a_state_that_does_not_fit_is_an_error(tiny, spec, randomised):
    adapter = randomised(spec, tiny)
    state = dict(adapter.state_dict())
    first = next(iter(state))
    with pytest.raises(BakehouseError, match="1 missing"):
        adapter.load_state_dict({k: v for k, v in state.items() if k != first})
    with pytest.raises(BakehouseError, match="1 unknown: more"):
        adapter.load_state_dict({**state, "more": torch.zeros(1)})
    with pytest.raises(BakehouseError, match="another shape"):
        adapter.load_state_dict({**state, first: torch.zeros(9, 9)})


def test_the_state_s_alpha_counts(tiny, output, other_small, randomised):
    adapter = randomised(LoRA(rank=4, alpha=4.0), tiny)
    inject(LoRA(rank=4, alpha=1.0), other_small.trainable_modules()).load_state_dict(adapter.state_dict())
    assert torch.equal(output(other_small), output(tiny))


@pytest.mark.parametrize("alpha", [0.1, 7.3])
def test_a_read_alpha_is_the_same_number(tiny, other_small, randomised, alpha):
    """States hold alpha in single precision: what was injected must count with that, too, or a resumed run strays."""
    adapter = randomised(LoRA(rank=3, alpha=alpha), tiny)
    again = inject(LoRA(rank=3, alpha=alpha), other_small.trainable_modules())
    again.load_state_dict(adapter.state_dict())
    assert [layer.scale for layer in again.layers.values()] == [layer.scale for layer in adapter.layers.values()]


def test_same_seed_same_adapter(tiny, spec, other_small):
    states = []
    for model in (tiny, other_small):
        states.append(inject(spec, model.trainable_modules(), generator=torch.Generator().manual_seed(4)).state_dict())
    assert same(*states)


def test_only_the_adapter_learns(tiny, spec, randomised):
    adapter = randomised(spec, tiny)
    # At 8x8 the innermost self-attention has one token, and its queries have no gradient.
    x_t = torch.randn(1, 4, 16, 16)
    tiny(x_t, torch.tensor([5]), tiny.encode_prompt(["a hat"])).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())
    assert all(p.grad is None for p in tiny.parameters())
    assert adapter.trains_text is spec.text


def test_groups(tiny, spec):
    adapter = inject(spec, tiny.trainable_modules())
    groups = adapter.parameter_groups(1e-4, 5e-5)
    assert [(g["name"], g["lr"]) for g in groups] == [("unet", 1e-4), ("text", 5e-5)][: 1 + spec.text]
    assert sum(len(g["params"]) for g in groups) == len(list(adapter.parameters()))
    assert adapter.parameter_groups(1e-4)[-1]["lr"] == 1e-4


@pytest.mark.parametrize("drop", ["dropout", "rank_dropout", "module_dropout"])
def test_dropouts_keep_the_mean_and_are_off_in_evaluation(drop):
    torch.manual_seed(0)
    base = nn.Linear(6, 5)
    layer = LoRALayer(torch.randn(4, 6), torch.randn(5, 4), 3.0, **{drop: 0.5})
    x = torch.randn(3, 6)
    with torch.no_grad():
        layer.eval()
        still = layer.delta_from_input(base, x)
        assert torch.equal(still, layer.delta_from_input(base, x)) and not layer.is_dropped()
        layer.train()
        draws = torch.stack(
            [torch.zeros(3, 5) if layer.is_dropped() else layer.delta_from_input(base, x) for _ in range(4000)]
        )
        share = 0.5 if drop == "module_dropout" else 1.0
        torch.testing.assert_close(draws.mean(0), share * still, atol=0.25, rtol=0.1)
        assert draws.std(0).max() > 0.1


@pytest.mark.parametrize("kernel", [None, 1, 3])
def test_the_fast_way_is_the_plain_way(kernel):
    """`added` against the law's own form: op(x, ΔW)."""
    torch.manual_seed(0)
    base = nn.Linear(6, 5) if kernel is None else nn.Conv2d(6, 5, kernel, stride=2, padding=kernel // 2)
    shape = (6,) if kernel is None else (6, kernel, kernel)
    layer = LoRALayer(torch.randn(4, *shape), torch.randn(5, 4, *[1] * (len(shape) - 1)), 3.0)
    x = torch.randn(2, 3, 6) if kernel is None else torch.randn(2, 6, 8, 8)
    plain = AdapterLayer.delta_from_input(layer, base, x)
    torch.testing.assert_close(layer.delta_from_input(base, x), plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        linear_map(base, x, base.weight) + (base.bias if kernel is None else base.bias[:, None, None]), base(x)
    )


@pytest.mark.parametrize("autocast", [False, True])
def test_a_half_precision_base_with_a_single_precision_adapter(tiny, randomised, autocast):
    adapter = randomised(LoRA(rank=4, alpha=3.0, targets="full"), tiny.to(torch.bfloat16))
    adapter.to(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = tiny(torch.randn(1, 4, 8, 8), torch.tensor([5]), tiny.encode_prompt(["a"]))
    out.float().sum().backward()
    grads = [p.grad for p in adapter.parameters()]
    assert out.dtype == torch.float32 and all(g is not None and g.dtype == torch.float32 for g in grads)
