"""Stable Diffusion 2.x: OpenCLIP's text encoder without its last layer; epsilon (512) or v-prediction (768)."""

from __future__ import annotations

from bakehouse.models.family import Family
from bakehouse.models.identify import OPEN_CLIP
from bakehouse.models.stable_diffusion import StableDiffusion


class SD2(StableDiffusion):
    """A base model of the SD 2.x architecture, of any width.

    Its text encoder has 23 of OpenCLIP's 24 layers, so clip skip 1 is the layer that it was trained on.
    """

    family = "sd2"


FAMILY = Family(
    name="sd2",
    network_class=SD2,
    native_size=768,
    text_keys=(OPEN_CLIP,),
    pad_tokens={"text_encoder": "!"},  # OpenCLIP was trained on prompts padded with token 0, which is `!`
    modelspec={"epsilon": "stable-diffusion-v2-512", "v_prediction": "stable-diffusion-v2-768-v"},
)
