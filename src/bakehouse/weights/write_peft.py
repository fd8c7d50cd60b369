"""LoRA and DoRA in PEFT's format: tensor names and adapter_config.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.layer import BIAS
from bakehouse.adapters.module_names import PARTS, dotted, part_of
from bakehouse.adapters.tensor_names import algorithm_of
from bakehouse.weights.dense_delta import PLAIN, is_plain, matrices, scale_of

LENGTHS = "dora_scale"
"""DoRA's magnitudes as kohya's and LyCORIS' files call them; PEFT: `lora_magnitude_vector`."""
_HOLDS = PLAIN | {LENGTHS}

Modules = Mapping[str, Mapping[str, Tensor]]


def is_lora(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether a module's tensors are LoRA's or LoCon's, with DoRA or without."""
    return is_plain({name: t for name, t in tensors.items() if name != LENGTHS})


def module_tensors(name: str, tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Return a module's tensors by PEFT's names.

    Args:
        name: the module's name, with which the keys begin.
        keep: alpha is in the settings; False: B is multiplied by alpha / rank.
    """
    down, up = pair(tensors, keep=keep)
    made = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    if BIAS in tensors:
        # PEFT's bias of B counts alpha / rank times, as B does.
        bias, scale = tensors[BIAS], scale_of(tensors) if keep else 1.0
        made[f"{name}.lora_B.bias"] = bias if scale == 1.0 else (bias.float() / scale).to(bias.dtype)
    if LENGTHS in tensors:
        kernel = (1,) * (up.ndim - 2)
        shape = (1, -1, *kernel) if kernel else (-1,)
        made[f"{name}.lora_magnitude_vector"] = tensors[LENGTHS].reshape(shape)
    return made


def pair(tensors: Mapping[str, Tensor], *, keep: bool) -> tuple[Tensor, Tensor]:
    """Return A and B, with a Tucker core in A, and without `keep` with alpha / rank in B."""
    down, up = tensors["lora_down.weight"], tensors["lora_up.weight"]
    if "lora_mid.weight" in tensors:
        core = tensors["lora_mid.weight"]
        down = matrices(tensors)[1].reshape(core.shape[0], down.shape[1], *core.shape[2:]).to(down.dtype)
    return down, up if keep else baked(tensors)["lora_up.weight"]


def baked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with alpha / rank multiplied into B and no alpha; other algorithms are unchanged."""
    if not is_lora(tensors):
        return dict(tensors)
    up = tensors["lora_up.weight"]
    return {
        **{k: v for k, v in tensors.items() if k != "alpha"},
        "lora_up.weight": (up.float() * scale_of(tensors)).to(up.dtype),
    }


def settings_of(file: AdapterFile, *, keep: bool) -> dict[str, dict[str, Any]]:
    """Return PEFT's LoraConfig of each network: the most frequent rank and alpha, and patterns for others."""
    return {part: _config(modules, keep=keep) for part, modules in by_part(file.modules).items()}


def by_part(modules: Modules) -> dict[str, dict[str, Mapping[str, Tensor]]]:
    """Return the modules of each network, by the network's name in diffusers and kohya's stems."""
    found: dict[str, dict[str, Mapping[str, Tensor]]] = {}
    for stem, tensors in modules.items():
        found.setdefault(PARTS[part_of(stem)[0]], {})[stem] = tensors
    return found


_TEXT_MODEL = "text_model."
"""How transformers before 5.6 begins the names of a text encoder's modules; without it a name is the end of both."""
_LAYERS = "encoder.layers."


def _pattern(name: str) -> str:
    return name if name.startswith(_LAYERS) else f"^{name}"


def _config(modules: Modules, *, keep: bool) -> dict[str, Any]:
    names = {stem: dotted(stem).removeprefix(_TEXT_MODEL) for stem in modules}
    ranks = {names[stem]: int(t["lora_down.weight"].shape[0]) for stem, t in modules.items()}
    alphas = {names[stem]: (scale_of(t) if keep else 1.0) * ranks[names[stem]] for stem, t in modules.items()}
    rank, alpha = max(ranks.values(), key=[*ranks.values()].count), max(alphas.values(), key=[*alphas.values()].count)
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        # Anchored: PEFT matches a pattern at the end of a name, and short names are the end of longer ones.
        "rank_pattern": {_pattern(name): r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {_pattern(name): a for name, a in alphas.items() if a != alpha},
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": any(LENGTHS in tensors for tensors in modules.values()),
        "lora_bias": any(BIAS in tensors for tensors in modules.values()),
        "init_lora_weights": True,
    }


def lost_in_peft(modules: Modules) -> Iterator[str]:
    """Yield what PEFT's LoRA cannot hold: a line for each module or network."""
    for stem, tensors in modules.items():
        if not is_lora(tensors):
            foreign = [name for name in tensors if name not in _HOLDS]
            yield f"{stem}: {', '.join(foreign or tensors)} ({algorithm_of(tensors)})"
    dora = {stem: t for stem, t in modules.items() if is_lora(t) and LENGTHS in t}
    by_input = [stem for stem, t in dora.items() if not _is_by_output(t)]
    if by_input:
        yield (
            f"DoRA by input ({len(by_input)} modules, first {by_input[0]}): PEFT holds one magnitude for each output "
            "of a module, this file one for each input"
        )
    biased = [stem for stem, t in dora.items() if BIAS in t]
    if biased:
        yield f"DoRA with a bias ({len(biased)} modules, first {biased[0]}): PEFT has no bias beside DoRA"
    for part, own in by_part(modules).items():
        without = [stem for stem, t in own.items() if is_plain(t)]
        if without and own.keys() & dora.keys():
            yield (
                f"DoRA in some modules of {part} alone ({len(without)} of {len(own)} have none, first {without[0]}): "
                "PEFT's use_dora is for all modules of a network"
            )


def is_dora(modules: Modules) -> bool:
    """Return whether a file has DoRA over LoRA."""
    return any(is_lora(t) and LENGTHS in t for t in modules.values())


def _is_by_output(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether DoRA's magnitudes are one for each output: [out, 1, ...]."""
    lengths, outs = tensors[LENGTHS], tensors["lora_up.weight"].shape[0]
    return lengths.numel() == outs and lengths.shape[0] == outs
