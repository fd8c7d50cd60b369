"""Stable Diffusion 2.x: OpenCLIP's text encoder without its last layer; epsilon (512) or v-prediction (768)."""

from __future__ import annotations

from bakehouse.models.stable_diffusion import StableDiffusion


class SD2(StableDiffusion):
    """A base model of the SD 2.x architecture, of any width.

    Its text encoder has 23 of OpenCLIP's 24 layers, so clip skip 1 is the layer that it was trained on.
    """

    family = "sd2"
