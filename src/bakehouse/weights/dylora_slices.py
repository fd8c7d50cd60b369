"""Slices of a DyLoRA: for each rank the LoRA that training ran with at that rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.adapter_reader import read_adapter
from bakehouse.adapters.dylora import PREFIX_SCALE
from bakehouse.adapters.header_coverage import network_args
from bakehouse.adapters.layer import BIAS
from bakehouse.adapters.module_names import full_name
from bakehouse.adapters.tensor_files import check_output_path
from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent
from bakehouse.core.files import check_file_name
from bakehouse.weights.adapter_writer import network_header, write_adapter
from bakehouse.weights.dense_delta import is_plain
from bakehouse.weights.result import ModuleResult, Result


def slice_ranks(
    source: Path | str | AdapterFile,
    out: Path | str,
    ranks: Sequence[int] = (),
    *,
    unit: int | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> list[Result]:
    """Write a LoRA for each rank: one to `out`, several to `out-0004.safetensors` and so on, as kohya's tool.

    bakehouse trains rank b as (alpha / rank) B[:, :b] A[:b], so that a slice's alpha is proportional to its rank.
    Others train and slice it as (alpha / b) B[:, :b] A[:b], so that alpha stays. The header tells which it was.

    Args:
        ranks: the ranks; empty: every multiple of the unit.
        unit: the step between ranks; None: the header's, else 1.

    Raises:
        UsageError: it is not a DyLoRA, or does not have a rank.
    """
    out = Path(out)
    file = source if isinstance(source, AdapterFile) else read_adapter(source)
    foreign = next((stem for stem, tensors in file.modules.items() if not _has_prefixes(tensors)), None)
    if foreign is not None:
        raise UsageError(f"{file.source} is not a DyLoRA: module {foreign} cannot be sliced by rank")
    if not is_dylora(file.metadata):
        raise UsageError(
            f"{file.source} was not trained as a DyLoRA, so its first ranks do not work alone",
            hint="`bakehouse weights resize` reduces the rank of any LoRA",
        )
    step = unit or unit_of(file.metadata)
    most = file.rank
    wanted = list(ranks) or [*range(step, most, step), most]
    wrong = [rank for rank in wanted if not 1 <= rank <= most or (rank % step and rank != most)]
    if wrong:
        raise UsageError(f"rank {wrong[0]}: {file.source} has ranks {step} to {most} in steps of {step}")
    check_file_name(out)
    places = {rank: out if len(wanted) == 1 else out.with_name(f"{out.stem}-{rank:04d}{out.suffix}") for rank in wanted}
    for place in places.values():
        check_output_path(place, [Path(file.source)], overwrite=overwrite)
    return [_slice(file, rank, place, dry_run, on_event) for rank, place in places.items()]


def _slice(file: AdapterFile, rank: int, out: Path, dry_run: bool, on_event: OnEvent | None) -> Result:
    whole = network_args(file.metadata).get("prefix_scale") == PREFIX_SCALE
    modules = {stem: cut(tensors, rank, alpha_shrinks=whole) for stem, tensors in file.modules.items()}
    results = tuple(
        ModuleResult(full_name(s), min(rank, lora_rank(t)), 0.0, 0.0, lora_rank(t)) for s, t in file.modules.items()
    )
    if not dry_run:
        header = {
            **{k: v for k, v in file.metadata.items() if k != "ss_network_args"},
            **network_header(modules),
            "ss_training_comment": f"rank {rank} of a DyLoRA of rank {file.rank}",
            "ss_output_name": out.stem,
        }
        write_adapter(out, modules, header, extras=file.extras, on_event=on_event)
    return Result(out, results, dry_run, file.coverage.notes)


def _has_prefixes(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether a module can be sliced; norms and biases are kept whole."""
    return tensors.keys() <= {"w_norm", "b_norm", BIAS} or (is_plain(tensors) and "lora_mid.weight" not in tensors)


def lora_rank(tensors: Mapping[str, Tensor]) -> int:
    """Return a LoRA module's rank; 0 for a module without one, such as a norm."""
    return int(tensors["lora_down.weight"].shape[0]) if "lora_down.weight" in tensors else 0


def cut(tensors: Mapping[str, Tensor], rank: int, *, alpha_shrinks: bool = False) -> dict[str, Tensor]:
    """Return a module cut to its first `rank` ranks; modules of a lower rank and norms are unchanged.

    Args:
        alpha_shrinks: keep alpha / rank, so that the scale does not change; else keep alpha.
    """
    whole = lora_rank(tensors)
    if whole <= rank:
        return dict(tensors)
    kept = {
        **tensors,
        "lora_down.weight": tensors["lora_down.weight"][:rank].contiguous(),
        "lora_up.weight": tensors["lora_up.weight"][:, :rank].contiguous(),
    }
    if alpha_shrinks:
        alpha = tensors.get("alpha", torch.tensor(float(whole)))
        kept["alpha"] = alpha.float() * rank / whole
    return kept


def is_dylora(metadata: Mapping[str, str]) -> bool:
    """Return whether a header is a DyLoRA's, or does not tell."""
    module = metadata.get("ss_network_module", "")
    return not module or "dylora" in module or "dylora" in metadata.get("ss_network_args", "").lower()


def unit_of(metadata: Mapping[str, str]) -> int:
    """Return the step between ranks from the header; 1 if it is not there."""
    args = network_args(metadata)
    unit = str(args.get("unit", args.get("block_size", 1)))
    return max(1, int(unit)) if unit.isdecimal() else 1
