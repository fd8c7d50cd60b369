"""kohya_ss hands on to kohya what its own code hands on, and the importer takes that.

`kohya_gui_cases.json` holds settings and what the GUI's `train_model` (kohya_ss 45088f0) made of each in a folder such
as the bench: the script, the config file without kohya's own defaults, the arguments behind it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from bakehouse.cli.main import main
from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers import import_settings
from bakehouse.recipe.importers.kohya_gui_options import TYPES

CASES = json.loads(Path(__file__).with_name("kohya_gui_cases.json").read_text("utf-8"))
BASE = "runwayml/stable-diffusion-v1-5"


@pytest.fixture
def read(imported):
    """Imports settings of the GUI."""
    return lambda **data: imported(json.dumps(data), "gui.json")


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{c['script']}" for i, c in enumerate(CASES)])
def test_a_file_of_the_gui_trains_what_the_gui_would_have_trained(bench, imported, case):
    config = dict(case["config"])
    if case["prompts"]:
        (bench / "prompts.txt").write_text(case["prompts"], "utf-8")
        config["sample_prompts"] = "prompts.txt"
    lines = [f"{key} = {json.dumps(value)}" for key, value in config.items()]
    (bench / "config.toml").write_text("\n".join(lines), "utf-8")
    command = f"accelerate launch {case['script']} --config_file config.toml {' '.join(case['arguments'])}"
    theirs = imported(command, "train.sh").recipe
    ours = imported(json.dumps(case["settings"]), "gui.json").recipe
    assert ours.model_dump(exclude={"name"}) == theirs.model_dump(exclude={"name"})


def test_the_cases_are_of_every_type_and_script():
    """The numbers would say little if they were all of one kind."""
    assert {c["settings"]["LoRA_type"] for c in CASES if "LoRA_type" in c["settings"]} >= set(TYPES)
    assert {c["script"] for c in CASES} == {
        *("train_network.py", "sdxl_train_network.py", "train_db.py", "fine_tune.py", "sdxl_train.py")
    }


def test_a_text_encoder_that_never_stops_learns(read):
    """0 is no step to stop at: the GUI does not pass it to kohya."""
    r = read(
        train_data_dir="img",
        max_resolution="512,512",
        learning_rate=1e-5,
        learning_rate_te=5e-6,
        stop_text_encoder_training=0,
    ).recipe
    assert (r.adapter.kind, r.adapter.text, r.optimizer.text_lr) == ("full", True, 5e-6)
    for stop in (0, -1):  # kohya itself stops at step 0
        command = f"python train_db.py --train_data_dir img --stop_text_encoder_training={stop}"
        Path("stop.sh").write_text(command)
        assert not import_settings("stop.sh").recipe.adapter.text


def test_the_finetuning_tab(read, statuses):
    made = read(
        max_resolution="512,512", image_folder="img/3_hzn hat", train_dir="t", train_text_encoder=False, epoch=2,
        train_batch_size=2, batch_size="8", dataset_repeats="10", use_latent_files="No",
    )  # fmt: skip
    r = made.recipe
    assert (r.adapter.kind, r.adapter.text, r.train.batch, r.train.steps) == ("full", False, 2, 10)
    assert [(c.folder.name, c.repeats) for c in r.concepts] == [("3_hzn hat", 10)]
    assert (statuses(made)["batch_size"], statuses(made)["dataset_repeats"]) == ("no effect", "set")
    assert not made.lost


def test_empty_cycles_are_the_epochs(read):
    r = read(
        LoRA_type="Standard",
        train_data_dir="img",
        epoch=10,
        lr_scheduler="cosine_with_restarts",
        lr_scheduler_num_cycles="",
    ).recipe
    assert (r.schedule.kind, r.schedule.cycles) == ("cosine_with_restarts", 10)


@pytest.mark.parametrize(
    ("said", "steps", "epochs"),
    [
        ({"epoch": 3}, 39, None),
        ({"epoch": 3, "train_batch_size": 4}, 10, None),  # 13 / 4 * 3, rounded up once
        ({"epoch": 3, "reg_data_dir": "reg"}, 78, None),
        ({"epoch": 3, "max_train_steps": "50"}, 50, None),
        ({"epoch": 3, "max_train_epochs": 7}, None, 7),
        ({"epoch": 3, "train_data_dir": "command line"}, None, 3),
        ({"epoch": 3, "dataset_config": "data.toml"}, 1600, None),
    ],
)
def test_epochs_become_steps_as_the_gui_counts_them(bench, read, said, steps, epochs):
    (bench / "data.toml").write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img/3_hzn hat"\n')
    train = read(**{"LoRA_type": "Standard", "train_data_dir": "img", "max_train_steps": 0, **said}).recipe.train
    assert (train.steps, train.epochs) == (steps, epochs)


def test_what_a_file_does_not_say_is_as_a_fresh_window_has_it(read):
    made = read(LoRA_type="Standard", train_data_dir="img")
    assert (made.recipe.schedule.warmup, made.recipe.train.precision, made.recipe.buckets.enabled) == (
        0.1,
        "fp16",
        True,
    )
    assert made.origins["train.precision"] == "kohya_ss's default of mixed_precision"
    assert not [n for n in made.notes if "default" in n.key]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({"LoRA_type": "Flux1"}, "Flux"),
        ({"LoRA_type": "Standard", "sd3_checkbox": True}, "Stable Diffusion 3"),
        ({"LoRA_type": "Anima", "anima_checkbox": True}, "Anima"),
        ({"LoRA_type": "Standard", "lumina_checkbox": True}, "Lumina"),
        ({"LoRA_type": "Standard", "hunyuan_image_checkbox": True}, "HunyuanImage"),
        ({"LoRA_type": "Standard", "train_inpainting": True}, "inpainting"),
        ({"LoRA_type": "LyCORIS/Abba"}, "LyCORIS/Abba"),
    ],
)
def test_other_trainings_are_refused_by_name(read, data, what):
    with pytest.raises(UsageError, match=what):
        read(train_data_dir="img", **data)


def test_keys_at_their_defaults_are_worth_no_line(bench, capsys):
    """A file as the GUI saves it holds some 280 keys, most of other models and as they always are."""
    from bakehouse.recipe.importers.kohya_gui_defaults import defaults_of

    data = {**defaults_of("lora"), "train_data_dir": "img", "LoRA_type": "Standard", "network_dim": 32, "seed": "7"}
    (bench / "gui.json").write_text(json.dumps({**data, "lumina_discrete_flow_shift": 3.0}))
    with pytest.raises(SystemExit):
        main(["import", "gui.json", "-o", "me.toml"])
    said = capsys.readouterr()
    assert "warning" not in said.err
    rows = [line.split()[0] for line in said.out.splitlines()[2:-2]]
    assert {"network_dim", "seed", "lumina_discrete_flow_shift"} <= set(rows)
    assert len(rows) < 45
    assert "keys at their default" in said.out


def test_additional_parameters_win(read, lost):
    made = read(
        LoRA_type="Standard",
        train_data_dir="img",
        seed=3,
        additional_parameters='--seed 5 --max_train_steps=9 "--wibble"',
    )
    assert (made.recipe.seed, made.recipe.train.steps) == (5, 9)
    assert list(lost(made)) == ["additional_parameters --wibble"]


def test_a_long_prompt_is_no_path(read):
    prompt = "zwx person, " * 60
    sample = read(
        LoRA_type="Standard", sample_prompts=prompt, sample_every_n_epochs=1, train_data_dir="img"
    ).recipe.sample
    assert sample.prompts == (prompt.strip(),)


ODD = [-1, 1e999, 10**400, [], [None], {"a": 1}, "1,2", "\0", "é" * 300, "a=(1"]


@pytest.mark.parametrize("value", ODD, ids=lambda v: f"{type(v).__name__}-{str(v)[:6]!r}")
@pytest.mark.parametrize("tab", ["lora", "dreambooth", "finetune"])
def test_no_value_of_any_key_is_unforeseen(bench, tab, value):
    """Ten keys at a time; what cannot be meant is named or refused, never a crash."""
    from bakehouse.recipe.importers.kohya_gui_defaults import defaults_of

    fixed = {"LoRA_type": "LyCORIS/LoKr"} if tab == "lora" else {"max_resolution": "512,512", "image_folder": "img"}
    if tab == "dreambooth":
        del fixed["image_folder"]
    keys = [k for k in defaults_of(tab) if not k.endswith("_checkbox") and k not in fixed]
    for start in range(0, len(keys), 10):
        odd = dict.fromkeys(keys[start : start + 10], value)
        (bench / "gui.json").write_text(json.dumps({**fixed, **odd}))
        with contextlib.suppress(UsageError):
            import_settings(bench / "gui.json", images=bench / "img")
