"""Prompts of requests, read for one model: what they mean at each step, and the files that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bakehouse.core.errors import UsageError
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

AdapterKey = tuple[Path, int | None]
"""An adapter's file, and the ranks of it that are used; None: all."""


@dataclass(frozen=True)
class PromptAdapter:
    """An adapter that a prompt asks for, for its own picture."""

    path: Path
    text: float
    """Strength on the text encoders."""
    unet: float
    rank: int | None = None
    """Only the first ranks of a LoRA; None: all."""

    @property
    def key(self) -> AdapterKey:
        return self.path, self.rank


@dataclass(frozen=True)
class ReadPrompt:
    """What the prompts of a request mean."""

    schedule: tuple[StepPrompts, ...]
    adapters: tuple[PromptAdapter, ...] = ()
    warnings: tuple[str, ...] = ()
    embeddings: tuple[tuple[str, Path], ...] = ()
    """Names and files of the textual inversions in them."""
    regions: tuple[ReadPrompt, ...] = ()
    """What the prompts of its regions mean."""

    @property
    def adapters_by_prompt(self) -> tuple[tuple[PromptAdapter, ...], ...]:
        """The adapters that the main prompt and each region ask for."""
        return self.adapters, *(region.adapters for region in self.regions)

    @property
    def embedding_hashes(self) -> str | None:
        """The value of `TI hashes` in infotext, with A1111's hashes of whole files; None without any."""
        found = {named for one in (self, *self.regions) for named in one.embeddings}
        return ", ".join(f"{name}: {sha256_file(path)[:12]}" for name, path in sorted(found)) or None


def read_prompts(
    request: ImageRequest,
    model: Denoiser,
    source: ModelSource,
    files: PromptFiles,
    inversions: TextualInversions | None,
) -> ReadPrompt:
    """Read the prompts of a request and of its regions.

    Raises:
        UsageError: an adapter that a prompt names is made for another family of models, a region's does not exist, or
            AND beside regions.
        BakehouseError: its file is damaged.
    """
    read, unknown = _read(request, model, source, files, inversions)
    read = replace(read, warnings=(*read.warnings, *unknown))
    if request.regions is None:
        return read
    _check_not_composed("the main prompt", read)
    regions, warnings = [], list(read.warnings)
    for region in request.regions.regions:
        one, unknown = _read(replace(request, prompt=region.prompt, regions=None), model, source, files, inversions)
        if unknown:  # what a region is for; without it another picture would come out
            raise UsageError(f"the region {region.label}: {unknown[0]}")
        _check_not_composed(f"the region {region.label}", one)
        regions.append(one)
        warnings += [f"the region {region.label}: {message}" for message in one.warnings if message not in warnings]
    return replace(read, warnings=tuple(warnings), regions=tuple(regions))


def _check_not_composed(what: str, read: ReadPrompt) -> None:
    if not all(prompts.is_plain for prompts in read.schedule):
        raise UsageError(
            f"{what} has AND, or a weight at its end: beside regions this is not supported",
            hint="describe what is added with AND in a region of its own, such as 0,0,100,100",
        )


def _read(
    request: ImageRequest,
    model: Denoiser,
    source: ModelSource,
    files: PromptFiles,
    inversions: TextualInversions | None,
) -> tuple[ReadPrompt, list[str]]:
    """Return what the main prompt of a request means, and a message for each adapter in it that is unknown."""
    adapters: tuple[PromptAdapter, ...] = ()
    warnings: list[str] = []
    unknown: list[str] = []
    if request.prompt_syntax == "plain":
        schedule = plain_schedule(request.prompt, request.negative, request.steps)
    else:
        meant = compile_prompt(request.prompt, request.negative, steps=request.steps, emphasis=request.emphasis)
        schedule = meant.schedule
        adapters, unknown = _adapters(meant.adapters, source, files)
        warnings += meant.warnings
    if inversions is None:
        return ReadPrompt(with_chunks(model, schedule), adapters, tuple(warnings)), unknown
    with inversions.noting_names() as named:
        schedule = with_chunks(model, schedule, inversions)
    warnings += named.messages.values()
    warnings += misspelled_embeddings(f"{request.prompt} {request.negative}", inversions.files)
    return ReadPrompt(schedule, adapters, tuple(warnings), tuple(sorted(named.used.items()))), unknown


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
