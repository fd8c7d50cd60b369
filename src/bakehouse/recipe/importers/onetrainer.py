"""OneTrainer: its JSON, old (flat) and new (a table for each part), with the concepts that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.document import Document, open_document
from bakehouse.recipe.importers.draft import Draft
from bakehouse.recipe.importers.kohya_dataset import located
from bakehouse.recipe.importers.kohya_rules import found, our_optimizer, side_of
from bakehouse.recipe.importers.result import Note
from bakehouse.recipe.importers.table import (
    Given,
    Option,
    Outcome,
    Settings,
    Taken,
    always,
    convert,
    elsewhere,
    missing,
    no_effect,
    table,
    taken,
)

TITLE = "OneTrainer"

_SCHEDULES = {
    "CONSTANT": "constant",
    "LINEAR": "linear",
    "COSINE": "cosine",
    "COSINE_WITH_RESTARTS": "cosine_with_restarts",
    "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
    "REX": "rex",
}
_DTYPES = {"FLOAT_32": "fp32", "FLOAT_16": "fp16", "BFLOAT_16": "bf16", "TFLOAT_32": "fp32"}
_WEIGHTINGS = {
    "CONSTANT": "none",
    "MIN_SNR_GAMMA": "min_snr",
    "DEBIASED_ESTIMATION": "debiased",
    "P2": "p2",
}
_METHODS = {"LORA": "lora", "FINE_TUNE": "full"}
_PEFT = {"LORA": "lora", "LOHA": "loha", "LOKR": "lokr", "OFT_2": "oft"}


def base_model(s: Settings) -> Iterator[Outcome]:
    """The model, and the layer of its text encoder: skipped layers are counted from 0 there."""
    if s["base_model_name"]:
        yield Taken("model.base", found(s, "base_model_name")[0], ("base_model_name",))
    if s["text_encoder_layer_skip"]:
        yield Taken("model.clip_skip", s["text_encoder_layer_skip"] + 1, ("text_encoder_layer_skip",))


def method(s: Settings) -> Iterator[Outcome]:
    """LoRA or another adapter on every linear and convolution that the filter names, or whole weights."""
    if s["training_method"] == "FINE_TUNE":
        yield Taken("adapter.kind", "full", ("training_method",))
        yield from _parts(s)
        return
    kind = _PEFT.get(s["peft_type"])
    if kind is None:
        yield s.note("peft_type", "missing", f"a LoRA is trained; known are {', '.join(_PEFT)}")
    yield Taken("adapter.kind", kind or "lora", ("peft_type", "training_method"))
    if kind != "oft":
        yield Taken("adapter.rank", s["lora_rank"], ("lora_rank",))
        yield Taken("adapter.alpha", s["lora_alpha"], ("lora_alpha",))
    targets = {"attn-only": "attention", "attn-mlp": "attention+mlp"}.get(s["layer_filter_preset"], "full")
    yield Taken("adapter.targets", targets, ("layer_filter_preset",))
    if s["lora_decompose"]:
        yield Taken("adapter.dora", True, ("lora_decompose",))
        yield Taken("adapter.wd_on_output", bool(s["lora_decompose_output_axis"]), ("lora_decompose_output_axis",))
    if s["dropout_probability"]:
        yield Taken("adapter.dropout", s["dropout_probability"], ("dropout_probability",))
    yield from _parts(s)


def _parts(s: Settings) -> Iterator[Outcome]:
    text = s["text_encoder.train"] if s.given("text_encoder.train") else s["train_text_encoder"]
    unet = s["unet.train"] if s.given("unet.train") else s["train_unet"]
    yield Taken("adapter.text", bool(text), ("text_encoder.train", "train_text_encoder"))
    yield Taken("adapter.unet", bool(unet), ("unet.train", "train_unet"))


def rates(s: Settings) -> Iterator[Outcome]:
    """Of a part, or the general one."""
    for key, names in (
        ("optimizer.lr", ("unet.learning_rate", "unet_learning_rate")),
        ("optimizer.text_lr", ("text_encoder.learning_rate", "text_encoder_learning_rate")),
    ):
        own = next((n for n in names if s[n]), "learning_rate")
        yield Taken(key, s[own], (own,))


def optimizer(s: Settings) -> Iterator[Outcome]:
    """By name; of its many fields those that say something."""
    given = s["optimizer"]
    fields = dict(given) if isinstance(given, Mapping) else {"optimizer": given}
    word = str(fields.pop("optimizer", "ADAMW"))
    name = our_optimizer(word.replace("_8BIT", "8bit"))
    if name is None:
        yield s.note("optimizer", "missing", f"{word} is not among the optimizers: the plan's is taken")
        return
    yield Taken("optimizer.name", name, ("optimizer",))
    if isinstance(given, Mapping) and "beta1" in fields and fields["beta1"] is not None:
        betas = [fields.get(k) for k in ("beta1", "beta2") if fields.get(k) is not None]
        if len(betas) == 2 and betas != [0.9, 0.999]:
            yield Taken("optimizer.args.betas", betas, ("optimizer",))
    for key in ("weight_decay", "eps", "d_coef", "decouple", "use_bias_correction", "safeguard_warmup"):
        if fields.get(key) is not None:
            yield Taken(f"optimizer.args.{key}", fields[key], ("optimizer",))
    if not isinstance(given, Mapping) and s.given("weight_decay"):
        yield Taken("optimizer.args.weight_decay", s["weight_decay"], ("weight_decay",))


def schedule(s: Settings) -> Iterator[Outcome]:
    """The curve, its warm-up in steps or a share, cycles and floor."""
    kind = _SCHEDULES.get(s["learning_rate_scheduler"])
    if kind is None:
        yield s.note("learning_rate_scheduler", "missing", f"schedules are {', '.join(_SCHEDULES)}")
        return
    yield Taken("schedule.kind", kind, ("learning_rate_scheduler",))
    warmup = s["learning_rate_warmup_steps"]
    if warmup:
        yield Taken("schedule.warmup", warmup, ("learning_rate_warmup_steps",))
    if kind == "cosine_with_restarts":
        yield Taken("schedule.cycles", max(1, round(s["learning_rate_cycles"])), ("learning_rate_cycles",))
    if s["learning_rate_min_factor"]:
        yield Taken("schedule.floor", s["learning_rate_min_factor"], ("learning_rate_min_factor",))


def sizes(s: Settings) -> Iterator[Outcome]:
    """One resolution; of several the first."""
    first = str(s["resolution"]).split(",")[0]
    yield Taken("buckets.resolution", side_of(first)[0], ("resolution",))
    if "," in str(s["resolution"]):
        yield s.note("resolution", "missing", f"one resolution here: {first}")
    yield Taken("buckets.enabled", bool(s["aspect_ratio_bucketing"]), ("aspect_ratio_bucketing",))


def weighting(s: Settings) -> Iterator[Outcome]:
    """One of them and its strength."""
    kind = "min_snr" if s["min_snr_gamma"] else _WEIGHTINGS.get(s["loss_weight_fn"])
    of = ("min_snr_gamma",) if s["min_snr_gamma"] else ("loss_weight_fn",)
    if kind is None:
        yield s.note("loss_weight_fn", "missing", f"known are {', '.join(_WEIGHTINGS)}")
        kind = "none"
    yield Taken("loss.weighting.kind", kind, of)
    strength = s["min_snr_gamma"] or s["loss_weight_strength"]
    if kind == "min_snr":
        yield Taken("loss.weighting.gamma", strength, ("loss_weight_strength", "min_snr_gamma"))
    if kind == "p2":
        yield Taken("loss.weighting.p2_gamma", strength, ("loss_weight_strength",))


def average(s: Settings) -> Iterator[Outcome]:
    """Averaged weights where they are on."""
    if s["ema"] not in ("OFF", None, ""):
        yield Taken("train.ema", s["ema_decay"], ("ema_decay", "ema"))


def timesteps(s: Settings) -> Iterator[Outcome]:
    """Shares of the schedule as timesteps."""
    if s["min_noising_strength"]:
        yield Taken("noise.min_timestep", round(1000 * s["min_noising_strength"]), ("min_noising_strength",))
    if s["max_noising_strength"] < 1:
        yield Taken("noise.max_timestep", round(1000 * s["max_noising_strength"]), ("max_noising_strength",))


def saving(s: Settings) -> Iterator[Outcome]:
    """Every so many epochs or steps; not by the clock."""
    every, unit = s["save_every"] or s["save_after"] or 0, s["save_every_unit"] or s["save_after_unit"]
    of = ("save_every", "save_every_unit")
    yield Taken("save.every_epochs", int(every) if unit == "EPOCH" else 0, of)
    if unit == "STEP":
        yield Taken("save.every_steps", int(every), of)


def samples(s: Settings) -> Iterator[Outcome]:
    """When; the prompts come from the file that is named."""
    unit, every = s["sample_after_unit"], s["sample_after"] or 0
    if unit in ("EPOCH", "STEP"):
        yield Taken("sample.every_epochs", int(every) if unit == "EPOCH" else 0, ("sample_after",))
        yield Taken("sample.every_steps", int(every) if unit == "STEP" else 0, ("sample_after",))
    entries = s["samples"] or _listed(s, "sample_definition_file_name")
    lines = [_sample(x) for x in entries if x.get("enabled", True) and x.get("prompt")]
    if lines:
        yield Taken("sample.prompts", lines, ("samples", "sample_definition_file_name"))


def _sample(x: Mapping[str, Any]) -> str:
    words = {"negative_prompt": "n", "width": "w", "height": "h", "seed": "d", "cfg_scale": "l", "diffusion_steps": "s"}
    return str(x["prompt"]) + "".join(f" --{short} {x[k]}" for k, short in words.items() if x.get(k) not in (None, ""))


def _listed(s: Settings, name: str) -> list[Mapping[str, Any]]:
    """The entries of a file that the settings name, where it is there."""
    text = s[name]
    paths = [s.folder / text, Path(text), s.folder.parent / text] if text else []
    path = next((p for p in paths if p.is_file()), None)
    data = open_document(path).data if path else []
    return [x for x in data if isinstance(x, Mapping)] if isinstance(data, list) else []


_CLOCK = "a state is saved every two minutes"

OPTIONS: dict[str, Option] = table(
    taken("training_method", "text", "adapter.kind", default="LORA", rule=method),
    taken("peft_type", "text", "adapter.kind", default="LORA", rule=method),
    always("model_type", "text", "the family is read from the model itself"),
    taken(
        "base_model_name",
        "text",
        "model.base",
        rule=base_model,
    ),
    taken("vae.model_name", "text", "model.vae"),
    taken("concept_file_name", "text", "concepts"),
    taken("concepts", "any", "concepts"),
    taken("aspect_ratio_bucketing", "flag", "buckets.enabled", default=True, rule=sizes),
    taken("resolution", "any", "buckets.resolution", default=512, rule=sizes),
    always("latent_caching", "flag", "latents are always cached"),
    always("image_caching", "flag", "latents are always cached"),
    always("text_caching", "flag", "captions that stay the same are encoded once"),
    always("clear_cache_before_training", "flag", "a cache is found by content; it cannot be stale"),
    taken("epochs", "int", "train.epochs", default=100),
    taken("batch_size", "int", "train.batch", default=1),
    taken("gradient_accumulation_steps", "int", "train.accumulation", default=1),
    taken("learning_rate", "float", "optimizer.lr", default=3e-6, rule=rates),
    taken("unet.learning_rate", "float", "optimizer.lr", rule=rates),
    taken("unet_learning_rate", "float", "optimizer.lr", rule=rates),
    taken("text_encoder.learning_rate", "float", "optimizer.text_lr", rule=rates),
    taken("text_encoder_learning_rate", "float", "optimizer.text_lr", rule=rates),
    taken("learning_rate_scheduler", "text", "schedule.kind", default="CONSTANT", rule=schedule),
    taken("learning_rate_warmup_steps", "float", "schedule.warmup", default=200, rule=schedule),
    taken("learning_rate_cycles", "float", "schedule.cycles", default=1, rule=schedule),
    taken("learning_rate_min_factor", "float", "schedule.floor", rule=schedule),
    missing("learning_rate_scaler", "text", "the rate is what it says", "NONE"),
    taken("optimizer", "any", "optimizer.name", "optimizer.args", default="ADAMW", rule=optimizer),
    no_effect("optimizer_defaults", "any", "the window's memory of other optimizers"),
    taken("weight_decay", "float", "optimizer.args", rule=optimizer),
    taken("clip_grad_norm", "float", "train.max_grad_norm", default=1.0),
    taken("ema", "text", "train.ema", default="OFF", rule=average),
    taken("ema_decay", "float", "train.ema", default=0.999, rule=average),
    no_effect("ema_update_step_interval", "int", "averaged at every step", 5),
    taken("train_unet", "flag", "adapter.unet", default=True, rule=method),
    taken("unet.train", "flag", "adapter.unet", default=True, rule=method),
    taken("train_text_encoder", "flag", "adapter.text", default=True, rule=method),
    taken("text_encoder.train", "flag", "adapter.text", default=True, rule=method),
    missing("train_text_encoder_epochs", "int", "the text encoder learns to the end"),
    missing("text_encoder.stop_training_after", "int", "the text encoder learns to the end"),
    no_effect("train_unet_epochs", "int", "the UNet learns to the end", 100000),
    no_effect("unet.stop_training_after", "int", "the UNet learns to the end"),
    taken("lora_rank", "int", "adapter.rank", default=16, rule=method),
    taken("lora_alpha", "float", "adapter.alpha", default=1.0, rule=method),
    taken("lora_decompose", "flag", "adapter.dora", rule=method),
    taken("lora_decompose_output_axis", "flag", "adapter.wd_on_output", rule=method),
    taken("layer_filter_preset", "text", "adapter.targets", default="full", rule=method),
    missing("layer_filter", "text", "name them in `adapter.include`"),
    taken("dropout_probability", "float", "adapter.dropout", rule=method),
    taken("lora_model_name", "text", "adapter.start"),
    taken("offset_noise_weight", "float", "noise.offset"),
    taken("perturbation_noise_weight", "float", "noise.ip_gamma"),
    taken("rescale_noise_scheduler_to_zero_terminal_snr", "flag", "noise.zero_terminal_snr"),
    taken("force_v_prediction", "flag", "model.prediction", choices={True: "v_prediction"}),
    taken("force_epsilon_prediction", "flag", "model.prediction", choices={True: "epsilon"}),
    taken("min_noising_strength", "float", "noise.min_timestep", default=0.0, rule=timesteps),
    taken("max_noising_strength", "float", "noise.max_timestep", default=1.0, rule=timesteps),
    missing("timestep_distribution", "text", "see `noise.timesteps`", "UNIFORM"),
    taken("loss_weight_fn", "text", "loss.weighting.kind", default="CONSTANT", rule=weighting),
    taken("loss_weight_strength", "float", "loss.weighting.gamma", default=5.0, rule=weighting),
    taken("min_snr_gamma", "float", "loss.weighting.gamma", rule=weighting),
    no_effect("mse_strength", "float", "the loss is squared error", 1.0),
    missing("mae_strength", "float", "losses are not mixed"),
    missing("log_cosh_strength", "float", "losses are not mixed"),
    missing("huber_strength", "float", "losses are not mixed"),
    taken("masked_training", "flag", "loss.masked"),
    taken("unmasked_probability", "float", "loss.unmasked_probability"),
    taken("unmasked_weight", "float", "loss.unmasked_weight"),
    always("normalize_masked_area_loss", "flag", "the loss is divided by the mask's area"),
    taken("train_dtype", "text", "train.precision", choices=_DTYPES),
    taken("output_dtype", "text", "save.dtype", choices=_DTYPES),
    always("output_model_format", "text", "safetensors"),
    elsewhere("output_model_destination", "text", "`bakehouse train me.toml --run DIR`"),
    elsewhere("workspace_dir", "text", "`bakehouse train me.toml --run DIR`"),
    no_effect("cache_dir", "text", "the cache is the user's own"),
    taken("train_device", "text", "train.device"),
    no_effect("temp_device", "text", "see `train.offload`"),
    taken(
        "gradient_checkpointing", "any", "train.gradient_checkpointing", choices={"ON": True, "OFF": False, True: True}
    ),
    taken(
        "attention_mechanism",
        "text",
        "train.attention",
        choices={"XFORMERS": "xformers", "SDP": "sdpa", "DEFAULT": "sdpa"},
    ),
    taken("tensorboard", "flag", "save.tensorboard"),
    taken("compile", "flag", "train.compile"),
    taken(
        "text_encoder_layer_skip",
        "int",
        "model.clip_skip",
        how="counted from 0 there",
        rule=base_model,
    ),
    taken("sample_after", "float", "sample.every_epochs", rule=samples),
    taken("sample_after_unit", "text", "sample.every_epochs", rule=samples),
    taken("samples", "any", "sample.prompts", rule=samples),
    taken("sample_definition_file_name", "text", "sample.prompts", rule=samples),
    taken("save_every", "float", "save.every_epochs", rule=saving),
    taken("save_every_unit", "text", "save.every_epochs", rule=saving),
    taken("save_after", "float", "save.every_epochs", rule=saving),
    taken("save_after_unit", "text", "save.every_epochs", rule=saving),
    always("backup_after", "float", _CLOCK),
    always("backup_after_unit", "text", _CLOCK),
    always("backup_before_save", "flag", _CLOCK),
    always("rolling_backup", "flag", _CLOCK),
    always("continue_last_backup", "flag", "the same command goes on where it stopped"),
    elsewhere("validation", "flag", "checkpoints are judged by pictures: `bakehouse evaluate`"),
)
"""The keys that decide a training of SD 1.x, 2.x and SDXL."""

_OF_THE_WINDOW = (
    *(
        "debug_",
        "tensorboard_",
        "sample_",
        "samples_",
        "save_",
        "backup_",
        "cloud",
        "embedding",
        "additional_embeddings",
    ),
    *(
        "prior",
        "transformer",
        "text_encoder_2",
        "text_encoder_3",
        "text_encoder_4",
        "effnet",
        "decoder",
        "quantization",
    ),
    *(
        "unet.",
        "text_encoder.",
        "vae.",
        "validat",
        "multi_gpu",
        "gradient_reduce",
        "fused_gradient",
        "async_",
        "extra_model",
    ),
    *(
        "oft_",
        "lokr_",
        "lora_weight",
        "lora_decompose_",
        "weight_dtype",
        "unet_weight",
        "text_encoder_weight",
        "vae_weight",
    ),
    *(
        "initial_embedding",
        "token_count",
        "secrets",
        "__version",
        "only_cache",
        "frames",
        "device_indexes",
        "caching_threads",
    ),
)
"""Beginnings of keys that belong to the window, to other parts or to other models."""


def knows(document: Document) -> bool:
    """Whether the document is OneTrainer's."""
    return document.format == "json" and "training_method" in document.table


