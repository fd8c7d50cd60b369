"""diffusers' example scripts: command lines of DreamBooth and text-to-image training, with and without LoRA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.common import (
    LAUNCHER,
    LR_END,
    folder_path,
    min_snr,
    reported,
    significant,
)
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.option_table import (
    Assignment,
    GivenValue,
    Option,
    Outcome,
    Settings,
    convert,
    converts,
    sets,
    table,
    unset_options,
)
from bakehouse.recipe.importers.settings_file import Document
from bakehouse.recipe.importers.shipped_tables import shipped_table
from bakehouse.recipe.words_in_captions import split_prompt

TITLE = "diffusers' example scripts"


SCRIPTS: Mapping[str, Mapping[str, Any]] = shipped_table("diffusers_defaults.json")["scripts"]
"""Scripts and the defaults of their own options."""


@converts("script", "train_text_encoder", "rank", "lora_alpha", "lora_dropout", "use_dora")
def method(s: Settings) -> Iterator[Outcome]:
    """Convert to LoRA on attention with alpha = rank, or to full fine-tuning."""
    of = ("script",)
    if "_lora" not in s["script"]:
        yield Assignment("adapter.kind", "full", of)
        yield Assignment("adapter.text", bool(s["train_text_encoder"]), ("train_text_encoder",))
        return
    yield Assignment("adapter.kind", "lora", of)
    yield s.assign("adapter.rank", "rank")
    of_alpha = ("lora_alpha",) if s["lora_alpha"] else ("rank",)
    yield Assignment("adapter.alpha", s["lora_alpha"] or s["rank"], of_alpha)
    yield Assignment("adapter.targets", "attention", of)
    yield Assignment("adapter.text", bool(s["train_text_encoder"]), ("train_text_encoder",))
    if s["lora_dropout"]:
        yield s.assign("adapter.dropout", "lora_dropout")
    if s["use_dora"]:
        yield Assignment("adapter.dora", True, ("use_dora",))
        yield Assignment("adapter.wd_on_output", True, ("use_dora",))


@converts("train_batch_size")
def batch(s: Settings) -> Iterator[Outcome]:
    """Convert the batch size: with class images, diffusers adds as many of them; here the batch includes them."""
    prior = bool(s["with_prior_preservation"])
    of = ("train_batch_size", "with_prior_preservation") if prior else ("train_batch_size",)
    yield Assignment("train.batch", s["train_batch_size"] * (2 if prior else 1), of)


@converts("learning_rate", "text_encoder_lr", "scale_lr")
def rates(s: Settings) -> Iterator[Outcome]:
    """Convert the learning rate, scaled if `scale_lr` is on, and the text encoder's own if given."""
    factor = s["train_batch_size"] * s["gradient_accumulation_steps"] if s["scale_lr"] else 1
    of = ("learning_rate", "scale_lr") if s["scale_lr"] else ("learning_rate",)
    yield Assignment("optimizer.lr", s["learning_rate"] * factor, of)
    if s["train_text_encoder"]:
        # Prodigy has one rate there.
        own = None if _is_prodigy(s) else s["text_encoder_lr"]
        yield Assignment("optimizer.text_lr", own or s["learning_rate"] * factor, ("text_encoder_lr",) if own else of)


@converts(
    *("optimizer", "use_8bit_adam", "adam_beta1", "adam_beta2", "adam_weight_decay", "adam_epsilon"),
    *("prodigy_decouple", "prodigy_use_bias_correction", "prodigy_safeguard_warmup"),
)
def optimizer(s: Settings) -> Iterator[Outcome]:
    """Convert AdamW or Prodigy with their arguments; diffusers uses AdamW for any other name."""
    name = "prodigy" if _is_prodigy(s) else "adamw8bit" if s["use_8bit_adam"] else "adamw"
    yield Assignment("optimizer.name", name, ("use_8bit_adam",) if name == "adamw8bit" else ("optimizer",))
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
    yield Assignment("optimizer.args", args, tuple(of))
    own = s["adam_weight_decay_text_encoder"]
    if s["train_text_encoder"] and own is not None and own != s["adam_weight_decay"]:
        why = f"all parts have one weight decay: {s['adam_weight_decay']:g}"
        yield s.note("adam_weight_decay_text_encoder", "unsupported", why)


def _is_prodigy(s: Settings) -> bool:
    return str(s["optimizer"]).lower() == "prodigy"


