"""What is wrong with a dataset, with figures, and the command that mends each thing."""

from bakehouse.curate.audit.check import Check, Hit
from bakehouse.curate.audit.facts import Facts, ImageFacts
from bakehouse.curate.audit.finders import Finders, installed_finders
from bakehouse.curate.audit.gather import gather
from bakehouse.curate.audit.options import AuditSpec, Limits
from bakehouse.curate.audit.page import write_page
from bakehouse.curate.audit.report import Changes, Finding, Fix, Report, read_report
from bakehouse.curate.audit.run import audit, examine
from bakehouse.curate.audit.table import CHECKS, FAMILIES

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
