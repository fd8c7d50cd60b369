"""Settings that all network algorithms share: rank, alpha, dropouts, and the modules to adapt."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from bakehouse.adapters.adapter import LayerSpec
from bakehouse.adapters.layer import AdapterLayer
from bakehouse.adapters.norm_layers import NormLayer
from bakehouse.adapters.plan_fact_names import DIMS_MATCH, EXCLUDE_MATCHES, ON_KERNELS, ON_NORMS, ON_TEXT
from bakehouse.adapters.target_modules import Site, Targets, matches, select
from bakehouse.adapters.unet_blocks import MOST_ALPHA, MOST_RANK, BlockSpec
from bakehouse.core.errors import UsageError
from bakehouse.core.setting_needs import Needs, is_off, is_on, one_of

Probability = Annotated[float, Field(ge=0, lt=1)]

NEW = Needs(is_off("adapter.start"))
"""Condition of settings that `adapter.start` takes from the file."""
_ON_KERNELS = Needs(is_on(ON_KERNELS))
KERNELS = (NEW, Needs(one_of("targets", "full")), _ON_KERNELS)
"""Conditions of settings for 3x3 convolutions."""
_FULL = (Needs(one_of("targets", "full"), refused=True), NEW, _ON_KERNELS)

PRESETS: Mapping[Targets, str] = {"attention": "attn-only", "attention+mlp": "attn-mlp", "full": "full"}
"""LyCORIS' names of the same selections of modules."""


@dataclass(frozen=True)
class LayerDims:
    """Rank, alpha and dropouts of one module's layer."""

    rank: int
    alpha: float
    dropout: float = 0.0
    rank_dropout: float = 0.0
    module_dropout: float = 0.0

    @property
    def scale(self) -> float:
        """The scale of the update: alpha / rank."""
        return self.alpha / self.rank


