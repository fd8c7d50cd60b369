"""Converters of OneTrainer's settings that depend on each other. Its defaults are used where a setting is missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.common import REX_D, significant, square_side
from bakehouse.recipe.importers.option_table import Assignment, Outcome, Settings, converts
from bakehouse.recipe.importers.settings_file import open_document
from bakehouse.recipe.importers.shipped_tables import shipped_table
from bakehouse.recipe.optimizers import OPTIMIZERS

DTYPES = {"FLOAT_32": "fp32", "FLOAT_16": "fp16", "BFLOAT_16": "bf16", "TFLOAT_32": "fp32"}
METHODS = {"LORA": "lora", "FINE_TUNE": "full"}
_SCHEDULES = {
    "CONSTANT": "constant",
    "LINEAR": "linear",
    "COSINE": "cosine",
    "COSINE_WITH_RESTARTS": "cosine",
    "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
    "REX": "rex",
    "ADAFACTOR": "adafactor",
}
_WEIGHTINGS = {"CONSTANT": "none", "MIN_SNR_GAMMA": "min_snr", "DEBIASED_ESTIMATION": "debiased", "P2": "p2"}
_PEFT = {"LORA": "lora", "LOHA": "loha", "LOKR": "lokr", "OFT_2": "oft"}
_FILTERS = {"": "full", "attentions": "attention+mlp", "attn": "attention"}
_PRESETS = {"attn-mlp": "attentions", "attn-only": "attn", "full": ""}
_CLOCK = ("SECOND", "MINUTE", "HOUR")


def timestep(share: float) -> int:
    """Return the timestep at a share of the noise schedule."""
    return int(1000 * share)


DEFAULTS = shipped_table("onetrainer_defaults.json")
"""`settings` by name, dotted for model parts, and `optimizers` with their arguments."""


@converts(
    *("training_method", "peft_type", "unet.train", "text_encoder.train", "text_encoder_2.train", "lora_rank"),
    *("lora_alpha", "lora_decompose", "lora_decompose_output_axis", "oft_block_size", "lokr_dim"),
    *("lokr_decompose_both", "lokr_decompose_factor", "lokr_use_tucker", "lokr_weight_decompose"),
    *("lokr_dora_on_output", "lokr_full_matrix", "layer_filter_preset", "layer_filter", "dropout_probability"),
)
def method(s: Settings) -> Iterator[Outcome]:
    """Convert LoRA or another adapter on the layers that the filter matches, or full fine-tuning.

    Raises:
        UsageError: a kind of adapter that is not known here.
    """
    full = s["training_method"] == "FINE_TUNE"
    kind = "full" if full else _PEFT.get(s["peft_type"])
    if kind is None:
        raise UsageError(f"peft_type = {s['peft_type']!r} is not supported", hint=f"supported are {', '.join(_PEFT)}")
    yield Assignment("adapter.kind", kind, ("training_method",) if full else ("peft_type", "training_method"))
    yield from _parts(s)
    if full:
        if s["layer_filter"]:
            yield s.note("layer_filter", "unsupported", "a full fine-tune always trains all layers")
        return
    yield from _layers(s)
    match kind:
        case "oft":
            yield s.assign("adapter.block_size", "oft_block_size")
            for name in ("oft_block_share", "oft_scaled"):
                if s[name]:
                    yield s.note(name, "unsupported", "OFT has separate blocks and no such factor in bakehouse")
        case "lokr":
            yield from _lokr(s)
        case _:
            yield s.assign("adapter.rank", "lora_rank")
            yield s.assign("adapter.alpha", "lora_alpha")
    if s["lora_decompose"] and kind == "lora":
        yield Assignment("adapter.dora", True, ("lora_decompose",))
        yield s.assign("adapter.wd_on_output", "lora_decompose_output_axis")
    if s["dropout_probability"] and kind in ("lora", "loha"):
        yield s.assign("adapter.dropout", "dropout_probability")


def _lokr(s: Settings) -> Iterator[Outcome]:
    yield s.assign("adapter.factor", "lokr_decompose_factor")
    if s["lokr_full_matrix"]:
        yield Assignment("adapter.full_matrix", True, ("lokr_full_matrix",))
    else:
        yield s.assign("adapter.rank", "lokr_dim")
        yield s.assign("adapter.alpha", "lora_alpha")
        for key, name in (("decompose_both", "lokr_decompose_both"), ("tucker", "lokr_use_tucker")):
            if s[name]:
                yield Assignment(f"adapter.{key}", True, (name,))
    if s["lokr_weight_decompose"]:
        yield Assignment("adapter.dora", True, ("lokr_weight_decompose",))
        yield s.assign("adapter.wd_on_output", "lokr_dora_on_output")


def _layers(s: Settings) -> Iterator[Outcome]:
    """Convert the layer filter (parts of names); a preset of OneTrainer's window is used if there is no filter."""
    of = ("layer_filter",) if s["layer_filter"] else ("layer_filter_preset",)
    text = s["layer_filter"] or _PRESETS.get(s["layer_filter_preset"], "")
    if text in _FILTERS:
        yield Assignment("adapter.targets", _FILTERS[text], of)
        return
    yield Assignment("adapter.targets", "full", of)
    if s["layer_filter_regex"]:
        yield s.note(
            "layer_filter", "unsupported", "regular expressions are not supported: put patterns into `adapter.include`"
        )
        return
    parts = [part.strip() for part in text.split(",") if part.strip()]
    yield Assignment("adapter.include", [f"*{part}*" for part in parts], of)


