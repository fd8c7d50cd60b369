"""Merging of adapters into a base: W' = W + sum of strength x ΔW in single precision, tensor by tensor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.adapter_reader import read_adapter
from bakehouse.adapters.layer import BIAS
from bakehouse.adapters.module_names import full_name, same_module
from bakehouse.adapters.tensor_files import (
    Planned,
    Shape,
    TensorFile,
    check_output_path,
    dtype_of,
    open_tensors,
    write_tensors,
)
from bakehouse.adapters.tensor_names import guess_base
from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent
from bakehouse.core.files import atomic_folder
from bakehouse.core.message_text import listed
from bakehouse.weights.base_modules import BaseModel, Place, network_files, open_base
from bakehouse.weights.dense_delta import bias_of, layer_of
from bakehouse.weights.result import ModuleResult, Result

_NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")
_WHOLE = {"text_encoder": "model.safetensors", "text_encoder_2": "model.safetensors"}


@dataclass(frozen=True)
class WeightedAdapter:
    """An adapter with its strength; 1 as trained."""

    file: AdapterFile
    unet: float = 1.0
    text: float = 1.0

    def strength(self, stem: str) -> float:
        """Return the strength in one module."""
        return self.unet if stem.startswith("lora_unet_") else self.text


def weighted(source: Path | str | AdapterFile, unet: float = 1.0, text: float | None = None) -> WeightedAdapter:
    """Open an adapter to merge; without `text`, text encoders have the UNet's strength."""
    file = source if isinstance(source, AdapterFile) else read_adapter(source)
    return WeightedAdapter(file, unet, unet if text is None else text)


