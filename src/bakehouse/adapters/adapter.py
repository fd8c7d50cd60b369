"""An adapter on a model: what trains, how strong it is, how it is put on, taken off, merged and saved."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from bakehouse.adapters.layer import AdapterLayer, Dial, Hook, check_merged_last, freeze
from bakehouse.adapters.target_modules import Site
from bakehouse.core.errors import BakehouseError
from bakehouse.core.settings import Spec


@dataclass(frozen=True)
class AdapterTarget:
    """What an adapter is put on: the networks of a base model and the tokenizers in front of them."""

    parts: Mapping[str, nn.Module]
    """The trainable networks by kohya's prefix, as `Denoiser.trainable_modules()` returns them."""
    tokenizers: Mapping[str, Any] = field(default_factory=dict)
    """Hugging Face tokenizers by diffusers' names; for adapters that add tokens."""


class Adapter(ABC):
    """The face that training, sampling and saving turn around.

    `scaled`, `merge_into` and `remove` change the model; each can be undone to the bit.
    """

    spec: AdapterSpecBase | None
    """The settings that made it; None for one read from a file of others."""
    trains_base: bool = False
    """Whether the base model's own weights train: until the first step the model still is the base."""

    @abstractmethod
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What trains, by the names of `state_dict`."""

    @abstractmethod
    def is_text(self, name: str) -> bool:
        """Whether a parameter belongs to a text encoder."""

    @abstractmethod
    def module_names(self) -> list[str]:
        """Dotted names of the modules it sits on: `unet.down_blocks.0...`."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """What it is, by kohya's keys; not copied."""

    def file_dict(self) -> dict[str, Tensor]:
        """The state as a file holds it: the same ΔW in the form that most programs read."""
        return self.state_dict()

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes a state in; alpha comes from the state.

        Raises:
            BakehouseError: a key is missing or unknown, or a shape differs.
        """

    @abstractmethod
    def scaled(self, multiplier: float) -> contextlib.AbstractContextManager[None]:
        """Inside the block the adapter counts `multiplier` times: 0 is the untouched base. Nests and restores."""

    @abstractmethod
    def merge_into(self, *, keep: bool = True) -> None:
        """Adds ΔW to the base's weights, once however often it is called; without `keep` there is no way back."""

    @abstractmethod
    def unmerge(self) -> None:
        """Puts the base's weights back, bit for bit."""

    @abstractmethod
    def remove(self) -> None:
        """Takes the adapter off: the model is what it was before."""

    @abstractmethod
    def train(self, mode: bool = True) -> Self:
        """Switches its dropouts on."""

    @abstractmethod
    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Moved or cast, like a module."""

    def eval(self) -> Self:
        """Switches its dropouts off."""
        return self.train(False)

    def parameters(self) -> Iterator[nn.Parameter]:
        """What trains."""
        return (p for _, p in self.named_parameters())

    @property
    def trains_text(self) -> bool:
        """Whether prompts must be encoded anew at each step."""
        return any(self.is_text(name) for name, _ in self.named_parameters())

    def rate_of(self, name: str) -> float:
        """What the network's learning rate is multiplied by for a parameter: of its block, and of LoRA+."""
        return 1.0

    def keep_base(self) -> None:  # noqa: B027 - most change no weight of the base
        """Keep what `scaled(0)` needs to compute the base after training; called before the first step."""

    def limit(self) -> None:  # noqa: B027 - most hold nothing
        """What is held after each optimizer step: no update is longer than the spec's `max_norm`."""

    def parameter_groups(self, unet_lr: float, text_lr: float | None = None) -> list[dict[str, Any]]:
        """Groups for an optimizer: `{"name", "params", "lr"}`; None: the text encoder learns at the UNet's rate.

        A network is one group, called `unet` or `text`, and one more for every other rate in it: `unet x 16`.
        """
        groups: dict[tuple[bool, float], dict[str, Any]] = {}
        for key, parameter in self.named_parameters():
            text, factor = self.is_text(key), self.rate_of(key)
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
        """Kohya's `ss_network_*` keys; empty for what is no network of its own."""
        return {}


