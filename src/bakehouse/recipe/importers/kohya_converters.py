"""kohya's options that hang together, as values of a recipe; also where none is given, as its defaults are not ours."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bakehouse.data.buckets import make_buckets
from bakehouse.recipe.importers.import_report import Fate
from bakehouse.recipe.importers.option_table import Outcome, Settings, Taken, literal, place_of
from bakehouse.recipe.optimizers import OPTIMIZERS, OptimizerSpec

# --- model ------------------------------------------------------------------------------------------------------------


def found(settings: Settings, name: str) -> tuple[str, bool]:
    """A path from the settings: beside them, from here, or as it stands; and whether it is there."""
    text = str(settings[name])
    path = place_of(text, settings.folder)
    return (str(path), True) if path else (text, False)


def base_model(s: Settings) -> Iterator[Outcome]:
    """`pretrained_model_name_or_path` and `vae`: a path that is there, or a Hub id."""
    for name, key in (("pretrained_model_name_or_path", "model.base"), ("vae", "model.vae")):
        if not s[name]:
            continue
        where, there = found(s, name)
        yield Taken(key, where, (name,))
        if not there and not _is_hub_id(where):
            yield s.note(name, "taken", "it is not on this machine: write where it is", to=(key,))


def _is_hub_id(text: str) -> bool:
    weights = (".safetensors", ".ckpt", ".pt", ".bin")
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", text)) and not text.endswith(weights)


def clip_skip(s: Settings) -> Iterator[Outcome]:
    """Counted from the end as here; 1 is off."""
    if s["clip_skip"]:
        yield Taken("model.clip_skip", s["clip_skip"], ("clip_skip",))


def max_tokens(s: Settings) -> Iterator[Outcome]:
    """75, 150 or 225."""
    if s["max_token_length"]:
        yield Taken("model.max_tokens", s["max_token_length"], ("max_token_length",))


# --- images -----------------------------------------------------------------------------------------------------------


def side_of(value: Any) -> tuple[int, bool]:
    """`512`, `"512,768"` or `[512, 768]` as the side of the square of the same area, and whether it is a square.

    Raises:
        ValueError: it is no size.
    """
    width, height = sizes_of(value)
    return math.isqrt(width * height), width == height


def sizes_of(value: Any) -> tuple[int, int]:
    """Width and height of `512`, `"512,768"` or `[512, 768]`.

    Raises:
        ValueError: it is no size.
    """
    parts = value if isinstance(value, (list, tuple)) else re.split(r"[,xX]", str(value))
    sides = [int(float(p)) for p in parts]
    width, height = sides if len(sides) == 2 else sides * 2
    if width < 1 or height < 1:
        raise ValueError(f"{value} is no size")
    return width, height


def resolution(s: Settings) -> Iterator[Outcome]:
    """A square of the same area."""
    if s["resolution"] is None:
        return
    try:
        side, square = side_of(s["resolution"])
    except ValueError:
        yield s.note("resolution", "unknown", "it should be 512, or 512,768")
        return
    if square:
        yield Taken("buckets.resolution", side, ("resolution",))
        return
    side = _square(s, side) if s["enable_bucket"] else side
    yield Taken("buckets.resolution", side, ("resolution",))
    fate: Fate = "taken" if s["enable_bucket"] else "missing"
    why = "used as a square of the same area" if s["enable_bucket"] else "without buckets every image becomes a square"
    yield s.note("resolution", fate, f"{why}: {side}", to=("buckets.resolution",))


def _square(s: Settings, side: int) -> int:
    """The side whose square has the buckets of that area: rounded down where it can be, else up."""
    step = max(1, s["bucket_reso_steps"])
    least, most = max(step, s["min_bucket_reso"] // step * step), -(-s["max_bucket_reso"] // step) * step
    theirs = make_buckets(sizes_of(s["resolution"]), least, most, step)
    return next((x for x in (side, side + 1) if make_buckets(x, least, most, step) == theirs), side)


def buckets(s: Settings) -> Iterator[Outcome]:
    """Off unless asked for; kohya's own rule and limits."""
    yield Taken("buckets.enabled", bool(s["enable_bucket"]), ("enable_bucket",))
    if not s["enable_bucket"]:
        return
    yield Taken("buckets.rule", "kohya", ("enable_bucket",))
    yield Taken("buckets.step", s["bucket_reso_steps"], ("bucket_reso_steps",))
    yield Taken("buckets.upscale", not s["bucket_no_upscale"], ("bucket_no_upscale",))
    if s["bucket_no_upscale"]:
        # There kohya passes over its own limits, and every odd size is a bucket.
        return
    yield Taken("buckets.min", s["min_bucket_reso"], ("min_bucket_reso",))
    yield Taken("buckets.max", s["max_bucket_reso"], ("max_bucket_reso",))


