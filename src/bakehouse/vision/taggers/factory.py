"""From a name to a tagger."""

from __future__ import annotations

from pathlib import Path

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.files import read_table
from bakehouse.core.model_catalogue import model_names, model_path
from bakehouse.vision.taggers.base import Tagger


def open_tagger(where: str, *, prompt: str = "", device: str = "auto") -> Tagger:
    """A tagger by name or path: `crumb`, a name on the shelf, an ONNX file, a folder, or a captioner's Hub id.

    Args:
        where: what the user said.
        prompt: for captioners.
        device: for captioners; ONNX models take the fastest that onnxruntime has.

    Raises:
        UsageError: nothing of that name, or it is not on this machine yet (names the command that brings it).
        BakehouseError: its files are damaged.
    """
    if where in ("crumb", "crumb-tagger") and not Path(where).exists():
        from bakehouse.vision.taggers.bundled import EmbeddedTagger

        return EmbeddedTagger()
    if _is_hub_id(where):
        from bakehouse.vision.taggers.captioner import Captioner

        return Captioner(where, prompt, device)
    return _open_path(model_path(where, "tagger"), where, prompt, device)


def _open_path(path: Path, name: str, prompt: str, device: str) -> Tagger:
    if path.is_file() and path.suffix.lower() != ".onnx":
        raise UsageError(f"{path} is no tagger", hint="an .onnx file with its list of tags beside it, or a folder")
    if path.is_file():
        from bakehouse.vision.taggers.onnx_tagger import OnnxTagger

        return OnnxTagger(path, name)
    if (path / "vocabulary.json").is_file():
        from bakehouse.vision.taggers.bundled import EmbeddedTagger

        return EmbeddedTagger(path)
    if models := sorted(path.glob("*.onnx")):
        if len(models) > 1 and path / "model.onnx" not in models:
            raise UsageError(f"{path} has several models: {', '.join(m.name for m in models)}", hint="name one of them")
        return _open_path(path / "model.onnx" if path / "model.onnx" in models else models[0], name, prompt, device)
    if (path / "config.json").is_file() and "model_type" in read_table(path / "config.json"):
        from bakehouse.vision.taggers.captioner import Captioner

        return Captioner(path, prompt, device)
    raise UsageError(
        f"{path} holds no tagger", hint="a folder with an .onnx file and its list of tags, or a captioner's config.json"
    )


def _is_hub_id(where: str) -> bool:
    parts = where.split("/")
    if Path(where).exists() or len(parts) != 2 or not all(parts) or where.startswith((".", "~")):
        return False
    if where.endswith(".onnx"):
        raise UsageError(f"{where} does not exist{did_you_mean(where, model_names())}")
    return True
