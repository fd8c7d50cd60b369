"""What is wrong with a run or an adapter file, with figures and the command that helps. Imported when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakehouse.doctor.all_checks import CHECK_GROUPS, CHECKS
    from bakehouse.doctor.check import Check, CheckFinding
    from bakehouse.doctor.doctor_options import DoctorSpec, Limits
    from bakehouse.doctor.facts import Facts
    from bakehouse.doctor.report import Finding, Report
    from bakehouse.doctor.run_doctor import examine, run_checks

_MODULES = {
    "CHECKS": "all_checks",
    "Check": "check",
    "CheckFinding": "check",
    "DoctorSpec": "doctor_options",
    "CHECK_GROUPS": "all_checks",
    "Facts": "facts",
    "Finding": "report",
    "Limits": "doctor_options",
    "Report": "report",
    "examine": "run_doctor",
    "run_checks": "run_doctor",
}

__all__ = [
    "CHECKS",
    "CHECK_GROUPS",
    "Check",
    "CheckFinding",
    "DoctorSpec",
    "Facts",
    "Finding",
    "Limits",
    "Report",
    "examine",
    "run_checks",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"bakehouse.doctor.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
