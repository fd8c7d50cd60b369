"""Facts of one adapter file, alone and beside a base model. No image is generated, and no network is built."""

from __future__ import annotations

import math
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.adapter_reader import read_adapter
from bakehouse.adapters.module_names import full_name
from bakehouse.adapters.tensor_files import Shape
from bakehouse.adapters.tensor_names import algorithm_of, families_of, guess_base
from bakehouse.core.errors import BakehouseError, UsageError, did_you_mean
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.doctor.facts import AdapterFacts, BaseFacts
from bakehouse.models.load import resolve_model
from bakehouse.models.model_facts import model_facts
from bakehouse.weights.adapter_info import AdapterInfo, adapter_info, tag_frequency
from bakehouse.weights.base_modules import BaseModel, open_base
from bakehouse.weights.convert_adapter import Convert, convert
from bakehouse.weights.dense_delta import delta_of, is_plain, matrices
from bakehouse.weights.program_support import Verdict, program_verdicts, programs

_ALL = 1_000_000
"""More tags than any header has."""
_FACTORS: Mapping[str, frozenset[str]] = {
    "LoHa": frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),
    "LoKr": frozenset({"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"}),
    "IA3": frozenset({"weight"}),
    "OFT": frozenset({"oft_blocks", "oft_diag"}),
}
"""Tensors that ΔW is a product of, where it depends on the base's weight: one of them zero, and ΔW is."""


def read_adapter_facts(path: Path, base: str | None = None) -> tuple[AdapterFacts, AdapterFile, str]:
    """Read an adapter file, beside the base model if it is known and on this machine.

    Args:
        path: a file, or a folder of diffusers or PEFT.
        base: a base model; None: the one that the header's recipe names.

    Returns:
        The facts, the file itself, and why there is no base model (empty if there is one).

    Raises:
        UsageError: it is not an adapter; or `base` is not a model, or not on this machine.
        BakehouseError: it, or `base`, is damaged.
    """
    file, info = read_adapter(path, strict=False), adapter_info(path)
    recipe = _recipe(file.metadata)
    named = base or _text(recipe, "model", "base")
    facts = AdapterFacts(
        path=str(path),
        info=info,
        families=families_of(file.modules, file.metadata),
        trained_for=guess_base(file.modules) or file.metadata.get("ss_base_model_version", ""),
        prediction=header_prediction(file.metadata),
        zero=_zero_modules(file, info),
        alpha_zero=sum(m.alpha == 0 for m in info.modules),
        tags=tag_frequency(file.metadata, _ALL),
        prefix=_text(recipe, "captions", "prefix"),
        conversions=_conversions(path, file, info, named),
    )
    if not named:
        command = f"bakehouse doctor {shlex.quote(str(path))} --base MODEL"
        return facts, file, f"the file does not name its base model: {command}"
    try:
        return replace(facts, base=_beside(file, info, named)), file, ""
    except BakehouseError as e:
        if base is not None:
            raise
        return facts, file, f"its base model {named!r} cannot be read; name it with --base MODEL ({e.message})"


def header_prediction(metadata: Mapping[str, str]) -> str:
    """Return the prediction type that a header names: `epsilon`, `v_prediction`, or nothing."""
    said = metadata.get("modelspec.prediction_type", "")
    if said in ("v", "v_prediction", "epsilon"):
        return "epsilon" if said == "epsilon" else "v_prediction"
    is_v = metadata.get("ss_base_model_version", "").endswith("_v")
    return "v_prediction" if is_v or "768-v" in metadata.get("modelspec.architecture", "") else ""


def known_program(name: str) -> str:
    """Return the name of a measured program as the measurements spell it; `kohya` is sd-scripts.

    Raises:
        UsageError: there is no such program.
    """
    names = {p.name.casefold(): p.name for p in programs()} | {"kohya": "sd-scripts"}
    found = names.get(name.casefold())
    if found is None:
        hint = f"measured are {', '.join(p.name for p in programs())}"
        raise UsageError(f"--program {name}: not a measured program{did_you_mean(name.casefold(), names)}", hint=hint)
    return found


# --- the file alone ---------------------------------------------------------------------------------------------------


