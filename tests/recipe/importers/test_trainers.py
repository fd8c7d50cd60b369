"""The GUIs, diffusers' scripts, OneTrainer and ai-toolkit: their own words for the same things."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers import diffusers_scripts, import_settings

# --- kohya_ss GUI -----------------------------------------------------------------------------------------------------

GUI = {
    "LoRA_type": "LyCORIS/LoKr",
    "LyCORIS_preset": "full",
    "adaptive_noise_scale": 0,
    "additional_parameters": "--lr_scheduler_type CosineAnnealingLR --lr_scheduler_args T_max=1000 --wibble 3",
    "bucket_no_upscale": True,
    "bucket_reso_steps": 64,
    "cache_latents": True,
    "cache_latents_to_disk": False,
    "caption_dropout_rate": 0.05,
    "caption_extension": ".txt",
    "clip_skip": "1",
    "color_aug": False,
    "conv_alpha": 4,
    "conv_dim": 8,
    "decompose_both": True,
    "enable_bucket": True,
    "epoch": 12,
    "factor": 6,
    "flux1_cache_text_encoder_outputs": False,
    "full_bf16": False,
    "gradient_accumulation_steps": 1,
    "keep_tokens": "1",
    "learning_rate": 0.0001,
    "logging_dir": "",
    "lr_scheduler": "cosine",
    "lr_warmup": 10,
    "max_bucket_reso": 2048,
    "max_resolution": "512,512",
    "max_token_length": "75",
    "max_train_epochs": "",
    "max_train_steps": "",
    "min_bucket_reso": 256,
    "min_snr_gamma": 5,
    "mixed_precision": "bf16",
    "model_list": "custom",
    "multires_noise_discount": 0.2,
    "multires_noise_iterations": 6,
    "network_alpha": 8,
    "network_dim": 16,
    "noise_offset": 0.1,
    "noise_offset_type": "Multires",
    "num_processes": 1,
    "optimizer": "Prodigy",
    "optimizer_args": '"d_coef=1.5" "weight_decay=0.02"',
    "output_dir": "./out",
    "output_name": "kupa",
    "pretrained_model_name_or_path": "runwayml/stable-diffusion-v1-5",
    "sample_every_n_epochs": 1,
    "sample_prompts": "a hat --w 512\na cap",
    "sample_sampler": "euler_a",
    "save_every_n_epochs": 3,
    "save_precision": "bf16",
    "scale_weight_norms": 0,
    "sdxl": False,
    "seed": "1234",
    "shuffle_caption": True,
    "stop_text_encoder_training": 0,
    "text_encoder_lr": 1,
    "train_batch_size": 2,
    "train_data_dir": "img",
    "unet_lr": 1,
    "unit": 1,
    "use_wandb": False,
    "xformers": "sdpa",
}


def test_the_gui(imported, statuses, lost):
    made = imported(json.dumps(GUI), "gui.json")
    r = made.recipe
    assert made.trainer == "kohya-gui"
    assert [(c.subject, c.repeats) for c in r.concepts] == [("zwx person", 10), ("hzn hat", 3)]
    assert (r.adapter.kind, r.adapter.rank, r.adapter.alpha, r.adapter.factor) == ("lokr", 16, 8, 6)
    assert (r.adapter.conv_rank, r.adapter.conv_alpha, r.adapter.decompose_both) == (8, 4, True)
    assert (r.optimizer.name, r.optimizer.lr, r.optimizer.text_lr) == ("prodigy", 1, 1)
    assert (r.optimizer.args["d_coef"], r.optimizer.args["weight_decay"]) == (1.5, 0.02)
    assert (r.train.epochs, r.train.steps, r.train.attention) == (None, 78, "sdpa")  # 13 images, 2 at a time
    assert (r.schedule.kind, r.schedule.warmup, r.schedule.half_period) == ("cosine", 0, 1000)
    assert (r.noise.offset, r.noise.pyramid_iterations, r.noise.pyramid_discount) == (0, 6, 0.2)
    assert r.sample.prompts == ("a hat --w 512", "a cap")
    assert (r.seed, r.name, r.captions.keep_tokens, r.data.cache) == (1234, "kupa", 1, "memory")
    assert statuses(made)["noise_offset"] == "no effect"
    assert lost(made) == {"additional_parameters --wibble": "kohya has no such option"}


@pytest.mark.parametrize(
    ("changes", "epochs", "steps"),
    [({"max_train_steps": "500"}, None, 500), ({"max_train_epochs": 7, "max_train_steps": 500}, 7, None)],
)
def test_the_gui_counts_its_epochs_only_where_nothing_else_does(imported, changes, epochs, steps):
    train = imported(json.dumps({**GUI, **changes}), "gui.json").recipe.train
    assert (train.epochs, train.steps) == (epochs, steps)


@pytest.mark.parametrize(
    ("unet_lr", "text_lr", "expected"),
    [(0, 0, (1e-4, 1e-4, True, True)), (2e-4, 0, (2e-4, None, True, False)), (0, 3e-4, (None, 3e-4, False, True))],
)
def test_a_rate_of_nought_in_the_gui(imported, unet_lr, text_lr, expected):
    data = {**GUI, "unet_lr": unet_lr, "text_encoder_lr": text_lr}
    r = imported(json.dumps(data), "gui.json").recipe
    assert (r.optimizer.lr, r.optimizer.text_lr, r.adapter.unet, r.adapter.text) == expected


def test_a_plain_lora_of_the_gui_has_no_convolutions(imported, statuses):
    made = imported(json.dumps({**GUI, "LoRA_type": "Standard"}), "gui.json")
    assert (made.recipe.adapter.kind, made.recipe.adapter.targets) == ("lora", "attention+mlp")
    assert statuses(made)["conv_dim"] == "no effect"


def test_the_guis_dreambooth_tab_trains_whole_models(imported):
    data = {k: v for k, v in GUI.items() if k not in ("LoRA_type", "LyCORIS_preset")}
    assert imported(json.dumps(data), "gui.json").recipe.adapter.kind == "full"


# --- LoRA_Easy_Training_Scripts ---------------------------------------------------------------------------------------

EASY = """
[[subsets]]
caption_extension = ".txt"
image_dir = "img/10_zwx person"
keep_tokens = 1
name = "subset 1"
num_repeats = 10
shuffle_caption = true

