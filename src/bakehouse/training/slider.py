"""The objective of a slider from prompts: the base's own predictions for both ends are what the adapter learns from."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Progress, Warned
from bakehouse.core.run_folder import Run
from bakehouse.losses import Batch
from bakehouse.losses.denoising import per_sample
from bakehouse.losses.slider import SliderBatch, SliderPrompt, slider_target, with_words
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.recipe.plan import Plan
from bakehouse.training.ranks import Ranks
from bakehouse.training.slider_range import calibrate
from bakehouse.training.slider_stop import SettledCallback, ends_apart
from bakehouse.training.slider_trajectory import Draw, Trajectory, denoise, draw
from bakehouse.training.step_callbacks import Callback
from bakehouse.training.training_state import TrainState

PROBE = -1
"""Number of the trajectory on which a slider is looked at, not trained: the first that no step uses."""
SAME = 0.1
"""Two ends differ less than this share of what a prompt changes at all: they mean nearly the same to the base."""


@dataclass
class SliderObjective:
    """Noisy images of trajectories, and the error of the adapter's predictions at both strengths."""

    plan: Plan
    model: Denoiser
    adapter: Adapter
    carried: dict[str, Tensor] = field(default_factory=dict)
    """The trajectory that is in use. A resumed run goes on with it, so it is saved with the state."""
    _conds: dict[str, Conditioning] = field(default_factory=dict)
    _uncond: Conditioning | None = None
    _predicted: tuple[int, Mapping[str | None, Tensor]] = (-1, {})
    """The number of the point in use, and the base's predictions for it by prompt."""
    _probes: dict[int, Trajectory] = field(default_factory=dict)
    """By the number of the slider's prompt."""

    def prepare(self, ranks: Ranks) -> Iterator[Event]:
        """Encode the prompts, and check that the base tells the ends apart.

        Raises:
            UsageError: two ends are the same to the base.
        """
        self._encode()
        prompts = self.plan.recipe.slider.prompts
        for number, prompt in enumerate(prompts):
            yield Progress(what="comparing the slider's ends", done=number, total=len(prompts))
            yield from self._compare(prompt, number)
        yield Progress(what="comparing the slider's ends", done=len(prompts), total=len(prompts))

    def callbacks(self, run: Run) -> Sequence[Callback]:
        """Stop the run once its ends stop changing, where the recipe asks for it."""
        return [SettledCallback(self.plan, self.ends, self.carried)] if self.plan.recipe.stop.when == "settled" else []

    def finish(self, state: TrainState, run: Run) -> Generator[Event, None, Mapping[str, Any]]:
        """Measure the finished slider, save the strip of images, and return what the file says of its range."""
        return (yield from calibrate(self.plan.recipe, self.model, state, run))

    def batch_sizes(self, step: int) -> list[int]:
        spec, train = self.plan.recipe.slider, self.plan.recipe.train
        return [train.batch_size * (2 if spec.anchors else 1)] * (train.accumulation * len(spec.signs))

    def batch(self, step: int, part: int, generator: torch.Generator) -> SliderBatch:
        """Return one point of a trajectory at one strength; the strengths of a point are neighbouring parts."""
        recipe = self.plan.recipe
        spec = recipe.slider
        part, sign = divmod(part, len(spec.signs))
        number = step * recipe.train.accumulation + part
        trajectory, drawn = self._trajectory(number // spec.points)
        place = number % spec.points
        x_t, t = trajectory.latents[place], trajectory.timesteps[place].expand(recipe.train.batch_size)
        if self._predicted[0] != number:
            self._predicted = number, self._predict_with_base(x_t, t, self._prompts(drawn))
        return self._at(spec.signs[sign], x_t, t, drawn, self._predicted[1])

    def trial_batch(self, size: int, generator: torch.Generator) -> SliderBatch:
        self._encode()
        spec = self.plan.recipe.slider
        width, height = max(spec.sizes, key=lambda s: s[0] * s[1])
        x_t = torch.randn(size, *self.model.latent_shape(width, height), generator=generator).to(self.model.device)
        drawn = draw(spec, self.plan.recipe.buckets.step, 0, 0)
        t = torch.full((size,), self.model.schedule.steps // 2)
        return self._at(1.0, x_t, t, drawn, self._predict_with_base(x_t, t, self._prompts(drawn)))

    def loss(self, model: Denoiser, adapter: Adapter, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return one loss per sample, [B], before `Batch.weight`; the adapter is at the batch's strength already."""
        assert isinstance(batch, SliderBatch)
        spec, schedule = self.plan.recipe.loss, model.schedule
        pred = model(batch.latents, batch.t.to(batch.latents.device), batch.cond).float()
        error = spec.elementwise(pred, batch.target, schedule, batch.t)
        weight = spec.weighting(schedule, batch.t).to(error.device, error.dtype)
        return per_sample(error, None) * weight

    def prefetch(self, steps: Iterable[int]) -> None:
        """Do nothing: all prompts are encoded before the first step."""

    def ends(self) -> Tensor:
        """Return the difference between the predictions at both ends, [N, C, h, w]; of one-way sliders, to the base.

        It is taken on a trajectory of the base that is never trained on, the same each time.
        """
        spec = self.plan.recipe.slider
        found = []
        for number in range(len(spec.prompts)):
            trajectory, drawn = self._probe(number)
            points = [
                (x_t, t.expand(len(x_t))) for x_t, t in zip(trajectory.latents, trajectory.timesteps, strict=True)
            ]
            outermost = (1.0, -1.0 if spec.both_ways else 0.0)
            found.append(ends_apart(self.model, self.adapter, self._conds[drawn.target], points, outermost))
        return torch.cat(found)

    def _encode(self) -> None:
        """Encode every prompt once, alone, so that its bits do not depend on others."""
        if self._uncond is not None:
            return
        recipe = self.plan.recipe
        options = {"clip_skip": recipe.model.clip_skip, "chunks": recipe.model.max_tokens // 75}
        with torch.no_grad(), self.adapter.scaled(0.0):
            for text in dict.fromkeys(recipe.slider.all_prompts()):
                self._conds[text] = self.model.encode_prompt([text], **options)
            self._uncond = self.model.encode_negative([""], **options)

    def _compare(self, prompt: SliderPrompt, number: int) -> Iterator[Event]:
        """Refuse ends that are the same to the base, and warn of ends that nearly are."""
        kept = next(iter(self.plan.recipe.slider.keep), "")
        positive, negative, _ = (with_words(text, kept) for text in prompt.ends)
        named = f"{positive!r} and {negative!r}"
        if _equal(self._conds[positive], self._conds[negative]):
            raise UsageError(
                f"the slider's ends {named} are the same to the base's text encoder: there is nothing to learn",
                hint="its tokenizer may not know a word, or cut the prompts before they differ; use other words",
            )
        apart, any_change = [], []
        trajectory, _ = self._probe(number)
        for x_t, t in zip(trajectory.latents, trajectory.timesteps, strict=True):
            of = self._predict_with_base(x_t, t.expand(len(x_t)), [positive, negative, None])
            apart.append(of[positive] - of[negative])
            any_change += [of[text] - of[None] for text in (positive, negative)]
        share = float(torch.stack(apart).square().mean().sqrt() / torch.stack(any_change).square().mean().sqrt())
        if share < SAME:
            yield Warned(
                message=f"the slider's ends {named} mean nearly the same to the base: their predictions differ by "
                f"{share:.1%} of what the prompts change. Use words that the base draws differently"
            )

    def _probe(self, number: int) -> tuple[Trajectory, Draw]:
        """Return a trajectory of the base for one of the slider's prompts, which no step uses."""
        spec = self.plan.recipe.slider
        drawn = draw(spec, self.plan.recipe.buckets.step, self.plan.recipe.seed, number * max(1, len(spec.keep)))
        if number not in self._probes:
            self._probes[number] = self._denoise(drawn, PROBE - number, strength=0.0)
        return self._probes[number], drawn

    def _trajectory(self, number: int) -> tuple[Trajectory, Draw]:
        """Return trajectory `number`, made now if it is not the one in use."""
        recipe = self.plan.recipe
        drawn = draw(recipe.slider, recipe.buckets.step, recipe.seed, number)
        current = Trajectory.from_tensors(self.carried, self.model.device)
        if current is None or current.number != number:
            strength = drawn.strength if recipe.slider.trajectories == "slider" else 0.0
            current = self._denoise(drawn, number, strength=strength)
            self.carried.update(current.to_tensors())
        return current, drawn

    def _denoise(self, drawn: Draw, number: int, *, strength: float) -> Trajectory:
        recipe = self.plan.recipe
        self._encode()
        assert self._uncond is not None
        self.adapter.eval()
        try:
            with self.adapter.scaled(strength):
                return denoise(
                    self.model, recipe.slider, drawn, self._conds[drawn.target], self._uncond,
                    count=recipe.train.batch_size, seed=recipe.seed, number=number,
                )  # fmt: skip
        finally:
            self.adapter.train()

    def _prompts(self, drawn: Draw) -> list[str | None]:
        """Return the prompts that the base is asked for at a point."""
        anchors = self.plan.recipe.slider.anchors
        return [*drawn.ends, *([anchors[drawn.anchor].prompt] if anchors else [])]

    @torch.no_grad()
    def _predict_with_base(self, x_t: Tensor, t: Tensor, prompts: Sequence[str | None]) -> dict[str | None, Tensor]:
        """Return the base's prediction [B, C, h, w] in fp32 for each prompt, in one call; None: the empty prompt."""
        different = list(dict.fromkeys(prompts))
        cond = Conditioning.cat([self._rows(text, len(x_t)) for text in different])
        with self.adapter.scaled(0.0):
            pred = self.model(torch.cat([x_t] * len(different)), t.to(x_t.device).repeat(len(different)), cond).float()
        return dict(zip(different, pred.chunk(len(different)), strict=True))

    def _at(
        self, strength: float, x_t: Tensor, t: Tensor, drawn: Draw, predicted: Mapping[str | None, Tensor]
    ) -> SliderBatch:
        """Return the batch of a point: the target prompt's rows, then those of the anchor."""
        positive, negative, neutral = (predicted[text] for text in drawn.ends)
        targets = [slider_target(neutral, positive, negative, strength * drawn.prompt.direction)]
        conds, weights = [self._rows(drawn.target, len(x_t))], [drawn.prompt.weight]
        if anchors := self.plan.recipe.slider.anchors:
            anchor = anchors[drawn.anchor]
            targets.append(predicted[anchor.prompt])
            conds.append(self._rows(anchor.prompt, len(x_t)))
            weights.append(anchor.weight)
        kinds = len(targets)
        return SliderBatch(
            latents=torch.cat([x_t] * kinds),
            cond=Conditioning.cat(conds),
            weight=torch.tensor(weights, device=x_t.device).repeat_interleave(len(x_t)),
            is_prior=torch.arange(kinds).repeat_interleave(len(x_t)) > 0,
            strength=strength,
            t=t.repeat(kinds),
            target=torch.cat(targets),
        )

    def _rows(self, prompt: str | None, count: int) -> Conditioning:
        cond = self._uncond if prompt is None else self._conds[prompt]
        assert cond is not None
        return cond[[0] * count]


def _equal(a: Conditioning, b: Conditioning) -> bool:
    """Whether two prompts are encoded to the same bits."""
    parts = ((a.hidden, b.hidden), (a.pooled, b.pooled))
    return all(x is y or (x is not None and y is not None and torch.equal(x, y)) for x, y in parts)
