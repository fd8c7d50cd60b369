"""Duplicates: the same picture twice, told from another expression, another outfit, a crop."""

from bakehouse.curate.dedupe.judge import Limits
from bakehouse.curate.dedupe.verb import Dedupe, Finding

__all__ = ["Dedupe", "Finding", "Limits"]
