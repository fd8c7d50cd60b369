"""Conversion of `network_module` and its arguments, LyCORIS' included, or of full fine-tuning, to `[adapter]`."""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from bakehouse.adapters import AdapterSpec, NetworkSpec
from bakehouse.adapters.adapter import AdapterSpecBase
from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.common import key_values
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.kohya_blocks import (
    BLOCK_RATES,
    BLOCK_SIZES,
    OF,
    Values,
    block_values,
    ignored_block_args,
    rotation_values,
)
from bakehouse.recipe.importers.kohya_rates import is_embedding, is_full, trained_parts, trained_parts_of_full
from bakehouse.recipe.importers.option_table import (
    Assignment,
    GivenValue,
    Option,
    Outcome,
    Settings,
    converts,
    sets,
    table,
    unset_options,
)

ALGORITHMS: Mapping[str, str] = {
    "lora": "lora",
    "locon": "lora",
    "loha": "loha",
    "lokr": "lokr",
    "ia3": "ia3",
    "dylora": "dylora",
    "diag-oft": "oft",
    "boft": "boft",
    "glora": "glora",
    "full": "diff",
}
"""LyCORIS' names of algorithms and ours."""

MODULES: Mapping[str, str] = {
    "networks.lora": "lora",
    "networks.lora_fa": "lora",
    "networks.dylora": "dylora",
    "networks.oft": "oft",
    "networks.loha": "loha",
    "networks.lokr": "lokr",
    "lycoris.kohya": "lora",
    "locon.locon_kohya": "lora",
}
"""kohya's modules, and the algorithm that each trains by default."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "full": {"targets": "full"},
    "full-lin": {"targets": "full", "exclude": ["*.conv1", "*.conv2", "*samplers*"]},
    "attn-mlp": {"targets": "attention+mlp"},
    "attn-only": {"targets": "attention"},
    "unet-only": {"targets": "full", "text": False},
    "unet-transformer-only": {"targets": "attention+mlp", "text": False},
    "unet-convblock-only": {"targets": "full", "text": False, "include": ["*resnets*", "*samplers*"]},
    "ia3": {},
}
"""LyCORIS' presets; files of presets are not read."""

NETWORK_ARGS: dict[str, Option] = table(
    sets("algo", "text", "adapter.kind", how="LyCORIS' algorithm"),
    sets("preset", "text", "adapter.targets", how="LyCORIS' preset; `full` if not given"),
    sets("conv_dim", "int", "adapter.conv_rank", how='with targets = "full"; 0: without convolutions'),
    sets("conv_alpha", "float", "adapter.conv_alpha", how="1 if not given; network_alpha with LyCORIS"),
    sets("dropout", "float", "adapter.dropout"),
    sets("rank_dropout", "float", "adapter.rank_dropout"),
    sets("module_dropout", "float", "adapter.module_dropout"),
    sets("use_tucker", "flag", "adapter.tucker"),
    sets("use_cp", "flag", "adapter.tucker", how="the old name of use_tucker"),
    sets("use_conv_cp", "flag", "adapter.tucker", how="the old name of use_tucker"),
    sets("block_size", "int", "adapter.unit", how="for DyLoRA; OFT and BOFT use network_dim as block size"),
    sets("factor", "int", "adapter.factor"),
    sets("decompose_both", "flag", "adapter.decompose_both"),
    sets("full_matrix", "flag", "adapter.full_matrix"),
    sets("unbalanced_factorization", "flag", "adapter.unbalanced_factorization"),
    sets("constraint", "float", "adapter.constraint"),
    sets("constrain", "float", "adapter.constraint", how="the old name of constraint"),
    sets("rescaled", "flag", "adapter.rescaled"),
    sets("train_norm", "flag", "adapter.train_norm"),
    sets("dora_wd", "flag", "adapter.dora"),
    sets("wd_on_output", "flag", "adapter.wd_on_output", default=True),
    sets("rs_lora", "flag", "adapter.rs_lora"),
    sets("unit", "int", "adapter.unit"),
    sets("block_dims", "any", "adapter.blocks.dims", how="required by the others: see below the table"),
    sets("block_alphas", "any", "adapter.blocks.alphas", how="network_alpha in every block if not given"),
    sets("conv_block_dims", "any", "adapter.blocks.conv_dims", how='with targets = "full"'),
    sets("conv_block_alphas", "any", "adapter.blocks.conv_alphas", how="conv_alpha or 1 if not given"),
    sets("down_lr_weight", "any", "adapter.blocks.down_lr_weight"),
    sets("mid_lr_weight", "any", "adapter.blocks.mid_lr_weight"),
    sets("up_lr_weight", "any", "adapter.blocks.up_lr_weight"),
    sets("block_lr_zero_threshold", "float", "adapter.blocks.lr_zero_threshold"),
    sets("loraplus_lr_ratio", "float", "adapter.lora_plus_ratio"),
    sets("loraplus_unet_lr_ratio", "float", "adapter.lora_plus_ratio", how="UNet and text encoder share one ratio"),
    sets(
        "loraplus_text_encoder_lr_ratio",
        "float",
        "adapter.lora_plus_ratio",
        how="UNet and text encoder share one ratio",
    ),
    sets("enable_all_linear", "flag", "adapter.targets", how="with networks.oft: `attention+mlp`"),
    sets("enable_conv", "flag", "adapter.targets", how="with networks.oft: `full`"),
    *unset_options("network_args"),
)
"""Arguments of kohya's networks and of LyCORIS."""


