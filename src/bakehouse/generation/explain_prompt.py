"""The explanation of a prompt, step by step, with its token counts: `bakehouse prompt`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.data.weighted_prompt import Break, Emphasis, PromptText
from bakehouse.generation.model_source import ModelSource, resolve
from bakehouse.generation.prompt import AdapterTag, compile_prompt
from bakehouse.generation.prompt.describe import Description, describe
from bakehouse.generation.prompt_files import NO_FILES, PromptFiles, misspelled_embeddings


@dataclass(frozen=True)
class ExplainedText:
    """One prompt at some steps."""

    pieces: tuple[tuple[str, float], ...]
    """Text and weight; `BREAK` has the weight 1."""
    chunks: tuple[int, ...]
    """Tokens in each chunk of 75."""
    weight: float = 1.0
    """In the sum of the prompts."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        pieces = [{"text": text, "weight": weight} for text, weight in self.pieces]
        return {"weight": self.weight, "tokens_per_chunk": list(self.chunks), "pieces": pieces}


@dataclass(frozen=True)
class ExplainedSteps:
    """What guides some steps."""

    first: int
    last: int
    conditions: tuple[ExplainedText, ...]
    negative: ExplainedText


@dataclass(frozen=True)
class PromptExplanation:
    """What a prompt and a negative prompt mean for a model."""

    prompt: str
    negative: str
    tree: tuple[Description, ...]
    negative_tree: tuple[Description, ...]
    adapters: tuple[tuple[AdapterTag, Path | None], ...]
    """With the file, if it was found."""
    embeddings: tuple[tuple[str, Path], ...]
    steps: tuple[ExplainedSteps, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return {
            "prompt": self.prompt,
            "negative": self.negative,
            "tree": [one.to_json() for one in self.tree],
            "negative_tree": [one.to_json() for one in self.negative_tree],
            "adapters": [
                {"name": a.name, "text": a.text, "unet": a.unet, "rank": a.rank, "file": None if p is None else str(p)}
                for a, p in self.adapters
            ],
            "embeddings": {name: str(path) for name, path in self.embeddings},
            "steps": [
                {
                    "first": one.first,
                    "last": one.last,
                    "conditions": [condition.to_json() for condition in one.conditions],
                    "negative": one.negative.to_json(),
                }
                for one in self.steps
            ],
            "warnings": list(self.warnings),
        }


def explain_prompt(
    prompt: str,
    negative: str = "",
    *,
    model: str | ModelSource = "crumb",
    steps: int = 20,
    emphasis: Emphasis = "original",
    files: PromptFiles = NO_FILES,
) -> PromptExplanation:
    """Explain a prompt. Of the model only the tokenizer is loaded.

    Raises:
        UsageError: no such model or folder, or a value that is not allowed.
        BakehouseError: a file is damaged.
    """
    from bakehouse.generation.request import ImageRequest
    from bakehouse.models.load_tokenizer import load_prompt_tokenizer
    from bakehouse.models.prompt_chunks import token_chunks

    ImageRequest(prompt=prompt, negative=negative, steps=steps, emphasis=emphasis)  # refuses values out of range
    source = resolve(model) if isinstance(model, str) else model
    loaded = load_prompt_tokenizer(source.base)
    inversions = loaded.inversions(files.check().embedding_files())
    meant = compile_prompt(prompt, negative, steps=steps, emphasis=emphasis)
    counted: dict[PromptText, tuple[int, ...]] = {}

    def explained(text: PromptText, weight: float = 1.0) -> ExplainedText:
        if text not in counted:
            counted[text] = tuple(len(chunk.ids) for chunk in token_chunks(loaded.tokenizer, text, inversions))
        pieces = [("BREAK", 1.0) if isinstance(p, Break) else (p.text, p.weight) for p in text.pieces]
        return ExplainedText(tuple(pieces), counted[text], weight)

    ranges: list[ExplainedSteps] = []
    for one in meant.schedule:
        first = ranges[-1].last + 1 if ranges else 1
        conditions = tuple(explained(condition.text, condition.weight) for condition in one.conditions)
        ranges.append(ExplainedSteps(first, one.last_step, conditions, explained(one.negative)))
    adapters = [(tag, files.find_adapter(tag.name, source)) for tag in meant.adapters]
    warnings = [*meant.warnings, *(files.unknown_adapter(a.name, source) for a, path in adapters if path is None)]
    embeddings: dict[str, Path] = {}
    if inversions is not None:
        with inversions.noting_names() as named:
            for text in counted:
                token_chunks(loaded.tokenizer, text, inversions)
        embeddings = named.used
        warnings += [*named.messages.values(), *misspelled_embeddings(f"{prompt} {negative}", inversions.files)]
    return PromptExplanation(
        prompt=prompt,
        negative=negative,
        tree=tuple(describe(meant.prompt, steps)),
        negative_tree=tuple(describe(meant.negative, steps)) if negative else (),
        adapters=tuple(adapters),
        embeddings=tuple(sorted(embeddings.items())),
        steps=tuple(ranges),
        warnings=tuple(warnings),
    )
