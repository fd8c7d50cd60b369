"""What is wrong with a dataset, with figures, and the command that mends each thing."""

from bakehouse.audit.all_checks import CHECKS, FAMILIES
from bakehouse.audit.audit_options import AuditSpec, Limits
from bakehouse.audit.check import Check, Hit
from bakehouse.audit.detectors import Finders, installed_finders
from bakehouse.audit.gather_facts import gather
from bakehouse.audit.html_report import write_page
from bakehouse.audit.image_facts import Facts, ImageFacts
from bakehouse.audit.report import Changes, Finding, Fix, Report, read_report
from bakehouse.audit.run_audit import audit, examine

__all__ = [
    "CHECKS",
    "FAMILIES",
    "AuditSpec",
    "Changes",
    "Check",
    "Facts",
    "Finders",
    "Finding",
    "Fix",
    "Hit",
    "ImageFacts",
    "Limits",
    "Report",
    "audit",
    "examine",
    "gather",
    "installed_finders",
    "read_report",
    "write_page",
]
