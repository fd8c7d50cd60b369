"""Triggers before training: what each will absorb, which cannot be separated, and the remedies."""

from bakehouse.captions.triggers.absorption_statistics import Absorption, Exposure, absorptions, exposures_of
from bakehouse.captions.triggers.explain import Explanation, explain
from bakehouse.captions.triggers.explain_folder import FolderTriggers
from bakehouse.captions.triggers.findings import Remedy, TriggerFinding
from bakehouse.captions.triggers.write_compiled_captions import Compile, find_triggers

__all__ = [
    "Absorption",
    "Compile",
    "Explanation",
    "Exposure",
    "FolderTriggers",
    "Remedy",
    "TriggerFinding",
    "absorptions",
    "explain",
    "exposures_of",
    "find_triggers",
]
