"""Resizing of a LoRA: the best approximation of each ΔW at another rank, computed from its factors."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.adapter_reader import read_adapter
from bakehouse.adapters.layer import BIAS
from bakehouse.adapters.module_names import full_name, same_module
from bakehouse.adapters.tensor_files import check_output_path, dtype_of
from bakehouse.adapters.tensor_names import algorithm_of
from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent, Progress
from bakehouse.core.settings import Spec
from bakehouse.weights.adapter_writer import network_header, out_dtype, write_adapter
from bakehouse.weights.base_modules import BaseModel, open_base
from bakehouse.weights.dense_delta import bias_of, delta_of, is_plain, kernel_of, lora_tensors, matrices, scale_of
from bakehouse.weights.rank_selection import RankRule, reduce, reduce_factored, split
from bakehouse.weights.result import ModuleResult, Result
from bakehouse.weights.svd import Method, decompose_product


class Resize(Spec):
    """Settings of the resize."""

    linear: RankRule
    """Rank of linear maps."""
    conv: RankRule | None = None
    """The same for 3x3 convolutions; unset: the same rule."""
    to_lora: bool = False
    """Convert modules of other algorithms (LoHa, LoKr, DoRA, ...) to LoRA; needs the base."""
    clamp_quantile: float = Field(1.0, gt=0, le=1)
    """As in extraction."""
    dtype: str | None = None
    """fp32, fp16 or bf16; unset: as the source."""
    method: Method = "auto"
    """SVD of a dense ΔW, with `to_lora`; LoRA's own factors need no large SVD."""


def resize(
    source: Path | str | AdapterFile,
    out: Path | str,
    settings: Resize,
    *,
    base: Path | str | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """Write the adapter with the ranks that the rules select; each module keeps its alpha / rank.

    Raises:
        UsageError: it is not a LoRA and `to_lora` is not set, or a base is needed and not given.
    """
    out = Path(out)
    file = source if isinstance(source, AdapterFile) else read_adapter(source)
    check_output_path(out, [Path(file.source)], overwrite=overwrite)
    _check_kind(file, settings, base)
    results: list[ModuleResult] = []
    modules: dict[str, Mapping[str, Tensor]] = {}
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(open_base(base)) if base is not None else None
        for number, (stem, tensors) in enumerate(file.modules.items(), 1):
            if on_event is not None:
                on_event(Progress(what="decomposing", done=number, total=len(file.modules)))
            if tensors.keys() == {BIAS}:
                modules[stem] = tensors
                continue
            made, numbers = _resized(tensors, settings) if is_plain(tensors) else _as_lora(file, stem, model, settings)
            modules[stem] = made
            results.append(ModuleResult(full_name(stem), *numbers))
    if not dry_run:
        dtype = out_dtype(file.modules, dtype_of(settings.dtype))
        # The source's own arguments are of another network: of its algorithm, or of its ranks.
        before = {k: v for k, v in file.metadata.items() if k != "ss_network_args"}
        header = {**before, **network_header(modules), "ss_training_comment": _comment(file, settings)}
        write_adapter(out, modules, header, extras=file.extras, dtype=dtype, on_event=on_event)
    return Result(out, tuple(results), dry_run, file.coverage.notes)


def _comment(file: AdapterFile, settings: Resize) -> str:
    before = file.metadata.get("ss_training_comment", "")
    comment = f"resized to {settings.linear}"
    return f"{comment}; {before}" if before and before != "None" else comment


def _check_kind(file: AdapterFile, settings: Resize, base: Path | str | None) -> None:
    other = [stem for stem, tensors in file.modules.items() if not is_plain(tensors) and tensors.keys() != {BIAS}]
    if other and not settings.to_lora:
        raise UsageError(
            f"{file.source}: {other[0]} is {algorithm_of(file.modules[other[0]])}; only LoRA can be resized",
            hint="--to-lora --base MODEL makes a LoRA of it",
        )
    if other and base is None:
        raise UsageError("converting modules to LoRA needs the base model", hint="pass --base MODEL")


_Numbers = tuple[int, float, float, int | None]
"""Rank, norm, error, rank before."""


@torch.no_grad()
def _resized(tensors: Mapping[str, Tensor], settings: Resize) -> tuple[dict[str, Tensor], _Numbers]:
    B, A = matrices(tensors)
    kernel, scale = kernel_of(tensors), scale_of(tensors)
    factors = reduce_factored(decompose_product(B, A), _rule(settings, kernel))
    up, down = split(factors, settings.clamp_quantile)
    error = factors.residual
    if settings.clamp_quantile < 1.0:
        error = decompose_product(torch.cat([B, -up], 1), torch.cat([A, down])).norm
    size = abs(scale)
    made = lora_tensors(up, down, kernel, alpha=scale * factors.rank)
    return {**made, **bias_of(tensors)}, (factors.rank, size * factors.norm, size * error, B.shape[1])


def _as_lora(
    file: AdapterFile, stem: str, model: BaseModel | None, settings: Resize
) -> tuple[dict[str, Tensor], _Numbers]:
    """Return a module of another algorithm as LoRA; its Δb is kept."""
    assert model is not None
    bias = model.biases.get(same_module(stem))
    delta, beside = delta_of(file, stem, model.weight(stem), None if bias is None else model.read(bias))
    if delta.ndim == 1:
        raise UsageError(f"{file.source}: {stem} is a norm, which LoRA cannot hold", hint="merge it into the base")
    factors = reduce(delta.flatten(1), _rule(settings, tuple(delta.shape[1:])), method=settings.method)
    up, down = split(factors, settings.clamp_quantile)
    error = factors.residual if settings.clamp_quantile >= 1.0 else float((delta.flatten(1) - up @ down).norm())
    made = lora_tensors(up, down, tuple(delta.shape[1:]), alpha=factors.rank)
    return {**made, **beside}, (factors.rank, factors.norm, error, None)


def _rule(settings: Resize, kernel: tuple[int, ...]) -> RankRule:
    wide = len(kernel) == 3 and kernel[1:] != (1, 1)
    return settings.conv if wide and settings.conv is not None else settings.linear
