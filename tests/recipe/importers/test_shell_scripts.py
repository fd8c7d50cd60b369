"""Command lines in scripts and notebooks: read whole, with the script's own variables, or refused with the reason."""

from __future__ import annotations

import json

import pytest

from bakehouse.cli.main import main
from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.command_line import find_command

WANTED = {"network_module": "networks.lora", "network_dim": "16", "learning_rate": "1e-4"}


def options(text, suffix=".sh"):
    command = find_command(text, where="it", suffix=suffix)
    return dict(command.options) if command else None


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        # As documents print it: no sign that the command goes on.
        (".sh", "accelerate launch train_network.py \n --network_module=networks.lora \n\n --network_dim=16\n"
                "    --learning_rate=1e-4\n"),
        (".sh", "accelerate launch train_network.py \\\n  --network_module=networks.lora \\\n  # the rank\n"
                "  --network_dim=16 --learning_rate=1e-4 # low\n"),
        (".sh", "LR=1e-4; export X=1\nrank=16\nLR='1e-4'\npython train_network.py --network_module=networks.lora "
                "--network_dim=${rank} --learning_rate=${LR:-2} && echo $done"),
        (".sh", 'args=(--network_dim=16 "--learning_rate=1e-4")\nargs+=(--network_module networks.lora)\n'
                'accelerate launch $MORE train_network.py "${args[@]}"'),
        (".sh", 'ARGS="--network_dim=16 --learning_rate 1e-4"\nif [ 1 = 2 ]; then OTHER=3; fi\n'
                "python train_network.py $ARGS --network_module networks.lora; rm x"),
        (".ps1", '$ext_args = @("--network_dim=16","--learning_rate=1e-4")\n'
                 "python ./train_network.py $ext_args --network_module=networks.lora"),
        (".ps1", '$more = @(\n  "--network_dim=16" # rank\n  "--learning_rate=1e-4"\n)\n'
                 "& accelerate launch .\\sd\\train_network.py `\n  --network_module=networks.lora `\n  @more\n"),
        (".ps1", "$rank = 16\naccelerate launch D:\\k\\train_network.py `\n --network_dim=$rank `\n"
                 " --learning_rate=1e-4 --network_module=networks.lora\nif (1) {\n python x.py `\n --$y\n}"),
        (".bat", "set RANK=16\nset \"M=networks.lora\"\naccelerate launch train_network.py --network_dim=%RANK% ^\n"
                 " --network_module=%M% ^\n --learning_rate=1e-4\npause"),
    ],
)  # fmt: skip
def test_a_command_line_is_read_whole(suffix, text):
    assert options(text, suffix) == WANTED


@pytest.mark.parametrize(
    ("suffix", "text", "named"),
    [
        (".sh", "python train_network.py --network_dim=4 $EXTRA", r"\$EXTRA is not set"),
        (".sh", "python train_network.py --learning_rate=$(lr)", r"\$\(lr\)"),
        (".sh", "if [[ $a == 1 ]]; then ext+=(--v2); fi\npython train_network.py ${ext[@]}", "made by code"),
        (".sh", "r=4\nif [ $x ]; then\n  r=8\nfi\npython train_network.py --network_dim=$r", r"\$r is made by code"),
        (".sh", "for r in 4 8; do python train_network.py --network_dim=$r; done", r"\$r"),
        (".ps1", "$ext_args = [System.Collections.ArrayList]::new()\nif ($v2) { [void]$ext_args.Add(\"--v2\") }\n"
                 "accelerate launch train_network.py --network_dim=4 `\n $ext_args", r"\$ext_args is made by code"),
        (".ps1", "$s = if ($xl) { \"sdxl_train_network.py\" } else { \"train_network.py\" }\n"
                 "python -m accelerate.commands.launch \"./sd-scripts/$s\" --config_file=a.toml", r"\$s"),
        (".bat", "set /p RANK=rank?\npython train_network.py --network_dim=%RANK%", "%RANK%"),
        (".sh", 'python train_network.py --output_name="x --network_dim=4', "unclosed quote"),
        (".sh", "python train_network.py --seed=1\npython train_network.py --seed=2", "calls 2 trainings"),
    ],
)  # fmt: skip
def test_what_code_makes_is_refused(suffix, text, named):
    with pytest.raises(UsageError, match=named):
        options(text, suffix)


def notebook(*cells):
    code = [{"cell_type": "code", "source": [line + "\n" for line in cell.split("\n")]} for cell in cells]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "# !python train_network.py"}, *code]})


