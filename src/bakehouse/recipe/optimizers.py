"""Optimizers by name, from a fixed table: a recipe cannot import other classes."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import Annotated, Any

import torch
from pydantic import Field, field_validator

from bakehouse.adapters.plan_fact_names import ON_TEXT, ON_UNET
from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.setting_needs import Needs, is_off, is_on
from bakehouse.core.settings import Spec

ADAMW_LR = 1e-4
"""AdamW's learning rate for adapters; presets have rates for AdamW."""


@dataclass(frozen=True)
class OptimizerRow:
    """An optimizer's class, its learning rate and its default arguments."""

    module: str
    cls: str
    lr: float = ADAMW_LR
    """The usual learning rate for adapters."""
    install: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    """Other trainers' names for it. Case, `-` and `_` are ignored, and `module.cls` is always accepted."""
    finds_rate: bool = False
    """The learning rate multiplies the optimizer's own estimate: 1.0."""
    one_rate: bool = False
    """UNet and text encoder must have the same learning rate, as the estimate covers both."""
    schedule_free: bool = False
    """Averages the weights instead of lowering the learning rate; the averaged weights are behind `eval()`."""
    needs_gpu: bool = False
    each_alone: bool = False
    """Each weight is updated from its own gradient and step count, so weights can be updated one after another."""
    each_number: bool = False
    """Each number of a weight is updated from its own gradient, so parts of a weight can be updated apart."""
    can_fuse: bool = False
    """Has PyTorch's fused kernel: on a CPU five times as fast for a LoRA of SD 1.x, twice for a full fine-tune."""

    def rate_like(self, adamw: float) -> float:
        """Return the learning rate that corresponds to `adamw` for AdamW; four digits."""
        return float(f"{adamw * self.lr / ADAMW_LR:.4g}")


def _torch(cls: str, lr: float = ADAMW_LR, **more: Any) -> OptimizerRow:
    return OptimizerRow("torch.optim", cls, lr, each_alone=True, each_number=True, **more)


def _bnb(cls: str, lr: float = ADAMW_LR, **more: Any) -> OptimizerRow:
    return OptimizerRow("bitsandbytes.optim", cls, lr, install="bitsandbytes", needs_gpu=True, each_alone=True, **more)


def _collected(cls: str, lr: float = ADAMW_LR, **more: Any) -> OptimizerRow:
    return OptimizerRow("pytorch_optimizer", cls, lr, install="pytorch-optimizer", **more)


def _d_adapted(cls: str, **more: Any) -> OptimizerRow:
    return _collected(cls, 1.0, finds_rate=True, one_rate=True, **more)


def _schedule_free(cls: str, lr: float, **more: Any) -> OptimizerRow:
    return OptimizerRow("schedulefree", cls, lr, install="schedulefree", schedule_free=True, **more)


_DECAY = {"weight_decay": 0.01}
_NESTEROV = {"momentum": 0.9, "nesterov": True}
_PRODIGY = {
    "weight_decay": 0.01,
    "decouple": True,
    "use_bias_correction": True,
    "safeguard_warmup": True,
    "d_coef": 2.0,
}
_FIXED_RATE = {"relative_step": False, "scale_parameter": False, "warmup_init": False}

