"""Adapter files in other programs' words: kohya, diffusers with PEFT, diffusers of early 2023, PEFT's own folders.

Numbers are not touched unless a type is asked for. What the target cannot hold is an error that lists it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bakehouse.adapters.adapter_files import AdapterFile
from bakehouse.adapters.layer import BIAS
from bakehouse.adapters.module_names import PARTS, dotted, full_name, part_of, sgm_stem
from bakehouse.adapters.peft_format import HEADER as PEFT_HEADER
from bakehouse.adapters.tensor_names import algorithm_of
from bakehouse.core.errors import Problems
from bakehouse.core.events import OnEvent
from bakehouse.core.files import atomic_folder, write_json
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.core.settings import Spec
from bakehouse.weights.adapter_reader import is_sdxl, open_adapter
from bakehouse.weights.adapter_writer import check_names
from bakehouse.weights.dense_delta import PLAIN, is_plain, matrices, scale_of
from bakehouse.weights.result import ModuleResult, Result
from bakehouse.weights.tensor_files import Planned, check_place, dtype_of, write_tensors

Form = Literal["kohya", "diffusers", "diffusers-old", "peft"]

_OURS = "bakehouse.converted"
"""What the other form has no word for, so that the way back gives the same bytes."""
_HASHES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
_ATTENTION = frozenset({"to_q", "to_k", "to_v", "to_out.0"})
_TEXT_ATTENTION = frozenset({"q_proj", "k_proj", "v_proj", "out_proj"})


class Convert(Spec):
    """What form an adapter file takes."""

    to: Form = "kohya"
    """`kohya`: for A1111, ComfyUI and kohya's tools, every algorithm. `diffusers`: `load_lora_weights` of today.
    `diffusers-old`: attention processors, before diffusers 0.22. `peft`: folders for `PeftModel.from_pretrained`."""
    alpha: Literal["keep", "bake"] = "keep"
    """`keep` writes alpha where the form has a place for it; `bake` puts alpha / rank into B and leaves alpha out."""
    unet_names: Literal["auto", "blocks", "diffusers"] = "auto"
    """Kohya's UNet names: block numbers (`input_blocks_4_1`), as kohya writes SDXL, or diffusers' (SD 1.x, 2.x)."""
    dtype: str | None = None
    """fp32, fp16 or bf16; unset: as the source."""
    drop: tuple[str, ...] = ()
    """Tensors to leave out, by patterns of the source's own keys: `bundle_emb.*`."""


@dataclass
class _Written:
    """What goes into one file."""

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
    """Writes an adapter file of any form in another.

    Raises:
        UsageError: no adapter.
        Problems: modules or tensors that the form cannot hold, each named.
    """
    settings, out = settings or Convert(), Path(out)
    file = source if isinstance(source, AdapterFile) else open_adapter(source, drop=settings.drop)
    check_place(out, [Path(file.source)], overwrite=overwrite)
    _check(file, settings.to)
    dtype = dtype_of(settings.dtype)
    results = tuple(ModuleResult(stem, _rank(t), 0.0, 0.0) for stem, t in file.modules.items())
    if settings.to == "peft":
        if not dry_run:
            _write_peft(file, out, settings, dtype, on_event)
        return Result(out, results, dry_run, file.account.notes)
    written = _FORMS[settings.to](file, settings)
    if not dry_run:
        _write(out, written, dtype, on_event, file.extras)
    return Result(out, results, dry_run, file.account.notes)


def _rank(tensors: Mapping[str, Tensor]) -> int:
    return int(tensors["lora_down.weight"].shape[0]) if "lora_down.weight" in tensors else 0


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
    """Lists what a form cannot hold.

    Raises:
        Problems: there is such a thing.
    """
    if form == "kohya":
        check_names(file.modules, Path(file.source))
        return
    lost = [f"{key}: it belongs to no module" for key in file.extras]
    for stem, tensors in file.modules.items():
        foreign = [n for n in tensors if n not in PLAIN]
        if not is_plain(tensors):
            lost.append(f"{stem}: {', '.join(foreign or tensors)} ({algorithm_of(tensors)})")
        elif form == "diffusers-old" and BIAS in tensors:
            lost.append(f"{stem}: {BIAS}")
        elif form == "diffusers-old" and not _is_old_attention(stem):
            lost.append(f"{stem}: only attention projections had a place then")
    if lost:
        shown = [*lost[:8], *([f"and {len(lost) - 8} more"] if len(lost) > 8 else [])]
        others = not all(map(is_plain, file.modules.values()))
        hint = "`bakehouse weights resize FILE --to-lora --base MODEL --rank N` makes a LoRA of it" if others else ""
        hint = "--drop PATTERN leaves them out" if file.extras else hint
        raise Problems(f"{file.source} cannot be written as {form}: it has no names for", shown, hint=hint)


def _is_old_attention(stem: str) -> bool:
    module, _, last = dotted(stem).rpartition(".")
    if not stem.startswith("lora_unet_"):
        return last in _TEXT_ATTENTION and module.endswith("self_attn")
    return f".{dotted(stem)}".endswith(tuple(f".{a}.{p}" for a in ("attn1", "attn2") for p in _ATTENTION))


def _to_kohya(file: AdapterFile, settings: Convert) -> _Written:
    before = parse_json(file.metadata.get(_OURS, "{}"))
    sdxl = is_sdxl(file)
    blocks = settings.unet_names == "blocks" or (settings.unet_names == "auto" and before.get("blocks", sdxl))
    counted = before.get("counted", sdxl)
    dtype = _torch_type(before.get("alpha_dtype"))
    foreign = (PEFT_HEADER, _OURS, *(("format",) if before.get("format") else ()))
    written = _Written(metadata={k: v for k, v in file.metadata.items() if k not in foreign})
    for stem, tensors in file.modules.items():
        name = _text_counted(sgm_stem(stem) if blocks else stem, counted)
        kept = dict(tensors) if settings.alpha == "keep" else _baked(tensors)
        if "alpha" in kept:
            alpha = kept["alpha"]
            kept["alpha"] = alpha.to(dtype) if dtype is not None else alpha
        written.tensors.update({f"{name}.{suffix}": tensor for suffix, tensor in kept.items()})
    return written


