"""Faces, in drawings and in photos. Importing this opens no library."""

from bakehouse.curate.faces.face import Box, Face, FaceFinder
from bakehouse.curate.faces.finders import FinderKind, open_finder
from bakehouse.curate.faces.window import cuts_face, face_window, head

__all__ = ["Box", "Face", "FaceFinder", "FinderKind", "cuts_face", "face_window", "head", "open_finder"]