def _parts(s: Settings) -> Iterator[Outcome]:
    sdxl = "_XL_" in s["model_type"]
    encoders = ["text_encoder", "text_encoder_2"] if sdxl else ["text_encoder"]
    learning = [name for name in encoders if s[f"{name}.train"]]
    of = tuple(f"{name}.train" for name in encoders)
    yield Assignment("adapter.text", bool(learning), of)
    yield s.assign("adapter.unet", "unet.train")
    if len(learning) == 1 and sdxl:
        yield s.note(of[0], "unsupported", f"only {learning[0]} would be trained; bakehouse trains both text encoders")
    for name in ("unet", *learning):
        yield from _stops(s, name)


def _stops(s: Settings, part: str) -> Iterator[Outcome]:
    """Yield a note if a part's training stops before the end."""
    unit, after = s[f"{part}.stop_training_after_unit"], s[f"{part}.stop_training_after"] or 0
    if unit == "NEVER" or not s[f"{part}.train"] or (unit == "EPOCH" and after >= s["epochs"]):
        return
    why = f"it would stop after {after} {unit.lower()}s; bakehouse trains it to the end"
    yield s.note(f"{part}.stop_training_after", "unsupported", why)


@converts("learning_rate", "unet.learning_rate", "text_encoder.learning_rate", "learning_rate_scaler")
def rates(s: Settings) -> Iterator[Outcome]:
    """Convert the learning rates of the parts, or the general one, scaled if asked for."""
    scales = {
        "NONE": 1,
        "BATCH": s["batch_size"],
        "GLOBAL_BATCH": s["batch_size"],
        "GRADIENT_ACCUMULATION": s["gradient_accumulation_steps"],
        "BOTH": s["batch_size"] * s["gradient_accumulation_steps"],
        "GLOBAL_BOTH": s["batch_size"] * s["gradient_accumulation_steps"],
    }
    by = s["learning_rate_scaler"]
    # The root of it, as OneTrainer takes.
    factor = math.sqrt(scales.get(by, 1))
    if by not in scales:
        yield s.note("learning_rate_scaler", "unknown", f"supported are {', '.join(scales)}")
    for key, name in (("optimizer.lr", "unet.learning_rate"), ("optimizer.text_lr", "text_encoder.learning_rate")):
        own = name if s[name] is not None else "learning_rate"
        of = (own,) if factor == 1 else (own, "learning_rate_scaler")
        yield Assignment(key, significant(s[own] * factor, 10), of)
    second = s["text_encoder_2.learning_rate"]
    both = s["text_encoder.train"] and s["text_encoder_2.train"] and "_XL_" in s["model_type"]
    if both and second is not None and second != s["text_encoder.learning_rate"]:
        yield s.note(
            "text_encoder_2.learning_rate", "unsupported", "all text encoders have one learning rate: the first one's"
        )


