"""Inspection of a weights file, model folder or run folder; other files are reported as unknown, not as an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bakehouse.adapters.tensor_files import WEIGHT_SUFFIXES, Shape, float_types, open_tensors
from bakehouse.core.errors import UsageError
from bakehouse.core.files_of_adapter import adapter_files
from bakehouse.core.run_folder import Run
from bakehouse.models.damaged_files import check_weights, damages, sentence
from bakehouse.models.identify import identify
from bakehouse.models.load import resolve_model
from bakehouse.weights.adapter_info import AdapterInfo, adapter_info
from bakehouse.weights.base_modules import network_files

_NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")
_PREFIXES = {
    "unet": ("model.diffusion_model.",),
    "vae": ("first_stage_model.",),
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0."),
    "text_encoder_2": ("conditioner.embedders.1.",),
}


@dataclass(frozen=True)
class Network:
    """One network of a base model."""

    name: str
    parameters: int
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class ModelInfo:
    """A base model, or another file that is not an adapter."""

    kind: str
    """`base model`, `vae`, `embedding`, ..., or `unknown`."""
    path: str
    family: str
    because: str
    """The evidence for kind and family."""
    networks: tuple[Network, ...] = ()
    dtypes: tuple[str, ...] = ()
    bytes: int = 0
    metadata: Mapping[str, str] | None = None
    loaders: Mapping[str, bool] | None = None
    problems: tuple[str, ...] = ()
    """Missing or damaged files of a base model, with which no program can load it."""
    shapes: Mapping[str, Shape] | None = None

    def to_json(self, *, keys: bool = False) -> dict[str, Any]:
        """Return plain values; with `keys` every tensor too."""
        found = {k: v for k, v in asdict(self).items() if k != "shapes"}
        if keys and self.shapes is not None:
            found["keys"] = [
                {"key": name, "dtype": str(s.dtype).removeprefix("torch."), "shape": list(s.shape)}
                for name, s in self.shapes.items()
            ]
        return found


@dataclass(frozen=True)
class RunInfo:
    """A run folder and its newest weights."""

    path: str
    weights: tuple[str, ...]
    newest: AdapterInfo | ModelInfo | None

    def to_json(self, *, keys: bool = False) -> dict[str, Any]:
        """Return plain values."""
        newest = self.newest.to_json(keys=keys) if self.newest else None
        return {"kind": "run", "path": self.path, "weights": list(self.weights), "newest": newest}


def inspect(path: str | Path) -> AdapterInfo | ModelInfo | RunInfo:
    """Identify a file, folder, Hub id or `crumb`, and return what is known of it.

    Raises:
        UsageError: there is no such file or model.
    """
    path = _place(path)
    if path.is_dir() and (path / "recipe.toml").is_file():
        files = Run.open(path).list_weights()
        return RunInfo(str(path), tuple(map(str, files)), _one(files[-1]) if files else None)
    return _one(path)


def _place(path: str | Path) -> Path:
    found = Path(path).expanduser()
    if found.exists():
        return found
    where = resolve_model(path)  # crumb, or a Hub id
    if where.path is None:
        raise UsageError(f"{path} is not on this machine", hint=f"download it first: bakehouse models fetch {path}")
    return where.path


def _one(path: Path) -> AdapterInfo | ModelInfo:
    try:
        if path.is_dir():
            return adapter_info(path) if adapter_files(path) else _folder(path)
        if path.suffix not in WEIGHT_SUFFIXES:
            return _unknown(path, f"its suffix is not one of {', '.join(WEIGHT_SUFFIXES)}")
        return _file(path)
    except UsageError as e:
        return _unknown(path, e.message)


def _unknown(path: Path, why: str) -> ModelInfo:
    return ModelInfo("unknown", str(path), "", why, bytes=path.stat().st_size if path.is_file() else 0)


def _file(path: Path) -> AdapterInfo | ModelInfo:
    check_weights(path)
    with open_tensors(path) as file:
        shapes, metadata = dict(file.shapes), dict(file.metadata)
    found = identify({name: s.shape for name, s in shapes.items()})
    if found.kind in ("adapter", "unknown"):
        # Some algorithms have keys that only a whole look tells from other things.
        try:
            return adapter_info(path)
        except UsageError:
            if found.kind == "adapter":
                raise
    is_model = found.kind == "checkpoint"
    problems = _problems(path) if is_model else ()
    plain = path.suffix in (".safetensors", ".ckpt") and not problems
    return ModelInfo(
        kind="base model" if is_model else found.kind,
        path=str(path),
        family=found.family,
        because=found.because,
        networks=_networks(shapes) if is_model else (),
        dtypes=tuple(float_types(shapes.values())),
        bytes=path.stat().st_size,
        metadata=metadata,
        loaders={"A1111": plain, "ComfyUI": plain, "diffusers": plain, "sd-scripts": plain} if is_model else None,
        problems=problems,
        shapes=shapes,
    )


def _problems(path: Path) -> tuple[str, ...]:
    """Return a sentence for each damaged or missing file of a base model."""
    return tuple(sentence(e) for e in damages(resolve_model(path)))


def _networks(shapes: Mapping[str, Shape]) -> tuple[Network, ...]:
    found = []
    for name, prefixes in _PREFIXES.items():
        own = [s for key, s in shapes.items() if key.startswith(prefixes)]
        if own:
            found.append(Network(name, sum(s.count for s in own), tuple(float_types(own))))
    return tuple(found)


def _folder(folder: Path) -> ModelInfo:
    family, problems = str(resolve_model(folder).family), _problems(folder)
    networks, shapes = [], {}
    for part in _NETWORKS:
        own: dict[str, Shape] = {}
        for file in network_files(folder / part):
            check_weights(file)
            with open_tensors(file) as opened:
                own.update({f"{part}.{name}": shape for name, shape in opened.shapes.items()})
        if own:
            networks.append(Network(part, sum(s.count for s in own.values()), tuple(float_types(own.values()))))
            shapes.update(own)
    return ModelInfo(
        kind="base model",
        path=str(folder),
        family=family,
        because="model_index.json and unet/config.json",
        networks=tuple(networks),
        dtypes=tuple(float_types(shapes.values())),
        bytes=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
        loaders={"A1111": False, "ComfyUI": False, "diffusers": not problems, "sd-scripts": not problems},
        problems=problems,
        shapes=shapes,
    )
