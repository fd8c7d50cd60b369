"""Crops of a person at several distances, with captions that follow."""

from bakehouse.curation.crops.crop import Crop
from bakehouse.curation.crops.crop_captions import crop_caption
from bakehouse.curation.crops.framing import Framing, FramingRules, crop_box, load_framing_rules

__all__ = ["Crop", "Framing", "FramingRules", "crop_box", "crop_caption", "load_framing_rules"]
