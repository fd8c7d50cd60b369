"""Helpers of several importers: sizes, optimizers and schedules by other trainers' names, reasons in reports."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.value_types import existing_path, python_literal
from bakehouse.recipe.lr_schedule import ScheduleSpec
from bakehouse.recipe.optimizers import OPTIMIZERS, OptimizerSpec

LAUNCHER = "`bakehouse train` needs no launcher"
TRAINED = "bakehouse trains SD 1.x, SD 2.x and SDXL"
LR_END = 1e-7
"""Final learning rate of transformers' and diffusers' polynomial schedule."""
REX_D = 0.9
"""`d` of the REX schedules of OneTrainer and LoRA_Easy_Training_Scripts."""


def folder_path(text: str, folder: Path) -> Path:
    """Return a folder relative to the settings' folder or the working directory; as written if it exists in neither."""
    if path := existing_path(text, folder):
        return path
    return Path(PureWindowsPath(text).as_posix()) if "\\" in text else Path(text)


def reported(notes: Iterable[Note]) -> list[Note]:
    """Return notes without those on options that set nothing and are at their default."""
    return [n for n in notes if n.status == "set" or not n.off]


# --- sizes ------------------------------------------------------------------------------------------------------------


def parse_size(value: Any) -> tuple[int, int]:
    """Return width and height of `512`, `"512,768"` or `[512, 768]`.

    Raises:
        ValueError: it is no size.
    """
    parts = value if isinstance(value, (list, tuple)) else re.split(r"[,xX]", str(value))
    sides = [int(float(p)) for p in parts]
    width, height = sides if len(sides) == 2 else sides * 2
    if width < 1 or height < 1:
        raise ValueError(f"{value} is not a size")
    return width, height


def square_side(value: Any) -> int:
    """Return the side of the square that has the area of `512`, `"512,768"` or `[512, 768]`.

    Raises:
        ValueError: it is no size.
    """
    width, height = parse_size(value)
    return math.isqrt(width * height)


# --- optimizers and schedules -----------------------------------------------------------------------------------------

_PRODIGY = {
    "weight_decay": 0.0,
    "decouple": True,
    "use_bias_correction": False,
    "safeguard_warmup": False,
    "d_coef": 1.0,
}
_NO_DECAY = {"weight_decay": 0.0}
LIBRARY_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "prodigy": _PRODIGY,
    # kohya itself turns this on where nothing is given.
    "adafactor": {"relative_step": True, "scale_parameter": True, "warmup_init": False},
    "dadaptadam": {"weight_decay": 0.0, "weight_decouple": False},
    **dict.fromkeys(("lion", "lion8bit", "pagedlion8bit", "came", "dadaptadan", "dadaptlion"), _NO_DECAY),
    **dict.fromkeys(("adamwschedulefree", "radamschedulefree"), _NO_DECAY),
}
"""Defaults of other trainers' optimizer libraries that differ from those of our table."""


def library_defaults(optimizer: str) -> dict[str, Any]:
    """Return the library's arguments that our optimizer has with other values."""
    ours = OPTIMIZERS[optimizer].defaults
    return {k: v for k, v in LIBRARY_DEFAULTS.get(optimizer, {}).items() if ours.get(k) != v}


def our_optimizer(name: str) -> str | None:
    """Return our name of another trainer's optimizer, or of the path of its class; None if we have none."""
    for candidate in (name, name.rsplit(".", 1)[-1]):
        try:
            return OptimizerSpec(name=candidate).name
        except ValueError:
            continue
    return None


def our_schedule(name: str) -> str | None:
    """Return our kind of another trainer's schedule; None if we have none."""
    try:
        return ScheduleSpec.model_validate({"kind": name, "pieces": [[1.0, 1.0]] if "piecewise" in name else []}).kind
    except ValueError:
        return None


def key_values(pairs: Any) -> dict[str, Any]:
    """Parse `["weight_decay=0.01", "betas=0.9,0.99"]`, one text of such pairs, or a table."""
    if isinstance(pairs, Mapping):
        return {str(k): python_literal(v) for k, v in pairs.items()}
    if isinstance(pairs, str):
        pairs = [pairs]
    words = [
        w for p in pairs or [] for w in re.findall(r"[\w.]+\s*=\s*(?:\([^)]*\)|\[[^\]]*\]|\"[^\"]*\"|\S+)", str(p))
    ]
    split = (w.partition("=") for w in words)
    return {k.strip(): python_literal(v.strip().strip("\"'")) for k, _, v in split}


def significant(number: float, digits: int = 6) -> float:
    """Round to significant digits, so that a recipe has 0.001 and not 0.0010000000000000002."""
    return float(f"{number:.{digits}g}")


def min_snr(gamma: float) -> dict[str, Any]:
    """Return the loss weighting of an option that is min-SNR's gamma; 0 is none."""
    if not gamma:
        return {"loss.weighting.kind": "none"}
    return {"loss.weighting.kind": "min_snr", "loss.weighting.gamma": gamma}
