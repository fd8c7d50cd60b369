"""Base classes of adapters: what trains, the strength, and adding to, removing from and merging into a model."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from bakehouse.adapters.layer import AdapterLayer, ForwardHook, Multiplier, StrengthByPlace, check_merged_last, freeze
from bakehouse.adapters.target_modules import Site
from bakehouse.core.errors import BakehouseError
from bakehouse.core.settings import Spec


@dataclass(frozen=True)
class AdapterTarget:
    """What an adapter is added to: the networks of a base model and their tokenizers."""

    parts: Mapping[str, nn.Module]
    """The trainable networks by kohya's prefix, as `Denoiser.trainable_modules()` returns them."""
    tokenizers: Mapping[str, Any] = field(default_factory=dict)
    """Hugging Face tokenizers by diffusers' names; for adapters that add tokens."""


class Adapter(ABC):
    """The interface that training, sampling and saving use.

    `scaled`, `merge_into` and `remove` change the model; each can be undone bit for bit.
    """

    spec: AdapterSpecBase | None
    """The settings that made it; None if it was read from a file."""
    trains_base: bool = False
    """Whether the base model's own weights train: until the first step the model still is the base."""

    @abstractmethod
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the trained parameters with their names in `state_dict`."""

    @abstractmethod
    def is_text(self, name: str) -> bool:
        """Return whether a parameter belongs to a text encoder."""

    @abstractmethod
    def module_names(self) -> list[str]:
        """Return the dotted names of the adapted modules: `unet.down_blocks.0...`."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return the adapter's tensors by kohya's keys; not copied."""

    def file_dict(self) -> dict[str, Tensor]:
        """Return the state as a file holds it: the same ΔW in the form that most programs read."""
        return self.state_dict()

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load a state; alpha comes from the state.

        Raises:
            BakehouseError: a key is missing or unknown, or a shape differs.
        """

    @abstractmethod
    def scaled(self, multiplier: float) -> contextlib.AbstractContextManager[None]:
        """Set the strength inside a `with` block; 0 is the untouched base. Blocks can be nested."""

    @abstractmethod
    def merge_into(self, *, keep: bool = True) -> None:
        """Add ΔW to the base's weights; a second call does nothing. Without `keep` it cannot be undone."""

    @abstractmethod
    def unmerge(self) -> None:
        """Restore the base's weights, bit for bit."""

    @abstractmethod
    def remove(self) -> None:
        """Remove the adapter: the model is as it was before."""

    @abstractmethod
    def train(self, mode: bool = True) -> Self:
        """Enable its dropouts."""

    @abstractmethod
    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move or cast the adapter, like a module."""

    def eval(self) -> Self:
        """Disable its dropouts."""
        return self.train(False)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the trained parameters."""
        return (p for _, p in self.named_parameters())

    @property
    def trains_text(self) -> bool:
        """Whether prompts must be encoded anew at each step."""
        return any(self.is_text(name) for name, _ in self.named_parameters())

    def lr_multiplier(self, name: str) -> float:
        """Return the factor on the network's learning rate for a parameter: that of its block, and LoRA+'s."""
        return 1.0

    def keep_base(self) -> None:  # noqa: B027 - most change no weight of the base
        """Keep what `scaled(0)` needs to compute the base after training; called before the first step."""

    def begin_step(self, share: float) -> None:  # noqa: B027 - most train from the first step to the last
        """Prepare for a step, before which `share` of the training, 0 to 1, is done."""

    def apply_max_norm(self) -> None:  # noqa: B027 - most adapters have no limit
        """Scale down updates whose norm exceeds the spec's `max_norm`; called after each optimizer step."""

    def parameter_groups(self, unet_lr: float, text_lr: float | None = None) -> list[dict[str, Any]]:
        """Return groups for an optimizer: `{"name", "params", "lr"}`; `text_lr` None: the UNet's learning rate.

        A network is one group, `unet` or `text`, and one more for every other learning rate in it: `unet x 16`.
        """
        groups: dict[tuple[bool, float], dict[str, Any]] = {}
        for key, parameter in self.named_parameters():
            text, factor = self.is_text(key), self.lr_multiplier(key)
            lr = text_lr if text and text_lr is not None else unet_lr
            name = ("text" if text else "unet") + ("" if factor == 1 else f" x {factor:g}")
            group = groups.setdefault((text, factor), {"name": name, "params": [], "lr": lr * factor})
            group["params"].append(parameter)
        return [groups[key] for key in sorted(groups, key=lambda k: (k[0], k[1] != 1, k[1]))]


