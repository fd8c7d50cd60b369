"""Upscaling networks: their weights, their architectures, and large images in tiles."""