@converts("optimizer")
def optimizer(s: Settings) -> Iterator[Outcome]:
    """Convert the optimizer, with arguments that differ from OneTrainer's or our defaults."""
    word, fields = _asked(s)
    row = _row(word)
    if row is None:
        yield s.note("optimizer", "unsupported", f"{word} is not available; the plan chooses an optimizer")
        return
    yield Assignment("optimizer.name", row["ours"], ("optimizer",))
    theirs: dict[str, Any] = row["args"]
    ours = OPTIMIZERS[row["ours"]].defaults
    args = {}
    for key, value in theirs.items():
        chosen = _chosen(key, value, fields)
        if chosen is None:
            continue
        name = "weight_decouple" if key == "decouple" and row["ours"].startswith("dadapt") else key
        known = name in ours and ours[name] == chosen
        if chosen != value or (name in ours and not known) or (row["ours"], key) in _OTHER_LIBRARY:
            args[name] = chosen
    if args:
        yield Assignment("optimizer.args", args, ("optimizer",))


def _asked(s: Settings) -> tuple[str, Mapping[str, Any]]:
    """Return the optimizer's name and its fields."""
    given = s["optimizer"]
    fields = dict(given) if isinstance(given, Mapping) else {"optimizer": given}
    return str(fields.get("optimizer") or "ADAMW"), fields


def _row(word: str) -> Mapping[str, Any] | None:
    """Return our optimizer's name and OneTrainer's arguments; None if we do not have it."""
    return next((v for k, v in DEFAULTS["optimizers"].items() if k.upper() == word.upper()), None)


_OTHER_LIBRARY = frozenset([("lion8bit", "betas"), ("dadaptlion", "betas"), ("dadaptsgd", "momentum")])
"""Arguments whose default in our library differs from OneTrainer's."""


def _chosen(key: str, value: Any, fields: Mapping[str, Any]) -> Any:
    """Return an argument's value in the settings, else OneTrainer's default."""
    if key == "betas":
        own = [fields.get(f"beta{i + 1}") for i in range(len(value))]
        return [v if mine is None else mine for mine, v in zip(own, value, strict=True)]
    if isinstance(value, list):
        own = [fields.get(key), fields.get(f"{key}2")]
        return [v if mine is None else mine for mine, v in zip(own, value, strict=True)]
    return value if fields.get(key) is None else fields[key]


@converts(
    *("learning_rate_scheduler", "learning_rate_warmup_steps", "learning_rate_cycles", "learning_rate_min_factor")
)
def schedule(s: Settings) -> Iterator[Outcome]:
    """Convert the schedule with warm-up (in batches or as a share), cycles and floor."""
    word = s["learning_rate_scheduler"]
    row = _row(_asked(s)[0])
    if row is not None and OPTIMIZERS[row["ours"]].schedule_free and word != "CONSTANT":
        yield s.note(
            "learning_rate_scheduler", "no effect", "the optimizer has no schedule, neither here nor in OneTrainer"
        )
        word = "CONSTANT"
    kind = _SCHEDULES.get(word)
    if kind is None:
        yield s.note("learning_rate_scheduler", "unsupported", f"not available; schedules are {', '.join(_SCHEDULES)}")
        return
    yield Assignment("schedule.kind", kind, ("learning_rate_scheduler",))
    if kind == "adafactor":
        return
    warmup = s["learning_rate_warmup_steps"]
    if warmup > 1:
        # Counted in batches there.
        warmup = int(warmup / s["gradient_accumulation_steps"])
    elif warmup == 1:
        yield s.note("learning_rate_warmup_steps", "unsupported", "1 is the whole training: give a number of steps")
        warmup = 0
    if warmup > 0:
        yield Assignment("schedule.warmup", warmup, ("learning_rate_warmup_steps", "gradient_accumulation_steps"))
        yield Assignment("schedule.warmup_from_zero", True, ("learning_rate_warmup_steps",))
    yield from _cycles(s, word)
    if kind == "rex":
        yield Assignment("schedule.rex_d", REX_D, ("learning_rate_scheduler",))
    if s["learning_rate_min_factor"] and kind != "constant":
        yield s.assign("schedule.floor", "learning_rate_min_factor")