class AdapterSpecBase(Spec, ABC):
    """The settings of an algorithm; `kind` names it in a recipe."""

    trains_base: ClassVar[bool] = False
    """Whether the base model's own weights train, so that they are loaded in fp32."""
    saves_whole_model: ClassVar[bool] = False
    """Whether trained weights are saved as a diffusers folder of the whole model, not as one adapter file."""

    @abstractmethod
    def inject(self, target: AdapterTarget, generator: torch.Generator | None) -> Adapter:
        """Put a new adapter on the target's networks."""

    def network_metadata(self) -> dict[str, Any]:
        """Return kohya's `ss_network_*` keys; empty for adapters that are no network of their own."""
        return {}


class LayerSpec(AdapterSpecBase):
    """An algorithm that adds a layer to each selected module."""

    @abstractmethod
    def select(self, parts: Mapping[str, nn.Module]) -> list[Site]:
        """Return the modules to adapt."""

    def lr_multiplier(self, site: Site) -> float:
        """Return the factor on the learning rate in a module."""
        return 1.0

    @property
    def zero_init_lr_multiplier(self) -> float:
        """The factor on the learning rate of matrices that start at zero (LoRA+)."""
        return 1.0

    @property
    def max_update_norm(self) -> float | None:
        """The largest norm of a module's update; None: no limit."""
        return None

    @abstractmethod
    def build(self, site: Site, generator: torch.Generator | None) -> AdapterLayer:
        """Return a new layer for one module on the CPU; its ΔW is zero."""

    def inject(self, target: AdapterTarget, generator: torch.Generator | None) -> Adapter:
        sites = self.select(target.parts)
        freeze(target.parts.values())
        layers = [(site, self.build(site, generator)) for site in sites]
        return LayerAdapter(layers, spec=self)


