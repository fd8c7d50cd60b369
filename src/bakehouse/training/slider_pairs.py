"""The objective of a slider from images: each folder shows one strength, and images of one name differ in it alone.

Gandikota et al. 2023, arXiv:2311.12092, section 4.2: at strength s the adapter learns to predict the noise in the image
of strength s. All images of a name get the same noise at the same timestep, so that what they share cancels out.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.events import Event
from bakehouse.core.files import key_of
from bakehouse.core.run_folder import Run
from bakehouse.losses import Batch, DenoisingLoss
from bakehouse.losses.slider import PairBatch
from bakehouse.models.denoiser import Conditioning, Denoiser, Moments
from bakehouse.recipe.plan import Plan
from bakehouse.training.latent_cache import AugmentedView, LatentCache
from bakehouse.training.ranks import Ranks
from bakehouse.training.slider_range import calibrate
from bakehouse.training.slider_stop import SettledCallback, ends_apart
from bakehouse.training.step_callbacks import Callback
from bakehouse.training.training_state import TrainState

_PROBED = (0.3, 0.5, 0.7)
"""Timesteps at which both ends are compared, as shares of the schedule."""


@dataclass
class SliderPairsObjective:
    """Images of the same names in folders of different strengths, and the denoising loss at each strength."""

    plan: Plan
    model: Denoiser
    adapter: Adapter
    latents: LatentCache
    denoising: DenoisingLoss
    carried: dict[str, Tensor] = field(default_factory=dict)
    """The ends before, where the run stops once they settle."""
    _encoded: Conditioning | None = None

    @classmethod
    def create(cls, plan: Plan, model: Denoiser, adapter: Adapter) -> SliderPairsObjective:
        """Return the objective of a plan, unprepared.

        Raises:
            Problems: settings that the model's prediction type rules out.
        """
        recipe = plan.recipe
        latents = LatentCache(plan.subject_images, recipe.data)
        return cls(plan, model, adapter, latents, DenoisingLoss(recipe.loss, recipe.noise, model.schedule))

    @property
    def strengths(self) -> list[float]:
        """The strength of each folder."""
        return [concept.strength or 0.0 for concept in self.plan.recipe.concepts]

    @property
    def groups(self) -> list[list[int]]:
        """The rows of the images of each name, in the order of the folders."""
        found: dict[str, dict[int, int]] = defaultdict(dict)
        for row, image in enumerate(self.plan.subject_images):
            found[image.record.path.stem][image.record.concept] = row
        return [[rows[i] for i in sorted(rows)] for _, rows in sorted(found.items())]

    def prepare(self, ranks: Ranks) -> Iterator[Event]:
        """Fill the latent cache."""
        return self.latents.fill(self.model, ranks)

    def callbacks(self, run: Run) -> Sequence[Callback]:
        """Stop the run once its ends stop changing, where the recipe asks for it."""
        return [SettledCallback(self.plan, self.ends, self.carried)] if self.plan.recipe.stop.when == "settled" else []

    def finish(self, state: TrainState, run: Run) -> Generator[Event, None, Mapping[str, Any]]:
        """Measure the finished slider, save the strip of images, and return what the file says of its range."""
        return (yield from calibrate(self.plan.recipe, self.model, state, run))

    def batch_sizes(self, step: int) -> list[int]:
        train = self.plan.recipe.train
        return [train.batch_size] * (train.accumulation * len(self.strengths))

    def batch(self, step: int, part: int, generator: torch.Generator) -> PairBatch:
        """Return images of one strength; the strengths of the same names are neighbouring parts."""
        recipe = self.plan.recipe
        part, end = divmod(part, len(self.strengths))
        number = step * recipe.train.accumulation + part
        chosen = self._draw(number)
        return self._batch([group[end] for group in chosen], self.strengths[end], _seed(recipe.seed, number))

    def trial_batch(self, size: int, generator: torch.Generator) -> PairBatch:
        width, height = max((i.placement.bucket for i in self.plan.images), key=lambda b: b[0] * b[1])
        latents = torch.randn(size, *self.model.latent_shape(width, height), generator=generator)
        weight, is_prior = torch.ones(size, device=self.model.device), torch.zeros(size, dtype=torch.bool)
        cond = self._cond(size)
        return PairBatch(latents.to(self.model.device), cond, weight, is_prior, noise_seed=0)

    def loss(self, model: Denoiser, adapter: Adapter, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return one loss per sample, [B]; noise and timesteps are the same for all strengths of a name."""
        assert isinstance(batch, PairBatch)
        return self.denoising(model, adapter, batch, torch.Generator().manual_seed(batch.noise_seed))

    def prefetch(self, steps: Iterable[int]) -> None:
        """Encode the only prompt."""
        self._cond(1)

    def ends(self) -> Tensor:
        """Return the difference between the predictions at the outermost strengths, on the first images."""
        row = self.groups[0][0]
        x0 = self.latents.moments(AugmentedView(row)).mean.float()
        eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)).to(x0.device)
        steps = [torch.tensor([round(share * (self.model.schedule.steps - 1))]) for share in _PROBED]
        points = [(self.model.schedule.add_noise(x0, eps, t), t) for t in steps]
        outermost = (max(self.strengths), min(self.strengths))
        return ends_apart(self.model, self.adapter, self._cond(1), points, outermost)

    def _draw(self, number: int) -> list[list[int]]:
        """Return the names of a batch, all of one bucket: a function of the seed and the batch's number."""
        rng = random.Random(f"pairs/{self.plan.recipe.seed}/{number}")
        groups = self.groups
        first = rng.choice(groups)
        bucket = self.plan.subject_images[first[0]].placement.bucket
        others = [g for g in groups if self.plan.subject_images[g[0]].placement.bucket == bucket]
        more = self.plan.recipe.train.batch_size - 1
        return [first, *(rng.choice(others) for _ in range(more))]

    def _batch(self, rows: Sequence[int], strength: float, seed: int) -> PairBatch:
        views = [AugmentedView(row) for row in rows]
        moments = [self.latents.moments(view) for view in views]
        both = Moments(torch.cat([m.mean for m in moments]), torch.cat([m.std for m in moments]))
        sizes = torch.tensor([self.latents.sizes(view) for view in views])
        latents = both.sample(torch.Generator().manual_seed(seed + 1)).float()
        weight = torch.ones(len(rows), device=latents.device)
        cond = self._cond(len(rows)).with_sizes(sizes)
        return PairBatch(
            latents, cond, weight, torch.zeros(len(rows), dtype=torch.bool),
            sizes=sizes, strength=strength, noise_seed=seed,
        )  # fmt: skip

    def _cond(self, count: int) -> Conditioning:
        """Return the target prompt's rows; it is encoded once."""
        if self._encoded is None:
            model = self.plan.recipe.model
            with torch.no_grad(), self.adapter.scaled(0.0):
                prompt = self.plan.recipe.slider.prompts[0].target
                self._encoded = self.model.encode_prompt(
                    [prompt], clip_skip=model.clip_skip, chunks=model.max_tokens // 75
                )
        return self._encoded[[0] * count]


def _seed(seed: int, number: int) -> int:
    return int(key_of("pair", seed, number)[:15], 16)
