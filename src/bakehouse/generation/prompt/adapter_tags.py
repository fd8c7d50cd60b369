"""`<lora:name:text:unet:dyn>` in a prompt: an adapter and its strengths, for this image alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bakehouse.generation.prompt.readable_text import NetworkTag


@dataclass(frozen=True)
class AdapterTag:
    """An adapter that a prompt asks for."""

    name: str
    text: float = 1.0
    """Strength on the text encoders."""
    unet: float = 1.0
    """Strength on the denoising network."""
    rank: int | None = None
    """Use only the first ranks of a LoRA, as A1111's `dyn`; None: all."""
    at: int = 0
    """Index of the tag in the prompt."""


def adapter_tags(tags: Sequence[NetworkTag]) -> tuple[tuple[AdapterTag, ...], tuple[str, ...]]:
    """Return the adapters that tags name, and a message for each tag that cannot be used.

    Arguments are given in the order text, unet, dyn, or by these names (`te=0.5`); the strength on the text encoders
    is 1 by default, and that on the UNet is the same as on the text encoders.
    """
    found: list[AdapterTag] = []
    messages: list[str] = []
    for tag in tags:
        if not tag.is_adapter:
            messages.append(f"{tag.source} is ignored: of the networks in a prompt, bakehouse knows <lora:NAME:WEIGHT>")
            continue
        try:
            found.append(_adapter_tag(tag))
        except ValueError as e:
            messages.append(f"{tag.source} is ignored: {e}")
    return tuple(found), tuple(messages)


def _adapter_tag(tag: NetworkTag) -> AdapterTag:
    given: dict[str, str] = {}
    order = ["te", "unet", "dyn"]
    positional = [text for text in tag.arguments[1:] if "=" not in text]
    given.update(zip(order, positional, strict=False))
    for name, equals, value in (text.partition("=") for text in tag.arguments[1:]):
        if equals:
            given[name] = value
    text = _strength(given.get("te", "1"))
    unet = _strength(given["unet"]) if "unet" in given else text
    return AdapterTag(tag.name, text, unet, _rank(given.get("dyn")), tag.at)


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"the strength {text!r} is not a number")
    return value


def _rank(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"dyn = {text!r} is not a rank: a whole number from 1 on")
    return int(text)
