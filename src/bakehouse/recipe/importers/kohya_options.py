"""Every option of kohya's network trainers for SD 1.x, 2.x and SDXL, and the recipe keys that it sets.

The options of train_network.py and sdxl_train_network.py (sd-scripts 0.10) are in the order of their parser; then come
those that only the full trainers have, and the keys of a dataset file. docs/coming-from-kohya.md is generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping

from bakehouse.recipe.importers import kohya_converters as convert
from bakehouse.recipe.importers import kohya_embeddings as embeddings
from bakehouse.recipe.importers import kohya_network as network
from bakehouse.recipe.importers.kohya_rates import rates
from bakehouse.recipe.importers.kohya_samples import samples
from bakehouse.recipe.importers.kohya_schedules import schedule
from bakehouse.recipe.importers.option_table import Option, Settings, sets, table, unset_options

_ANY_STEP = "drawn per image; kohya draws once per batch"
_PRECISIONS = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}


def _is_huber(s: Settings) -> bool:
    return s["loss_type"] in ("huber", "smooth_l1")


def _scales_huber(s: Settings) -> bool:
    """Whether huber_scale has an effect: kohya's snr schedule ignores it."""
    return _is_huber(s) and s["huber_scale"] != 1 and s["huber_schedule"] != "snr"


def _limits_buckets(s: Settings) -> bool:
    """Whether bucket limits have an effect: kohya ignores them with bucket_no_upscale."""
    return s["enable_bucket"] and not s["bucket_no_upscale"]


