"""What a worker can do, told to the server when it begins: samplers, schedules, upscalers. Imports torch."""

from __future__ import annotations

from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.models.samplers import SAMPLERS
from bakehouse.models.second_pass import LATENT_UPSCALERS
from bakehouse.models.sigma_schedules import AUTOMATIC, SCHEDULES, TRAILING
from bakehouse.vision.upscalers.find_upscaler import DEFAULT_UPSCALERS, upscaler_path

_SAFE_WEIGHTS = (".safetensors", ".bin", ".param")
"""`.bin` and `.param` are ncnn's, which hold no code; `.pth` and `.pt` are pickles."""


def samplers_here() -> list[dict[str, Any]]:
    """Return the samplers by A1111's names, with what they are called elsewhere."""
    return [
        {
            "name": row.label,
            "aliases": list(row.aliases),
            "scheduler": row.scheduler,
            "a1111": row.solver is not None,
            "automatic": row.automatic,
            "eta": row.eta is not None,
        }
        for row in SAMPLERS.values()
    ]


def schedules_here() -> list[dict[str, Any]]:
    """Return the sigma schedules by A1111's labels, bakehouse's own included."""
    rows = [{"label": row.label, "aliases": list(row.aliases)} for row in SCHEDULES.values()]
    return [{"label": AUTOMATIC, "aliases": ["automatic"]}, *rows, {"label": TRAILING, "aliases": []}]


def upscalers_here() -> list[dict[str, Any]]:
    """Return the upscalers that requests may name: interpolations, and installed networks that are no pickles."""
    found: list[dict[str, Any]] = [{"name": name, "latent": True, "path": None} for name in LATENT_UPSCALERS]
    found += [{"name": name, "latent": False, "path": None} for name in ("Lanczos", "Nearest")]
    for name in dict.fromkeys(name for names in DEFAULT_UPSCALERS.values() for name in names):
        try:
            path = upscaler_path(name)
        except UsageError:  # not installed
            continue
        if path.suffix.lower() in _SAFE_WEIGHTS:
            found.append({"name": name, "latent": False, "path": str(path)})
    return found