@converts("lr_scheduler", "lr_warmup_steps", "lr_num_cycles", "lr_power")
def schedule(s: Settings) -> Iterator[Outcome]:
    """Convert the schedule; diffusers ignores lr_warmup_steps with `constant`."""
    kind = s["lr_scheduler"]
    ours = {"constant_with_warmup": "constant"}.get(kind, kind)
    if ours not in ("constant", "linear", "cosine", "cosine_with_restarts", "polynomial"):
        yield s.note("lr_scheduler", "unsupported", "this schedule is not available; the plan chooses one")
        return
    yield Assignment("schedule.kind", ours, ("lr_scheduler",))
    if kind != "constant":
        yield s.assign("schedule.warmup", "lr_warmup_steps")
        yield Assignment("schedule.warmup_from_zero", True, ("lr_warmup_steps",))
    elif s.given("lr_warmup_steps") and s["lr_warmup_steps"]:
        yield s.note("lr_warmup_steps", "no effect", "lr_scheduler = constant has no warm-up, in diffusers as well")
    if kind == "cosine_with_restarts":
        yield s.assign("schedule.cycles", "lr_num_cycles")
    if kind == "polynomial":
        yield s.assign("schedule.power", "lr_power")
        yield Assignment("schedule.floor", significant(LR_END / s["learning_rate"]), ("learning_rate",))


@converts("max_grad_norm")
def clipping(s: Settings) -> Iterator[Outcome]:
    """Convert max_grad_norm; with class images it is halved, since diffusers' loss is then twice ours."""
    prior = bool(s["with_prior_preservation"])
    of = ("max_grad_norm", "with_prior_preservation") if prior else ("max_grad_norm",)
    yield Assignment("train.max_grad_norm", s["max_grad_norm"] / (2 if prior else 1), of)


@converts("timestep_bias_begin", "timestep_bias_end")
def bias_range(s: Settings) -> Iterator[Outcome]:
    """Convert the range of timesteps that are drawn more often."""
    if s["timestep_bias_strategy"] == "range":
        ends = [s["timestep_bias_begin"], s["timestep_bias_end"]]
        yield Assignment("noise.timesteps.bias_range", ends, ("timestep_bias_begin", "timestep_bias_end"))


def _is_biased(s: Settings) -> bool:
    return s["timestep_bias_strategy"] not in ("", "none")


def _has_portion(s: Settings) -> bool:
    return _is_biased(s) and s["timestep_bias_strategy"] != "range"


@converts("validation_prompt", "num_validation_images", "validation_steps", "validation_epochs")
def samples(s: Settings) -> Iterator[Outcome]:
    """Convert the validation prompt and its number of images."""
    prompt = s["validation_prompt"]
    yield Assignment("sample.at_start", False, ("validation_prompt",))
    if not prompt:
        yield Assignment("sample.every_epochs", 0, ("validation_prompt",))
        return
    lines = [f"{prompt} --d {i + 1}" for i in range(s["num_validation_images"])]
    yield Assignment("sample.prompts", lines, ("validation_prompt", "num_validation_images"))
    yield Assignment("sample.every_steps", s["validation_steps"] or 0, ("validation_steps",))
    every = 0 if s["validation_steps"] else s["validation_epochs"]
    yield Assignment("sample.every_epochs", every, ("validation_epochs",))


@converts("class_data_dir", "class_prompt", "with_prior_preservation", "prior_loss_weight", "num_class_images")
def prior(s: Settings) -> Iterator[Outcome]:
    """Convert class images: those of the folder, or if it has none, generated from the class prompt."""
    if not s["with_prior_preservation"]:
        yield Assignment("prior.source", "none", ("with_prior_preservation",))
        return
    of = ("with_prior_preservation",)
    folder = folder_path(str(s["class_data_dir"]), s.folder) if s["class_data_dir"] else None
    own = folder is not None and folder.is_dir() and any(folder.iterdir())
    yield Assignment("prior.source", "folder" if own else "class", of)
    yield Assignment("prior.target", "noise", of)
    yield s.assign("prior.weight", "prior_loss_weight")
    if own:
        yield Assignment("prior.folder", str(folder), ("class_data_dir",))
    else:
        yield s.assign("prior.images", "num_class_images")
    if s["class_prompt"]:
        yield s.assign("prior.prompt", "class_prompt")