def token_warmup(s: Settings) -> Iterator[Outcome]:
    """A share of all steps becomes a number where the steps are known."""
    step = s["token_warmup_step"]
    if not step:
        return
    steps = s["max_train_steps"] if not s["max_train_epochs"] else None
    if step < 1 and not steps:
        yield s.note("token_warmup_step", "missing", "a share of steps that only the plan will know: give it as steps")
        return
    whole = int(step * steps) if step < 1 and steps else int(step)
    yield Taken("captions.token_warmup_step", whole, ("token_warmup_step", "max_train_steps"))
    yield Taken("captions.token_warmup_min", s["token_warmup_min"], ("token_warmup_min",))


def extension(s: Settings) -> Iterator[Outcome]:
    """Kohya reads captions of one extension; here it is whatever of the usual ones is there."""
    asked = s["caption_extention"] or s["caption_extension"]
    if s.given("caption_extension", "caption_extention") and asked not in _EXTENSIONS:
        name = "caption_extention" if s["caption_extention"] else "caption_extension"
        yield s.note(name, "missing", f"captions end on {', '.join(_EXTENSIONS)}: rename them, or put others away")


_EXTENSIONS = (".txt", ".caption", ".json")


def metadata(s: Settings) -> Iterator[Outcome]:
    """A file of captions is not read; kohya_ss makes its own of those beside the images."""
    if s["in_json"] and not s.raw["in_json"].quiet:
        yield s.note("in_json", "missing", s.options["in_json"].how)


def repeats(s: Settings) -> Iterator[Outcome]:
    """Of the folder beside `in_json`: `N_name` folders have their own."""
    if s.given("dataset_repeats") and s.given("train_data_dir") and not s["in_json"]:
        yield s.note("dataset_repeats", "no effect", "the names of the folders say how often, `N_name`")


def augmentation(s: Settings) -> Iterator[Outcome]:
    """Every show is a new one, as there: nothing of it is cached."""
    names = [n for n in ("color_aug", "random_crop", "face_crop_aug_range") if s[n]]
    if s["color_aug"]:
        yield Taken("data.augment.color", 0.1, ("color_aug",))
    if s["random_crop"]:
        yield Taken("data.augment.random_crop", True, ("random_crop",))
    if s["face_crop_aug_range"]:
        given = s["face_crop_aug_range"]
        sides = given if isinstance(given, (list, tuple)) else str(given).split(",")
        yield Taken("data.augment.face_crop", [float(x) for x in sides], ("face_crop_aug_range",))
    if names:
        yield Taken("data.cache", "none", tuple(names))


def no_prefix(s: Settings) -> Iterator[Outcome]:
    """Set even where empty, since the plan would put the trigger in front where no caption holds it."""
    yield Taken("captions.prefix", s["caption_prefix"] or "", ("caption_prefix",))


# --- length -----------------------------------------------------------------------------------------------------------


def length(s: Settings) -> Iterator[Outcome]:
    """Epochs win over steps; both count optimizer steps, as here."""
    if s["max_train_epochs"]:
        yield Taken("train.epochs", s["max_train_epochs"], ("max_train_epochs",))
        if s.given("max_train_steps"):
            yield s.note("max_train_steps", "no effect", "max_train_epochs wins")
    else:
        yield Taken("train.steps", s["max_train_steps"], ("max_train_steps",))


