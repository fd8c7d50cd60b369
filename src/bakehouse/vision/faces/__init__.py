"""Face detectors for drawings and photos. Importing this loads no library."""

from bakehouse.vision.faces.crop_window import crop_around_face, crop_cuts_face, head_box
from bakehouse.vision.faces.detectors import FaceDetectorKind, load_face_detector
from bakehouse.vision.faces.face import Box, Face, FaceDetector

__all__ = [
    "Box",
    "Face",
    "FaceDetector",
    "FaceDetectorKind",
    "crop_around_face",
    "crop_cuts_face",
    "head_box",
    "load_face_detector",
]
