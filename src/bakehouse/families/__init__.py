"""Base models: one face (`Denoiser`) in front of every family, and the ways to find, load, sample and save them."""

from bakehouse.families.crumb import crumb_folder
from bakehouse.families.denoiser import Conditioning, Denoiser, Moments
from bakehouse.families.load import ModelRef, is_model_ref, load_model, resolve_model
from bakehouse.families.sampling import SAMPLERS, initial_noise, make_scheduler, sample, to_images
from bakehouse.families.schedule import EpsilonSchedule, NoiseSchedule, VSchedule, make_schedule

__all__ = [
    "SAMPLERS",
    "Conditioning",
    "Denoiser",
    "EpsilonSchedule",
    "ModelRef",
    "Moments",
    "NoiseSchedule",
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
