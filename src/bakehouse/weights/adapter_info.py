"""Information on an adapter file: algorithm, base, ranks, norms by block, triggers, header, programs that load it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.adapter_reader import read_adapter
from bakehouse.adapters.file_coverage import Coverage
from bakehouse.adapters.module_names import full_name
from bakehouse.adapters.tensor_files import Shape, float_types, open_tensors
from bakehouse.adapters.tensor_names import algorithm_of, families_of, guess_base, rank_of, split_key
from bakehouse.core.errors import UsageError
from bakehouse.core.files_of_adapter import adapter_files
from bakehouse.core.finite import count_not_finite
from bakehouse.core.message_text import counted
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.weights.dense_delta import is_plain, matrices, scale_of
from bakehouse.weights.program_support import FAMILIES, Verdict, program_verdicts

_MOST_TAGS = 50


@dataclass(frozen=True)
class Module:
    """One adapted module."""

    name: str
    algorithm: str
    rank: int | None
    alpha: float | None
    norm: float | None
    """Frobenius norm of ΔW; None if it depends on the base's weight."""
    bad: bool
    """Whether a tensor holds NaN or infinity."""


@dataclass(frozen=True)
class Block:
    """A level of a network: `unet.down_blocks.1`."""

    name: str
    modules: int
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    norm: float | None


@dataclass(frozen=True)
class AdapterInfo:
    """Information that a file gives without its base."""

    path: str
    algorithms: Mapping[str, int]
    """Number of modules of each algorithm."""
    base: str
    modules: tuple[Module, ...]
    blocks: tuple[Block, ...]
    triggers: tuple[str, ...]
    tags: Mapping[str, int]
    """The most frequent tags of its captions."""
    recipe: str | None
    metadata: Mapping[str, str]
    dtypes: tuple[str, ...]
    bytes: int
    loaders: tuple[Verdict, ...]
    notes: tuple[str, ...]
    coverage: Coverage
    """The tensors and settings that are not applied, each with the reason."""
    shapes: Mapping[str, Shape]

    def to_json(self, *, keys: bool = False) -> dict[str, Any]:
        """Return plain values; with `keys` every tensor too."""
        found: dict[str, Any] = {
            "kind": "adapter",
            "path": self.path,
            "algorithms": dict(self.algorithms),
            "base": self.base,
            "dtypes": list(self.dtypes),
            "bytes": self.bytes,
            "triggers": list(self.triggers),
            "tags": dict(self.tags),
            "loaders": {
                v.program: {"loads": v.loads, "only_at_weight_1": bool(v.limits), "why": v.why} for v in self.loaders
            },
            "notes": list(self.notes),
            "not_applied": self.coverage.to_json(),
            "blocks": [asdict(b) for b in self.blocks],
            "modules": [asdict(m) for m in self.modules],
            "recipe": self.recipe,
            "metadata": dict(self.metadata),
        }
        if keys:
            found["keys"] = self.keys()
        return found

    def keys(self) -> list[dict[str, Any]]:
        """Return every tensor: name, type, shape, and the programs that ignore it and why."""
        refused: dict[str, dict[str, str]] = {}
        for verdict in self.loaders:
            for reason, names in verdict.problems.items():
                for name in names:
                    refused.setdefault(name, {})[verdict.program] = reason
        return [
            {
                "key": name,
                "dtype": str(s.dtype).removeprefix("torch."),
                "shape": list(s.shape),
                "refused": refused.get(name, {}),
            }
            for name, s in self.shapes.items()
        ]


def adapter_info(path: Path | str) -> AdapterInfo:
    """Read an adapter file of any format.

    Raises:
        UsageError: not there, or no adapter.
        BakehouseError: broken.
    """
    path = Path(path)
    file = read_adapter(path, strict=False)
    shapes, alphas = _shapes(path)
    modules = tuple(_module(stem, tensors) for stem, tensors in file.modules.items())
    algorithms: dict[str, int] = {}
    for module in modules:
        algorithms[module.algorithm] = algorithms.get(module.algorithm, 0) + 1
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size
    return AdapterInfo(
        path=str(path),
        algorithms=algorithms,
        base=_base(file),
        modules=modules,
        blocks=_blocks(modules),
        triggers=_triggers(file.metadata),
        tags=tag_frequency(file.metadata),
        recipe=file.metadata.get("bakehouse.recipe"),
        metadata=file.metadata,
        dtypes=tuple(float_types(shapes.values())),
        bytes=size,
        loaders=program_verdicts(shapes, alphas=alphas, families=families_of(file.modules, file.metadata) or FAMILIES),
        notes=_notes(modules, file.coverage),
        coverage=file.coverage,
        shapes=shapes,
    )


