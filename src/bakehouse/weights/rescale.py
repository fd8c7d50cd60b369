"""Rescaling of the strength stored in an adapter file: alpha is scaled, factors are copied byte for byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.adapter_reader import is_sdxl, read_adapter
from bakehouse.adapters.module_names import dotted, full_name, part_of, to_compvis
from bakehouse.adapters.tensor_files import check_output_path
from bakehouse.adapters.tensor_names import algorithm_of
from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent
from bakehouse.core.settings import Spec
from bakehouse.weights.adapter_writer import network_header, write_adapter
from bakehouse.weights.result import ModuleResult, Result

_BY_ALPHA = ("lora_down.weight", "hada_w1_a", "lokr_w1_a", "lokr_w2_a", "a1.weight")
_RANKED = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b", "b2.weight")
"""Tensors whose first axis is the rank."""
_ITSELF = ("diff", "diff_b", "w_norm", "b_norm", "bias_factors")
_UNSCALED = frozenset({"dora_scale", "oft_blocks", "rotations"})
_SD_ATTENDS = (False, True, True, True)


class Rescale(Spec):
    """Factors on the strength of an adapter; they multiply."""

    factor: float = 1.0
    """For all modules: with 2, strength 0.5 has the effect that 1 had before."""
    unet: float = 1.0
    """Also for the denoising network."""
    text: float = 1.0
    """Also for the text encoders."""
    blocks: dict[str, float] = Field(default_factory=dict)
    """Also for modules, by a pattern on the dotted name (`unet.down_blocks.*`) or a block of A1111's block weights
    (IN04, MID, OUT11). The first that matches counts."""

    @model_validator(mode="after")
    def _does_something(self) -> Rescale:
        if self.factor == self.unet == self.text == 1.0 and not self.blocks:
            raise ValueError("every factor is 1: nothing would change")
        return self

    @classmethod
    def between(cls, weight: float, becomes: float) -> Rescale:
        """Return the factor after which strength `becomes` has the effect of strength `weight` before.

        Raises:
            UsageError: one of them is 0.
        """
        if not weight or not becomes:
            raise UsageError(f"--weight {weight:g} --becomes {becomes:g}: neither may be 0")
        return cls.parse({"factor": weight / becomes}, source="rescale")

    def of(self, stem: str, sdxl: bool) -> float:
        """Return the factor of one module."""
        part = self.unet if stem.startswith("lora_unet_") else self.text
        names = (full_name(stem), dotted(stem), block_name(stem, sdxl))
        block = next((f for p, f in self.blocks.items() if any(fnmatchcase(n, p) for n in names)), 1.0)
        return self.factor * part * block


def block_name(stem: str, sdxl: bool) -> str:
    """Return A1111's name of a module's block: IN04, MID, OUT11, TE; BASE outside of blocks."""
    prefix, _ = part_of(stem)
    if prefix != "lora_unet_":
        return "TE"
    kind, _, rest = to_compvis(dotted(stem), attends=(True, True, False) if sdxl else _SD_ATTENDS).partition(".")
    names = {"input_blocks": "IN", "output_blocks": "OUT"}
    if kind == "middle_block":
        return "MID"
    return f"{names[kind]}{int(rest.split('.')[0]):02d}" if kind in names else "BASE"


def rescale(
    source: Path | str | AdapterFile,
    out: Path | str,
    settings: Rescale,
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """Write the adapter with rescaled modules; a factor of 0 removes a module.

    Raises:
        UsageError: an algorithm whose strength is not a factor (DoRA, OFT, BOFT), or a pattern without a match.
    """
    out = Path(out)
    file = source if isinstance(source, AdapterFile) else read_adapter(source)
    check_output_path(out, [Path(file.source)], overwrite=overwrite)
    sdxl = is_sdxl(file)
    _check_patterns(file, settings, sdxl)
    modules: dict[str, Mapping[str, Tensor]] = {}
    results = []
    for stem, tensors in file.modules.items():
        factor = settings.of(stem, sdxl)
        if factor:
            modules[stem] = _scaled(file, stem, tensors, factor)
        results.append(ModuleResult(full_name(stem), 0, factor, 0.0))
    if not dry_run:
        header = dict(file.metadata)
        if "lora_down.weight" in {name for tensors in modules.values() for name in tensors}:
            own = network_header(modules)
            header.update({k: own[k] for k in ("ss_network_dim", "ss_network_alpha")})
        write_adapter(out, modules, header, extras=file.extras, on_event=on_event)
    factors = {m.name: m.norm for m in results}
    return Result(out, (), dry_run, file.coverage.notes, {"factors": factors})


def _check_patterns(file: AdapterFile, settings: Rescale, sdxl: bool) -> None:
    for pattern in settings.blocks:
        names = [n for s in file.modules for n in (full_name(s), dotted(s), block_name(s, sdxl))]
        if not any(fnmatchcase(n, pattern) for n in names):
            blocks = sorted({block_name(s, sdxl) for s in file.modules})
            raise UsageError(
                f"block {pattern!r} matches no module of {file.source}",
                hint=f"its blocks: {', '.join(blocks)}; names look like {full_name(next(iter(file.modules)))}",
            )


def _scaled(file: AdapterFile, stem: str, tensors: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    if factor == 1.0:
        return dict(tensors)
    if _UNSCALED & tensors.keys():
        raise UsageError(
            f"{file.source}: module {stem} is {algorithm_of(tensors)}, whose strength cannot be stored as a factor",
            hint="use it at another strength, or make a LoRA of it: `weights resize --to-lora --base MODEL`",
        )
    made = {n: _times(t, factor) if n in _ITSELF else t for n, t in tensors.items()}
    if any(name in tensors for name in _BY_ALPHA):
        return {**made, "alpha": _alpha(tensors) * factor}
    single = next((n for n in ("lokr_w1", "weight") if n in tensors), None)
    if single is not None:
        return {**made, single: _times(tensors[single], factor)}
    if not any(name in tensors for name in _ITSELF):
        raise UsageError(
            f"{file.source}: module {stem} is {algorithm_of(tensors)}, which cannot be rescaled in the file"
        )
    return made


def _times(tensor: Tensor, factor: float) -> Tensor:
    return (tensor.float() * factor).to(tensor.dtype)


def _alpha(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the file's alpha in single precision; the rank if there is none."""
    if "alpha" in tensors:
        return tensors["alpha"].float()
    return torch.tensor(float(next(tensors[n].shape[0] for n in _RANKED if n in tensors)))


def rescale_of(
    weight: float | None,
    becomes: float | None,
    *,
    factor: float = 1.0,
    unet: float = 1.0,
    text: float = 1.0,
    blocks: Sequence[str] = (),
) -> Rescale:
    """Make a `Rescale` from options: `weight` and `becomes` together, blocks as `IN04=0.5`.

    Raises:
        UsageError: one of the two is missing, or a block has no number.
    """
    if (weight is None) != (becomes is None):
        raise UsageError("--weight and --becomes must be given together", hint="--weight 0.5 --becomes 1.1")
    if weight is not None and becomes is not None:
        factor *= Rescale.between(weight, becomes).factor if weight != becomes else 1.0
    values = {"factor": factor, "unet": unet, "text": text, "blocks": dict(map(_block, blocks))}
    return Rescale.parse(values, source="rescale")


def _block(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        return name, float(number)
    except ValueError:
        raise UsageError(f"block {text!r} has no number", hint="write IN04=0.5") from None