# Not in the table: Sophia (needs a second backward pass every few steps), Muon (is for hidden matrices, which an
# adapter's factors are not), and optimizers that cannot resume bit for bit (Kron, SCION).
OPTIMIZERS: Mapping[str, OptimizerRow] = MappingProxyType(
    {
        "adamw": _torch("AdamW", defaults=_DECAY, can_fuse=True),
        "prodigy": OptimizerRow(
            "prodigyopt", "Prodigy", 1.0, install="prodigyopt", defaults=_PRODIGY, finds_rate=True, one_rate=True
        ),
        "adamw8bit": _bnb("AdamW8bit", defaults=_DECAY),
        "pagedadamw8bit": _bnb("PagedAdamW8bit", defaults=_DECAY),
        "pagedadamw": _bnb("PagedAdamW", defaults=_DECAY, aliases=("pagedadamw32bit",)),
        "ademamix8bit": _bnb("AdEMAMix8bit", defaults=_DECAY),
        "pagedademamix8bit": _bnb("PagedAdEMAMix8bit", defaults=_DECAY),
        "lion8bit": _bnb("Lion8bit", 3e-5, defaults={"weight_decay": 0.03}),
        "pagedlion8bit": _bnb("PagedLion8bit", 3e-5, defaults={"weight_decay": 0.03}),
        "sgd8bit": _bnb("SGD8bit", 1e-2, defaults=_NESTEROV, aliases=("sgdnesterov8bit",)),
        "rmsprop8bit": _bnb("RMSprop8bit"),
        "adafactor": OptimizerRow("transformers.optimization", "Adafactor", defaults=_FIXED_RATE, each_alone=True),
        "lion": _collected("Lion", 3e-5, defaults={"weight_decay": 0.03}),
        "tiger": _collected("Tiger", 3e-5, defaults={"weight_decay": 0.03}),
        "came": _collected("CAME", defaults=_DECAY),
        "adan": _collected("Adan", 5e-4, defaults=_DECAY),
        "lamb": _collected("Lamb", 1e-3, defaults=_DECAY),
        "dadaptadam": _d_adapted(
            "DAdaptAdam",
            defaults={"weight_decay": 0.01, "weight_decouple": True},
            aliases=("dadaptation", "dadaptadampreprint"),
        ),
        "dadaptadan": _d_adapted("DAdaptAdan", defaults=_DECAY, aliases=("dadaptadanip",)),
        "dadaptlion": _d_adapted("DAdaptLion", defaults=_DECAY),
        "dadaptadagrad": _d_adapted("DAdaptAdaGrad"),
        "dadaptsgd": _d_adapted("DAdaptSGD"),
        "adamwschedulefree": _schedule_free("AdamWScheduleFree", ADAMW_LR, defaults=_DECAY),
        "radamschedulefree": _schedule_free("RAdamScheduleFree", ADAMW_LR, defaults=_DECAY),
        "sgdschedulefree": _schedule_free("SGDScheduleFree", 1e-1),
        "prodigyplusschedulefree": OptimizerRow(
            "prodigyplus",
            "ProdigyPlusScheduleFree",
            1.0,
            install="prodigy-plus-schedule-free",
            aliases=("prodigyplus",),
            finds_rate=True,
            one_rate=True,
            schedule_free=True,
        ),
        "adam": _torch("Adam", can_fuse=True),
        "radam": _torch("RAdam"),
        "nadam": _torch("NAdam"),
        "rmsprop": _torch("RMSprop"),
        "adagrad": _torch("Adagrad", 1e-3),
        "sgd": _torch("SGD", 1e-2, defaults=_NESTEROV, aliases=("sgdnesterov",), can_fuse=True),
        "ademamix": _collected("AdEMAMix", defaults=_DECAY),
        "adopt": _collected("ADOPT", defaults=_DECAY),
        "mars": _collected("MARS", defaults=_DECAY),
        "soap": _collected("SOAP", defaults=_DECAY),
        "stableadamw": _collected("StableAdamW", defaults=_DECAY),
        "adabelief": _collected("AdaBelief", defaults=_DECAY),
        "adamp": _collected("AdamP", defaults=_DECAY),
        "grams": _collected("Grams", defaults=_DECAY),
        "laprop": _collected("LaProp", defaults=_DECAY),
        "yogi": _collected("Yogi", 1e-3),
        "madgrad": _collected("MADGRAD", 1e-3),
    }
)


def _plain(name: str) -> str:
    return name.strip().casefold().replace("-", "").replace("_", "")


_NAMES: Mapping[str, str] = MappingProxyType(
    {
        _plain(alias): name
        for name, row in OPTIMIZERS.items()
        for alias in (name, *row.aliases, row.cls, f"{row.module}.{row.cls}")
    }
)


