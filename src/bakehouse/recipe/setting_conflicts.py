"""Settings of one recipe that contradict each other: errors and warnings that need nothing but the recipe.

`validation` adds what depends on images and files, `base_validation` what depends on the base model, and
`device_and_precision` what depends on this machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from bakehouse.adapters.lr_relative_to_lora import multipliers_for
from bakehouse.recipe.presets import load_preset
from bakehouse.recipe.recipe import Recipe

FAR_TOO_HIGH = 1000
"""Times the usual learning rate: Prodigy's 1.0 given to AdamW, for example."""


def conflicts(recipe: Recipe) -> Iterator[str]:
    """Yield an error for each contradiction, with the remedies."""
    yield from _of_optimizer(recipe)
    yield from _of_schedule(recipe)
    yield from _of_fused_backward(recipe)
    yield from of_devices(recipe, recipe.train.devices)


def questionable(recipe: Recipe) -> Iterator[str]:
    """Yield a warning for each combination that works but may not do what is expected."""
    yield from _of_rates(recipe)
    yield from _of_noise(recipe)
    train = recipe.train
    if (left := train.accumulation % train.devices) and train.batch not in (None, "auto"):
        yield (
            f"train.accumulation = {train.accumulation} on train.devices = {train.devices}: in each step "
            f"{train.devices - left} wait while {left} compute one more batch; a multiple of {train.devices} is fastest"
        )
    if load_preset(recipe.kind).adapter == "full" and recipe.adapter.kind != "full":
        yield (
            f"kind = {recipe.kind!r} trains the whole network by default; adapter.kind = "
            f"{recipe.adapter.kind!r} is trained instead, at its own learning rate"
        )
    if recipe.kind == "style" and recipe.data.augment.color:
        yield f"data.augment.color = {recipe.data.augment.color:g}: it changes colours, which are part of a style"


def _of_noise(recipe: Recipe) -> Iterator[str]:
    noise = recipe.noise
    if noise.offset and noise.pyramid_iterations:
        yield (
            f"noise.offset = {noise.offset:g} and noise.pyramid_iterations = {noise.pyramid_iterations} both shift the "
            "image's mean: the pyramid's normalisation then shrinks the offset, as in kohya. "
            "One of them is usually enough"
        )


def _of_optimizer(recipe: Recipe) -> Iterator[str]:
    spec, row = recipe.optimizer, recipe.optimizer.row
    lr = spec.lr if spec.lr is not None else row.lr
    if row.one_rate and recipe.adapter.unet and recipe.adapter.text and spec.text_lr is not None and spec.text_lr != lr:
        yield (
            f"optimizer.text_lr = {spec.text_lr:g} differs from optimizer.lr = {lr:g}, but {spec.name} estimates "
            "a single learning rate: set both to the same value, or leave both out"
        )
    if row.schedule_free and recipe.train.ema:
        yield (
            f"train.ema = {recipe.train.ema:g} with {spec.name}, which averages weights already: "
            "leave train.ema out, or use 'adamw'"
        )
    if spec.relative_step and spec.lr not in (None, 1.0):
        yield (f"optimizer.lr = {spec.lr:g} has no effect with relative_step = true: leave one of them out")


def _of_schedule(recipe: Recipe) -> Iterator[str]:
    spec, schedule = recipe.optimizer, recipe.schedule
    if "kind" not in schedule.model_fields_set:
        return  # the plan chooses what fits the optimizer
    own = schedule.kind == "adafactor"
    if own and not spec.relative_step:
        yield (
            "schedule.kind = 'adafactor' leaves the learning rate to Adafactor: it needs optimizer.name = 'adafactor' "
            "and optimizer.args.relative_step = true"
        )
    if spec.relative_step and (schedule.kind not in ("adafactor", "constant") or schedule.warmup):
        yield (
            f"schedule.kind = {schedule.kind!r} and a warm-up have no effect with relative_step = true: "
            "set schedule.kind = 'adafactor' (warm-up is optimizer.args.warmup_init), or leave relative_step out"
        )
    if spec.row.schedule_free and schedule.kind != "constant":
        yield (
            f"schedule.kind = {schedule.kind!r} with {spec.name}, which needs no schedule: "
            "set schedule.kind = 'constant' (a warm-up is allowed), or use another optimizer"
        )


