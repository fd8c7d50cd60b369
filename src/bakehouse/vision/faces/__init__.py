"""Faces, in drawings and in photos. Importing this opens no library."""

from bakehouse.vision.faces.crop_window import cuts_face, face_window, head
from bakehouse.vision.faces.detectors import FinderKind, open_finder
from bakehouse.vision.faces.face import Box, Face, FaceFinder

__all__ = ["Box", "Face", "FaceFinder", "FinderKind", "cuts_face", "face_window", "head", "open_finder"]
