"""What is wrong with a run or an adapter file, with figures and the command that helps. Imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakehouse.core.lazy_names import lazy_names

if TYPE_CHECKING:
    from bakehouse.doctor.all_checks import CHECK_GROUPS, CHECKS
    from bakehouse.doctor.check import Check, CheckFinding
    from bakehouse.doctor.doctor_options import DoctorSpec, Limits
    from bakehouse.doctor.facts import Facts
    from bakehouse.doctor.report import Finding, Report
    from bakehouse.doctor.run_doctor import examine, run_checks

_HOMES = {
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

__getattr__ = lazy_names(__name__, _HOMES)