class LayerAdapter(Adapter):
    """An adapter made of one layer per module.

    Layers are on the device of their module's weight; if the model moves later, call `to`.
    """

    def __init__(self, layers: Sequence[tuple[Site, AdapterLayer]], *, spec: AdapterSpecBase | None = None) -> None:
        self.spec = spec
        self.sites = {site.stem: site for site, _ in layers}
        self.layers = {site.stem: layer for site, layer in layers}
        self._strength = Multiplier()
        """On the denoising network."""
        self._text_strength = Multiplier()
        """On the text encoders; it differs inside a `scaled` block only."""
        self._merged_at: float | None = None
        self._kept = True
        for stem, layer in self.layers.items():
            module = self.sites[stem].module
            layer.to(module.weight.device)
            ForwardHook.on(module).add(layer, self._text_strength if self.sites[stem].is_text else self._strength)

    @property
    def multiplier(self) -> float:
        """The current strength."""
        return self._strength.value

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for stem, layer in self.layers.items():
            for name, parameter in layer.named_parameters():
                if parameter.requires_grad:
                    yield f"{stem}.{name}", parameter

    def is_text(self, name: str) -> bool:
        return self.sites[name.partition(".")[0]].is_text

    def lr_multiplier(self, name: str) -> float:
        if not isinstance(self.spec, LayerSpec):
            return 1.0
        stem, _, suffix = name.partition(".")
        layer = self.layers[stem]
        lora_plus = self.spec.zero_init_lr_multiplier if suffix in layer.zero_initialized else 1.0
        return self.spec.lr_multiplier(self.sites[stem]) * lora_plus

    @torch.no_grad()
    def apply_max_norm(self) -> None:
        largest = self.spec.max_update_norm if isinstance(self.spec, LayerSpec) else None
        if largest is None:
            return
        for layer in self.layers.values():
            norm = layer.update_norm()
            factors = layer.factors()
            ratio = torch.where(norm > largest, largest / norm, torch.ones_like(norm)) ** (1 / len(factors))
            for parameter in factors:
                parameter.mul_(ratio)

    def module_names(self) -> list[str]:
        return [site.name for site in self.sites.values()]

    def state_dict(self) -> dict[str, Tensor]:
        return {
            f"{stem}.{name}": tensor.detach()
            for stem, layer in self.layers.items()
            for name, tensor in layer.state_dict().items()
        }

    def file_dict(self) -> dict[str, Tensor]:
        return {
            f"{stem}.{name}": tensor.detach()
            for stem, layer in self.layers.items()
            for name, tensor in layer.file_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for stem, layer in self.layers.items():
            layer.match_shapes(
                {name: t for name in layer.state_dict() if (t := state.get(f"{stem}.{name}")) is not None}
            )
        own = self.state_dict()
        check_fit(own, state)
        for stem, layer in self.layers.items():
            layer.load_state_dict({name: state[f"{stem}.{name}"] for name in layer.state_dict()})

    @contextlib.contextmanager
    def scaled(
        self, multiplier: float, *, text: float | None = None, by_place: StrengthByPlace | None = None
    ) -> Iterator[None]:
        """Set the strength inside a `with` block.

        Args:
            multiplier: on the denoising network.
            text: another one on the text encoders.
            by_place: a factor on `multiplier` that differs from place to place in an image.
        """
        before = self._strength.value, self._text_strength.value
        by_place_before = self._strength.by_place
        merged = self._merged_at is not None
        if merged:
            # A merged ΔW does not follow the strength: it is unmerged inside the block.
            self.unmerge()
        self._set_strengths(multiplier, multiplier if text is None else text)
        self._strength.by_place = by_place
        try:
            yield
        finally:
            self._set_strengths(*before)
            self._strength.by_place = by_place_before
            if merged:
                self.merge_into()

    def set_multiplier(self, multiplier: float) -> None:
        """Set the strength outside of `scaled` blocks."""
        merged = self._merged_at is not None
        if merged:
            self.unmerge()
        self._set_strengths(multiplier, multiplier)
        if merged:
            self.merge_into()

    def _set_strengths(self, unet: float, text: float) -> None:
        self._strength.value, self._text_strength.value = unet, text

    def _set_merged(self, merged: bool) -> None:
        self._strength.merged = self._text_strength.merged = merged

    def merge_into(self, *, keep: bool = True) -> None:
        if self._merged_at is not None:
            return
        for stem, layer in self.layers.items():
            site = self.sites[stem]
            strength = self._text_strength if site.is_text else self._strength
            ForwardHook.on(site.module).merge(layer, strength.value, keep=keep)
        self._kept = keep
        self._merged_at = self._strength.value
        self._set_merged(True)

    def unmerge(self) -> None:
        if self._merged_at is None:
            return
        if not self._kept:
            raise BakehouseError(
                "the adapter was merged without keeping the base's weights and cannot be unmerged",
                hint="use merge_into(keep=True)",
            )
        hooks = [(ForwardHook.on(self.sites[stem].module), layer) for stem, layer in self.layers.items()]
        check_merged_last(hooks)
        for hook, layer in hooks:
            hook.unmerge(layer)
        self._merged_at = None
        self._set_merged(False)

    def remove(self) -> None:
        if self._merged_at is not None and self._kept:
            self.unmerge()
        for stem, layer in self.layers.items():
            hook = self.sites[stem].module.__dict__.get("forward")
            if isinstance(hook, ForwardHook):
                hook.remove(layer)

    def train(self, mode: bool = True) -> Self:
        for layer in self.layers.values():
            layer.train(mode)
        return self

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        for layer in self.layers.values():
            layer.to(device, dtype)
        return self


def check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Check that a state has the expected keys and shapes.

    Raises:
        BakehouseError: a key is missing or unknown, or a shape differs; names the first of each.
    """
    missing = [k for k in own if k not in state]
    surplus = [k for k in state if k not in own]
    wrong = [
        f"{k} is {tuple(state[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    said = [
        f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("unknown", surplus), ("of another shape", wrong))
        if names
    ]
    if said:
        raise BakehouseError(f"the adapter's state does not fit: {'; '.join(said)}")
