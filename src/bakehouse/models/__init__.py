"""Base models: one interface (`Denoiser`) for every family; finding, loading, sampling and saving them."""

from bakehouse.models.crumb import crumb_folder
from bakehouse.models.denoiser import Conditioning, Denoiser, Moments
from bakehouse.models.guidance import ClassifierFreeGuidance, Guider
from bakehouse.models.load import ModelRef, is_model_ref, load_model, resolve_model
from bakehouse.models.noise_schedule import EpsilonSchedule, NoiseSchedule, VSchedule, make_schedule
from bakehouse.models.samplers import SAMPLERS, make_scheduler
from bakehouse.models.sampling import OnStep, SamplingCancelledError, SamplingStep, initial_noise, sample, to_images

__all__ = [
    "SAMPLERS",
    "ClassifierFreeGuidance",
    "Conditioning",
    "Denoiser",
    "EpsilonSchedule",
    "Guider",
    "ModelRef",
    "Moments",
    "NoiseSchedule",
    "OnStep",
    "SamplingCancelledError",
    "SamplingStep",
    "VSchedule",
    "crumb_folder",
    "initial_noise",
    "is_model_ref",
    "load_model",
    "make_schedule",
    "make_scheduler",
    "resolve_model",
    "sample",
    "to_images",
]
