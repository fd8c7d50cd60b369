"""Audit of a dataset: findings with figures, and the command that fixes each."""

from bakehouse.audit.all_checks import CHECK_GROUPS, CHECKS
from bakehouse.audit.audit_options import AuditSpec, Limits
from bakehouse.audit.check import Check, CheckFinding
from bakehouse.audit.detector_availability import Detectors, installed_detectors
from bakehouse.audit.facts import Facts, ImageFacts
from bakehouse.audit.gather_facts import collect_facts
from bakehouse.audit.html_report import write_html_report
from bakehouse.audit.report import Changes, Finding, Fix, Report, read_report
from bakehouse.audit.run_audit import audit, run_checks

__all__ = [
    "CHECKS",
    "CHECK_GROUPS",
    "AuditSpec",
    "Changes",
    "Check",
    "CheckFinding",
    "Detectors",
    "Facts",
    "Finding",
    "Fix",
    "ImageFacts",
    "Limits",
    "Report",
    "audit",
    "collect_facts",
    "installed_detectors",
    "read_report",
    "run_checks",
    "write_html_report",
]