[train_mode]
train_mode = "lora"

[general_args.args]
max_data_loader_n_workers = 1
persistent_data_loader_workers = true
pretrained_model_name_or_path = "models/pony.safetensors"
sdxl = true
no_half_vae = true
mixed_precision = "bf16"
gradient_checkpointing = true
seed = 23
max_token_length = 225
prior_loss_weight = 1.0
sdpa = true
max_train_epochs = 16
cache_latents = true

[general_args.dataset_args]
resolution = 1024
batch_size = 2

[network_args.args]
network_dim = 8
network_alpha = 4.0
min_timestep = 0
max_timestep = 1000

[network_args.args.network_args]
conv_dim = 4
conv_alpha = 2.0
algo = "locon"
preset = "full"

[optimizer_args.args]
optimizer_type = "Came"
lr_scheduler_type = "LoraEasyCustomOptimizer.CustomOptimizers.CosineAnnealingWarmupRestarts"
lr_scheduler_num_cycles = 2
loss_type = "huber"
huber_schedule = "snr"
huber_c = 0.2
learning_rate = 0.0001
warmup_ratio = 0.1
min_snr_gamma = 8

[optimizer_args.args.lr_scheduler_args]
min_lr = 1e-6
gamma = 0.85

[optimizer_args.args.optimizer_args]
weight_decay = "0.04"

[saving_args.args]
output_dir = "out"
output_name = "pony"
save_precision = "fp16"
save_model_as = "safetensors"
save_every_n_epochs = 1
save_toml = true
tag_occurrence = true

[bucket_args.dataset_args]
enable_bucket = true
min_bucket_reso = 256
max_bucket_reso = 1024
bucket_reso_steps = 64

