"""Merging of adapters with each other: one file whose ΔW is the weighted sum of theirs, exact or of lower rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bakehouse.adapters.layer import BIAS
from bakehouse.adapters.module_names import full_name, same_module
from bakehouse.adapters.tensor_files import check_output_path
from bakehouse.adapters.tensor_names import algorithm_of
from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent, Progress
from bakehouse.core.settings import Spec
from bakehouse.dtypes import DTYPES
from bakehouse.weights.adapter_writer import network_header, write_adapter
from bakehouse.weights.dense_delta import bias_of, is_plain, kernel_of, lora_tensors, matrices, scale_of
from bakehouse.weights.merge_into_base import WeightedAdapter
from bakehouse.weights.rank_selection import RankRule, reduce_factored, split
from bakehouse.weights.result import ModuleResult, Result
from bakehouse.weights.svd import decompose_product

_ADDITIVE = frozenset({"diff", "diff_b", "w_norm", "b_norm"})
"""Tensors that are ΔW themselves, so that they can be added."""

_Module = tuple[dict[str, Tensor], ModuleResult]


class Merge(Spec):
    """Settings of the merge."""

    method: Literal["concat", "svd", "linear"] = "concat"
    """`concat` concatenates the factors and is exact; the rank is the sum. `svd` then reduces the rank.
    `linear` adds the factors, as kohya's merge_lora.py: small, for checkpoints of one run, and not the sum of the
    updates; strengths are squared there."""
    linear: RankRule | None = None
    """With `svd`: rank of linear maps."""
    conv: RankRule | None = None
    """The same for 3x3 convolutions; unset: the same rule."""
    dtype: str = "fp16"
    """fp32, fp16 or bf16."""


def merge_adapters(
    adapters: Sequence[WeightedAdapter],
    out: Path | str,
    settings: Merge | None = None,
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """Write one adapter with the effect of all adapters at their strengths; return the error.

    Raises:
        UsageError: fewer than two adapters, algorithms other than LoRA, or adapters of different bases.
    """
    settings, out = settings or Merge(), Path(out)
    check_output_path(out, [Path(a.file.source) for a in adapters], overwrite=overwrite)
    if len(adapters) < 2:
        raise UsageError("merging needs at least two adapters", hint="`weights rescale` changes the strength of one")
    if settings.method == "svd" and settings.linear is None:
        raise UsageError("method svd needs a rank", hint="--rank 32, or a rule: --by sv_fro=0.95")
    if settings.method != "svd" and (settings.linear or settings.conv):
        raise UsageError(f"a rank has no effect with method {settings.method}", hint="use --method svd")
    found, extras = _by_module(adapters), _extras(adapters)
    modules: dict[str, Mapping[str, Tensor]] = {}
    results = []
    for number, (stem, parts) in enumerate(found.items(), 1):
        if on_event is not None:
            on_event(Progress(what="merging", done=number, total=len(found)))
        modules[stem], result = _merged(stem, parts, settings)
        results.append(result)
    if not dry_run:
        header = {**_header(adapters, out), **network_header(modules)}
        write_adapter(out, modules, header, extras=extras, dtype=DTYPES[settings.dtype], on_event=on_event)
    return Result(
        out, tuple(results), dry_run, tuple(dict.fromkeys(n for a in adapters for n in a.file.coverage.notes))
    )


def _extras(adapters: Sequence[WeightedAdapter]) -> dict[str, Tensor]:
    """Return the tensors of all files that belong to no module.

    Raises:
        UsageError: two files hold different tensors under one key.
    """
    found: dict[str, Tensor] = {}
    for adapter in adapters:
        for key, tensor in adapter.file.extras.items():
            if key in found and not torch.equal(found[key], tensor):
                raise UsageError(
                    f"{key} of {adapter.file.source} differs from another file's: only one of them can be kept",
                    hint="leave it out of one of them: `bakehouse weights convert FILE --drop PATTERN -o PATH`",
                )
            found[key] = tensor
    return found


_Parts = list[tuple[float, Mapping[str, Tensor]]]


def _by_module(adapters: Sequence[WeightedAdapter]) -> dict[str, _Parts]:
    """Return each module's tensors and strengths, under the first file's spelling of its name.

    Raises:
        UsageError: a module is of another algorithm.
    """
    found: dict[str, _Parts] = {}
    spelling: dict[str, str] = {}
    for adapter in adapters:
        for stem, tensors in adapter.file.modules.items():
            if not (is_plain(tensors) or tensors.keys() <= _ADDITIVE):
                raise UsageError(
                    f"{adapter.file.source}: {stem} is {algorithm_of(tensors)}; only LoRA can be merged",
                    hint="`bakehouse weights resize FILE --to-lora --base MODEL --rank N` makes a LoRA of it",
                )
            name = spelling.setdefault(same_module(stem), stem)
            found.setdefault(name, []).append((adapter.strength(stem), tensors))
    return found


@torch.no_grad()
def _merged(stem: str, parts: _Parts, settings: Merge) -> _Module:
    plain = [(weight, tensors) for weight, tensors in parts if is_plain(tensors)]
    if not plain:
        return _added(stem, parts)
    # Biases are added, whatever the algorithm beside them.
    if any(tensors.keys() != {BIAS} for _, tensors in parts if not is_plain(tensors)):
        raise UsageError(f"module {stem} is a LoRA in one file and a full difference in another: they cannot be merged")
    made, result = _joined(stem, plain, settings)
    biases: _Parts = [(weight, bias_of(tensors)) for weight, tensors in parts if BIAS in tensors]
    return {**made, **(_added(stem, biases)[0] if biases else {})}, result


def _joined(stem: str, parts: _Parts, settings: Merge) -> _Module:
    """Return one LoRA of several of one module, without their biases."""
    kernels = {kernel_of(tensors) for _, tensors in parts}
    outs = {tensors["lora_up.weight"].shape[0] for _, tensors in parts}
    if len({torch.Size(k).numel() for k in kernels}) > 1 or len(outs) > 1:
        raise UsageError(f"module {stem} has different sizes in the files: the adapters are for different bases")
    B, A = _side_by_side(parts)
    # A 1x1 convolution and a linear map are the same; files differ in the shape.
    kernel = max(kernels, key=len)
    if settings.method == "linear":
        return _factors_added(stem, parts, kernel, B, A)
    if settings.method == "concat":
        norm = decompose_product(B, A).norm
        return lora_tensors(B, A, kernel, alpha=A.shape[0]), ModuleResult(full_name(stem), A.shape[0], norm, 0.0)
    assert settings.linear is not None
    wide = len(kernel) == 3 and kernel[1:] != (1, 1)
    rule = settings.conv if wide and settings.conv is not None else settings.linear
    factors = reduce_factored(decompose_product(B, A), rule)
    made = lora_tensors(*split(factors), kernel, alpha=factors.rank)
    return made, ModuleResult(full_name(stem), factors.rank, factors.norm, factors.residual, A.shape[0])


def _side_by_side(parts: _Parts) -> tuple[Tensor, Tensor]:
    """Return B [out, sum of r] and A [sum of r, in] with B A = sum of strength x scale x B_i A_i."""
    ups, downs = [], []
    for weight, tensors in parts:
        B, A = matrices(tensors)
        # The factor's root goes to both sides, so that neither leaves half precision's range; its sign goes to B.
        factor = weight * scale_of(tensors)
        root = abs(factor) ** 0.5
        ups.append(B * (root if factor >= 0 else -root))
        downs.append(A * root)
    return torch.cat(ups, 1), torch.cat(downs)


def _factors_added(stem: str, parts: _Parts, kernel: tuple[int, ...], B: Tensor, A: Tensor) -> _Module:
    """Add factors as kohya's merge_lora.py: B = sum of |s| B, A = sum of s A, s = strength sqrt(alpha / first alpha).

    The strength is squared: 0.5 leaves a quarter of an adapter, and -1 inverts it.
    """
    ranks = {tensors["lora_down.weight"].shape[0] for _, tensors in parts}
    if len(ranks) > 1:
        raise UsageError(f"method linear needs one rank, and {stem} has {sorted(ranks)}", hint="use concat or svd")
    rank = ranks.pop()
    alphas = [scale_of(tensors) * rank for _, tensors in parts]
    if not all(alpha > 0 for alpha in alphas):
        listed_alphas = ", ".join(f"{alpha:g}" for alpha in alphas)
        raise UsageError(
            f"method linear needs alphas above 0, and {stem} has {listed_alphas}", hint="use concat or svd"
        )
    up, down = torch.zeros_like(B[:, :rank]), torch.zeros_like(A[:rank])
    for (weight, tensors), alpha in zip(parts, alphas, strict=True):
        one_up, one_down = matrices(tensors)
        s = weight * (alpha / alphas[0]) ** 0.5
        up, down = up + one_up * abs(s), down + one_down * s
    wanted = decompose_product(B, A).norm
    error = decompose_product(torch.cat([B, -up], 1), torch.cat([A, down * (alphas[0] / rank)])).norm
    made = lora_tensors(up, down, kernel, alpha=alphas[0])
    return made, ModuleResult(full_name(stem), rank, wanted, error, rank)


def _added(stem: str, parts: _Parts) -> _Module:
    names = dict.fromkeys(name for _, tensors in parts for name in tensors)
    made = {name: sum((w * t[name].float() for w, t in parts if name in t), torch.zeros(())) for name in names}
    norm = float(sum(t.double().square().sum() for t in made.values()) ** 0.5)
    return made, ModuleResult(full_name(stem), 0, norm, 0.0)


def _header(adapters: Sequence[WeightedAdapter], out: Path) -> dict[str, str]:
    """Return the header keys that all files share, and the list of merged files."""
    headers = [a.file.metadata for a in adapters]
    shared = {k: v for k, v in headers[0].items() if all(h.get(k) == v for h in headers[1:])}
    dropped = ("sshs_", "modelspec.hash", "bakehouse.recipe", "ss_training_", "ss_session_id")
    triggers = dict.fromkeys(h["modelspec.trigger_phrase"] for h in headers if h.get("modelspec.trigger_phrase"))
    return {
        **{k: v for k, v in shared.items() if not k.startswith(dropped)},
        **({"modelspec.trigger_phrase": ", ".join(triggers)} if triggers else {}),
        "ss_output_name": out.stem,
        "modelspec.title": out.stem,
        "modelspec.merged_from": ", ".join(f"{Path(a.file.source).stem} x {a.unet:g}" for a in adapters),
    }
