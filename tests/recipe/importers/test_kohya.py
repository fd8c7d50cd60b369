"""kohya's settings mean here what they mean there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bakehouse.core.errors import UsageError
from bakehouse.recipe import make_plan
from bakehouse.recipe.importers import import_settings

CONFIG = """
[model_arguments]
pretrained_model_name_or_path = "stabilityai/stable-diffusion-xl-base-1.0"
vae = "madebyollin/sdxl-vae-fp16-fix"
v2 = false
v_parameterization = false

[dataset_arguments]
train_data_dir = "img"
reg_data_dir = "reg"
resolution = "1024,1024"
enable_bucket = true
min_bucket_reso = 512
max_bucket_reso = 2048
bucket_reso_steps = 32
shuffle_caption = true
keep_tokens = 1
caption_extension = ".txt"
caption_tag_dropout_rate = 0.05
cache_latents = true
cache_latents_to_disk = true

[optimizer_arguments]
optimizer_type = "AdamW"
optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
learning_rate = 1e-4
unet_lr = 1e-4
text_encoder_lr = 5e-5
lr_scheduler = "cosine_with_restarts"
lr_scheduler_num_cycles = 3
lr_warmup_steps = 0.05
max_grad_norm = 1.0

[network_arguments]
network_module = "networks.lora"
network_dim = 32
network_alpha = 16
network_dropout = 0.1
network_args = ["conv_dim=16", "conv_alpha=8", "rank_dropout=0.05", "module_dropout=0.02"]
scale_weight_norms = 1.0

[training_arguments]
output_dir = "/content/out"
output_name = "zwx"
max_train_epochs = 10
train_batch_size = 2
gradient_accumulation_steps = 4
gradient_checkpointing = true
mixed_precision = "bf16"
save_precision = "fp16"
save_every_n_epochs = 2
save_last_n_epochs = 3
save_state = true
clip_skip = 2
max_token_length = 225
seed = 42
sdpa = true
min_snr_gamma = 5.0
noise_offset = 0.0357
prior_loss_weight = 0.8
no_half_vae = true
max_data_loader_n_workers = 4
logging_dir = "logs"
"""


def test_a_config_file_of_sections(imported, statuses, beside):
    made = imported(CONFIG)
    r = made.recipe
    assert made.trainer == "kohya"
    assert not made.lost
    assert (r.name, r.seed) == ("zwx", 42)
    assert (r.model.base, r.model.clip_skip, r.model.max_tokens) == ("stabilityai/stable-diffusion-xl-base-1.0", 2, 225)
    assert [(beside(c.folder), c.subject, c.repeats) for c in r.concepts] == [
        ("img/10_zwx person", "zwx person", 10),
        ("img/3_hzn hat", "hzn hat", 3),
    ]
    assert (r.prior.source, beside(r.prior.folder), r.prior.prompt) == ("folder", "reg", "person")
    assert (r.prior.weight, r.prior.target, r.prior.per_image) == (0.8, "noise", 1.0)
    assert (r.buckets.resolution, r.buckets.min, r.buckets.max, r.buckets.step) == (1024, 512, 2048, 32)
    assert (r.buckets.rule, r.buckets.enabled) == ("kohya", True)
    assert (r.captions.shuffle, r.captions.keep_tokens, r.captions.tag_dropout) == (True, 1, 0.05)
    assert (r.adapter.kind, r.adapter.rank, r.adapter.alpha, r.adapter.targets) == ("lora", 32, 16, "full")
    assert (r.adapter.conv_rank, r.adapter.conv_alpha, r.adapter.max_norm) == (16, 8, 1.0)
    assert (r.adapter.dropout, r.adapter.rank_dropout, r.adapter.module_dropout) == (0.1, 0.05, 0.02)
    assert (r.adapter.unet, r.adapter.text) == (True, True)
    assert (r.optimizer.name, r.optimizer.lr, r.optimizer.text_lr) == ("adamw", 1e-4, 5e-5)
    assert r.optimizer.args == {"weight_decay": 0.1, "betas": [0.9, 0.99]}
    assert (r.schedule.kind, r.schedule.cycles, r.schedule.warmup) == ("cosine_with_restarts", 3, 0.05)
    assert (r.train.epochs, r.train.steps, r.train.batch, r.train.accumulation) == (10, None, 2, 4)
    assert (r.train.precision, r.train.gradient_checkpointing, r.train.attention) == ("bf16", True, "sdpa")
    assert (r.save.every_epochs, r.save.keep_last, r.save.dtype, r.save.tensorboard) == (2, 3, "fp16", True)
    assert (r.loss.weighting.kind, r.loss.weighting.gamma, r.noise.offset) == ("min_snr", 5.0, 0.0357)
    assert (r.data.cache, r.data.workers) == ("disk", 4)
    assert statuses(made)["save_state"] == statuses(made)["v2"] == statuses(made)["no_half_vae"] == "built in"
    assert statuses(made)["output_dir"] == "command line"
    assert made.origins["adapter.rank"] == "[network_arguments] network_dim"


def test_sections_only_order(imported):
    flat = "\n".join(line for line in CONFIG.splitlines() if not line.startswith("["))
    assert imported(flat).recipe == imported(CONFIG).recipe


BASH = """#!/bin/bash
# my first one
MODEL="runwayml/stable-diffusion-v1-5"
export RANK=8
accelerate launch --num_cpu_threads_per_process 1 ./sd-scripts/train_network.py \\
  --pretrained_model_name_or_path="$MODEL" \\
  --train_data_dir=img --resolution=512,768 --enable_bucket \\
  --network_module=networks.lora --network_dim=${RANK} --network_train_unet_only \\
  --optimizer_args "weight_decay=0.2" "betas=0.9,0.98" \\
  --learning_rate=2e-4 --max_train_steps 400 && echo done
