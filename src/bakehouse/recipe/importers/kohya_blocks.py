"""Conversion of kohya's ranks, alphas and rates for each block, and of the block sizes of OFT and BOFT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bakehouse.recipe.importers.option_table import Settings

OF = ("network_args",)
Values = dict[str, tuple[Any, tuple[str, ...]]]
"""Settings of the adapter: each value and the options that it was made from."""

BLOCK_SIZES = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
BLOCK_RATES = ("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold")

_TURNED_ON = ("block_dims", *BLOCK_RATES[:3])


_READERS = ("networks.lora", "networks.lora_fa")


def ignored_block_args(args: Settings, module: str) -> dict[str, str]:
    """Return the block arguments that kohya itself ignores, with reasons."""
    given = [name for name in (*BLOCK_SIZES, *BLOCK_RATES) if name in args.values]
    if module not in _READERS:
        return dict.fromkeys(given, f"{module} ignores it; here `adapter.blocks` works with every kind")
    if args.given(*_TURNED_ON):
        return {}
    return dict.fromkeys(given, "kohya ignores it without block_dims or one of the lr_weight arguments")


def block_values(s: Settings, args: Settings) -> Values:
    """Return `adapter.blocks.*`; in kohya alphas default to network_alpha in every block, whatever its rank."""
    values: Values = {f"blocks.{name}": (numbers(args[name]), OF) for name in BLOCK_RATES[:3] if name in args.values}
    if "block_lr_zero_threshold" in args.values:
        values["blocks.lr_zero_threshold"] = (args["block_lr_zero_threshold"], OF)
    values |= _sizes(args, "", s["network_dim"], s["network_alpha"])
    if "conv_block_dims" in args.values:
        values |= _sizes(args, "conv_", 1, args["conv_alpha"] or 1.0)
        values["targets"] = ("full", OF)
    return values


def _sizes(args: Settings, prefix: str, rank: int, alpha: float) -> Values:
    """Return ranks and alphas of linear or convolutional layers; alpha 0 is the rank."""
    dims, alphas = (numbers(args[f"{prefix}block_{name}"]) for name in ("dims", "alphas"))
    values: Values = {}
    if dims:
        values[f"blocks.{prefix}dims"] = (dims, OF)
        alphas = alphas or [alpha] * len(dims)
    if alphas:
        ranks = dims or [rank] * len(alphas)
        values[f"blocks.{prefix}alphas"] = ([a or r or 1 for a, r in zip(alphas, ranks, strict=False)], OF)
    return values


def rotation_values(s: Settings, args: Settings, kind: str, *, lycoris: bool) -> Values:
    """Return block sizes of OFT and BOFT: network_dim is their size in LyCORIS, their number in networks.oft."""
    if kind not in ("oft", "boft"):
        return {}
    of = ("network_dim",)
    if lycoris:
        return {"block_size": (s["network_dim"], of)}
    targets = "full" if args["enable_conv"] else "attention+mlp" if args["enable_all_linear"] else "attention"
    return {
        "block_count": (s["network_dim"], of),
        "constraint": (s["network_alpha"], ("network_alpha",)),
        "targets": (targets, OF if args.given("enable_conv", "enable_all_linear") else ("network_module",)),
        "text": (False, ("network_module",)),
    }


def numbers(value: Any) -> Any:
    """Parse `2,4,8` as numbers; a word such as `cosine`, and None, are returned unchanged."""
    if value is None:
        return None
    parts: Sequence[Any] = value if isinstance(value, (list, tuple)) else str(value).split(",")
    try:
        return [int(x) if float(x) == int(float(x)) else float(x) for x in map(str, parts) if x.strip()]
    except ValueError:
        return value