def kinds() -> dict[str, type[AdapterSpecBase]]:
    """Return the recipe's kinds of adapters and their settings."""
    specs = typing.get_args(typing.get_args(AdapterSpec)[0])
    return {spec.model_fields["kind"].default: spec for spec in specs}


@converts("max_grad_norm", "fused_backward_pass")
def clipping(s: Settings) -> Iterator[Outcome]:
    """Convert max_grad_norm; with the fused backward pass kohya clips each tensor by itself."""
    fused = bool(s["fused_backward_pass"])
    if not (fused and is_full(s)):
        yield s.assign("train.max_grad_norm", "max_grad_norm")
        if fused:
            yield s.note(
                "fused_backward_pass", "no effect", "only for full fine-tuning; an adapter's gradients are small"
            )
        return
    yield Assignment("train.fused_backward", True, ("fused_backward_pass",))
    yield Assignment("train.max_grad_norm", 0.0, ("fused_backward_pass",))
    if s.given("max_grad_norm") and s["max_grad_norm"]:
        yield s.note(
            "max_grad_norm",
            "unsupported",
            "kohya clips each tensor by itself; with train.fused_backward nothing is clipped",
        )


@converts(
    *("script", "network_module", "network_dim", "network_alpha", "network_dropout", "network_args"),
    *("network_train_unet_only", "network_train_text_encoder_only", "scale_weight_norms"),
    *("train_text_encoder", "stop_text_encoder_training"),
)
def network(s: Settings) -> Iterator[Outcome]:
    """Convert the network's options to `[adapter]`."""
    if is_embedding(s):
        return
    if is_full(s):
        yield from trained_parts_of_full(s)
        return
    args = Settings(NETWORK_ARGS, _given(s), trainer="LyCORIS", folder=s.folder)
    yield from args.notes
    module = s["network_module"] or "networks.lora"
    algorithm = str(args["algo"] or "").lower()
    kind = ALGORITHMS.get(algorithm) if algorithm else MODULES.get(module)
    if kind not in kinds():
        asked, known = (f"algo={algorithm}", ALGORITHMS) if algorithm else (f"network_module = {module!r}", MODULES)
        hint = f"supported are {', '.join(known)}; replace it to import the rest"
        raise UsageError(f"{asked} is not supported", hint=hint)
    quiet = {item.source_key for item in args.raw.values() if item.quiet}
    outcomes = _adapter_values(s, args, kind, lycoris=not module.startswith("networks."))
    yield from (o for o in outcomes if not (isinstance(o, Note) and o.key in quiet))


def _given(s: Settings) -> dict[str, GivenValue]:
    """Return `network_args` by name."""
    said = s.source_key("network_args")
    if isinstance(args := s["network_args"], Mapping) and all(isinstance(v, GivenValue) for v in args.values()):
        return dict(args)
    return {k: GivenValue(v, f"{said} {k}") for k, v in key_values(s["network_args"]).items() if v is not None}


def _adapter_values(s: Settings, args: Settings, kind: str, *, lycoris: bool) -> Iterator[Outcome]:
    """Yield the adapter's settings, and notes on given options that its kind does not have."""
    unet, text = trained_parts(s)
    named = str(args["preset"] or "full")
    preset = dict(PRESETS.get(named, {})) if lycoris else {}
    if lycoris and named not in PRESETS:
        yield args.note(
            "preset",
            "unsupported",
            f"presets are {', '.join(PRESETS)}; set adapter.targets, include and exclude instead",
        )
    values: Values = {
        "rank": (s["network_dim"], ("network_dim",)),
        "alpha": (s["network_alpha"] or s["network_dim"], ("network_alpha",)),
        **({} if unet else {"unet": (False, ("network_train_text_encoder_only", "unet_lr"))}),
        "text": (text, ("network_train_unet_only", "text_encoder_lr")),
        "targets": ("attention+mlp", ("network_module",)),
    }
    values |= {k: (v, ("network_args",)) for k, v in preset.items() if k != "text" or values["text"][0]}
    if s["network_dropout"]:
        values["dropout"] = (s["network_dropout"], ("network_dropout",))
    if s["scale_weight_norms"]:
        values["max_norm"] = (s["scale_weight_norms"], ("scale_weight_norms",))
    if s["network_module"] == "networks.lora_fa":
        values["lora_fa"] = (True, ("network_module",))
    values |= _convolutions(s, args, lycoris=lycoris)
    values |= _lora_plus(args, unet=unet, text=values["text"][0])
    yield from _uneven_lora_plus(args, unet=unet, text=values["text"][0])
    passed = ignored_block_args(args, s["network_module"] or "networks.lora")
    values |= {} if passed else block_values(s, args)
    if args["dora_wd"]:
        # LyCORIS measures outputs unless told otherwise, a recipe inputs.
        values["wd_on_output"] = (args["wd_on_output"], OF)
    elif "wd_on_output" in args.values:
        passed = {**passed, "wd_on_output": "only for DoRA, and dora_wd is off"}
    values |= rotation_values(s, args, kind, lycoris=lycoris)
    yield from (args.note(name, "no effect", why, off=args.is_off(name)) for name, why in passed.items())
    yield from _extra(s, args, kind, values, done=passed.keys())


