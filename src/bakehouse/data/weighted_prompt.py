"""Prompts as text encoders read them: pieces of text with weights, several prompts at once, and when they change.

Plain values: `generation.prompt` makes them of a user's text, `models.prompt_chunks` makes embeddings of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Emphasis = Literal["original", "no-norm", "ignore", "none"]
"""What weights do, by A1111's names: the encoder's output is multiplied and its mean restored (`original`), multiplied
only (`no-norm`), or left alone (`ignore`); with `none` brackets are ordinary characters."""

EMPHASES: tuple[Emphasis, ...] = ("original", "no-norm", "ignore", "none")


@dataclass(frozen=True, slots=True)
class WeightedText:
    """Text that is tokenized by itself, and the factor on the text encoder's output for its tokens."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Break:
    """What follows begins in the next chunk of 75 tokens."""


Piece = WeightedText | Break


@dataclass(frozen=True, slots=True)
class PromptText:
    """One prompt, as it is encoded."""

    pieces: tuple[Piece, ...] = ()
    emphasis: Emphasis = "original"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to encode: no text but white space, and no break."""
        return all(isinstance(piece, WeightedText) and not piece.text.strip() for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the prompts that an image is guided by, and its weight in the sum."""

    text: PromptText
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class StepPrompts:
    """The prompts of neighbouring steps, up to and including `last_step`."""

    last_step: int
    """The first step is 1."""
    conditions: tuple[Condition, ...]
    """Composed as uncond + guidance x the sum of weight x (cond - uncond): Liu et al. 2022, arXiv:2206.01714."""
    negative: PromptText
    chunks: int = 1
    """Passes of the text encoder for each of these prompts, 75 tokens each: as many as the longest one needs."""

    @property
    def is_plain(self) -> bool:
        """Whether there is one prompt of weight 1, so that at guidance 1 it alone decides."""
        return len(self.conditions) == 1 and self.conditions[0].weight == 1.0


def prompts_at(schedule: tuple[StepPrompts, ...], step: int) -> StepPrompts:
    """Return the prompts of a step; the first step is 1. Later steps than there are have the last prompts."""
    return next((prompts for prompts in schedule if step <= prompts.last_step), schedule[-1])


def plain_schedule(prompt: str, negative: str, steps: int) -> tuple[StepPrompts, ...]:
    """Return the schedule of two prompts that are read as they are: brackets are ordinary characters."""
    positive, unwanted = (PromptText((WeightedText(text),), "none") for text in (prompt, negative))
    return (StepPrompts(steps, (Condition(positive),), unwanted),)
