"""Crops of a person at several distances, with captions that follow."""

from bakehouse.curate.crops.framing import Framing, Rules, crop_box, shipped_rules
from bakehouse.curate.crops.verb import Crop
from bakehouse.curate.crops.wording import follow

__all__ = ["Crop", "Framing", "Rules", "crop_box", "follow", "shipped_rules"]
