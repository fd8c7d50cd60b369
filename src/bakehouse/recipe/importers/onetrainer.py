"""OneTrainer: its JSON, old (flat) and new (a table for each part), with the concepts that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.recipe.importers import onetrainer_converters as rules
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.onetrainer_concepts import concepts_of
from bakehouse.recipe.importers.option_table import (
    Given,
    Option,
    Settings,
    always,
    convert,
    elsewhere,
    missing,
    no_effect,
    table,
    taken,
)
from bakehouse.recipe.importers.settings_file import Document

TITLE = "OneTrainer"

_CLOCK = "a state is saved every two minutes"
_STOP = "the part learns to the end"
_PARTS = ("unet", "text_encoder", "text_encoder_2")

_TABLE: dict[str, Option] = table(
    taken("training_method", "text", "adapter.kind", rule=rules.method),
    taken("peft_type", "text", "adapter.kind", rule=rules.method),
    always("model_type", "text", "the family is read from the model itself"),
    taken("base_model_name", "text", "model.base", rule=rules.base_model),
    taken("vae.model_name", "text", "model.vae"),
    taken("concept_file_name", "text", "concepts"),
    taken("concepts", "tables", "concepts"),
    taken("aspect_ratio_bucketing", "flag", "buckets.enabled", rule=rules.sizes),
    taken("resolution", "any", "buckets.resolution", rule=rules.sizes),
    always("latent_caching", "flag", "latents are always cached"),
    always("clear_cache_before_training", "flag", "a cache is found by content; it cannot be stale"),
    taken("epochs", "int", "train.epochs", counts=True),
    taken("batch_size", "int", "train.batch", counts=True),
    taken("gradient_accumulation_steps", "int", "train.accumulation", counts=True),
    taken("learning_rate", "float", "optimizer.lr", rule=rules.rates),
    taken("unet.learning_rate", "float", "optimizer.lr", rule=rules.rates),
    taken("text_encoder.learning_rate", "float", "optimizer.text_lr", rule=rules.rates),
    missing("text_encoder_2.learning_rate", "float", "the text encoders learn at one rate"),
    taken("learning_rate_scaler", "text", "optimizer.lr", rule=rules.rates, how="the root of the batch, as there"),
    taken("learning_rate_scheduler", "text", "schedule.kind", rule=rules.schedule),
    taken("learning_rate_warmup_steps", "float", "schedule.warmup", rule=rules.schedule, how="in batches there"),
    taken("learning_rate_cycles", "float", "schedule.cycles", "schedule.half_period", rule=rules.schedule),
    taken("learning_rate_min_factor", "float", "schedule.floor", rule=rules.schedule),
    missing("custom_learning_rate_scheduler", "text", "code from outside is not run"),
    missing("scheduler_params", "any", "code from outside is not run"),
    taken("optimizer", "any", "optimizer.name", "optimizer.args", rule=rules.optimizer),
    no_effect("optimizer_defaults", "any", "the window's memory of other optimizers"),
    taken("clip_grad_norm", "float", "train.max_grad_norm", rule=rules.clipping),
    taken("ema", "text", "train.ema", rule=rules.average),
    taken("ema_decay", "float", "train.ema", rule=rules.average),
    no_effect("ema_update_step_interval", "int", "averaged at every step"),
    taken("unet.train", "flag", "adapter.unet", rule=rules.method),
    taken("text_encoder.train", "flag", "adapter.text", rule=rules.method),
    taken("text_encoder_2.train", "flag", "adapter.text", rule=rules.method),
    *(missing(f"{part}.stop_training_after", "int", _STOP) for part in _PARTS),
    *(missing(f"{part}.stop_training_after_unit", "text", _STOP) for part in _PARTS),
    *(
        missing(f"{part}.dropout_probability", "float", "see `captions.caption_dropout`")
        for part in ("text_encoder", "text_encoder_2")
    ),
    taken("unet.gradient_checkpointing", "flag", "train.gradient_checkpointing", counts=True),
    taken("lora_rank", "int", "adapter.rank", rule=rules.method),
    taken("lora_alpha", "float", "adapter.alpha", rule=rules.method),
    taken("lora_decompose", "flag", "adapter.dora", rule=rules.method),
    taken("lora_decompose_output_axis", "flag", "adapter.wd_on_output", rule=rules.method),
    no_effect("lora_decompose_norm_epsilon", "flag", "a rounding error's size"),
    taken("oft_block_size", "int", "adapter.block_size", rule=rules.method),
    missing("oft_block_share", "flag", "each module's blocks are its own"),
    missing("oft_scaled", "flag", "OFT here has no such factor"),
    taken("lokr_dim", "int", "adapter.rank", rule=rules.method),
    taken("lokr_decompose_both", "flag", "adapter.decompose_both", rule=rules.method),
    taken("lokr_decompose_factor", "int", "adapter.factor", rule=rules.method),
    taken("lokr_use_tucker", "flag", "adapter.tucker", rule=rules.method),
    taken("lokr_weight_decompose", "flag", "adapter.dora", rule=rules.method),
    taken("lokr_dora_on_output", "flag", "adapter.wd_on_output", rule=rules.method),
    taken("lokr_full_matrix", "flag", "adapter.full_matrix", rule=rules.method),
    no_effect("lokr_vec_trick", "flag", "a way to compute the same"),
    taken("layer_filter_preset", "text", "adapter.targets", rule=rules.method),
    taken("layer_filter", "text", "adapter.targets", "adapter.include", rule=rules.method),
    missing("layer_filter_regex", "flag", "name modules in `adapter.include`"),
    taken("dropout_probability", "float", "adapter.dropout", rule=rules.method),
    taken("lora_model_name", "text", "adapter.start"),
    taken("offset_noise_weight", "float", "noise.offset", rule=rules.noise),
    missing("generalized_offset_noise", "flag", "the offset is as strong at every timestep"),
    missing("perturbation_noise_weight", "float", "there it is part of the target too; see `noise.ip_gamma`"),
    taken("rescale_noise_scheduler_to_zero_terminal_snr", "flag", "noise.zero_terminal_snr", rule=rules.noise),
    taken("force_v_prediction", "flag", "model.prediction", rule=rules.prediction),
    taken("force_epsilon_prediction", "flag", "model.prediction", rule=rules.prediction),
    taken("min_noising_strength", "float", "noise.min_timestep", rule=rules.timesteps),
    taken("max_noising_strength", "float", "noise.max_timestep", rule=rules.timesteps),
    taken("timestep_distribution", "text", "noise.timesteps", rule=rules.timesteps),
    taken("noising_weight", "float", "noise.timesteps", rule=rules.timesteps),
    taken("noising_bias", "float", "noise.timesteps", rule=rules.timesteps),
    taken("timestep_shift", "float", "noise.timesteps", rule=rules.timesteps),
    taken("loss_weight_fn", "text", "loss.weighting.kind", "loss.weighting.form", rule=rules.weighting),
    taken("loss_weight_strength", "float", "loss.weighting.gamma", "loss.weighting.p2_gamma", rule=rules.weighting),
    taken("mse_strength", "float", "loss.kind", rule=rules.loss),
    taken("mae_strength", "float", "loss.kind", rule=rules.loss),
    missing("log_cosh_strength", "float", "losses are not mixed"),
    missing("huber_strength", "float", "losses are not mixed"),
    missing("huber_delta", "float", "belongs to huber_strength"),
    no_effect("vb_loss_strength", "float", "SD's networks predict no variance"),
    missing("loss_scaler", "text", "the loss is a mean over the step's images"),
    taken("masked_training", "flag", "loss.masked", rule=rules.masks),
    taken("unmasked_probability", "float", "loss.unmasked_probability", rule=rules.masks),
    taken("unmasked_weight", "float", "loss.unmasked_weight", rule=rules.masks, how="soft edges blend into it"),
    taken("normalize_masked_area_loss", "flag", "loss.mask_average", rule=rules.masks),
    missing("masked_prior_preservation_weight", "float", "what is masked out is not held to the base's output"),
    taken("train_dtype", "text", "train.precision", rule=rules.precision),
    taken("output_dtype", "text", "save.dtype", rule=rules.precision),
    no_effect("fallback_train_dtype", "text", "the precision of layers that cannot have the other"),
    always("output_model_format", "text", "safetensors"),
    elsewhere("output_model_destination", "text", "`bakehouse train me.toml --run DIR`"),
    elsewhere("workspace_dir", "text", "`bakehouse train me.toml --run DIR`"),
    taken("train_device", "text", "train.device"),
    taken(
        "attention_mechanism",
        "text",
        "train.attention",
        choices={"XFORMERS": "xformers", "SDP": "sdpa", "DEFAULT": "sdpa", "CUDNN": "sdpa", "FLASH": "sdpa"},
    ),
    taken("tensorboard", "flag", "save.tensorboard", counts=True),
    taken("compile", "flag", "train.compile", counts=True),
    taken("text_encoder_layer_skip", "int", "model.clip_skip", how="counted from 0 there", rule=rules.base_model),
    missing("text_encoder_2_layer_skip", "int", "of SDXL's second text encoder; the layer is the model's own"),
    missing("force_circular_padding", "flag", "convolutions pad as the model was trained"),
    missing("custom_conditioning_image", "flag", "belongs to inpainting models"),
    missing("additional_embeddings", "any", "no embeddings are learned"),
    no_effect("bundle_additional_embeddings", "flag", "no embeddings are learned"),
    missing("multi_gpu", "flag", "one device trains"),
    taken("sample_after", "float", "sample.every_epochs", rule=rules.samples),
    taken("sample_after_unit", "text", "sample.every_epochs", rule=rules.samples),
    taken("samples", "tables", "sample.prompts", rule=rules.samples),
    taken("sample_definition_file_name", "text", "sample.prompts", rule=rules.samples),
    taken("save_every", "float", "save.every_epochs", rule=rules.saving),
    taken("save_every_unit", "text", "save.every_epochs", rule=rules.saving),
    always("backup_after", "float", _CLOCK),
    always("backup_after_unit", "text", _CLOCK),
    always("backup_before_save", "flag", _CLOCK),
    always("rolling_backup", "flag", _CLOCK),
    always("rolling_backup_count", "int", _CLOCK),
    always("continue_last_backup", "flag", "the same command goes on where it stopped"),
    elsewhere("validation", "flag", "checkpoints are judged by pictures: `bakehouse evaluate`"),
    missing("only_cache", "flag", "there it only fills the cache; here the training runs too"),
)

OPTIONS: Mapping[str, Option] = {
    name: replace(option, default=rules.defaults()["settings"].get(name, option.default))
    for name, option in _TABLE.items()
}
"""The keys that decide a training of SD 1.x, 2.x and SDXL, with OneTrainer's own defaults."""

