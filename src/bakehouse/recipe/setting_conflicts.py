"""Settings that work against each other: refused where the result would be wrong, said where it may disappoint.

Each of these is taken without a word by one trainer or another.
"""

from __future__ import annotations

from collections.abc import Iterator

from bakehouse.adapters.lr_multipliers import multipliers_for
from bakehouse.recipe.presets import load_preset
from bakehouse.recipe.recipe import Recipe

FAR_TOO_HIGH = 1000
"""Times the usual rate: 1.0, as for Prodigy, given to AdamW."""


def refused(recipe: Recipe) -> Iterator[str]:
    """What cannot be meant, one sentence each with the remedies."""
    yield from _of_optimizer(recipe)
    yield from _of_schedule(recipe)
    yield from _of_fused_backward(recipe)


def doubtful(recipe: Recipe) -> Iterator[str]:
    """What works and may not do what was hoped for."""
    yield from _of_rates(recipe)
    yield from _of_noise(recipe)
    if load_preset(recipe.kind).adapter == "full" and recipe.adapter.kind != "full":
        yield (
            f"kind = {recipe.kind!r} trains the whole network where adapter.kind is left out; here it is "
            f"{recipe.adapter.kind!r}, which learns at its own rate"
        )
    if recipe.kind == "style" and recipe.data.augment.color:
        yield f"data.augment.color = {recipe.data.augment.color:g}: colours are part of a style, and this blurs them"


def _of_noise(recipe: Recipe) -> Iterator[str]:
    noise = recipe.noise
    if noise.offset and noise.pyramid_iterations:
        yield (
            f"noise.offset = {noise.offset:g} and noise.pyramid_iterations = {noise.pyramid_iterations} both move the "
            "picture's mean: the offset is added first, and the pyramid's normalisation then shrinks it, as in kohya. "
            "One of them is usually enough"
        )


def _of_optimizer(recipe: Recipe) -> Iterator[str]:
    spec, row = recipe.optimizer, recipe.optimizer.row
    lr = spec.lr if spec.lr is not None else row.lr
    if row.one_rate and recipe.adapter.unet and recipe.adapter.text and spec.text_lr is not None and spec.text_lr != lr:
        yield (
            f"optimizer.text_lr = {spec.text_lr:g} differs from optimizer.lr = {lr:g}, but {spec.name} estimates "
            "one rate for all that learns: give both the same, or leave both out"
        )
    if row.schedule_free and recipe.train.ema:
        yield (
            f"train.ema = {recipe.train.ema:g} with {spec.name}, which saves an average already: "
            "leave train.ema out, or take 'adamw'"
        )
    if spec.relative_step and spec.lr not in (None, 1.0):
        yield (
            f"optimizer.lr = {spec.lr:g} is not looked at with relative_step = true: "
            "leave it out, or leave relative_step out"
        )


def _of_schedule(recipe: Recipe) -> Iterator[str]:
    spec, schedule = recipe.optimizer, recipe.schedule
    if "kind" not in schedule.model_fields_set:
        return  # the plan chooses what fits the optimizer
    own = schedule.kind == "adafactor"
    if own and not spec.relative_step:
        yield (
            "schedule.kind = 'adafactor' leaves the rate to Adafactor itself: it needs optimizer.name = 'adafactor' "
            "and optimizer.args.relative_step = true"
        )
    if spec.relative_step and (schedule.kind not in ("adafactor", "constant") or schedule.warmup):
        yield (
            f"schedule.kind = {schedule.kind!r} is not looked at with relative_step = true, and neither is a warm-up: "
            "set schedule.kind = 'adafactor' (warm-up is optimizer.args.warmup_init), or leave relative_step out"
        )
    if spec.row.schedule_free and schedule.kind != "constant":
        yield (
            f"schedule.kind = {schedule.kind!r} with {spec.name}, which takes the place of a schedule: "
            "set schedule.kind = 'constant' (a warm-up is fine), or take another optimizer"
        )


def _of_fused_backward(recipe: Recipe) -> Iterator[str]:
    train, spec = recipe.train, recipe.optimizer
    if not train.fused_backward:
        return
    if recipe.adapter.kind != "full":
        # Ways that make ΔW again on the way back would make it of weights that have stepped already.
        yield (
            f"train.fused_backward = true is for adapter.kind = 'full', and here it is {recipe.adapter.kind!r}, whose "
            "gradients are small: leave it out"
        )
    if train.max_grad_norm and "max_grad_norm" in train.model_fields_set:
        yield (
            f"train.max_grad_norm = {train.max_grad_norm:g} needs all gradients at once, and train.fused_backward = "
            "true frees each as it comes: set train.max_grad_norm = 0, or leave train.fused_backward out"
        )
    if train.batch == "auto":
        yield (
            "train.batch = 'auto' cuts a step's images into batches whose gradients are added up, and "
            "train.fused_backward = true uses each as it comes: give train.batch a number, or leave one of them out"
        )
    elif train.accumulation > 1:
        yield (
            f"train.accumulation = {train.accumulation} adds gradients up, and train.fused_backward = true uses each "
            "as it comes: leave one of them out"
        )
    if not spec.row.each_alone:
        yield (
            f"train.fused_backward = true needs an optimizer that looks at each weight alone, and {spec.name} does "
            "not: take one of PyTorch's own or of bitsandbytes', adafactor, or leave train.fused_backward out"
        )


def _of_rates(recipe: Recipe) -> Iterator[str]:
    spec, row = recipe.optimizer, recipe.optimizer.row
    if spec.lr is None or spec.relative_step:
        return
    if row.finds_rate and not 0.1 <= spec.lr <= 10:
        yield f"optimizer.lr = {spec.lr:g} multiplies the rate that {spec.name} finds itself: 1.0 is usual"
    usual = row.lr * max(1.0, *(multipliers_for(recipe.adapter, short=short).lr for short in (False, True)))
    if not row.finds_rate and spec.lr >= FAR_TOO_HIGH * usual:
        times = f"{spec.lr / usual:,.0f} times"
        yield (
            f"optimizer.lr = {spec.lr:g} is {times} {spec.name}'s usual {usual:g}, and the training will diverge: "
            "lower it, or leave it out for the plan's own"
        )
