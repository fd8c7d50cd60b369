"""Settings that work against each other: refused where the result would be wrong, said where it may disappoint.

Each of these is taken without a word by one trainer or another.
"""

from __future__ import annotations

from collections.abc import Iterator

from bakehouse.data.augment import without_face
from bakehouse.data.records import ImageSet
from bakehouse.recipe.estimate import pick_device
from bakehouse.recipe.recipe import Recipe

FADING = ("min_snr", "soft_min_snr", "debiased", "p2", "epsilon")
"""Weightings that go to nought with the snr on v-prediction."""
FAR_TOO_HIGH = 1000
"""Times the usual rate: 1.0, as for Prodigy, given to AdamW."""


def refused(recipe: Recipe, images: ImageSet) -> Iterator[str]:
    """What cannot be meant, one sentence each with the remedies."""
    yield from _of_noise(recipe)
    yield from _of_optimizer(recipe)
    yield from _of_schedule(recipe)
    yield from _of_fused_backward(recipe)
    yield from _of_augmentation(recipe, images)


def doubtful(recipe: Recipe) -> Iterator[str]:
    """What works and may not do what was hoped for."""
    yield from _without_effect(recipe)
    yield from _at_the_noisy_end(recipe)
    yield from _of_rates(recipe)
    loss = recipe.loss
    if loss.kind != "l2" and loss.weighting.kind != "none":
        yield (
            f"loss.weighting.kind = {loss.weighting.kind!r} is derived for squared errors; with loss.kind = "
            f"{loss.kind!r} it weighs timesteps only roughly"
        )
    if recipe.kind == "style" and recipe.data.augment.color:
        yield f"data.augment.color = {recipe.data.augment.color:g}: colours are part of a style, and this blurs them"


def _of_noise(recipe: Recipe) -> Iterator[str]:
    noise = recipe.noise
    if noise.offset and noise.pyramid_iterations:
        yield (
            f"noise.offset = {noise.offset:g} and noise.pyramid_iterations = {noise.pyramid_iterations} both move the "
            "picture's mean, and the pyramid's normalisation shrinks the offset: leave one of them out"
        )
    if noise.zero_terminal_snr and recipe.model.base == "crumb":
        yield "noise.zero_terminal_snr needs a v-prediction model; crumb predicts epsilon, which is undefined at snr 0"


