"""Modules of a base model on disk, a diffusers folder or a single file, of any family.

No network is built: an adapter's module is found by its name, and its weight is read when needed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bakehouse.adapters.module_names import from_compvis, from_openclip, same_module
from bakehouse.adapters.tensor_files import Shape, TensorFile, open_tensors
from bakehouse.core.errors import UsageError

_NETWORKS = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}
_CLIP = {"cond_stage_model.transformer.": "lora_te_", "conditioner.embedders.0.transformer.": "lora_te_"}
_OPENCLIP = {"cond_stage_model.model.": "lora_te_", "conditioner.embedders.1.model.": "lora_te2_"}
_UNET = "model.diffusion_model."
_THIRDS = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Place:
    """Location of one module's tensor: a whole one, or the n-th third of the rows of OpenCLIP's `in_proj`."""

    file: Path
    key: str
    third: int | None = None

    def of(self, tensor: Tensor) -> Tensor:
        """Return a view of its part of the file's tensor."""
        return tensor if self.third is None else tensor.chunk(3)[self.third]


class BaseModel:
    """An open base model; modules by the stems of `same_module`."""

    def __init__(self, path: Path, files: Mapping[Path, TensorFile], places: Mapping[str, dict[str, Place]]) -> None:
        self.path = path
        self.files = files
        self.weights, self.biases = places["weight"], places["bias"]

    def find(self, stem: str) -> Place | None:
        """Return the location of a module's weight, by its stem in any of kohya's spellings."""
        return self.weights.get(same_module(stem))

    def read(self, place: Place) -> Tensor:
        """Return one module's tensor as it is in the file."""
        return place.of(self.files[place.file][place.key])

    def weight(self, stem: str) -> Tensor:
        """Return one module's weight.

        Raises:
            UsageError: there is no such module.
        """
        place = self.find(stem)
        if place is None:
            raise UsageError(f"{self.path} has no module {stem}")
        return self.read(place)

    def shape(self, place: Place) -> Shape:
        """Return one module's type and shape, without reading it."""
        whole = self.files[place.file].shapes[place.key]
        if place.third is None:
            return whole
        return Shape(whole.dtype, (whole.shape[0] // 3, *whole.shape[1:]))

    @property
    def has_text(self) -> bool:
        return any(not stem.startswith("lora_unet_") for stem in self.weights)


@contextlib.contextmanager
def open_base(path: Path | str) -> Iterator[BaseModel]:
    """Open a diffusers folder or a single file.

    Raises:
        UsageError: it does not exist, or is not a base model.
        BakehouseError: it is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"base model {path} does not exist")
    with contextlib.ExitStack() as stack:
        found = _folder_files(path) if path.is_dir() else {path: ""}
        files = {file: stack.enter_context(open_tensors(file)) for file in found}
        places: dict[str, dict[str, Place]] = {"weight": {}, "bias": {}}
        for file, prefix in found.items():
            shapes = files[file].shapes
            named = _folder_names(shapes, prefix) if prefix else _single_names(shapes)
            for stem, leaf, key, third in named:
                places[leaf][stem] = Place(file, key, third)
        if not any(stem.startswith("lora_unet_") for stem in places["weight"]):
            raise UsageError(
                f"{path} is not a base model: it has no UNet", hint="pass a diffusers folder or a single file"
            )
        yield BaseModel(path, files, places)


def _folder_files(folder: Path) -> dict[Path, str]:
    """Weight files of a folder's networks and the stem's prefix of each."""
    found = {file: prefix for part, prefix in _NETWORKS.items() for file in network_files(folder / part)}
    if not found:
        inside = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
        raise UsageError(f"{folder} is not a diffusers model: it has no weights of a network (it contains {inside})")
    return found


def network_files(folder: Path) -> list[Path]:
    """Return a network's weight files: safetensors before pickles, full before half precision and non-EMA weights."""
    for suffix in (".safetensors", ".bin"):
        files = sorted(p for p in folder.glob(f"*{suffix}") if p.is_file()) if folder.is_dir() else []
        plain = [p for p in files if not re.search(r"\.(fp16|bf16|non_ema)\b", p.name)]
        if files:
            return plain or [p for p in files if "non_ema" not in p.name] or files
    return []


_Named = Iterator[tuple[str, str, str, int | None]]
"""Stem, `weight` or `bias`, key and third."""


def _folder_names(shapes: Mapping[str, Shape], prefix: str) -> _Named:
    for key in shapes:
        module, _, leaf = key.rpartition(".")
        if leaf in ("weight", "bias"):
            if prefix != "lora_unet_" and not module.startswith(("text_model", "text_projection")):
                module = f"text_model.{module}"
            yield prefix + module.replace(".", "_"), leaf, key, None


def _single_names(shapes: Mapping[str, Shape]) -> _Named:
    layers = _layers_per_level(shapes)
    for key in shapes:
        module, _, leaf = key.rpartition(".")
        if leaf in ("in_proj_weight", "in_proj_bias"):
            yield from _thirds(key, module, leaf.removeprefix("in_proj_"))
        elif leaf in ("weight", "bias"):
            stem = _single_stem(module, layers)
            if stem:
                yield stem, leaf, key, None


def _layers_per_level(shapes: Mapping[str, Shape]) -> int:
    """Return the resnets of a level: the first downsampler comes after them."""
    found = (re.fullmatch(rf"{re.escape(_UNET)}input_blocks\.(\d+)\.0\.op\.weight", k) for k in shapes)
    return min((int(m[1]) for m in found if m), default=3) - 1


def _single_stem(module: str, layers: int) -> str:
    if module.startswith(_UNET):
        return "lora_unet_" + from_compvis(module.removeprefix(_UNET), layers).replace(".", "_")
    for start, prefix in _CLIP.items():
        if module.startswith(start):
            bare = module.removeprefix(start).removeprefix("text_model.")
            return f"{prefix}text_model_{bare.replace('.', '_')}"
    for start, prefix in _OPENCLIP.items():
        if module.startswith(start):
            return prefix + from_openclip(module.removeprefix(start)).replace(".", "_")
    return ""


def _thirds(key: str, module: str, leaf: str) -> _Named:
    for start, prefix in _OPENCLIP.items():
        if module.startswith(start):
            block = from_openclip(f"{module.removeprefix(start)}.x").removesuffix(".attn.x")
            for n, name in enumerate(_THIRDS):
                yield f"{prefix}{block.replace('.', '_')}_self_attn_{name}", leaf, key, n
