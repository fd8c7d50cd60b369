"""An int8 base: half the memory of fp16, nearly the same numbers, and adapters learn on it as on any other."""

from __future__ import annotations

import copy
import os

import pytest
import torch
from torch import nn

from bakehouse.adapters import LoRA, inject
from bakehouse.core.errors import BakehouseError
from bakehouse.models.quantize_int8 import (
    QuantizedConv2d,
    QuantizedLinear,
    dequantize,
    is_quantized,
    quantize_int8,
    quantize_modules,
    weight_bytes,
)

SHAPES = [
    (nn.Linear(96, 64), (2, 5, 96)),
    (nn.Linear(96, 64, bias=False), (3, 96)),
    (nn.Conv2d(16, 32, 3, padding=1), (2, 16, 9, 7)),
    (nn.Conv2d(32, 48, 3, stride=2, padding=1), (2, 32, 9, 8)),
    (nn.Conv2d(64, 80, 1), (1, 64, 5, 5)),
    (nn.Conv2d(32, 32, 3, padding=2, dilation=2), (1, 32, 8, 8)),
]


def quantized(module: nn.Module) -> nn.Module:
    kind = QuantizedLinear if isinstance(module, nn.Linear) else QuantizedConv2d
    return kind.of(module)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.detach().float() - b.detach().float()).norm() / b.detach().float().norm())


def wide_unet(make_tiny):
    return make_tiny(block_out_channels=(32, 64, 64, 64), norm_num_groups=8)


def test_no_weight_is_off_by_more_than_half_a_step():
    weight = torch.randn(40, 30, generator=torch.Generator().manual_seed(1)) * torch.logspace(-6, 2, 40)[:, None]
    weight[3] = 0
    q, scale = quantize_int8(weight)
    assert q.dtype == torch.int8
    back = dequantize(q, scale, torch.float32)
    assert torch.all((back - weight).abs() <= scale / 2 * 1.0001)
    assert torch.equal(back[3], weight[3])
    assert torch.equal(q.abs().amax(dim=1)[torch.arange(40) != 3], torch.full((39,), 127, dtype=torch.int8))
    again, _ = quantize_int8(back)
    assert torch.equal(again, q), "quantising twice is quantising once"


@pytest.mark.parametrize(("module", "shape"), SHAPES, ids=lambda x: str(x))
def test_outputs_and_gradients_are_those_of_the_rounded_weight(module, shape):
    torch.manual_seed(0)
    ours = quantized(module)
    rounded = copy.deepcopy(module)
    rounded.weight.data = ours.weight.detach()
    x = torch.randn(shape)
    xs = [x.clone().requires_grad_() for _ in range(2)]
    outs = [m(v) for m, v in zip((ours, rounded), xs, strict=True)]
    assert torch.equal(outs[0], outs[1])
    grad = torch.randn_like(outs[0])
    for out in outs:
        out.backward(grad)
    torch.testing.assert_close(xs[0].grad, xs[1].grad)
    if module.bias is not None:
        torch.testing.assert_close(ours.bias.grad, rounded.bias.grad, rtol=1e-4, atol=1e-5)
        module.bias.grad = None
    assert relative(outs[0], module(x)) < 0.01


def test_the_arithmetic_agrees_with_finite_differences():
    torch.manual_seed(0)
    for module, shape in ((nn.Linear(8, 6), (3, 8)), (nn.Conv2d(4, 5, 3, stride=2, padding=1), (1, 4, 5, 5))):
        ours = quantized(module.double())
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(ours, (x,), atol=1e-4)