[noise_args.args]
multires_noise_iterations = 6
multires_noise_discount = 0.3
"""


def test_easy_training_scripts(imported, statuses):
    made = imported(EASY)
    r = made.recipe
    assert made.trainer == "easy"
    assert not made.lost
    assert [(c.folder.name, c.subject, c.repeats) for c in r.concepts] == [("10_zwx person", "zwx person", 10)]
    assert (r.captions.shuffle, r.captions.keep_tokens) == (True, 1)
    assert (r.buckets.resolution, r.buckets.enabled, r.train.batch, r.train.epochs) == (1024, True, 2, 16)
    assert (r.adapter.kind, r.adapter.targets, r.adapter.rank, r.adapter.alpha) == ("lora", "full", 8, 4)
    assert (r.adapter.conv_rank, r.adapter.conv_alpha) == (4, 2)
    assert (r.optimizer.name, r.optimizer.args["weight_decay"]) == ("came", 0.04)
    schedule = r.schedule
    assert (schedule.kind, schedule.cycles, schedule.warmup) == ("annealed_cosine_with_restarts", 2, 0.1)
    assert (schedule.decay, schedule.floor) == (0.85, 0.01)
    assert (r.loss.kind, r.loss.huber_c, r.loss.weighting.gamma) == ("huber", 0.2, 8)
    assert (r.noise.pyramid_iterations, r.prior.source, r.prior.weight) == (6, "none", 1.0)
    assert made.origins["optimizer.lr"] == "[optimizer_args.args] learning_rate"
    assert statuses(made)["tag_occurrence"] == statuses(made)["sdxl"] == "built in"


def test_easy_training_scripts_rex(imported):
    """Its class has d = 0.9, a lowest rate of 1e-6 and the warm-up's share in each cycle, from 0."""
    text = EASY.replace("CustomOptimizers.CosineAnnealingWarmupRestarts", "RexAnnealingWarmRestarts")
    schedule = imported(text.replace("min_lr = 1e-6\n", "")).recipe.schedule
    assert (schedule.kind, schedule.rex_d, schedule.decay) == ("annealed_rex_with_restarts", 0.9, 0.85)
    assert (schedule.cycles, schedule.warmup, schedule.warmup_from_zero, schedule.floor) == (2, 0.1, True, 0.01)


def test_easy_training_scripts_embeddings_are_refused(imported):
    with pytest.raises(UsageError, match="textual_inversion"):
        imported(EASY.replace('train_mode = "lora"', 'train_mode = "textual_inversion"'))


@pytest.mark.parametrize(
    ("line", "said", "expected"),
    [
        # Its own code drops what is empty, off or 0 before kohya sees it.
        ("learning_rate = 0.0001", "unet_lr = 0\ntext_encoder_lr = 0", (1e-4, 1e-4, True, True, 1.0)),
        ("learning_rate = 0.0001", "max_grad_norm = 0", (1e-4, 1e-4, True, True, 1.0)),
        ("learning_rate = 0.0001", "max_grad_norm = 0.5\ntext_encoder_lr = 5e-5", (1e-4, 5e-5, True, True, 0.5)),
    ],
)
def test_easy_training_scripts_pass_over_nothing(imported, line, said, expected):
    r = imported(EASY.replace(line, f"{line}\n{said}")).recipe
    adapter = r.adapter
    assert (r.optimizer.lr, r.optimizer.text_lr, adapter.unet, adapter.text, r.train.max_grad_norm) == expected


def test_easy_training_scripts_flux_is_refused(imported):
    with pytest.raises(UsageError, match="Flux"):
        imported(EASY.replace("min_timestep = 0", "min_timestep = 0\nguidance_scale = 3.5"))


# --- diffusers --------------------------------------------------------------------------------------------------------

