"""Extraction of a LoRA: a low-rank approximation of the difference between a fine-tuned model and its base."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from bakehouse.adapters.file_metadata import VERSIONS, model_spec
from bakehouse.adapters.module_names import full_name
from bakehouse.adapters.tensor_files import check_output_path
from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent, Progress
from bakehouse.core.message_text import counted
from bakehouse.core.settings import Spec
from bakehouse.dtypes import DTYPES
from bakehouse.weights.adapter_writer import network_header, write_adapter
from bakehouse.weights.base_modules import BaseModel, open_base
from bakehouse.weights.dense_delta import lora_tensors
from bakehouse.weights.rank_selection import RankRule, reduce, split
from bakehouse.weights.result import ModuleResult, Result
from bakehouse.weights.svd import Method


class Extract(Spec):
    """Settings of the extraction."""

    linear: RankRule = RankRule(rank=32)
    """Rank of linear maps."""
    conv: RankRule | None = None
    """The same for 3x3 convolutions (LoCon); unset: attention blocks only, as kohya."""
    unet: bool = True
    """Extract the denoising network."""
    text: bool = True
    """Extract the text encoders."""
    min_diff: float = Field(0.0, ge=0)
    """Networks whose weights all differ by less are left out; kohya's tool has 0.01 for text encoders."""
    clamp_quantile: float = Field(1.0, gt=0, le=1)
    """Below 1, as kohya: factors are clamped to this quantile of their values. It costs accuracy."""
    dtype: str = "fp16"
    """fp32, fp16 or bf16."""
    method: Method = "auto"
    """`full` computes every SVD in full; `auto` only if the randomized SVD is not as accurate."""


@dataclass(frozen=True)
class _Module:
    stem: str
    delta: Tensor
    is_kernel: bool


