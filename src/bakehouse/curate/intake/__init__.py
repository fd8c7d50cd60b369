"""Images from wherever they are into one dataset: folders, archives, films, downloads, other trainers' datasets."""

from bakehouse.curate.intake.options import Intake
from bakehouse.curate.intake.take import Taken, take_in

__all__ = ["Intake", "Taken", "take_in"]
