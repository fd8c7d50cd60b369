"""UNet blocks by kohya's numbers, and settings of ranks, alphas and learning rates for each.

SD 1.x and 2.x have 25: input blocks 0 to 11, the middle block, output blocks 0 to 11. SDXL has 23: one for the
embeddings, input blocks 0 to 8, three in the middle, output blocks 0 to 8, one for the output.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, field_validator
from torch import nn

from bakehouse.adapters.plan_fact_names import ON_KERNELS, ON_UNET
from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.setting_needs import Needs, is_off, is_on, one_of
from bakehouse.core.settings import Spec

MOST_RANK = 10240
"""The longest side of any weight of the families, and so the highest rank."""
MOST_ALPHA = 10**10
"""Larger than any useful value; LyCORIS' users write such numbers where alpha is ignored."""
_RANKED = one_of("adapter.kind", "lora", "loha", "lokr", "dylora", "glora")
_ON_UNET = Needs(is_on(ON_UNET))
_NEW = Needs(is_off("adapter.start"))
_FULL = (Needs(one_of("adapter.targets", "full")), Needs(is_on(ON_KERNELS)))
_Rank = Annotated[int, Field(ge=0, le=MOST_RANK)]
_Alpha = Annotated[float, Field(gt=0, le=MOST_ALPHA)]
_Rates = Annotated[float, Field(ge=0, le=10_000)]

_PLACE = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.")

_SHAPES: Mapping[str, Callable[[float], float]] = {
    "sine": lambda t: math.sin(math.pi * t / 2),
    "cosine": lambda t: math.sin(math.pi * (1 - t) / 2),
    "linear": lambda t: t,
    "reverse_linear": lambda t: 1 - t,
    "zeros": lambda t: 0.0,
}
"""Learning rate factors over the blocks of one side, t from 0 to 1."""


@dataclass(frozen=True)
class Layout:
    """Number of blocks of a UNet on each side and in the middle, and before and after them."""

    side: int
    middle: int
    around: int

    @property
    def count(self) -> int:
        return 2 * self.side + self.middle + 2 * self.around


SD = Layout(12, 1, 0)
SDXL = Layout(9, 3, 1)


@dataclass(frozen=True)
class Block:
    """The block of a module."""

    index: int
    layout: Layout


def layout_of(unet: nn.Module) -> Layout:
    """Return the layout of a UNet: SDXL's has three levels, all others have four."""
    levels = getattr(unet, "down_blocks", ())
    return SDXL if len(levels) == 3 else SD


def block_of(path: str, layout: Layout) -> Block | None:
    """Return the block of a module by its dotted name inside the UNet; None if it is in none."""
    if m := _PLACE.match(path):
        number = 3 * int(m[2]) + (2 if m[3].endswith("samplers") else int(m[4]))
        # kohya's input block 0 is the first convolution, so the first resnet stands in 1.
        start = 1 + layout.around if m[1] == "down" else layout.around + layout.side + layout.middle
        return Block(start + number, layout)
    if m := _MIDDLE.match(path):
        place = 1 if m[1] == "attentions" else 2 * int(m[2])
        return Block(layout.around + layout.side + (place if layout.middle == 3 else 0), layout)
    return None


