"""diffusers' example scripts: command lines of DreamBooth and text-to-image training, with and without LoRA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.kohya import LAUNCHER
from bakehouse.recipe.importers.kohya_converters import found
from bakehouse.recipe.importers.kohya_dataset import located
from bakehouse.recipe.importers.option_table import (
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
from bakehouse.recipe.importers.settings_file import Document
from bakehouse.recipe.text_match import trigger_in

TITLE = "diffusers' example scripts"


@lru_cache(maxsize=1)
def _scripts() -> Mapping[str, Mapping[str, Any]]:
    loaded = parse_json(Path(__file__).with_name("diffusers_defaults.json").read_text("utf-8"))
    scripts: Mapping[str, Mapping[str, Any]] = loaded["scripts"]
    return scripts


SCRIPTS: Mapping[str, Mapping[str, Any]] = _scripts()
"""Scripts and the defaults of their own options."""
_LR_END = 1e-7
"""What the polynomial schedule ends at."""


def base_model(s: Settings) -> Iterator[Outcome]:
    """Folders and Hub ids as they are."""
    for name, key in (
        ("pretrained_model_name_or_path", "model.base"),
        ("pretrained_vae_model_name_or_path", "model.vae"),
    ):
        if s[name]:
            yield Taken(key, found(s, name)[0], (name,))


def method(s: Settings) -> Iterator[Outcome]:
    """LoRA on attention with alpha = rank, or whole weights."""
    of = ("script",)
    if "_lora" not in s["script"]:
        yield Taken("adapter.kind", "full", of)
        yield Taken("adapter.text", bool(s["train_text_encoder"]), ("train_text_encoder",))
        return
    yield Taken("adapter.kind", "lora", of)
    yield Taken("adapter.rank", s["rank"], ("rank",))
    of_alpha = ("lora_alpha",) if s["lora_alpha"] else ("rank",)
    yield Taken("adapter.alpha", s["lora_alpha"] or s["rank"], of_alpha)
    yield Taken("adapter.targets", "attention", of)
    yield Taken("adapter.text", bool(s["train_text_encoder"]), ("train_text_encoder",))
    if s["lora_dropout"]:
        yield Taken("adapter.dropout", s["lora_dropout"], ("lora_dropout",))
    if s["use_dora"]:
        yield Taken("adapter.dora", True, ("use_dora",))
        yield Taken("adapter.wd_on_output", True, ("use_dora",))


def squares(s: Settings) -> Iterator[Outcome]:
    """One square for all images; where they are cut is chance unless center_crop is given."""
    yield Taken("buckets.resolution", s["resolution"], ("resolution",))
    yield Taken("buckets.enabled", False, ("resolution",))
    if not s["center_crop"]:
        yield Taken("data.augment.random_crop", True, ("center_crop",))
        yield Taken("data.cache", "none", ("center_crop",))


def length(s: Settings) -> Iterator[Outcome]:
    """Steps win over epochs."""
    if s["max_train_steps"]:
        yield Taken("train.steps", s["max_train_steps"], ("max_train_steps",))
        if s.given("num_train_epochs"):
            yield s.note("num_train_epochs", "no effect", "max_train_steps wins")
    else:
        yield Taken("train.epochs", s["num_train_epochs"], ("num_train_epochs",))


def batch(s: Settings) -> Iterator[Outcome]:
    """With class images a batch there holds as many of them besides; here they are part of it."""
    prior = bool(s["with_prior_preservation"])
    of = ("train_batch_size", "with_prior_preservation") if prior else ("train_batch_size",)
    yield Taken("train.batch", s["train_batch_size"] * (2 if prior else 1), of)


def rates(s: Settings) -> Iterator[Outcome]:
    """One rate, scaled where asked for; the text encoder's own where there is one."""
    factor = s["train_batch_size"] * s["gradient_accumulation_steps"] if s["scale_lr"] else 1
    of = ("learning_rate", "scale_lr") if s["scale_lr"] else ("learning_rate",)
    yield Taken("optimizer.lr", s["learning_rate"] * factor, of)
    if s["train_text_encoder"]:
        # Prodigy has one rate there.
        own = None if _is_prodigy(s) else s["text_encoder_lr"]
        yield Taken("optimizer.text_lr", own or s["learning_rate"] * factor, ("text_encoder_lr",) if own else of)