class LayerSpec(AdapterSpecBase):
    """An algorithm that gives each chosen module a layer of its own."""

    @abstractmethod
    def select(self, parts: Mapping[str, nn.Module]) -> list[Site]:
        """The modules to adapt."""

    def rate_of(self, site: Site) -> float:
        """What the learning rate is multiplied by in a module."""
        return 1.0

    @property
    def late_rate(self) -> float:
        """What the rate of matrices that begin at 0 is multiplied by (LoRA+)."""
        return 1.0

    @property
    def longest(self) -> float | None:
        """How long a module's update may become."""
        return None

    @abstractmethod
    def build(self, site: Site, generator: torch.Generator | None) -> AdapterLayer:
        """A fresh layer for one module, zero at init, on the CPU."""

    def inject(self, target: AdapterTarget, generator: torch.Generator | None) -> Adapter:
        sites = self.select(target.parts)
        freeze(target.parts.values())
        layers = [(site, self.build(site, generator)) for site in sites]
        return LayerAdapter(layers, spec=self)


class LayerAdapter(Adapter):
    """An adapter made of one layer per module.

    Layers are made where their module's weight is; a model that moves later takes its adapter along with `to`.
    """

    def __init__(self, layers: Sequence[tuple[Site, AdapterLayer]], *, spec: AdapterSpecBase | None = None) -> None:
        self.spec = spec
        self.sites = {site.stem: site for site, _ in layers}
        self.layers = {site.stem: layer for site, layer in layers}
        self._dial = Dial()
        self._merged_at: float | None = None
        self._kept = True
        for stem, layer in self.layers.items():
            module = self.sites[stem].module
            layer.to(module.weight.device)
            Hook.on(module).add(layer, self._dial)

    @property
    def multiplier(self) -> float:
        """How strong the adapter is now."""
        return self._dial.value

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for stem, layer in self.layers.items():
            for name, parameter in layer.named_parameters():
                if parameter.requires_grad:
                    yield f"{stem}.{name}", parameter

    def is_text(self, name: str) -> bool:
        return self.sites[name.partition(".")[0]].is_text

    def rate_of(self, name: str) -> float:
        if not isinstance(self.spec, LayerSpec):
            return 1.0
        stem, _, suffix = name.partition(".")
        layer = self.layers[stem]
        return self.spec.rate_of(self.sites[stem]) * (self.spec.late_rate if suffix in layer.late else 1.0)

    @torch.no_grad()
    def limit(self) -> None:
        longest = self.spec.longest if isinstance(self.spec, LayerSpec) else None
        if longest is None:
            return
        for layer in self.layers.values():
            length = layer.length()
            shrunk = layer.multiplicands()
            ratio = torch.where(length > longest, longest / length, torch.ones_like(length)) ** (1 / len(shrunk))
            for parameter in shrunk:
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
            layer.shape_for({name: t for name in layer.state_dict() if (t := state.get(f"{stem}.{name}")) is not None})
        own = self.state_dict()
        check_fit(own, state)
        for stem, layer in self.layers.items():
            layer.load_state_dict({name: state[f"{stem}.{name}"] for name in layer.state_dict()})

    @contextlib.contextmanager
    def scaled(self, multiplier: float) -> Iterator[None]:
        dial = self._dial
        before = dial.value
        merged = self._merged_at is not None
        if merged:
            # Merged weights cannot be turned by the dial: take them out for the time of the block.
            self.unmerge()
        dial.value = multiplier
        try:
            yield
        finally:
            dial.value = before
            if merged:
                self.merge_into()

    def set_multiplier(self, multiplier: float) -> None:
        """The strength outside of `scaled` blocks: the weight of a loaded adapter."""
        merged = self._merged_at is not None
        if merged:
            self.unmerge()
        self._dial.value = multiplier
        if merged:
            self.merge_into()

    def merge_into(self, *, keep: bool = True) -> None:
        if self._merged_at is not None:
            return
        for stem, layer in self.layers.items():
            Hook.on(self.sites[stem].module).merge(layer, self._dial.value, keep=keep)
        self._kept = keep
        self._merged_at = self._dial.value
        self._dial.merged = True

    def unmerge(self) -> None:
        if self._merged_at is None:
            return
        if not self._kept:
            raise BakehouseError(
                "the adapter was merged for good and cannot be taken out", hint="merge_into(keep=True) keeps a way back"
            )
        hooks = [(Hook.on(self.sites[stem].module), layer) for stem, layer in self.layers.items()]
        check_merged_last(hooks)
        for hook, layer in hooks:
            hook.unmerge(layer)
        self._merged_at, self._dial.merged = None, False

    def remove(self) -> None:
        if self._merged_at is not None and self._kept:
            self.unmerge()
        for stem, layer in self.layers.items():
            hook = self.sites[stem].module.__dict__.get("forward")
            if isinstance(hook, Hook):
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
    """Holds a state against what is expected.

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
