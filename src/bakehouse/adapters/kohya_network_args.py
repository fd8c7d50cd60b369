"""The settings in kohya's and LyCORIS' headers (`ss_network_args`): what they change in a finished file.

Nearly all say how something was trained, or what the shapes tell as well. Those that do not are named.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping

from bakehouse.adapters.file_coverage import Coverage, UnappliedItem
from bakehouse.core.json_toml_yaml import parse_json

_TOLD = frozenset(
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
"""Arguments that say how a file was trained, or that its tensors tell as well."""


def network_args(metadata: Mapping[str, str]) -> dict[str, object]:
    """The network's own arguments, of which trainers write a dict in Python's or JSON's words; empty if unreadable."""
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
    """The arguments that are not applied: LyCORIS' rsLoRA where its files do not hold it, and unknown ones.

    Args:
        suffixes: the names of the file's tensors inside their modules.
    """
    args = network_args(metadata)
    entries = []
    if str(args.get("rs_lora", "")).lower() == "true" and "a1.weight" in suffixes:
        entries.append(
            UnappliedItem(
                "ss_network_args rs_lora = True", "carried",
                "LyCORIS trains GLoRA at alpha / sqrt(rank) then, and writes an alpha that every reader, itself "
                "included, counts as alpha / rank; a weight of sqrt(rank) is what was trained",
            )
        )  # fmt: skip
    entries += [
        UnappliedItem(
            f"ss_network_args {name} = {value!r}", "carried", "an argument of the training that is not known here"
        )
        for name, value in args.items()
        if name not in _TOLD and value not in (None, "", "None", "False", False)
    ]
    return Coverage(tuple(entries))