def _text_counted(stem: str, counted: bool) -> str:
    """SDXL's tools count the text encoders from 1, those of SD 1.x do not."""
    if counted:
        return stem.replace("lora_te_", "lora_te1_", 1) if stem.startswith("lora_te_") else stem
    return stem.replace("lora_te1_", "lora_te_", 1)


def _torch_type(name: str | None) -> torch.dtype | None:
    found = getattr(torch, name, None) if name else None
    return found if isinstance(found, torch.dtype) else None


def _baked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Alpha / rank in B, and no alpha: readers then take 1."""
    if not is_plain(tensors):
        return dict(tensors)
    up = tensors["lora_up.weight"]
    return {
        **{k: v for k, v in tensors.items() if k != "alpha"},
        "lora_up.weight": (up.float() * scale_of(tensors)).to(up.dtype),
    }


def _notes(file: AdapterFile) -> dict[str, Any]:
    """What kohya's form says and the others do not."""
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
        down, up = _pair(tensors, keep)
        name = full_name(stem)
        written.tensors[f"{name}.lora_A.weight"] = down
        written.tensors[f"{name}.lora_B.weight"] = up
        written.tensors.update(_bias(name, tensors, keep))
    if keep:
        settings_of = _peft_settings(file, keep)
        header = {f"{part}.{key}": value for part, config in settings_of.items() for key, value in config.items()}
        written.metadata[PEFT_HEADER] = json.dumps(header, sort_keys=True)
    written.metadata[_OURS] = json.dumps(_notes(file), sort_keys=True)
    return written


def _pair(tensors: Mapping[str, Tensor], keep: bool) -> tuple[Tensor, Tensor]:
    """A and B; with Tucker's core in A, and with alpha / rank in B unless it is kept elsewhere."""
    down, up = tensors["lora_down.weight"], tensors["lora_up.weight"]
    if "lora_mid.weight" in tensors:
        core = tensors["lora_mid.weight"]
        down = matrices(tensors)[1].reshape(core.shape[0], down.shape[1], *core.shape[2:]).to(down.dtype)
    return down, up if keep else _baked(tensors)["lora_up.weight"]


def _bias(name: str, tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Δb as PEFT's bias of B, which counts alpha / rank times where that is kept elsewhere."""
    if BIAS not in tensors:
        return {}
    bias, scale = tensors[BIAS], scale_of(tensors) if keep else 1.0
    return {f"{name}.lora_B.bias": bias if scale == 1.0 else (bias.float() / scale).to(bias.dtype)}


def _peft_settings(file: AdapterFile, keep: bool) -> dict[str, dict[str, Any]]:
    """PEFT's LoraConfig for each network: the commonest rank and alpha, and patterns for the others."""
    by_part: dict[str, dict[str, tuple[int, float]]] = {}
    biased = {PARTS[part_of(stem)[0]] for stem, tensors in file.modules.items() if BIAS in tensors}
    for stem, tensors in file.modules.items():
        rank = _rank(tensors)
        by_part.setdefault(PARTS[part_of(stem)[0]], {})[dotted(stem)] = (
            rank,
            (scale_of(tensors) if keep else 1.0) * rank,
        )
    return {part: {**_peft_config(modules), "lora_bias": part in biased} for part, modules in by_part.items()}


def _peft_config(modules: Mapping[str, tuple[int, float]]) -> dict[str, Any]:
    ranks = [rank for rank, _ in modules.values()]
    alphas = [alpha for _, alpha in modules.values()]
    rank, alpha = max(set(ranks), key=ranks.count), max(set(alphas), key=alphas.count)
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        # Anchored: PEFT matches a pattern at the end of a name, and short names are the end of longer ones.
        "rank_pattern": {f"^{name}": r for name, (r, _) in modules.items() if r != rank},
        "alpha_pattern": {f"^{name}": a for name, (_, a) in modules.items() if a != alpha},
        "target_modules": sorted(modules),
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
    }


def _to_old_diffusers(file: AdapterFile, settings: Convert) -> _Written:
    """Alpha has no place in this form: it is always in B."""
    written = _Written(metadata={**file.metadata, _OURS: json.dumps(_notes(file), sort_keys=True)})
    for stem, tensors in file.modules.items():
        down, up = _pair(tensors, keep=False)
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
    """A folder for each network, as PEFT wants it: adapter_config.json and adapter_model.safetensors."""
    keep = settings.alpha == "keep"
    notes = {**_notes(file), **({} if "format" in file.metadata else {"format": True})}
    with atomic_folder(out) as folder:
        for part, config in _peft_settings(file, keep).items():
            written = _Written(metadata={**file.metadata, "format": "pt", _OURS: json.dumps(notes, sort_keys=True)})
            for stem, tensors in file.modules.items():
                if PARTS[part_of(stem)[0]] == part:
                    down, up = _pair(tensors, keep)
                    written.tensors[f"base_model.model.{dotted(stem)}.lora_A.weight"] = down
                    written.tensors[f"base_model.model.{dotted(stem)}.lora_B.weight"] = up
                    written.tensors.update(_bias(f"base_model.model.{dotted(stem)}", tensors, keep))
            write_json(folder / part / "adapter_config.json", config)
            _write(folder / part / "adapter_model.safetensors", written, dtype, on_event, {})
