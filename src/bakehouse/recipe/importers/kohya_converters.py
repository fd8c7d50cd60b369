"""Converters of kohya's options that depend on each other. They run without any of them too: kohya's defaults count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bakehouse.data.buckets import make_buckets
from bakehouse.recipe.importers.common import key_values, library_defaults, our_optimizer, parse_size, square_side
from bakehouse.recipe.importers.import_report import Status
from bakehouse.recipe.importers.option_table import Assignment, Outcome, Settings, converts
from bakehouse.recipe.optimizers import OPTIMIZERS

# --- model ------------------------------------------------------------------------------------------------------------


@converts("pretrained_model_name_or_path", "vae")
def base_model(s: Settings) -> Iterator[Outcome]:
    """`pretrained_model_name_or_path` and `vae`: a path that exists, or a Hub id."""
    for name, key in (("pretrained_model_name_or_path", "model.base"), ("vae", "model.vae")):
        if not s[name]:
            continue
        where, exists = s.path(name)
        yield Assignment(key, where, (name,))
        if not exists and not _is_hub_id(where):
            yield s.note(name, "set", "not found on this machine: correct the path", sets=(key,))


def _is_hub_id(text: str) -> bool:
    weights = (".safetensors", ".ckpt", ".pt", ".bin")
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", text)) and not text.endswith(weights)


# --- images -----------------------------------------------------------------------------------------------------------


@converts("resolution")
def resolution(s: Settings) -> Iterator[Outcome]:
    """Convert the resolution to a square of the same area."""
    if s["resolution"] is None:
        return
    try:
        width, height = parse_size(s["resolution"])
    except ValueError:
        yield s.note("resolution", "unknown", "expected 512 or 512,768")
        return
    side = square_side((width, height))
    if width != height:
        status: Status = "set" if s["enable_bucket"] else "unsupported"
        side = _square_of_buckets(s, side) if s["enable_bucket"] else side
        how = (
            "converted to a square of the same area" if s["enable_bucket"] else "without buckets all images are square"
        )
        yield s.note("resolution", status, f"{how}: {side}", sets=("buckets.resolution",))
    yield Assignment("buckets.resolution", side, ("resolution",))


def _square_of_buckets(s: Settings, side: int) -> int:
    """Return the side whose square has the same buckets: rounded down if that has, else up."""
    step = max(1, s["bucket_reso_steps"])
    least, most = max(step, s["min_bucket_reso"] // step * step), -(-s["max_bucket_reso"] // step) * step
    theirs = make_buckets(parse_size(s["resolution"]), least, most, step)
    return next((x for x in (side, side + 1) if make_buckets(x, least, most, step) == theirs), side)


@converts("token_warmup_min", "token_warmup_step")
def token_warmup(s: Settings) -> Iterator[Outcome]:
    """Convert a share of all steps to a number if the steps are known."""
    step = s["token_warmup_step"]
    if not step:
        return
    steps = s["max_train_steps"] if not s["max_train_epochs"] else None
    if step < 1 and not steps:
        why = "a fraction of a step count that is not known yet: give a number of steps"
        yield s.note("token_warmup_step", "unsupported", why)
        return
    whole = int(step * steps) if step < 1 and steps else int(step)
    yield Assignment("captions.token_warmup_step", whole, ("token_warmup_step", "max_train_steps"))
    yield s.assign("captions.token_warmup_min", "token_warmup_min")


@converts("caption_extension")
def extension(s: Settings) -> Iterator[Outcome]:
    """Note the caption extension: kohya reads one, bakehouse all of the usual ones."""
    name = "caption_extention" if s["caption_extention"] else "caption_extension"
    if s.given("caption_extension", "caption_extention") and s[name] not in _EXTENSIONS:
        why = f"caption files must end with {', '.join(_EXTENSIONS)}: rename them"
        yield s.note(name, "unsupported", why)


_EXTENSIONS = (".txt", ".caption", ".json")


@converts("in_json")
def metadata(s: Settings) -> Iterator[Outcome]:
    """Note that a file of captions is not read; kohya_ss makes its own from those beside the images."""
    if s["in_json"] and not s.raw["in_json"].quiet:
        yield s.note("in_json", "unsupported", s.options["in_json"].how)


@converts("dataset_repeats")
def repeats(s: Settings) -> Iterator[Outcome]:
    """Convert the repeats of the folder with `in_json`; `N_name` folders have their own."""
    if s.given("dataset_repeats") and s.given("train_data_dir") and not s["in_json"]:
        yield s.note("dataset_repeats", "no effect", "the folders' names set the repeats: `N_name`")


AUGMENTATIONS = ("color_aug", "random_crop", "face_crop_aug_range")
"""Options that make every show of an image differ, so that its latents are not cached."""


def face_crop(sides: Any) -> dict[str, Any]:
    """Convert the range of the face's share: `[least, most]`."""
    parts = sides if isinstance(sides, (list, tuple)) else str(sides).split(",")
    return {"data.augment.face_crop": [float(x) for x in parts], "data.cache": "none"}


