"""Full fine-tuning with the interface of an adapter: the base's own weights train (DreamBooth, arXiv:2208.12242)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from bakehouse.adapters.adapter import Adapter, AdapterSpecBase, AdapterTarget, check_fit
from bakehouse.adapters.layer import freeze
from bakehouse.adapters.target_modules import PART_NAMES
from bakehouse.core.errors import BakehouseError


class FullFineTune(AdapterSpecBase):
    """Every weight of the selected networks trains."""

    trains_base: ClassVar[bool] = True
    saves_whole_model: ClassVar[bool] = True

    kind: Literal["full"] = "full"
    unet: bool = True
    """Train the denoising network."""
    text: bool = False
    """Train the text encoder."""

    @model_validator(mode="after")
    def _trains_something(self) -> FullFineTune:
        if not (self.unet or self.text):
            raise ValueError("unet = false and text = false: nothing to train")
        return self

    def inject(self, target: AdapterTarget, generator: torch.Generator | None) -> Adapter:
        freeze(target.parts.values())
        chosen = {p: m for p, m in target.parts.items() if (self.unet if p == "lora_unet" else self.text)}
        return FullAdapter(chosen, spec=self)


class FullAdapter(Adapter):
    """The base's own weights as an adapter: base plus the change by training.

    The untouched weights are copied by the first call of `keep_base` or `scaled`, which must be before they change.
    """

    trains_base = True

    def __init__(self, parts: Mapping[str, nn.Module], *, spec: AdapterSpecBase | None = None) -> None:
        self.spec = spec
        self._parts = dict(parts)
        self._params = {
            f"{PART_NAMES.get(prefix, prefix)}.{name}": parameter
            for prefix, part in parts.items()
            for name, parameter in part.named_parameters()
        }
        self._text = {
            n for p in parts if p != "lora_unet" for n in self._params if n.startswith(f"{PART_NAMES.get(p, p)}.")
        }
        for parameter in self._params.values():
            parameter.requires_grad_(True)
        self._versions = {name: p._version for name, p in self._params.items()}
        self._base: dict[str, Tensor] | None = None
        self._learned: dict[str, Tensor] | None = None
        self._multiplier = 1.0

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return iter(self._params.items())

    def is_text(self, name: str) -> bool:
        return name in self._text

    def module_names(self) -> list[str]:
        return list(dict.fromkeys(name.rpartition(".")[0] for name in self._params))

    def state_dict(self) -> dict[str, Tensor]:
        source = self._learned or {name: p.detach() for name, p in self._params.items()}
        return dict(source)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        check_fit(self.state_dict(), state)
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])

    def keep_base(self) -> None:
        """Copy the untouched weights, which `scaled` and `remove` need.

        Raises:
            BakehouseError: the weights have changed since the adapter was made, or are divided among devices.
        """
        if self._base is not None:
            return
        if any(hasattr(p, "device_mesh") for p in self._params.values()):
            raise BakehouseError(
                "the untouched weights are not kept where devices share the weights that train",
                hint="set train.shard = false: then each device has a whole copy of them",
            )
        if any(p._version != self._versions[name] for name, p in self._params.items()):
            raise BakehouseError(
                "the untouched weights were not kept before training changed them",
                hint="call adapter.keep_base() before the first step",
            )
        self._base = {name: p.detach().clone() for name, p in self._params.items()}

    @contextlib.contextmanager
    def scaled(self, multiplier: float) -> Iterator[None]:
        before = self._multiplier
        self._set_multiplier(multiplier)
        try:
            yield
        finally:
            self._set_multiplier(before)

    def _set_multiplier(self, multiplier: float) -> None:
        """Swap the storage of each parameter; strengths 0 and 1 need no copy."""
        if multiplier == self._multiplier:
            return
        self.keep_base()
        assert self._base is not None
        if self._learned is None:
            self._learned = {name: p.data for name, p in self._params.items()}
        for name, parameter in self._params.items():
            base, learned = self._base[name], self._learned[name]
            if multiplier == 0.0:
                parameter.data = base
            elif multiplier == 1.0:
                parameter.data = learned
            else:
                parameter.data = torch.lerp(base.float(), learned.float(), multiplier).to(base.dtype)
        if multiplier == 1.0:
            self._learned = None
        self._multiplier = multiplier

    def merge_into(self, *, keep: bool = True) -> None:
        """Do nothing: the trained weights are the model's."""

    def unmerge(self) -> None:
        """Do nothing: nothing is merged."""

    @torch.no_grad()
    def remove(self) -> None:
        self._set_multiplier(1.0)
        changed = any(p._version != self._versions[name] for name, p in self._params.items())
        if self._base is None and changed:
            raise BakehouseError(
                "the untouched weights were not kept before training changed them",
                hint="call adapter.keep_base() before the first step, or load the base again",
            )
        for name, parameter in self._params.items():
            if self._base is not None:
                parameter.copy_(self._base[name])
            parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        for part in self._parts.values():
            part.train(mode)
        return self

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        for part in self._parts.values():
            part.to(device, dtype)
        if self._base is not None:
            self._base = {name: tensor.to(device, dtype) for name, tensor in self._base.items()}
        return self
