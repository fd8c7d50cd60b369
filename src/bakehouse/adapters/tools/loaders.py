"""Who can load an adapter file, key by key: what each program's loader does with each spelling of a key.

A1111 from 1.9 on, ComfyUI of 2025, diffusers 0.42 with PEFT, kohya's sd-scripts with LyCORIS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bakehouse.adapters.keys import split_key
from bakehouse.adapters.tools.files import Shape

PROGRAMS = ("A1111", "ComfyUI", "diffusers", "kohya")

_LORA = frozenset({"lora_down.weight", "lora_up.weight", "alpha"})
_LYCORIS = re.compile(r"hada_|lokr_|oft_blocks|diff$|diff_b$|[ab][12]\.weight|bm\.weight|rescale|scalar|lora_mid|dora")


@dataclass(frozen=True)
class Key:
    """One key of a file: how its module is spelled, and which tensor of the algorithm it is."""

    name: str
    stem: str
    suffix: str
    spelling: str
    """`kohya`, `kohya blocks`, `lycoris`, `diffusers`, `processor`, `compvis`, `peft` or `unknown`."""


@dataclass(frozen=True)
class Verdict:
    """What a program does with a file: nothing against it, or what."""

    program: str
    loads: bool
    problems: Mapping[str, tuple[str, ...]]
    """Each reason and the keys that it is about."""

    @property
    def why(self) -> str:
        return "; ".join(f"{reason} ({len(keys)} keys)" for reason, keys in self.problems.items())


def read_key(name: str) -> Key:
    """Takes a key apart."""
    found = split_key(name)
    if found is None:
        return Key(name, name, "", "unknown")
    stem, suffix = found
    return Key(name, stem, suffix, _spelling(stem))


def _spelling(stem: str) -> str:
    if stem.startswith("lora_unet_"):
        blocks = re.match(r"lora_unet_(input_blocks|middle_block|output_blocks|time_embed_|label_emb)", stem)
        return "kohya blocks" if blocks else "kohya"
    if stem.startswith(("lora_te_", "lora_te1_", "lora_te2_")):
        return "kohya"
    for start, name in (("lycoris_", "lycoris"), ("base_model.model.", "peft"), ("diffusion_model.", "compvis")):
        if stem.startswith(start):
            return name
    if ".processor" in stem:
        return "processor"
    return "diffusers" if stem.startswith(("unet.", "text_encoder", "text_model.", "down_blocks.")) else "unknown"


def who_can_load(shapes: Mapping[str, Shape]) -> tuple[Verdict, ...]:
    """Each program's verdict on a file with these tensors."""
    keys = [read_key(name) for name in shapes]
    suffixes: dict[str, set[str]] = {}
    for key in keys:
        suffixes.setdefault(key.stem, set()).add(key.suffix)
    return tuple(_verdict(program, keys, suffixes, shapes) for program in PROGRAMS)


def _verdict(program: str, keys: list[Key], suffixes: Mapping[str, set[str]], shapes: Mapping[str, Shape]) -> Verdict:
    problems: dict[str, list[str]] = {}
    for key in keys:
        reason = objection(program, key, suffixes[key.stem], shapes[key.name])
        if reason:
            problems.setdefault(reason, []).append(key.name)
    return Verdict(program, not problems and bool(keys), {reason: tuple(names) for reason, names in problems.items()})


def objection(program: str, key: Key, siblings: set[str], shape: Shape) -> str:
    """Why a program passes over a key; empty if it takes it.

    Args:
        siblings: the suffixes of the same module's keys.
    """
    if key.spelling == "unknown":
        return "no key of an adapter"
    return _OBJECTIONS[program](key, siblings, shape)


def _a1111(key: Key, siblings: set[str], shape: Shape) -> str:
    if not key.spelling.startswith("kohya"):
        return "modules must be spelled lora_unet_... and lora_te_..."
    if "w_norm" in siblings and "b_norm" not in siblings:
        return "norms need b_norm beside w_norm"
    if "a1.weight" in siblings and "alpha" not in siblings:
        return "GLoRA needs alpha"
    return "T-LoRA is not known" if _is_tlora(key) else ""


def _comfyui(key: Key, siblings: set[str], shape: Shape) -> str:
    if key.spelling == "peft":
        return "PEFT's base_model.model... is not known"
    if key.spelling == "diffusers" and re.search(r"\.attn[12]\.to_(q|k|v|out)", key.stem):
        return "attention must be spelled with .processor, or as kohya"
    if siblings & {"on_input"} or (key.suffix == "weight" and siblings <= {"weight", "on_input"}):
        return "IA3 is not known"
    if key.suffix == "oft_blocks" and len(shape.shape) == 4 and "alpha" not in siblings:
        return "BOFT needs alpha"
    return "T-LoRA is not known" if _is_tlora(key) else ""


def _diffusers(key: Key, siblings: set[str], shape: Shape) -> str:
    if key.spelling in ("lycoris", "compvis", "peft"):
        return "load_lora_weights does not know this spelling"
    if key.suffix == "dora_scale":
        return "DoRA's dora_scale is dropped, and the picture is another"
    if key.suffix == "lora_mid.weight":
        return "Tucker cores are not known"
    return "" if key.suffix in _LORA and siblings & _LORA != {"alpha"} else "only LoRA is known"


def _kohya(key: Key, siblings: set[str], shape: Shape) -> str:
    if not key.spelling.startswith("kohya"):
        return "modules must be spelled lora_unet_... and lora_te_..."
    return "T-LoRA is not known" if _is_tlora(key) else ""


def _is_tlora(key: Key) -> bool:
    return key.suffix in ("q_layer.weight", "p_layer.weight", "lambda_layer")


def needs_lycoris(keys: Mapping[str, Shape]) -> bool:
    """Whether kohya's tools need LyCORIS beside them for this file."""
    return any(_LYCORIS.search(read_key(name).suffix) for name in keys)


_OBJECTIONS: Mapping[str, Callable[[Key, set[str], Shape], str]] = {
    "A1111": _a1111,
    "ComfyUI": _comfyui,
    "diffusers": _diffusers,
    "kohya": _kohya,
}
