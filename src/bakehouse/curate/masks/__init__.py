"""Training masks: made by networks or by colour, and checked before they are used. Importing this opens none."""

from bakehouse.curate.masks.color import color_mask
from bakehouse.curate.masks.matte import Matte
from bakehouse.curate.masks.quality import Quality, iou, quality
from bakehouse.curate.masks.verb import Mask

__all__ = ["Mask", "Matte", "Quality", "color_mask", "iou", "quality"]
