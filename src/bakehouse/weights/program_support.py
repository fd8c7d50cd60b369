"""Who can load an adapter file: measured with each program's own code, module by module.

`program_support.json` holds the answers. For every form of tensors that is written here, each part of each family and
three weights, the program's loader was given a file and the weights that came out were compared with ours. Nothing here
knows a program's rules: a form, a spelling or a part without a row was not measured, and is said to be so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from bakehouse.adapters.tensor_files import Shape
from bakehouse.adapters.tensor_names import kohya_stem, split_key
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.weights.tensor_forms import PEFT_LENGTHS, form_of

Outcome = Literal["same", "at 1", "other", "none"]
"""What becomes of modules: the same weights as here, the same at weight 1 alone, other ones, or not loaded."""

FAMILIES: Mapping[str, str] = {"sd1": "SD 1", "sd2": "SD 2", "sdxl": "SDXL"}
"""The families that were measured, as the rows call them."""


@dataclass(frozen=True)
class Row:
    """One answer: what a program does with a form, or with a spelling, in some parts."""

    parts: tuple[str, ...]
    """`SD 1 UNet`, `SDXL text encoder 2`, ..."""
    outcome: Outcome
    error: tuple[float, float, float] | None
    """The largest relative error of the change at the weights 0.5, 1 and 2; None where nothing was loaded."""
    modules: tuple[str, ...]
    """Which modules, by the ends of their names; empty: all of the parts'."""

    def holds(self, part: str, module: str) -> bool:
        return part in self.parts and (not self.modules or module in self.modules)


@dataclass(frozen=True)
class Program:
    """A program and what its loader was seen to do."""

    name: str
    version: str
    forms: Mapping[str, tuple[Row, ...]]
    spellings: Mapping[str, tuple[Row, ...]]

    def form(self, form: str, part: str, module: str) -> Row | None:
        """What was measured of a form; None: nothing."""
        return next((row for row in self.forms.get(form, ()) if row.holds(part, module)), None)

    def spelling(self, spelling: str, part: str, module: str) -> Row | None:
        """What was measured of a spelling of module names; None: nothing."""
        return next((row for row in self.spellings.get(spelling, ()) if row.holds(part, module)), None)


@cache
def programs() -> tuple[Program, ...]:
    """All programs that were measured."""
    found = parse_json(files("bakehouse.weights").joinpath("program_support.json").read_text("utf-8"))
    return tuple(
        Program(name, one["version"], _rows(one["forms"]), _rows(one["spellings"])) for name, one in found.items()
    )