class NetworkSpec(LayerSpec):
    """Settings of every network algorithm. A subclass implements `layer` and lists settings that it does not use."""

    algo: ClassVar[str]
    """LyCORIS' name of the algorithm: `lokr`."""
    is_product: ClassVar[bool] = False
    """Whether the update is a product of matrices, as LoRA+ and max_norm need."""
    unused_settings: ClassVar[frozenset[str]] = frozenset()
    """Settings of this class that the algorithm does not use: setting one is an error."""

    rank: int = Field(16, ge=1, le=MOST_RANK)
    """Width of the bottleneck."""
    alpha: float = Field(8.0, gt=0, le=MOST_ALPHA)
    """The update is scaled by alpha / rank."""
    conv_rank: Annotated[int, *_FULL] = Field(0, ge=0, le=MOST_RANK)
    """Rank on 3x3 convolutions, with targets = "full"; 0: the same as `rank`."""
    conv_alpha: Annotated[float | None, *_FULL] = Field(None, gt=0, le=MOST_ALPHA)
    """Alpha on 3x3 convolutions; unset: the same alpha / rank as elsewhere."""
    dropout: Probability = 0.0
    """Probability that an element of the bottleneck is dropped."""
    rank_dropout: Probability = 0.0
    """Probability that a whole rank is dropped, for each sample."""
    module_dropout: Probability = 0.0
    """Probability that a module's adapter is left out of a step."""
    targets: Annotated[Targets, NEW] = "attention+mlp"
    """`attention`: query, key, value, output; `attention+mlp`: whole transformer blocks, as kohya; `full`: also 3x3
    convolutions (LoCon)."""
    unet: bool = True
    """Adapt the denoising network."""
    text: Annotated[bool, Needs(is_on(ON_TEXT))] = False
    """Adapt the text encoder."""
    include: Annotated[tuple[str, ...], NEW] = ()
    """Only modules whose dotted name matches one of these patterns (`down_blocks.*`, `*attn2*`)."""
    exclude: Annotated[tuple[str, ...], NEW, Needs(is_on(EXCLUDE_MATCHES))] = ()
    """No modules whose dotted name matches one of these patterns."""
    train_norm: Annotated[bool, NEW, Needs(is_on(ON_NORMS))] = False
    """Also train group and layer norms in the same blocks."""
    dims: Annotated[dict[str, Annotated[int, Field(ge=0, le=MOST_RANK)]], NEW, Needs(is_on(DIMS_MATCH))] = Field(
        default_factory=dict
    )
    """Ranks of modules by patterns on their dotted names, the first that matches: `{"*attn2*" = 8}`; 0 leaves out."""
    blocks: BlockSpec = BlockSpec()
    """Ranks, alphas and learning rates of single blocks."""
    lora_plus_ratio: float = Field(1.0, gt=0, le=10_000)
    """Factor on the learning rate of matrices that start at zero; usually 16. LoRA+: Hayou 2024, arXiv:2402.12354."""
    max_norm: float | None = Field(None, gt=0, le=1_000_000)
    """Largest norm of a module's update; larger ones are scaled down after each step (kohya's `scale_weight_norms`)."""
    start: Path | None = None
    """Adapter to start from, a file or PEFT's folder; modules, rank and alpha are the file's."""

    reader: ClassVar[type[AdapterLayer] | None] = None
    """The layer class for `start`, if the file's tensors do not determine it."""

    module_settings: ClassVar[frozenset[str]] = frozenset(
        {"include", "exclude", "dims", "blocks", "train_norm", "start"}
    )
    """Settings that may match no module of a base."""

    @property
    def settable(self) -> frozenset[str]:
        """Names of the settings that the algorithm uses, given its other settings."""
        return frozenset(type(self).model_fields) - self.unused_settings

    @classmethod
    def unsupported(cls) -> frozenset[str]:
        """Return the names of the settings that may never be set."""
        return cls.unused_settings | (frozenset() if cls.is_product else {"lora_plus_ratio", "max_norm"})

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Leave out of the schema what may not be set."""
        schema: dict[str, Any] = handler(core_schema)
        own = handler.resolve_ref_schema(schema)
        own["properties"] = {k: v for k, v in own["properties"].items() if k not in cls.unsupported()}
        return schema

    def configure_loaded(self, layer: AdapterLayer) -> None:
        """Set what a file does not hold on a layer loaded from `start`."""

    @abstractmethod
    def layer(self, site: Site, dim: LayerDims, generator: torch.Generator | None) -> AdapterLayer:
        """Return a new layer for one module on the CPU, with ΔW = 0; every random number is from `generator`.

        Raises:
            UsageError: the algorithm cannot adapt this module.
        """

    def network_args(self) -> dict[str, str]:
        """Return the algorithm's own part of `ss_network_args`, by LyCORIS' names."""
        return {}

    @model_validator(mode="after")
    def _only_what_means_something(self) -> Self:
        for name in sorted(self.unsupported() & self.model_fields_set):
            value = getattr(self, name)
            if value != type(self).model_fields[name].get_default(call_default_factory=True):
                kind = getattr(self, "kind", self.algo)
                raise ValueError(f"{name} = {value!r} has no effect with kind = {kind!r}: leave it out")
        return self

    def select(self, parts: Mapping[str, nn.Module]) -> list[Site]:
        sites = select(
            parts, self.targets, unet=self.unet, text=self.text,
            include=self.include, exclude=self.exclude, norms=self.train_norm,
        )  # fmt: skip
        kept = [s for s in sites if self.blocks.rate(s.block) and self.layer_dims(s).rank]
        if not kept:
            raise UsageError(f"adapter.dims and adapter.blocks leave out all {len(sites)} modules")
        return kept

    def build(self, site: Site, generator: torch.Generator | None) -> AdapterLayer:
        if site.is_norm:
            norm = NormLayer.fresh(site.module)
            norm.module_dropout = self.module_dropout
            return norm
        return self.layer(site, self.layer_dims(site), generator)

    def layer_dims(self, site: Site) -> LayerDims:
        """Return rank, alpha and dropouts of one module."""
        rank, alpha = self._conv() if site.is_kernel else (self.rank, self.alpha)
        share = alpha / rank
        own_rank, own_alpha = self.blocks.dim(site.block, kernel=site.is_kernel)
        if own_rank is not None:
            rank, alpha = own_rank, share * own_rank
        if own_alpha is not None:
            alpha = own_alpha
        for pattern, named in self.dims.items():
            if matches(site, (pattern,)):
                rank, alpha = named, share * named
                break
        return LayerDims(rank, alpha, self.dropout, self.rank_dropout, self.module_dropout)

    def lr_multiplier(self, site: Site) -> float:
        return self.blocks.rate(site.block)

    @property
    def frozen(self) -> frozenset[str]:
        """Names in a file of the parameters that are not trained."""
        return frozenset()

    @property
    def zero_init_lr_multiplier(self) -> float:
        return self.lora_plus_ratio

    @property
    def max_update_norm(self) -> float | None:
        return self.max_norm

    @property
    def has_several_lrs(self) -> bool:
        """Whether parameters of one network have different learning rates."""
        return self.blocks.sets_rates or self.lora_plus_ratio != 1

    def _conv(self) -> tuple[int, float]:
        """Return rank and alpha on 3x3 convolutions."""
        rank = self.conv_rank or self.rank
        return rank, self.conv_alpha if self.conv_alpha is not None else self.alpha * rank / self.rank

    def network_metadata(self) -> dict[str, Any]:
        args = {"algo": self.algo, "preset": PRESETS[self.targets], **self._conv_args(), **self.network_args()}
        for name in ("rank_dropout", "module_dropout", "train_norm"):
            if getattr(self, name):
                args[name] = str(getattr(self, name))
        return {
            "ss_network_module": "lycoris.kohya",
            "ss_network_dim": self.rank,
            "ss_network_alpha": self.alpha,
            "ss_network_args": args,
            "ss_network_dropout": self.dropout or None,
        }

    def _conv_args(self) -> dict[str, str]:
        if self.targets != "full":
            return {}
        rank, alpha = self._conv()
        return {"conv_dim": str(rank), "conv_alpha": str(alpha)}
