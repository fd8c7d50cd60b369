"""The model's files in the formats of kohya and diffusers, as a folder and as a single file."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from bakehouse.adapters.file_metadata import model_spec
from bakehouse.core.errors import BakehouseError, Problems
from bakehouse.core.events import Event, Progress
from bakehouse.core.files import read_table
from bakehouse.core.files_of_adapter import DIFFUSERS_FILE
from bakehouse.publish.public_recipe import public_recipe
from bakehouse.publish.publication_facts import PublicationFacts
from bakehouse.weights.adapter_info import adapter_info
from bakehouse.weights.convert_adapter import Convert, convert
from bakehouse.weights.convert_base import convert_base
from bakehouse.weights.convert_embedding import convert_embedding, embedding_at
from bakehouse.weights.edit_metadata import Edit, edit
from bakehouse.weights.program_support import Verdict

EMBEDDING_FILE = "learned_embeds.safetensors"
"""What diffusers' scripts call a file of learned words."""
FILES = "the model's files"


@dataclass(frozen=True)
class ModelFile:
    """A file or folder of the publication."""

    name: str
    """Relative to the publication; empty for a folder whose files stand at the top."""
    path: Path
    what: str
    """Which programs it is for."""


@dataclass(frozen=True)
class ModelFiles:
    """All files of the model, and who reads them."""

    files: tuple[ModelFile, ...]
    verdicts: tuple[Verdict, ...] = ()
    """What each program makes of the adapter's file."""
    missing: str = ""
    """Why diffusers gets no file; empty: it has one."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What readers of some programs will miss."""
        found = [f"{v.program} does not load it as it is here: {v.why}" for v in self.verdicts if not v.loads]
        return (*found, *([self.missing] if self.missing else []))


def write_model(facts: PublicationFacts, folder: Path, preview: Path | None) -> Generator[Event, None, ModelFiles]:
    """Write the model's files into a folder and return them.

    Raises:
        BakehouseError: a file is damaged, or the disk is full.
    """
    steps = {"adapter": _adapter, "slider": _adapter, "embedding": _embedding, "model": _model}
    yield Progress(what=FILES, done=0, total=1)
    made = steps[facts.kind](facts, folder, preview)
    yield Progress(what=FILES, done=1, total=1)
    return made


def _adapter(facts: PublicationFacts, folder: Path, preview: Path | None) -> ModelFiles:
    kohya = folder / f"{facts.name}.safetensors"
    edit(facts.weights, kohya, header(facts, preview), overwrite=True)
    info = adapter_info(kohya)
    files = [ModelFile(kohya.name, kohya, "A1111, ComfyUI and others that read kohya's format")]
    missing = ""
    try:
        convert(kohya, folder / DIFFUSERS_FILE, Convert(to="diffusers"), overwrite=True)
    except Problems as e:
        (folder / DIFFUSERS_FILE).unlink(missing_ok=True)
        missing = f"diffusers cannot load {', '.join(info.algorithms)}: {e.problems[0]}"
    else:
        adapter_info(folder / DIFFUSERS_FILE)  # reads it, as a check
        words = sorted(folder.glob(f"{Path(DIFFUSERS_FILE).stem}_emb*.safetensors"))
        files.append(ModelFile(DIFFUSERS_FILE, folder / DIFFUSERS_FILE, "diffusers"))
        files += [ModelFile(p.name, p, "diffusers: the vectors of the trigger word") for p in words]
    return ModelFiles(tuple(files), info.loaders, missing)


def _embedding(facts: PublicationFacts, folder: Path, preview: Path | None) -> ModelFiles:
    """An embedding's name in A1111 and ComfyUI is its file's: it stays the trigger word."""
    own = folder / f"{facts.name}.safetensors"
    edit(facts.weights, own, header(facts, preview), overwrite=True)
    found = embedding_at(own)
    if found is None:
        raise BakehouseError(f"{facts.weights} is not an embedding")
    convert_embedding(*found, folder / EMBEDDING_FILE, to="diffusers", overwrite=True)
    files = (
        ModelFile(own.name, own, "A1111 and ComfyUI"),
        ModelFile(EMBEDDING_FILE, folder / EMBEDDING_FILE, "diffusers"),
    )
    return ModelFiles(files)


def _model(facts: PublicationFacts, folder: Path, preview: Path | None) -> ModelFiles:
    single = folder / f"{facts.name}.safetensors"
    scheduler = read_table(facts.weights / "scheduler" / "scheduler_config.json")
    prediction = str(scheduler.get("prediction_type", "epsilon"))
    spec = model_spec(facts.family, prediction, facts.title, network=False, resolution=facts.side)
    convert_base(facts.weights, single, overwrite=True, header=spec | header(facts, preview).changes())
    files = (
        ModelFile("", facts.weights, "diffusers"),
        ModelFile(single.name, single, "A1111, ComfyUI and others that read one file"),
    )
    return ModelFiles(files)


def header(facts: PublicationFacts, preview: Path | None) -> Edit:
    """Return the changes of the header: what sites and webuis show, and no path of this machine."""
    words = tuple(phrase for _, phrase in facts.triggers)
    values = {
        "title": facts.title,
        "author": facts.spec.author,
        "description": facts.spec.about,
        "license": facts.licence.title,
        "usage_hint": usage_hint(facts),
        "triggers": words or None,
        "thumbnail": preview,
        "put": {
            "ss_output_name": facts.name,
            "ss_sd_model_name": facts.base,
            "bakehouse.recipe": public_recipe(facts.recipe, facts.base),
            "preferred weight": f"{facts.strength:g}",
        },
    }
    return Edit.parse({k: v for k, v in values.items() if v is not None}, source="publish")


def usage_hint(facts: PublicationFacts) -> str:
    """Return how strong to use the model, in words."""
    if facts.slider is not None:
        return f"strength {facts.slider.low:g} to {facts.slider.high:g}"
    return "" if facts.kind in ("model", "embedding") else f"strength {facts.strength:g}"
