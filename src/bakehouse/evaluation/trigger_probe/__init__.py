"""Trigger probe: does a base model already know a word? Measured by how far the word shifts its predictions."""

from bakehouse.evaluation.trigger_probe.known_words import KnownWords, load_known_words, resolve_base
from bakehouse.evaluation.trigger_probe.probe import ProbeSpec, probe_words
from bakehouse.evaluation.trigger_probe.probe_result import ProbeResult, SimilarWord, Verdict, WordResult
from bakehouse.evaluation.trigger_probe.sample_sheet import SampleComparison, check_sheet, draw_sample_sheet

__all__ = [
    "KnownWords",
    "ProbeResult",
    "ProbeSpec",
    "SampleComparison",
    "SimilarWord",
    "Verdict",
    "WordResult",
    "check_sheet",
    "draw_sample_sheet",
    "load_known_words",
    "probe_words",
    "resolve_base",
]