def _rows(table: Mapping[str, Any]) -> dict[str, tuple[Row, ...]]:
    return {
        name: tuple(
            Row(
                tuple(row["parts"]),
                row["outcome"],
                tuple(row["error"]) if "error" in row else None,
                tuple(row.get("modules", ())),
            )
            for row in rows
        )
        for name, rows in table.items()
    }


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
    """Whether every module becomes what it is here, at weight 1."""
    problems: Mapping[str, tuple[str, ...]]
    """Each reason against it and the keys that it is about."""
    limits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What is right at weight 1 and not at others."""

    @property
    def why(self) -> str:
        return "; ".join(f"{reason} ({len(keys)} keys)" for reason, keys in {**self.problems, **self.limits}.items())


def read_key(name: str) -> Key:
    """Takes a key apart."""
    found = split_key(name)
    if found is None:
        return Key(name, name, "", "unknown")
    stem, suffix = found
    # The same numbers, which programs treat otherwise than LyCORIS' name for them.
    return Key(name, stem, PEFT_LENGTHS if PEFT_LENGTHS in name else suffix, _spelling(stem))


def _spelling(stem: str) -> str:
    if stem.startswith("lora_unet_"):
        blocks = re.match(r"lora_unet_(input_blocks|middle_block|output_blocks|time_embed_|label_emb|out_\d)", stem)
        return "kohya blocks" if blocks else "kohya"
    if stem.startswith(("lora_te_", "lora_te1_", "lora_te2_")):
        return "kohya"
    for start, name in (("lycoris_", "lycoris"), ("base_model.model.", "peft"), ("diffusion_model.", "compvis")):
        if stem.startswith(start):
            return name
    if ".processor" in stem:
        return "processor"
    return "diffusers" if stem.startswith(("unet.", "text_encoder", "text_model.", "down_blocks.")) else "unknown"


def module_end(stem: str) -> str:
    """What the rows call a module: `attn1_to_k`, `mlp_fc1`, `resnets_conv1`, whatever the block; samplers in full."""
    m = re.search(r"(?:layers|transformer_blocks)_\d+_(.+)", stem)
    rest = m[1] if m else re.sub("^lora_(?:unet|te[12]?)_", "", stem)
    return re.sub(r"^(?:(?:down|up)_blocks_\d+|mid_block)_(attentions|resnets)_\d+_", r"\1_", rest)


def program_verdicts(
    shapes: Mapping[str, Shape], *, alphas: Mapping[str, float] | None = None, families: Iterable[str] = FAMILIES
) -> tuple[Verdict, ...]:
    """Each program's verdict on a file with these tensors.

    Args:
        alphas: the value of each `alpha` key that is known: OFT's is its constraint.
        families: what the file may be for; of several, each is asked.
    """
    families = tuple(families)
    modules: dict[str, list[Key]] = {}
    for name in shapes:
        key = read_key(name)
        modules.setdefault(key.stem, []).append(key)
    return tuple(_verdict(reader, modules, shapes, alphas or {}, families) for reader in programs())


def _verdict(
    reader: Program,
    modules: Mapping[str, list[Key]],
    shapes: Mapping[str, Shape],
    alphas: Mapping[str, float],
    families: tuple[str, ...],
) -> Verdict:
    found: dict[_Reason, tuple[dict[str, None], dict[str, None]]] = {}
    for keys in modules.values():
        own = {key.suffix: shapes[key.name] for key in keys}
        alpha = next((alphas.get(key.name) for key in keys if key.suffix == "alpha"), None)
        for reason, part in _reasons(reader, keys[0], form_of(own, alpha), families):
            parts, names = found.setdefault(reason, ({}, {}))
            parts.update({part: None} if part else {})
            names.update(dict.fromkeys(key.name for key in keys))
    told = {
        reason: (reason.text + (f" in the {' and '.join(p)}" if p else ""), tuple(n))
        for reason, (p, n) in found.items()
    }
    problems = dict(text for reason, text in told.items() if reason.against)
    limits = dict(text for reason, text in told.items() if not reason.against)
    return Verdict(reader.name, bool(modules) and not problems, problems, limits)


@dataclass(frozen=True)
class _Reason:
    text: str
    against: bool = True
    """Whether the file is not what it is here, at weight 1."""


def _reasons(reader: Program, key: Key, form: str, families: tuple[str, ...]) -> Iterator[tuple[_Reason, str]]:
    """What is to be said of one module, and of which part; the part is empty where it does not count."""
    if key.spelling == "unknown":
        yield _Reason("no key of an adapter"), ""
        return
    stem = kohya_stem(key.stem)
    end = module_end(stem)
    for part in (part for family in families for part in _parts(stem, family)):
        names = reader.spelling(key.spelling, part, end)
        if names is None:
            yield _Reason(f"not measured: {_SPELLED[key.spelling]}"), _short(part)
        elif names.outcome != "same":
            yield _Reason(f"does not know {_SPELLED[key.spelling]}"), ""
        elif (reason := _said(reader.form(form, part, end), form)) is not None:
            yield reason, _short(part)


_SPELLED = {
    "kohya": "all names that diffusers gives to modules",
    "kohya blocks": "block numbers",
    "lycoris": "names that begin with lycoris_",
    "diffusers": "all of diffusers' names",
    "processor": "names of attention processors",
    "compvis": "CompVis' names",
    "peft": "PEFT's names (base_model.model...)",
}


def _said(row: Row | None, form: str) -> _Reason | None:
    """What is to be said of a form; None: it is the same as here at every weight."""
    if row is None:
        return _Reason(f"not measured: {form}")
    if row.outcome == "none" or row.error is None:
        return _Reason(f"does not load {form}")
    if row.outcome == "at 1":
        return _Reason(f"at weight 1 only: {form}", against=False)
    if row.outcome == "other":
        return _Reason(f"another change ({100 * row.error[1]:.0f} % off where it was measured): {form}")
    return None


def _short(part: str) -> str:
    """The part without its family: `UNet`, `text encoder 2`."""
    return next(part.removeprefix(f"{name} ") for name in FAMILIES.values() if part.startswith(f"{name} "))


def _parts(stem: str, family: str) -> tuple[str, ...]:
    """What the rows call the part that a module is of."""
    name = FAMILIES[family]
    if not stem.startswith("lora_te"):
        return (f"{name} UNet",)
    if family != "sdxl":
        return () if stem.startswith("lora_te2_") else (f"{name} text encoder",)
    return (f"{name} text encoder {2 if stem.startswith('lora_te2_') else 1}",)