GROUPS: Mapping[str, dict[str, Option]] = {
    "Model": table(
        sets("v_parameterization", "flag", "model.prediction", choices={True: "v_prediction"}),
        sets("pretrained_model_name_or_path", "text", "model.base"),
        sets("vae", "text", "model.vae"),
    ),
    "Images and captions": table(
        sets("train_data_dir", "text", "concepts", how="each folder `N_name` in it is a concept with N repeats"),
        sets("shuffle_caption", "flag", "captions.shuffle"),
        sets(
            "caption_separator",
            "text",
            "captions.separator",
            default=",",
            how="also between shuffled or dropped tags, which kohya always joins with commas",
        ),
        sets("keep_tokens", "int", "captions.keep_tokens", default=0),
        sets("keep_tokens_separator", "text", "captions.keep_tokens_separator", default=""),
        sets("secondary_separator", "text", "captions.secondary_separator"),
        sets("enable_wildcard", "flag", "captions.wildcards"),
        sets(
            "caption_prefix",
            "text",
            "captions.prefix",
            default="",
            fill=True,  # else the plan would put the trigger in front if no caption holds it
            how="empty if not given, so that the plan adds no prefix",
        ),
        sets("caption_suffix", "text", "captions.suffix"),
        sets(
            "color_aug",
            "flag",
            "data.augment.color",
            emit={True: {"data.augment.color": 0.1, "data.cache": "none"}},
            how="set to 0.1, about as strong",
        ),
        sets("flip_aug", "flag", "data.flip"),
        sets(
            "face_crop_aug_range",
            "any",
            "data.augment.face_crop",
            emit=convert.face_crop,
            skip_falsy=True,
            how="[least, most]",
        ),
        sets(
            "random_crop",
            "flag",
            "data.augment.random_crop",
            emit={True: {"data.augment.random_crop": True, "data.cache": "none"}},
        ),
        sets("resolution", "any", "buckets.resolution", how="`512,768` becomes the square of the same area"),
        sets("cache_latents", "flag", "data.cache", how="latents are always cached: in `memory`"),
        sets("cache_latents_to_disk", "flag", "data.cache", how="`disk`"),
        sets(
            "enable_bucket",
            "flag",
            "buckets.enabled",
            "buckets.rule",
            emit={True: {"buckets.enabled": True, "buckets.rule": "kohya"}, False: {"buckets.enabled": False}},
            fill=True,
            how="kohya's own bucket rule; off unless given",
        ),
        sets("min_bucket_reso", "int", "buckets.min", default=256, fill=True, when=_limits_buckets),
        sets("max_bucket_reso", "int", "buckets.max", default=1024, fill=True, when=_limits_buckets),
        sets("bucket_reso_steps", "int", "buckets.step", default=64, fill=True, when="enable_bucket"),
        sets(
            "bucket_no_upscale",
            "flag",
            "buckets.upscale",
            choices={True: False, False: True},
            fill=True,
            when="enable_bucket",
            how="inverted; bucket limits are then ignored, as in kohya",
        ),
        sets("token_warmup_min", "int", "captions.token_warmup_min", default=1),
        sets(
            "token_warmup_step",
            "float",
            "captions.token_warmup_step",
            default=0,
            how="a fraction is converted to steps if `max_train_steps` is given",
        ),
        sets("alpha_mask", "flag", "data.alpha_mask"),
        sets("caption_dropout_rate", "float", "captions.caption_dropout", default=0.0),
        sets("caption_dropout_every_n_epochs", "int", "captions.dropout_every_n_epochs", default=0),
        sets("caption_tag_dropout_rate", "float", "captions.tag_dropout", default=0.0),
        sets(
            "reg_data_dir",
            "text",
            "prior.source",
            "prior.folder",
            "prior.prompt",
            how="your own class images; none if not given",
        ),
        sets(
            "dataset_repeats",
            "int",
            "concepts.repeats",
            default=1,
            how="with `in_json`, or for subsets without repeats",
        ),
    ),
    "Output": table(
        sets("output_name", "text", "name"),
        sets(
            "save_precision",
            "text",
            "save.dtype",
            transform=lambda word: _PRECISIONS.get(word, "fp32"),
            fill=True,
            how="fp32 if not given",
        ),
        sets("save_every_n_epochs", "int", "save.every_epochs", how="0 if not given"),
        sets("save_every_n_steps", "int", "save.every_steps", skip_falsy=True),
        sets("save_n_epoch_ratio", "int", "save.every_epochs", how="epochs divided by it"),
        sets("save_last_n_epochs", "int", "save.keep_last"),
        sets(
            "save_last_n_steps",
            "int",
            "save.keep_last",
            how="divided by `save_every_n_steps`: kohya counts steps, bakehouse files",
        ),
    ),
    "Training": table(
        sets("train_batch_size", "int", "train.batch", default=1, emit={}),
        sets("max_token_length", "int", "model.max_tokens", skip_falsy=True),
        sets("torch_compile", "flag", "train.compile"),
        sets("xformers", "flag", "train.attention", choices={True: "xformers"}, how="`xformers`"),
        sets(
            "max_train_steps",
            "int",
            "train.steps",
            default=1600,
            fill=True,
            yields_to="max_train_epochs",
            how="optimizer steps, as in kohya",
        ),
        sets("max_train_epochs", "int", "train.epochs", skip_falsy=True, how="wins over steps, as in kohya"),
        sets("max_data_loader_n_workers", "int", "data.workers", default=8, how="threads; results do not depend on it"),
        sets("seed", "int", "seed"),
        sets("gradient_checkpointing", "flag", "train.gradient_checkpointing"),
        sets("gradient_accumulation_steps", "int", "train.accumulation", default=1),
        sets(
            "mixed_precision",
            "text",
            "train.precision",
            default="no",
            transform=lambda word: _PRECISIONS.get(word, "auto"),
            fill=True,
            how="`no` is fp32",
        ),
        sets("fp8_base", "flag", "model.quantize", choices={True: "int8"}, how="`int8`, which every device supports"),
        sets("clip_skip", "int", "model.clip_skip", skip_falsy=True, how="counted the same way"),
        sets("logging_dir", "text", "save.tensorboard", how="logs go into the run folder"),
        sets("log_with", "text", "save.tensorboard", how="wandb is not supported"),
        sets("noise_offset", "float", "noise.offset"),
        sets("noise_offset_random_strength", "flag", "noise.offset_random_strength", how=_ANY_STEP),
        sets(
            "multires_noise_iterations",
            "int",
            "noise.pyramid_iterations",
            transform=lambda iterations: min(10, iterations),
            skip_falsy=True,
            how="at most 10",
        ),
        sets("ip_noise_gamma", "float", "noise.ip_gamma"),
        sets("ip_noise_gamma_random_strength", "flag", "noise.ip_random_strength", how=_ANY_STEP),
        sets(
            "multires_noise_discount",
            "float",
            "noise.pyramid_discount",
            default=0.3,
            fill=True,
            when="multires_noise_iterations",
        ),
        sets("adaptive_noise_scale", "float", "noise.offset_adaptive"),
        sets(
            "zero_terminal_snr",
            "flag",
            "noise.zero_terminal_snr",
            how="for v-prediction; loss weightings use the rescaled schedule, in kohya the original one",
        ),
        sets("min_timestep", "int", "noise.min_timestep"),
        sets("max_timestep", "int", "noise.max_timestep"),
        sets("loss_type", "text", "loss.kind", default="l2", when=lambda s: s["loss_type"] != "l2"),
        sets("huber_schedule", "text", "loss.huber_schedule", default="snr", fill=True, when=_is_huber),
        sets("huber_c", "float", "loss.huber_c", default=0.1, fill=True, when=_is_huber),
        sets(
            "huber_scale",
            "float",
            "loss.huber_scale",
            default=1.0,
            when=_scales_huber,
            how="not with the snr schedule, where kohya ignores it",
        ),
        sets("sample_every_n_steps", "int", "sample.every_steps"),
        sets("sample_at_first", "flag", "sample.at_start"),
        sets("sample_every_n_epochs", "int", "sample.every_epochs", how="wins over steps, as in kohya"),
        sets(
            "sample_prompts",
            "text",
            "sample.prompts",
            "sample.steps",
            "sample.guidance",
            how="its lines; kohya's 30 steps and scale 7.5 unless a line sets them",
        ),
        sets("sample_sampler", "text", "sample.sampler", default="ddim", how="converted to A1111's names"),
        sets("prior_loss_weight", "float", "prior.weight", default=1.0, how="loss weight of class images"),
    ),
    "Masks": table(
        sets(
            "masked_loss",
            "flag",
            "loss.masked",
            "loss.mask_average",
            how='averaged over the whole image, as in kohya; `mask_average = "mask"` divides by the masked area',
        )
    ),
    "Optimizer and schedule": table(
        sets("optimizer_type", "text", "optimizer.name", default="", how="AdamW if not given"),
        sets("use_8bit_adam", "flag", "optimizer.name", how="`adamw8bit`"),
        sets("use_lion_optimizer", "flag", "optimizer.name", how="`lion`"),
        sets(
            "learning_rate",
            "float",
            "optimizer.lr",
            "optimizer.text_lr",
            "embedding.lr",
            default=2e-6,
            how="for parts without a rate of their own, and for textual inversion; 2e-6 if not given, as in kohya",
        ),
        sets("max_grad_norm", "float", "train.max_grad_norm", default=1.0),
        sets("optimizer_args", "any", "optimizer.args", how="with the defaults of kohya's libraries"),
        sets(
            "lr_scheduler_type",
            "text",
            "schedule.kind",
            default="",
            how="PyTorch's CosineAnnealingLR and CosineAnnealingWarmRestarts, and LoRA_Easy_Training_Scripts' classes",
        ),
        sets(
            "lr_scheduler_args",
            "any",
            "schedule.floor",
            "schedule.decay",
            "schedule.half_period",
            "schedule.cycle_steps",
            "schedule.cycle_growth",
            "schedule.rex_d",
            "schedule.pieces",
            how="min_lr, eta_min, gamma, T_max, T_0, T_mult, d and step_rules set one key each",
        ),
        sets("lr_scheduler", "text", "schedule.kind", default="constant"),
        sets("lr_warmup_steps", "float", "schedule.warmup", default=0, how="steps, or a fraction of all steps below 1"),
        sets("lr_decay_steps", "float", "schedule.cooldown", default=0, how="with warmup_stable_decay"),
        sets("lr_scheduler_num_cycles", "int", "schedule.cycles", default=1),
        sets("lr_scheduler_power", "float", "schedule.power", default=1.0),
        sets(
            "fused_backward_pass",
            "flag",
            "train.fused_backward",
            how="for full fine-tuning, with any optimizer that updates each weight by itself",
        ),
        sets("lr_scheduler_timescale", "int", "schedule.timescale", how="with inverse_sqrt"),
        sets("lr_scheduler_min_lr_ratio", "float", "schedule.floor"),
    ),
    "Dataset file": table(sets("dataset_config", "text", "concepts", how="the file is read: see the keys below")),
    "Weightings": table(
        sets("min_snr_gamma", "float", "loss.weighting.kind", "loss.weighting.gamma", how="`min_snr`"),
        sets("scale_v_pred_loss_like_noise_pred", "flag", "loss.weighting.kind", how="`epsilon`"),
        sets("v_pred_like_loss", "float", "loss.weighting.v_pred_like", skip_falsy=True),
        sets("debiased_estimation_loss", "flag", "loss.weighting.kind", how="`debiased`"),
    ),
    "Network": table(
        sets("unet_lr", "float", "optimizer.lr", "adapter.unet", how="0: the UNet is not trained"),
        sets(
            "text_encoder_lr",
            "list",
            "optimizer.text_lr",
            "adapter.text",
            how="0: the text encoder is not trained; of several values the first is used",
        ),
        sets(
            "fp8_base_unet", "flag", "model.quantize", choices={True: "int8"}, how="`int8`, which every device supports"
        ),
        sets("network_weights", "path", "adapter.start", skip_falsy=True),
        sets("network_module", "text", "adapter.kind"),
        sets("network_dim", "int", "adapter.rank", default=4),
        sets("network_alpha", "float", "adapter.alpha", default=1.0, how="1 if not given"),
        sets("network_dropout", "float", "adapter.dropout"),
        sets("network_args", "any", "adapter"),
        sets("network_train_unet_only", "flag", "adapter.text", how="false"),
        sets("network_train_text_encoder_only", "flag", "adapter.unet", how="false"),
        sets("scale_weight_norms", "float", "adapter.max_norm"),
    ),
    "Full training: train_db.py, fine_tune.py, sdxl_train.py": table(
        sets("train_text_encoder", "flag", "adapter.text"),
        sets(
            "stop_text_encoder_training",
            "int",
            "adapter.text",
            how="train_db.py: with -1 and 0 the text encoder is not trained; stopping early is not supported",
        ),
        *(sets(name, "float", "optimizer.text_lr") for name in ("learning_rate_te", "learning_rate_te1")),
        sets("learning_rate_te2", "float", "optimizer.text_lr", how="both text encoders have one rate"),
    ),
    "Textual inversion: train_textual_inversion.py, sdxl_train_textual_inversion.py": table(
        sets("token_string", "text", "kind", "adapter.kind", "concepts.trigger", how="the word that has the vectors"),
        sets("init_word", "text", "embedding.init", how="the class word if not given; kohya then starts from noise"),
        sets("num_vectors_per_token", "int", "embedding.vectors", default=1, how="1 if not given, 16 at most"),
    ),
    "Keys of a dataset file": table(
        sets("image_dir", "text", "concepts.folder"),
        sets("num_repeats", "int", "concepts.repeats", default=1),
        sets("class_tokens", "text", "concepts.subject"),
        sets("is_reg", "flag", "prior.folder", how="class images"),
        sets(
            "batch_size", "int", "train.batch", fallback="train_batch_size", fill=True, how="wins over train_batch_size"
        ),
    ),
}

_SCRIPT = sets("script", "text", "adapter.kind")
"""The name of the script in a command line, which determines what is trained."""

KOHYA: dict[str, Option] = table(
    _SCRIPT,
    *(o for group in GROUPS.values() for o in group.values()),
    *unset_options("kohya"),
    converters=(
        *convert.CONVERTERS,
        *(network.network, network.clipping, rates, samples, schedule, embeddings.embedding),
    ),
)
"""All options by name."""
