"""The parts every algorithm shares: a layer that says its ΔW, and the hook that adds it to a module of the base.

One law holds for all: output = base(x) + multiplier x op(x, ΔW), where op is the module's own linear map and ΔW is of
the base's own weight, whatever else is on the module. An algorithm must say ΔW; it may also say a cheaper way to the
same output, and a test holds both equal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, group_norm, layer_norm, linear

from bakehouse.adapters.delta_autograd import product
from bakehouse.core.errors import BakehouseError

Base = nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm
"""What can be adapted; norms only by algorithms that say so."""

BIAS = "diff_b"
"""What files call a Δb, whatever the algorithm beside it."""

Way = Literal["input", "output", "weight"]
"""What an algorithm's arithmetic works on; see `AdapterLayer.way`."""

Teach = Callable[[Tensor, Tensor], Tensor]
"""Takes x and the output of a product with W + ΔW, and gives the output back with a way for gradients."""


def linear_map(base: Base, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `base` does to x with another weight and bias. A norm is a linear map of its weight, too."""
    match base:
        case nn.Linear():
            return linear(x, weight, bias)
        case nn.Conv2d():
            return conv2d(x, weight, bias, base.stride, base.padding, base.dilation, base.groups)
        case nn.GroupNorm():
            return group_norm(x, base.num_groups, weight, bias, base.eps)
        case nn.LayerNorm():
            return layer_norm(x, base.normalized_shape, weight, bias, base.eps)


class AdapterLayer(nn.Module, ABC):
    """One module's adapter. Its state has the names of kohya's and LyCORIS' files (`lora_down.weight`, `alpha`)."""

    algorithm: ClassVar[str] = ""
    """The algorithm's name in the field: `LoKr`."""
    suffixes: ClassVar[frozenset[str]]
    """The tensors that it makes something of, by their names in a file. Others beside them are refused by name."""
    late: ClassVar[frozenset[str]] = frozenset()
    """The matrices that begin at 0, by their names in a file: LoRA's B. LoRA+ has them learn faster."""
    module_dropout: float = 0.0
    """Chance that the layer is left out of a training step."""

    @classmethod
    @abstractmethod
    def reads(cls, tensors: Mapping[str, Tensor]) -> bool:
        """Whether one module's tensors, by their names in a file (`hada_w1_a`, `oft_blocks`), are this algorithm's."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """A layer from a file's tensors, in single precision.

        Raises:
            ValueError: a tensor is missing, or its shape is not the module's.
        """

    def file_dict(self) -> dict[str, Tensor]:
        """The layer's tensors as a file holds them: its state, unless other programs take that for something else."""
        return self.state_dict()

    def shape_for(self, state: Mapping[str, Tensor]) -> None:
        """Takes the layout of a state that says the same in other shapes; the numbers come afterwards."""

    @abstractmethod
    def delta(self, weight: Tensor) -> Tensor:
        """ΔW at multiplier 1, alpha and rank included; shape of the base's own `weight`, without dropouts."""

    def bias_delta(self, bias: Tensor | None) -> Tensor | None:
        """What is added to the bias at multiplier 1; None: the bias stays."""
        return self._parameters.get(BIAS)

    def take_bias(self, diff_b: Tensor, base: Base) -> None:
        """Puts a Δb [out] beside the ΔW, which any algorithm's files may hold; the module may have no bias of its own.

        Raises:
            ValueError: it has not as many numbers as the module has outputs.
        """
        outs = base.weight.shape[0]
        if diff_b.numel() != outs:
            raise ValueError(f"{BIAS} {tuple(diff_b.shape)} does not fit a module of {outs} outputs")
        self.register_parameter(BIAS, nn.Parameter(diff_b.float().flatten().clone()))

    def multiplicands(self) -> list[nn.Parameter]:
        """Trained parameters that the update is proportional to, each by itself; for algorithms that are products."""
        raise NotImplementedError(f"{type(self).__name__} is no product")

    def length(self) -> Tensor:
        """The update's Frobenius norm; for algorithms that are products."""
        raise NotImplementedError(f"{type(self).__name__} is no product")

    def way(self, base: Base, x: Tensor) -> Way:
        """Which way to the output is the cheapest for this x.

        `input`: `added` is added. `output`: what `turned` makes of the base's output is added; for algorithms that
        multiply W from the left. `weight`: one product with W + multiplier x ΔW, where ΔW is dense anyway: three large
        products a training step in place of five.
        """
        return "input"

    def fused(self, base: Base, multiplier: float) -> tuple[Callable[[], Tensor], Teach] | None:
        """For layers whose `way` is `weight`: what makes W + multiplier x ΔW, without a gradient, and what makes the
        output teach.

        Two large products a training step in place of three. None: autograd's own way through ΔW.
        """
        return None

    def added(self, base: Base, x: Tensor) -> Tensor:
        """op(x, ΔW); overridden where there is a cheaper way than making ΔW. No bias."""
        return linear_map(base, x, self.delta(own_weight(base)).to(x.dtype))

    def turned(self, base: Base, x: Tensor, y: Tensor) -> Tensor:
        """op(x, ΔW) from y = op(x, W), for algorithms whose `way` is `output`. y: [..., out] or [batch, out, h, w]."""
        raise NotImplementedError(f"{type(self).__name__} turns no outputs")

    def skipped(self) -> bool:
        """Whether this call leaves the layer out (module dropout)."""
        return self.training and self.module_dropout > 0 and float(torch.rand(())) < self.module_dropout


class Dial:
    """The multiplier of a whole adapter: one number that every layer reads, so that turning it costs nothing."""

    __slots__ = ("merged", "value")

    def __init__(self) -> None:
        self.value = 1.0
        self.merged = False


@dataclass(slots=True)
class _Entry:
    layer: AdapterLayer
    dial: Dial


@dataclass(slots=True)
class _Merged:
    """A layer whose ΔW is in the weight now, and what was there before; None if merged for good."""

    layer: AdapterLayer
    weight: Tensor | None
    bias: Tensor | None


class Hook:
    """Stands in for one module's `forward` and adds every adapter that is on it, in the order they came.

    An instance attribute hides the class's method: the module's class, parameters and names stay as they were, and
    deleting the attribute restores it.
    """

    def __init__(self, module: Base) -> None:
        self.module = module
        self.inner = module.forward
        self.entries: list[_Entry] = []
        self.merged: list[_Merged] = []
        """The last one on top: they come out in the opposite order."""

    @staticmethod
    def on(module: Base) -> Hook:
        """The module's hook, put there if there is none."""
        hook = module.__dict__.get("forward")
        if not isinstance(hook, Hook):
            hook = Hook(module)
            object.__setattr__(module, "forward", hook)
        return hook

    def add(self, layer: AdapterLayer, dial: Dial) -> None:
        self.entries.append(_Entry(layer, dial))

    def remove(self, layer: AdapterLayer) -> None:
        """Takes a layer off; the last one takes the hook with it."""
        self.entries = [e for e in self.entries if e.layer is not layer]
        if not self.entries and self.module.__dict__.get("forward") is self:
            del self.module.__dict__["forward"]

    @torch.no_grad()
    def merge(self, layer: AdapterLayer, multiplier: float, *, keep: bool) -> None:
        """Adds a layer's ΔW to the weight (and its Δb to the bias); `keep` copies what was there."""
        weight, bias = self.module.weight, self.module.bias
        if "weight" not in self.module._parameters:
            # A quantised base computes its weight at each call: what is written into the copy is lost.
            raise BakehouseError(
                f"an adapter cannot be merged into {type(self.module).__name__}: its weights are kept in 8 bits",
                hint="load the base without model.quantize to merge, or leave the adapter beside it",
            )
        delta, bias_delta = layer.delta(own_weight(self.module)), layer.bias_delta(own_bias(self.module))
        if bias is None and bias_delta is not None and bool(bias_delta.any()):
            raise BakehouseError(
                "an adapter cannot be merged: it adds a bias to a module that has none",
                hint="use it beside the base, as `generate --adapter` does",
            )
        before = _Merged(layer, None, None)
        if keep:
            before = _Merged(layer, weight.detach().clone(), None if bias is None else bias.detach().clone())
        _add(weight, delta, multiplier)
        if bias is not None and bias_delta is not None:
            _add(bias, bias_delta, multiplier)
        self.merged.append(before)

    @torch.no_grad()
    def unmerge(self, layer: AdapterLayer) -> None:
        """Puts back what was there before the layer, which must be the last one merged."""
        before = self.merged.pop()
        assert before.layer is layer and before.weight is not None
        self.module.weight.copy_(before.weight)
        if self.module.bias is not None and before.bias is not None:
            self.module.bias.copy_(before.bias)

    def __call__(self, x: Tensor) -> Tensor:
        base = self.module
        inside: list[_Entry] = []
        beside: list[tuple[_Entry, Way]] = []
        for entry in self.entries:
            if entry.dial.value == 0.0 or entry.dial.merged or entry.layer.skipped():
                continue
            way = entry.layer.way(base, x)
            if way == "weight":
                inside.append(entry)
            else:
                beside.append((entry, way))
        out = self._through_weight(x, inside) if inside else self.inner(x)
        y = self._plain(x, out, whole=not inside) if any(way == "output" for _, way in beside) else out
        for entry, way in beside:
            layer, multiplier = entry.layer, entry.dial.value
            added = layer.added(base, x) if way == "input" else layer.turned(base, x, y)
            out = self._with_bias(torch.add(out, added.to(out.dtype), alpha=multiplier), layer, multiplier)
        return out

    def _with_bias(self, out: Tensor, layer: AdapterLayer, multiplier: float) -> Tensor:
        """An output with a layer's Δb, where it has one."""
        bias_delta = layer.bias_delta(own_bias(self.module))
        if bias_delta is None:
            return out
        return torch.add(out, per_channel(self.module, bias_delta).to(out.dtype), alpha=multiplier)

    def _through_weight(self, x: Tensor, entries: list[_Entry]) -> Tensor:
        """One product with W + the sum of multiplier x ΔW."""
        base = self.module
        if len(entries) == 1 and torch.is_grad_enabled():
            layer, multiplier = entries[0].layer, entries[0].dial.value
            if (fused := layer.fused(base, multiplier)) is not None:
                assert isinstance(base, nn.Linear | nn.Conv2d)
                make, teach = fused
                return self._with_bias(teach(x, product(base, x, make)), layer, multiplier)
        weight: Tensor = base.weight
        bias: Tensor | None = base.bias
        for entry in entries:
            multiplier = entry.dial.value
            weight = torch.add(weight, entry.layer.delta(own_weight(base)), alpha=multiplier)
            bias_delta = entry.layer.bias_delta(own_bias(base))
            if bias_delta is not None:
                bias = multiplier * bias_delta if bias is None else torch.add(bias, bias_delta, alpha=multiplier)
        return linear_map(base, x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    def _plain(self, x: Tensor, out: Tensor, *, whole: bool) -> Tensor:
        """Y = op(x, W) with the base's own weight; from the output where that is the base's."""
        base = self.module
        if not whole or any(m.weight is not None for m in self.merged):
            return linear_map(base, x, own_weight(base))
        return out if base.bias is None else out - per_channel(base, base.bias)


def _add(to: Tensor, delta: Tensor, multiplier: float) -> None:
    """In single precision, whatever the base is in."""
    to.copy_((to.float() + multiplier * delta.to(to.device, torch.float32)).to(to.dtype))


def own_weight(base: Base) -> Tensor:
    """The base's weight without what adapters merged into it, as far as there is a way back."""
    hook = base.__dict__.get("forward")
    kept = (m.weight for m in hook.merged if m.weight is not None) if isinstance(hook, Hook) else iter(())
    return next(kept, base.weight)


def own_bias(base: Base) -> Tensor | None:
    """The base's bias without what adapters merged into it."""
    hook = base.__dict__.get("forward")
    kept = (m.bias for m in hook.merged if m.bias is not None) if isinstance(hook, Hook) else iter(())
    bias: Tensor | None = next(kept, base.bias)
    return bias


def per_channel(base: Base, values: Tensor) -> Tensor:
    """Values [out], shaped to stand beside the module's output: images have their channels first."""
    return values.view(-1, 1, 1) if isinstance(base, nn.Conv2d | nn.GroupNorm) else values


def check_merged_last(hooks: Iterable[tuple[Hook, AdapterLayer]]) -> None:
    """Sees to it that each layer was the last to be merged.

    Raises:
        BakehouseError: another one lies on top.
    """
    if any(not hook.merged or hook.merged[-1].layer is not layer for hook, layer in hooks):
        raise BakehouseError(
            "another adapter was merged after this one", hint="take adapters out in the opposite order of merging"
        )


def drop_channels(out: Tensor, channel_dim: int, chance: float) -> Tensor:
    """Leaves out whole channels, one draw per sample and channel; what is kept counts more, so that the mean stays."""
    shape = [1] * out.ndim
    shape[0], shape[channel_dim] = out.shape[0], out.shape[channel_dim]
    kept = torch.rand(shape, device=out.device) >= chance
    return out * kept / (1 - chance)


def compute_input(x: Tensor, weight: Tensor) -> Tensor:
    """X in the adapter's own type, unless autocast will see to it."""
    if x.dtype == weight.dtype or torch.is_autocast_enabled(x.device.type):
        return x
    return x.to(weight.dtype)


def full_precision(base: Base, x: Tensor) -> bool:
    """Whether base and x are in single precision, so that W + ΔW loses nothing of a small ΔW.

    In half precision 1 + 2^-10 is 1: what an adapter learned in its first steps would be rounded off, so there ΔW is
    applied beside W.
    """
    # Asked for as a parameter: a quantised base makes its weight anew whenever that is asked for.
    weight = base._parameters.get("weight")
    return (
        weight is not None and x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    )


def many_rows(base: nn.Linear, x: Tensor) -> bool:
    """Whether making a ΔW [out, in] of low rank takes less work than sending the rows of x [..., in] past it."""
    ins, outs = base.in_features, base.out_features
    return x.numel() // ins >= ins * outs / (ins + outs)


def freeze(modules: Iterable[nn.Module]) -> None:
    """Takes the base's weights out of training."""
    for module in modules:
        module.requires_grad_(False)


class Weight(nn.Module):
    """One parameter called `weight`, so that the state's key ends in `.weight`."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(value)
