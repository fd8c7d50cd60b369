"""Crops of a person at several distances, with captions that follow."""

from bakehouse.curation.crops.crop import Crop
from bakehouse.curation.crops.crop_captions import follow
from bakehouse.curation.crops.framing import Framing, Rules, crop_box, shipped_rules

__all__ = ["Crop", "Framing", "Rules", "crop_box", "follow", "shipped_rules"]
