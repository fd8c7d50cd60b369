"""Duplicates: the same picture twice, told from another expression, another outfit, a crop."""

from bakehouse.curation.dedupe.dedupe import Dedupe, DuplicateFinding
from bakehouse.curation.dedupe.pair_matcher import MatchLimits

__all__ = ["Dedupe", "DuplicateFinding", "MatchLimits"]
