"""`dataset crop`: crop a person at several framings, with captions adapted to each."""

from bakehouse.curation.crops.crop import Crop
from bakehouse.curation.crops.crop_captions import crop_caption
from bakehouse.curation.crops.framing import Framing, FramingRules, crop_box, load_framing_rules

__all__ = ["Crop", "Framing", "FramingRules", "crop_box", "crop_caption", "load_framing_rules"]
