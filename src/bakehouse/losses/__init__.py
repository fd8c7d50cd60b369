"""Losses: noise and timesteps, the error of the prediction, the weight of each timestep."""

from bakehouse.losses.batch import Batch
from bakehouse.losses.denoising import DenoisingLoss, LossSpec
from bakehouse.losses.noise import NoiseSpec
from bakehouse.losses.slider import SliderSpec
from bakehouse.losses.timesteps import TimestepSpec
from bakehouse.losses.weighting import WeightingSpec

__all__ = ["Batch", "DenoisingLoss", "LossSpec", "NoiseSpec", "SliderSpec", "TimestepSpec", "WeightingSpec"]
