"""Text encoder and VAE on the device only while somebody calls them; training itself needs the UNet alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from bakehouse.core.events import Event, Noted
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.quantize import weight_bytes
from bakehouse.training.batch_builder import Feeder
from bakehouse.training.text_cache import PromptEncoder
from bakehouse.training.training_state import TrainState

_NEEDED_AGAIN = 3
"""Steps in a row that called for a network: from then on it stays, since moving it costs more than it frees."""


def wants_offload(wanted: bool | None, device: torch.device) -> bool:
    """Left out, it is on where the device has a memory of its own."""
    return device.type == "cuda" if wanted is None else wanted and device.type != "cpu"


class Helpers:
    """The networks of a model beside its UNet: they come when one of the model's verbs needs them, and go when told.

    Whoever encodes or decodes needs to know nothing of it: the model's own verbs fetch what they need. A network that
    trains is not a helper and never goes.
    """

    def __init__(self, model: Denoiser, *, text_learns: bool, home: str = "cpu") -> None:
        """The UNet must be on its device already; `home` is where the helpers wait."""
        unet = model.trainable_modules()["lora_unet"]
        self.model = model
        self.device = _place(unet)
        self.home = torch.device(home)
        beside = {name: part for name, part in model.named_children() if part is not unet}
        text = {} if text_learns else {n: m for n, m in beside.items() if n.startswith("text_encoder")}
        vae = {n: m for n, m in beside.items() if n == "vae"}
        self._networks: dict[str, nn.Module] = {**text, **vae}
        self._here: set[str] = {n for n, m in self._networks.items() if _place(m) == self.device}
        self._calls = dict.fromkeys(self._networks, 0)
        for name, part in beside.items():
            if name not in self._networks:
                part.to(self.device)
        for verb, names in (("encode_prompt", tuple(text)), ("encode_image", tuple(vae)), ("decode", tuple(vae))):
            self._fetch_before(verb, names)

    @property
    def here(self) -> frozenset[str]:
        """Names of those that are on the device now."""
        return frozenset(self._here)

    def _fetch_before(self, verb: str, names: Sequence[str]) -> None:
        inner: Callable[..., Any] = getattr(self.model, verb)

        def fetching(*args: Any, **kwargs: Any) -> Any:
            for name in names:
                if name not in self._here:
                    self._networks[name].to(self.device)
                    self._here.add(name)
            return inner(*args, **kwargs)

        # An instance attribute hides the class's method, as an adapter's hook does with a module's forward.
        object.__setattr__(self.model, verb, fetching)

    def leave(self) -> int:
        """Sends everybody home; bytes that the device has got back."""
        freed = 0
        for name in [n for n in self._networks if n in self._here and self._calls[n] < _NEEDED_AGAIN]:
            freed += weight_bytes(self._networks[name])
            self._networks[name].to(self.home)
            self._here.remove(name)
        return freed

    def after_step(self) -> None:
        """Sends home what a step has called for, unless steps call for it again and again."""
        for name in self._networks:
            self._calls[name] = self._calls[name] + 1 if name in self._here else 0
        self.leave()


class AheadOfTime:
    """Encodes an epoch's captions before its first step, and sends the text encoder home: a hook of the loop.

    A step's captions are a function of the seed and the step, so they are known beforehand, however they are shuffled.
    """

    def __init__(self, feeder: Feeder, prompts: PromptEncoder, helpers: Helpers) -> None:
        self.feeder = feeder
        self.prompts = prompts
        self.helpers = helpers

    def begin(self, step: int) -> Iterator[Event]:
        """Before the first step of all: says what went."""
        self._encode(step)
        freed = self.helpers.leave()
        if freed:
            yield Noted(
                message=f"text encoder and VAE wait in main memory: {freed / 1e9:.1f} GB of the device are free "
                "for training; they come back for samples"
            )

    def __call__(self, state: TrainState) -> Iterator[Event]:
        self.helpers.after_step()
        if state.step % self.feeder.plan.steps_per_epoch == 0 and state.step < self.feeder.plan.steps:
            self._encode(state.step)
            self.helpers.leave()
        yield from ()

    def _encode(self, step: int) -> None:
        if self.prompts.learns:
            return
        plan = self.feeder.plan
        end = min(plan.steps, (step // plan.steps_per_epoch + 1) * plan.steps_per_epoch)
        for k in range(step, end):
            self.prompts.base(sorted(self.feeder.captions(k)))


def _place(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
