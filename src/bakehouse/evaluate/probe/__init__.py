"""Whether a word is free: what a base model does when it is put before a word that the model knows."""

from bakehouse.evaluate.probe.bank import Bank, bank_of, bare_base
from bakehouse.evaluate.probe.looks import Look, check_sheet, draw_looks
from bakehouse.evaluate.probe.probe import ProbeSpec, probe_words
from bakehouse.evaluate.probe.reading import Kin, Probe, Reading, Verdict

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
