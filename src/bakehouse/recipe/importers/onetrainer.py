"""OneTrainer: its JSON, old (flat) and new (a table for each part), with the concepts that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.recipe.importers import onetrainer_converters as converters
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.common import TRAINED, reported
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.onetrainer_concepts import concepts_of
from bakehouse.recipe.importers.option_table import GivenValue, Option, Settings, convert, sets, table, unset_options
from bakehouse.recipe.importers.settings_file import Document
from bakehouse.recipe.importers.shipped_tables import shipped_table

TITLE = "OneTrainer"

_PARTS = ("unet", "text_encoder", "text_encoder_2")

OPTIONS: dict[str, Option] = table(
    sets("training_method", "text", "adapter.kind"),
    sets("peft_type", "text", "adapter.kind"),
    sets("base_model_name", "path", "model.base", fill=True),
    sets("vae.model_name", "text", "model.vae"),
    sets("concept_file_name", "text", "concepts"),
    sets("concepts", "tables", "concepts"),
    sets("aspect_ratio_bucketing", "flag", "buckets.enabled", fill=True),
    sets("resolution", "any", "buckets.resolution"),
    sets("epochs", "int", "train.epochs", fill=True),
    sets("batch_size", "int", "train.batch", fill=True),
    sets("gradient_accumulation_steps", "int", "train.accumulation", fill=True),
    sets("learning_rate", "float", "optimizer.lr"),
    sets("unet.learning_rate", "float", "optimizer.lr"),
    sets("text_encoder.learning_rate", "float", "optimizer.text_lr"),
    sets("learning_rate_scaler", "text", "optimizer.lr", how="times the square root of the batch, as in OneTrainer"),
    sets("learning_rate_scheduler", "text", "schedule.kind"),
    sets("learning_rate_warmup_steps", "float", "schedule.warmup", how="OneTrainer counts batches"),
    sets("learning_rate_cycles", "float", "schedule.cycles", "schedule.half_period"),
    sets("learning_rate_min_factor", "float", "schedule.floor"),
    sets("optimizer", "any", "optimizer.name", "optimizer.args"),
    sets("clip_grad_norm", "float", "train.max_grad_norm"),
    sets("ema", "text", "train.ema"),
    sets("ema_decay", "float", "train.ema"),
    sets("unet.train", "flag", "adapter.unet"),
    sets("text_encoder.train", "flag", "adapter.text"),
    sets("text_encoder_2.train", "flag", "adapter.text"),
    sets("unet.gradient_checkpointing", "flag", "train.gradient_checkpointing", fill=True),
    sets("lora_rank", "int", "adapter.rank"),
    sets("lora_alpha", "float", "adapter.alpha"),
    sets("lora_decompose", "flag", "adapter.dora"),
    sets("lora_decompose_output_axis", "flag", "adapter.wd_on_output"),
    sets("oft_block_size", "int", "adapter.block_size"),
    sets("lokr_dim", "int", "adapter.rank"),
    sets("lokr_decompose_both", "flag", "adapter.decompose_both"),
    sets("lokr_decompose_factor", "int", "adapter.factor"),
    sets("lokr_use_tucker", "flag", "adapter.tucker"),
    sets("lokr_weight_decompose", "flag", "adapter.dora"),
    sets("lokr_dora_on_output", "flag", "adapter.wd_on_output"),
    sets("lokr_full_matrix", "flag", "adapter.full_matrix"),
    sets("layer_filter_preset", "text", "adapter.targets"),
    sets("layer_filter", "text", "adapter.targets", "adapter.include"),
    sets("dropout_probability", "float", "adapter.dropout"),
    sets("lora_model_name", "text", "adapter.start"),
    sets("offset_noise_weight", "float", "noise.offset", skip_falsy=True),
    sets("rescale_noise_scheduler_to_zero_terminal_snr", "flag", "noise.zero_terminal_snr", fill=True),
    sets("force_v_prediction", "flag", "model.prediction", choices={True: "v_prediction"}),
    sets("force_epsilon_prediction", "flag", "model.prediction", choices={True: "epsilon"}),
    sets("min_noising_strength", "float", "noise.min_timestep", transform=converters.timestep, fill=True),
    sets("max_noising_strength", "float", "noise.max_timestep", transform=converters.timestep, fill=True),
    sets("timestep_distribution", "text", "noise.timesteps"),
    sets("noising_weight", "float", "noise.timesteps"),
    sets("noising_bias", "float", "noise.timesteps"),
    sets("timestep_shift", "float", "noise.timesteps"),
    sets("loss_weight_fn", "text", "loss.weighting.kind", "loss.weighting.form"),
    sets("loss_weight_strength", "float", "loss.weighting.gamma", "loss.weighting.p2_gamma"),
    sets("mse_strength", "float", "loss.kind"),
    sets("mae_strength", "float", "loss.kind"),
    sets("masked_training", "flag", "loss.masked", fill=True),
    sets("unmasked_probability", "float", "loss.unmasked_probability", fill=True, when="masked_training"),
    sets(
        "unmasked_weight",
        "float",
        "loss.unmasked_weight",
        fill=True,
        when="masked_training",
        how="soft mask edges blend into it",
    ),
    sets(
        "normalize_masked_area_loss",
        "flag",
        "loss.mask_average",
        choices={True: "mask", False: "image"},
        fill=True,
        when="masked_training",
    ),
    sets("train_dtype", "text", "train.precision", choices=converters.DTYPES, fill=True),
    sets("output_dtype", "text", "save.dtype", choices=converters.DTYPES, fill=True),
    sets("train_device", "text", "train.device"),
    sets(
        "attention_mechanism",
        "text",
        "train.attention",
        choices={"XFORMERS": "xformers", "SDP": "sdpa", "DEFAULT": "sdpa", "CUDNN": "sdpa", "FLASH": "sdpa"},
    ),
    sets("tensorboard", "flag", "save.tensorboard", fill=True),
    sets("compile", "flag", "train.compile", fill=True),
    sets(
        "text_encoder_layer_skip",
        "int",
        "model.clip_skip",
        transform=lambda skipped: skipped + 1,
        skip_falsy=True,
        how="OneTrainer counts from 0",
    ),
    sets("sample_after", "float", "sample.every_epochs"),
    sets("sample_after_unit", "text", "sample.every_epochs"),
    sets("samples", "tables", "sample.prompts"),
    sets("sample_definition_file_name", "text", "sample.prompts"),
    sets("save_every", "float", "save.every_epochs"),
    sets("save_every_unit", "text", "save.every_epochs"),
    *unset_options("onetrainer"),
    converters=converters.CONVERTERS,
    defaults=converters.DEFAULTS["settings"],
)
"""The keys that decide a training of SD 1.x, 2.x and SDXL, with OneTrainer's own defaults."""