def _recipe(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the recipe in a header as plain values; empty if there is none or it is damaged."""
    try:
        return parse_toml(metadata.get("bakehouse.recipe", ""))
    except ValueError:
        return {}


def _text(recipe: Mapping[str, Any], table: str, key: str) -> str:
    values = recipe.get(table)
    found = values.get(key) if isinstance(values, dict) else None
    return found if isinstance(found, str) else ""


def _zero_modules(file: AdapterFile, info: AdapterInfo) -> dict[str, tuple[int, int]]:
    """Return for each network how many modules change nothing, and of how many that is known."""
    counts: dict[str, tuple[int, int]] = {}
    for module, tensors in zip(info.modules, file.modules.values(), strict=True):
        zero = module.norm == 0 if module.norm is not None else _factor_is_zero(tensors)
        if zero is None or module.bad:
            continue
        network = module.name.partition(".")[0]
        some, known = counts.get(network, (0, 0))
        counts[network] = (some + zero, known + 1)
    return counts


def _factor_is_zero(tensors: Mapping[str, Tensor]) -> bool | None:
    """Return whether a factor of ΔW is zero; None for algorithms that are not products, and for DoRA."""
    factors = _FACTORS.get(algorithm_of(tensors), frozenset()) & tensors.keys()
    if not factors:
        return None
    alpha = tensors.get("alpha")
    scaled_off = alpha is not None and alpha.numel() == 1 and float(alpha) == 0 and "oft_blocks" not in tensors
    return scaled_off or any(not tensors[name].any() for name in factors)


# --- other programs ---------------------------------------------------------------------------------------------------


def fails(verdict: Verdict) -> bool:
    """Whether a program certainly does not load a file: a reason against it was measured."""
    return not verdict.loads and any(not reason.startswith("not measured") for reason in verdict.problems)


def _conversions(path: Path, file: AdapterFile, info: AdapterInfo, base: str) -> dict[str, str]:
    """Return for each program that fails the first command whose result it loads; each is tried before it is named."""
    failing = {v.program for v in info.loaders if fails(v)}
    found: dict[str, str] = {}
    stem = path.with_suffix("") if path.is_file() else path
    for form in ("kohya", "diffusers"):
        if left := failing - found.keys():
            out = shlex.quote(f"{stem}-{form}.safetensors")
            command = f"bakehouse weights convert {shlex.quote(str(path))} --to {form} -o {out}"
            found |= dict.fromkeys(left & _loading(file, Convert(to=form)), command)
    if left := failing - found.keys():
        options = f"--to-lora --base {shlex.quote(base or 'MODEL')} --by sv_fro=0.95"
        command = (
            f"bakehouse weights resize {shlex.quote(str(path))} {options} -o {shlex.quote(f'{stem}-lora.safetensors')}"
        )
        found |= dict.fromkeys(left & _loading_as_lora(file), command)
    return found


def _loading(file: AdapterFile, settings: Convert) -> set[str]:
    """Return the programs that load a file once it is converted; none if the format cannot hold it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "converted.safetensors"
        try:
            convert(file, out, settings)
        except BakehouseError:
            return set()
        return {v.program for v in adapter_info(out).loaders if v.loads}


def _loading_as_lora(file: AdapterFile) -> set[str]:
    """Return the programs that would load a plain LoRA of the same modules in kohya's names."""
    if all(is_plain(tensors) for tensors in file.modules.values()):
        return set()  # it is one already
    shape = Shape(torch.float16, (4, 4))
    names = ("lora_down.weight", "lora_up.weight", "alpha")
    shapes = {f"{stem}.{name}": shape for stem in file.modules for name in names}
    families = families_of(file.modules, file.metadata)
    return {v.program for v in program_verdicts(shapes, families=families)} if families else set()


# --- beside a base model ----------------------------------------------------------------------------------------------


def _beside(file: AdapterFile, info: AdapterInfo, base: str) -> BaseFacts:
    """Compare a file with a base model, module by module.

    Raises:
        UsageError: there is no such model on this machine.
        BakehouseError: the model is damaged.
    """
    where = resolve_model(base)
    if where.path is None:
        raise UsageError(f"{base} is not on this machine", hint=f"download it first: bakehouse models fetch {base}")
    settings = model_facts(where)
    missing: list[str] = []
    misfits: list[str] = []
    squares: list[tuple[float, float]] = []
    with open_base(where.path) as opened:
        for module, (stem, tensors) in zip(info.modules, file.modules.items(), strict=True):
            if opened.find(stem) is None:
                missing.append(module.name)
            elif not module.bad:
                norms = _norms(opened, file, stem, tensors, module.norm)
                (misfits.append(module.name) if norms is None else squares.append(norms))
    changed = math.fsum(a for a, _ in squares)
    whole = math.fsum(b for _, b in squares)
    return BaseFacts(
        name=base,
        family=where.family or "",
        prediction=settings.schedule.prediction if settings else "",
        missing=tuple(missing),
        misfits=tuple(misfits),
        change=math.sqrt(changed / whole) if whole > 0 else None,
    )


@torch.no_grad()
def _norms(
    base: BaseModel, file: AdapterFile, stem: str, tensors: Mapping[str, Tensor], norm: float | None
) -> tuple[float, float] | None:
    """Return the squared norms of a module's ΔW and of the base's weight; None if the shapes do not fit."""
    place = base.find(stem)
    assert place is not None
    weight = base.read(place).float()
    squared = float(weight.double().square().sum())
    if is_plain(tensors) and norm is not None:
        B, A = matrices(tensors)
        fits = B.shape[0] == weight.shape[0] and A.shape[1] == weight[0].numel()
        return (norm**2, squared) if fits else None
    try:
        delta, _ = delta_of(file, stem, weight)
    except BakehouseError:
        return None
    return float(delta.double().square().sum()), squared


def module_name(stem: str) -> str:
    """Return a module's full name; its stem if it is of an unknown network."""
    try:
        return full_name(stem)
    except UsageError:
        return stem