_RENAMED = {
    "train_unet": "unet.train",
    "unet_learning_rate": "unet.learning_rate",
    "unet_weight_dtype": "unet.weight_dtype",
    "train_unet_epochs": "unet.stop_training_after",
    "train_text_encoder": "text_encoder.train",
    "text_encoder_learning_rate": "text_encoder.learning_rate",
    "text_encoder_weight_dtype": "text_encoder.weight_dtype",
    "train_text_encoder_epochs": "text_encoder.stop_training_after",
    "train_text_encoder_2": "text_encoder_2.train",
    "text_encoder_2_learning_rate": "text_encoder_2.learning_rate",
    "train_text_encoder_2_epochs": "text_encoder_2.stop_training_after",
    "vae_model_name": "vae.model_name",
    "save_after": "save_every",
    "save_after_unit": "save_every_unit",
    "lora_layers": "layer_filter",
    "lora_layer_preset": "layer_filter_preset",
    "lora_layers_regex": "layer_filter_regex",
}
"""Names of older versions."""

_OTHER_PARTS = re.compile(
    r"(prior|transformer|unconditional_transformer|quantization|text_encoder_[34]|effnet_encoder|decoder\w*)(_.*|\..*)?"
)
"""Parts that SD does not have."""
_OF_THE_WINDOW = re.compile(
    r"(debug_|tensorboard_|sample_|samples_|save_|cloud|embedding|secrets|__version|validat|gradient_reduce|"
    r"fused_gradient|async_|enable_async|enable_activation|layer_offload|initial_embedding|token_count|frames|"
    r"device_indexes|caching_threads|dataloader_threads|cache_dir|huggingface_cache|offline_mode|prevent_overwrites|"
    r"include_train_config|temp_device|enable_autocast|lora_weight_dtype|weight_dtype|preserve_embedding|"
    r"dynamic_timestep|text_encoder_(2_)?sequence_length|image_caching|text_caching|extra_model|"
    r"(unet|vae|text_encoder|text_encoder_2)\.)"
)
"""What belongs to the window, the machine, or the place where weights lie: nothing of it changes what is learned."""

