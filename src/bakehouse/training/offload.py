"""Offloading: text encoder and VAE are on the device only while they are used; a training step needs the UNet alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from bakehouse.core.events import Event, Noted
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.quantize_int8 import weight_bytes
from bakehouse.recipe.plan import Plan
from bakehouse.training.objective import Objective
from bakehouse.training.training_state import TrainState

_KEPT_AFTER = 3
"""A network that so many steps in a row have used stays on the device: moving it costs more than it frees."""


def wants_offload(wanted: bool | None, device: torch.device) -> bool:
    """Return whether to offload: None is yes on CUDA; a CPU has nothing to offload to."""
    return device.type == "cuda" if wanted is None else wanted and device.type != "cpu"


class OffloadedEncoders:
    """The text encoders and the VAE of a model, moved onto the device when one of the model's methods needs them.

    Callers of `encode_prompt`, `encode_image` and `decode` need not know of it. A network that trains is never moved.
    """

    def __init__(self, model: Denoiser, *, text_trains: bool, storage: str = "cpu") -> None:
        """The UNet must be on its device already; offloaded networks wait on the device `storage`."""
        unet = model.trainable_modules()["lora_unet"]
        self.model = model
        self.device = _device_of(unet)
        self.storage = torch.device(storage)
        others = {name: part for name, part in model.named_children() if part is not unet}
        text = {} if text_trains else {n: m for n, m in others.items() if n.startswith("text_encoder")}
        vae = {n: m for n, m in others.items() if n == "vae"}
        self._networks: dict[str, nn.Module] = {**text, **vae}
        self._on_device: set[str] = {n for n, m in self._networks.items() if _device_of(m) == self.device}
        self._steps_used = dict.fromkeys(self._networks, 0)
        for name, part in others.items():
            if name not in self._networks:
                part.to(self.device)
        for method, names in (("encode_prompt", tuple(text)), ("encode_image", tuple(vae)), ("decode", tuple(vae))):
            self._load_before(method, names)

    @property
    def on_device(self) -> frozenset[str]:
        """Names of the networks that are on the device now."""
        return frozenset(self._on_device)

    def _load_before(self, method: str, names: Sequence[str]) -> None:
        inner: Callable[..., Any] = getattr(self.model, method)

        def load_first(*args: Any, **kwargs: Any) -> Any:
            for name in names:
                if name not in self._on_device:
                    self._networks[name].to(self.device)
                    self._on_device.add(name)
            return inner(*args, **kwargs)

        # An instance attribute hides the class's method, as an adapter's hook does with a module's forward.
        object.__setattr__(self.model, method, load_first)

    def offload(self) -> int:
        """Move the networks off the device, and return the bytes that are free now."""
        freed = 0
        for name in [n for n in self._networks if n in self._on_device and self._steps_used[n] < _KEPT_AFTER]:
            freed += weight_bytes(self._networks[name])
            self._networks[name].to(self.storage)
            self._on_device.remove(name)
        return freed

    def after_step(self) -> None:
        """Move off what a step has used, unless several steps in a row have used it."""
        for name in self._networks:
            self._steps_used[name] = self._steps_used[name] + 1 if name in self._on_device else 0
        self.offload()


class PrefetchCallback:
    """Encodes an epoch's captions before its first step, and offloads the text encoder.

    A step's captions are a function of the seed and the step, so they are known beforehand even if they are shuffled.
    """

    def __init__(self, plan: Plan, objective: Objective, encoders: OffloadedEncoders) -> None:
        self.plan = plan
        self.objective = objective
        self.encoders = encoders

    def on_start(self, state: TrainState) -> Iterator[Event]:
        """Encode the captions of the epoch that begins or is resumed, and report what was offloaded."""
        self._prefetch(state.step)
        freed = self.encoders.offload()
        if freed:
            yield Noted(
                message=f"text encoder and VAE wait in main memory: {freed / 1e9:.1f} GB of the device are free "
                "for training; they come back for samples"
            )

    def on_step(self, state: TrainState) -> Iterator[Event]:
        """Offload what the step has used; at the end of an epoch, encode the next one's captions."""
        self.encoders.after_step()
        if state.step % self.plan.steps_per_epoch == 0 and state.step < self.plan.steps:
            self._prefetch(state.step)
            self.encoders.offload()
        yield from ()

    def _prefetch(self, step: int) -> None:
        per_epoch = self.plan.steps_per_epoch
        self.objective.prefetch(range(step, min(self.plan.steps, (step // per_epoch + 1) * per_epoch)))


def _device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
