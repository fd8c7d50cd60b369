"""Whether a word is free: what a base model does when it is put before a word that the model knows."""

from bakehouse.evaluation.trigger_probe.known_words import Bank, bank_of, bare_base
from bakehouse.evaluation.trigger_probe.probe import ProbeSpec, probe_words
from bakehouse.evaluation.trigger_probe.probe_result import Kin, Probe, Reading, Verdict
from bakehouse.evaluation.trigger_probe.sample_sheet import Look, check_sheet, draw_looks

__all__ = [
    "Bank",
    "Kin",
    "Look",
    "Probe",
    "ProbeSpec",
    "Reading",
    "Verdict",
    "bank_of",
    "bare_base",
    "check_sheet",
    "draw_looks",
    "probe_words",
]
