"""`dataset sort`: move images into concept folders by tags, by clustering, or by similarity to existing folders."""

from bakehouse.curation.sorting.sort import Sort

__all__ = ["Sort"]
