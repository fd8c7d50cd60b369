"""Adapter files: one .safetensors with kohya's keys, written whole or not at all; everybody's files read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bakehouse.adapters.adapter import Adapter, LayerAdapter
from bakehouse.adapters.boft import BOFTLayer
from bakehouse.adapters.diff import DiffLayer
from bakehouse.adapters.glora import GLoRALayer
from bakehouse.adapters.ia3 import IA3Layer
from bakehouse.adapters.keys import algorithm_of, meant_for, rank_of, to_diffusers, to_kohya
from bakehouse.adapters.layer import AdapterLayer, Base, freeze
from bakehouse.adapters.loha import LoHaLayer
from bakehouse.adapters.lokr import LoKrLayer
from bakehouse.adapters.lora import LoRALayer
from bakehouse.adapters.metadata import as_text, metadata_for, sort_header, with_hashes
from bakehouse.adapters.norm import NormLayer
from bakehouse.adapters.oft import OFTLayer
from bakehouse.adapters.select import Site, all_sites
from bakehouse.adapters.tools.names import file_names
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import atomic_path, read_json

READERS: tuple[type[AdapterLayer], ...] = (
    LoRALayer,
    LoHaLayer,
    LoKrLayer,
    IA3Layer,
    OFTLayer,
    BOFTLayer,
    GLoRALayer,
    DiffLayer,
    NormLayer,
)
"""The layers that read files, asked in this order whether a module's tensors are theirs: a new one is one line."""


@dataclass(frozen=True)
class AdapterFile:
    """An adapter as read from a file, by kohya's stems and suffixes."""

    modules: Mapping[str, Mapping[str, Tensor]]
    metadata: Mapping[str, str]
    kind: str
    """`LoRA`, `LoHa`, ...: the algorithm's name in the field."""
    source: str
    """Where it came from, for messages."""

    @property
    def state(self) -> dict[str, Tensor]:
        """Flat, with kohya's keys."""
        return {f"{stem}.{suffix}": t for stem, tensors in self.modules.items() for suffix, t in tensors.items()}

    @property
    def rank(self) -> int:
        """The largest rank of its modules; 0 for algorithms without one."""
        return max(map(rank_of, self.modules.values()), default=0)

    @property
    def alpha(self) -> float:
        """The alpha of the module with the largest rank; the rank itself where the file has none."""
        top = max(self.modules.values(), key=rank_of)
        return float(top["alpha"]) if "alpha" in top else float(self.rank)