def _of_optimizer(recipe: Recipe) -> Iterator[str]:
    spec, row = recipe.optimizer, recipe.optimizer.row
    yield from spec.problems(pick_device(recipe.train.device))
    if row.one_rate and recipe.adapter.text and spec.lr and spec.text_lr and spec.lr != spec.text_lr:
        yield (
            f"optimizer.text_lr = {spec.text_lr:g} differs from optimizer.lr = {spec.lr:g}, but {spec.name} estimates "
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
    if "schedule" not in recipe.model_fields_set:
        return
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
    if train.precision == "fp16":
        yield (
            "train.precision = 'fp16' has a loss scale that looks at all gradients before any is used, which "
            "train.fused_backward = true frees as they come: set 'bf16' or 'fp32', or leave train.fused_backward out"
        )
    if not spec.row.each_alone:
        yield (
            f"train.fused_backward = true needs an optimizer that looks at each weight alone, and {spec.name} does "
            "not: take one of PyTorch's own or of bitsandbytes', adafactor, or leave train.fused_backward out"
        )


def _of_augmentation(recipe: Recipe, images: ImageSet) -> Iterator[str]:
    data, augment = recipe.data, recipe.data.augment
    if augment.on and data.cache != "none" and (augment.variants or 1) < 2:
        given = [f"{name} = {getattr(augment, name)}" for name in ("random_crop", "face_crop", "color")]
        named = ", ".join(f"data.augment.{g}" for g in given if not g.endswith(("False", "None", "0.0")))
        yield (
            f"{named} with one encoded copy of each image: it would be one crop and colour for ever; set "
            "data.augment.variants = 4 to keep four of each, or data.cache = 'none' to encode anew at every show (slow)"
        )
    if augment.face_crop:
        lost = [r.path.name for r in without_face(images)]
        if lost:
            more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
            yield (
                f"data.augment.face_crop: no face is known in {', '.join(lost[:3])}{more}; give `face` boxes "
                "[left, top, width, height] in metadata.jsonl, names that end in _cx_cy_w_h, or masks; or random_crop"
            )


def _without_effect(recipe: Recipe) -> Iterator[str]:
    """Settings that were given, differ from the default, and are looked at by nobody."""
    noise, loss, stop = recipe.noise, recipe.loss, recipe.stop
    weighting, steps, augment = loss.weighting, noise.timesteps, recipe.data.augment
    hubers = ("huber_c", "huber_schedule", "huber_scale")
    rules = [
        ("noise", noise, ("offset_adaptive", "offset_random_strength"), bool(noise.offset), "noise.offset"),
        ("noise", noise, ("pyramid_random_strength",), noise.pyramid_iterations > 0, "noise.pyramid_iterations"),
        ("noise", noise, ("ip_random_strength",), bool(noise.ip_gamma), "noise.ip_gamma"),
        ("noise.timesteps", steps, ("mean", "std"), steps.density == "logit_normal", "density = 'logit_normal'"),
        ("noise.timesteps", steps, ("mode_scale",), steps.density == "mode", "density = 'mode'"),
        ("noise.timesteps", steps, ("power",), steps.density == "power", "density = 'power'"),
        ("noise.timesteps", steps, ("bias_portion", "bias_multiplier"), steps.bias != "none", "a bias"),
        ("loss", loss, hubers, loss.kind in ("huber", "smooth_l1"), "kind = 'huber' or 'smooth_l1'"),
        ("loss", loss, ("unmasked_weight", "unmasked_probability"), loss.masked, "loss.masked"),
        ("loss.weighting", weighting, ("gamma",), weighting.kind in ("min_snr", "soft_min_snr"), "kind = 'min_snr'"),
        ("loss.weighting", weighting, ("p2_gamma", "p2_k"), weighting.kind == "p2", "kind = 'p2'"),
        ("stop", stop, ("shown", "patience", "drift", "images"), stop.when == "learned", "when = 'learned'"),
        ("data.augment", augment, ("variants",), augment.on, "random_crop, face_crop or color"),
    ]
    for section, spec, names, used, needs in rules:
        for name in names:
            if not used and getattr(spec, name) != type(spec).model_fields[name].default:
                yield f"{section}.{name} = {getattr(spec, name)} does nothing without {needs}"


def _at_the_noisy_end(recipe: Recipe) -> Iterator[str]:
    """Zero-terminal SNR is there for the last timesteps: what keeps them from learning undoes it."""
    noise, weighting = recipe.noise, recipe.loss.weighting.kind
    if not noise.zero_terminal_snr:
        return
    if weighting in FADING:
        yield (
            f"loss.weighting.kind = {weighting!r} goes to nought where zero_terminal_snr begins to matter, so pictures "
            "stay at middle brightness; 'none' or 'v' lets the last timesteps learn"
        )
    if noise.max_timestep < 1000:
        yield f"noise.max_timestep = {noise.max_timestep}: the timesteps that zero_terminal_snr is for are never drawn"
    if noise.offset or noise.pyramid_iterations:
        yield (
            "noise.zero_terminal_snr lets a picture's mean move already; "
            "noise.offset or noise.pyramid_iterations beside it make pictures too dark or too bright"
        )


def _of_rates(recipe: Recipe) -> Iterator[str]:
    spec, row = recipe.optimizer, recipe.optimizer.row
    if spec.lr is None or spec.relative_step:
        return
    if row.finds_rate and not 0.1 <= spec.lr <= 10:
        yield f"optimizer.lr = {spec.lr:g} multiplies the rate that {spec.name} finds itself: 1.0 is usual"
    if not row.finds_rate and spec.lr >= FAR_TOO_HIGH * row.lr:
        times = f"{spec.lr / row.lr:,.0f} times"
        yield f"optimizer.lr = {spec.lr:g} is {times} {spec.name}'s usual {row.lr:g}: the weights will burst"