def optimizer(s: Settings) -> Iterator[Outcome]:
    """AdamW with its numbers, or Prodigy with its own; any other word is AdamW there."""
    name = "prodigy" if _is_prodigy(s) else "adamw8bit" if s["use_8bit_adam"] else "adamw"
    yield Taken("optimizer.name", name, ("use_8bit_adam",) if name == "adamw8bit" else ("optimizer",))
    args: dict[str, Any] = {"weight_decay": s["adam_weight_decay"]}
    of = ["adam_weight_decay"]
    if s.given("adam_beta1", "adam_beta2"):
        args["betas"] = [s["adam_beta1"], s["adam_beta2"]]
        of += ["adam_beta1", "adam_beta2"]
    if s.given("adam_epsilon"):
        args["eps"] = s["adam_epsilon"]
        of.append("adam_epsilon")
    if name == "prodigy":
        args |= {"decouple": s["prodigy_decouple"], "use_bias_correction": s["prodigy_use_bias_correction"]}
        args |= {"safeguard_warmup": s["prodigy_safeguard_warmup"], "d_coef": 1.0}
        of += ["prodigy_decouple", "prodigy_use_bias_correction", "prodigy_safeguard_warmup"]
    yield Taken("optimizer.args", args, tuple(of))
    own = s["adam_weight_decay_text_encoder"]
    if s["train_text_encoder"] and own is not None and own != s["adam_weight_decay"]:
        why = f"one weight decay for all here: {s['adam_weight_decay']:g}"
        yield s.note("adam_weight_decay_text_encoder", "missing", why)


def _is_prodigy(s: Settings) -> bool:
    return str(s["optimizer"]).lower() == "prodigy"


def schedule(s: Settings) -> Iterator[Outcome]:
    """`constant` knows no warm-up there, whatever lr_warmup_steps says."""
    kind = s["lr_scheduler"]
    ours = {"constant_with_warmup": "constant"}.get(kind, kind)
    if ours not in ("constant", "linear", "cosine", "cosine_with_restarts", "polynomial"):
        yield s.note("lr_scheduler", "missing", "no such schedule")
        return
    yield Taken("schedule.kind", ours, ("lr_scheduler",))
    if kind != "constant":
        yield Taken("schedule.warmup", s["lr_warmup_steps"], ("lr_warmup_steps",))
        yield Taken("schedule.warmup_from_zero", True, ("lr_warmup_steps",))
    elif s.given("lr_warmup_steps") and s["lr_warmup_steps"]:
        yield s.note("lr_warmup_steps", "no effect", "lr_scheduler = constant has no warm-up, there neither")
    if kind == "cosine_with_restarts":
        yield Taken("schedule.cycles", s["lr_num_cycles"], ("lr_num_cycles",))
    if kind == "polynomial":
        yield Taken("schedule.power", s["lr_power"], ("lr_power",))
        yield Taken("schedule.floor", float(f"{_LR_END / s['learning_rate']:.6g}"), ("learning_rate",))


def weighting(s: Settings) -> Iterator[Outcome]:
    """min-SNR, or none."""
    yield Taken("loss.weighting.kind", "min_snr" if s["snr_gamma"] else "none", ("snr_gamma",))
    if s["snr_gamma"]:
        yield Taken("loss.weighting.gamma", s["snr_gamma"], ("snr_gamma",))


def noise(s: Settings) -> Iterator[Outcome]:
    """DreamBooth's offset_noise is 0.1; text-to-image says how much."""
    if s["offset_noise"]:
        yield Taken("noise.offset", 0.1, ("offset_noise",))
    elif s["noise_offset"]:
        yield Taken("noise.offset", s["noise_offset"], ("noise_offset",))