DREAMBOOTH = """
export MODEL_NAME="stable-diffusion-v1-5/stable-diffusion-v1-5"
accelerate launch --mixed_precision="fp16" train_dreambooth_lora.py \\
  --pretrained_model_name_or_path=$MODEL_NAME --instance_data_dir=img/3_hzn\\ hat --class_data_dir=classes \\
  --output_dir=out --with_prior_preservation --prior_loss_weight=0.5 --num_class_images=50 \\
  --instance_prompt="a photo of hzn hat" --class_prompt="a photo of hat" --resolution=512 --center_crop \\
  --train_batch_size=1 --gradient_accumulation_steps=2 --learning_rate=1e-4 --lr_scheduler="constant" \\
  --lr_warmup_steps=0 --max_train_steps=800 --rank=16 --train_text_encoder --checkpointing_steps=200 \\
  --validation_prompt="hzn hat on a table" --validation_steps=100 --num_validation_images=2 --seed=0 \\
  --use_8bit_adam --enable_xformers_memory_efficient_attention --push_to_hub --snr_gamma=5
"""


def test_diffusers_dreambooth(imported, statuses):
    made = imported(DREAMBOOTH, "train.sh")
    r = made.recipe
    (concept,) = r.concepts
    assert made.trainer == "diffusers"
    assert not made.lost
    assert (concept.subject, concept.trigger, concept.class_word) == ("a photo of hzn hat", "hzn", "hat")
    assert (r.prior.source, r.prior.images, r.prior.prompt, r.prior.weight) == ("class", 50, "a photo of hat", 0.5)
    assert (r.train.batch, r.train.accumulation, r.train.steps) == (2, 2, 800)  # class images are part of a batch here
    assert (r.adapter.rank, r.adapter.alpha, r.adapter.targets, r.adapter.text) == (16, 16, "attention", True)
    assert (r.optimizer.name, r.optimizer.lr, r.optimizer.text_lr) == ("adamw8bit", 1e-4, 1e-4)
    assert (r.save.every_steps, r.save.every_epochs, r.train.precision) == (200, 0, "fp16")
    assert r.sample.prompts == ("hzn hat on a table --d 1", "hzn hat on a table --d 2")
    assert (r.train.attention, r.loss.weighting.kind, r.buckets.enabled) == ("xformers", "min_snr", False)
    assert statuses(made)["push_to_hub"] == "command line"


def test_diffusers_class_images_that_are_there_are_used(imported, bench, beside):
    made = imported(DREAMBOOTH.replace("=classes", "=reg/1_person"), "train.sh")
    assert (made.recipe.prior.source, beside(made.recipe.prior.folder)) == ("folder", "reg/1_person")


def test_diffusers_text_to_image(imported, lost):
    script = "python train_text_to_image_lora.py --train_data_dir img"
    text = f"{script} --random_flip --num_train_epochs 3 --lr_scheduler cosine"
    r = imported(text, "go.sh").recipe
    assert (r.train.batch, r.train.epochs, r.adapter.rank, r.data.flip) == (16, 3, 4, True)
    assert (r.schedule.kind, r.schedule.warmup, r.prior.source) == ("cosine", 500, "none")
    assert (r.data.augment.random_crop, r.data.cache) == (True, "none")
    made = imported(f"{text} --lr_shceduler linear --center_crop", "go.sh")
    assert not made.recipe.data.augment.random_crop
    assert lost(made) == {"lr_shceduler": "did you mean 'lr_scheduler'?"}


@pytest.mark.parametrize("script", diffusers_scripts.SCRIPTS)
def test_every_script_of_diffusers_comes_to_a_recipe(imported, script):
    made = imported(f"accelerate launch {script} --instance_data_dir img", "go.sh")
    assert (made.recipe.adapter.kind == "lora") == ("lora" in script)
    assert made.recipe.buckets.resolution == (1024 if "sdxl" in script else 512)


