"""A run becomes a folder: its card, its files, who can load them, and what is asked first."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from bakehouse.adapters.adapter_reader import read_adapter
from bakehouse.cli.main import main
from bakehouse.core.errors import UsageError
from bakehouse.core.events import result_of
from bakehouse.core.file_store import FolderStore, open_store
from bakehouse.core.files import read_json, write_json
from bakehouse.core.run_folder import Run
from bakehouse.generation.infotext import read
from bakehouse.publish import PublishSpec, open_destination, plan, publish
from bakehouse.publish.licence import licence_for, licences
from bakehouse.publish.markdown_text import code, plain
from bakehouse.recipe import recipe_for_slider, recipe_to_toml
from bakehouse.weights.adapter_info import adapter_info
from bakehouse.weights.file_hashes import hash_file
from tests.publish.conftest import LEARNED, NAME, NOTHING

NOBODY = {"person": "none"}


def to(run: Any, where: Any, **spec: Any) -> Any:
    chosen = PublishSpec.parse({**NOBODY, **spec})
    return result_of(publish(plan(run, chosen), open_destination(str(where), chosen)))


@pytest.fixture(scope="module")
def folder(learned_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "zwx"
    to(learned_run, out, author="Ann <b>", about="A | doll", title="Zwx & *co*")
    return out


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as f:
        return f.metadata()


def test_the_checkpoint_that_the_evaluation_picked_is_published(learned_run, folder):
    picked = learned_run.folder / read_json(learned_run.report / "pick.json")["weights"]
    assert picked.name != NAME
    published, own = load_file(folder / NAME), load_file(picked)
    assert published.keys() == own.keys() and all(torch.equal(published[k], own[k]) for k in own)
    other = to(learned_run, folder.parent / "last", weights=NAME)
    assert NAME in other.changed
    last = load_file(learned_run.weights / NAME)
    assert all(torch.equal(t, last[k]) for k, t in load_file(folder.parent / "last" / NAME).items())


def test_the_hub_reads_the_card(folder):
    from huggingface_hub import ModelCard

    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "creativeml-openrail-m"
    assert card.data.instance_prompt == "zwx person"
    assert {"lora", "template:diffusion-lora", "text-to-image"} <= set(card.data.tags)
    scores = {r.metric_type: r.metric_value for r in card.data.eval_results}
    assert scores["subject-fidelity"] > 50 and "prior-drift" in scores
    assert all((folder / w["output"]["url"]).is_file() and w["text"] for w in card.data.widget)
    assert len(card.data.widget) == 6
    assert "base_model" not in card.data.to_dict()  # a folder of this machine is nowhere on the Hub
    body = card.content
    assert r"# Zwx \& \*co\*" in body and r"Ann \<b\>" in body and r"A \| doll" in body
    links = re.findall(r'<img src="(.+?)"', body)
    assert len(links) == 12 and all((folder / link).is_file() for link in links)


def test_a_base_of_the_hub_is_named(learned_run, folder):
    from huggingface_hub import ModelCard

    out = folder.parent / "named"
    to(learned_run, out, base="me/tiny-base", images=1)
    data = ModelCard.load(out / "README.md").data
    assert (data.base_model, data.to_dict()["base_model_relation"]) == ("me/tiny-base", "adapter")


def test_nothing_of_this_machine_is_published(learned_run, folder, base_folder):
    for path in (p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        for secret in (learned_run.folder.parent, base_folder.parent, Path.home() / "x"):
            assert str(secret).encode() not in content, path


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' use of numpy
def test_diffusers_runs_the_code_of_the_card(learned_run, folder, base_folder):
    text = (folder / "README.md").read_text("utf-8")
    python = re.search(r"```python\n(.+?)```", text, re.DOTALL)[1]
    for old, new in (
        ("'tiny-base'", repr(str(base_folder))), ("'PATH/TO/THIS/FOLDER'", repr(str(folder))),
        ("float16", "float32"), ('"cuda"', '"cpu"'), (").images", ", num_inference_steps=1, output_type='np').images"),
    ):  # fmt: skip
        assert old in python
        python = python.replace(old, new)
    python = python.replace(
        "pipeline.set_adapters", "pipeline.set_progress_bar_config(disable=True)\npipeline.set_adapters"
    )
    found: dict[str, Any] = {}
    exec(compile(python, "card", "exec"), found)
    pipeline = found["pipeline"]
    trained = read_adapter(folder / NAME).modules
    layers = {n: m for n, m in pipeline.unet.named_modules() if hasattr(m, "lora_A")}
    assert len(layers) == sum(stem.startswith("lora_unet_") for stem in trained)
    name, layer = next(iter(layers.items()))
    ours = trained["lora_unet_" + name.replace(".", "_")]
    scale = float(ours["alpha"]) / len(ours["lora_down.weight"])
    theirs = layer.get_delta_weight("subject")
    assert torch.allclose(theirs, scale * ours["lora_up.weight"] @ ours["lora_down.weight"], atol=1e-5)
    encoder = [m for m in pipeline.text_encoder.modules() if hasattr(m, "lora_A")]
    assert len(encoder) == sum(stem.startswith("lora_te") for stem in trained) > 0


def test_webuis_load_the_file_and_show_what_stands_beside_it(folder):
    verdicts = {v.program: v for v in adapter_info(folder / NAME).loaders}
    assert verdicts["A1111"].loads and verdicts["ComfyUI"].loads
    sidecar = read_json(folder / "zwx-person.json")
    assert sidecar["activation text"] == "zwx person" and sidecar["preferred weight"] == 1
    assert sidecar["sd version"] == "SD1"
    assert (folder / "zwx-person.preview.png").read_bytes() == (folder / "images" / "01.png").read_bytes()
    meta = header(folder / NAME)
    assert meta["ss_output_name"] == "zwx-person"
    assert meta["modelspec.license"] == "CreativeML OpenRAIL-M" and meta["modelspec.author"] == "Ann <b>"
    kind, _, data = meta["modelspec.thumbnail"].partition(",")
    import base64

    assert kind == "data:image/jpeg;base64" and max(Image.open(io.BytesIO(base64.b64decode(data))).size) <= 256


def test_images_say_how_they_were_made(folder, learned_run):
    info = read(folder / "images" / "01.png")
    assert "<lora:zwx-person:1>" in info.prompt and info.get("Steps") == "2"
    fields = read_json(folder / "civitai.json")
    version = fields["modelVersions"][0]
    assert fields["type"] == "LORA" and version["baseModel"] == "SD 1.5" and version["trainedWords"] == ["zwx person"]
    hashes = hash_file(folder / NAME)
    assert version["files"][0]["hashes"]["AutoV3"] == hashes.autov3.upper()
    assert f"zwx-person: {hashes.autov3}" in info.get("Lora hashes")


def test_a_whole_model_is_a_folder_for_diffusers_and_one_file(make_run, base_folder, tmp_path):
    from diffusers import UNet2DConditionModel

    run = make_run(tmp_path, evaluated=False, kind="dreambooth")
    shutil.rmtree(run.weights)
    shutil.copytree(base_folder, run.weights / "zwx-person")
    out = tmp_path / "out"
    to(run, out)
    assert (out / "model_index.json").is_file() and (out / "unet" / "config.json").is_file()
    unet = UNet2DConditionModel.from_pretrained(out, subfolder="unet").state_dict()
    single = load_file(out / NAME)
    starts = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model.")
    assert {s for key in single for s in starts if key.startswith(s)} == set(starts)
    assert all(key.startswith((*starts, "alphas_cumprod", "betas")) for key in single)
    theirs = single["model.diffusion_model.input_blocks.0.0.weight"]
    assert torch.allclose(theirs.float(), unet["conv_in.weight"], atol=1e-3)
    meta = header(out / NAME)
    assert meta["modelspec.architecture"] == "stable-diffusion-v1" and meta["modelspec.prediction_type"] == "epsilon"
    card = (out / "README.md").read_text("utf-8")
    assert "- dreambooth" in card and card.startswith("---\nlicense: creativeml-openrail-m")
    assert read_json(out / "civitai.json")["type"] == "Checkpoint"


def test_a_slider_says_its_range(base_folder, write_adapter, tmp_path):
    run = Run(tmp_path / "run")
    run.report.mkdir(parents=True)
    settings = {"sample.prompts": ["person --w 64 --h 64"], "buckets.resolution": 64}
    recipe = recipe_for_slider("person", "person, smile", "person, frown", base=str(base_folder), settings=settings)
    run.recipe.write_text(recipe_to_toml(recipe), "utf-8")
    with pytest.raises(UsageError, match="no weights yet"):
        to(run, tmp_path / "out")
    write_adapter(run.weights / f"{recipe.title}.safetensors")
    with pytest.raises(UsageError, match="its range is not known"):
        to(run, tmp_path / "out")
    write_json(run.report / "slider.json", {"low": -1.5, "high": 2.0, "places": []})
    write_json(run.report / "scores.json", {"correlation": 0.97, "others": 3.0, "rows": []})
    run.samples.mkdir()
    Image.new("RGB", (192, 64)).save(run.samples / "step-000010-0.png")
    to(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "from -1.5 to 2." in card and "rank correlation 0.97" in card and "instance_prompt: null" in card
    assert read_json(tmp_path / "out" / f"{recipe.title}.json")["preferred weight"] == 2
    assert header(tmp_path / "out" / f"{recipe.title}.safetensors")["modelspec.usage_hint"] == "strength -1.5 to 2"
    assert read(tmp_path / "out" / "images" / "01.png").get("Size") == "192x64"


def test_a_learned_word_is_a_file_of_its_name(make_run, tmp_path):
    from bakehouse.models.textual_inversion import TextualInversion
    from bakehouse.models.write_textual_inversion import write_textual_inversion

    run = make_run(tmp_path, evaluated=False, kind="embedding")
    shutil.rmtree(run.weights)
    run.weights.mkdir()
    vectors = torch.randn(2, 16)
    write_textual_inversion(TextualInversion("zwx", None, {"": vectors}), run.weights / "zwx.safetensors")
    out = tmp_path / "out"
    to(run, out)
    assert torch.equal(load_file(out / "zwx.safetensors")["emb_params"], vectors)
    assert torch.equal(load_file(out / "learned_embeds.safetensors")["<zwx>"], vectors)
    card = (out / "README.md").read_text("utf-8")
    assert "load_textual_inversion" in card and "- textual_inversion" in card
    assert read_json(out / "civitai.json")["type"] == "TextualInversion"


# --- again ------------------------------------------------------------------------------------------------------------


def test_only_what_changed_is_written_again_and_an_edited_card_stays(learned_run, tmp_path):
    out = tmp_path / "out"
    first = to(learned_run, out)
    assert first.unchanged == 0 and set(first.changed) | {"publish.json"} == {
        p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()
    }
    assert to(learned_run, out).changed == ()
    (out / "images" / "02.png").unlink()
    (out / "README.md").write_text("my own words")
    again = to(learned_run, out, author="Me")
    assert {"images/02.png", NAME, "civitai.json"} <= set(again.changed)
    assert "images/03.png" not in again.changed and "README.md" not in again.changed
    assert "--replace-card" in again.notes[-1]
    assert to(learned_run, out, author="Me").notes == again.notes
    assert (out / "README.md").read_text() == "my own words"
    assert to(learned_run, out, author="Me", replace_card=True).changed == ("README.md",)
    assert not list(learned_run.folder.glob(".publish*"))


def test_a_folder_of_somebody_else_is_not_touched(learned_run, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "01.png").write_text("mine")
    with pytest.raises(UsageError, match=r"already holds images/01\.png"):
        to(learned_run, tmp_path)
    assert (tmp_path / "images" / "01.png").read_text() == "mine" and not (tmp_path / "publish.json").exists()


def test_what_a_killed_publication_left_is_gone_on_with(learned_run, tmp_path, monkeypatch):
    put, done = FolderStore.put, []

    def killed(self, source, name, *rest):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(name)
        put(self, source, name, *rest)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(FolderStore, "put", killed)
        to(learned_run, tmp_path / "out")
    assert not (tmp_path / "out" / "publish.json").exists()
    to(learned_run, tmp_path / "out")
    assert to(learned_run, tmp_path / "out").changed == ()


def test_a_dry_run_says_what_a_publication_then_does(learned_run, tmp_path, capsys):
    """Each file with what happens to it, and the card; nothing is written anywhere."""
    out = tmp_path / "out"
    command = ["publish", str(learned_run.folder), "--to", str(out), "--person", "none", "--images", "2"]

    def shown(*options: str) -> tuple[dict[str, Any], dict[str, str]]:
        with pytest.raises(SystemExit):
            main([*command, *options, "--dry-run", "--json"])
        found = json.loads(capsys.readouterr().out)
        return found, {one["name"]: one["state"] for one in found["files"]}

    before = {path: path.stat().st_mtime_ns for path in learned_run.folder.rglob("*")}
    found, states = shown()
    assert set(states.values()) == {"new"} and not found["exists"] and not out.exists()
    assert before == {path: path.stat().st_mtime_ns for path in before if path.exists()}
    assert all((learned_run.folder / source).is_file() for source in found["sources"].values())
    to(learned_run, out, images=2)
    written = {path.relative_to(out).as_posix(): path.stat().st_size for path in out.rglob("*") if path.is_file()}
    assert {one["name"]: one["bytes"] for one in found["files"]} == written
    assert (out / "README.md").read_text("utf-8") == found["card"]
    assert set(shown()[1].values()) == {"same"}

    found, states = shown("--author", "Ann")
    due = {name for name, state in states.items() if state == "changed"}
    assert found["exists"] and due == {*to(learned_run, out, images=2, author="Ann").changed, "publish.json"}
    (out / "README.md").write_text("edited here")
    found, states = shown("--author", "Bea")
    assert states["README.md"] == "kept" and "was edited" in found["notes"][-1]


def test_a_url_is_a_folder_too(learned_run):
    assert to(learned_run, "memory://shelf/zwx", images=1).unchanged == 0
    assert to(learned_run, "memory://shelf/zwx", images=1).changed == ()
    store = open_store("memory://shelf/zwx")
    assert json.loads(store.read("publish.json"))["files"][NAME]["bytes"] == store.size(NAME)
    store.remove("images")
    assert store.size("images/01.png") is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://x/y", "not a protocol"),
        ("ftp://me:secretpassword@host/x", "holds a password"),
        ("hub:me", "not a repository of the Hub"),
        ("", "destination is empty"),
    ],
)
def test_a_wrong_destination_is_refused_before_anything_is_done(learned_run, url, message, capsys):
    with pytest.raises(SystemExit) as e:
        main(["publish", str(learned_run.folder), "--to", url, "--person", "none"])
    said = capsys.readouterr().err
    assert e.value.code == 2 and message in said and "secretpassword" not in said


# --- what is asked first ----------------------------------------------------------------------------------------------


def with_copies(run):
    """The evaluation's result, as if most images were copies of a photo."""
    value = read_json(run.report / "scores.json")
    for cell in value["cells"]:
        cell["memorised"]["share"] = {"value": 0.7, "low": 0.5, "high": 0.9, "n": 6}
    write_json(run.report / "scores.json", value)


