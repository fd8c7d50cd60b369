"""`dataset clean`: remove text and blur other people's faces. Importing this loads no network."""

from bakehouse.curation.clean.blur_faces import blur_faces
from bakehouse.curation.clean.clean import Clean
from bakehouse.vision.text_detection import RapidOcrDetector, TextDetector, TextRegion, classify_text, mark_watermarks

__all__ = ["Clean", "RapidOcrDetector", "TextDetector", "TextRegion", "blur_faces", "classify_text", "mark_watermarks"]
