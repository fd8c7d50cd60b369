"""Who can load an adapter file: measured with each program's own code, module by module.

`readers.json` holds the answers. For every form of tensors that is written here, each part of each family and three
weights, the program's loader was given a file and the weights that came out were compared with ours. Nothing here knows
a program's rules: a form, a spelling or a part without a row was not measured, and is said to be so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from bakehouse.adapters.keys import kohya_stem, split_key
from bakehouse.adapters.tools.files import Shape
from bakehouse.adapters.tools.forms import form_of

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
class Reader:
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
def readers() -> tuple[Reader, ...]:
    """All programs that were measured."""
    found = json.loads(files("bakehouse.adapters.tools").joinpath("readers.json").read_text("utf-8"))
    return tuple(
        Reader(name, one["version"], _rows(one["forms"]), _rows(one["spellings"])) for name, one in found.items()
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
    return Key(name, stem, suffix, _spelling(stem))


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


def who_can_load(
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
    found = []
    for reader in readers():
        problems: dict[str, list[str]] = {}
        limits: dict[str, list[str]] = {}
        for keys in modules.values():
            own = {key.suffix: shapes[key.name] for key in keys}
            alpha = next(((alphas or {}).get(k.name) for k in keys if k.suffix == "alpha"), None)
            for hard, reason in _reasons(reader, keys[0], form_of(own, alpha), families):
                (problems if hard else limits).setdefault(reason, []).extend(key.name for key in keys)
        loads = bool(modules) and not problems
        found.append(Verdict(reader.name, loads, _frozen(problems), _frozen(limits)))
    return tuple(found)


def _frozen(reasons: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {reason: tuple(dict.fromkeys(names)) for reason, names in reasons.items()}


def _reasons(reader: Reader, key: Key, form: str, families: tuple[str, ...]) -> Iterator[tuple[bool, str]]:
    """What is to be said of one module, and whether it is against the file."""
    if key.spelling == "unknown":
        yield True, "no key of an adapter"
        return
    stem = kohya_stem(key.stem)
    end = module_end(stem)
    found: dict[tuple[bool, str], None] = {}
    for part in (part for family in families for part in _parts(stem, family)):
        names = reader.spelling(key.spelling, part, end)
        if names is None:
            found[True, f"{_SPELLED[key.spelling]} in the {_short(part)}: not measured"] = None
        elif names.outcome != "same":
            found[True, f"{_SPELLED[key.spelling]} are not known"] = None
        elif (reason := _said(reader.form(form, part, end), form, _short(part))) is not None:
            found[reason] = None
    yield from found


_SPELLED = {
    "kohya": "some names that diffusers gives to modules",
    "kohya blocks": "block numbers",
    "lycoris": "names that begin with lycoris_",
    "diffusers": "some of diffusers' names",
    "processor": "names of attention processors",
    "compvis": "CompVis' names",
    "peft": "PEFT's names (base_model.model...)",
}


def _said(row: Row | None, form: str, part: str) -> tuple[bool, str] | None:
    """What is to be said of a form in a part, and whether it is against the file."""
    if row is None:
        return True, f"{form} in the {part}: not measured"
    if row.outcome == "none":
        return True, f"{form} in the {part} is not loaded"
    if row.outcome == "same" or row.error is None:
        return None
    if row.outcome == "at 1":
        return False, f"{form} in the {part} is right at weight 1 only"
    return True, f"{form} in the {part} becomes another change, up to {100 * row.error[1]:.0f} % off"


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