_RENAMED: Mapping[str, str] = converters.DEFAULTS["renamed"]
"""Names in older versions, and their present names."""

_OTHER_PARTS = re.compile(
    r"(prior|transformer|unconditional_transformer|quantization|text_encoder_[34]|effnet_encoder|decoder\w*)(_.*|\..*)?"
)
"""Model parts that SD does not have."""
_OF_THE_WINDOW = re.compile(
    r"(debug_|tensorboard_|sample_|samples_|save_|cloud|embedding|secrets|__version|validat|gradient_reduce|"
    r"fused_gradient|async_|enable_async|enable_activation|layer_offload|initial_embedding|token_count|frames|"
    r"device_indexes|caching_threads|dataloader_threads|cache_dir|huggingface_cache|offline_mode|prevent_overwrites|"
    r"include_train_config|temp_device|enable_autocast|lora_weight_dtype|weight_dtype|preserve_embedding|"
    r"dynamic_timestep|text_encoder_(2_)?sequence_length|image_caching|text_caching|extra_model|"
    r"(unet|vae|text_encoder|text_encoder_2)\.)"
)
"""Settings of the window, the machine or the location of weights, which do not affect the training."""

_TRAINED = frozenset(
    ["STABLE_DIFFUSION_15", "STABLE_DIFFUSION_XL_10_BASE"]
    + [f"STABLE_DIFFUSION_{v}" for v in ("20", "20_BASE", "21", "21_BASE")]
)
_OTHER_METHODS = {
    "EMBEDDING": "trains an embedding (textual inversion), whose settings are not imported; plan one from its images: "
    "`bakehouse plan FOLDER --kind embedding`",
    "FINE_TUNE_VAE": "trains the VAE; bakehouse trains the UNet and the text encoder",
}


def detects(document: Document) -> bool:
    """Whether the document is OneTrainer's."""
    return document.format == "json" and "training_method" in document.table


