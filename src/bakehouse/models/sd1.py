"""Stable Diffusion 1.x: one CLIP text encoder of 12 layers."""

from __future__ import annotations

from bakehouse.models.family import Family
from bakehouse.models.identify import TEXT
from bakehouse.models.stable_diffusion import StableDiffusion


class SD1(StableDiffusion):
    """A base model of the SD 1.x architecture, of any width."""

    family = "sd1"


FAMILY = Family(
    name="sd1",
    network_class=SD1,
    native_size=512,
    text_keys=(TEXT,),
    modelspec={"epsilon": "stable-diffusion-v1", "v_prediction": "stable-diffusion-v1"},
)
