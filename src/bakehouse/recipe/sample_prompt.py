"""A sample prompt in kohya's line syntax: `a cat --n blurry --w 512 --h 768 --d 7 --l 7.5 --s 30 --ss euler_a`.

Numbers are read as sd-scripts reads them (`line_to_prompt_dict`, `sample_image_inference` in its train_util.py): sides
are rounded down to a multiple of 8 and at least 64, steps are 1 to 1000, and a scale up to 1 means no guidance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.models.samplers import find_sampler
from bakehouse.recipe.recipe import SampleSpec

if TYPE_CHECKING:
    from PIL.Image import Image

_OPTION = re.compile(r"\s--([A-Za-z]\S*)(?=\s)")
_GRAIN, _SMALLEST, _LARGEST = 8, 64, 8192
_MOST_STEPS = 1000
_MOST_SEED = 2**63 - 1

KOHYA_SAMPLERS: Mapping[str, str] = {
    "ddim": "ddim",
    "pndm": "pndm",
    "lms": "lms",
    "k_lms": "lms",
    "euler": "euler",
    "k_euler": "euler",
    "euler_a": "euler a",
    "k_euler_a": "euler a",
    "heun": "heun",
    "dpm_2": "dpm2",
    "k_dpm_2": "dpm2",
    "dpm_2_a": "dpm2 a",
    "k_dpm_2_a": "dpm2 a",
    "dpmsolver": "dpm++ 2m",
    "dpmsolver++": "dpm++ 2m",
    "dpmsingle": "dpm++ 2s",
}
"""kohya's names of samplers, and ours."""


@dataclass(frozen=True)
class SamplePrompt:
    """One sample image to generate; what a line leaves out comes from the recipe."""

    prompt: str
    negative: str
    width: int
    height: int
    seed: int
    guidance: float
    steps: int
    sampler: str


class GenerateSamples(Protocol):
    """Generates one image for each prompt, in order."""

    def __call__(self, prompts: Sequence[SamplePrompt], *, base: bool = False) -> Iterator[Image]:
        """Generate with the model as it is in training, or with the untouched base."""


def parse_sample_prompt(line: str, defaults: SamplePrompt) -> SamplePrompt:
    """Parse a line into a prompt that can be generated; `defaults.prompt` is not used.

    Raises:
        UsageError: an unknown option, or a value that is not allowed.
    """
    prompt, given = _split(line)
    changes: dict[str, Any] = {"prompt": prompt}
    for key, raw in given.items():
        name, read = _MEANING[key]
        try:
            changes[name] = read(raw)
        except ValueError as e:
            raise UsageError(f"sample prompt {line!r}: --{key} {raw!r}: {e}") from e
    return replace(defaults, **changes)


def rounded(line: str) -> list[str]:
    """Return a message for each number that is rounded, as sd-scripts rounds it.

    Raises:
        UsageError: see `parse_sample_prompt`.
    """
    asked = _split(line)[1]
    empty = SamplePrompt("", "", 0, 0, 0, 0.0, 0, "")
    read = parse_sample_prompt(line, empty)
    numbers = {key: getattr(read, _MEANING[key][0]) for key in ("w", "h", "l", "s") if key in asked}
    return [f"--{key} {asked[key]} is used as {n:g}" for key, n in numbers.items() if float(asked[key]) != n]


def sample_defaults(spec: SampleSpec, side: int) -> SamplePrompt:
    """Return the recipe's settings at the model's native size: the values that a line leaves out."""
    side = valid_side(side)
    return SamplePrompt("", spec.negative, side, side, spec.seed, spec.guidance, spec.steps, spec.sampler)


def valid_side(side: int) -> int:
    """Round a side in pixels down to a multiple of 8 and at least 64, which every model can generate."""
    return max(_SMALLEST, side // _GRAIN * _GRAIN)


def _split(line: str) -> tuple[str, dict[str, str]]:
    prompt, *rest = _OPTION.split(" " + line.strip() + " ")
    given: dict[str, str] = {}
    for name, raw in zip(rest[::2], rest[1::2], strict=True):
        key = name.lower()
        if key not in _MEANING:
            known = ", ".join(f"--{k}" for k in _MEANING)
            raise UsageError(
                f"sample prompt {line!r}: unknown option --{name}; supported are {known}{did_you_mean(key, _MEANING)}"
            )
        given[key] = raw.strip()
    return prompt.strip(), given


def _side(text: str) -> int:
    pixels = _whole(text, "a side in pixels")
    if not 1 <= pixels <= _LARGEST:
        raise ValueError(f"a side in pixels, 1 to {_LARGEST}")
    return valid_side(pixels)


def _seed(text: str) -> int:
    seed = _whole(text, "a seed")
    if not 0 <= seed <= _MOST_SEED:
        raise ValueError(f"a seed is 0 to {_MOST_SEED}; without --d it is sample.seed")
    return seed


def _steps(text: str) -> int:
    return max(1, min(_MOST_STEPS, _whole(text, "a number of steps")))


def _guidance(text: str) -> float:
    try:
        guidance = float(text)
    except ValueError:
        guidance = math.nan
    if not (math.isfinite(guidance) and guidance >= 0):
        raise ValueError("is not a number of at least 0")
    return max(1.0, guidance)


def _whole(text: str, what: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise ValueError(f"is not a number: {what} is a whole number")
    return int(text)


def _sampler(text: str) -> str:
    name = KOHYA_SAMPLERS.get(text.lower(), text)
    try:
        find_sampler(name)
    except UsageError as e:
        raise ValueError(f"{e.message}; {e.hint}") from e
    return name


_MEANING: dict[str, tuple[str, Callable[[str], Any]]] = {
    "n": ("negative", str),
    "w": ("width", _side),
    "h": ("height", _side),
    "d": ("seed", _seed),
    "l": ("guidance", _guidance),
    "s": ("steps", _steps),
    "ss": ("sampler", _sampler),
}