def _convolutions(s: Settings, args: Settings, *, lycoris: bool) -> Values:
    """Return the settings of 3x3 convolutions: kohya adapts them if conv_dim is given, LyCORIS unless it is 0."""
    rank = args["conv_dim"]
    if lycoris and rank == 0:
        return {"targets": ("attention+mlp", OF)}
    if lycoris and (args["preset"] or "full") not in ("full", "unet-only", "unet-convblock-only"):
        return {}
    if rank is None:
        return {}
    alpha = args["conv_alpha"] or (s["network_alpha"] if lycoris else 1.0)
    return {"targets": ("full", OF), "conv_rank": (rank, OF), "conv_alpha": (alpha, OF)}


def _lora_plus(args: Settings, *, unet: bool, text: bool) -> Values:
    """Return one LoRA+ ratio for all trained parts: the UNet's own, else the general one."""
    if not args.given(*LORA_PLUS):
        return {}
    ratio = args[f"loraplus_{'unet' if unet else 'text_encoder'}_lr_ratio"] or args["loraplus_lr_ratio"]
    return {"lora_plus_ratio": (ratio or 1.0, OF)}


def _uneven_lora_plus(args: Settings, *, unet: bool, text: bool) -> Iterator[Outcome]:
    """Yield a note if UNet and text encoder have different LoRA+ ratios in kohya."""
    general = args["loraplus_lr_ratio"]
    of_parts = [args["loraplus_unet_lr_ratio"] or general, args["loraplus_text_encoder_lr_ratio"] or general]
    if unet and text and of_parts[0] != of_parts[1]:
        name = next(n for n in reversed(LORA_PLUS) if args.given(n))
        shown = " and ".join(f"{r or 1:g}" for r in of_parts)
        yield args.note(
            name, "unsupported", f"UNet and text encoder share one ratio: {of_parts[0] or 1:g}, not {shown}"
        )


LORA_PLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
_HANDLED = (
    *LORA_PLUS,
    "algo",
    "preset",
    "conv_dim",
    "conv_alpha",
    *BLOCK_SIZES,
    *BLOCK_RATES,
    "enable_all_linear",
    "enable_conv",
)


def _extra(s: Settings, args: Settings, kind: str, values: Values, done: Collection[str]) -> Iterator[Outcome]:
    """Yield the algorithm's own arguments, and notes on those that its kind lacks; those in `done` have notes."""
    spec = kinds()[kind]
    unsupported = spec.unsupported() if issubclass(spec, NetworkSpec) else frozenset()
    known = set(spec.model_fields) - unsupported
    for name in args.values:
        option = args.options[name]
        if name in done or (name == "preset" and args[name] not in PRESETS):
            continue
        if name in _HANDLED:
            yield args.note(name, "set", "", sets=option.sets, off=args.is_off(name))
        elif option.status != "set":
            yield args.note(name, option.status, option.how, off=args.is_off(name))
        elif not option.sets[0].startswith("adapter."):
            yield Assignment(option.sets[0], args[name], OF)
        elif (field := option.sets[0].removeprefix("adapter.")).split(".")[0] in known:
            values[field] = (args[name], OF)
            yield args.note(name, "set", "", sets=option.sets, off=args.is_off(name))
        else:
            yield args.note(name, "no effect", f"adapter.kind = {kind!r} has no {field}", off=args.is_off(name))
    yield Assignment("adapter.kind", kind, ("network_module", "network_args"))
    for field, (value, of) in values.items():
        if field.split(".")[0] in known:
            yield Assignment(f"adapter.{field}", value, of)
        elif s.given(*of) and of != OF and not _decided_another(field, of, values):
            yield s.note(of[0], "no effect", f"adapter.kind = {kind!r} has no {field}")


def _decided_another(field: str, of: tuple[str, ...], values: Values) -> bool:
    """Whether an option that sets nothing in this kind by this name sets another setting."""
    return any(other != field and whose == of for other, (_, whose) in values.items())
