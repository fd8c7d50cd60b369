"""Training masks: made by networks or by colour, and checked before they are used. Importing this opens none."""

from bakehouse.curation.masks.color_mask import color_mask
from bakehouse.curation.masks.make_masks import Mask
from bakehouse.curation.masks.mask_quality import Quality, iou, quality
from bakehouse.vision.segmentation.segmenter import Matte

__all__ = ["Mask", "Matte", "Quality", "color_mask", "iou", "quality"]
