"""Base classes of all algorithms: a layer that computes its ΔW, and the forward hook that applies it to a module.

One law holds for all: output = base(x) + multiplier x op(x, ΔW), where op is the module's own linear map and ΔW is
computed from the base's own weight, whatever other adapters the module has. An algorithm must implement ΔW; it may also
implement a cheaper path to the same output, and a test checks that both are equal.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, group_norm, layer_norm, linear

from bakehouse.adapters.delta_autograd import product
from bakehouse.core.errors import BakehouseError

Base = nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm
"""Modules that can be adapted; norms only by algorithms that support them."""

BIAS = "diff_b"
"""The name of a Δb in files, whatever the algorithm beside it."""

ForwardPath = Literal["input", "output", "weight"]
"""How a layer's share of the output is computed; see `AdapterLayer.forward_path`."""

AttachGradients = Callable[[Tensor, Tensor], Tensor]
"""Takes x and the output of a product with W + ΔW, computed without gradients; returns the output with gradients."""

WeightAndGradients = tuple[Callable[[], Tensor], AttachGradients]
"""A function that makes W + multiplier x ΔW without gradients, and one that attaches gradients to the output."""


def linear_map(base: Base, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `base`(x) with another weight and bias. A norm is a linear map of its weight, too."""
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
    """The algorithm's usual name: `LoKr`."""
    suffixes: ClassVar[frozenset[str]]
    """Names in a file of the tensors that it uses. A file with others beside them is refused."""
    zero_initialized: ClassVar[frozenset[str]] = frozenset()
    """Names in a file of the matrices that start at zero, such as LoRA's B; LoRA+ trains them faster."""
    module_dropout: float = 0.0
    """Probability that the layer is left out of a training step."""

    @classmethod
    @abstractmethod
    def recognizes(cls, tensors: Mapping[str, Tensor]) -> bool:
        """Return whether a module's tensors, by their names in a file (`hada_w1_a`), belong to this algorithm."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], base: Base) -> Self:
        """Return a layer made of a file's tensors, in single precision.

        Raises:
            ValueError: a tensor is missing, or its shape does not fit the module.
        """

    def file_dict(self) -> dict[str, Tensor]:
        """Return the layer's tensors as a file holds them: its state, unless other programs read that differently."""
        return self.state_dict()

    def match_shapes(self, state: Mapping[str, Tensor]) -> None:
        """Change parameters to the shapes of a state of the same meaning; its values are loaded afterwards."""

    @abstractmethod
    def delta(self, weight: Tensor) -> Tensor:
        """Return ΔW at multiplier 1 in the shape of the base's own `weight`; alpha included, without dropouts."""

    def bias_delta(self, bias: Tensor | None) -> Tensor | None:
        """Return Δb at multiplier 1; None: the bias is not changed."""
        return self._parameters.get(BIAS)

    def set_bias_delta(self, diff_b: Tensor, base: Base) -> None:
        """Add a Δb [out], which files of any algorithm may hold; the module need not have a bias of its own.

        Raises:
            ValueError: its length is not the number of outputs.
        """
        outs = base.weight.shape[0]
        if diff_b.numel() != outs:
            raise ValueError(f"{BIAS} {tuple(diff_b.shape)} does not fit a module of {outs} outputs")
        self.register_parameter(BIAS, nn.Parameter(diff_b.float().flatten().clone()))

    def factors(self) -> list[nn.Parameter]:
        """Return the trained factors of the update, for algorithms whose ΔW is a product."""
        raise NotImplementedError(f"the update of {type(self).__name__} is not a product")

    def update_norm(self) -> Tensor:
        """Return the update's Frobenius norm, for algorithms whose ΔW is a product."""
        raise NotImplementedError(f"the update of {type(self).__name__} is not a product")

    def forward_path(self, base: Base, x: Tensor) -> ForwardPath:
        """Return the cheapest path to the output for this x.

        `input`: `delta_from_input` is added. `output`: `delta_from_output` of the base's output is added, for
        algorithms that multiply W from the left. `weight`: one product with W + multiplier x ΔW, if ΔW is dense anyway:
        three large products per training step instead of five.
        """
        return "input"

    def weight_and_gradients(self, base: Base, multiplier: float) -> WeightAndGradients | None:
        """Return how to compute the output and its gradients without the gradient of ΔW, if `forward_path` is `weight`.

        Two large products per training step instead of three. None: autograd differentiates through ΔW.
        """
        return None

    def delta_from_input(self, base: Base, x: Tensor) -> Tensor:
        """Return op(x, ΔW) without bias; overridden by algorithms that need not make ΔW for it."""
        return linear_map(base, x, self.delta(own_weight(base)).to(x.dtype))

    def delta_from_output(self, base: Base, x: Tensor, y: Tensor) -> Tensor:
        """Return op(x, ΔW) from y = op(x, W) ([..., out] or [batch, out, h, w]), if `forward_path` is `output`."""
        raise NotImplementedError(f"{type(self).__name__} cannot compute its update from outputs")

    def is_dropped(self) -> bool:
        """Return whether module dropout leaves the layer out of this call."""
        return self.training and self.module_dropout > 0 and float(torch.rand(())) < self.module_dropout


class ScaledLayer(AdapterLayer):
    """A layer whose update counts alpha / rank."""

    alpha: Tensor
    scale: float
    """alpha / rank, kept as a number: to read the buffer would wait for the device."""

    @abstractmethod
    def alpha_over_rank(self) -> float:
        """Return the factor on the update."""

    def set_alpha(self, alpha: float) -> None:
        """Set alpha; the factors are there already."""
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        self.scale = self.alpha_over_rank()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # The state's alpha is the one that counts, not the settings'.
        self.scale = self.alpha_over_rank()


StrengthByPlace = Callable[[Tensor], Tensor | float]
"""Takes a module's output ([N, T, C], [N, C, h, w] or [N, C]) and returns the strength at each of its places: factors
of a shape that broadcasts with it, or one number for all of it."""


class Multiplier:
    """The strength of a whole adapter: one number that every layer reads, so that changing it costs nothing."""

    __slots__ = ("by_place", "merged", "value")

    def __init__(self) -> None:
        self.value = 1.0
        self.merged = False
        self.by_place: StrengthByPlace | None = None
        """A factor on `value` that differs from place to place in an image; None: 1 everywhere."""


@dataclass(slots=True)
class _Entry:
    layer: AdapterLayer
    multiplier: Multiplier


@dataclass(slots=True)
class _Merged:
    """A layer whose ΔW is merged into the weight, with weight and bias before; None if they were not kept."""

    layer: AdapterLayer
    weight: Tensor | None
    bias: Tensor | None


class ForwardHook:
    """Replaces a module's `forward` and applies all adapters on the module, in the order in which they were added.

    It is an instance attribute that hides the class's method: the module's class, parameters and names do not change,
    and deleting the attribute restores it.
    """

    def __init__(self, module: Base) -> None:
        self.module = module
        self.inner = module.forward
        self.entries: list[_Entry] = []
        self.merged: list[_Merged] = []
        """A stack: layers are unmerged in reverse order."""
        self.held: tuple[Tensor, Tensor | None] | None = None
        """Weight and bias with all updates, inside a `held_weights` block."""

    @staticmethod
    def on(module: Base) -> ForwardHook:
        """Return the module's hook; add one if there is none."""
        hook = module.__dict__.get("forward")
        if not isinstance(hook, ForwardHook):
            hook = ForwardHook(module)
            object.__setattr__(module, "forward", hook)
        return hook

    def add(self, layer: AdapterLayer, multiplier: Multiplier) -> None:
        self.entries.append(_Entry(layer, multiplier))

    def remove(self, layer: AdapterLayer) -> None:
        """Remove a layer, and the hook with the last one."""
        self.entries = [e for e in self.entries if e.layer is not layer]
        if not self.entries and self.module.__dict__.get("forward") is self:
            del self.module.__dict__["forward"]

    @torch.no_grad()
    def merge(self, layer: AdapterLayer, multiplier: float, *, keep: bool) -> None:
        """Add a layer's ΔW to the weight and its Δb to the bias; `keep` keeps a copy of both for `unmerge`."""
        weight, bias = self.module.weight, self.module.bias
        if "weight" not in self.module._parameters:
            # A quantized base computes its weight at each call, so that changes of the result would be lost.
            raise BakehouseError(
                f"an adapter cannot be merged into {type(self.module).__name__}: its weights are kept in 8 bits",
                hint="load the base without model.quantize to merge, or leave the adapter beside it",
            )
        delta, bias_delta = layer.delta(own_weight(self.module)), layer.bias_delta(own_bias(self.module))
        if bias is None and bias_delta is not None and bool(bias_delta.any()):
            raise BakehouseError(
                "the adapter cannot be merged: it adds a bias to a module without one",
                hint="apply it without merging, as `generate --adapter` does",
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
        """Restore weight and bias from before the layer, which must be the last one merged."""
        before = self.merged.pop()
        assert before.layer is layer and before.weight is not None
        self.module.weight.copy_(before.weight)
        if self.module.bias is not None and before.bias is not None:
            self.module.bias.copy_(before.bias)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Make W + the sum of multiplier x ΔW once and compute with it inside a `with` block, without gradients."""
        active = [entry for entry in self.entries if entry.multiplier.value and not entry.multiplier.merged]
        base = self.module
        weight = base._parameters.get("weight")
        if not active or weight is None or weight.dtype != torch.float32 or any(e.multiplier.by_place for e in active):
            yield
            return
        with torch.no_grad():
            self.held = self._with_updates(active)
        try:
            yield
        finally:
            self.held = None

    def __call__(self, x: Tensor) -> Tensor:
        base = self.module
        if self.held is not None:
            # A convolution by its own method, so that a weight that is packed for sampling is used.
            return base._conv_forward(x, *self.held) if isinstance(base, nn.Conv2d) else linear_map(base, x, *self.held)
        in_weight: list[_Entry] = []
        separate: list[tuple[_Entry, ForwardPath]] = []
        for entry in self.entries:
            if entry.multiplier.value == 0.0 or entry.multiplier.merged or entry.layer.is_dropped():
                continue
            path = entry.layer.forward_path(base, x)
            if path != "weight":
                separate.append((entry, path))
            elif entry.multiplier.by_place is None:
                in_weight.append(entry)
            else:  # one weight cannot differ from place to place
                separate.append((entry, "input"))
        out = self._through_weight(x, in_weight) if in_weight else self.inner(x)
        y = self._base_output(x, out, is_base=not in_weight) if any(p == "output" for _, p in separate) else out
        for entry, path in separate:
            layer, multiplier = entry.layer, entry.multiplier.value
            strength = 1.0 if entry.multiplier.by_place is None else entry.multiplier.by_place(out)
            if isinstance(strength, float):
                multiplier *= strength
            if multiplier == 0.0:
                continue
            delta = layer.delta_from_input(base, x) if path == "input" else layer.delta_from_output(base, x, y)
            if isinstance(strength, Tensor):
                delta = self._with_bias(delta, layer, 1.0)
                out = torch.addcmul(out, delta.to(out.dtype), strength.to(out.dtype), value=multiplier)
            else:
                out = self._with_bias(torch.add(out, delta.to(out.dtype), alpha=multiplier), layer, multiplier)
        return out

    def _with_bias(self, out: Tensor, layer: AdapterLayer, multiplier: float) -> Tensor:
        """Return an output plus a layer's Δb, if it has one."""
        bias_delta = layer.bias_delta(own_bias(self.module))
        if bias_delta is None:
            return out
        return torch.add(out, per_channel(self.module, bias_delta).to(out.dtype), alpha=multiplier)

    def _through_weight(self, x: Tensor, entries: list[_Entry]) -> Tensor:
        """Return the product with W + the sum of multiplier x ΔW."""
        base = self.module
        if len(entries) == 1 and torch.is_grad_enabled():
            layer, multiplier = entries[0].layer, entries[0].multiplier.value
            if (functions := layer.weight_and_gradients(base, multiplier)) is not None:
                assert isinstance(base, nn.Linear | nn.Conv2d)
                make_weight, attach_gradients = functions
                return self._with_bias(attach_gradients(x, product(base, x, make_weight)), layer, multiplier)
        weight, bias = self._with_updates(entries)
        return linear_map(base, x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    def _with_updates(self, entries: list[_Entry]) -> tuple[Tensor, Tensor | None]:
        """Return W + the sum of multiplier x ΔW, and the bias with its updates."""
        base = self.module
        weight: Tensor = base.weight
        bias: Tensor | None = base.bias
        for entry in entries:
            multiplier = entry.multiplier.value
            weight = torch.add(weight, entry.layer.delta(own_weight(base)), alpha=multiplier)
            bias_delta = entry.layer.bias_delta(own_bias(base))
            if bias_delta is not None:
                bias = multiplier * bias_delta if bias is None else torch.add(bias, bias_delta, alpha=multiplier)
        return weight, bias

    def _base_output(self, x: Tensor, out: Tensor, *, is_base: bool) -> Tensor:
        """Return op(x, W) with the base's own weight and no bias; from `out` if that is the base's output."""
        base = self.module
        if not is_base or any(m.weight is not None for m in self.merged):
            return linear_map(base, x, own_weight(base))
        return out if base.bias is None else out - per_channel(base, base.bias)


@contextlib.contextmanager
def held_weights(network: nn.Module, most: int | None = None) -> Iterator[None]:
    """Compute with adapted weights that are made once inside a `with` block, in which nothing about adapters changes.

    For single precision, where W + ΔW loses nothing, and for adapters that are as strong everywhere in an image; others
    compute as ever. It needs memory for a second copy of the adapted weights.

    Args:
        network: the denoising network.
        most: bytes of adapted weights beyond which none is held; None: all are. Free memory does not decide, since
            products with W + ΔW round otherwise than those with W and ΔW.
    """
    hooks = [h for module in network.modules() if isinstance(h := module.__dict__.get("forward"), ForwardHook)]
    weights = (hook.module._parameters.get("weight") for hook in hooks)  # a quantized one is no parameter, and not held
    if most is not None and sum(weight.nbytes for weight in weights if weight is not None) > most:
        hooks = []
    with contextlib.ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook.hold())
        yield


def _add(to: Tensor, delta: Tensor, multiplier: float) -> None:
    """Add in single precision, whatever the base's type."""
    to.copy_((to.float() + multiplier * delta.to(to.device, torch.float32)).to(to.dtype))


def own_weight(base: Base) -> Tensor:
    """Return the base's weight without what adapters merged into it, as far as it was kept."""
    hook = base.__dict__.get("forward")
    kept = (m.weight for m in hook.merged if m.weight is not None) if isinstance(hook, ForwardHook) else iter(())
    return next(kept, base.weight)


def own_bias(base: Base) -> Tensor | None:
    """Return the base's bias without what adapters merged into it."""
    hook = base.__dict__.get("forward")
    kept = (m.bias for m in hook.merged if m.bias is not None) if isinstance(hook, ForwardHook) else iter(())
    bias: Tensor | None = next(kept, base.bias)
    return bias


def per_channel(base: Base, values: Tensor) -> Tensor:
    """Return values [out] in a shape that broadcasts with the module's output, of which images are channels first."""
    return values.view(-1, 1, 1) if isinstance(base, nn.Conv2d | nn.GroupNorm) else values


def check_merged_last(hooks: Iterable[tuple[ForwardHook, AdapterLayer]]) -> None:
    """Check that each layer was the last to be merged into its module.

    Raises:
        BakehouseError: another one was merged after it.
    """
    if any(not hook.merged or hook.merged[-1].layer is not layer for hook, layer in hooks):
        raise BakehouseError(
            "another adapter was merged after this one", hint="unmerge adapters in the reverse order of merging"
        )


def drop_channels(out: Tensor, channel_dim: int, chance: float) -> Tensor:
    """Drop whole channels, drawn per sample and channel; the others are scaled up, so that the mean is preserved."""
    shape = [1] * out.ndim
    shape[0], shape[channel_dim] = out.shape[0], out.shape[channel_dim]
    kept = torch.rand(shape, device=out.device) >= chance
    return out * kept / (1 - chance)


def compute_input(x: Tensor, weight: Tensor) -> Tensor:
    """Return x in the adapter's own type, unless autocast converts it."""
    if x.dtype == weight.dtype or torch.is_autocast_enabled(x.device.type):
        return x
    return x.to(weight.dtype)


def full_precision(base: Base, x: Tensor) -> bool:
    """Return whether base and x are in single precision, so that a small ΔW is not lost in W + ΔW.

    In bfloat16 1 + 2^-10 is 1: what an adapter learned in its first steps would be rounded off, so that ΔW has to be
    applied separately from W.
    """
    # Looked up as a parameter: a quantized base computes `weight` at each access.
    weight = base._parameters.get("weight")
    return (
        weight is not None and x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    )


def many_rows(base: nn.Linear, x: Tensor) -> bool:
    """Return whether a low-rank ΔW [out, in] is cheaper to make than to apply factor by factor to x [..., in]."""
    ins, outs = base.in_features, base.out_features
    return x.numel() // ins >= ins * outs / (ins + outs)


def freeze(modules: Iterable[nn.Module]) -> None:
    """Exclude the modules' parameters from training."""
    for module in modules:
        module.requires_grad_(False)


class Weight(nn.Module):
    """A module with one parameter `weight`, so that its key in the state ends in `.weight`."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(value)
