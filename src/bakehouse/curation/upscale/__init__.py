"""`dataset upscale`: enlarge images that are too small for their buckets. Importing this loads no torch."""

from bakehouse.curation.upscale.upscale import Upscale

__all__ = ["Upscale"]