def _cycles(s: Settings, word: str) -> Iterator[Outcome]:
    """Convert the cycles: COSINE_WITH_RESTARTS rises as slowly as it falls, the hard one jumps."""
    cycles = s["learning_rate_cycles"]
    of = ("learning_rate_cycles",)
    if word == "COSINE_WITH_RESTARTS" and cycles:
        yield Assignment("schedule.half_period", min(1.0, 0.5 / cycles), of)
    elif word == "COSINE_WITH_HARD_RESTARTS" and cycles == int(cycles):
        yield Assignment("schedule.cycles", max(1, int(cycles)), of)
    elif word == "COSINE_WITH_HARD_RESTARTS":
        yield Assignment("schedule.cycle_steps", 1 / cycles, of)


@converts("mse_strength", "mae_strength")
def loss(s: Settings) -> Iterator[Outcome]:
    """Convert the loss, which must be of one kind at full strength; bakehouse does not mix them."""
    strengths = {name: s[name] for name in ("mse_strength", "mae_strength", "log_cosh_strength", "huber_strength")}
    on = [name for name, strength in strengths.items() if strength]
    kind = {"mse_strength": "l2", "mae_strength": "l1"}.get(on[0]) if len(on) == 1 else None
    if kind is None:
        shown = ", ".join(f"{n} = {strengths[n]:g}" for n in on) or "no error counts"
        yield s.note(
            on[-1] if on else "mse_strength",
            "unsupported",
            f"losses cannot be mixed: squared error is used, not {shown}",
        )
        return
    yield Assignment("loss.kind", kind, (on[0],))
    if strengths[on[0]] != 1:
        yield s.note(on[0], "unsupported", "the loss always has full strength")


@converts("loss_weight_fn", "loss_weight_strength")
def weighting(s: Settings) -> Iterator[Outcome]:
    """Convert the loss weighting and its strength, in OneTrainer's form."""
    kind = _WEIGHTINGS.get(s["loss_weight_fn"])
    if kind is None:
        yield s.note("loss_weight_fn", "unsupported", f"supported are {', '.join(_WEIGHTINGS)}")
        kind = "none"
    yield Assignment("loss.weighting.kind", kind, ("loss_weight_fn",))
    if kind in ("debiased", "p2"):
        yield Assignment("loss.weighting.form", "onetrainer", ("loss_weight_fn",))
    if kind == "min_snr":
        yield s.assign("loss.weighting.gamma", "loss_weight_strength")
    if kind == "p2":
        yield s.assign("loss.weighting.p2_gamma", "loss_weight_strength")


@converts("ema", "ema_decay")
def average(s: Settings) -> Iterator[Outcome]:
    """Convert EMA if it is on."""
    yield Assignment("train.ema", 0.0 if s["ema"] == "OFF" else s["ema_decay"], ("ema_decay", "ema"))
    if s["ema"] != "OFF" and s["ema_update_step_interval"] != 1:
        yield s.note("ema_update_step_interval", "no effect", "EMA is updated at every step")


@converts("timestep_distribution", "noising_weight", "noising_bias", "timestep_shift")
def timesteps(s: Settings) -> Iterator[Outcome]:
    """Convert shares of the schedule to timesteps, and the distribution from which they are drawn."""
    word, weight, bias = s["timestep_distribution"], s["noising_weight"], s["noising_bias"]
    of = ("timestep_distribution", "noising_weight", "noising_bias")
    flat = word == "UNIFORM" or (word in ("SIGMOID", "INVERTED_PARABOLA") and not weight)
    if flat:
        pass
    elif word == "LOGIT_NORMAL":
        yield Assignment("noise.timesteps.density", "logit_normal", of)
        yield Assignment("noise.timesteps.mean", bias, of)
        yield Assignment("noise.timesteps.std", weight + 1, of)
    elif word == "HEAVY_TAIL":
        yield Assignment("noise.timesteps.density", "mode", of)
        yield Assignment("noise.timesteps.mode_scale", weight, of)
    elif word == "COS_MAP":
        yield Assignment("noise.timesteps.density", "cosmap", of)
    elif word in ("SIGMOID", "INVERTED_PARABOLA"):
        yield Assignment("noise.timesteps.density", "slope" if word == "SIGMOID" else "inverted_parabola", of)
        yield Assignment("noise.timesteps.weight", weight, of)
        yield Assignment("noise.timesteps.center", significant(bias + 0.5, 10), of)
    elif word == "BETA" and min(weight, bias) > 0 and 1 in (weight, bias):
        yield Assignment("noise.timesteps.density", "power", of)
        yield Assignment("noise.timesteps.power", 1 / (weight if bias == 1 else bias), of)
        yield Assignment("noise.timesteps.mirrored", bias != 1, of)
    else:
        yield s.note(
            "timestep_distribution", "unsupported", "timesteps are drawn uniformly instead; see `noise.timesteps`"
        )
    yield from _shifted(s, word)


