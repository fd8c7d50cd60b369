"""Images into folders by concept: by their tags, by how alike they look, or as the folders that are there."""

from bakehouse.curation.sorting.sort import Sort

__all__ = ["Sort"]
