"""Which programs can load an adapter file, as measured with each program's own loader, module by module.

`program_support.json` holds the measurements. For every tensor form that is written here, each network of each family
and three strengths, the program's loader was given a file and the resulting weights were compared with ours. Rules of
programs are not coded here: a form, spelling or network without a measurement is reported as not measured.
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
from bakehouse.core.message_text import counted
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.weights.tensor_form import PEFT_LENGTHS, form_of

Outcome = Literal["same", "at 1", "other", "none"]
"""Result of loading: the same weights as here, the same only at strength 1, other weights, or not loaded."""

FAMILIES: Mapping[str, str] = {"sd1": "SD 1", "sd2": "SD 2", "sdxl": "SDXL"}
"""The measured families and their names in the rows."""


@dataclass(frozen=True)
class Row:
    """One measurement: what a program does with a form, or with a spelling, in some networks."""

    parts: tuple[str, ...]
    """`SD 1 UNet`, `SDXL text encoder 2`, ..."""
    outcome: Outcome
    error: tuple[float, float, float] | None
    """The largest relative error of the change at strengths 0.5, 1 and 2; None if nothing was loaded."""
    modules: tuple[str, ...]
    """The ends of module names that it holds for; empty: all."""

    def holds(self, part: str, module: str) -> bool:
        return part in self.parts and (not self.modules or module in self.modules)


@dataclass(frozen=True)
class Program:
    """A program and the measurements of its loader."""

    name: str
    version: str
    forms: Mapping[str, tuple[Row, ...]]
    spellings: Mapping[str, tuple[Row, ...]]

    def form(self, form: str, part: str, module: str) -> Row | None:
        """Return the measurement of a form, if there is one."""
        return next((row for row in self.forms.get(form, ()) if row.holds(part, module)), None)

    def spelling(self, spelling: str, part: str, module: str) -> Row | None:
        """Return the measurement of a spelling of module names, if there is one."""
        return next((row for row in self.spellings.get(spelling, ()) if row.holds(part, module)), None)


@cache
def programs() -> tuple[Program, ...]:
    """Return all measured programs."""
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
    """One key of a file: the spelling of its module and the name of the tensor in it."""

    name: str
    stem: str
    suffix: str
    spelling: str
    """`kohya`, `kohya blocks`, `lycoris`, `diffusers`, `processor`, `compvis`, `peft` or `unknown`."""


@dataclass(frozen=True)
class Verdict:
    """Whether a program loads a file, with reasons."""

    program: str
    loads: bool
    """Whether every module has the same effect as here at strength 1."""
    problems: Mapping[str, tuple[str, ...]]
    """Each reason against it with the affected keys."""
    limits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What is correct at strength 1 only, with the affected keys."""

    @property
    def why(self) -> str:
        return "; ".join(
            f"{reason} ({counted(len(keys), 'key')})" for reason, keys in {**self.problems, **self.limits}.items()
        )


def read_key(name: str) -> Key:
    """Split a key into module and tensor."""
    found = split_key(name)
    if found is None:
        return Key(name, name, "", "unknown")
    stem, suffix = found
    # Programs treat PEFT's name differently from LyCORIS' name of the same tensor.
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
    """Return a module's name in the rows: `attn1_to_k`, `mlp_fc1`, `resnets_conv1` in any block; samplers in full."""
    m = re.search(r"(?:layers|transformer_blocks)_\d+_(.+)", stem)
    rest = m[1] if m else re.sub("^lora_(?:unet|te[12]?)_", "", stem)
    return re.sub(r"^(?:(?:down|up)_blocks_\d+|mid_block)_(attentions|resnets)_\d+_", r"\1_", rest)


def program_verdicts(
    shapes: Mapping[str, Shape], *, alphas: Mapping[str, float] | None = None, families: Iterable[str] = FAMILIES
) -> tuple[Verdict, ...]:
    """Return each program's verdict on a file with these tensors.

    Args:
        alphas: the values of `alpha` keys, as far as known; OFT's is its constraint.
        families: the families that the file may be for; all are checked.
    """
    families = tuple(families)
    modules: dict[str, list[Key]] = {}
    for name in shapes:
        key = read_key(name)
        modules.setdefault(key.stem, []).append(key)
    return tuple(_verdict(program, modules, shapes, alphas or {}, families) for program in programs())


def _verdict(
    program: Program,
    modules: Mapping[str, list[Key]],
    shapes: Mapping[str, Shape],
    alphas: Mapping[str, float],
    families: tuple[str, ...],
) -> Verdict:
    found: dict[_Reason, tuple[dict[str, None], dict[str, None]]] = {}
    for keys in modules.values():
        own = {key.suffix: shapes[key.name] for key in keys}
        alpha = next((alphas.get(key.name) for key in keys if key.suffix == "alpha"), None)
        for reason, part in _reasons(program, keys[0], form_of(own, alpha), families):
            parts, names = found.setdefault(reason, ({}, {}))
            parts.update({part: None} if part else {})
            names.update(dict.fromkeys(key.name for key in keys))
    told = {
        reason: (reason.text + (f" in the {' and '.join(p)}" if p else ""), tuple(n))
        for reason, (p, n) in found.items()
    }
    problems = dict(text for reason, text in told.items() if reason.against)
    limits = dict(text for reason, text in told.items() if not reason.against)
    return Verdict(program.name, bool(modules) and not problems, problems, limits)


@dataclass(frozen=True)
class _Reason:
    text: str
    against: bool = True
    """Whether the effect differs from here at strength 1."""


def _reasons(program: Program, key: Key, form: str, families: tuple[str, ...]) -> Iterator[tuple[_Reason, str]]:
    """Yield the reasons concerning one module, each with its network; empty if it does not matter."""
    if key.spelling == "unknown":
        yield _Reason("not a key of an adapter"), ""
        return
    stem = kohya_stem(key.stem)
    end = module_end(stem)
    for part in (part for family in families for part in _parts(stem, family)):
        names = program.spelling(key.spelling, part, end)
        if names is None:
            yield _Reason(f"not measured: {_SPELLED[key.spelling]}"), _short(part)
        elif names.outcome != "same":
            yield _Reason(f"does not know {_SPELLED[key.spelling]}"), ""
        elif (reason := _form_reason(program.form(form, part, end), form)) is not None:
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


def _form_reason(row: Row | None, form: str) -> _Reason | None:
    """Return the reason concerning a form; None: the same as here at every strength."""
    if row is None:
        return _Reason(f"not measured: {form}")
    if row.outcome == "none" or row.error is None:
        return _Reason(f"does not load {form}")
    if row.outcome == "at 1":
        return _Reason(f"correct at strength 1 only: {form}", against=False)
    if row.outcome == "other":
        return _Reason(f"another change (measured error {100 * row.error[1]:.0f} %): {form}")
    return None


def _short(part: str) -> str:
    """Return the network without its family: `UNet`, `text encoder 2`."""
    return next(part.removeprefix(f"{name} ") for name in FAMILIES.values() if part.startswith(f"{name} "))


def _parts(stem: str, family: str) -> tuple[str, ...]:
    """Return the names in the rows of the network that a module is in."""
    name = FAMILIES[family]
    if not stem.startswith("lora_te"):
        return (f"{name} UNet",)
    if family != "sdxl":
        return () if stem.startswith("lora_te2_") else (f"{name} text encoder",)
    return (f"{name} text encoder {2 if stem.startswith('lora_te2_') else 1}",)
