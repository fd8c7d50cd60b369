"""The parts every algorithm shares: a layer that says its ΔW, and the hook that adds it to a module of the base.

One law holds for all: output = base(x) + multiplier x op(x, ΔW), where op is the module's own linear map. An algorithm
must say ΔW; it may also say a cheaper way to op(x, ΔW), and a test holds both equal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

Base = nn.Linear | nn.Conv2d
"""What can be adapted."""


def linear_map(base: Base, x: Tensor, weight: Tensor) -> Tensor:
    """What `base` does to x with another weight and without its bias."""
    if isinstance(base, nn.Linear):
        return linear(x, weight)
    return conv2d(x, weight, None, base.stride, base.padding, base.dilation, base.groups)


class AdapterLayer(nn.Module, ABC):
    """One module's adapter. Its state has the names of kohya's files (`lora_down.weight`, `alpha`)."""

    @abstractmethod
    def delta(self, weight: Tensor) -> Tensor:
        """ΔW at multiplier 1, alpha and rank included; shape of the base's `weight`, without dropouts."""

    def added(self, base: Base, x: Tensor) -> Tensor:
        """What the layer adds to base(x) at multiplier 1; algorithms override it where there is a cheaper way."""
        return linear_map(base, x, self.delta(base.weight).to(x.dtype))

    def skipped(self) -> bool:
        """Whether this call leaves the layer out (module dropout)."""
        return False


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


class Hook:
    """Stands in for one module's `forward` and adds every adapter that is on it, in the order they came.

    An instance attribute hides the class's method: the module's class, parameters and names stay as they were, and
    deleting the attribute restores it.
    """

    def __init__(self, module: Base) -> None:
        self.module = module
        self.inner = module.forward
        self.entries: list[_Entry] = []
        self.merged: list[AdapterLayer] = []
        """Layers whose ΔW is in the weight now, the last one on top: they come out in the opposite order."""

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

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        for entry in self.entries:
            dial = entry.dial
            if dial.value == 0.0 or dial.merged or entry.layer.skipped():
                continue
            added = entry.layer.added(self.module, x)
            out = torch.add(out, added.to(out.dtype), alpha=dial.value)
        return out


def compute_input(x: Tensor, weight: Tensor) -> Tensor:
    """X in the adapter's own type, unless autocast will see to it."""
    if x.dtype == weight.dtype or torch.is_autocast_enabled(x.device.type):
        return x
    return x.to(weight.dtype)


def freeze(modules: Iterable[nn.Module]) -> None:
    """Takes the base's weights out of training."""
    for module in modules:
        module.requires_grad_(False)


class Weight(nn.Module):
    """One parameter called `weight`, so that the state's key ends in `.weight`."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(value)
