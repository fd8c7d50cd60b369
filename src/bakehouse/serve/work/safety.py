"""The optional safety checker of a worker: diffusers' `StableDiffusionSafetyChecker` by its files. Imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError, wrap_foreign_errors
from bakehouse.models.model_reference import is_hub_id


class SafetyChecker:
    """Says which images show what its model was trained to find.

    Args:
        ref: a folder with `config.json` and `model.safetensors`, one of a whole pipeline, or a Hub id.
        device: where it computes.

    Raises:
        UsageError: there is no such folder.
        BakehouseError: it cannot be loaded; pickles are not.
    """

    def __init__(self, ref: str, device: str) -> None:
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
        from transformers import CLIPImageProcessor

        place, checker, processor = _places(ref)
        self._device = device
        with wrap_foreign_errors(f"the safety checker {ref}", hint="it needs config.json and model.safetensors"):
            # use_safetensors: reading a pickle can run code.
            self._model: Any = StableDiffusionSafetyChecker.from_pretrained(
                place, subfolder=checker, use_safetensors=True
            )
        self._model.to(device).eval()
        side = int(self._model.config.vision_config.image_size)
        try:
            self._processor: Any = CLIPImageProcessor.from_pretrained(place, subfolder=processor)
        except OSError:  # a checker alone: CLIP's own settings at its size
            self._processor = CLIPImageProcessor(
                size={"shortest_edge": side}, crop_size={"height": side, "width": side}
            )

    @torch.inference_mode()
    def flags(self, image: Image.Image) -> bool:
        """Whether an image is not to be shown."""
        pixels = self._processor(images=[image.convert("RGB")], return_tensors="pt").pixel_values
        # It blackens what it flags in `images`; a placeholder is enough for the answer.
        _, flagged = self._model(images=[np.zeros((1, 1, 3))], clip_input=pixels.to(self._device))
        return bool(flagged[0])


def _places(ref: str) -> tuple[str, str, str]:
    """Return the folder or Hub id, and the subfolders of the checker and of its image processor."""
    folder = Path(ref).expanduser()
    if folder.is_dir():
        inside = "safety_checker" if (folder / "safety_checker").is_dir() else ""
        for needed in ("config.json", "model.safetensors"):
            if not (folder / inside / needed).is_file():
                hint = "weights in pickles (.bin) are not loaded" if needed == "model.safetensors" else ""
                raise BakehouseError(f"{folder / inside} is not a safety checker: it has no {needed}", hint=hint)
        return str(folder), inside, "feature_extractor" if inside else ""
    if not is_hub_id(ref):
        raise UsageError(f"safety checker {ref!r}: there is no such folder", hint="pass a folder, or a Hub id")
    return ref, "", ""