def saving(s: Settings) -> Iterator[Outcome]:
    """How often weights are saved, and how many of them are kept."""
    every = s["save_every_n_epochs"] or 0
    if s["save_n_epoch_ratio"] and s["max_train_epochs"]:
        every = max(1, s["max_train_epochs"] // s["save_n_epoch_ratio"])
    yield Taken("save.every_epochs", every, ("save_every_n_epochs", "save_n_epoch_ratio"))
    steps = s["save_every_n_steps"] or 0
    if steps:
        yield Taken("save.every_steps", steps, ("save_every_n_steps",))
    if s["save_last_n_epochs"]:
        yield Taken("save.keep_last", s["save_last_n_epochs"], ("save_last_n_epochs",))
    elif s["save_last_n_steps"] and steps:
        # kohya counts steps here, not files.
        kept = max(1, s["save_last_n_steps"] // steps)
        yield Taken("save.keep_last", kept, ("save_last_n_steps", "save_every_n_steps"))


# --- optimizer --------------------------------------------------------------------------------------------------------

LIBRARY_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "prodigy": {
        "weight_decay": 0.0,
        "decouple": True,
        "use_bias_correction": False,
        "safeguard_warmup": False,
        "d_coef": 1.0,
    },
    # kohya itself turns this on where nothing is said.
    "adafactor": {"relative_step": True, "scale_parameter": True, "warmup_init": False},
    "lion": {"weight_decay": 0.0},
    "lion8bit": {"weight_decay": 0.0},
    "pagedlion8bit": {"weight_decay": 0.0},
    "came": {"weight_decay": 0.0},
    "dadaptadam": {"weight_decay": 0.0, "weight_decouple": False},
    "dadaptadan": {"weight_decay": 0.0},
    "dadaptlion": {"weight_decay": 0.0},
    "adamwschedulefree": {"weight_decay": 0.0},
    "radamschedulefree": {"weight_decay": 0.0},
}
"""What kohya's libraries take where nothing is said, for what our table sets otherwise."""

_RENAMED_ARGS = {"decouple": "weight_decouple"}
"""Of the D-Adaptation optimizers, which live in another library here."""


def key_values(pairs: Any) -> dict[str, Any]:
    """`["weight_decay=0.01", "betas=0.9,0.99"]`, one text of such pairs, or a table."""
    if isinstance(pairs, Mapping):
        return {str(k): literal(v) for k, v in pairs.items()}
    if isinstance(pairs, str):
        pairs = [pairs]
    words = [
        w for p in pairs or [] for w in re.findall(r"[\w.]+\s*=\s*(?:\([^)]*\)|\[[^\]]*\]|\"[^\"]*\"|\S+)", str(p))
    ]
    split = (w.partition("=") for w in words)
    return {k.strip(): literal(v.strip().strip("\"'")) for k, _, v in split}


def optimizer(s: Settings) -> Iterator[Outcome]:
    """Its name as kohya writes it, its arguments, and the library's own defaults where ours are others."""
    kind = s["optimizer_type"] or (
        "AdamW8bit" if s["use_8bit_adam"] else "Lion" if s["use_lion_optimizer"] else "AdamW"
    )
    of = ("optimizer_type", "use_8bit_adam", "use_lion_optimizer")
    name = our_optimizer(kind)
    if name is None:
        yield s.note("optimizer_type", "missing", f"optimizers are {', '.join(OPTIMIZERS)}")
        return
    yield Taken("optimizer.name", name, of)
    args = key_values(s["optimizer_args"])
    if name.startswith("dadapt"):
        args = {_RENAMED_ARGS.get(k, k): v for k, v in args.items()}
    ours = OPTIMIZERS[name].defaults
    library = {k: v for k, v in LIBRARY_DEFAULTS.get(name, {}).items() if k not in args and ours.get(k) != v}
    if args or library:
        yield Taken("optimizer.args", {**library, **args}, ("optimizer_args", "optimizer_type"))


def our_optimizer(kind: str) -> str | None:
    """The table's name of an optimizer, from kohya's or from the path of its class; None where there is none."""
    for name in (kind, kind.rsplit(".", 1)[-1]):
        try:
            return OptimizerSpec(name=name).name
        except ValueError:
            continue
    return None


# --- loss -------------------------------------------------------------------------------------------------------------


def weighting(s: Settings) -> Iterator[Outcome]:
    """One of them; kohya multiplies what is asked for together."""
    asked = [
        (kind, name)
        for kind, name in (
            ("min_snr", "min_snr_gamma"),
            ("debiased", "debiased_estimation_loss"),
            ("epsilon", "scale_v_pred_loss_like_noise_pred"),
        )
        if s[name]
    ]
    kind, source = asked[0] if asked else ("none", "min_snr_gamma")
    yield Taken("loss.weighting.kind", kind, (source,))
    if kind == "min_snr":
        yield Taken("loss.weighting.gamma", s["min_snr_gamma"], ("min_snr_gamma",))
    if s["v_pred_like_loss"]:
        yield Taken("loss.weighting.v_pred_like", s["v_pred_like_loss"], ("v_pred_like_loss",))
    own = any(k in ("debiased", "epsilon") for k, _ in asked)
    if own or s["v_pred_like_loss"] or (asked and s["zero_terminal_snr"]):
        yield Taken("loss.weighting.form", "kohya", (source if asked else "v_pred_like_loss",))
    if asked[1:]:
        yield Taken("loss.weighting.also", [k for k, _ in asked[1:]], tuple(name for _, name in asked[1:]))


def loss(s: Settings) -> Iterator[Outcome]:
    """The kind, and Huber's numbers where they mean something."""
    kind = s["loss_type"]
    if kind == "l2":
        return
    yield Taken("loss.kind", kind, ("loss_type",))
    if kind in ("huber", "smooth_l1"):
        yield Taken("loss.huber_schedule", s["huber_schedule"], ("huber_schedule",))
        yield Taken("loss.huber_c", s["huber_c"], ("huber_c",))
        # kohya's own snr schedule passes over huber_scale.
        if s["huber_scale"] != 1 and s["huber_schedule"] != "snr":
            yield Taken("loss.huber_scale", s["huber_scale"], ("huber_scale",))


def pyramid(s: Settings) -> Iterator[Outcome]:
    """The discount means something with iterations alone."""
    if s["multires_noise_iterations"]:
        yield Taken("noise.pyramid_iterations", min(10, s["multires_noise_iterations"]), ("multires_noise_iterations",))
        yield Taken("noise.pyramid_discount", s["multires_noise_discount"], ("multires_noise_discount",))


def precision(s: Settings) -> Iterator[Outcome]:
    """Of the arithmetic."""
    words = {"no": "fp32", "fp16": "fp16", "bf16": "bf16", "float": "fp32", "fp32": "fp32"}
    yield Taken("train.precision", words.get(s["mixed_precision"], "auto"), ("mixed_precision",))


def saved_precision(s: Settings) -> Iterator[Outcome]:
    """Of the file; kohya saves as it trains, so fp32, where nothing is said."""
    words = {"float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16", None: "fp32", "": "fp32"}
    yield Taken("save.dtype", words.get(s["save_precision"], "fp32"), ("save_precision",))


def attention(s: Settings) -> Iterator[Outcome]:
    """Xformers where asked for; PyTorch's own in any other case."""
    if s["xformers"]:
        yield Taken("train.attention", "xformers", ("xformers",))


def latents(s: Settings) -> Iterator[Outcome]:
    """Always cached; on the disk only where asked for, else nothing is left behind."""
    augmented = s["color_aug"] or s["random_crop"] or s["face_crop_aug_range"]
    if (s["cache_latents"] or s["cache_latents_to_disk"]) and not augmented:
        where = "disk" if s["cache_latents_to_disk"] else "memory"
        yield Taken("data.cache", where, ("cache_latents_to_disk", "cache_latents"))


# --- logging ----------------------------------------------------------------------------------------------------------


def batch(s: Settings) -> Iterator[Outcome]:
    """A dataset file's own wins, as there."""
    own = s.given("batch_size")
    yield Taken(
        "train.batch", s["batch_size" if own else "train_batch_size"], ("batch_size" if own else "train_batch_size",)
    )


def quantize(s: Settings) -> Iterator[Outcome]:
    """8-bit weights under an adapter."""
    if s["fp8_base"] or s["fp8_base_unet"]:
        yield Taken("model.quantize", "int8", ("fp8_base", "fp8_base_unet"))


def masked(s: Settings) -> Iterator[Outcome]:
    """Masks are used where they are asked for, as files or as the images' alpha; averaged over the whole picture."""
    masked = bool(s["masked_loss"] or s["alpha_mask"])
    yield Taken("loss.masked", masked, ("masked_loss", "alpha_mask"))
    if masked:
        yield Taken("loss.mask_average", "picture", ("masked_loss", "alpha_mask"))


def tensorboard(s: Settings) -> Iterator[Outcome]:
    """Where a folder for it is named."""
    if s["logging_dir"] and s["log_with"] in (None, "", "tensorboard", "all"):
        yield Taken("save.tensorboard", True, ("logging_dir", "log_with"))