@pytest.mark.parametrize("name", ["cell.sh", "cell.txt"])
def test_a_cell_whose_arguments_code_makes_is_refused_under_any_name(imported, name):
    with pytest.raises(UsageError, match=r"train_args"):
        imported("!accelerate launch train_network.py {train_args}\n", name)


def test_a_notebook_with_the_command_written_out(imported):
    text = notebook(
        'rank = 16 #@param {type:"number"}\nname = "zwx"',
        "%cd sd-scripts\n!accelerate launch train_network.py --train_data_dir img \\\n  --network_dim={rank} "
        "--output_name=$name --learning_rate=1e-4",
    )
    r = imported(text, "kohya.ipynb").recipe
    assert (r.adapter.rank, r.name, r.optimizer.lr) == (16, "zwx", 1e-4)


def test_a_notebook_whose_arguments_are_made_by_code(imported):
    text = notebook("train_args = make(config)", "!accelerate launch {accelerate_args} {script} {train_args}")
    with pytest.raises(UsageError, match="train_args"):
        imported(text, "kohya.ipynb")
    with pytest.raises(UsageError, match="no call of a trainer"):
        imported(notebook("print(1)"), "kohya.ipynb")


def run(capsys, *words):
    with pytest.raises(SystemExit) as e:
        main([*words])
    said = capsys.readouterr()
    return e.value.code, said.out, said.err


def test_refusals_say_why_and_what_to_do(bench, capsys):
    (bench / "train.sh").write_text("python train_network.py --train_data_dir=img ${extArgs[@]}")
    code, out, err = run(capsys, "import", "train.sh", "-o", "me.toml")
    assert (code, out) == (2, "")
    assert "train.sh, line 1" in err
    assert "write the values into the command itself" in err
    assert not (bench / "me.toml").exists()
    (bench / "options.txt").write_text("--network_dim=8 --learning_rate=1e-4\n")
    assert "not the command they belong to" in run(capsys, "import", "options.txt")[2]
    (bench / "start.py").write_text("import subprocess\nsubprocess.run(args)\n")
    assert "no call of a trainer" in run(capsys, "import", "start.py")[2]


def test_several_values_for_one(bench, capsys):
    (bench / "k.sh").write_text('accelerate launch fine_tune.py --train_data_dir=img --in_json=a.json --seed="1" "2"')
    code, _, err = run(capsys, "import", "k.sh", "-o", "me.toml")
    assert code == 0
    assert "--seed = ['1', '2']: not recognised: expected a single value" in err


def test_sections_are_named_in_the_table(bench, capsys):
    (bench / "c.toml").write_text('[model_arguments]\nlowram = true\n[x]\ntrain_data_dir = "img"\nnetwork_dim = 8\n')
    _, out, _ = run(capsys, "import", "c.toml", "-o", "me.toml")
    assert "[model_arguments] lowram" in out
    assert "[x] network_dim" in out


CONCEPTS = [
    {
        "instance_prompt": "photo of zwx person",
        "class_prompt": "photo of a person",
        "instance_data_dir": "img/10_zwx person",
    },
    {"instance_prompt": "photo of hzn hat", "class_prompt": "photo of a hat", "instance_data_dir": "img/3_hzn hat"},
]


def test_a_list_of_concepts_is_planned_and_trained(bench, capsys):
    """The command that the import names works."""
    (bench / "concepts_list.json").write_text(json.dumps(CONCEPTS))
    code, _, err = run(capsys, "import", "concepts_list.json")
    assert code == 2
    assert "bakehouse plan concepts_list.json -o me.toml" in err
    code, out, _ = run(capsys, "plan", "concepts_list.json", "-o", "me.toml", "--json")
    assert code == 0
    concepts = json.loads(out)["recipe"]["concepts"]
    assert [(c["subject"], c["trigger"], c["class_word"]) for c in concepts] == [
        ("photo of zwx person", "zwx", "person"),
        ("photo of hzn hat", "hzn", "hat"),
    ]
    assert run(capsys, "train", "concepts_list.json", "--dry-run", "--quiet")[0] == 0
    (bench / "gui.json").write_text('{"LoRA_type": "Standard"}')
    assert "bakehouse import" in run(capsys, "plan", "gui.json")[2]


def test_folders_that_name_their_subjects_need_no_subject(bench, capsys):
    code, out, _ = run(capsys, "plan", "img", "--json")
    assert code == 0
    assert [c["subject"] for c in json.loads(out)["recipe"]["concepts"]] == ["zwx person", "hzn hat"]
    code, _, err = run(capsys, "plan", "reg/1_person/..", "--subject", "zwx person")
    assert code == 0, err
    assert '--subject "zwx person"' in run(capsys, "plan", "img/3_hzn hat")[2]