class OptimizerSpec(Spec):
    name: Annotated[str, Field(examples=list(OPTIMIZERS))] = "adamw"
    """One of the table in docs/optimizers.md: adamw, prodigy, adamw8bit, adafactor, lion, came, adamwschedulefree ...;
    kohya's spellings are accepted (AdamW8bit, DAdaptation, PagedAdamW8bit)."""
    lr: Annotated[
        Annotated[float, Field(gt=0)] | None,
        Needs(is_on("adapter.unet"), is_off("optimizer.text_lr")),
        Needs(is_on(ON_UNET), is_off("optimizer.text_lr")),
    ] = None
    """Learning rate of the UNet. Default: from the plan (1e-4 for AdamW, 1.0 for Prodigy)."""
    text_lr: Annotated[
        Annotated[float, Field(ge=0)] | None,
        Needs(is_on("adapter.text")),
        Needs(is_on(ON_TEXT)),
        Needs(
            at=(0.0,),
            otherwise="leaves the text encoder untrained: its learning rate is 0 (adapter.text = false costs less)",
        ),
        Needs(is_off("optimizer.args.relative_step")),
    ] = None
    """Learning rate of the text encoder. Default: from the plan."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the optimizer: betas, weight_decay, d_coef ..."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        """Return the name as the table spells it."""
        if (found := _NAMES.get(_plain(name))) is None:
            known = did_you_mean(_plain(name), OPTIMIZERS) or f": allowed are {', '.join(OPTIMIZERS)}"
            raise ValueError(f"{name!r} is not an optimizer{known}")
        return found

    @field_validator("args")
    @classmethod
    def _finite(cls, args: dict[str, Any]) -> dict[str, Any]:
        for key, value in args.items():
            for number in value if isinstance(value, list | tuple) else (value,):
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError(f"{key} = {value!r}: only finite numbers are allowed")
        return args

    @property
    def row(self) -> OptimizerRow:
        """The table's row, with changes by `args`."""
        row = OPTIMIZERS[self.name]
        if self.relative_step:
            return replace(row, lr=1.0, finds_rate=True)
        return row

    @property
    def relative_step(self) -> bool:
        """Whether Adafactor chooses learning rate and schedule itself, so that `lr` and the schedule have no effect."""
        return self.name == "adafactor" and bool(self.args.get("relative_step"))

    def problems(self, device: str) -> Iterator[str]:
        """Yield an error for each reason why it cannot be built on `device` (`cpu`, `cuda:0`), with the remedy."""
        row = self.row
        if row.needs_gpu and not device.startswith("cuda"):
            yield f"optimizer.name = {self.name!r} needs a CUDA device, not {device}: on a CPU use 'adamw'"
        if not _installed(row.module):
            yield f"optimizer.name = {self.name!r} needs a library: pip install {row.install}"
        elif self.args:
            unknown = list(self._unknown_arguments())
            yield from unknown or self._refused_arguments()

    def _unknown_arguments(self) -> Iterator[str]:
        """Yield an error for each misspelt argument: constructors with **kwargs would ignore it silently."""
        taken = _parameters(_class(self.row))
        for key in self.args:
            if key not in taken:
                near = did_you_mean(key, taken) or f"; it takes {', '.join(taken)}"
                yield f"optimizer.args.{key}: {self.row.cls} has no such argument{near}"

    def _refused_arguments(self) -> Iterator[str]:
        """Yield the optimizer's own error on its arguments, by constructing it for a dummy parameter."""
        try:
            self._make([{"params": [torch.nn.Parameter(torch.zeros(2, 2))], "lr": self.lr or self.row.lr}], {"cpu"})
        except UsageError as e:
            yield e.message

    def build(self, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimizer over parameter groups `{"params": ..., "lr": ...}`.

        Raises:
            UsageError: its library is not installed, it needs a GPU, it does not take one of `args`, or it takes one
                rate for all groups and they differ.
        """
        row, groups = self.row, [dict(group) for group in groups]
        devices = {p.device.type for group in groups for p in group["params"]}
        for problem in self.problems("cuda" if devices == {"cuda"} else next(iter(devices), "cpu")):
            raise UsageError(problem)
        rates = {group["lr"] for group in groups}
        if row.one_rate and len(rates) > 1:
            shown = ", ".join(f"{rate:g}" for rate in sorted(rates))
            raise UsageError(
                f"optimizer {self.name!r} estimates a single learning rate, but the groups have {shown}",
                hint="set optimizer.lr and optimizer.text_lr to the same value, and leave rate ratios out",
            )
        return self._make(groups, devices)

    def _make(self, groups: list[dict[str, Any]], devices: set[str]) -> torch.optim.Optimizer:
        row = self.row
        settings = {**row.defaults, **self.args}
        if (
            row.can_fuse
            and devices <= {"cpu", "cuda"}
            and not {"foreach", "fused", "differentiable"} & self.args.keys()
        ):
            settings["fused"] = True
        if self.relative_step:
            # Adafactor refuses a learning rate beside relative_step.
            settings["lr"] = None
        try:
            optimizer = _class(row)(groups, **settings)
        except (TypeError, ValueError, AssertionError) as e:
            raise UsageError(f"optimizer.args = {self.args!r}: {row.cls} says: {e}") from e
        assert isinstance(optimizer, torch.optim.Optimizer)
        if row.schedule_free:
            optimizer.train()  # type: ignore[attr-defined]
        return optimizer


def current_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the last step's learning rate of each group by name, the optimizer's own estimate included, its scaling of
    single weights not.
    """
    groups = optimizer.param_groups
    return {group.get("name", str(i)): _group_rate(optimizer, group) for i, group in enumerate(groups)}


def _group_rate(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> float:
    if group.get("relative_step"):
        # Adafactor's own (Shazeer & Stern 2018, section 7): min(1e-2, 1 / sqrt(step)), warmed up from 1e-6.
        step = max((optimizer.state[p].get("step", 0) for p in group["params"]), default=0) or 1
        return min(1e-6 * step if group.get("warmup_init") else 1e-2, 1 / math.sqrt(step))
    return float(group["lr"] * group.get("d", 1.0))


def _installed(module: str) -> bool:
    return find_spec(module.split(".")[0]) is not None


def _class(row: OptimizerRow) -> Any:
    return getattr(importlib.import_module(row.module), row.cls)


def _parameters(cls: Any) -> list[str]:
    """Return the argument names of a constructor, without `params` and `lr`, which are set elsewhere."""
    declared = inspect.signature(cls).parameters.values()
    return [p.name for p in declared if p.kind is not p.VAR_KEYWORD and p.name not in ("params", "lr")]
