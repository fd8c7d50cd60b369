"""A sample prompt in kohya's line syntax: `a cat --n blurry --w 512 --h 768 --d 7 --l 7.5 --s 30`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.recipe.recipe import SampleSpec

_OPTION = re.compile(r"\s--(\w+)\s+")
_MEANING: dict[str, tuple[str, type[Any]]] = {
    "n": ("negative", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "l": ("guidance", float),
    "s": ("steps", int),
    "ss": ("sampler", str),
}


@dataclass(frozen=True)
class SamplePrompt:
    """One picture to make; what the line leaves out is the recipe's."""

    prompt: str
    negative: str
    width: int
    height: int
    seed: int
    guidance: float
    steps: int
    sampler: str


def parse_sample_prompt(line: str, defaults: SamplePrompt) -> SamplePrompt:
    """Reads a line; `defaults.prompt` is not used.

    Raises:
        UsageError: an option that is not known, or a value that is no number.
    """
    prompt, *rest = _OPTION.split(" " + line.strip() + " ")
    changes: dict[str, Any] = {"prompt": prompt.strip()}
    for key, raw in zip(rest[::2], rest[1::2], strict=True):
        if key not in _MEANING:
            known = ", ".join(f"--{k}" for k in _MEANING)
            raise UsageError(
                f"sample prompt {line!r}: unknown option --{key}; known are {known}{did_you_mean(key, _MEANING)}"
            )
        name, kind = _MEANING[key]
        try:
            changes[name] = kind(raw.strip())
        except ValueError as e:
            raise UsageError(f"sample prompt {line!r}: --{key} {raw.strip()!r} is not a number") from e
    return replace(defaults, **changes)


def sample_defaults(spec: SampleSpec, side: int) -> SamplePrompt:
    """What a line that says nothing means: the recipe's settings at the model's own size."""
    return SamplePrompt("", spec.negative, side, side, spec.seed, spec.guidance, spec.steps, spec.sampler)
