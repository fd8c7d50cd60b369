"""Prediction shift: how far a base's noise prediction moves when a word is put before its class word."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import cache_dir, key_of, read_json, write_json
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.guidance import ClassifierFreeGuidance
from bakehouse.models.sampling import SamplingStep, initial_noise, sample

STEPS = 8
TIMES = (2, 4, 6)
"""The steps of `STEPS` after which predictions are compared: where layout, shapes and details form."""
_BATCH_PIXELS = 4 * 512 * 512
"""Pixels of one batch; fits into 8 GB for every family."""
_MAX_BATCH = 16


@dataclass(frozen=True)
class NoisyLatents:
    """Partly denoised latents of the class: x_t [B, C, h, w] at timesteps t [B]."""

    x_t: Tensor
    t: Tensor


class PredictionShifts:
    """Compares a base's predictions for different prompts on the same partly denoised latents.

    Each prompt is encoded alone, and latents are batched independently of prompts, so that the result for one prompt is
    bit-identical whatever others are measured.
    """

    def __init__(self, model: Denoiser, *, class_word: str, noises: int, seed: int, clip_skip: int = 1) -> None:
        """`class_word` may be empty: words are then measured alone."""
        self.model = model
        self.class_word = class_word
        self.seeds = list(range(seed, seed + noises))
        self.clip_skip = clip_skip
        settings = _prediction_settings(model)
        self._cache = _ShiftCache(
            key_of("probe 1", model.fingerprint, settings, class_word, self.seeds, clip_skip, STEPS, TIMES)
        )

    def prompt(self, word: str) -> str:
        """Return the word before the class word."""
        return f"{word} {self.class_word}".strip()

    def measure(self, word: str) -> float:
        """Return the RMS over latents, channels and pixels of `difference`; cached on disk by the model's content."""
        prompt = self.prompt(word)
        cached = self._cache.get(prompt)
        if cached is None:
            cached = float(self.difference(word).square().mean().sqrt())
            self._cache.put(prompt, cached)
        return cached

    def is_cached(self, word: str) -> bool:
        """Return whether the shift of a word was measured before."""
        return self._cache.get(self.prompt(word)) is not None

    def difference(self, word: str) -> Tensor:
        """Return prediction(word class) - prediction(class) [S, C, h, w], float64 on the CPU."""
        return self.prediction(self.prompt(word)) - self._class_prediction

    def cosine(self, a: Tensor, b: Tensor) -> float:
        """Return the cosine of two differences over all latents, -1 to 1; 0 if one of them is zero."""
        length = float(a.norm() * b.norm())
        return float((a * b).sum()) / length if length else 0.0

    @torch.no_grad()
    def prediction(self, prompt: str) -> Tensor:
        """Return the predictions [S, C, h, w] for a prompt, float64 on the CPU.

        Raises:
            BakehouseError: a prediction is NaN or infinite.
        """
        cond = self.model.encode_prompt([prompt], clip_skip=self.clip_skip)
        parts = []
        for latents in self._latents:
            rows = cond[[0] * len(latents.t)]
            parts.append(self.model(latents.x_t, latents.t, rows).to("cpu", torch.float64))
        predicted = torch.cat(parts)
        if not torch.isfinite(predicted).all():
            raise BakehouseError(f"{self.model.name} predicts NaN for {prompt!r}", hint="try --precision fp32")
        return predicted

    @contextlib.contextmanager
    def saving_cache(self) -> Iterator[None]:
        """Save what was measured inside the block, even if the block is left early."""
        try:
            yield
        finally:
            self._cache.save()

    @cached_property
    def _class_prediction(self) -> Tensor:
        return self.prediction(self.class_word)

    @cached_property
    def _latents(self) -> list[NoisyLatents]:
        side = self.model.native_size
        most = max(1, min(_MAX_BATCH, _BATCH_PIXELS // side**2))
        made = [self._denoise(self.seeds[i : i + most]) for i in range(0, len(self.seeds), most)]
        x_t, t = torch.cat([m.x_t for m in made]), torch.cat([m.t for m in made])
        return [NoisyLatents(x_t[i : i + most], t[i : i + most]) for i in range(0, len(t), most)]

    @torch.no_grad()
    def _denoise(self, seeds: Sequence[int]) -> NoisyLatents:
        """Return the latents that the base itself has at `TIMES` on the way to images of the class (DDIM, no CFG)."""
        model, found = self.model, []

        def keep(step: SamplingStep) -> None:
            if step.done in TIMES:
                # Timesteps are evenly spaced from the last down, as in the samplers here.
                at = round(model.schedule.steps * (1 - step.done / step.total)) - 1
                found.append((step.latents.clone(), torch.full((len(seeds),), at, device=step.latents.device)))

        cond = model.encode_prompt([self.class_word], clip_skip=self.clip_skip)[[0] * len(seeds)]
        noise = initial_noise(seeds, model.latent_shape(model.native_size, model.native_size))
        guider = ClassifierFreeGuidance(cond, scale=1.0)
        sample(model, guider, noise=noise, steps=STEPS, sampler="ddim", seeds=seeds, on_step=keep)
        return NoisyLatents(torch.cat([x for x, _ in found]), torch.cat([t for _, t in found]))


def _prediction_settings(model: Denoiser) -> list[str]:
    """Return what predictions depend on besides the weights in the model's files."""
    return [model.device.type, str(model.dtype), model.schedule.prediction, str(model.schedule.is_zero_terminal)]


class _ShiftCache:
    """Measured shifts by prompt, in the user's cache folder."""

    def __init__(self, key: str) -> None:
        self._path: Path = cache_dir("probe", f"{key[:32]}.json")
        self._shifts: dict[str, float] | None = None
        self._changed = False

    def get(self, prompt: str) -> float | None:
        return self._load().get(prompt)

    def put(self, prompt: str, shift: float) -> None:
        self._load()[prompt] = shift
        self._changed = True

    def save(self) -> None:
        """Write the file if there is something new."""
        if self._changed:
            write_json(self._path, self._load())
            self._changed = False

    def _load(self) -> dict[str, float]:
        if self._shifts is None:
            self._shifts = {}
            # A damaged file is ignored: its shifts are measured again.
            with contextlib.suppress(BakehouseError):
                if self._path.is_file():
                    self._shifts = {str(k): float(v) for k, v in read_json(self._path).items()}
        return self._shifts
