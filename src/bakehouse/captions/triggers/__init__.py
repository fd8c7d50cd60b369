"""Triggers before they are trained: what each will absorb, which cannot be told apart, what to do about it."""

from bakehouse.captions.triggers.compile_captions import Compile, find_triggers
from bakehouse.captions.triggers.explain import Explanation, explain
from bakehouse.captions.triggers.exposure import Absorption, Show, absorptions, shows_of
from bakehouse.captions.triggers.findings import Finding, Remedy

__all__ = [
    "Absorption",
    "Compile",
    "Explanation",
    "Finding",
    "Remedy",
    "Show",
    "absorptions",
    "explain",
    "find_triggers",
    "shows_of",
]
