"""Which tagger captions a dataset: the bundled one for crumb alone, one with Danbooru tags for every other base."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

import bakehouse
from bakehouse.cli.main import main
from bakehouse.core.model_catalogue.installed_models import FetchedFile, FetchedModel, UserModel, edit_registry
from bakehouse.curation.apply_and_undo import read_history

ASSETS = Path(bakehouse.__file__).parent / "assets"
FETCH = "bakehouse models fetch wd-vit-v3"


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """Two images without captions, on a machine without fetched models."""
    for name in ("CACHE", "DATA"):
        monkeypatch.setenv(f"BAKEHOUSE_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    folder = tmp_path / "my photos"
    folder.mkdir()
    for name in ("01.png", "02.png"):
        shutil.copy(ASSETS / "examples" / "mira" / name, folder)
    return folder


def fetch(name: str, folder: Path) -> None:
    """As if `models fetch` had downloaded a tagger."""
    folder.mkdir()
    (folder / "model.onnx").touch()
    file = FetchedFile(name="model.onnx", bytes=0, sha256="", pinned=False)
    with edit_registry() as registry:
        registry.fetched[name] = FetchedModel(folder=str(folder), files=(file,))


def add(name: str) -> None:
    """As if a person had added a tagger: a copy of the bundled one, which needs no other package."""
    with edit_registry() as registry:
        registry.own[name] = UserModel(kind="tagger", where=str(ASSETS / "crumb-tagger"))


def run(capsys, *words: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as e:
        main(list(words))
    out, err = capsys.readouterr()
    assert (e.value.code or 0) == code, err
    return out + err


def warnings(capsys, *words: str) -> list[str]:
    """Warnings in the JSON document of a command, which comes before what is said on standard error."""
    document, _ = json.JSONDecoder().raw_decode(run(capsys, *words, "--json"))
    return document["warnings"]


def missing_captions(capsys, folder: Path, *options: str) -> dict:
    report = run(capsys, "dataset", "audit", str(folder), *options, "--no-faces", "--no-text", "--json", code=1)
    (found,) = [one for one in json.loads(report)["findings"] if one["id"] == "C01"]
    return found


@pytest.mark.parametrize("base", [["--base", "sd15"], ["--base", "sdxl"], []], ids=["sd15", "sdxl", "none"])
def test_the_audit_says_how_to_get_a_tagger_where_there_is_none(photos, capsys, base):
    found = missing_captions(capsys, photos, *base, "--subject", "zwx person")
    assert not found["fix"]
    name = base[1] if base else "sd15"
    command = f'bakehouse captions tag {shlex.quote(str(photos))} --front "zwx person" --exclude "person"'
    assert found["advice"] == (
        f"no tagger for {name} is on this machine; {FETCH}   (379 MB, Apache-2.0), then {command} --tagger wd-vit-v3"
    )


def test_the_audit_names_a_tagger_that_is_on_this_machine(photos, capsys, tmp_path):
    add("mine")
    assert missing_captions(capsys, photos)["fix"].endswith(" --tagger mine")
    fetch("wd-moat-v2", tmp_path / "moat")
    assert missing_captions(capsys, photos)["fix"].endswith(" --tagger wd-moat-v2")
    fetch("wd-vit-v3", tmp_path / "vit")
    assert missing_captions(capsys, photos)["fix"].endswith(" --tagger wd-vit-v3")
    (tmp_path / "vit" / "model.onnx").unlink()
    assert missing_captions(capsys, photos)["fix"].endswith(" --tagger wd-moat-v2")


def test_crumb_has_its_own_tagger(photos, capsys, tmp_path):
    fetch("wd-vit-v3", tmp_path / "vit")
    fix = missing_captions(capsys, photos, "--base", "crumb", "--resolution", "128")["fix"]
    assert fix == f"bakehouse captions tag {shlex.quote(str(photos))} --tagger crumb"
    assert "no base model" not in run(capsys, *shlex.split(fix)[1:])
    assert len(list(photos.glob("*.txt"))) == 2


def test_the_command_takes_the_tagger_of_the_base(photos, capsys):
    tag = ("captions", "tag", str(photos), "--base")
    refused = run(capsys, *tag, "sd15", code=2)
    assert "no tagger for sd15 is on this machine" in refused and FETCH in refused
    assert not list(photos.glob("*.txt"))
    assert "model 'nothing'" in run(capsys, *tag, "nothing", code=2)
    add("mine")
    run(capsys, *tag, "sd15", "--quiet")
    (step,) = read_history(photos)
    assert step.settings["taggers"] == ["mine"]
    assert len(list(photos.glob("*.txt"))) == 2


def test_without_a_base_the_captions_are_crumbs_and_that_is_said(photos, capsys):
    tag = ("captions", "tag", str(photos))
    warning = "no base model is named: the captions get the words of crumb"
    (said,) = warnings(capsys, *tag, "--dry-run")
    assert said.startswith(warning) and "--base sd15" in said
    assert warning in " ".join(run(capsys, *tag).split())
    for named in (("--base", "crumb"), ("--tagger", "crumb")):
        assert warnings(capsys, *tag, *named, "--dry-run") == []