@converts("cache_latents", "cache_latents_to_disk")
def latents(s: Settings) -> Iterator[Outcome]:
    """Convert the cache: latents are always cached, on disk only if asked for."""
    if (s["cache_latents"] or s["cache_latents_to_disk"]) and not any(s[name] for name in AUGMENTATIONS):
        where = "disk" if s["cache_latents_to_disk"] else "memory"
        yield Assignment("data.cache", where, ("cache_latents_to_disk", "cache_latents"))


# --- length and logging -----------------------------------------------------------------------------------------------


@converts("save_every_n_epochs", "save_n_epoch_ratio", "save_last_n_epochs", "save_last_n_steps")
def saving(s: Settings) -> Iterator[Outcome]:
    """Convert how often weights are saved, and how many of them are kept."""
    every = s["save_every_n_epochs"] or 0
    if s["save_n_epoch_ratio"] and s["max_train_epochs"]:
        every = max(1, s["max_train_epochs"] // s["save_n_epoch_ratio"])
    yield Assignment("save.every_epochs", every, ("save_every_n_epochs", "save_n_epoch_ratio"))
    if s["save_last_n_epochs"]:
        yield s.assign("save.keep_last", "save_last_n_epochs")
    elif s["save_last_n_steps"] and s["save_every_n_steps"]:
        # kohya counts steps here, not files.
        kept = max(1, s["save_last_n_steps"] // s["save_every_n_steps"])
        yield Assignment("save.keep_last", kept, ("save_last_n_steps", "save_every_n_steps"))


@converts("logging_dir", "log_with")
def tensorboard(s: Settings) -> Iterator[Outcome]:
    """Turn on TensorBoard if a logging folder is given."""
    if s["logging_dir"] and s["log_with"] in (None, "", "tensorboard", "all"):
        yield Assignment("save.tensorboard", True, ("logging_dir", "log_with"))


# --- optimizer and loss -----------------------------------------------------------------------------------------------

_RENAMED_ARGS = {"decouple": "weight_decouple"}
"""Arguments of the D-Adaptation optimizers, for which bakehouse uses another library."""


@converts("optimizer_type", "use_8bit_adam", "use_lion_optimizer", "optimizer_args")
def optimizer(s: Settings) -> Iterator[Outcome]:
    """Convert the optimizer's name and arguments, with its library's defaults where ours differ."""
    kind = s["optimizer_type"] or (
        "AdamW8bit" if s["use_8bit_adam"] else "Lion" if s["use_lion_optimizer"] else "AdamW"
    )
    name = our_optimizer(kind)
    if name is None:
        yield s.note("optimizer_type", "unsupported", f"not available; optimizers are {', '.join(OPTIMIZERS)}")
        return
    yield Assignment("optimizer.name", name, ("optimizer_type", "use_8bit_adam", "use_lion_optimizer"))
    args = key_values(s["optimizer_args"])
    if name.startswith("dadapt"):
        args = {_RENAMED_ARGS.get(k, k): v for k, v in args.items()}
    if args := {**library_defaults(name), **args}:
        yield Assignment("optimizer.args", args, ("optimizer_args", "optimizer_type"))


_WEIGHTINGS = {
    "min_snr_gamma": "min_snr",
    "debiased_estimation_loss": "debiased",
    "scale_v_pred_loss_like_noise_pred": "epsilon",
}


@converts(*_WEIGHTINGS)
def weighting(s: Settings) -> Iterator[Outcome]:
    """Convert the first loss weighting that is on; kohya multiplies all of them."""
    on = [name for name in _WEIGHTINGS if s[name]]
    source = on[0] if on else "min_snr_gamma"
    kind = _WEIGHTINGS[source] if on else "none"
    yield Assignment("loss.weighting.kind", kind, (source,))
    if kind == "min_snr":
        yield s.assign("loss.weighting.gamma", "min_snr_gamma")
    own = any(name != "min_snr_gamma" for name in on)
    if own or s["v_pred_like_loss"] or (on and s["zero_terminal_snr"]):
        yield Assignment("loss.weighting.form", "kohya", (source if on else "v_pred_like_loss",))
    if on[1:]:
        yield Assignment("loss.weighting.also", [_WEIGHTINGS[name] for name in on[1:]], tuple(on[1:]))


@converts("masked_loss")
def masked(s: Settings) -> Iterator[Outcome]:
    """Convert masks, from files or alpha; the loss is averaged over the whole image."""
    sources = ("masked_loss", "alpha_mask")
    on = bool(s["masked_loss"] or s["alpha_mask"])
    yield Assignment("loss.masked", on, sources)
    if on:
        yield Assignment("loss.mask_average", "image", sources)


CONVERTERS = (
    *(base_model, resolution, token_warmup, extension, metadata, repeats, latents),
    *(saving, tensorboard, optimizer, weighting, masked),
)
