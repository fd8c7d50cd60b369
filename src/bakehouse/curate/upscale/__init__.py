"""Enlarging images that are too small for their buckets. Importing this loads no torch."""

from bakehouse.curate.upscale.verb import Upscale

__all__ = ["Upscale"]
