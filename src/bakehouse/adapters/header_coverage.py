"""Coverage of the settings in kohya's and LyCORIS' headers (`ss_network_args`).

Nearly all describe the training, or follow from the tensors' shapes. Others are listed as not applied.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping

from bakehouse.adapters.file_coverage import Coverage, UnappliedItem
from bakehouse.core.parse_json_toml_yaml import parse_json

_NOT_NEEDED = frozenset(
    {"algo", "preset", "conv_dim", "conv_alpha", "conv_lora_dim", "linear_dim", "linear_alpha", "dropout",
     "rank_dropout", "rank_dropout_scale", "module_dropout",
     "use_tucker", "use_cp", "use_conv_cp", "disable_conv_cp", "use_scalar",
     "block_size", "block_count", "unit", "prefix_scale", "train_norm", "decompose_both", "factor", "constraint",
     "rescaled", "unbalanced_factorization", "dora_wd", "weight_decompose", "wd_on_output", "wd_on_out", "bypass_mode",
     "full_matrix", "rs_lora", "lora_fa", "dims", "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas",
     "down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold", "loraplus_lr_ratio",
     "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio", "ggpo_beta", "ggpo_sigma", "verbose",
     "train_t5xxl", "split_qkv", "in_dims", "train_double_block_indices", "train_single_block_indices",
     "enable_conv", "only_if_contains", "reg_dims", "reg_lrs", "exclude_patterns", "include_patterns", "dtype"}
)  # fmt: skip
"""Arguments that only describe the training, or that follow from the tensors."""


def network_args(metadata: Mapping[str, str]) -> dict[str, object]:
    """Return the network's arguments, a dict in Python's or JSON's syntax; empty if unreadable."""
    text = metadata.get("ss_network_args", "{}")
    try:
        args = parse_json(text)
    except ValueError:
        try:
            args = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return {}
    return args if isinstance(args, dict) else {}


def coverage_of_header(metadata: Mapping[str, str], suffixes: Collection[str]) -> Coverage:
    """Return the arguments that are not applied: LyCORIS' rsLoRA on GLoRA, and unknown ones.

    Args:
        suffixes: the names of the file's tensors inside their modules.
    """
    args = network_args(metadata)
    entries = []
    if str(args.get("rs_lora", "")).lower() == "true" and "a1.weight" in suffixes:
        entries.append(
            UnappliedItem(
                "ss_network_args rs_lora = True", "carried",
                "LyCORIS trains GLoRA with alpha / sqrt(rank), and writes an alpha that every program, even itself, "
                "reads as alpha / rank; strength sqrt(rank) is what was trained",
            )
        )  # fmt: skip
    entries += [
        UnappliedItem(f"ss_network_args {name} = {value!r}", "carried", "an unknown argument of the training")
        for name, value in args.items()
        if name not in _NOT_NEEDED and value not in (None, "", "None", "False", False)
    ]
    return Coverage(tuple(entries))
