"""`dataset mask`: training masks from a network or by colour, with quality checks. Importing this loads no network."""

from bakehouse.curation.masks.color_mask import color_mask
from bakehouse.curation.masks.make_masks import Mask
from bakehouse.curation.masks.mask_quality import MaskQuality, iou, measure_mask
from bakehouse.vision.segmentation.segmenter import Segmenter

__all__ = ["Mask", "MaskQuality", "Segmenter", "color_mask", "iou", "measure_mask"]
