"""Adapter files in memory: `AdapterFile`, its layers, and writing one .safetensors with kohya's keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from bakehouse.adapters.adapter import Adapter
from bakehouse.adapters.boft import BOFTLayer
from bakehouse.adapters.file_coverage import BUNDLED, Coverage, UnappliedItem, coverage_of_keys
from bakehouse.adapters.file_metadata import as_text, metadata_for, sort_header, with_hashes
from bakehouse.adapters.full_diff import DiffLayer
from bakehouse.adapters.glora import GLoRALayer
from bakehouse.adapters.header_coverage import coverage_of_header
from bakehouse.adapters.ia3 import IA3Layer
from bakehouse.adapters.input_rotation_layer import InputRotationLayer
from bakehouse.adapters.layer import BIAS, AdapterLayer, Base
from bakehouse.adapters.loha import LoHaLayer
from bakehouse.adapters.lokr import LoKrLayer
from bakehouse.adapters.lora import LoRALayer
from bakehouse.adapters.module_names import file_names
from bakehouse.adapters.norm_layers import NormLayer
from bakehouse.adapters.oft import OFTLayer
from bakehouse.adapters.peft_format import PeftSettings, standardize
from bakehouse.adapters.tensor_names import (
    SortedTensors,
    algorithm_of,
    group_by_module,
    guess_base,
    rank_of,
    to_diffusers,
)
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import atomic_path
from bakehouse.core.finite import check_finite, count_not_finite

Readers = tuple[type[AdapterLayer], ...]

READERS: Readers = (
    LoRALayer,
    LoHaLayer,
    LoKrLayer,
    IA3Layer,
    OFTLayer,
    BOFTLayer,
    GLoRALayer,
    DiffLayer,
    NormLayer,
    InputRotationLayer,
)
"""The layer classes in the order in which they are tried on a module's tensors."""


@dataclass(frozen=True)
class AdapterFile:
    """The content of an adapter file, by kohya's stems and suffixes."""

    modules: Mapping[str, Mapping[str, Tensor]]
    metadata: Mapping[str, str]
    kind: str
    """The algorithm: `LoRA`, `LoHa`, ..."""
    source: str
    """The path or a description, for messages."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that belong to no module, by their own keys; they are copied into files made from this one."""
    coverage: Coverage = field(default_factory=Coverage)
    """The tensors and settings that are not applied, and why."""

    @property
    def state(self) -> dict[str, Tensor]:
        """All tensors by kohya's keys."""
        own = {f"{stem}.{suffix}": t for stem, tensors in self.modules.items() for suffix, t in tensors.items()}
        return {**own, **self.extras}

    @property
    def rank(self) -> int:
        """The largest rank of its modules; 0 for algorithms without one."""
        return max(map(rank_of, self.modules.values()), default=0)

    @property
    def alpha(self) -> float:
        """The alpha of the module with the largest rank; the rank itself if the file has none."""
        top = max(self.modules.values(), key=rank_of)
        return float(top["alpha"]) if "alpha" in top else float(self.rank)


