"""`bakehouse import` on files of other trainers: what cannot be a recipe is named, what can has their numbers."""

from __future__ import annotations

import json

import pytest

from bakehouse.cli.main import main
from bakehouse.recipe import Recipe


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Imports a text as a file of that name: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()

    def command(name: str, text: str, *words: str) -> tuple[int, str, str]:
        (tmp_path / name).write_text(text, "utf-8")
        with pytest.raises(SystemExit) as e:
            main(["import", name, *words])
        said = capsys.readouterr()
        return int(e.value.code or 0), said.out, said.err

    return command


UNSUPPORTED = {
    "slider.yaml": (
        "job: train\nconfig:\n  name: a\n  process:\n    - type: ultimate_slider_trainer\n      network: {linear: 8}\n",
        ("ai-toolkit's", "a slider, from pairs of prompts", "train this one with ai-toolkit"),
    ),
    "tuner.json": (
        '{"model_family": "sdxl", "model_type": "lora", "learning_rate": 1e-4}',
        ("SimpleTuner's, for SDXL", "bakehouse plan IMAGES", "learning rate"),
    ),
    "dashes.json": ('{"--model_family": "flux", "--lora_rank": 16}', ("the family 'flux'", "with SimpleTuner")),
    "backend.json": (
        '[{"id": "a", "type": "local", "instance_data_dir": "x", "cache_dir_vae": "y", "cache_dir": "z"}]',
        ("SimpleTuner's list of data sets",),
    ),
    "hub.json": ('[{"id": "a", "type": "huggingface", "caption_strategy": "instanceprompt"}]', ("list of data sets",)),
    "window.json": ('{"_metadata": {}, "config": {"--checkpoint_step_interval": 100}}', ("is SimpleTuner's",)),
    "lycoris.json": ('{"algo": "lokr", "multiplier": 1.0, "factor": 16}', ("LyCORIS network (algo = 'lokr')",)),
    "concepts.json": ('[{"instance_data_dir": "x"}]', ("list of concepts", "bakehouse plan concepts.json")),
    "recipe.toml": ('kind = "style"\n[[concepts]]\nfolder = "x"\n', ("recipe already", "bakehouse train recipe.toml")),
    "flux.sh": (
        "accelerate launch train_dreambooth_lora_flux.py --rank=4\n",
        ("which trains FLUX.1", "with diffusers"),
    ),
    "sd3.sh": ("accelerate launch train_dreambooth_sd3.py --seed=4\n", ("which trains Stable Diffusion 3",)),
    "sana.sh": ("accelerate launch train_dreambooth_lora_sana.py --rank=4\n", ("which trains Sana",)),
    "net.sh": (
        "accelerate launch train_controlnet_flux.py --seed=4\n",
        ("which trains a ControlNet for FLUX.1",),
    ),
    "ti.sh": ("python textual_inversion.py --seed=4\n", ("an embedding (textual inversion)",)),
    "jax.sh": ("python train_text_to_image_flax.py --seed=4\n", ("which trains with JAX",)),
    "inpaint.json": (
        '{"training_method": "LORA", "model_type": "STABLE_DIFFUSION_15_INPAINTING"}',
        ("an inpainting model", "train this one with OneTrainer"),
    ),
    "oft9.json": (
        '{"training_method": "LORA", "model_type": "STABLE_DIFFUSION_15", "peft_type": "OFT_9"}',
        ("peft_type = 'OFT_9' is not supported", "supported are LORA"),
    ),
    "vera.yaml": (
        "job: extension\nconfig:\n  name: a\n  process:\n    - type: sd_trainer\n"
        "      network: {type: vera, linear: 8}\n"
        "      model: {name_or_path: runwayml/stable-diffusion-v1-5}\n      datasets: [{folder_path: pictures}]\n",
        ("network.type = 'vera' is not supported", "supported are lora"),
    ),
    "anima.json": ('{"training_method": "LORA", "model_type": "ANIMA"}', ("trains Anima",)),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_file_that_no_recipe_can_be_made_of_is_named(run, tmp_path, name):
    text, words = UNSUPPORTED[name]
    code, out, err = run(name, text, "-o", "me.toml", "--images", "pictures")
    flat = " ".join(err.split())
    assert (code, out) == (2, "")
    assert not [w for w in words if w not in flat], flat
    assert "Traceback" not in err
    assert not (tmp_path / "me.toml").exists()


def imported(run, tmp_path, name, text):
    code, _, err = run(name, text, "-o", "me.toml", "--images", "pictures", "--subject", "zwx person")
    assert code == 0, err
    return Recipe.load(tmp_path / "me.toml"), " ".join(err.split())


def test_a_cosine_of_t_max_rises_again(run, tmp_path):
    text = (
        "accelerate launch train_network.py --network_module=networks.lora --lr_scheduler_type CosineAnnealingLR "
        '--lr_scheduler_args "T_max=30" --learning_rate=1e-4 --max_train_steps=600\n'
    )
    recipe, err = imported(run, tmp_path, "tmax.sh", text)
    schedule = recipe.schedule
    factors = [schedule.factor(step, 600) for step in (0, 15, 30, 45, 60)]
    assert factors == pytest.approx([1, 0.5, 0, 0.5, 1], abs=1e-12)
    assert not err


def test_the_subject_takes_the_place_of_a_prompts_words(run, tmp_path):
    text = 'accelerate launch train_dreambooth_lora.py --instance_prompt="a photo of sks dog" --instance_data_dir=x\n'
    recipe, _ = imported(run, tmp_path, "dog.sh", text)
    (concept,) = recipe.concepts
    assert (concept.subject, concept.trigger_word, concept.class_name) == ("zwx person", "zwx", "person")


def test_onetrainers_own_numbers_stand_in_the_recipe(run, tmp_path):
    recipe, err = imported(run, tmp_path, "one.json", json.dumps({"training_method": "LORA", "epochs": 20}))
    text = (tmp_path / "me.toml").read_text("utf-8")
    assert "OneTrainer's default of learning_rate_warmup_steps" in text
    assert (recipe.train.precision, recipe.save.dtype, recipe.schedule.warmup) == ("fp16", "fp32", 200)
    assert not err