@pytest.mark.parametrize("concern", ["nothing changed", "reproduces its training images", "not evaluated"])
def test_a_doubtful_run_is_asked_about(make_run, tmp_path, capsys, concern):
    learned = NOTHING if concern == "nothing changed" else LEARNED
    run = make_run(tmp_path, learned, learned, evaluated=concern != "not evaluated")
    if "reproduces" in concern:
        with_copies(run)
    command = ["publish", str(run.folder), "--to", str(tmp_path / "out"), "--person", "none"]
    with pytest.raises(SystemExit) as e:
        main(command)
    said = capsys.readouterr().err
    assert e.value.code == 2 and concern in said and "--yes" in said and not (tmp_path / "out").exists()
    with pytest.raises(SystemExit) as e:
        main([*command, "--dry-run", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["concerns"] and not (tmp_path / "out").exists()
    accepted = [f"--accept={one['name']}" for one in shown["concerns"]]
    with pytest.raises(SystemExit) as e:
        main([*command, *accepted[1:], "--accept=other", "--quiet"])
    assert e.value.code == 2 and f"pass {accepted[0].replace('=', ' ')} to publish" in capsys.readouterr().err
    with pytest.raises(SystemExit) as e:
        main([*command, *accepted, "--quiet"])
    assert not e.value.code and (tmp_path / "out" / NAME).is_file()


def test_a_person_is_published_with_consent_alone(learned_run, tmp_path):
    with pytest.raises(UsageError, match="not stated whether the person is real"):
        to(learned_run, tmp_path / "a", person=None)
    to(learned_run, tmp_path / "b", person="real", images=0)
    card = (tmp_path / "b" / "README.md").read_text("utf-8")
    assert "real person, who has agreed" in card and "<Gallery />" not in card
    assert read_json(tmp_path / "b" / "civitai.json")["poi"] is True


# --- licences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "asked", "result"),
    [
        ("license: creativeml-openrail-m", None, "creativeml-openrail-m"),
        ("license: creativeml-openrail-m", "mit", "has to keep"),
        ("license: apache-2.0", "cc-by-4.0", "cc-by-4.0"),
        ("license: other\nlicense_name: faipl-1.0-sd", None, "faipl-1.0-sd"),
        ("license: cc-by-nc-nd-4.0", None, "forbids"),
        ("license: cc-by-nc-nd-4.0", "mit", "forbids"),
        ("license: somebodys-own", "mit", "what that allows for models"),
        ("tags: [x]", None, "is not known"),
        ("tags: [x]", "openrail++", "openrail++"),
        ("tags: [x]", "opnrail", "did you mean 'openrail'"),
    ],
)
def test_the_licence_is_the_bases(base_folder, tmp_path, card, asked, result):
    base = tmp_path / "base"
    shutil.copytree(base_folder, base)
    (base / "README.md").write_text(f"---\n{card}\n---\ntext")
    if result in licences():
        assert licence_for(str(base), asked).id == result
    else:
        with pytest.raises(UsageError, match=result):
            licence_for(str(base), asked)


def test_every_base_of_the_catalogue_has_a_licence_that_is_known():
    from bakehouse.core.model_catalogue import catalogue

    bases = [name for name, entry in catalogue().items() if entry.kind == "base"]
    assert len(bases) > 5
    for name in bases:
        assert licence_for(name, None).derived in ("any", "same")
    assert licence_for("runwayml/stable-diffusion-v1-5", None).id == "creativeml-openrail-m"


def test_the_python_of_the_page_runs(learned_run, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text("utf-8")
    python = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    shutil.copytree(learned_run.folder, tmp_path / "runs" / "me")
    monkeypatch.chdir(tmp_path)
    exec(compile(python, "publishing.md", "exec"), {})
    assert capsys.readouterr().out == "[]\n"
    assert "Me" in (tmp_path / "published" / "python" / "README.md").read_text("utf-8")


def test_words_from_outside_are_no_markup():
    assert plain("a\n*b* <img src=x> | `c`") == r"a \*b\* \<img src=x\> \| \`c\`"
    assert code("a `b` | c") == "`` a `b` \\| c ``"
