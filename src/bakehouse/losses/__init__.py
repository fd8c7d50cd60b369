"""What is asked of the network: noise to add, errors to measure, weights to give them."""

from bakehouse.losses.batch import Batch, LossFn
from bakehouse.losses.denoising import LossSpec, denoising_loss
from bakehouse.losses.noise import NoiseSpec
from bakehouse.losses.timesteps import TimestepSpec
from bakehouse.losses.weighting import WeightingSpec

__all__ = ["Batch", "LossFn", "LossSpec", "NoiseSpec", "TimestepSpec", "WeightingSpec", "denoising_loss"]