def read(documents: Sequence[Document]) -> Draft:
    """Convert all documents as one training; later documents win.

    Raises:
        UsageError: it trains another kind of model, or an embedding.
    """
    data = {k: v for document in documents for k, v in document.table.items()}
    _refuse_what_is_not_trained(data, documents[-1])
    given, notes = _known(data)
    settings = Settings(OPTIONS, given, trainer="OneTrainer", folder=documents[-1].folder)
    values, origins, said = convert(settings)
    found = concepts_of(settings)
    fixed = {"captions.prefix": "", "prior.source": "none"}
    values |= fixed | dict(found.values)
    origins |= dict.fromkeys(fixed, "OneTrainer does so") | dict(found.origins)
    return Draft(values, found.concepts, origins, [*notes, *reported(said), *found.notes])


def _refuse_what_is_not_trained(data: Mapping[str, Any], document: Document) -> None:
    model = str(data.get("model_type", "STABLE_DIFFUSION_15"))
    hint = f"{TRAINED}; train this one with OneTrainer"
    if family := shipped_table("other_models.toml")["onetrainer"].get(model):
        raise UsageError(f"{document.path} trains {family} (model_type = {model!r})", hint=hint)
    if model.endswith(("_INPAINTING", "_DEPTH")):
        kind = "an inpainting" if model.endswith("_INPAINTING") else "a depth"
        raise UsageError(
            f"{document.path} trains {kind} model (model_type = {model!r}), whose UNet has extra input channels",
            hint="bakehouse trains the plain models: choose the preset without it, or train this one with OneTrainer",
        )
    if model not in _TRAINED:
        raise UsageError(f"{document.path}: model_type = {model!r} is not supported", hint=hint)
    method = str(data.get("training_method", "FINE_TUNE"))
    if method not in converters.METHODS:
        why = _OTHER_METHODS.get(method, "is not supported")
        hint = f"supported are {', '.join(converters.METHODS)}"
        raise UsageError(f"{document.path}: training_method = {method!r} {why}", hint=hint)


def _known(data: Mapping[str, Any]) -> tuple[dict[str, GivenValue], list[Note]]:
    """Return the settings by present names, and notes on those that have no effect here."""
    given: dict[str, GivenValue] = {}
    notes: list[Note] = []
    theirs = converters.DEFAULTS["settings"]
    for key, value in _flat(data):
        name = _RENAMED.get(key, key)
        if name in theirs and value == theirs[name] and name not in OPTIONS:
            continue
        if name in OPTIONS:
            given[name] = GivenValue(value, key)
        elif key in _OLD:
            given |= _OLD[key](key, value, data)
        elif _OTHER_PARTS.fullmatch(key) or _OF_THE_WINDOW.match(key):
            notes.append(Note(key, value, "no effect", "does not change a training of SD", off=True))
        else:
            why = did_you_mean(key, OPTIONS).removeprefix("; ") or "OneTrainer has no such key"
            notes.append(Note(key, value, "unknown", why))
    return given, notes


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Flatten the keys of model parts to dotted keys; others are unchanged."""
    for key, value in data.items():
        if isinstance(value, Mapping) and key in (*_PARTS, "vae"):
            yield from ((f"{key}.{inner}", v) for inner, v in value.items() if inner != "__version")
        else:
            yield key, value


def _min_snr(key: str, value: Any, _: Mapping[str, Any]) -> dict[str, GivenValue]:
    if not value:
        return {}
    return {"loss_weight_fn": GivenValue("MIN_SNR_GAMMA", key), "loss_weight_strength": GivenValue(value, key)}


def _checkpointing(key: str, value: Any, _: Mapping[str, Any]) -> dict[str, GivenValue]:
    return {"unet.gradient_checkpointing": GivenValue(value not in (False, "OFF"), key)}


def _part_of_optimizer(key: str, value: Any, data: Mapping[str, Any]) -> dict[str, GivenValue]:
    """Return the optimizer's table, collected from the keys of a flat file."""
    fields = {k.removeprefix("optimizer_"): v for k, v in data.items() if k.startswith("optimizer_")}
    fields.pop("defaults", None)
    if "weight_decay" in data:
        fields["weight_decay"] = data["weight_decay"]
    return {"optimizer": GivenValue({"optimizer": data.get("optimizer", "ADAMW"), **fields}, key)}


_OLD = {
    "min_snr_gamma": _min_snr,
    "gradient_checkpointing": _checkpointing,
    "weight_decay": _part_of_optimizer,
    **{
        f"optimizer_{name}": _part_of_optimizer
        for name in ("beta1", "beta2", "eps", "weight_decay", "momentum", "d_coef", "decouple", "use_bias_correction")
    },
}
"""Keys of older versions that are not only renamed."""