def clipping(s: Settings) -> Iterator[Outcome]:
    """With class images the loss there is a sum of two means, twice ours: half the limit clips the same."""
    prior = bool(s["with_prior_preservation"])
    of = ("max_grad_norm", "with_prior_preservation") if prior else ("max_grad_norm",)
    yield Taken("train.max_grad_norm", s["max_grad_norm"] / (2 if prior else 1), of)


def bias(s: Settings) -> Iterator[Outcome]:
    """Timesteps that are drawn more often."""
    word = s["timestep_bias_strategy"] or "none"
    if word == "none":
        return
    yield Taken("noise.timesteps.bias", word, ("timestep_bias_strategy",))
    yield Taken("noise.timesteps.bias_multiplier", s["timestep_bias_multiplier"], ("timestep_bias_multiplier",))
    if word == "range":
        ends = [s["timestep_bias_begin"], s["timestep_bias_end"]]
        yield Taken("noise.timesteps.bias_range", ends, ("timestep_bias_begin", "timestep_bias_end"))
    else:
        yield Taken("noise.timesteps.bias_portion", s["timestep_bias_portion"], ("timestep_bias_portion",))


def saving(s: Settings) -> Iterator[Outcome]:
    """A checkpoint each so many steps."""
    yield Taken("save.every_steps", s["checkpointing_steps"], ("checkpointing_steps",))
    yield Taken("save.every_epochs", 0, ("checkpointing_steps",))
    if s["checkpoints_total_limit"]:
        yield Taken("save.keep_last", s["checkpoints_total_limit"], ("checkpoints_total_limit",))


def samples(s: Settings) -> Iterator[Outcome]:
    """One prompt, so many pictures of it."""
    prompt = s["validation_prompt"]
    yield Taken("sample.at_start", False, ("validation_prompt",))
    if not prompt:
        yield Taken("sample.every_epochs", 0, ("validation_prompt",))
        return
    lines = [f"{prompt} --d {i + 1}" for i in range(s["num_validation_images"])]
    yield Taken("sample.prompts", lines, ("validation_prompt", "num_validation_images"))
    yield Taken("sample.every_steps", s["validation_steps"] or 0, ("validation_steps",))
    every = 0 if s["validation_steps"] else s["validation_epochs"]
    yield Taken("sample.every_epochs", every, ("validation_epochs",))


def prior(s: Settings) -> Iterator[Outcome]:
    """Class images of a folder that has some, else made from the class prompt."""
    if not s["with_prior_preservation"]:
        yield Taken("prior.source", "none", ("with_prior_preservation",))
        return
    of = ("with_prior_preservation",)
    folder = located(str(s["class_data_dir"]), s.folder) if s["class_data_dir"] else None
    own = folder is not None and folder.is_dir() and any(folder.iterdir())
    yield Taken("prior.source", "folder" if own else "class", of)
    yield Taken("prior.target", "noise", of)
    yield Taken("prior.weight", s["prior_loss_weight"], ("prior_loss_weight",))
    if own:
        yield Taken("prior.folder", str(folder), ("class_data_dir",))
    else:
        yield Taken("prior.images", s["num_class_images"], ("num_class_images",))
    if s["class_prompt"]:
        yield Taken("prior.prompt", s["class_prompt"], ("class_prompt",))


_HUB = "belongs to publishing, not to training"