def _shapes(path: Path) -> tuple[dict[str, Shape], dict[str, float]]:
    """Return every tensor's type and shape, and the alpha of OFT modules, which is their constraint."""
    shapes: dict[str, Shape] = {}
    alphas: dict[str, float] = {}
    for file in adapter_files(path).values():
        with open_tensors(file) as opened:
            shapes.update(opened.shapes)
            rotated = {found[0] for name in opened.shapes if (found := split_key(name)) and found[1] == "oft_blocks"}
            for stem in rotated:
                if (name := f"{stem}.alpha") in opened.shapes and opened.shapes[name].count == 1:
                    alphas[name] = float(opened[name])
    return shapes, alphas


@torch.no_grad()
def _module(stem: str, tensors: Mapping[str, Tensor]) -> Module:
    try:
        name = full_name(stem)
    except UsageError:
        name = stem  # a module of another network keeps its own name
    rank = rank_of(tensors) or None
    alpha = float(tensors["alpha"]) if "alpha" in tensors and tensors["alpha"].numel() == 1 else None
    bad = any(map(count_not_finite, tensors.values()))
    unknown = bad or (alpha is None and "alpha" in tensors)
    norm = None if unknown else _norm(tensors)
    return Module(name, algorithm_of(tensors), rank, alpha, norm, bad)


def _norm(tensors: Mapping[str, Tensor]) -> float | None:
    """Return ||ΔW||_F if it follows from the tensors alone; ||B A||_F from two small Gram matrices."""
    if is_plain(tensors) and all(t.ndim > 0 for n, t in tensors.items() if n != "alpha"):
        B, A = matrices(tensors)
        if B.shape[1] != A.shape[0]:
            return None
        squared = float(((B.T @ B).double() * (A @ A.T).double()).sum())
        return abs(scale_of(tensors)) * math.sqrt(max(0.0, squared))
    whole = tensors.get("diff", tensors.get("w_norm"))
    return float(whole.float().norm()) if whole is not None else None


def _blocks(modules: tuple[Module, ...]) -> tuple[Block, ...]:
    grouped: dict[str, list[Module]] = {}
    for module in modules:
        grouped.setdefault(_block_of(module.name), []).append(module)
    return tuple(_block(name, found) for name, found in sorted(grouped.items()))


def _block(name: str, modules: list[Module]) -> Block:
    norms = [m.norm for m in modules if m.norm is not None]
    whole = math.sqrt(math.fsum(n**2 for n in norms)) if len(norms) == len(modules) else None
    ranks = tuple(sorted({m.rank for m in modules if m.rank is not None}))
    alphas = tuple(sorted({m.alpha for m in modules if m.alpha is not None}))
    return Block(name, len(modules), ranks, alphas, whole)


def _block_of(name: str) -> str:
    m = re.match(r"(unet\.(?:(?:down|up)_blocks\.\d+|mid_block)|text_encoder(?:_2)?)\b", name)
    return m[1] if m else name.split(".", 1)[0] + (".other" if name.startswith("unet.") else "")


def _base(file: AdapterFile) -> str:
    """Return the base model by the modules and by the header."""
    version = file.metadata.get("ss_base_model_version") or file.metadata.get("modelspec.architecture", "")
    name = file.metadata.get("ss_sd_model_name", "")
    guess = guess_base(file.modules)
    return ", ".join(x for x in (name, version, guess) if x and x != "None") or "unknown"


def _triggers(metadata: Mapping[str, str]) -> tuple[str, ...]:
    phrase = metadata.get("modelspec.trigger_phrase", "")
    ours = metadata.get("bakehouse.triggers", "")
    try:
        listed = parse_json(ours) if ours.startswith(("[", "{")) else [w.strip() for w in ours.split(",")]
    except ValueError:
        listed = [ours]
    words = [*[w.strip() for w in phrase.split(",")], *map(str, listed)]
    return tuple(dict.fromkeys(w for w in words if w))


def tag_frequency(metadata: Mapping[str, str], most: int = _MOST_TAGS) -> dict[str, int]:
    """Return the most frequent tags of `ss_tag_frequency`, over all folders; none if it is damaged."""
    try:
        folders = parse_json(metadata.get("ss_tag_frequency", "{}"))
        counts: dict[str, int] = {}
        for tags in folders.values():
            for tag, count in tags.items():
                counts[str(tag).strip()] = counts.get(str(tag).strip(), 0) + int(count)
    except (ValueError, AttributeError, TypeError):
        return {}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])


def _notes(modules: tuple[Module, ...], coverage: Coverage) -> tuple[str, ...]:
    bad = [m.name for m in modules if m.bad]
    dead = [m.name for m in modules if m.norm == 0.0]
    found = []
    if bad:
        found.append(
            f"{counted(len(bad), 'module')} with NaN or infinity, first {bad[0]}: the file cannot be used, "
            "go back to an earlier checkpoint"
        )
    if dead:
        all_of_them = "all of " if len(dead) == len(modules) else ""
        found.append(f"{all_of_them}{counted(len(dead), 'module')} with an update of zero, first {dead[0]}")
    found += [f"refused by bakehouse: {reason}" for reason in coverage.refusals]
    found += [f"not applied: {reason}" for reason in coverage.notes]
    return tuple(found)
