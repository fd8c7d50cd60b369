"""Writing and strangers' faces out of the images. Importing this opens no network."""

from bakehouse.curate.clean.faceless import faceless
from bakehouse.curate.clean.text import RapidText, Text, TextFinder, classified, marked
from bakehouse.curate.clean.verb import Clean

__all__ = ["Clean", "RapidText", "Text", "TextFinder", "classified", "faceless", "marked"]