OPTIONS: dict[str, Option] = table(
    taken("script", "text", "adapter.kind", rule=method),
    taken("pretrained_model_name_or_path", "text", "model.base", rule=base_model),
    taken("pretrained_vae_model_name_or_path", "text", "model.vae", rule=base_model),
    missing("revision", "text", "the newest revision is fetched"),
    always("variant", "text", "the precision of the files is read from them"),
    no_effect("tokenizer_name", "text", "the tokenizer comes with the model"),
    taken("instance_data_dir", "text", "concepts.folder"),
    taken("train_data_dir", "text", "concepts.folder", how="with its metadata.jsonl"),
    taken("dataset_name", "text", "concepts.folder", how="where it is a folder here; one of the Hub is fetched first"),
    no_effect("dataset_config_name", "text", "belongs to dataset_name"),
    no_effect("image_column", "text", "`file_name` in metadata.jsonl", "image"),
    always("caption_column", "text", "`text`, `caption` or `prompt` in metadata.jsonl", "text"),
    taken("instance_prompt", "text", "concepts.subject", "concepts.trigger", "concepts.class_word"),
    taken("repeats", "int", "concepts.repeats", default=1),
    taken("timestep_bias_strategy", "text", "noise.timesteps.bias", default="none", rule=bias),
    taken("timestep_bias_multiplier", "float", "noise.timesteps.bias_multiplier", default=1.0, rule=bias),
    taken("timestep_bias_begin", "int", "noise.timesteps.bias_range", default=0, rule=bias),
    taken("timestep_bias_end", "int", "noise.timesteps.bias_range", default=1000, rule=bias),
    taken("timestep_bias_portion", "float", "noise.timesteps.bias_portion", default=0.25, rule=bias),
    taken("proportion_empty_prompts", "float", "captions.caption_dropout", default=0.0),
    missing("dream_training", "flag", "no such loss"),
    no_effect("dream_detail_preservation", "float", "belongs to dream_training", 1.0),
    missing("image_interpolation_mode", "text", "images are enlarged by Lanczos and shrunk by area", "lanczos"),
    missing("clip_skip", "int", "counted from 0 there: set `model.clip_skip` to one more"),
    missing("train_text_encoder_frac", "float", "the text encoder learns to the end", 1.0),
    no_effect("train_text_encoder_ti_frac", "float", "belongs to train_text_encoder_ti", 0.5),
    missing("lora_unet_blocks", "text", "name them in `adapter.include`"),
    missing("use_blora", "flag", "name its blocks in `adapter.include`"),
    always("cache_latents", "flag", "latents are cached unless they are cut at random"),
    no_effect("debug_loss", "flag", "a run's `events.jsonl` holds every loss"),
    no_effect("tracker_project_name", "text", "a run has its own folder"),
    taken("class_data_dir", "text", "prior.folder", rule=prior, how="where it holds images"),
    taken("class_prompt", "text", "prior.prompt", rule=prior),
    taken("with_prior_preservation", "flag", "prior.source", rule=prior),
    taken("prior_loss_weight", "float", "prior.weight", default=1.0, rule=prior),
    taken("num_class_images", "int", "prior.images", default=100, rule=prior),
    no_effect(
        "sample_batch_size",
        "int",
        "class images are made in groups that never change, so that each comes out the same again",
        4,
    ),
    no_effect("prior_generation_precision", "text", "`train.precision` counts for class images too"),
    elsewhere("output_dir", "text", "`bakehouse train me.toml --run DIR`"),
    no_effect("cache_dir", "text", "the Hub's own cache is used"),
    taken("seed", "int", "seed"),
    taken("resolution", "int", "buckets.resolution", "buckets.enabled", default=512, rule=squares),
    taken(
        "center_crop", "flag", "data.augment.random_crop", "data.cache", rule=squares, how="cut at random without it"
    ),
    taken("random_flip", "flag", "data.flip"),
    taken("train_text_encoder", "flag", "adapter.text", rule=method),
    missing("train_text_encoder_ti", "flag", "no embeddings are learned"),
    taken("train_batch_size", "int", "train.batch", default=4, rule=batch, how="twice as many with class images"),
    taken("num_train_epochs", "int", "train.epochs", default=1, rule=length),
    taken("max_train_steps", "int", "train.steps", rule=length, how="wins over epochs, as there"),
    missing("max_train_samples", "int", "all images are used"),
    taken("checkpointing_steps", "int", "save.every_steps", default=500, rule=saving),
    taken("checkpoints_total_limit", "int", "save.keep_last", rule=saving),
    always("resume_from_checkpoint", "text", "the same command goes on where it stopped"),
    taken("gradient_accumulation_steps", "int", "train.accumulation", default=1),
    taken("gradient_checkpointing", "flag", "train.gradient_checkpointing"),
    taken("learning_rate", "float", "optimizer.lr", default=1e-4, rule=rates),
    taken("text_encoder_lr", "float", "optimizer.text_lr", rule=rates),
    taken("scale_lr", "flag", "optimizer.lr", rule=rates, how="times batch and accumulation"),
    taken("lr_scheduler", "text", "schedule.kind", default="constant", rule=schedule),
    taken("lr_warmup_steps", "int", "schedule.warmup", default=500, rule=schedule),
    taken("lr_num_cycles", "int", "schedule.cycles", default=1, rule=schedule),
    taken("lr_power", "float", "schedule.power", default=1.0, rule=schedule),
    taken("optimizer", "text", "optimizer.name", default="AdamW", rule=optimizer),
    taken("use_8bit_adam", "flag", "optimizer.name", rule=optimizer),
    taken("adam_beta1", "float", "optimizer.args", default=0.9, rule=optimizer),
    taken("adam_beta2", "float", "optimizer.args", default=0.999, rule=optimizer),
    taken("adam_weight_decay", "float", "optimizer.args", default=1e-2, rule=optimizer),
    taken("adam_epsilon", "float", "optimizer.args", default=1e-8, rule=optimizer),
    missing("adam_weight_decay_text_encoder", "float", "one weight decay for all"),
    no_effect("prodigy_beta3", "float", "Prodigy derives it"),
    taken("prodigy_decouple", "flag", "optimizer.args", default=True, rule=optimizer),
    taken("prodigy_use_bias_correction", "flag", "optimizer.args", default=True, rule=optimizer),
    taken("prodigy_safeguard_warmup", "flag", "optimizer.args", default=True, rule=optimizer),
    taken("max_grad_norm", "float", "train.max_grad_norm", default=1.0, rule=clipping),
    no_effect("dataloader_num_workers", "int", "`data.workers`; they never change a result"),
    elsewhere("push_to_hub", "flag", _HUB),
    elsewhere("hub_token", "text", _HUB),
    elsewhere("hub_model_id", "text", _HUB),
    no_effect("logging_dir", "text", "a run has its own folder"),
    no_effect("report_to", "text", "`save.tensorboard` writes for TensorBoard", "tensorboard"),
    no_effect("allow_tf32", "flag", "precision is `train.precision`"),
    taken("mixed_precision", "text", "train.precision", choices={"no": "fp32", "fp16": "fp16", "bf16": "bf16"}),
    no_effect("local_rank", "int", LAUNCHER),
    taken("enable_xformers_memory_efficient_attention", "flag", "train.attention", choices={True: "xformers"}),
    no_effect("enable_npu_flash_attention", "flag", "PyTorch's attention"),
    always("set_grads_to_none", "flag", "gradients are let go after each step"),
    taken("offset_noise", "flag", "noise.offset", rule=noise),
    taken("noise_offset", "float", "noise.offset", rule=noise),
    taken("input_perturbation", "float", "noise.ip_gamma"),
    taken("snr_gamma", "float", "loss.weighting.kind", "loss.weighting.gamma", rule=weighting),
    taken(
        "prediction_type", "text", "model.prediction", choices={"epsilon": "epsilon", "v_prediction": "v_prediction"}
    ),
    missing("do_edm_style_training", "flag", "noise is added as the model was trained"),
    taken("validation_prompt", "text", "sample.prompts", rule=samples),
    taken("num_validation_images", "int", "sample.prompts", default=4, rule=samples),
    taken("validation_steps", "int", "sample.every_steps", rule=samples),
    taken("validation_epochs", "int", "sample.every_epochs", default=50, rule=samples),
    taken("validation_prompts", "list", "sample.prompts"),
    no_effect("validation_scheduler", "text", "`sample.sampler` says which"),
    no_effect("validation_images", "list", "belongs to other pipelines"),
    always("pre_compute_text_embeddings", "flag", "captions that stay the same are encoded once"),
    no_effect("tokenizer_max_length", "int", "`model.max_tokens` says how many"),
    no_effect("text_encoder_use_attention_mask", "flag", "as the models were trained"),
    no_effect("skip_save_text_encoder", "flag", "what learned is saved"),
    no_effect("class_labels_conditioning", "text", "belongs to other models"),
    always("output_kohya_format", "flag", "files have kohya's keys"),
    taken("rank", "int", "adapter.rank", default=4, rule=method),
    taken("lora_alpha", "float", "adapter.alpha", rule=method, how="the rank where it is not given"),
    taken("lora_dropout", "float", "adapter.dropout", rule=method),
    taken("use_dora", "flag", "adapter.dora", rule=method),
    missing("lora_layers", "text", "name them in `adapter.include`"),
    missing("token_abstraction", "text", "no embeddings are learned"),
    missing("num_new_tokens_per_abstraction", "int", "no embeddings are learned"),
    taken("use_ema", "flag", "train.ema", choices={True: 0.9999}),
    no_effect("offload_ema", "flag", "averages lie beside the weights"),
    no_effect("foreach_ema", "flag", "averages are made one by one"),
    no_effect("non_ema_revision", "text", "one revision"),
)
"""Options of all the scripts: several share most of them."""