OPTIONS: dict[str, Option] = table(
    sets("script", "text", "adapter.kind"),
    sets("pretrained_model_name_or_path", "path", "model.base"),
    sets("pretrained_vae_model_name_or_path", "path", "model.vae"),
    sets("instance_data_dir", "text", "concepts.folder"),
    sets("train_data_dir", "text", "concepts.folder", how="with its metadata.jsonl"),
    sets(
        "dataset_name",
        "text",
        "concepts.folder",
        how="if it is a local folder; data sets of the Hub have to be downloaded first",
    ),
    sets("instance_prompt", "text", "concepts.subject", "concepts.trigger", "concepts.class_word"),
    sets("repeats", "int", "concepts.repeats", default=1),
    sets("timestep_bias_strategy", "text", "noise.timesteps.bias", default="none", when=_is_biased),
    sets(
        "timestep_bias_multiplier", "float", "noise.timesteps.bias_multiplier", default=1.0, fill=True, when=_is_biased
    ),
    sets("timestep_bias_begin", "int", "noise.timesteps.bias_range", default=0),
    sets("timestep_bias_end", "int", "noise.timesteps.bias_range", default=1000),
    sets("timestep_bias_portion", "float", "noise.timesteps.bias_portion", default=0.25, fill=True, when=_has_portion),
    sets("proportion_empty_prompts", "float", "captions.caption_dropout", default=0.0),
    sets("class_data_dir", "text", "prior.folder", how="if it contains images"),
    sets("class_prompt", "text", "prior.prompt"),
    sets("with_prior_preservation", "flag", "prior.source"),
    sets("prior_loss_weight", "float", "prior.weight", default=1.0),
    sets("num_class_images", "int", "prior.images", default=100),
    sets("seed", "int", "seed"),
    sets(
        "resolution",
        "int",
        "buckets.resolution",
        "buckets.enabled",
        default=512,
        fill=True,
        emit=lambda side: {"buckets.resolution": side, "buckets.enabled": False},
    ),
    sets(
        "center_crop",
        "flag",
        "data.augment.random_crop",
        "data.cache",
        fill=True,
        emit={False: {"data.augment.random_crop": True, "data.cache": "none"}},
        how="random crops without it",
    ),
    sets("random_flip", "flag", "data.flip"),
    sets("train_text_encoder", "flag", "adapter.text"),
    sets("train_batch_size", "int", "train.batch", default=4, how="doubled with class images"),
    sets("num_train_epochs", "int", "train.epochs", default=1, fill=True, yields_to="max_train_steps"),
    sets("max_train_steps", "int", "train.steps", skip_falsy=True, how="wins over epochs, as in diffusers"),
    sets(
        "checkpointing_steps",
        "int",
        "save.every_steps",
        default=500,
        fill=True,
        emit=lambda steps: {"save.every_steps": steps, "save.every_epochs": 0},
    ),
    sets("checkpoints_total_limit", "int", "save.keep_last", skip_falsy=True),
    sets("gradient_accumulation_steps", "int", "train.accumulation", default=1),
    sets("gradient_checkpointing", "flag", "train.gradient_checkpointing"),
    sets("learning_rate", "float", "optimizer.lr", default=1e-4),
    sets("text_encoder_lr", "float", "optimizer.text_lr"),
    sets("scale_lr", "flag", "optimizer.lr", how="multiplied by batch and accumulation"),
    sets("lr_scheduler", "text", "schedule.kind", default="constant"),
    sets("lr_warmup_steps", "int", "schedule.warmup", default=500),
    sets("lr_num_cycles", "int", "schedule.cycles", default=1),
    sets("lr_power", "float", "schedule.power", default=1.0),
    sets("optimizer", "text", "optimizer.name", default="AdamW"),
    sets("use_8bit_adam", "flag", "optimizer.name"),
    sets("adam_beta1", "float", "optimizer.args", default=0.9),
    sets("adam_beta2", "float", "optimizer.args", default=0.999),
    sets("adam_weight_decay", "float", "optimizer.args", default=1e-2),
    sets("adam_epsilon", "float", "optimizer.args", default=1e-8),
    sets("prodigy_decouple", "flag", "optimizer.args", default=True),
    sets("prodigy_use_bias_correction", "flag", "optimizer.args", default=True),
    sets("prodigy_safeguard_warmup", "flag", "optimizer.args", default=True),
    sets("max_grad_norm", "float", "train.max_grad_norm", default=1.0),
    sets("mixed_precision", "text", "train.precision", choices={"no": "fp32", "fp16": "fp16", "bf16": "bf16"}),
    sets("enable_xformers_memory_efficient_attention", "flag", "train.attention", choices={True: "xformers"}),
    sets("offset_noise", "flag", "noise.offset", choices={True: 0.1}),
    sets("noise_offset", "float", "noise.offset", skip_falsy=True, when=lambda s: not s["offset_noise"]),
    sets("input_perturbation", "float", "noise.ip_gamma"),
    sets("snr_gamma", "float", "loss.weighting.kind", "loss.weighting.gamma", fill=True, emit=min_snr),
    sets("prediction_type", "text", "model.prediction", choices={"epsilon": "epsilon", "v_prediction": "v_prediction"}),
    sets("validation_prompt", "text", "sample.prompts"),
    sets("num_validation_images", "int", "sample.prompts", default=4),
    sets("validation_steps", "int", "sample.every_steps"),
    sets("validation_epochs", "int", "sample.every_epochs", default=50),
    sets("validation_prompts", "list", "sample.prompts"),
    sets("rank", "int", "adapter.rank", default=4),
    sets("lora_alpha", "float", "adapter.alpha", how="the rank if not given"),
    sets("lora_dropout", "float", "adapter.dropout"),
    sets("use_dora", "flag", "adapter.dora"),
    sets("use_ema", "flag", "train.ema", choices={True: 0.9999}),
    *unset_options("diffusers"),
    converters=(method, batch, rates, optimizer, schedule, clipping, bias_range, samples, prior),
)
"""Options of all the scripts: several share most of them."""


