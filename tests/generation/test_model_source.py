from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import write_json
from bakehouse.core.files_of_adapter import DIFFUSERS_FILE
from bakehouse.core.run_folder import Run
from bakehouse.generation.adapter_header import adapter_at, tensor_hash
from bakehouse.generation.model_source import ModelSource, replace_weights, resolve
from bakehouse.generation.run_weights import epoch_weights, run_weights
from bakehouse.models.crumb import crumb_folder


def test_the_base_models(tmp_path: Path) -> None:
    assert resolve("crumb").base == "crumb"
    assert resolve(crumb_folder()).base == str(crumb_folder())
    assert resolve("stable-diffusion-v1-5/stable-diffusion-v1-5").title == "stable-diffusion-v1-5"
    (tmp_path / "old.ckpt").touch()
    assert resolve(tmp_path / "old.ckpt").title == "old"
    whole = tmp_path / "model.safetensors"
    names = ("model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.transformer.x")
    save_file({name: torch.zeros(1) for name in names}, whole)
    assert resolve(whole).base == str(whole)
    assert adapter_at(whole) is None


def test_an_adapter_names_its_base(lora: Path) -> None:
    source = resolve(lora)
    assert (source.base, source.adapters, source.title, source.ref) == ("crumb", ((lora, 1.0),), "zwx", str(lora))


def test_a_base_given_goes_before_the_one_named(lora: Path) -> None:
    assert resolve(lora, base=crumb_folder()).base == str(crumb_folder())


def test_the_recipe_in_an_adapter_goes_before_kohyas_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    recipe = f'[model]\nbase = "{crumb_folder().as_posix()}"\nclip_skip = 2\n'
    metadata = {"ss_sd_model_name": "other.safetensors", "bakehouse.recipe": recipe}
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, path, metadata)
    source = resolve(path)
    assert (source.base, source.clip_skip) == (crumb_folder().as_posix(), 2)


def test_a_base_beside_its_adapter_is_found(tmp_path: Path) -> None:
    (tmp_path / "anime.ckpt").touch()
    path = tmp_path / "a.safetensors"
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, path, {"ss_sd_model_name": "anime.ckpt"})
    assert resolve(path).base == str(tmp_path / "anime.ckpt")


def test_a_folder_of_the_hub_is_its_adapter(tmp_path: Path, lora: Path) -> None:
    (tmp_path / DIFFUSERS_FILE).write_bytes(lora.read_bytes())
    source = resolve(tmp_path)
    assert (source.base, source.title, source.adapters[0][0].name) == ("crumb", tmp_path.name, DIFFUSERS_FILE)


def test_a_run_is_its_last_weights_until_one_is_picked(trained: Run, tmp_path: Path) -> None:
    source = resolve(trained.folder)
    assert source.adapters == ((trained.weights / "zwx.safetensors", 1.0),)
    assert (source.base, source.clip_skip, source.title, source.run) == ("crumb", 2, "zwx-run", trained)
    write_json(trained.report / "pick.json", {"weights": "weights/zwx-000002.safetensors", "weight": 0.8})
    try:
        assert resolve(trained.folder).adapters == ((trained.weights / "zwx-000002.safetensors", 0.8),)
        write_json(trained.report / "pick.json", {"weights": "", "weight": 1.0})
        assert resolve(trained.folder) == source, "none was good enough to be picked"
        write_json(trained.report / "pick.json", {"weights": "weights/gone.safetensors"})
        with pytest.raises(BakehouseError, match=r"gone\.safetensors, which is not in the run"):
            resolve(trained.folder)
    finally:
        (trained.report / "pick.json").unlink()


def test_weights_in_a_run_know_the_run(trained: Run) -> None:
    source = resolve(trained.weights / "zwx-000001.safetensors")
    assert (source.base, source.clip_skip, source.title, source.run) == ("crumb", 2, "zwx-000001", Run(trained.folder))


def test_a_full_fine_tune_is_a_base(tmp_path: Path) -> None:
    run = Run(tmp_path / "full")
    for name in ("cat", "cat-000001", "cat-000002"):
        write_json(run.weights / name / "model_index.json", {})
    run.recipe.write_text(
        '[model]\nbase = "crumb"\nclip_skip = 2\n[[concepts]]\nfolder = "p"\n[adapter]\nkind = "full"\n'
    )
    source = resolve(run.folder)
    assert (source.base, source.adapters, source.clip_skip) == (str(run.weights / "cat"), (), 2)
    assert [p.name for p in run_weights(run)] == ["cat-000001", "cat-000002", "cat"]
    assert list(epoch_weights(run)) == [1, 2, 3]


