"""Triggers before they are trained: what each will absorb, which cannot be told apart, what to do about it."""

from bakehouse.curate.triggers.compiling import Compile, find_triggers
from bakehouse.curate.triggers.explain import Explanation, explain
from bakehouse.curate.triggers.findings import Finding, Remedy
from bakehouse.curate.triggers.shows import Absorption, Show, absorptions, shows_of

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