_FAMILIES = {
    "STABLE_DIFFUSION_3": "Stable Diffusion 3",
    "STABLE_DIFFUSION_35": "Stable Diffusion 3.5",
    "WUERSTCHEN_2": "Würstchen",
    "STABLE_CASCADE_1": "Stable Cascade",
    "PIXART_ALPHA": "PixArt Alpha",
    "PIXART_SIGMA": "PixArt Sigma",
    "FLUX_DEV_1": "FLUX.1",
    "FLUX_FILL_DEV_1": "FLUX.1 Fill",
    "FLUX_2": "FLUX.2",
    "SANA": "Sana",
    "HUNYUAN_VIDEO": "Hunyuan Video",
    "HI_DREAM_FULL": "HiDream",
    "CHROMA_1": "Chroma",
    "QWEN": "Qwen-Image",
    "ANIMA": "Anima",
    "KREA_2": "Krea 2",
    "Z_IMAGE": "Z-Image",
    "ERNIE": "ERNIE-Image",
    "IDEOGRAM_4": "Ideogram 4",
}
_TRAINED = frozenset(
    ["STABLE_DIFFUSION_15", "STABLE_DIFFUSION_XL_10_BASE"]
    + [f"STABLE_DIFFUSION_{v}" for v in ("20", "20_BASE", "21", "21_BASE")]
)
_OTHER_METHODS = {
    "EMBEDDING": "trains an embedding (textual inversion), and bakehouse trains none",
    "FINE_TUNE_VAE": "trains the VAE, and bakehouse trains the UNet and the text encoder",
}


