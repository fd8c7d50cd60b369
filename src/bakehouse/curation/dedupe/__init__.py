"""`dataset dedupe`: find duplicate images, as opposed to variants (another expression or outfit) and crops."""

from bakehouse.curation.dedupe.dedupe import Dedupe, DuplicateFinding
from bakehouse.curation.dedupe.pair_matcher import MatchLimits

__all__ = ["Dedupe", "DuplicateFinding", "MatchLimits"]
