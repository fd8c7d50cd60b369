"""Segmentation models: masks of the subject."""
