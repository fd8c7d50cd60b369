"""What kohya's scripts do with what they are given, where it is not what one would think; and what is none of ours."""

from __future__ import annotations

import pytest

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.shipped_tables import shipped_table

HEAD = 'train_data_dir = "img"\nnetwork_dim = 4\n'


@pytest.mark.parametrize(
    ("said", "lr", "text_lr", "text"),
    [
        # train_network.py: of several rates the first, for SDXL too.
        ("text_encoder_lr = [0, 1e-5]", 1e-4, None, False),
        ("text_encoder_lr = [1e-5, 0]", 1e-4, 1e-5, True),
        ("text_encoder_lr = [1e-5, 2e-5]", 1e-4, 1e-5, True),
        ("text_encoder_lr = []", 1e-4, 1e-4, True),
        # A network's script passes over the rates of the full trainers.
        ("learning_rate_te = 0\nunet_lr = 2e-4", 2e-4, 1e-4, True),
    ],
)
def test_rates_of_a_network(imported, said, lr, text_lr, text):
    made = imported(f"{HEAD}learning_rate = 1e-4\n{said}")
    r = made.recipe
    assert (r.optimizer.lr, r.optimizer.text_lr, r.adapter.text) == (lr, text_lr, text)
    assert not made.lost


@pytest.mark.parametrize(
    ("command", "text_lr", "text", "lost"),
    [
        ("train_db.py", 1e-5, True, ()),
        ("train_db.py --learning_rate_te 2e-6", 2e-6, True, ()),
        ("train_db.py --learning_rate_te 0", None, False, ()),
        ("train_db.py --stop_text_encoder_training 0", None, False, ()),
        ("train_db.py --stop_text_encoder_training 300", 1e-5, True, ("stop_text_encoder_training",)),
        ("fine_tune.py --learning_rate_te 2e-6", None, False, ()),
        ("fine_tune.py --train_text_encoder --learning_rate_te 2e-6", 2e-6, True, ()),
        ("sdxl_train.py --train_text_encoder --learning_rate_te1 2e-6 --learning_rate_te2 2e-6", 2e-6, True, ()),
        ("sdxl_train.py --train_text_encoder --learning_rate_te1 0", 1e-5, True, ("learning_rate_te1",)),
        ("sdxl_train.py --train_text_encoder --learning_rate_te1 0 --learning_rate_te2 0", None, False, ()),
    ],
)
def test_rates_of_the_full_trainers(imported, lost, command, text_lr, text, request):
    made = imported(f"python {command} --train_data_dir img --learning_rate 1e-5 --max_train_steps 9", "go.sh")
    r = made.recipe
    assert (r.adapter.kind, r.adapter.text, r.optimizer.lr, r.optimizer.text_lr) == ("full", text, 1e-5, text_lr)
    assert tuple(n.key.removeprefix("--") for n in made.lost) == request.node.callspec.params["lost"]


def test_options_that_a_script_does_not_have_do_nothing(imported, statuses):
    made = imported(
        "python fine_tune.py --train_data_dir img --masked_loss --unet_lr 1e-4 --learning_rate 1e-5", "go.sh"
    )
    assert (statuses(made)["masked_loss"], statuses(made)["unet_lr"]) == ("no effect", "no effect")
    assert (made.recipe.loss.masked, made.recipe.optimizer.lr) == (False, 1e-5)


@pytest.mark.parametrize(
    ("said", "masked", "average"),
    [("", False, "mask"), ("masked_loss = true", True, "image"), ("alpha_mask = true", True, "image")],
)
def test_masks_count_where_they_are_asked_for(imported, said, masked, average):
    loss = imported(HEAD + said).recipe.loss
    assert (loss.masked, loss.mask_average) == (masked, average)


@pytest.mark.parametrize(
    ("args", "ratio", "lost"),
    [
        ("loraplus_lr_ratio=16", 16, False),
        ("loraplus_unet_lr_ratio=8", 8, True),
        ("loraplus_lr_ratio=16 loraplus_text_encoder_lr_ratio=4", 16, True),
        ("loraplus_unet_lr_ratio=4 loraplus_text_encoder_lr_ratio=4", 4, False),
    ],
)
def test_ratios_of_lora_plus(imported, args, ratio, lost):
    made = imported(f'{HEAD}network_args = "{args}"')
    assert made.recipe.adapter.lora_plus_ratio == ratio
    assert bool(made.lost) is lost