def knows(document: Document) -> bool:
    """Whether the document is OneTrainer's."""
    return document.format == "json" and "training_method" in document.table


def read(documents: Sequence[Document]) -> Draft:
    """All documents as one training; what comes later wins.

    Raises:
        UsageError: it trains another kind of model, or an embedding.
    """
    data = {k: v for document in documents for k, v in document.table.items()}
    _refuse_what_is_not_trained(data, documents[-1])
    given, notes = _known(data)
    settings = Settings(OPTIONS, given, peer="OneTrainer", folder=documents[-1].folder)
    values, origins, said = convert(settings)
    found = concepts_of(settings)
    fixed = {"captions.prefix": "", "prior.source": "none"}
    values |= fixed | dict(found.values)
    origins |= dict.fromkeys(fixed, "OneTrainer does so") | dict(found.origins)
    kept = [n for n in said if n.fate == "taken" or not n.off]
    return Draft(values, found.concepts, origins, [*notes, *kept, *found.notes])


def _refuse_what_is_not_trained(data: Mapping[str, Any], document: Document) -> None:
    model = str(data.get("model_type", "STABLE_DIFFUSION_15"))
    hint = "bakehouse trains SD 1.x, SD 2.x and SDXL; train this one with OneTrainer"
    if model in _FAMILIES:
        raise UsageError(f"{document.path} trains {_FAMILIES[model]} (model_type = {model!r})", hint=hint)
    if model.endswith(("_INPAINTING", "_DEPTH")):
        kind = "an inpainting" if model.endswith("_INPAINTING") else "a depth"
        raise UsageError(
            f"{document.path} trains {kind} model (model_type = {model!r}), whose UNet sees more than the picture",
            hint="bakehouse trains the plain models: take the preset without it, or train this one with OneTrainer",
        )
    if model not in _TRAINED:
        raise UsageError(f"{document.path}: model_type = {model!r} is not known", hint=hint)
    method = str(data.get("training_method", "FINE_TUNE"))
    if method not in rules.METHODS:
        why = _OTHER_METHODS.get(method, "is not known")
        hint = f"understood are {', '.join(rules.METHODS)}"
        raise UsageError(f"{document.path}: training_method = {method!r} {why}", hint=hint)


