"""Conversion of adapter files: kohya, diffusers with PEFT, diffusers of early 2023, PEFT's own folders.

Numbers are not touched unless a type is asked for. What the target cannot hold is an error that lists it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.adapter_reader import is_sdxl, read_adapter
from bakehouse.adapters.file_coverage import BUNDLED
from bakehouse.adapters.layer import BIAS
from bakehouse.adapters.module_names import dotted, full_name, sgm_stem
from bakehouse.adapters.peft_format import HEADER as PEFT_HEADER
from bakehouse.adapters.tensor_files import WEIGHT_SUFFIXES, Planned, check_output_path, dtype_of, write_tensors
from bakehouse.adapters.tensor_names import algorithm_of
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import OnEvent
from bakehouse.core.files import atomic_folder, write_json
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.settings import Spec
from bakehouse.weights.adapter_writer import CONVERTED, check_names
from bakehouse.weights.convert_embedding import write_bundled
from bakehouse.weights.dense_delta import PLAIN, is_plain
from bakehouse.weights.dylora_slices import lora_rank
from bakehouse.weights.result import ModuleResult, Result
from bakehouse.weights.write_peft import (
    baked,
    by_part,
    is_dora,
    lost_in_peft,
    module_tensors,
    pair,
    settings_of,
)

Form = Literal["kohya", "diffusers", "diffusers-old", "peft"]

_HASHES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
_ATTENTION = frozenset({"to_q", "to_k", "to_v", "to_out.0"})
_TEXT_ATTENTION = frozenset({"q_proj", "k_proj", "v_proj", "out_proj"})


class Convert(Spec):
    """The format to convert an adapter to."""

    to: Form = "kohya"
    """`kohya`: for A1111, ComfyUI and kohya's tools, every algorithm. `diffusers`: `load_lora_weights` of today.
    `diffusers-old`: attention processors, before diffusers 0.22. `peft`: folders for `PeftModel.from_pretrained`."""
    alpha: Literal["keep", "bake"] = "keep"
    """`keep` writes alpha where the format has a place for it; `bake` multiplies B by alpha / rank and omits alpha."""
    unet_names: Literal["auto", "blocks", "diffusers"] = "auto"
    """Kohya's UNet names: block numbers (`input_blocks_4_1`), as kohya writes SDXL, or diffusers' (SD 1.x, 2.x)."""
    dtype: str | None = None
    """fp32, fp16 or bf16; unset: as the source."""
    drop: tuple[str, ...] = ()
    """Tensors to leave out, by patterns of the source's own keys: `bundle_emb.*`."""


@dataclass
class _Written:
    """The content of one file."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def convert(
    source: Path | str | AdapterFile,
    out: Path | str,
    settings: Convert | None = None,
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """Convert an adapter file from any format to another.

    Raises:
        UsageError: it is not an adapter.
        Problems: modules or tensors that the format cannot hold, each named.
    """
    settings, out = settings or Convert(), Path(out)
    file = source if isinstance(source, AdapterFile) else read_adapter(source, drop=settings.drop)
    if settings.to == "peft" and out.suffix in WEIGHT_SUFFIXES:
        raise UsageError(
            f"{out} is the name of a file, and --to peft writes a folder with one adapter for each network",
            hint=f"name a folder: --to peft -o {out.with_suffix('')}; --to diffusers writes one file",
        )
    check_output_path(
        out, [Path(file.source)], overwrite=overwrite, makes="either" if settings.to == "peft" else "file"
    )
    notes = file.coverage.notes
    if settings.to == "diffusers" and file.extras:
        notes = write_bundled(file, out, dry_run=dry_run, overwrite=overwrite)
        file = replace(file, extras={k: t for k, t in file.extras.items() if not k.startswith(BUNDLED)})
    _check(file, settings.to)
    dtype = dtype_of(settings.dtype)
    results = tuple(ModuleResult(stem, lora_rank(t), 0.0, 0.0) for stem, t in file.modules.items())
    if settings.to == "peft":
        if not dry_run:
            _write_peft(file, out, settings, dtype, on_event)
        return Result(out, results, dry_run, notes)
    written = _FORMS[settings.to](file, settings)
    if not dry_run:
        _write(out, written, dtype, on_event, file.extras)
    return Result(out, results, dry_run, notes)


def _write(
    out: Path, written: _Written, dtype: torch.dtype | None, on_event: OnEvent | None, extras: Mapping[str, Tensor]
) -> None:
    hashed = _HASHES[0] in written.metadata
    metadata = {k: v for k, v in written.metadata.items() if k not in _HASHES}
    planned = [
        Planned.of(name, t, dtype if t.is_floating_point() and not name.endswith(".alpha") else None)
        for name, t in written.tensors.items()
    ]
    planned += [Planned.of(name, t) for name, t in extras.items()]
    write_tensors(out, planned, metadata, hashed=hashed, on_event=on_event)


def _check(file: AdapterFile, form: Form) -> None:
    """Check that a format can hold the file.

    Raises:
        Problems: modules or tensors that it cannot hold.
    """
    if form == "kohya":
        check_names(file.modules, Path(file.source))
        return
    lost = [f"{key}: it belongs to no module" for key in file.extras]
    lost += _lost_in_old_diffusers(file) if form == "diffusers-old" else lost_in_peft(file.modules)
    if lost:
        shown = [*lost[:8], *([f"and {len(lost) - 8} more"] if len(lost) > 8 else [])]
        raise Problems(f"{file.source} cannot be converted to {form}, which cannot hold", shown, hint=_way_out(file))


def _lost_in_old_diffusers(file: AdapterFile) -> Iterator[str]:
    for stem, tensors in file.modules.items():
        foreign = [name for name in tensors if name not in PLAIN]
        if not is_plain(tensors):
            yield f"{stem}: {', '.join(foreign or tensors)} ({algorithm_of(tensors)})"
        elif BIAS in tensors:
            yield f"{stem}: {BIAS}"
        elif not _is_old_attention(stem):
            yield f"{stem}: only attention projections are supported"


def _way_out(file: AdapterFile) -> str:
    """Return the hint for a file that a format cannot hold."""
    if file.extras:
        return "--drop PATTERN leaves them out"
    if all(map(is_plain, file.modules.values())):
        return ""
    hint = "`bakehouse weights resize FILE --to-lora --base MODEL --rank N` makes a LoRA of it"
    return f"{hint}; a DoRA trained with wd_on_output = true can be written" if is_dora(file.modules) else hint


def _is_old_attention(stem: str) -> bool:
    module, _, last = dotted(stem).rpartition(".")
    if not stem.startswith("lora_unet_"):
        return last in _TEXT_ATTENTION and module.endswith("self_attn")
    return f".{dotted(stem)}".endswith(tuple(f".{a}.{p}" for a in ("attn1", "attn2") for p in _ATTENTION))


def _to_kohya(file: AdapterFile, settings: Convert) -> _Written:
    before = parse_json(file.metadata.get(CONVERTED, "{}"))
    sdxl = is_sdxl(file)
    blocks = settings.unet_names == "blocks" or (settings.unet_names == "auto" and before.get("blocks", sdxl))
    counted = before.get("counted", sdxl)
    dtype = _torch_type(before.get("alpha_dtype"))
    foreign = (PEFT_HEADER, CONVERTED, *(("format",) if before.get("format") else ()))
    written = _Written(metadata={k: v for k, v in file.metadata.items() if k not in foreign})
    for stem, tensors in file.modules.items():
        name = _text_counted(sgm_stem(stem) if blocks else stem, counted)
        kept = dict(tensors) if settings.alpha == "keep" else baked(tensors)
        if "alpha" in kept:
            alpha = kept["alpha"]
            kept["alpha"] = alpha.to(dtype) if dtype is not None else alpha
        written.tensors.update({f"{name}.{suffix}": tensor for suffix, tensor in kept.items()})
    return written


def _text_counted(stem: str, counted: bool) -> str:
    """Return the stem with SDXL's number of the text encoder (te1), or without it, as for SD 1.x."""
    if counted:
        return stem.replace("lora_te_", "lora_te1_", 1) if stem.startswith("lora_te_") else stem
    return stem.replace("lora_te1_", "lora_te_", 1)