def test_a_network_that_is_not_known_is_refused(imported):
    with pytest.raises(UsageError, match=r"my\.module"):
        imported(HEAD + 'network_module = "my.module"')
    with pytest.raises(UsageError, match="algo=tlora"):
        imported(HEAD + 'network_module = "lycoris.kohya"\nnetwork_args = ["algo=tlora"]')


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("c.toml", 'network_module = "networks.lora_flux"', "Flux"),
        ("c.toml", 'network_module = "networks.lora_anima"', "Anima"),
        ("c.toml", 'qwen3 = "q.safetensors"', "Anima"),
        ("c.toml", 'clip_g = "g.safetensors"', "Stable Diffusion 3"),
        ("c.toml", 'gemma2 = "g.safetensors"', "Lumina"),
        ("c.toml", "cond_emb_dim = 32", "LLLite"),
        ("c.toml", "train_inpainting = true", "inpainting"),
        ("go.sh", "python flux_train_network.py --train_data_dir img", "Flux"),
    ],
)
def test_other_trainings_are_refused_by_name(imported, name, text, what):
    with pytest.raises(UsageError, match=what):
        imported((HEAD if name == "c.toml" else "") + text, name)


def test_options_of_other_models_do_nothing_and_at_their_defaults_are_worth_no_line(imported):
    """With the defaults of the peers' own parsers."""
    defaults = {
        k: v[0] for k, v in shipped_table("kohya_other_trainings.toml")["defaults"].items() if v and k != "model_type"
    }
    lines = [f"{k} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for k, v in defaults.items()]
    made = imported(HEAD + "\n".join([*lines, "guidance_scale = 1.0"]).replace("guidance_scale = 3.5\n", ""))
    assert len(defaults) >= 38
    assert not made.lost
    assert [n.key for n in made.notes if not n.off and n.status != "set"] == ["guidance_scale"]


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        ("min_bucket_reso = 320\nmax_bucket_reso = 1000", (320, 1024)),
        ("min_bucket_reso = 500\nmax_bucket_reso = 1100", (448, 1152)),
        ("min_bucket_reso = 500\nmax_bucket_reso = 1100\nbucket_reso_steps = 32", (480, 1120)),
    ],
)
def test_limits_of_buckets_become_multiples_as_in_kohya(imported, said, limits):
    buckets = imported(f"{HEAD}resolution = 512\nenable_bucket = true\n{said}").recipe.buckets
    assert (buckets.shortest, buckets.longest) == limits


def test_an_oblong_without_buckets_is_no_square(imported, lost):
    assert "all images are square" in lost(imported(HEAD + 'resolution = "512,768"'))["resolution"]
    assert not imported(HEAD + 'resolution = "512,768"\nenable_bucket = true').lost


def test_captions_of_another_extension_are_named(imported, lost):
    assert (
        "caption files must end with .txt" in lost(imported(HEAD + 'caption_extension = ".txt2"'))["caption_extension"]
    )


def test_repeats_of_all_subsets(bench, imported, statuses):
    (bench / "data.toml").write_text(
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img/3_hzn hat"\n'
        '[[datasets.subsets]]\nimage_dir = "img/10_zwx person"\nnum_repeats = 2\n'
    )
    command = "python train_network.py --network_dim 4 --dataset_repeats 7"
    made = imported(f"{command} --dataset_config data.toml", "go.sh")
    assert [c.repeats for c in made.recipe.concepts] == [7, 2]
    assert statuses(imported(f"{command} --train_data_dir img", "go.sh"))["dataset_repeats"] == "no effect"


def test_a_folder_for_validation_alone_is_not_trained_on(imported, beside):
    made = imported(
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img/10_zwx person"\n'
        '[[datasets]]\nvalidation_split = 1.0\n[[datasets.subsets]]\nimage_dir = "img/3_hzn hat"\n'
    )
    assert [c.folder.name for c in made.recipe.concepts] == ["10_zwx person"]
    assert beside(made.recipe.evaluate.holdout) == "img/3_hzn hat"
    assert not made.lost


def test_a_file_of_another_program_is_refused_not_half_read(imported):
    folders = "\n".join(f'dir_{i} = "x"' for i in range(9))
    with pytest.raises(UsageError, match="unrecognised format"):
        imported(f'[folders]\ntrain_data_dir = "img"\noutput_dir = "out"\n{folders}')


def test_keys_that_the_gui_writes_for_kohya_and_kohya_passes_over(imported):
    made = imported(HEAD + 'epoch = 10\nnoise_offset_type = "Original"\nmax_train_steps = 500')
    assert (made.recipe.train.steps, made.recipe.train.epochs) == (500, None)
    assert not made.lost


@pytest.mark.parametrize("value", ["1e999", "nan", "[1, 2]", "[]", '{"a" = 1}', "10" * 30, '"x"', "true"])
def test_odd_values_of_a_number_are_named(imported, value):
    for key in ("seed", "network_dim", "learning_rate", "max_train_steps"):
        quoted = value if value[0] in '["{t' or value.isdigit() else f'"{value}"'
        made = imported(f"{HEAD.replace('network_dim = 4', 'network_alpha = 1')}{key} = {quoted}\n")
        assert made.notes
