"""Selection of the modules to adapt, by the class names of the blocks that contain them, as kohya does.

A selection without a match is an error that lists what there is; other trainers save empty files instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from bakehouse.adapters.layer import Base
from bakehouse.adapters.unet_blocks import Block, block_of, layout_of
from bakehouse.core.errors import UsageError

Targets = Literal["attention", "attention+mlp", "full"]

PART_NAMES = {
    "lora_unet": "unet",
    "lora_te": "text_encoder",
    "lora_te1": "text_encoder",
    "lora_te2": "text_encoder_2",
}
"""kohya's file prefixes and what diffusers calls the same networks."""

_NORMS = nn.GroupNorm | nn.LayerNorm
_ATTENTION = frozenset({"Attention", "CLIPAttention", "CLIPSdpaAttention", "CLIPFlashAttention2"})
_BLOCKS: Mapping[Targets, frozenset[str]] = {
    "attention": _ATTENTION,
    "attention+mlp": _ATTENTION | {"Transformer2DModel", "CLIPMLP"},
    "full": _ATTENTION | {"Transformer2DModel", "CLIPMLP", "ResnetBlock2D", "Downsample2D", "Upsample2D"},
}


@dataclass(frozen=True)
class Site:
    """One module that can be adapted."""

    prefix: str
    """kohya's name of the part: `lora_unet`."""
    path: str
    """Dotted name inside the part: `down_blocks.0.attentions.0.proj_in`."""
    module: Base
    block: Block | None = None
    """Its block by kohya's numbers; None outside of the UNet's blocks."""

    @property
    def stem(self) -> str:
        """The module's name in kohya's files: `lora_unet_down_blocks_0_attentions_0_proj_in`."""
        return f"{self.prefix}_{self.path.replace('.', '_')}"

    @property
    def name(self) -> str:
        """The module's name in diffusers' words: `unet.down_blocks.0.attentions.0.proj_in`."""
        return f"{PART_NAMES.get(self.prefix, self.prefix)}.{self.path}"

    @property
    def is_text(self) -> bool:
        return self.prefix != "lora_unet"

    @property
    def is_kernel(self) -> bool:
        """Whether it is a convolution wider than one pixel."""
        return isinstance(self.module, nn.Conv2d) and tuple(self.module.kernel_size) != (1, 1)

    @property
    def is_norm(self) -> bool:
        return isinstance(self.module, _NORMS)


def all_sites(parts: Mapping[str, nn.Module], *, norms: bool = False) -> list[Site]:
    """Every linear and plain convolution of the parts, in the order of their definition; with `norms`, those too."""
    layouts = {prefix: layout_of(part) for prefix, part in parts.items() if prefix == "lora_unet"}
    return [
        Site(prefix, path, module, block_of(path, layouts[prefix]) if prefix in layouts else None)
        for prefix, part in parts.items()
        for path, module in part.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and _plain(module))
        or (norms and isinstance(module, _NORMS) and module.weight is not None)
    ]


def _plain(conv: nn.Conv2d) -> bool:
    return conv.groups == 1 and conv.padding_mode == "zeros"


def select(
    parts: Mapping[str, nn.Module],
    targets: Targets,
    *,
    unet: bool,
    text: bool,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    norms: bool = False,
) -> list[Site]:
    """The modules inside the blocks that `targets` names, narrowed by patterns on their dotted names.

    With `norms`, group and layer norms in those blocks too (`Site.is_norm`), the text encoder's included.

    Raises:
        UsageError: a part that should be adapted has no such module, or the patterns leave none.
    """
    chosen = {p: m for p, m in parts.items() if (unet if p == "lora_unet" else text)}
    if not chosen:
        raise UsageError("the adapter has no modules: unet = false and text = false", hint="set one of them to true")
    blocks = _BLOCKS[targets] | ({"CLIPEncoderLayer"} if norms else frozenset())
    inside = {prefix: _paths_inside(part, _BLOCKS[targets]) for prefix, part in chosen.items()}
    around = {prefix: _paths_inside(part, blocks) for prefix, part in chosen.items()}
    sites = [
        s for s in all_sites(chosen, norms=norms) if s.path in (around[s.prefix] if s.is_norm else inside[s.prefix])
    ]
    for prefix, part in chosen.items():
        if not any(s.prefix == prefix for s in sites):
            raise UsageError(
                f"targets = {targets!r} matches no module of {PART_NAMES.get(prefix, prefix)}",
                hint=f"its module classes are: {', '.join(_class_names(part))}",
            )
    kept = [s for s in sites if _wanted(s, include, exclude)]
    if not kept:
        raise UsageError(
            f"include = {list(include)}, exclude = {list(exclude)} leave none of the {len(sites)} modules",
            hint=f"names look like {sites[0].name}",
        )
    return kept


def _paths_inside(part: nn.Module, blocks: frozenset[str]) -> set[str]:
    found: set[str] = set()
    for path, module in part.named_modules():
        if type(module).__name__ in blocks:
            prefix = f"{path}." if path else ""
            found.update(prefix + inner for inner, _ in module.named_modules() if inner)
    return found


def _class_names(part: nn.Module) -> list[str]:
    return sorted({type(m).__name__ for m in part.modules()})


def matches(site: Site, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns is the module's name, with or without the network's."""
    return any(fnmatchcase(site.path, p) or fnmatchcase(site.name, p) for p in patterns)


def _wanted(site: Site, include: Sequence[str], exclude: Sequence[str]) -> bool:
    return (not include or matches(site, include)) and not matches(site, exclude)
