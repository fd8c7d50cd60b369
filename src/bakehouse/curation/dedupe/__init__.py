"""Duplicates: the same picture twice, told from another expression, another outfit, a crop."""

from bakehouse.curation.dedupe.dedupe import Dedupe, Finding
from bakehouse.curation.dedupe.pair_matcher import Limits

__all__ = ["Dedupe", "Finding", "Limits"]
