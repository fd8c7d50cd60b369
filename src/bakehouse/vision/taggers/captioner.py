"""Captioners: image-to-text models of transformers (BLIP, GIT, Florence-2 and others)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import key_of
from bakehouse.vision.taggers.base import TagPrediction

FLORENCE_TASKS = ("<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>")
_NEW_TOKENS = 120


class Captioner:
    """Writes a sentence for each image."""

    thresholds: Mapping[str, float] = {}

    def __init__(self, where: str | Path, prompt: str = "", device: str = "auto") -> None:
        """Load a captioner from a folder or the Hub.

        Args:
            where: a folder with `config.json`, or a Hub id.
            prompt: the beginning of the sentence (BLIP), the question (chat models), or the task (Florence-2).
            device: `cpu`, `cuda`, `mps`; `auto`: the fastest available.

        Raises:
            UsageError: the model does not support the prompt.
            BakehouseError: there is no model, or its files do not match.
        """
        self.name = Path(where).name or str(where)
        self._device = _device(device)
        self._processor, self._model = _load(str(where), self._device)
        is_florence = str(self._model.config.model_type).startswith("florence2")
        self._prompt = prompt or (FLORENCE_TASKS[-1] if is_florence else "")
        if is_florence and self._prompt not in FLORENCE_TASKS:
            raise UsageError(f"prompt {prompt!r}: Florence-2 supports only {', '.join(FLORENCE_TASKS)}")
        self.key = key_of(str(where), _weights_of(Path(where)), self._prompt, _NEW_TOKENS)

    def predict(self, images: Sequence[Image.Image]) -> list[TagPrediction]:
        """Return one sentence per image, by greedy decoding."""
        import torch

        if not images:
            return []
        rgb = [image.convert("RGB") for image in images]
        words = {"text": [self._prompt] * len(rgb)} if self._prompt else {}
        inputs = self._processor(images=rgb, **words, return_tensors="pt", padding=True)
        inputs = inputs.to(self._device, self._model.dtype)
        with torch.inference_mode():
            ids = self._model.generate(**inputs, max_new_tokens=_NEW_TOKENS, do_sample=False, num_beams=1)
        return [TagPrediction(text=self._sentence(row)) for row in ids]

    def _sentence(self, ids: Any) -> str:
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        return " ".join(str(tokenizer.decode(ids, skip_special_tokens=True)).split())

    def to_tags(self, prediction: TagPrediction, thresholds: Mapping[str, float]) -> list[str]:
        """Return the sentence, if there is one."""
        return [prediction.text] if prediction.text else []


def _load(name_or_path: str, device: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(name_or_path)
        model = AutoModelForImageTextToText.from_pretrained(name_or_path)
    except (OSError, ValueError, KeyError) as e:
        reason = str(e).strip().splitlines()[0]
        raise BakehouseError(
            f"cannot load captioner {name_or_path}: {reason}",
            hint="use a folder or Hub id of BLIP, BLIP-2, GIT or Florence-2 in transformers format",
        ) from e
    return processor, model.to(device, torch.float16 if device.startswith("cuda") else torch.float32).eval()


def _device(wanted: str) -> str:
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _weights_of(folder: Path) -> list[tuple[str, int, int]]:
    """Return names, sizes and modification times of a local folder's files; nothing for a Hub id."""
    if not folder.is_dir():
        return []
    return sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in folder.iterdir() if p.is_file())