def _known(data: Mapping[str, Any]) -> tuple[dict[str, Given], list[Note]]:
    """Settings under their present names, and notes on those that nobody needs to look at."""
    given: dict[str, Given] = {}
    notes: list[Note] = []
    theirs = rules.defaults()["settings"]
    for key, value in _flat(data):
        name = _RENAMED.get(key, key)
        if name in theirs and value == theirs[name] and name not in _TABLE:
            continue
        if name in _TABLE:
            given[name] = Given(value, key)
        elif key in _OLD:
            given |= _OLD[key](key, value, data)
        elif _OTHER_PARTS.fullmatch(key) or _OF_THE_WINDOW.match(key):
            notes.append(Note(key, value, "no effect", "changes nothing that a model of SD learns", off=True))
        else:
            why = did_you_mean(key, OPTIONS).removeprefix("; ") or "OneTrainer has no such key that is known"
            notes.append(Note(key, value, "unknown", why))
    return given, notes


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys of parts with a point; everything else as it stands."""
    for key, value in data.items():
        if isinstance(value, Mapping) and key in (*_PARTS, "vae"):
            yield from ((f"{key}.{inner}", v) for inner, v in value.items() if inner != "__version")
        else:
            yield key, value


def _min_snr(key: str, value: Any, _: Mapping[str, Any]) -> dict[str, Given]:
    if not value:
        return {}
    return {"loss_weight_fn": Given("MIN_SNR_GAMMA", key), "loss_weight_strength": Given(value, key)}


def _checkpointing(key: str, value: Any, _: Mapping[str, Any]) -> dict[str, Given]:
    return {"unet.gradient_checkpointing": Given(value not in (False, "OFF"), key)}


def _part_of_optimizer(key: str, value: Any, data: Mapping[str, Any]) -> dict[str, Given]:
    """All of a flat file's optimizer, whichever of its keys comes last."""
    fields = {k.removeprefix("optimizer_"): v for k, v in data.items() if k.startswith("optimizer_")}
    fields.pop("defaults", None)
    if "weight_decay" in data:
        fields["weight_decay"] = data["weight_decay"]
    return {"optimizer": Given({"optimizer": data.get("optimizer", "ADAMW"), **fields}, key)}


_OLD = {
    "min_snr_gamma": _min_snr,
    "gradient_checkpointing": _checkpointing,
    "weight_decay": _part_of_optimizer,
    **{
        f"optimizer_{name}": _part_of_optimizer
        for name in ("beta1", "beta2", "eps", "weight_decay", "momentum", "d_coef", "decouple", "use_bias_correction")
    },
}
"""Keys of older versions that are more than another name."""
