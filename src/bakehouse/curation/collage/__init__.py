"""`dataset collage`: images of two subjects side by side, from cut-outs of each. Importing this loads no network."""

from bakehouse.curation.collage.collage import Collage
from bakehouse.curation.collage.collage_folders import CollageResult, collage_folders

__all__ = ["Collage", "CollageResult", "collage_folders"]