def detects(document: Document) -> bool:
    """Whether the document is a call of one of the scripts."""
    return document.command is not None and document.command.script in SCRIPTS


def read(documents: Sequence[Document]) -> Draft:
    """Convert the last document's command line.

    Raises:
        UsageError: it calls none of the scripts.
    """
    document = documents[-1]
    command = document.command
    if command is None or command.script not in SCRIPTS:
        what = command.script if command else "no command line"
        raise UsageError(f"{document.path}: {what}", hint=f"supported are {', '.join(SCRIPTS)}")
    given = {k: GivenValue(v, f"--{k}") for k, v in command.options.items()}
    notes = [Note(f"accelerate --{k}", v, "no effect", LAUNCHER) for k, v in command.launcher.items()]
    if "mixed_precision" in command.launcher and "mixed_precision" not in given:
        given["mixed_precision"] = GivenValue(command.launcher["mixed_precision"], "accelerate --mixed_precision")
        notes = [n for n in notes if n.key != "accelerate --mixed_precision"]
    notes += [Note(word, True, "unknown", "it does not belong to any option") for word in command.stray]
    defaults = SCRIPTS[command.script]
    options = {n: replace(o, default=defaults[n]) if n in defaults else o for n, o in OPTIONS.items()}
    given["script"] = GivenValue(command.script, command.script)
    settings = Settings(options, given, trainer="diffusers", folder=document.folder)
    values, origins, said = convert(settings)
    fixed = {"captions.prefix": "", "save.dtype": "fp32"}
    values |= fixed
    origins |= {"captions.prefix": "no caption is changed there", "save.dtype": "weights are saved as they learned"}
    concepts, where = _concepts(settings)
    kept = reported(said)
    if settings["dataset_name"] and not folder_path(str(settings["dataset_name"]), settings.folder).is_dir():
        why = "a data set of the Hub: download it into a folder and pass --images DIR"
        kept = [n for n in kept if n.key != settings.source_key("dataset_name")]
        kept.append(settings.note("dataset_name", "unsupported", why, sets=("concepts",)))
    return Draft(values, concepts, {**origins, **where}, [*notes, *kept])


def _concepts(s: Settings) -> tuple[list[dict[str, Any]], dict[str, str]]:
    name = next((n for n in ("instance_data_dir", "train_data_dir", "dataset_name") if s[n]), None)
    if name is None or (name == "dataset_name" and not folder_path(str(s[name]), s.folder).is_dir()):
        return [], {}
    concept: dict[str, Any] = {"folder": str(folder_path(str(s[name]), s.folder)), "repeats": s["repeats"]}
    origins = {"concepts.0.folder": s.origin([name]), "concepts.0.repeats": s.origin(["repeats"])}
    if prompt := s["instance_prompt"]:
        trigger, class_word = split_prompt(prompt, s["class_prompt"] or "")
        concept |= {"subject": prompt, "trigger": trigger, "class_word": class_word}
        origins |= {f"concepts.0.{k}": s.origin(["instance_prompt"]) for k in ("subject", "trigger", "class_word")}
    return [concept], origins