def _of_fused_backward(recipe: Recipe) -> Iterator[str]:
    train, spec = recipe.train, recipe.optimizer
    if not train.fused_backward:
        return
    if recipe.adapter.kind != "full":
        # Adapters that recompute ΔW in the backward pass would use weights that have been updated already.
        yield (
            f"train.fused_backward = true is only for adapter.kind = 'full', not for {recipe.adapter.kind!r}, whose "
            "gradients are small: leave it out"
        )
    if train.max_grad_norm and "max_grad_norm" in train.model_fields_set:
        yield (
            f"train.max_grad_norm = {train.max_grad_norm:g} needs all gradients at once, but train.fused_backward = "
            "true frees each gradient as it is computed: set train.max_grad_norm = 0, or leave train.fused_backward out"
        )
    if train.batch == "auto":
        yield (
            "train.batch = 'auto' accumulates the gradients of several batches, but train.fused_backward = "
            "true frees each gradient as it is computed: set train.batch to a number, or leave one of them out"
        )
    elif train.accumulation > 1:
        yield (
            f"train.accumulation = {train.accumulation} accumulates gradients, but train.fused_backward = true frees "
            "each gradient as it is computed: leave one of them out"
        )
    if not spec.row.each_alone:
        yield (
            f"train.fused_backward = true needs an optimizer that updates each weight by itself, which {spec.name} "
            "does not: use one of PyTorch's or bitsandbytes', or adafactor, or leave train.fused_backward out"
        )


def of_devices(recipe: Recipe, devices: int) -> Iterator[str]:
    """Yield an error for each reason why a recipe cannot be trained on so many devices, whatever they are."""
    train = recipe.train
    if devices == 1:
        return
    named = f"train.devices = {devices}"
    if recipe.kind == "slider":
        yield (
            f"{named}: a slider is trained on one device, since a step goes on from the picture of the one before: "
            "leave train.devices out"
        )
    if train.fused_backward:
        yield (
            f"{named} adds the gradients of all devices, but train.fused_backward = true frees each as it is computed: "
            "leave one of them out"
        )
    if train.shard:
        yield from shard_obstacles(recipe)
    if ":" in train.device or train.device == "mps":
        yield f"{named}, but train.device = {train.device!r} names one: set 'auto', 'cuda' or 'cpu'"
    # What is left open is decided by the plan.
    if "accumulation" in train.model_fields_set and train.batch is not None and train.accumulation < devices:
        yield (
            f"{named}, but train.accumulation = {train.accumulation}, and each device computes at least one batch of a "
            f"step: {_enough_batches(recipe, devices)}"
        )


def shard_obstacles(recipe: Recipe) -> Iterator[str]:
    """Yield an error for each reason why devices cannot share the weights (`train.shard`), with the remedy."""
    train, spec, adapter = recipe.train, recipe.optimizer, recipe.adapter
    also = "or train.shard = false"
    if adapter.kind != "full":
        yield (
            f"train.shard = true divides the weights that train, but adapter.kind = {adapter.kind!r} trains few: "
            "leave it out"
        )
    elif not adapter.unet:
        yield "train.shard = true divides the weights of the UNet, but adapter.unet = false: leave it out"
    if not spec.row.each_number:
        yield (
            f"train.shard = true leaves each device a part of every weight, and {spec.name} needs whole ones: set "
            f"optimizer.name = 'adamw', {also}"
        )
    if recipe.prior.source != "none" and recipe.prior.target == "base":
        yield (
            "train.shard = true keeps no copy of the untouched weights, which prior.target = 'base' needs: set "
            f"prior.target = 'noise', {also}"
        )
    for name, value in (("compile", True), ("channels_last", True), ("batch", "auto"), ("precision", "fp16")):
        if getattr(train, name) == value:
            named = f"train.{name} = {_toml(value)}"
            yield f"train.shard = true cannot be combined with {named}: {_OTHERWISE[name]}, {also}"


_OTHERWISE = {
    "compile": "leave that out",
    "channels_last": "leave that out",
    "batch": "it is tried on one device by itself; set a number",
    "precision": "set 'bf16' or 'fp32'",
}


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _enough_batches(recipe: Recipe, devices: int) -> str:
    train = recipe.train
    images = train.batch_size * train.accumulation
    fewer = f"use at most {train.accumulation} devices" if train.accumulation > 1 else "use one device"
    if images % devices or train.batch == "auto":
        return f"set train.accumulation = {devices}, or {fewer}"
    same = f"set train.batch = {images // devices} and train.accumulation = {devices} for the same images in a step"
    return f"{same}, or {fewer}"


def _of_rates(recipe: Recipe) -> Iterator[str]:
    spec, row = recipe.optimizer, recipe.optimizer.row
    if spec.lr is None or spec.relative_step:
        return
    if row.finds_rate and not 0.1 <= spec.lr <= 10:
        yield f"optimizer.lr = {spec.lr:g} multiplies the learning rate that {spec.name} finds itself: 1.0 is usual"
    usual = row.lr * max(1.0, *(multipliers_for(recipe.adapter, short=short).lr for short in (False, True)))
    if not row.finds_rate and spec.lr >= FAR_TOO_HIGH * usual:
        times = f"{spec.lr / usual:,.0f} times"
        yield (
            f"optimizer.lr = {spec.lr:g} is {times} {spec.name}'s usual {usual:g}, and the training will diverge: "
            "lower it, or leave it out to use the plan's"
        )
