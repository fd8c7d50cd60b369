"""Datasets behind HTTP: folders of images in one root, listed, uploaded to, and changed by steps that can be undone."""
