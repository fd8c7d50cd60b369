"""`dataset import`: copy images from folders, archives, videos, downloads and other trainers' datasets."""

from bakehouse.curation.image_import.import_images import ImportedSource, import_sources
from bakehouse.curation.image_import.import_options import ImportOptions

__all__ = ["ImportOptions", "ImportedSource", "import_sources"]