class BlockSpec(Spec):
    """Ranks, alphas and learning rates of single blocks; kohya's `block_dims`, `down_lr_weight` and so on."""

    dims: Annotated[
        tuple[_Rank, ...], _NEW, _ON_UNET, Needs(_RANKED, otherwise="only leaves out the blocks with 0,")
    ] = ()
    """Rank of each block, 25 numbers (SDXL 23); 0 leaves a block out. Default: `rank`."""
    alphas: Annotated[tuple[_Alpha, ...], _NEW, _ON_UNET, Needs(_RANKED)] = ()
    """Alpha of each block. Default: the same alpha / rank as elsewhere."""
    conv_dims: Annotated[
        tuple[_Rank, ...], _NEW, *_FULL, Needs(_RANKED, otherwise="only leaves out the blocks with 0,")
    ] = ()
    """Rank of each block's 3x3 convolutions, with targets = "full"."""
    conv_alphas: Annotated[tuple[_Alpha, ...], _NEW, *_FULL, Needs(_RANKED)] = ()
    """Alpha of each block's 3x3 convolutions."""
    down_lr_weight: Annotated[str | tuple[_Rates, ...], _ON_UNET] = ()
    """Factors on the learning rate in the 12 (SDXL 9) input blocks: numbers, or `sine`, `cosine`, `linear`,
    `reverse_linear`, `zeros`; a suffix such as `+.25` is added to all."""
    mid_lr_weight: Annotated[tuple[_Rates, ...], _ON_UNET] = ()
    """The same in the middle: 1 number (SDXL 3)."""
    up_lr_weight: Annotated[str | tuple[_Rates, ...], _ON_UNET] = ()
    """The same in the 12 (SDXL 9) output blocks."""
    lr_zero_threshold: Annotated[
        float, _ON_UNET, Needs(is_on("down_lr_weight"), is_on("mid_lr_weight"), is_on("up_lr_weight"))
    ] = Field(0.0, ge=0)
    """Blocks with a factor of at most this are left out."""

    @field_validator("down_lr_weight", "up_lr_weight")
    @classmethod
    def _known_shape(cls, value: str | tuple[float, ...]) -> str | tuple[float, ...]:
        if isinstance(value, str):
            curve(value, 2)
        return value

    @property
    def sets_rates(self) -> bool:
        """Whether blocks have different learning rates."""
        return bool(self.down_lr_weight or self.mid_lr_weight or self.up_lr_weight)

    def rate(self, block: Block | None) -> float:
        """Return the factor on the learning rate in a block; 1 outside of blocks.

        Raises:
            UsageError: the length of a list is not the model's number of blocks.
        """
        if block is None or not self.sets_rates:
            return 1.0
        layout = block.layout
        rates = [1.0] * layout.around
        rates += _weights("down_lr_weight", self.down_lr_weight, layout.side)
        rates += _weights("mid_lr_weight", self.mid_lr_weight, layout.middle)
        rates += _weights("up_lr_weight", self.up_lr_weight, layout.side)
        rates += [1.0] * layout.around
        rate = rates[block.index]
        return rate if rate > self.lr_zero_threshold else 0.0

    def dim(self, block: Block | None, *, kernel: bool) -> tuple[int | None, float | None]:
        """Return rank and alpha in a block, for 3x3 convolutions or other modules; None if not set.

        Raises:
            UsageError: the length of a list is not the model's number of blocks.
        """
        if block is None:
            return None, None
        prefix = "conv_" if kernel else ""
        dims: tuple[int, ...] = getattr(self, f"{prefix}dims")
        alphas: tuple[float, ...] = getattr(self, f"{prefix}alphas")
        for name, values in ((f"{prefix}dims", dims), (f"{prefix}alphas", alphas)):
            if values:
                _check(name, len(values), block.layout.count)
        return dims[block.index] if dims else None, alphas[block.index] if alphas else None


def curve(words: str, count: int) -> list[float]:
    """Return the factors of a curve such as `sine+.25`.

    Raises:
        ValueError: an unknown curve, or no number after the +.
    """
    name, plus, more = words.partition("+")
    if name not in _SHAPES:
        known = did_you_mean(name, _SHAPES) or f": allowed are {', '.join(_SHAPES)}"
        raise ValueError(f"{words!r} is not a curve{known}")
    return [_SHAPES[name](i / (count - 1)) + (float(more) if plus else 0.0) for i in range(count)]


def _weights(name: str, given: str | tuple[float, ...], count: int) -> list[float]:
    if isinstance(given, str):
        return curve(given, count)
    if not given:
        return [1.0] * count
    _check(name, len(given), count)
    return list(given)


def _check(name: str, given: int, count: int) -> None:
    if given != count:
        raise UsageError(f"adapter.blocks.{name} has {given} numbers, this model takes {count}")