def test_diffusers_own_numbers_are_those_of_the_script(imported, lost):
    """AdamW's decay is 1e-4 in the SDXL script, 1e-2 elsewhere; its text encoder has a rate of its own."""
    script = "accelerate launch train_dreambooth_lora_sdxl.py --instance_data_dir=img"
    r = imported(script, "go.sh").recipe
    assert (r.optimizer.args["weight_decay"], r.save.dtype, r.buckets.resolution) == (1e-4, "fp32", 1024)
    made = imported(f"{script} --train_text_encoder", "go.sh")
    assert made.recipe.optimizer.text_lr == 5e-6
    assert list(lost(made)) == ["adam_weight_decay_text_encoder"]
    prodigy = imported(f"{script} --train_text_encoder --optimizer=prodigy --learning_rate=1.0", "go.sh").recipe
    assert (prodigy.optimizer.name, prodigy.optimizer.text_lr) == ("prodigy", 1.0)
    assert imported("python train_dreambooth.py --instance_data_dir=img", "go.sh").recipe.optimizer.lr == 5e-6


def test_diffusers_schedules_and_losses(imported):
    script = "python train_text_to_image_sdxl.py --train_data_dir=img --learning_rate=1e-4"
    r = imported(f"{script} --lr_scheduler=polynomial --lr_warmup_steps=20", "go.sh").recipe
    assert (r.schedule.floor, r.schedule.warmup, r.schedule.warmup_from_zero) == (0.001, 20, True)
    biased = "--timestep_bias_strategy=range --timestep_bias_begin=100 --timestep_bias_end=300"
    steps = imported(f"{script} {biased} --timestep_bias_multiplier=3", "go.sh").recipe.noise.timesteps
    assert (steps.bias, steps.bias_range, steps.bias_multiplier) == ("range", (100, 300), 3)
    assert imported(f"{script} --proportion_empty_prompts=0.2", "go.sh").recipe.captions.caption_dropout == 0.2
    # A sum of two means there, the mean of all here: half the loss, and half the length at which it is clipped.
    assert imported(DREAMBOOTH, "train.sh").recipe.train.max_grad_norm == 0.5


def test_a_data_set_of_diffusers_may_be_a_folder(imported, lost):
    made = imported("python train_text_to_image_lora.py --dataset_name=img", "go.sh")
    assert not made.lost
    of_hub = "python train_text_to_image_lora.py --train_data_dir=img --dataset_name=a/b"
    assert "of the Hub" in lost(imported(of_hub, "go.sh"))["dataset_name"]
    assert not imported(of_hub, "go.sh", images=Path("img")).lost


# --- whose settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "match"),
    [
        ("wibble = 3\n", "x.toml", "unrecognised format"),
        ('kind = "style"\n[[concepts]]\nfolder = "img"\n', "x.toml", "a recipe already"),
        ('[{"instance_data_dir": "img"}]', "x.json", "list of concepts"),
        ('{"model_family": "sd1x"}', "x.json", "SimpleTuner's, for SD 1.x"),
        ("a = [1,\n", "x.toml", "not TOML"),
        ('train_data_dir = "C:\\img"\n', "x.toml", "not TOML"),
        ("{", "x.json", "not JSON"),
        ("hello", "x.txt", "neither settings nor"),
    ],
)
def test_what_is_nobodys(imported, text, name, match):
    with pytest.raises(UsageError, match=match):
        imported(text, name)


def test_files_of_two_trainers_do_not_belong_together(bench):
    (bench / "a.toml").write_text("network_dim = 4\n")
    (bench / "b.json").write_text(json.dumps(GUI))
    with pytest.raises(UsageError, match="belong to different trainers"):
        import_settings([bench / "a.toml", bench / "b.json"])


def test_a_file_that_is_not_there(bench):
    with pytest.raises(UsageError, match="does not exist"):
        import_settings(bench / "nothing.toml")
    with pytest.raises(UsageError, match="is a folder"):
        import_settings(bench / "img")


def test_the_owner_can_be_said(imported):
    made = imported('seed = 3\ntrain_data_dir = "img"\n', trainer="kohya")
    assert made.recipe.seed == 3
    with pytest.raises(UsageError, match="did you mean 'kohya'"):
        imported("seed = 3\n", trainer="koyha")
