"""Load a tagger by name or path."""

from __future__ import annotations

from pathlib import Path

from bakehouse.core.bundled_models import BUNDLED_TAGGER_NAMES
from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.files import read_table
from bakehouse.core.model_catalogue import model_names as installed_names
from bakehouse.core.model_catalogue import model_path
from bakehouse.vision.taggers.base import Tagger


def load_tagger(where: str, *, prompt: str = "", device: str = "auto") -> Tagger:
    """Load a tagger: `crumb`, the name of an installed one, an ONNX file, a folder, or a captioner's Hub id.

    Args:
        where: name, path or Hub id.
        prompt: for captioners.
        device: for captioners; ONNX models use the fastest that onnxruntime supports.

    Raises:
        UsageError: there is no such tagger, or it is not installed (names the command that installs it).
        BakehouseError: its files are damaged.
    """
    if where in BUNDLED_TAGGER_NAMES and not Path(where).exists():
        from bakehouse.vision.taggers.bundled_tagger import BundledTagger

        return BundledTagger()
    if _is_hub_id(where):
        from bakehouse.vision.taggers.captioner import Captioner

        return Captioner(where, prompt, device)
    return _open_path(model_path(where, "tagger"), where, prompt, device)


def _open_path(path: Path, name: str, prompt: str, device: str) -> Tagger:
    if path.is_file() and path.suffix.lower() != ".onnx":
        raise UsageError(
            f"{path} is not a tagger", hint="pass an .onnx file with its list of tags beside it, or a tagger's folder"
        )
    if path.is_file():
        from bakehouse.vision.taggers.onnx_tagger import OnnxTagger

        return OnnxTagger(path, name)
    if (path / "vocabulary.json").is_file():
        from bakehouse.vision.taggers.bundled_tagger import BundledTagger

        return BundledTagger(path)
    if models := sorted(path.glob("*.onnx")):
        if len(models) > 1 and path / "model.onnx" not in models:
            raise UsageError(f"{path} has several models: {', '.join(m.name for m in models)}", hint="pass one of them")
        return _open_path(path / "model.onnx" if path / "model.onnx" in models else models[0], name, prompt, device)
    if (path / "config.json").is_file() and "model_type" in read_table(path / "config.json"):
        from bakehouse.vision.taggers.captioner import Captioner

        return Captioner(path, prompt, device)
    raise UsageError(
        f"{path} does not contain a tagger",
        hint="it needs an .onnx file with its list of tags, or a captioner's config.json",
    )


def _is_hub_id(name: str) -> bool:
    parts = name.split("/")
    if Path(name).exists() or len(parts) != 2 or not all(parts) or name.startswith((".", "~")):
        return False
    if name.endswith(".onnx"):
        raise UsageError(f"{name} does not exist{did_you_mean(name, installed_names())}")
    return True