def save_adapter(
    adapter: Adapter | Mapping[str, Tensor],
    path: Path | str,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write one .safetensors with kohya's keys; hashes are added to the metadata.

    Alpha stays in single precision: it is one number per module and scales everything.

    Raises:
        BakehouseError: a value is NaN or overflows `dtype`, or the file cannot be written.
    """
    path = Path(path)
    state = adapter.file_dict() if isinstance(adapter, Adapter) else adapter
    state = _with_file_names(state, metadata or {})
    if not state:
        raise BakehouseError(f"nothing to write to {path}: the adapter has no weights")
    cast = {}
    for key, tensor in sorted(state.items()):
        kept = tensor.detach().to("cpu", torch.float32 if key.endswith(".alpha") else dtype).contiguous().clone()
        if count_not_finite(kept):
            why = "holds NaN or infinity" if count_not_finite(tensor) else f"overflows {dtype}"
            raise BakehouseError(f"{key} {why}: {path} was not written", hint="go back to an earlier checkpoint")
        cast[key] = kept
    header = with_hashes(cast, {k: as_text(v) for k, v in (metadata or {}).items()})
    with atomic_path(path) as temporary:
        save_file(cast, temporary, metadata=header)
        sort_header(temporary)
    return path


def _with_file_names(state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a state with the module names that its file has."""
    modules: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        stem, _, suffix = key.partition(".")
        modules.setdefault(stem, {})[suffix] = tensor
    names = file_names(modules, {k: as_text(v) for k, v in metadata.items()})
    return {f"{names[stem]}.{suffix}": t for stem, tensors in modules.items() for suffix, t in tensors.items()}


def coverage_of_tensors(
    found: SortedTensors, modules: Mapping[str, Mapping[str, Tensor]], metadata: Mapping[str, str], peft: PeftSettings
) -> Coverage:
    """Return what of a file's tensors and settings is not applied."""
    suffixes = {name for tensors in modules.values() for name in tensors}
    coverage = coverage_of_keys(found.unknown) + peft.coverage() + coverage_of_header(metadata, suffixes)
    return sum((_coverage_of_module(stem, tensors, found.keys) for stem, tensors in modules.items()), coverage)


def from_state(
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    source: str = "the adapter",
    peft: PeftSettings | None = None,
    strict: bool = True,
    drop: Sequence[str] = (),
) -> AdapterFile:
    """Make an `AdapterFile` of tensors with the names of any program.

    Args:
        peft: PEFT's settings of these tensors.
        strict: as in `read_safetensors_adapter`; `drop` too.

    Raises:
        UsageError: the tensors are not an adapter's, or some cannot be applied.
        BakehouseError: a tensor holds NaN or infinity.
    """
    state = without(state, drop, source)
    found = group_by_module(state, metadata, source=source)
    foreign = [key for key in found.unknown if not key.startswith(BUNDLED)]
    if not found.modules or len(foreign) > len(state) / 2:
        first = ", ".join(sorted(state)[:3]) or "none"
        raise UsageError(f"{source} is not an adapter: its first keys are {first}")
    kind = algorithm_of(suffix for tensors in found.modules.values() for suffix in tensors)
    settings = peft or PeftSettings()
    try:
        modules = {s: standardize(tensors, s, found.paths[s], settings) for s, tensors in found.modules.items()}
    except UsageError as e:
        raise UsageError(f"{source}: {e.message}", hint=e.hint) from e
    coverage = coverage_of_tensors(found, modules, metadata or {}, settings)
    if strict:
        coverage.check(source)
        check_finite({**state, **_alphas(modules)}, source, hint=_EARLIER)
    extras = {key: state[key] for key in found.unknown}
    return AdapterFile(modules, dict(metadata or {}), kind, source, extras, coverage)


_EARLIER = (
    "go back to an earlier checkpoint, or download the file again; `bakehouse weights info FILE` names the modules"
)


def _alphas(modules: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return every alpha by its key; PEFT's alphas are not tensors of the file."""
    return {f"{stem}.alpha": tensors["alpha"] for stem, tensors in modules.items() if "alpha" in tensors}


def without(state: Mapping[str, Tensor], patterns: Sequence[str], source: str) -> Mapping[str, Tensor]:
    """Return a file's tensors without those whose keys match one of the patterns.

    Raises:
        UsageError: a pattern matches no key.
    """
    for pattern in patterns:
        if not any(fnmatchcase(key, pattern) for key in state):
            raise matches_nothing(pattern, source)
    return {key: t for key, t in state.items() if not any(fnmatchcase(key, pattern) for pattern in patterns)}


def matches_nothing(pattern: str, source: str) -> UsageError:
    """Return the error of a pattern that matches no key of a file."""
    return UsageError(
        f"{source} has no tensor that matches {pattern!r}", hint="`bakehouse weights info FILE --keys` lists them"
    )


def _coverage_of_module(stem: str, tensors: Mapping[str, Tensor], keys: Mapping[tuple[str, str], str]) -> Coverage:
    """Return a module's tensors that its algorithm does not use, by the file's own keys if known."""
    named = {suffix: keys.get((stem, suffix), f"{stem}.{suffix}") for suffix in tensors}
    reader = _reader_of(tensors, READERS)
    if reader is None:
        known = ", ".join(layer.algorithm for layer in READERS)
        why = f"unsupported algorithm {algorithm_of(tensors)}; supported are {known}"
        return Coverage(tuple(UnappliedItem(key, "refused", why) for key in named.values()))
    surplus = [suffix for suffix in tensors if suffix not in reader.suffixes and suffix != BIAS]
    why = f"{reader.algorithm} does not use this tensor"
    entries = [UnappliedItem(named[suffix], "refused", why) for suffix in surplus if suffix != "alpha"]
    if "alpha" in surplus:
        entries.append(UnappliedItem(named["alpha"], "carried", f"{reader.algorithm} has no alpha"))
    if "alpha" in tensors and tensors["alpha"].numel() != 1:
        many = f"alpha must be one number, not {tensors['alpha'].numel()}"
        entries.append(UnappliedItem(named["alpha"], "refused", many))
    return Coverage(tuple(entries))


def _reader_of(tensors: Mapping[str, Tensor], readers: Readers) -> type[AdapterLayer] | None:
    return next((layer for layer in readers if layer.recognizes(tensors)), None)


def read_layer(
    file: AdapterFile, stem: str, base: Base, readers: Readers = READERS, *, where: str = "this model"
) -> AdapterLayer:
    """Return one module's layer with all of its tensors in the file.

    Raises:
        UsageError: an unsupported algorithm, tensors that it does not use, or shapes that do not fit.
    """
    tensors = file.modules[stem]
    _coverage_of_module(stem, tensors, {}).check(file.source)
    reader = _reader_of(tensors, readers)
    assert reader is not None
    try:
        layer = reader.from_tensors(tensors, base)
        if BIAS in tensors and BIAS not in reader.suffixes:
            layer.set_bias_delta(tensors[BIAS], base)
    except ValueError as e:
        guess = guess_base(file.modules)
        made_for = f"; it seems to be made for {guess}" if guess else ""
        raise UsageError(f"{file.source} does not fit {where}: {stem}: {e}{made_for}") from e
    return layer


__all__ = [
    "AdapterFile",
    "from_state",
    "metadata_for",
    "save_adapter",
    "to_diffusers",
]