def extract(
    tuned: Path | str,
    base: Path | str,
    out: Path | str,
    settings: Extract | None = None,
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """Write an adapter that turns `base` into `tuned` as far as its rank allows; return the error.

    Either model may be a diffusers folder or a single file. Weights are read one module at a time.

    Raises:
        UsageError: the models have different shapes, or do not differ.
    """
    settings, out = settings or Extract(), Path(out)
    check_output_path(out, [Path(tuned), Path(base)], overwrite=overwrite)
    modules: dict[str, dict[str, Tensor]] = {}
    results: list[ModuleResult] = []
    with open_base(tuned) as after, open_base(base) as before:
        _check_same(after, before)
        wanted = [s for s in _changed_networks(after, before, settings) if _is_target(s, settings)]
        for number, stem in enumerate(wanted, 1):
            if on_event is not None:
                on_event(Progress(what="decomposing", done=number, total=len(wanted)))
            delta = _difference(after, before, stem)
            if delta is not None:
                modules[stem], result = _module(stem, delta, settings)
                results.append(result)
        left_out = _left_out(after, before, {*wanted})
    if not modules:
        raise UsageError(f"{tuned} and {base} do not differ in any module that a LoRA can adapt")
    prefixes = _Rename(any(stem.startswith("lora_te2_") for stem in before.weights))
    notes = (_left_out_note(left_out, results),) if left_out else ()
    if not dry_run:
        header = {
            **network_header(modules),
            "ss_base_model_version": _version(before),
            "ss_training_comment": f"extracted from {Path(tuned).name} minus {Path(base).name}, {settings.linear}",
            "ss_output_name": out.stem,
            **_model_spec(before, out.stem),
        }
        renamed = {prefixes(s): t for s, t in modules.items()}
        write_adapter(out, renamed, header, extras={}, dtype=DTYPES[settings.dtype], on_event=on_event)
    return Result(out, tuple(results), dry_run, notes, {"left_out": left_out})


def _check_same(after: BaseModel, before: BaseModel) -> None:
    for stem, place in after.weights.items():
        other = before.weights.get(stem)
        if other is None:
            continue
        here, there = after.shape(place).shape, before.shape(other).shape
        if torch.Size(here).numel() != torch.Size(there).numel():
            raise UsageError(
                f"{after.path} is not a fine-tune of {before.path}: {stem} is {here} and {there}",
                hint="both must be of one family",
            )


def _changed_networks(after: BaseModel, before: BaseModel, settings: Extract) -> list[str]:
    """Return the modules of both models, without networks that were not trained."""
    shared = [s for s in after.weights if s in before.weights]
    chosen = [s for s in shared if (settings.unet if s.startswith("lora_unet_") else settings.text)]
    if not settings.min_diff:
        return chosen
    networks: dict[str, list[str]] = {}
    for stem in chosen:
        networks.setdefault(stem.split("_", 2)[1], []).append(stem)
    return [s for stems in networks.values() if _differs(after, before, stems, settings.min_diff) for s in stems]


def _differs(after: BaseModel, before: BaseModel, stems: list[str], by: float) -> bool:
    found = (_difference(after, before, stem) for stem in stems)
    return any(delta is not None and float(delta.abs().max()) > by for delta in found)


def _is_target(stem: str, settings: Extract) -> bool:
    """Return whether kohya adapts a module: attention and text encoder layers; with `conv` residual blocks."""
    if stem.startswith("lora_te"):
        return "_self_attn_" in stem or "_mlp_" in stem
    in_resnets = any(word in stem for word in ("_resnets_", "_downsamplers_", "_upsamplers_"))
    inside = "_attentions_" in stem or (settings.conv is not None and in_resnets)
    return inside and "_norm" not in stem


def _difference(after: BaseModel, before: BaseModel, stem: str) -> Tensor | None:
    """Return the difference of a module's weight in single precision; None if it is zero."""
    return _learned(after.weight(stem), before.weight(stem))


def _learned(new: Tensor, old: Tensor) -> Tensor | None:
    """Return new - old in single precision; None if they are equal.

    If the types differ, both are rounded to the coarser one, and values that may be roundings of one number count as
    equal: rounding was not trained.
    """
    old = old.reshape(new.shape)
    coarser = new.dtype if torch.finfo(new.dtype).eps >= torch.finfo(old.dtype).eps else old.dtype
    delta = new.to(coarser).float() - old.to(coarser).float()
    if new.dtype != old.dtype:
        rounding = _half_step(new) + _half_step(old)
        delta = torch.where((new.float() - old.float()).abs() <= rounding, 0.0, delta)
    return delta if bool(delta.any()) else None


def _half_step(values: Tensor) -> Tensor:
    """Return half of the distance to the next value of the type."""
    info = torch.finfo(values.dtype)
    exponent = torch.frexp(values.float()).exponent
    return (
        torch.ldexp(torch.full_like(exponent, info.eps, dtype=torch.float32), exponent - 1).clamp(
            min=info.tiny * info.eps
        )
        / 2
    )


def _module(stem: str, delta: Tensor, settings: Extract) -> tuple[dict[str, Tensor], ModuleResult]:
    is_kernel = delta.ndim == 4 and tuple(delta.shape[2:]) != (1, 1)
    rule = settings.conv if is_kernel and settings.conv is not None else settings.linear
    matrix = delta.flatten(1)
    factors = reduce(matrix, rule, method=settings.method)
    B, A = split(factors, settings.clamp_quantile)
    error = factors.residual if settings.clamp_quantile >= 1.0 else float((matrix - B @ A).norm())
    tensors = lora_tensors(B, A, tuple(delta.shape[1:]), alpha=factors.rank)
    return tensors, ModuleResult(full_name(stem), factors.rank, factors.norm, error)


def _left_out(after: BaseModel, before: BaseModel, extracted: set[str]) -> dict[str, float]:
    """Return the norm of the difference of every weight and bias that the LoRA does not hold."""
    found = {stem: float(d.norm()) for stem, d in _others(after, before, extracted)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _others(after: BaseModel, before: BaseModel, extracted: set[str]) -> Iterator[tuple[str, Tensor]]:
    for mine, theirs, kind in ((after.weights, before.weights, "weight"), (after.biases, before.biases, "bias")):
        for stem, place in mine.items():
            if stem in theirs and not (kind == "weight" and stem in extracted):
                new, old = after.read(place), before.read(theirs[stem])
                found = _learned(new, old) if new.shape.numel() == old.shape.numel() else None
                if found is not None:
                    yield f"{stem}.{kind}", found


def _left_out_note(left_out: dict[str, float], results: list[ModuleResult]) -> str:
    lost = math.fsum(n**2 for n in left_out.values())
    held = math.fsum(m.norm**2 for m in results)
    percent = 100 * lost / (lost + held)
    return (
        f"{counted(len(left_out), 'other tensor')} with differences that a LoRA cannot hold ({percent:.1f} % of the "
        f"squared difference), largest {next(iter(left_out))}"
    )


@dataclass(frozen=True)
class _Rename:
    """Renames text encoders as for SDXL, which numbers them from 1."""

    counts: bool

    def __call__(self, stem: str) -> str:
        return stem.replace("lora_te_", "lora_te1_", 1) if self.counts else stem


def _version(base: BaseModel) -> str | None:
    family = _family(base)
    return VERSIONS.get(family) if family else None


def _family(base: BaseModel) -> str | None:
    context = base.find("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k")
    width = base.shape(context).shape[1] if context else 0
    return {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(width)


def _model_spec(base: BaseModel, title: str) -> dict[str, str]:
    """Return ModelSpec's fields; only the title for SD 2, whose weights do not tell the prediction type."""
    family = _family(base)
    return {"modelspec.title": title} if family in (None, "sd2") else model_spec(family, "epsilon", title)