"""
CMD = """@echo off
rem my first one
set MODEL=runwayml/stable-diffusion-v1-5
set "RANK=8"
accelerate launch --num_cpu_threads_per_process 1 .\\sd-scripts\\train_network.py ^
  --pretrained_model_name_or_path="%MODEL%" ^
  --train_data_dir=img --resolution=512,768 --enable_bucket ^
  --network_module=networks.lora --network_dim=%RANK% --network_train_unet_only ^
  --optimizer_args "weight_decay=0.2" "betas=0.9,0.98" ^
  --learning_rate=2e-4 --max_train_steps 400
pause
"""
POWERSHELL = """$model = "runwayml/stable-diffusion-v1-5"
$rank = 8
accelerate launch --num_cpu_threads_per_process 1 "./sd-scripts/train_network.py" `
  --pretrained_model_name_or_path=$model `
  --train_data_dir=img --resolution=512,768 --enable_bucket `
  --network_module=networks.lora --network_dim=$rank --network_train_unet_only `
  --optimizer_args "weight_decay=0.2" "betas=0.9,0.98" `
  --learning_rate=2e-4 --max_train_steps 400
"""
NOTEBOOK = """model = "runwayml/stable-diffusion-v1-5"
rank = 8
%cd /content
!accelerate launch --num_cpu_threads_per_process 1 sd-scripts/train_network.py \\
  --pretrained_model_name_or_path={model} \\
  --train_data_dir=img --resolution=512,768 --enable_bucket \\
  --network_module=networks.lora --network_dim={rank} --network_train_unet_only \\
  --optimizer_args "weight_decay=0.2" "betas=0.9,0.98" \\
  --learning_rate=2e-4 --max_train_steps 400
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [("train.sh", BASH), ("train.bat", CMD), ("train.ps1", POWERSHELL), ("cell.txt", NOTEBOOK)],
    ids=["bash", "cmd", "powershell", "notebook"],
)
def test_a_command_line_in_every_shell(imported, name, text, statuses):
    made = imported(text, name)
    r = made.recipe
    assert r.model.base == "runwayml/stable-diffusion-v1-5"
    assert (r.adapter.rank, r.adapter.alpha, r.adapter.text, r.adapter.targets) == (8, 1, False, "attention+mlp")
    assert (r.optimizer.lr, r.optimizer.text_lr) == (2e-4, None)
    assert r.optimizer.args == {"weight_decay": 0.2, "betas": [0.9, 0.98]}
    assert (r.train.steps, r.train.epochs) == (400, None)
    assert r.buckets.resolution == 628  # sqrt(512 * 768) is 627.07, whose square has no bucket of 512 x 768
    assert (512, 768) in r.buckets.buckets()
    assert "square of the same area" in next(n.why for n in made.notes if n.key == "--resolution")
    assert statuses(made)["accelerate --num_cpu_threads_per_process"] == "no effect"
    assert not made.lost


def test_a_windows_path_keeps_its_backslashes(imported):
    text = 'accelerate launch train_network.py --train_data_dir "D:\\my pics\\img" --output_name x ^\n --network_dim 4'
    made = imported(text, "train.bat")
    assert made.recipe.concepts[0].folder == Path("D:/my pics/img")
    assert "not found on this machine" in next(n.why for n in made.notes if n.key == "--train_data_dir")


def test_the_files_that_a_command_line_names_are_read(imported, bench, beside):
    (bench / "base.toml").write_text('[a]\nnetwork_dim = 64\nlearning_rate = "3e-4"\nseed = 5\n')
    (bench / "data.toml").write_text(
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img/3_hzn hat"\nnum_repeats = 7\n'
    )
    made = imported("python train_network.py --config_file base --dataset_config=data.toml --seed 9", "go.sh")
    assert (made.recipe.adapter.rank, made.recipe.optimizer.lr, made.recipe.seed) == (64, 3e-4, 9)
    (concept,) = made.recipe.concepts
    assert (beside(concept.folder), concept.repeats, concept.subject) == ("img/3_hzn hat", 7, "hzn hat")


DATASET = """
[general]
shuffle_caption = true
caption_extension = ".txt"
keep_tokens = 2

[[datasets]]
resolution = 768
batch_size = 3
enable_bucket = true
bucket_no_upscale = true

  [[datasets.subsets]]
  image_dir = "img/10_zwx person"
  class_tokens = "zwx person"
  num_repeats = 5
  flip_aug = true

  [[datasets.subsets]]
  image_dir = "img/3_hzn hat"
  keep_tokens = 1

  [[datasets.subsets]]
  is_reg = true
  image_dir = "reg/1_person"
  class_tokens = "person"
"""


def test_a_dataset_file_beside_a_config_file(bench, lost, beside):
    (bench / "config.toml").write_text('network_module = "networks.lora"\ntrain_batch_size = 1\nkeep_tokens = 9\n')
    (bench / "data.toml").write_text(DATASET)
    made = import_settings([bench / "config.toml", bench / "data.toml"])
    r = made.recipe
    assert [(c.subject, c.repeats) for c in r.concepts] == [("zwx person", 5), ("hzn hat", 1)]
    assert (r.train.batch, r.buckets.resolution, r.buckets.upscale, r.buckets.min) == (3, 768, False, None)
    assert (r.captions.shuffle, r.captions.keep_tokens) == (True, 2)
    assert (r.prior.source, r.prior.prompt, beside(r.prior.folder)) == ("folder", "person", "reg/1_person")
    assert "the first of 2, 1" in lost(made)["keep_tokens"]


def test_a_dataset_file_alone_leaves_the_training_to_the_plan(imported):
    made = imported(DATASET)
    assert made.recipe.train.model_fields_set == {"batch"}
    assert not {"adapter", "optimizer", "schedule", "loss", "save"} & made.recipe.model_fields_set
    assert made.recipe.data.flip


@pytest.mark.parametrize(
    ("said", "epochs", "steps"),
    [("", None, 1600), ("max_train_steps = 700", None, 700), ("max_train_epochs = 4\nmax_train_steps = 700", 4, None)],
)
def test_epochs_win_over_steps_and_1600_steps_are_the_default(imported, said, epochs, steps):
    train = imported(f'network_dim = 4\ntrain_data_dir = "img"\n{said}').recipe.train
    assert (train.epochs, train.steps) == (epochs, steps)


@pytest.mark.parametrize(
    ("said", "lr", "text_lr", "unet", "text"),
    [
        ("", 2e-6, 2e-6, True, True),
        ("learning_rate = 1e-4", 1e-4, 1e-4, True, True),
        ("learning_rate = 1e-4\nunet_lr = 3e-4", 3e-4, 1e-4, True, True),
        ("learning_rate = 1e-4\ntext_encoder_lr = 5e-5", 1e-4, 5e-5, True, True),
        ("learning_rate = 1e-4\ntext_encoder_lr = 0", 1e-4, None, True, False),
        ("learning_rate = 1e-4\ntext_encoder_lr = [5e-5, 5e-5]", 1e-4, 5e-5, True, True),
        ("learning_rate = 1e-4\nnetwork_train_unet_only = true", 1e-4, None, True, False),
        ("learning_rate = 1e-4\nnetwork_train_text_encoder_only = true", None, 1e-4, False, True),
    ],
)
def test_rates_of_the_parts(imported, said, lr, text_lr, unet, text):
    r = imported(f'network_dim = 4\ntrain_data_dir = "img"\n{said}').recipe
    assert (r.optimizer.lr, r.optimizer.text_lr) == (lr, text_lr)
    assert (r.adapter.unet, r.adapter.text) == (unet, text)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('network_module = "networks.lora"', {"kind": "lora", "rank": 4, "alpha": 1, "targets": "attention+mlp"}),
        ('network_module = "networks.lora"\nnetwork_args = ["conv_dim=4"]', {"conv_rank": 4, "conv_alpha": 1}),
        ('network_module = "networks.lora_fa"', {"kind": "lora", "lora_fa": True}),
        ('network_module = "networks.dylora"\nnetwork_args = ["unit=2"]', {"kind": "dylora", "unit": 2}),
        ('network_module = "lycoris.kohya"', {"kind": "lora", "targets": "full"}),
        (
            'network_module = "lycoris.kohya"\nnetwork_alpha = 2\n'
            'network_args = ["algo=loha", "conv_dim=8", "use_tucker=True"]',
            {"kind": "loha", "conv_rank": 8, "conv_alpha": 2, "tucker": True},
        ),
        (
            'network_module = "lycoris.kohya"\n'
            'network_args = ["algo=lokr", "factor=8", "preset=attn-mlp", "dora_wd=True"]',
            {"kind": "lokr", "factor": 8, "targets": "attention+mlp", "dora": True, "wd_on_output": True},
        ),
        (
            'network_module = "lycoris.kohya"\nnetwork_args = ["dora_wd=True", "wd_on_output=False"]',
            {"dora": True, "wd_on_output": False},
        ),
        ('network_module = "lycoris.kohya"\nnetwork_args = ["wd_on_output=True"]', {"dora": False}),
        (
            'network_module = "lycoris.kohya"\nnetwork_args = ["conv_dim=0"]',
            {"targets": "attention+mlp", "conv_rank": 0},
        ),
        ('network_module = "lycoris.kohya"\nnetwork_args = ["algo=ia3"]', {"kind": "ia3"}),
        (
            'network_module = "lycoris.kohya"\nnetwork_args = ["algo=boft", "rescaled=True"]',
            {"kind": "boft", "rescaled": True},
        ),
        ('network_module = "lycoris.kohya"\nnetwork_args = ["algo=full"]', {"kind": "diff"}),
        ('network_module = "lycoris.kohya"\nnetwork_args = ["preset=unet-transformer-only"]', {"text": False}),
        ('network_dim = 4\nnetwork_args = ["loraplus_lr_ratio=16"]', {"lora_plus_ratio": 16}),
    ],
)
def test_networks(imported, said, expected):
    made = imported(f'train_data_dir = "img"\n{said}')
    adapter = made.recipe.adapter
    assert {k: getattr(adapter, k) for k in expected} == expected
    assert not made.lost


def blocks_of(imported, *args, module="networks.lora", **said):
    lines = [f"{k} = {v}" for k, v in said.items()]
    words = ", ".join(f'"{a}"' for a in args)
    head = f'train_data_dir = "img"\nnetwork_module = "{module}"\nnetwork_dim = 4'
    return imported("\n".join([head, *lines, f"network_args = [{words}]"]))


def test_blocks(imported):
    args = ("block_dims=2,4,8", "down_lr_weight=cosine+.25", "mid_lr_weight=0.5", "block_lr_zero_threshold=0.1")
    blocks = blocks_of(imported, *args).recipe.adapter.blocks
    assert (blocks.dims, blocks.down_lr_weight, blocks.mid_lr_weight) == ((2, 4, 8), "cosine+.25", (0.5,))
    assert blocks.lr_zero_threshold == 0.1


@pytest.mark.parametrize(
    ("args", "said", "expected"),
    [
        # In kohya alpha does not follow a block's rank; here it would.
        (("block_dims=2,4,8",), {"network_alpha": 3}, {"alphas": (3, 3, 3)}),
        (("block_dims=2,4,8", "block_alphas=1,0,2"), {}, {"alphas": (1, 4, 2)}),
        (("up_lr_weight=1,0.5", "block_alphas=1,0"), {}, {"dims": (), "alphas": (1, 4), "up_lr_weight": (1, 0.5)}),
        (("block_dims=2,4", "conv_block_dims=1,2"), {}, {"conv_dims": (1, 2), "conv_alphas": (1, 1)}),
        (("block_dims=2,4", "conv_block_dims=1,2", "conv_alpha=3"), {}, {"conv_alphas": (3, 3)}),
        (("block_dims=2,4", "conv_block_dims=1,2", "conv_block_alphas=3,0"), {}, {"conv_alphas": (3, 2)}),
    ],
)
def test_alphas_of_blocks_are_kohyas(imported, args, said, expected):
    made = blocks_of(imported, *args, **said)
    blocks = made.recipe.adapter.blocks
    assert {name: getattr(blocks, name) for name in expected} == expected
    assert made.recipe.adapter.targets == ("full" if blocks.conv_dims else "attention+mlp")
    assert not made.lost


@pytest.mark.parametrize(
    ("module", "args"),
    [("networks.lora", ("block_alphas=1,2", "conv_block_dims=3,4")), ("lycoris.kohya", ("block_dims=2,4",))],
)
def test_blocks_that_kohya_passes_over_are_named(imported, statuses, module, args):
    made = blocks_of(imported, *args, module=module)
    assert made.recipe.adapter.blocks == type(made.recipe.adapter.blocks)()
    assert {statuses(made)[f"network_args {a.partition('=')[0]}"] for a in args} == {"no effect"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('network_module = "lycoris.kohya"\nnetwork_args = ["algo=diag-oft"]', {"block_size": 16, "constraint": 0}),
        (
            'network_module = "lycoris.kohya"\nnetwork_args = ["algo=boft", "constraint=0.01"]',
            {"block_size": 16, "constraint": 0.01},
        ),
        (
            'network_module = "networks.oft"\nnetwork_alpha = 0.001',
            {"block_count": 16, "constraint": 0.001, "targets": "attention", "text": False},
        ),
        ('network_module = "networks.oft"\nnetwork_args = ["enable_all_linear=True"]', {"targets": "attention+mlp"}),
        ('network_module = "networks.oft"\nnetwork_args = ["enable_conv=True"]', {"targets": "full"}),
    ],
)
def test_dims_of_rotations(imported, statuses, said, expected):
    made = imported(f'train_data_dir = "img"\nnetwork_dim = 16\n{said}')
    adapter = made.recipe.adapter
    assert {k: getattr(adapter, k) for k in expected} == expected
    assert not made.lost
    assert statuses(made)["network_dim"] == "set"


def test_a_preset_that_is_not_known_is_lost(imported, lost):
    said = 'network_module = "lycoris.kohya"\nnetwork_args = ["preset=my.toml"]'
    assert "presets are full, full-lin" in lost(imported(f'train_data_dir = "img"\n{said}'))["network_args preset"]
    adapter = imported('train_data_dir = "img"\n' + said.replace("my.toml", "full-lin")).recipe.adapter
    assert (adapter.targets, adapter.exclude) == ("full", ("*.conv1", "*.conv2", "*samplers*"))


def test_what_an_algorithm_does_not_know_is_named(imported, statuses, lost):
    said = 'network_module = "lycoris.kohya"\nnetwork_dim = 8\nnetwork_args = ["algo=ia3", "factor=4", "wibble=1"]'
    made = imported(f'train_data_dir = "img"\n{said}')
    assert statuses(made)["network_dim"] == "no effect"
    assert statuses(made)["network_args factor"] == "no effect"
    assert list(lost(made)) == ["network_args wibble"]


@pytest.mark.parametrize(
    ("said", "name", "args"),
    [
        ("", "adamw", {}),
        ('optimizer_type = "AdamW8bit"', "adamw8bit", {}),
        ("use_8bit_adam = true", "adamw8bit", {}),
        ('optimizer_type = "PagedAdamW8bit"\noptimizer_args = ["eps=1e-6"]', "pagedadamw8bit", {"eps": 1e-6}),
        ('optimizer_type = "Prodigy"\noptimizer_args = "d_coef=2 decouple=True"', "prodigy",
         {"d_coef": 2, "decouple": True, "weight_decay": 0.0, "use_bias_correction": False, "safeguard_warmup": False}),
        ('optimizer_type = "DAdaptation"\noptimizer_args = ["decouple=True", "weight_decay=0.02"]', "dadaptadam",
         {"weight_decouple": True, "weight_decay": 0.02}),
        ('optimizer_type = "bitsandbytes.optim.AdEMAMix8bit"', "ademamix8bit", {}),
        ('optimizer_type = "Adafactor"\noptimizer_args = ["relative_step=False", "scale_parameter=False"]', "adafactor",
         {"relative_step": False, "scale_parameter": False}),
        ('optimizer_type = "AdaFactor"', "adafactor", {"relative_step": True, "scale_parameter": True}),
    ],
)  # fmt: skip
def test_optimizers_take_their_own_librarys_defaults(imported, said, name, args):
    optimizer = imported(f'network_dim = 4\ntrain_data_dir = "img"\n{said}').recipe.optimizer
    assert (optimizer.name, optimizer.args) == (name, args)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", {"kind": "constant", "warmup": 0}),
        ('lr_scheduler = "constant_with_warmup"\nlr_warmup_steps = 100', {"kind": "constant", "warmup": 100}),
        ('lr_scheduler = "constant"\nlr_warmup_steps = 100', {"kind": "constant", "warmup": 0}),  # kohya: ValueError
        ('lr_scheduler = "polynomial"\nlr_scheduler_power = 2', {"kind": "polynomial", "power": 2}),
        ('lr_scheduler = "cosine_with_min_lr"\nlr_scheduler_min_lr_ratio = 0.1', {"kind": "cosine", "floor": 0.1}),
        ('lr_scheduler = "inverse_sqrt"\nlr_scheduler_timescale = 50', {"kind": "inverse_sqrt", "timescale": 50}),
        ('lr_scheduler = "warmup_stable_decay"\nlr_decay_steps = 0.1',
         {"kind": "warmup_stable_decay", "cooldown": 0.1}),
        ('lr_scheduler = "piecewise_constant"\nlr_scheduler_args = ["step_rules=\'1:10,0.1:20,0.01\'"]',
         {"kind": "piecewise", "pieces": ((10, 1), (20, 0.1), (21, 0.01))}),
        ('lr_scheduler_type = "LoraEasyCustomOptimizer.CustomOptimizers.CosineAnnealingWarmupRestarts"\n'
         'lr_scheduler_num_cycles = 4\nlr_scheduler_args = ["min_lr=1e-6", "gamma=0.8"]\nlearning_rate = 1e-4',
         {"kind": "annealed_cosine_with_restarts", "cycles": 4, "decay": 0.8, "floor": 0.01}),
        ('lr_scheduler_type = "CosineAnnealingLR"\nlr_scheduler_args = ["T_max=30", "eta_min=1e-6"]\n'
         'learning_rate = 1e-4\nmax_train_steps = 600',
         {"kind": "cosine", "half_period": 30, "floor": 0.01}),
        ('lr_scheduler_type = "CosineAnnealingWarmRestarts"\nlr_scheduler_args = ["T_0=20", "T_mult=2"]',
         {"kind": "cosine_with_restarts", "cycle_steps": 20, "cycle_growth": 2, "floor": 0}),
        ('lr_scheduler_type = "LoraEasyCustomOptimizer.RexAnnealingWarmRestarts.RexAnnealingWarmRestarts"\n'
         'lr_scheduler_args = ["gamma=0.9", "first_cycle_max_steps=100", "warmup_steps=10"]\nlearning_rate = 1e-3',
         {"kind": "annealed_rex_with_restarts", "rex_d": 0.9, "decay": 0.9, "cycle_steps": 100, "warmup": 10,
          "warmup_from_zero": True, "floor": 0.001}),
        ('lr_scheduler_type = "LoraEasyCustomOptimizer.CosineAnnealingWarmRestarts.CosineAnnealingWarmRestarts"\n'
         'lr_scheduler_args = ["gamma=0.9"]\nlr_scheduler_num_cycles = 3\nmax_train_steps = 100\n'
         'lr_warmup_steps = 0.2\nlearning_rate = 1e-3',
         {"kind": "annealed_cosine_with_restarts", "cycle_steps": 33, "warmup": 6, "floor": 0.001}),
        ('lr_scheduler = "cosine"\nlr_warmup_steps = 0.1\nlr_scheduler_min_lr_ratio = 0.1',
         {"kind": "cosine", "warmup": 0.1, "warmup_from_zero": True, "floor": 0}),
        ('lr_scheduler = "polynomial"\nlearning_rate = 1e-4', {"kind": "polynomial", "floor": 0.001}),
        ('lr_scheduler = "cosine_with_min_lr"\nlr_scheduler_min_lr_ratio = 0.1\nlr_scheduler_num_cycles = 4',
         {"kind": "cosine", "half_period": 0.25, "floor": 0.1}),
        ('lr_scheduler = "cosine"\noptimizer_type = "AdamWScheduleFree"', {"kind": "constant", "warmup": 0}),
    ],
)  # fmt: skip
def test_schedules(imported, said, expected):
    made = imported(f'network_dim = 4\ntrain_data_dir = "img"\n{said}')
    assert {k: getattr(made.recipe.schedule, k) for k in expected} == expected
    assert not made.lost


def test_steps_and_files_are_told_apart_in_what_is_kept(imported):
    said = "save_every_n_steps = 200\nsave_last_n_steps = 600"
    save = imported(f'network_dim = 4\ntrain_data_dir = "img"\n{said}').recipe.save
    assert (save.every_steps, save.keep_last, save.every_epochs) == (200, 3, 0)
    ratio = imported(
        'network_dim = 4\ntrain_data_dir = "img"\nmax_train_epochs = 20\nsave_n_epoch_ratio = 5'
    ).recipe.save
    assert ratio.every_epochs == 4


def test_sample_prompts_of_a_file(imported, bench, lost):
    (bench / "prompts.txt").write_text(
        "# comment\nzwx person --n blurry --w 512 --d 7 --l 6 --s 20 --ss k_euler_a\n\nhat --g 3\n"
    )
    said = 'sample_prompts = "prompts.txt"\nsample_every_n_steps = 50\nsample_sampler = "dpmsolver++"'
    made = imported(f'network_dim = 4\ntrain_data_dir = "img"\n{said}')
    sample = made.recipe.sample
    assert sample.prompts == ("zwx person --n blurry --w 512 --d 7 --l 6 --s 20 --ss euler a", "hat")
    assert (sample.every_steps, sample.every_epochs, sample.at_start) == (50, 0, False)
    assert (sample.sampler, sample.steps, sample.guidance) == ("dpm++ 2m", 30, 7.5)
    assert "--g" in lost(made)["sample_prompts"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", '[{"prompt": "hat", "negative_prompt": "red", "seed": 3}]'),
        ("p.toml", '[prompt]\nseed = 3\n[[prompt.subset]]\nprompt = "hat"\nnegative_prompt = "red"\n'),
    ],
)
def test_sample_prompts_of_other_files(imported, bench, name, text):
    (bench / name).write_text(text)
    (line,) = imported(f'network_dim = 4\ntrain_data_dir = "img"\nsample_prompts = "{name}"').recipe.sample.prompts
    assert line.startswith("hat ")
    assert {"--n red", "--d 3"} <= {f"--{x.strip()}" for x in line.split("--")[1:]}


def test_whole_models(imported):
    made = imported("python train_db.py --train_data_dir img --learning_rate 2e-6 --max_train_steps 800", "go.sh")
    assert (made.recipe.adapter.kind, made.recipe.adapter.text) == ("full", True)
    xl = imported(
        "python sdxl_train.py --train_data_dir img --learning_rate 4e-7 --train_text_encoder --learning_rate_te1 1e-7",
        "go.sh",
    )
    assert (xl.recipe.adapter.text, xl.recipe.optimizer.lr, xl.recipe.optimizer.text_lr) == (True, 4e-7, 1e-7)
    assert not imported("python fine_tune.py --train_data_dir img", "go.sh").recipe.adapter.text


def test_the_fused_backward_pass_is_for_whole_weights_and_clips_nothing(imported, statuses, lost):
    said = "--train_data_dir img --fused_backward_pass --optimizer_type Adafactor --max_grad_norm"
    made = imported(f"python sdxl_train.py {said} 0", "go.sh")
    assert (made.recipe.train.fused_backward, made.recipe.train.max_grad_norm) == (True, 0.0)
    assert not lost(made)
    assert "clipped" in lost(imported(f"python sdxl_train.py {said} 1.0", "go.sh"))["max_grad_norm"]
    adapter = imported(f"python train_network.py --network_module networks.lora {said} 0.5", "go.sh")
    assert (adapter.recipe.train.fused_backward, adapter.recipe.train.max_grad_norm) == (False, 0.5)
    assert statuses(adapter)["fused_backward_pass"] == "no effect"


@pytest.mark.parametrize("script", ["flux_train_network.py", "sdxl_train_control_net_lllite.py"])
def test_scripts_of_other_models_are_refused(imported, script):
    with pytest.raises(UsageError, match=script):
        imported(f"accelerate launch {script} --train_data_dir img", "go.sh")


def test_augmentations_are_fresh_each_time(imported):
    said = 'color_aug = true\nrandom_crop = true\nface_crop_aug_range = "2.0,4.0"'
    data = imported(f'network_dim = 4\ntrain_data_dir = "img"\n{said}').recipe.data
    assert (data.augment.color, data.augment.random_crop, data.augment.face_crop) == (0.1, True, (2.0, 4.0))
    assert data.cache == "none"


def test_a_misspelt_key_is_lost_with_the_nearest_name(imported, lost):
    made = imported('train_data_dir = "img"\nnetwork_dmi = 64\nmin_snr_gama = 5\nwibble = 1\nlearning_rate = "fast"\n')
    assert lost(made)["network_dmi"] == "did you mean 'network_dim'?"
    assert lost(made)["min_snr_gama"] == "did you mean 'min_snr_gamma'?"
    assert "no such option" in lost(made)["wibble"]
    assert lost(made)["learning_rate"] == "expected a number"
    assert "network_dmi" in made.to_toml().split("version")[0]


def test_a_value_that_a_recipe_does_not_allow_is_lost_alone(imported, lost):
    made = imported('network_dim = 4\ntrain_data_dir = "img"\nnoise_offset = 1.5\nclip_skip = 20\nseed = 3\n')
    assert made.recipe.noise.offset == 0
    assert set(lost(made)) == {"noise_offset", "clip_skip"}
    assert made.recipe.seed == 3
    assert "noise.offset" not in made.origins


def test_folders_that_are_elsewhere_are_kept_and_named(imported):
    made = imported('network_dim = 4\ntrain_data_dir = "/content/drive/img"\nreg_data_dir = "/content/drive/reg"\n')
    assert made.recipe.concepts[0].folder == Path("/content/drive/img")
    said = {n.key: n.why for n in made.notes}
    assert "add a concept for each" in said["train_data_dir"]
    assert "not found on this machine" in said["reg_data_dir"]


def test_settings_without_images_ask_for_them(imported, bench, beside):
    with pytest.raises(UsageError, match="no image folder"):
        imported('network_dim = 4\nnetwork_module = "networks.lora"\n')
    made = imported("network_dim = 4\n", images=bench / "img", subject="zwx person", kind="style")
    assert (beside(made.recipe.concepts[0].folder), made.recipe.kind) == ("img", "style")
    assert made.origins["concepts.0.folder"] == "--images"


@pytest.mark.parametrize(
    ("reg", "epochs", "batch", "accumulation", "steps"), [(False, 4, 2, 1, 20), (True, 4, 2, 2, 20)]
)
def test_the_plan_makes_as_many_steps_as_kohya_would(examples, tmp_path, reg, epochs, batch, accumulation, steps):
    """One bucket: 5 images x 2 repeats, as many class images, in batches of 2."""
    for name, count in (("img/2_zwx person", 5), ("reg/1_person", 5)):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for path in sorted((examples / "mira").glob("*.png"))[:count]:
            (folder / path.name).write_bytes(path.read_bytes())
    said = f"--max_train_epochs {epochs} --train_batch_size {batch} --gradient_accumulation_steps {accumulation}"
    more = "--reg_data_dir reg" if reg else ""
    (tmp_path / "go.sh").write_text(
        f"python train_network.py --network_dim 4 --train_data_dir img --resolution 128 {said} {more}"
    )
    recipe = import_settings(tmp_path / "go.sh").recipe
    plan = make_plan(recipe.model_copy(update={"model": replace_base(recipe)}))
    assert plan.steps == steps


def replace_base(recipe):
    return recipe.model.model_copy(update={"base": "crumb"})


@pytest.fixture
def examples():
    from importlib import resources

    return Path(str(resources.files("bakehouse"))) / "assets" / "examples"


def test_notes_read_well(imported):
    made = imported('network_dim = 4\ntrain_data_dir = "img"\nlowram = true\n')
    (note,) = [n for n in made.notes if n.key == "lowram"]
    assert str(note) == "lowram: no effect here: model files are memory-mapped"
    assert str(replace(note, value=3)).startswith("lowram = 3: ")


def test_a_class_without_what_it_needs_is_named(imported, lost):
    made = imported('network_dim = 4\ntrain_data_dir = "img"\nlr_scheduler_type = "CosineAnnealingLR"')
    assert "needs T_max" in lost(made)["lr_scheduler_type"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("debiased_estimation_loss = true", ("debiased", "kohya")),
        ("scale_v_pred_loss_like_noise_pred = true\nv_parameterization = true", ("epsilon", "kohya")),
        ("min_snr_gamma = 5", ("min_snr", "published")),
        ("min_snr_gamma = 5\nzero_terminal_snr = true\nv_parameterization = true", ("min_snr", "kohya")),
    ],
)
def test_weightings_have_kohyas_form_where_it_is_another(imported, said, expected):
    weighting = imported(f'network_dim = 4\ntrain_data_dir = "img"\n{said}').recipe.loss.weighting
    assert (weighting.kind, weighting.form) == expected


def test_masked_losses_are_averaged_as_there(imported):
    for said in ("masked_loss = true", "alpha_mask = true"):
        made = imported(f'network_dim = 4\ntrain_data_dir = "img"\n{said}')
        assert made.recipe.loss.mask_average == "image"


def test_weightings_that_are_asked_for_together_multiply(imported):
    said = "min_snr_gamma = 5\ndebiased_estimation_loss = true"
    made = imported(f'network_dim = 4\ntrain_data_dir = "img"\n{said}')
    weighting = made.recipe.loss.weighting
    assert (weighting.kind, weighting.also, weighting.form, made.lost) == ("min_snr", ("debiased",), "kohya", ())


def test_a_key_is_said_to_become_what_it_has_decided(imported):
    said = """
        network_dim = 4
        lr_scheduler_type = "CosineAnnealingLR"
        lr_scheduler_args = ["T_max=10"]
        learning_rate = 1e-4
        unet_lr = 3e-4
        text_encoder_lr = 5e-5
        train_data_dir = "img"
    """
    notes = {n.key: n for n in imported(said).notes}
    assert notes["lr_scheduler_args"].sets == ("schedule.half_period",)
    assert notes["unet_lr"].sets == ("optimizer.lr",)
    assert (notes["learning_rate"].status, notes["learning_rate"].sets) == ("no effect", ())
    assert notes["train_data_dir"].sets == ("concepts",)