def merge_into_base(
    base: Path | str,
    adapters: Sequence[WeightedAdapter],
    out: Path | str,
    *,
    dtype: str | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """Write the base with the adapters merged into its weights, a folder or a single file as the base is.

    Args:
        dtype: fp32, fp16 or bf16 for all floating-point tensors; None: as in the base.

    Raises:
        UsageError: an adapter has modules that the base does not have, or does not fit.
        BakehouseError: a sum overflows `dtype`.
    """
    out, base = Path(out), Path(base)
    check_output_path(out, [base, *(Path(a.file.source) for a in adapters)], overwrite=overwrite, makes="either")
    if base.is_file() and out.suffix != ".safetensors":
        raise UsageError(f"{base} is a single file: {out} must end in .safetensors")
    with open_base(base) as model:
        work = _Work(model, adapters, dtype_of(dtype))
        results, notes = work.check()
        if dry_run:
            return Result(out, results, True, notes)
        if base.is_file():
            file = model.files[base]
            header = {**file.metadata, **merged_header(base, adapters)}
            write_tensors(out, list(work.plan(file)), header, on_event=on_event)
        else:
            with atomic_folder(out) as folder:
                _copy_folder(base, folder, work, on_event)
    return Result(out, results, False, notes)


class _Work:
    """The adapters that change each tensor of the base."""

    def __init__(self, model: BaseModel, adapters: Sequence[WeightedAdapter], dtype: torch.dtype | None) -> None:
        self.model, self.adapters, self.dtype = model, adapters, dtype
        self.stems = [{same_module(stem): stem for stem in a.file.modules} for a in adapters]
        self.by_key: dict[tuple[Path, str], list[tuple[str, str, Place]]] = {}
        touched = {stem for stems in self.stems for stem in stems}
        for kind, places in (("weight", model.weights), ("bias", model.biases)):
            for stem in touched & places.keys():
                place = places[stem]
                self.by_key.setdefault((place.file, place.key), []).append((stem, kind, place))

    def check(self) -> tuple[tuple[ModuleResult, ...], tuple[str, ...]]:
        """Check every module against the base before anything is written.

        Raises:
            UsageError: the base does not have a module, or it does not fit.
        """
        results: list[ModuleResult] = []
        notes: list[str] = []
        for adapter, stems in zip(self.adapters, self.stems, strict=True):
            missing = [stem for stem in stems if stem not in self.model.weights]
            if missing:
                guess = guess_base(adapter.file.modules)
                raise UsageError(
                    f"{adapter.file.source}: {len(missing)} of {len(stems)} modules are not in {self.model.path}"
                    + (f": it seems to be made for {guess}" if guess else ""),
                    hint=listed(missing, 4),
                )
            for stem, own in stems.items():
                shape = self.model.shape(self.model.weights[stem])
                layer_of(adapter.file, own, torch.empty(shape.shape, device="meta"), self._empty_bias(stem))
                lost = bias_of(adapter.file.modules[own]).get(BIAS)
                if lost is not None and stem not in self.model.biases and bool(lost.any()):
                    raise UsageError(
                        f"{adapter.file.source} adds a bias to {own}, which has none in {self.model.path}",
                        hint="apply the adapter without merging, as `generate --adapter` does; or leave the bias out: "
                        "`bakehouse weights convert FILE --drop PATTERN -o PATH`",
                    )
                down = adapter.file.modules[own].get("lora_down.weight")
                results.append(ModuleResult(full_name(stem), int(down.shape[0]) if down is not None else 0, 0.0, 0.0))
            notes.extend(f"{adapter.file.source}: {note}" for note in adapter.file.coverage.notes)
            if not any(adapter.strength(s) for s in stems):
                notes.append(f"{adapter.file.source} has strength 0 and changes nothing")
        return tuple(results), tuple(notes)

    def plan(self, file: TensorFile) -> Iterator[Planned]:
        """Yield every tensor of one of the base's files, changed or not."""
        for key, shape in file.shapes.items():
            dtype = self.dtype if self.dtype is not None and shape.dtype.is_floating_point else shape.dtype
            yield Planned(key, Shape(dtype, shape.shape), _Maker(self, file, key))

    @torch.no_grad()
    def make(self, file: TensorFile, key: str) -> Tensor:
        """Return one tensor plus the adapters' changes; unchanged ones are bit-identical."""
        tensor = file[key]
        changes = self.by_key.get((file.path, key))
        if not changes:
            return tensor
        whole = tensor.float() if tensor.dtype != torch.float32 else tensor.clone()
        for stem, kind, place in changes:
            part = place.of(whole)
            part.copy_(self._changed(stem, kind, part.clone()))
        return whole

    def _empty_bias(self, stem: str) -> Tensor | None:
        """Return a placeholder for a module's bias, since layers need its shape."""
        place = self.model.biases.get(stem)
        return None if place is None else torch.empty(self.model.shape(place).shape, device="meta")

    def _changed(self, stem: str, kind: str, value: Tensor) -> Tensor:
        """Return one module's weight or bias with all adapters merged.

        Every ΔW is computed from the base's own weight, so that the order of adapters does not matter.
        """
        changed = value.clone()
        for adapter, stems in zip(self.adapters, self.stems, strict=True):
            strength = adapter.strength(stem)
            if stem not in stems or strength == 0.0:
                continue
            weight = value if kind == "weight" else self.model.read(self.model.weights[stem]).float()
            layer = layer_of(adapter.file, stems[stem], weight, self._empty_bias(stem))
            delta = layer.delta(weight) if kind == "weight" else layer.bias_delta(value)
            if delta is not None:
                changed += strength * delta.float().reshape(changed.shape)
        return changed


@dataclass(frozen=True)
class _Maker:
    work: _Work
    file: TensorFile
    key: str

    def __call__(self) -> Tensor:
        return self.work.make(self.file, self.key)


def merged_header(base: Path, adapters: Sequence[WeightedAdapter]) -> Mapping[str, str]:
    """Return ModelSpec's `merged_from` of a merged model."""
    sources = ", ".join(f"{Path(a.file.source).stem} x {a.unet:g}" for a in adapters)
    return {"modelspec.merged_from": f"{base.stem}, {sources}"}


def _copy_folder(base: Path, folder: Path, work: _Work, on_event: OnEvent | None) -> None:
    """Copy a diffusers folder: settings unchanged, each network's weights as one .safetensors."""
    for part in sorted(p for p in base.iterdir() if p.is_dir()):
        if part.name in _NETWORKS:
            _copy_network(part, folder / part.name, work, on_event)
        else:
            shutil.copytree(part, folder / part.name)
    for file in (p for p in base.iterdir() if p.is_file() and p.suffix in (".json", ".md", ".txt")):
        shutil.copy2(file, folder / file.name)


def _copy_network(part: Path, folder: Path, work: _Work, on_event: OnEvent | None) -> None:
    folder.mkdir(parents=True)
    for file in part.glob("*.json"):
        if not file.name.endswith(".index.json"):
            shutil.copy2(file, folder / file.name)
    files = network_files(part)
    if not files:
        return
    planned: list[Planned] = []
    opened = [work.model.files[f] for f in files if f in work.model.files]
    if opened:
        for one in opened:
            planned.extend(work.plan(one))
        _write_network(part, folder, planned, opened[0].metadata, on_event)
        return
    for path in files:
        with open_tensors(path) as other:
            planned = list(work.plan(other))
            name = path.with_suffix(".safetensors").name
            write_tensors(folder / name, planned, {"format": "pt", **other.metadata}, on_event=on_event)


def _write_network(
    part: Path, folder: Path, planned: list[Planned], metadata: Mapping[str, str], on_event: OnEvent | None
) -> None:
    name = _WHOLE.get(part.name, "diffusion_pytorch_model.safetensors")
    write_tensors(folder / name, planned, {"format": "pt", **metadata}, on_event=on_event)
