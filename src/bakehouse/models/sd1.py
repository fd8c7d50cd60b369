"""Stable Diffusion 1.x: one CLIP text encoder of 12 layers."""

from __future__ import annotations

from bakehouse.models.stable_diffusion import StableDiffusion


class SD1(StableDiffusion):
    """A base model of the SD 1.x architecture, of any width."""

    family = "sd1"