def _shifted(s: Settings, word: str) -> Iterator[Outcome]:
    """Convert a shift over all timesteps; others, and SIGMOID's, differ in OneTrainer."""
    if s["timestep_shift"] == 1:
        return
    if word == "SIGMOID" or (s["min_noising_strength"], s["max_noising_strength"]) != (0, 1):
        yield s.note("timestep_shift", "unsupported", "not supported for SIGMOID or a part of the timesteps")
    else:
        yield s.assign("noise.timesteps.shift", "timestep_shift")


@converts("clip_grad_norm")
def clipping(s: Settings) -> Iterator[Outcome]:
    """Convert the gradient clipping; null is off."""
    given = s.raw["clip_grad_norm"].value if "clip_grad_norm" in s.raw else 1.0
    yield Assignment("train.max_grad_norm", 0.0 if given is None else s["clip_grad_norm"], ("clip_grad_norm",))


@converts("save_every", "save_every_unit")
def saving(s: Settings) -> Iterator[Outcome]:
    """Convert saving every so many epochs or steps; saving by time is not supported."""
    every, unit = s["save_every"], s["save_every_unit"]
    of = ("save_every", "save_every_unit")
    yield Assignment("save.every_epochs", int(every) if unit == "EPOCH" else 0, of)
    if unit == "STEP":
        yield Assignment("save.every_steps", int(every), of)
    if unit in _CLOCK:
        yield s.note("save_every_unit", "unsupported", "weights are saved by epochs or steps: set `save`")


@converts("sample_after", "sample_after_unit", "samples", "sample_definition_file_name")
def samples(s: Settings) -> Iterator[Outcome]:
    """Convert when samples are generated, with the prompts of their file."""
    unit, every = s["sample_after_unit"], s["sample_after"] or 0
    if unit in ("EPOCH", "STEP", "NEVER"):
        yield Assignment("sample.every_epochs", int(every) if unit == "EPOCH" else 0, ("sample_after",))
        yield Assignment("sample.every_steps", int(every) if unit == "STEP" else 0, ("sample_after",))
    elif s.given("sample_after", "sample_after_unit"):
        yield s.note("sample_after_unit", "no effect", "samples are made by epochs or steps: set `sample`")
    entries = s["samples"] or listed_tables(s, "sample_definition_file_name")
    lines = [_sample(x) for x in entries if x.get("enabled", True) and x.get("prompt")]
    if lines:
        yield Assignment("sample.prompts", lines, ("samples", "sample_definition_file_name"))


def _sample(x: Mapping[str, Any]) -> str:
    words = {"negative_prompt": "n", "width": "w", "height": "h", "seed": "d", "cfg_scale": "l", "diffusion_steps": "s"}
    return str(x["prompt"]) + "".join(f" --{short} {x[k]}" for k, short in words.items() if x.get(k) not in (None, ""))


def listed_tables(s: Settings, name: str) -> Sequence[Mapping[str, Any]]:
    """Return the entries of a file that the settings name; none if it does not exist.

    Raises:
        UsageError: the file is there and is not a list of tables.
    """
    text = s[name]
    paths = [s.folder / text, Path(text), s.folder.parent / text] if text else []
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        return []
    data = open_document(path).data
    if not isinstance(data, list) or not all(isinstance(x, Mapping) for x in data):
        raise UsageError(f"{path} ({name}) is not a list of tables", hint="export it from OneTrainer again")
    return data


@converts("resolution")
def sizes(s: Settings) -> Iterator[Outcome]:
    """Convert the resolution; of several the first."""
    first = str(s["resolution"]).split(",")[0]
    yield Assignment("buckets.resolution", square_side(first), ("resolution",))
    if "," in str(s["resolution"]):
        yield s.note("resolution", "unsupported", f"only one resolution is supported: {first}")


CONVERTERS = (
    *(method, rates, optimizer, schedule, loss, weighting, average, timesteps, clipping, saving, samples, sizes),
)
