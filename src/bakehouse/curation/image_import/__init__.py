"""Images from wherever they are into one dataset: folders, archives, films, downloads, other trainers' datasets."""

from bakehouse.curation.image_import.import_images import Taken, take_in
from bakehouse.curation.image_import.import_options import Intake

__all__ = ["Intake", "Taken", "take_in"]
