"""Upscalers by name: `photo`, `anime`, `auto`, an installed model, or a file."""

from __future__ import annotations

from pathlib import Path

from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue import model_path

DEFAULT_UPSCALERS = {
    "photo": ("realesrgan-x4plus", "realesrgan-x4plus-ncnn"),
    "anime": ("realesrgan-x4plus-anime", "realesrgan-x4plus-anime-ncnn", "realesr-animevideo-ncnn"),
}
"""Models in the catalogue by kind, best first; ncnn's are the same networks in another file format."""

WEIGHTS_ENDINGS = (".pth", ".pt", ".safetensors", ".bin", ".param")


def upscaler_path(name: str, *, option: str = "--model") -> Path:
    """Return the file of an upscaler, given as `anime`, `photo`, `auto`, the name of an installed model, or a path.

    Args:
        name: the name or path.
        option: the command line's option for it, for messages.

    Raises:
        UsageError: it is not installed; names the command that installs it.
    """
    words = {"auto": (*DEFAULT_UPSCALERS["photo"], *DEFAULT_UPSCALERS["anime"]), **DEFAULT_UPSCALERS}
    for known in words.get(name, (name, f"{name}-ncnn")):
        try:
            return model_path(known, "upscaler")
        except UsageError:
            continue
    if name not in words:
        return model_path(name, "upscaler")  # raises with the reason
    available = " or ".join(names[1] for kind, names in DEFAULT_UPSCALERS.items() if name in ("auto", kind))
    raise UsageError(
        f"no upscaler for {name!r} is installed",
        hint=f"bakehouse models fetch {available}; or {option} FILE for a file of your own (.pth, .safetensors)",
    )