def save_adapter(
    adapter: Adapter | Mapping[str, Tensor],
    path: Path | str,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Writes one .safetensors with kohya's keys; hashes are added to the metadata.

    Alpha stays in single precision: it is one number per module and scales everything.

    Raises:
        BakehouseError: a weight is not a number or does not fit `dtype`; the place cannot be written.
    """
    path = Path(path)
    state = adapter.file_dict() if isinstance(adapter, Adapter) else adapter
    state = _with_file_names(state, metadata or {})
    if not state:
        raise BakehouseError(f"nothing to write into {path}: the adapter holds no weights")
    cast = {}
    for key, tensor in sorted(state.items()):
        kept = tensor.detach().to("cpu", torch.float32 if key.endswith(".alpha") else dtype).contiguous().clone()
        if not bool(torch.isfinite(kept).all()):
            why = "is not a number" if not bool(torch.isfinite(tensor).all()) else f"does not fit {dtype}"
            raise BakehouseError(f"{key} {why}: {path} was not written", hint="go back to an earlier checkpoint")
        cast[key] = kept
    header = with_hashes(cast, {k: as_text(v) for k, v in (metadata or {}).items()})
    with atomic_path(path) as temporary:
        save_file(cast, temporary, metadata=header)
        sort_header(temporary)
    return path


def _with_file_names(state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> dict[str, Tensor]:
    """A state by our keys under the names that its file has."""
    modules: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        stem, _, suffix = key.partition(".")
        modules.setdefault(stem, {})[suffix] = tensor
    names = file_names(modules, {k: as_text(v) for k, v in metadata.items()})
    return {f"{names[stem]}.{suffix}": t for stem, tensors in modules.items() for suffix, t in tensors.items()}


def read_adapter(path: Path | str) -> AdapterFile:
    """Reads an adapter file of kohya, LyCORIS, diffusers or PEFT; nothing is put on a model yet.

    Raises:
        UsageError: not there, or no adapter.
        BakehouseError: broken.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"adapter {path} does not exist")
    state, metadata = _read(path)
    return from_state(state, metadata, source=str(path), peft=_peft_settings(path, metadata))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if path.suffix != ".safetensors":
        raise UsageError(f"adapter {path} is no .safetensors file", hint="pickles are not read: they can run any code")
    try:
        with safe_open(path, framework="pt", device="cpu") as f:
            return {key: f.get_tensor(key) for key in f.keys()}, dict(f.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as e:
        raise BakehouseError(f"cannot read {path}: {e}", hint="the file is damaged or cut off; fetch it again") from e


def from_state(
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    source: str = "the adapter",
    peft: Mapping[str, Any] | None = None,
) -> AdapterFile:
    """An adapter from tensors under anybody's names.

    Raises:
        UsageError: no tensor of it belongs to an adapter.
    """
    modules, strange = to_kohya(state, metadata)
    if not modules or len(strange) > len(state) / 2:
        first = ", ".join(sorted(state)[:3]) or "none"
        raise UsageError(f"{source} is no adapter: its first keys are {first}")
    kind = algorithm_of(suffix for tensors in modules.values() for suffix in tensors)
    for stem, tensors in modules.items():
        down = tensors.get("lora_down.weight")
        if down is not None and "alpha" not in tensors:
            tensors["alpha"] = torch.tensor(_peft_alpha(stem, int(down.shape[0]), peft or {}))
    return AdapterFile(modules, dict(metadata or {}), kind, source)


def _peft_settings(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """PEFT keeps alpha beside the weights: in the header as diffusers writes it, or in adapter_config.json."""
    if "lora_adapter_metadata" in metadata:
        return dict(json.loads(metadata["lora_adapter_metadata"]))
    beside = path.parent / "adapter_config.json"
    return dict(read_json(beside)) if path.name.startswith("adapter_model") and beside.is_file() else {}


def _peft_alpha(stem: str, rank: int, peft: Mapping[str, Any]) -> float:
    """Alpha such that alpha / rank is the scale that PEFT uses; a file that says nothing means alpha = rank."""
    parts = {"lora_unet": "unet.", "lora_te2": "text_encoder_2."}
    part = next((name for prefix, name in parts.items() if stem.startswith(prefix)), "text_encoder.")
    own = {k.removeprefix(part): v for k, v in peft.items() if k.startswith(part)} or peft
    alpha = own.get("lora_alpha")
    for pattern, value in (own.get("alpha_pattern") or {}).items():
        if stem.endswith(pattern.strip("^$").replace("\\.", "_").replace(".", "_")):
            alpha = value
    if alpha is None:
        return float(rank)
    return float(alpha) * math.sqrt(rank) if own.get("use_rslora") else float(alpha)


def load_adapter(
    source: Path | str | AdapterFile | Mapping[str, Tensor],
    parts: Mapping[str, nn.Module],
    weight: float = 1.0,
    *,
    reader: type[AdapterLayer] | None = None,
) -> LayerAdapter:
    """Puts an adapter file on a model's networks; rank and alpha come from the file.

    Args:
        parts: the networks by kohya's prefix, as `Denoiser.parts()` gives them.
        weight: how strong, 1 as trained; negative is allowed (sliders).
        reader: the layer to make of tensors that several could read; none: the first of `READERS`.

    Raises:
        UsageError: made for another base, for modules that are not here, or by an algorithm that is not known here.
    """
    if isinstance(source, AdapterFile):
        file = source
    elif isinstance(source, str | Path):
        file = read_adapter(source)
    else:
        file = from_state(source)
    layers = _fit(file, parts, READERS if reader is None else (reader, *READERS))
    freeze(parts.values())
    adapter = LayerAdapter(layers)
    adapter.set_multiplier(weight)
    return adapter.eval()


_Readers = tuple[type[AdapterLayer], ...]


def _fit(file: AdapterFile, parts: Mapping[str, nn.Module], readers: _Readers) -> list[tuple[Site, AdapterLayer]]:
    sites = {site.stem: site for site in all_sites(parts, norms=True)}
    # SDXL counts its text encoders, SD 1.x does not; trainers mix the two up.
    sites.update({s.stem.replace("lora_te_", "lora_te1_", 1): s for s in sites.values() if s.prefix == "lora_te"})
    sites.update(
        {s.stem.replace("lora_te1_", "lora_te_", 1): s for s in list(sites.values()) if s.prefix == "lora_te1"}
    )
    has_text = any(prefix != "lora_unet" for prefix in parts)
    wanted = {stem: t for stem, t in file.modules.items() if has_text or not stem.startswith("lora_te")}
    missing = [stem for stem in wanted if stem not in sites]
    seems = meant_for(file.modules)
    made_for = f": it seems to be made for {seems}" if seems else ""
    if len(missing) == len(wanted):
        raise UsageError(
            f"{file.source} fits none of this model's modules{made_for}", hint=f"its modules: {_some(missing)}"
        )
    if missing:
        raise UsageError(
            f"{file.source}: {len(missing)} of {len(wanted)} modules are not in this model{made_for}",
            hint=_some(missing),
        )
    return [(sites[stem], _layer(file, stem, tensors, sites[stem].module, readers)) for stem, tensors in wanted.items()]


def _layer(file: AdapterFile, stem: str, tensors: Mapping[str, Tensor], base: Base, readers: _Readers) -> AdapterLayer:
    reader = next((layer for layer in readers if layer.reads(tensors)), None)
    if reader is None:
        known = ", ".join(layer.algorithm for layer in READERS)
        raise UsageError(
            f"{file.source} is a {algorithm_of(tensors)} adapter: known here are {known}", hint=f"module {stem}"
        )
    try:
        return reader.from_tensors(tensors, base)
    except ValueError as e:
        seems = meant_for(file.modules)
        made_for = f"; it seems to be made for {seems}" if seems else ""
        raise UsageError(f"{file.source} does not fit this model: {stem}: {e}{made_for}") from e


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


__all__ = [
    "AdapterFile",
    "from_state",
    "load_adapter",
    "metadata_for",
    "read_adapter",
    "save_adapter",
    "to_diffusers",
]
