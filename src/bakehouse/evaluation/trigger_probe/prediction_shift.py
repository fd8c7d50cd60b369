"""Noise-space shift: how far a base's prediction moves when words are put before its class word."""

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
"""After so many of the steps on the way to a picture predictions are compared: places, shapes, details."""
_ROOM = 4 * 512 * 512
"""Pixels in one batch: what 8 GB hold for every family."""
_MOST = 16


@dataclass(frozen=True)
class States:
    """Half-made pictures of the class: x_t [B, C, h, w] on their timesteps t [B]."""

    x_t: Tensor
    t: Tensor


class Shifts:
    """Predictions for prompts on the same half-made pictures.

    Each prompt is encoded alone, and the states are cut into batches without regard to prompts: what is said of one
    does not depend on the others, to the bit.
    """

    def __init__(self, model: Denoiser, *, class_word: str, noises: int, seed: int, clip_skip: int = 1) -> None:
        """`class_word` may be empty: words are then put before nothing."""
        self.model = model
        self.class_word = class_word
        self.seeds = list(range(seed, seed + noises))
        self.clip_skip = clip_skip
        self._memory = _Memory(
            key_of("probe 1", model.fingerprint, _way(model), class_word, self.seeds, clip_skip, STEPS, TIMES)
        )

    def prompt(self, word: str) -> str:
        """The word before the class word."""
        return f"{word} {self.class_word}".strip()

    def of(self, word: str) -> float:
        """RMS over states, channels and places of the difference that the word makes to the class word's prediction.

        Kept on disk, by the model's content.
        """
        prompt = self.prompt(word)
        known = self._memory.get(prompt)
        if known is None:
            known = float(self.direction(word).square().mean().sqrt())
            self._memory.put(prompt, known)
        return known

    def knows(self, word: str) -> bool:
        """Whether the shift of a word was measured before."""
        return self._memory.get(self.prompt(word)) is not None

    def direction(self, word: str) -> Tensor:
        """The difference itself [S, C, h, w], float64 on the CPU."""
        return self.prediction(self.prompt(word)) - self._of_class

    def likeness(self, a: Tensor, b: Tensor) -> float:
        """Cosine of two differences over all states, -1 to 1; 0 where one of them is nothing."""
        length = float(a.norm() * b.norm())
        return float((a * b).sum()) / length if length else 0.0

    @torch.no_grad()
    def prediction(self, prompt: str) -> Tensor:
        """[S, C, h, w] for a whole prompt.

        Raises:
            BakehouseError: it is not finite.
        """
        cond = self.model.encode_prompt([prompt], clip_skip=self.clip_skip)
        parts = []
        for state in self._states:
            rows = cond[[0] * len(state.t)]
            parts.append(self.model(state.x_t, state.t, rows).to("cpu", torch.float64))
        said = torch.cat(parts)
        if not torch.isfinite(said).all():
            raise BakehouseError(f"{self.model.name} predicts no numbers for {prompt!r}", hint="try --precision fp32")
        return said

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """What was measured inside the block is kept for the next time, also where the block was left early."""
        try:
            yield
        finally:
            self._memory.write()

    @cached_property
    def _of_class(self) -> Tensor:
        return self.prediction(self.class_word)

    @cached_property
    def _states(self) -> list[States]:
        side = self.model.native_size
        most = max(1, min(_MOST, _ROOM // side**2))
        made = [self._walk(self.seeds[i : i + most]) for i in range(0, len(self.seeds), most)]
        x_t, t = torch.cat([s.x_t for s in made]), torch.cat([s.t for s in made])
        return [States(x_t[i : i + most], t[i : i + most]) for i in range(0, len(t), most)]

    @torch.no_grad()
    def _walk(self, seeds: Sequence[int]) -> States:
        """What the base itself has on the way to pictures of the class, by DDIM without guidance."""
        model, found = self.model, []

        def keep(step: SamplingStep) -> None:
            if step.done in TIMES:
                # Evenly spaced from the last timestep down, as samplers here are.
                at = round(model.schedule.steps * (1 - step.done / step.total)) - 1
                found.append((step.latents.clone(), torch.full((len(seeds),), at, device=step.latents.device)))

        cond = model.encode_prompt([self.class_word], clip_skip=self.clip_skip)[[0] * len(seeds)]
        noise = initial_noise(seeds, model.latent_shape(model.native_size, model.native_size))
        guider = ClassifierFreeGuidance(cond, scale=1.0)
        sample(model, guider, noise=noise, steps=STEPS, sampler="ddim", seeds=seeds, on_step=keep)
        return States(torch.cat([x for x, _ in found]), torch.cat([t for _, t in found]))


def _way(model: Denoiser) -> list[str]:
    """What predictions depend on beside the weights in the model's files."""
    return [model.device.type, str(model.dtype), model.schedule.prediction, str(model.schedule.is_zero_terminal)]


class _Memory:
    """Shifts that were measured once, by prompt, in the user's cache."""

    def __init__(self, key: str) -> None:
        self._path: Path = cache_dir("probe", f"{key[:32]}.json")
        self._shifts: dict[str, float] | None = None
        self._new = False

    def get(self, prompt: str) -> float | None:
        return self._read().get(prompt)

    def put(self, prompt: str, shift: float) -> None:
        self._read()[prompt] = shift
        self._new = True

    def write(self) -> None:
        """To disk, if there is something new."""
        if self._new:
            write_json(self._path, self._read())
            self._new = False

    def _read(self) -> dict[str, float]:
        if self._shifts is None:
            self._shifts = {}
            # A damaged file costs a measurement, no more.
            with contextlib.suppress(BakehouseError):
                if self._path.is_file():
                    self._shifts = {str(k): float(v) for k, v in read_json(self._path).items()}
        return self._shifts