def test_what_is_remembered_for_the_backward_pass_is_int8():
    saved: list[torch.Tensor] = []

    def note(t: torch.Tensor) -> torch.Tensor:
        saved.append(t)
        return t

    layer = quantized(nn.Linear(256, 256).requires_grad_(False))
    x = torch.randn(4, 256, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        layer(x)
    floats = sum(t.numel() for t in saved if t.is_floating_point())
    assert floats == 256, "the scales and nothing else"
    assert any(t.dtype == torch.int8 for t in saved)


def test_it_still_is_what_it_was():
    linear = quantized(nn.Linear(96, 64))
    conv = quantized(nn.Conv2d(16, 32, 3, padding=1))
    assert isinstance(linear, nn.Linear) and isinstance(conv, nn.Conv2d)
    assert linear.weight.shape == (64, 96) and conv.weight.shape == (32, 16, 3, 3)
    assert "in_features=96" in repr(linear)
    assert [n for n, _ in linear.named_parameters()] == ["bias"]
    other = QuantizedLinear.of(nn.Linear(96, 64))
    other.load_state_dict(linear.state_dict())
    assert torch.equal(other.weight, linear.weight)


def test_a_cast_leaves_the_scales_in_single_precision():
    layer = quantized(nn.Linear(64, 64).requires_grad_(False))
    with torch.no_grad():
        layer.scale.mul_(1e-6)  # no fp16 number is that small
    before = layer.weight
    layer.to(torch.float16)
    assert layer.weight.dtype == torch.float16 and layer.bias.dtype == torch.float16
    assert layer.scale.dtype == torch.float32
    layer.to(torch.float32)
    assert torch.equal(layer.weight, before)


def test_autocast_decides_the_type_of_the_product():
    layer = quantized(nn.Linear(64, 64).requires_grad_(False))
    x = torch.randn(4, 64, requires_grad=True)
    whole = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert whole.dtype == torch.float32 and out.dtype == torch.bfloat16
    assert relative(out, whole) < 0.02
    out.sum().backward()
    assert x.grad.dtype == torch.float32


def test_a_network_takes_half_the_memory_of_fp16(make_tiny):
    model = wide_unet(make_tiny)
    half = weight_bytes(copy.deepcopy(model.unet).to(torch.float16))
    of_large = sum(m.weight.numel() for p, m in model.unet.named_modules() if is_large(p, m))
    count = quantize_modules([model.unet])
    model.unet.to(torch.float16)
    scales = sum(m.scale.numel() * 4 for m in model.unet.modules() if hasattr(m, "scale") and hasattr(m, "q"))
    assert count > 50
    assert weight_bytes(model.unet) == half - of_large + scales
    assert scales < 0.15 * of_large, "a wide network's rows are long: 0.4 % at 1024"


def is_large(path, module):
    from bakehouse.models.quantize_int8 import MIN_SIZE, NOT_QUANTIZED

    kept = not set(path.split(".")).isdisjoint(NOT_QUANTIZED)
    return isinstance(module, nn.Linear | nn.Conv2d) and module.weight.numel() >= MIN_SIZE and not kept


def test_what_every_pixel_depends_on_stays_whole(make_tiny):
    model = wide_unet(make_tiny)
    quantize_modules([model.unet])
    assert type(model.unet.conv_in) is nn.Conv2d and type(model.unet.conv_out) is nn.Conv2d
    assert not is_quantized(model.unet.time_embedding)
    assert is_quantized(model.unet)
    assert quantize_modules([model.unet]) == 0, "a second time changes nothing"
    assert model.dtype == torch.float32


def learned(model, quantise: bool):
    """Prediction and gradients of a LoRA with the same random weights on the same input."""
    if quantise:
        quantize_modules(model.trainable_modules().values())
    generator = torch.Generator().manual_seed(3)
    adapter = inject(LoRA(rank=4, alpha=2.0, targets="full", text=True), model.trainable_modules(), generator=generator)
    for p in adapter.parameters():
        p.data = torch.randn(p.shape, generator=generator) * 0.1
    x = torch.randn(2, 4, 8, 8, generator=generator)
    pred = model(x, torch.tensor([10, 700]), model.encode_prompt(["zwx person", "a robot"]))
    pred.square().mean().backward()
    return pred.detach(), {n: p.grad for n, p in adapter.named_parameters()}


def test_an_adapter_learns_nearly_the_same_on_it(make_tiny):
    whole, grads = learned(wide_unet(make_tiny), quantise=False)
    pred, close = learned(wide_unet(make_tiny), quantise=True)
    assert 0 < relative(pred, whole) < 0.03
    a = torch.cat([close[n].flatten() for n in grads])
    b = torch.cat([grads[n].flatten() for n in grads])
    assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) > 0.998


def test_gradient_checkpointing_gives_the_same_gradients(make_tiny):
    _, plain = learned(wide_unet(make_tiny), quantise=True)
    model = wide_unet(make_tiny)
    model.use_gradient_checkpointing()
    model.unet.train()
    _, again = learned(model, quantise=True)
    for name, grad in plain.items():
        torch.testing.assert_close(again[name], grad, rtol=1e-4, atol=1e-6)


def test_an_adapter_that_sits_on_the_module_is_not_lost_silently():
    layer = nn.Linear(96, 64)
    layer.forward = lambda x: x
    with pytest.raises(ValueError, match="already has an adapter"):
        QuantizedLinear.of(layer)


def test_a_merge_is_refused_and_changes_nothing(make_tiny):
    model = wide_unet(make_tiny)
    quantize_modules([model.unet])
    adapter = inject(LoRA(rank=4, alpha=2.0), model.trainable_modules(), generator=torch.Generator().manual_seed(0))
    with pytest.raises(BakehouseError, match="cannot be merged into QuantizedLinear"):
        adapter.merge_into()


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("BAKEHOUSE_SLOW"), reason="tracing a UNet takes minutes: set BAKEHOUSE_SLOW=1")
@pytest.mark.parametrize("quantise", [False, True])
def test_a_compiled_network_gives_the_same_in_one_graph(make_tiny, quantise):
    def gradients(compiled):
        model = wide_unet(make_tiny)
        if quantise:
            quantize_modules([model.unet])
        generator = torch.Generator().manual_seed(3)
        adapter = inject(LoRA(rank=4, alpha=2.0, targets="attention"), model.trainable_modules(), generator=generator)
        for p in adapter.parameters():
            p.data = torch.randn(p.shape, generator=generator) * 0.1
        names = list(model.unet.state_dict())
        if compiled:
            torch._dynamo.reset()
            model.unet.compile(backend="aot_eager", fullgraph=True)
        cond = model.encode_prompt(["zwx person"])
        model(torch.ones(1, 4, 8, 8), torch.tensor([10]), cond).square().mean().backward()
        assert list(model.unet.state_dict()) == names, "no name was wrapped"
        return {n: p.grad for n, p in adapter.named_parameters()}

    plain, other = gradients(False), gradients(True)
    for name, grad in plain.items():
        torch.testing.assert_close(other[name], grad, rtol=1e-3, atol=1e-6)
