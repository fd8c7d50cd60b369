"""Writing and strangers' faces out of the images. Importing this opens no network."""

from bakehouse.curation.clean.blur_faces import faceless
from bakehouse.curation.clean.clean import Clean
from bakehouse.vision.text_detection import RapidText, Text, TextFinder, classified, marked

__all__ = ["Clean", "RapidText", "Text", "TextFinder", "classified", "faceless", "marked"]