def read(documents: Sequence[Document]) -> Draft:
    """All documents as one training; what comes later wins.

    Raises:
        UsageError: it trains another kind of model, or an embedding.
    """
    data = {k: v for document in documents for k, v in document.table.items()}
    model = str(data.get("model_type", "STABLE_DIFFUSION_15"))
    if not model.startswith("STABLE_DIFFUSION_") or model.startswith("STABLE_DIFFUSION_3"):
        raise UsageError(f"model_type = {model!r}", hint="bakehouse trains SD 1.x, SD 2.x and SDXL")
    if data.get("training_method", "LORA") not in _METHODS:
        hint = f"understood are {', '.join(_METHODS)}"
        raise UsageError(f"training_method = {data['training_method']!r}: bakehouse trains no such thing", hint=hint)
    given: dict[str, Given] = {}
    notes: list[Note] = []
    for key, value in _flat(data):
        if key not in OPTIONS and key.startswith(_OF_THE_WINDOW):
            notes.append(Note(key, value, "no effect", "the window's own, or of another part or model", off=True))
        else:
            given[key] = Given(value, key)
    settings = Settings(OPTIONS, given, peer="OneTrainer", folder=documents[-1].folder)
    values, origins, said = convert(settings)
    for key in ("captions.prefix", "prior.source"):
        values[key] = "" if key == "captions.prefix" else "none"
        origins[key] = "OneTrainer does so"
    concepts, where, more = _concepts(settings)
    values |= _of_all(concepts)
    return Draft(values, [c for c, _ in concepts], {**origins, **where}, [*notes, *said, *more])


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys of parts with a point; everything else as it stands."""
    for key, value in data.items():
        if isinstance(value, Mapping) and key in ("unet", "text_encoder", "vae"):
            yield from ((f"{key}.{inner}", v) for inner, v in value.items())
        else:
            yield key, value


def _concepts(s: Settings) -> tuple[list[tuple[dict[str, Any], Mapping[str, Any]]], dict[str, str], list[Note]]:
    """Concepts from the settings or from their file, with each one's own settings."""
    entries = s["concepts"] or _listed(s, "concept_file_name")
    source = "concepts" if s["concepts"] else "concept_file_name"
    notes = []
    if not entries and s["concept_file_name"]:
        notes.append(s.note("concept_file_name", "missing", "the file is not there: say --images DIR"))
    made: list[tuple[dict[str, Any], Mapping[str, Any]]] = []
    origins: dict[str, str] = {}
    for entry in entries:
        if not entry.get("enabled", True) or not entry.get("path"):
            continue
        repeats = max(1, round(float(entry.get("balancing", entry.get("repeats", 1)))))
        i = len(made)
        concept = {
            "folder": str(located(entry["path"], s.folder)),
            "subject": entry.get("name", ""),
            "repeats": repeats,
        }
        made.append((concept, entry))
        origins |= {f"concepts.{i}.{k}": f"{s.said(source)}: {entry.get('name') or entry['path']}" for k in concept}
    return made, origins, notes


def _of_all(concepts: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    """What every concept says the same is said of all."""
    entries = [entry for _, entry in concepts]
    if not entries:
        return {}
    values: dict[str, Any] = {}
    if all(e.get("image", {}).get("enable_random_flip") for e in entries):
        values["data.flip"] = True
    if all(e.get("text", {}).get("enable_tag_shuffling") for e in entries):
        values["captions.shuffle"] = True
        values["captions.keep_tokens"] = min(e["text"].get("keep_tags_count", 1) for e in entries)
    return values
