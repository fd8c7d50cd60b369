"""Prompts of requests, read for one model: what they mean at each step, and the files that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.files import sha256_file
from bakehouse.data.weighted_prompt import StepPrompts, plain_schedule
from bakehouse.generation.adapter_header import check_family
from bakehouse.generation.model_source import ModelSource
from bakehouse.generation.prompt import AdapterTag, compile_prompt
from bakehouse.generation.prompt_files import PromptFiles, misspelled_embeddings
from bakehouse.generation.request import ImageRequest
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.text_to_image import with_chunks
from bakehouse.models.textual_inversion import TextualInversions


@dataclass(frozen=True)
class PromptAdapter:
    """An adapter that a prompt asks for, for its own picture."""

    path: Path
    text: float
    """Strength on the text encoders."""
    unet: float
    rank: int | None = None
    """Only the first ranks of a LoRA; None: all."""


@dataclass(frozen=True)
class ReadPrompt:
    """What the prompts of a request mean."""

    schedule: tuple[StepPrompts, ...]
    adapters: tuple[PromptAdapter, ...] = ()
    warnings: tuple[str, ...] = ()
    embeddings: tuple[tuple[str, Path], ...] = ()
    """Names and files of the textual inversions in them."""

    @property
    def embedding_hashes(self) -> str | None:
        """The value of `TI hashes` in infotext, with A1111's hashes of whole files; None without any."""
        return ", ".join(f"{name}: {sha256_file(path)[:12]}" for name, path in self.embeddings) or None


def read_prompts(
    request: ImageRequest,
    model: Denoiser,
    source: ModelSource,
    files: PromptFiles,
    inversions: TextualInversions | None,
) -> ReadPrompt:
    """Read the prompts of a request.

    Raises:
        UsageError: an adapter that the prompt names is made for another family of models.
        BakehouseError: its file is damaged.
    """
    adapters: tuple[PromptAdapter, ...] = ()
    warnings: list[str] = []
    if request.prompt_syntax == "plain":
        schedule = plain_schedule(request.prompt, request.negative, request.steps)
    else:
        meant = compile_prompt(request.prompt, request.negative, steps=request.steps, emphasis=request.emphasis)
        schedule = meant.schedule
        adapters, messages = _adapters(meant.adapters, source, files)
        warnings += [*meant.warnings, *messages]
    if inversions is None:
        return ReadPrompt(with_chunks(model, schedule), adapters, tuple(warnings))
    with inversions.noting_names() as named:
        schedule = with_chunks(model, schedule, inversions)
    warnings += named.messages.values()
    warnings += misspelled_embeddings(f"{request.prompt} {request.negative}", inversions.files)
    return ReadPrompt(schedule, adapters, tuple(warnings), tuple(sorted(named.used.items())))


def _adapters(
    tags: Sequence[AdapterTag], source: ModelSource, files: PromptFiles
) -> tuple[tuple[PromptAdapter, ...], list[str]]:
    """Return the adapters that tags name, the last tag of each, and a message for each name that is unknown."""
    found: dict[Path, PromptAdapter] = {}
    messages: list[str] = []
    for tag in tags:
        path = files.find_adapter(tag.name, source)
        if path is None:
            messages.append(files.unknown_adapter(tag.name, source))
            continue
        check_family(path, source.base)
        found[path] = PromptAdapter(path, tag.text, tag.unet, tag.rank)
    return tuple(found.values()), messages
