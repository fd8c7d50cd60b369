"""Images into folders by concept: by their tags, by how alike they look, or as the folders that are there."""

from bakehouse.curate.sorting.verb import Sort

__all__ = ["Sort"]
