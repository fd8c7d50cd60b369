"""Segmentation models that separate a subject from its background."""
