"""diffusers' example scripts: command lines of DreamBooth and text-to-image training, with and without LoRA."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.document import Document
from bakehouse.recipe.importers.draft import Draft
from bakehouse.recipe.importers.kohya import LAUNCHER
from bakehouse.recipe.importers.kohya_dataset import located
from bakehouse.recipe.importers.kohya_rules import found
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

TITLE = "diffusers' example scripts"

SCRIPTS: Mapping[str, Mapping[str, Any]] = {
    "train_dreambooth.py": {"learning_rate": 5e-6, "train_batch_size": 4, "num_train_epochs": 1},
    "train_dreambooth_lora.py": {"learning_rate": 5e-4, "train_batch_size": 4, "num_train_epochs": 1},
    "train_dreambooth_lora_sdxl.py": {"train_batch_size": 4, "num_train_epochs": 1, "resolution": 1024},
    "train_dreambooth_lora_sdxl_advanced.py": {"train_batch_size": 4, "num_train_epochs": 1, "resolution": 1024},
    "train_dreambooth_lora_sd15_advanced.py": {"train_batch_size": 4, "num_train_epochs": 1},
    "train_text_to_image.py": {"train_batch_size": 16, "num_train_epochs": 100},
    "train_text_to_image_lora.py": {"train_batch_size": 16, "num_train_epochs": 100},
    "train_text_to_image_sdxl.py": {"train_batch_size": 16, "num_train_epochs": 100, "resolution": 1024},
    "train_text_to_image_lora_sdxl.py": {"train_batch_size": 16, "num_train_epochs": 100, "resolution": 1024},
}
"""Scripts and where their defaults differ from the table's."""


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
    yield Taken("adapter.alpha", s["lora_alpha"] or s["rank"], ("lora_alpha", "rank"))
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
        own = s["text_encoder_lr"]
        yield Taken("optimizer.text_lr", own or s["learning_rate"] * factor, ("text_encoder_lr",) if own else of)


def optimizer(s: Settings) -> Iterator[Outcome]:
    """AdamW with its numbers, or Prodigy with its own."""
    name = s["optimizer"].lower()
    if name == "adamw" and s["use_8bit_adam"]:
        name = "adamw8bit"
    yield Taken("optimizer.name", name, ("optimizer", "use_8bit_adam"))
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
    elif s.given("lr_warmup_steps") and s["lr_warmup_steps"]:
        yield s.note("lr_warmup_steps", "no effect", "lr_scheduler = constant has no warm-up, there neither")
    if kind == "cosine_with_restarts":
        yield Taken("schedule.cycles", s["lr_num_cycles"], ("lr_num_cycles",))
    if kind == "polynomial":
        yield Taken("schedule.power", s["lr_power"], ("lr_power",))


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
    missing("dataset_name", "text", "a data set of the Hub: fetch it into a folder first"),
    no_effect("dataset_config_name", "text", "belongs to dataset_name"),
    no_effect("image_column", "text", "`file_name` in metadata.jsonl", "image"),
    always("caption_column", "text", "`text`, `caption` or `prompt` in metadata.jsonl", "text"),
    taken("instance_prompt", "text", "concepts.subject", "concepts.trigger", "concepts.class_word"),
    taken("repeats", "int", "concepts.repeats", default=1),
    taken("class_data_dir", "text", "prior.folder", rule=prior, how="where it holds images"),
    taken("class_prompt", "text", "prior.prompt", rule=prior),
    taken("with_prior_preservation", "flag", "prior.source", rule=prior),
    taken("prior_loss_weight", "float", "prior.weight", default=1.0, rule=prior),
    taken("num_class_images", "int", "prior.images", default=100, rule=prior),
    no_effect("sample_batch_size", "int", "class images are made one by one, so that each can be made again", 4),
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
    no_effect("adam_weight_decay_text_encoder", "float", "one weight decay for all"),
    no_effect("prodigy_beta3", "float", "Prodigy derives it"),
    taken("prodigy_decouple", "flag", "optimizer.args", default=True, rule=optimizer),
    taken("prodigy_use_bias_correction", "flag", "optimizer.args", default=True, rule=optimizer),
    taken("prodigy_safeguard_warmup", "flag", "optimizer.args", default=True, rule=optimizer),
    taken("max_grad_norm", "float", "train.max_grad_norm", default=1.0),
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
    always("set_grads_to_none", "flag", "done"),
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
    defaults = SCRIPTS[command.script]
    options = {n: replace(o, default=defaults[n]) if n in defaults else o for n, o in OPTIONS.items()}
    given["script"] = Given(command.script, command.script)
    settings = Settings(options, given, peer="diffusers", folder=document.folder)
    values, origins, said = convert(settings)
    values["captions.prefix"] = ""
    origins["captions.prefix"] = "no caption is changed there"
    concepts, where = _concepts(settings)
    return Draft(values, concepts, {**origins, **where}, [*notes, *said])


def _concepts(s: Settings) -> tuple[list[dict[str, Any]], dict[str, str]]:
    name = "instance_data_dir" if s["instance_data_dir"] else "train_data_dir"
    if not s[name]:
        return [], {}
    concept: dict[str, Any] = {"folder": str(located(str(s[name]), s.folder)), "repeats": s["repeats"]}
    origins = {"concepts.0.folder": s.origin([name]), "concepts.0.repeats": s.origin(["repeats"])}
    if prompt := s["instance_prompt"]:
        trigger, class_word = trigger_in(prompt, s["class_prompt"] or "")
        concept |= {"subject": prompt, "trigger": trigger, "class_word": class_word}
        origins |= {f"concepts.0.{k}": s.origin(["instance_prompt"]) for k in ("subject", "trigger", "class_word")}
    return [concept], origins


_PLAIN = frozenset(["a", "an", "the", "of", "photo", "photograph", "picture", "image", "painting", "in", "style"])


def trigger_in(prompt: str, class_prompt: str) -> tuple[str, str]:
    """`a photo of sks dog` as `sks` and `dog`: what the class prompt lacks, else the first word that says something."""
    words = re.findall(r"[\w'-]+", prompt)
    classes = re.findall(r"[\w'-]+", class_prompt)
    new = [w for w in words if w not in classes] if classes else [w for w in words if w.lower() not in _PLAIN][:1]
    rest = [w for w in words if w not in new and w.lower() not in _PLAIN]
    return " ".join(new), " ".join(rest)
