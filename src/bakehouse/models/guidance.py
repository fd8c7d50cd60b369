"""Guiders: how several predictions of the network become the one that a sampler follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bakehouse.core.errors import UsageError
from bakehouse.models.denoiser import Conditioning

Predict = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""The network: x_t [N, C, h, w], timesteps [N] and N encoded prompts to fp32 predictions [N, C, h, w]."""
Guider = Callable[[Predict, Tensor, Tensor], Tensor]
"""Called as `guider(predict, x_t, t)` with x_t [B, C, h, w] and timesteps [B]; returns one prediction [B, C, h, w].

It holds its own prompts and may call `predict` as often as it needs, with as many rows as it needs. Regional prompts,
perturbed attention and the like are guiders; samplers know nothing of them.
"""


class ClassifierFreeGuidance:
    """pred = uncond + scale x (cond - uncond): Ho & Salimans 2022, arXiv:2207.12598. At scale 1, `cond` alone."""

    def __init__(
        self,
        cond: Conditioning,
        uncond: Conditioning | None = None,
        scale: float = 7.0,
        rescale: float = 0.0,
        *,
        keep_unguided: bool = False,
    ) -> None:
        """Prepare the prompts of B images.

        Args:
            cond: the prompts, one row per image.
            uncond: the negative prompts, one row for all or one per image; not needed at scale 1.
            scale: the guidance (CFG scale).
            rescale: 0 to 1, how far the prediction is brought back to the standard deviation of the unguided one.
                0 is off, 0.7 is usual for zero-terminal-SNR models, which guidance overexposes (Lin et al. 2023,
                arXiv:2305.08891, section 3.4).
            keep_unguided: keep the last prediction for the negative prompts in `unguided`, also at scale 1; CFG++
                needs it.

        Raises:
            UsageError: a scale other than 1 without a negative prompt.
        """
        self.scale = scale
        self.rescale = rescale
        self.unguided: Tensor | None = None
        self._alone = scale == 1.0 and not keep_unguided
        self.prompts: Conditioning
        """One row for each row of the network's call: negative prompts first."""
        if self._alone:
            self.prompts = cond
        elif uncond is None:
            raise UsageError(f"guidance = {scale} needs a negative prompt (it may be empty); guidance = 1.0 needs none")
        else:
            self.prompts = _negative_and_positive(cond, uncond)

    def __call__(self, predict: Predict, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the guided prediction [B, C, h, w]; both predictions are one call of the network with 2B rows."""
        if self._alone:
            return predict(x_t, t, self.prompts)
        uncond, cond = predict(torch.cat([x_t, x_t]), torch.cat([t, t]), self.prompts).chunk(2)
        self.unguided = uncond
        return rescale_to(cond, uncond + self.scale * (cond - uncond), self.rescale)


class ComposedGuidance:
    """pred = uncond + scale x the sum of weight x (cond - uncond): several prompts for an image, each with a weight.

    Liu et al. 2022, arXiv:2206.01714, equation 11, as A1111's AND. One prompt of weight 1 is classifier-free guidance.
    """

    def __init__(
        self,
        cond: Conditioning,
        uncond: Conditioning,
        weights: Sequence[Sequence[float]],
        scale: float = 7.0,
        rescale: float = 0.0,
    ) -> None:
        """Prepare the prompts of B images.

        Args:
            cond: all prompts of the first image, then those of the second, and so on.
            uncond: the negative prompts, one row for each image.
            weights: for each image the weights of its prompts.
            scale: the guidance (CFG scale).
            rescale: see `ClassifierFreeGuidance`.
        """
        self.scale = scale
        self.rescale = rescale
        self.unguided: Tensor | None = None
        """The last prediction for the negative prompts."""
        self._weights = tuple(tuple(one) for one in weights)
        self.prompts = Conditioning.cat([uncond, cond])

    def __call__(self, predict: Predict, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the guided prediction [B, C, h, w] of one call of the network, with a row for every prompt."""
        counts = torch.tensor([len(one) for one in self._weights], device=x_t.device)
        rows = [torch.cat([one, one.repeat_interleave(counts, dim=0)]) for one in (x_t, t)]
        predictions = predict(rows[0], rows[1], self.prompts)
        self.unguided = predictions[: len(x_t)]
        guided, unguided, first = [], [], len(x_t)
        for uncond, weights in zip(predictions, self._weights, strict=False):
            conds = predictions[first : first + len(weights)]
            first += len(weights)
            guided.append(_composed(uncond, conds, [self.scale * weight for weight in weights]))
            unguided.append(conds[0] if weights == (1.0,) else _composed(uncond, conds, weights))
        return rescale_to(torch.stack(unguided), torch.stack(guided), self.rescale)


def _composed(uncond: Tensor, conds: Tensor, weights: Sequence[float]) -> Tensor:
    composed = uncond
    for cond, weight in zip(conds, weights, strict=True):
        composed = composed + weight * (cond - uncond)
    return composed


class StepwiseGuidance:
    """A guider for each range of steps: prompts that change during sampling."""

    def __init__(self, last_steps: Sequence[int], make: Callable[[int], Guider]) -> None:
        """Prepare the ranges.

        Args:
            last_steps: the last step of each range, in order; the first step is 1.
            make: returns the guider of a range by its number, from 0 on. Called when the range begins.
        """
        self._last_steps = tuple(last_steps)
        self._make = make
        self._range, self._guider = 0, make(0)

    @property
    def unguided(self) -> Tensor | None:
        """The last prediction for the negative prompts, if the present range's guider keeps it."""
        kept: Tensor | None = getattr(self._guider, "unguided", None)
        return kept

    def advance(self, done: int, total: int) -> None:
        """Say how far sampling is, after each call of the network: calls done, and calls in all.

        Samplers of second order call the network twice a step; the step is the share of calls that are done.
        """
        step = done * self._last_steps[-1] // total + 1
        found = next((i for i, last in enumerate(self._last_steps) if step <= last), len(self._last_steps) - 1)
        if found != self._range:
            self._range, self._guider = found, self._make(found)

    def __call__(self, predict: Predict, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the prediction of the present range's guider."""
        return self._guider(predict, x_t, t)


def _negative_and_positive(cond: Conditioning, uncond: Conditioning) -> Conditioning:
    """Return 2B rows, negative prompts first. Image sizes known for the prompts hold for the negative ones too."""
    negative = uncond if len(uncond) == len(cond) else uncond[[0] * len(cond)]
    return Conditioning.cat([negative if negative.sizes is not None else negative.with_sizes(cond.sizes), cond])


def rescale_to(cond: Tensor, guided: Tensor, share: float) -> Tensor:
    """Blend in the guided prediction at the standard deviation of `cond`, image by image.

    Lin et al. 2023, arXiv:2305.08891, equations 15 and 16.
    """
    if not share:
        return guided
    axes = tuple(range(1, guided.ndim))
    rescaled = guided * (cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True))
    return share * rescaled + (1 - share) * guided