def knows(document: Document) -> bool:
    """Whether the document is a call of one of the scripts."""
    return document.command is not None and document.command.script in SCRIPTS


def read(documents: Sequence[Document]) -> Draft:
    """The last document's command as a training.

    Raises:
        UsageError: it calls none of the scripts.
    """
    document = documents[-1]
    command = document.command
    if command is None or command.script not in SCRIPTS:
        what = command.script if command else "no command line"
        raise UsageError(f"{document.path}: {what}", hint=f"understood are {', '.join(SCRIPTS)}")
    given = {k: Given(v, f"--{k}") for k, v in command.options.items()}
    notes = [Note(f"accelerate --{k}", v, "no effect", LAUNCHER) for k, v in command.launcher.items()]
    if "mixed_precision" in command.launcher and "mixed_precision" not in given:
        given["mixed_precision"] = Given(command.launcher["mixed_precision"], "accelerate --mixed_precision")
        notes = [n for n in notes if n.key != "accelerate --mixed_precision"]
    notes += [Note(word, True, "unknown", "it belongs to no option") for word in command.stray]
    defaults = SCRIPTS[command.script]
    options = {n: replace(o, default=defaults[n]) if n in defaults else o for n, o in OPTIONS.items()}
    given["script"] = Given(command.script, command.script)
    settings = Settings(options, given, peer="diffusers", folder=document.folder)
    values, origins, said = convert(settings)
    fixed = {"captions.prefix": "", "save.dtype": "fp32"}
    values |= fixed
    origins |= {"captions.prefix": "no caption is changed there", "save.dtype": "weights are saved as they learned"}
    concepts, where = _concepts(settings)
    kept = [n for n in said if n.fate == "taken" or not n.off]
    if settings["dataset_name"] and not located(str(settings["dataset_name"]), settings.folder).is_dir():
        why = "a data set of the Hub: fetch it into a folder first and say --images DIR"
        kept = [n for n in kept if n.key != settings.said("dataset_name")]
        kept.append(settings.note("dataset_name", "missing", why, to=("concepts",)))
    return Draft(values, concepts, {**origins, **where}, [*notes, *kept])


def _concepts(s: Settings) -> tuple[list[dict[str, Any]], dict[str, str]]:
    name = next((n for n in ("instance_data_dir", "train_data_dir", "dataset_name") if s[n]), None)
    if name is None or (name == "dataset_name" and not located(str(s[name]), s.folder).is_dir()):
        return [], {}
    concept: dict[str, Any] = {"folder": str(located(str(s[name]), s.folder)), "repeats": s["repeats"]}
    origins = {"concepts.0.folder": s.origin([name]), "concepts.0.repeats": s.origin(["repeats"])}
    if prompt := s["instance_prompt"]:
        trigger, class_word = trigger_in(prompt, s["class_prompt"] or "")
        concept |= {"subject": prompt, "trigger": trigger, "class_word": class_word}
        origins |= {f"concepts.0.{k}": s.origin(["instance_prompt"]) for k in ("subject", "trigger", "class_word")}
    return [concept], origins