def _torch_type(name: str | None) -> torch.dtype | None:
    found = getattr(torch, name, None) if name else None
    return found if isinstance(found, torch.dtype) else None


def _notes(file: AdapterFile) -> dict[str, Any]:
    """Return what kohya's format expresses and others do not."""
    alphas = [t["alpha"] for t in file.modules.values() if "alpha" in t]
    types = {str(a.dtype).removeprefix("torch.") for a in alphas}
    notes: dict[str, Any] = {"counted": any(s.startswith("lora_te1_") for s in file.modules)}
    if len(types) == 1:
        notes["alpha_dtype"] = types.pop()
    return notes


def _to_diffusers(file: AdapterFile, settings: Convert) -> _Written:
    keep = settings.alpha == "keep"
    written = _Written(metadata=dict(file.metadata))
    for stem, tensors in file.modules.items():
        written.tensors.update(module_tensors(full_name(stem), tensors, keep=keep))
    if keep:
        configs = settings_of(file, keep=keep)
        header = {f"{part}.{key}": value for part, config in configs.items() for key, value in config.items()}
        written.metadata[PEFT_HEADER] = json.dumps(header, sort_keys=True)
    written.metadata[CONVERTED] = json.dumps(_notes(file), sort_keys=True)
    return written


def _to_old_diffusers(file: AdapterFile, settings: Convert) -> _Written:
    """Multiply B by alpha / rank, since the format has no alpha."""
    written = _Written(metadata={**file.metadata, CONVERTED: json.dumps(_notes(file), sort_keys=True)})
    for stem, tensors in file.modules.items():
        down, up = pair(tensors, keep=False)
        module, _, last = full_name(stem).replace(".to_out.0", ".to_out").rpartition(".")
        name = f"{module}.{last}.lora_linear_layer" if stem.startswith("lora_te") else f"{module}.processor.{last}_lora"
        written.tensors[f"{name}.down.weight"] = down
        written.tensors[f"{name}.up.weight"] = up
    return written


_FORMS: Mapping[str, Callable[[AdapterFile, Convert], _Written]] = {
    "kohya": _to_kohya,
    "diffusers": _to_diffusers,
    "diffusers-old": _to_old_diffusers,
}


def _write_peft(
    file: AdapterFile, out: Path, settings: Convert, dtype: torch.dtype | None, on_event: OnEvent | None
) -> None:
    """Write a folder for each network, as PEFT expects it: adapter_config.json and adapter_model.safetensors."""
    keep = settings.alpha == "keep"
    notes = {**_notes(file), **({} if "format" in file.metadata else {"format": True})}
    modules = by_part(file.modules)
    with atomic_folder(out) as folder:
        for part, config in settings_of(file, keep=keep).items():
            written = _Written(metadata={**file.metadata, "format": "pt", CONVERTED: json.dumps(notes, sort_keys=True)})
            for stem, tensors in modules[part].items():
                written.tensors.update(module_tensors(f"base_model.model.{dotted(stem)}", tensors, keep=keep))
            write_json(folder / part / "adapter_config.json", config)
            _write(folder / part / "adapter_model.safetensors", written, dtype, on_event, {})