def test_epochs_are_what_the_run_noted(trained: Run) -> None:
    assert {n: p.stem for n, p in epoch_weights(trained).items()} == {1: "zwx-000001", 2: "zwx-000002", 3: "zwx"}


def test_swapping_keeps_base_and_weight(trained: Run, lora: Path) -> None:
    source = resolve(trained.folder)
    new = replace_weights(source, lora)
    assert (new.base, new.clip_skip, new.adapters) == ("crumb", 2, ((lora, 1.0),))
    assert replace_weights(source, "crumb").adapters == ()


def test_the_hash_does_not_change_with_the_metadata(tmp_path: Path) -> None:
    tensors = {"lora_unet_x.lora_up.weight": torch.ones(2, 2)}
    for name, metadata in (("a", {"x": "1"}), ("b", {"y": "22222222222222"})):
        save_file(tensors, tmp_path / name, metadata)
    assert tensor_hash(tmp_path / "a") == tensor_hash(tmp_path / "b")
    assert len(tensor_hash(tmp_path / "a")) == 12


def test_errors_say_what_it_is_and_what_is_allowed(tmp_path: Path, lora: Path, trained: Run) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "recipe.toml").touch()
    (tmp_path / "cut.safetensors").write_bytes(lora.read_bytes()[:100])
    strange = tmp_path / "strange.safetensors"
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, strange, {"ss_sd_model_name": "v1-5-pruned.ckpt"})
    nameless = tmp_path / "nameless.safetensors"
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, nameless)
    vae = tmp_path / "vae.safetensors"
    save_file({"first_stage_model.encoder.conv_in.weight": torch.zeros(2, 2)}, vae)
    run = Run(tmp_path / "new")
    run.folder.mkdir()
    run.recipe.write_text('[[concepts]]\nfolder = "p"\n')
    cases: list[tuple[object, dict[str, object], str]] = [
        ("crum", {}, r"'crum' does not exist; did you mean 'crumb'\?\n.*Hub id"),
        (tmp_path / "nots.txt", {}, r"does not exist; did you mean 'notes\.txt'"),
        (tmp_path / "empty", {}, r"without model_index\.json .*recipe\.toml"),
        (trained.weights, {}, r"pass the run itself"),
        (tmp_path / "notes.txt", {}, r"is a \.txt file, not a model"),
        (tmp_path / "recipe.toml", {}, r"is a recipe, not a model\n.*bakehouse train"),
        (strange, {}, r"name 'v1-5-pruned\.ckpt', which is not on this machine\n.*--base"),
        (nameless, {}, r"do not name it\n.*--base"),
        (vae, {}, r"holds no model, adapter or embedding; .*'vae'"),
        ("crumb", {"base": "crumb"}, r"whole model, so it takes no --base"),
        (lora, {"base": lora}, r"is an adapter, or the run of one"),
        (run.folder, {}, r"no weights yet"),
    ]
    for ref, options, message in cases:
        with pytest.raises(UsageError, match=message):
            resolve(ref, **options)  # type: ignore[arg-type]
    with pytest.raises(BakehouseError, match=r"cut\.safetensors"):
        resolve(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ({"ss_zero_terminal_snr": "True", "modelspec.prediction_type": "v"}, True),
        ({"ss_zero_terminal_snr": "False", "modelspec.prediction_type": "v"}, False),
        ({"ss_zero_terminal_snr": "True", "modelspec.prediction_type": "epsilon"}, False),
        ({}, False),
    ],
)
def test_an_adapters_header_says_whether_pictures_begin_at_pure_noise(
    tmp_path: Path, metadata: dict[str, str], wanted: bool
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, path, {"ss_sd_model_name": "crumb", **metadata})
    assert resolve(path, base="crumb").zero_terminal_snr is wanted


def test_what_is_said_of_the_base_goes_before_its_files() -> None:
    assert resolve("crumb").prediction is None
    assert resolve("crumb", prediction="v_prediction").prediction == "v_prediction"


def test_guidance_is_what_the_base_likes_or_the_one_it_was_made_from() -> None:
    assert ModelSource("crumb").guidance == 3.0
    assert ModelSource("some/fine-tuned", made_from="crumb").guidance == 3.0
    assert ModelSource("crumb", conventions="none").guidance == 7.0
    assert ModelSource("no-such-model").guidance == 7.0
    assert ModelSource("Laxhar/noobai-XL-Vpred-1.0").guidance == 4.5
