"""Runs that are damaged, or whose sources have changed, by the command line.

Either they end with the bits of the undisturbed run, or one message names the file.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from bakehouse.cli.main import main
from bakehouse.core.events import Failed, Step
from bakehouse.core.run_folder import Run
from bakehouse.recipe import Recipe
from bakehouse.training.training_state import find_states

RECIPE = """
[model]
base = "{base}"
[[concepts]]
folder = "photos"
subject = "zwx person"
repeats = 1
[buckets]
resolution = 64
step = 16
[train]
batch = 1
steps = 5
epochs = 1
[prior]
source = "captions"
steps = 1
[adapter]
rank = 2
alpha = 1.0
targets = "attention"
text = false
[optimizer]
lr = 1e-3
[sample]
prompts = []
[save]
dtype = "fp32"
every_steps = 2
state_every_seconds = 1e-6
"""
NEWEST = "checkpoints/step-00000003"
FILES = [
    "recipe.toml",
    "plan.json",
    "inputs.json",
    "events.jsonl",
    "weights/zwx-person-step00000002.safetensors",
    f"{NEWEST}/optimizer.pt",
    f"{NEWEST}/parameters.safetensors",
    f"{NEWEST}/state.json",
    "checkpoints/step-00000002/state.json",
]


@dataclass(frozen=True)
class Home:
    """A folder with images, a recipe, a model and a run that stopped after the third of its five steps."""

    folder: Path
    whole: dict[str, str]
    """Hashes of the last weights of the run that was never stopped."""

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def train(self, *words: str | Path) -> int:
        """The exit code of `bakehouse train`; without words, of the command that began the run."""
        with pytest.raises(SystemExit) as e:
            main(["train", *map(str, words or (self.folder / "me.toml", "--run", self.run)), "--quiet"])
        return int(e.value.code or 0)

    def weights(self, name: str = "run") -> dict[str, str]:
        path = self.folder / name / "weights" / "zwx-person.safetensors"
        with safe_open(path, "np") as f:
            names = f.keys()
            return {key: hashlib.sha256(f.get_tensor(key).tobytes()).hexdigest() for key in names}

    def metadata(self, name: str = "run") -> dict[str, str]:
        """What a weights file tells of its training, without times and hashes."""
        with safe_open(self.folder / name / "weights" / "zwx-person.safetensors", "np") as f:
            told = dict(f.metadata())
        return {
            k: v for k, v in told.items() if "time" not in k and "_at" not in k and "hash" not in k and "date" not in k
        }


def stop_after(steps: int, recipe: Path, run: Path) -> None:
    """Trains in a process of its own and kills it."""
    pid = os.fork()
    if not pid:
        try:
            from bakehouse.training import train

            for event in train(Recipe.load(recipe), run):
                if isinstance(event, Step) and event.step > steps:
                    os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.fixture(scope="module")
def original(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("damage")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / "photos" / f"{i}.png")
        (folder / "photos" / f"{i}.txt").write_text(f"zwx person, place {i}")
    shutil.copytree(tiny_folder, folder / "tiny")
    (folder / "me.toml").write_text(RECIPE.format(base=folder / "tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAKEHOUSE_CACHE", str(folder / "cache"))
        stop_after(3, folder / "me.toml", folder / "run")
        home = Home(folder, {})
        assert home.train(folder / "me.toml", "--run", folder / "whole") == 0
    return Home(folder, home.weights("whole"))


@pytest.fixture
def home(original: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """The original, put back after each test."""
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(original.folder / "cache"))
    kept = original.folder.with_name("kept")
    shutil.copytree(original.folder, kept)
    yield original
    shutil.rmtree(original.folder)
    kept.rename(original.folder)


def truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))] if data else data


def flipped(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return b"\xff"
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def check(home: Home, code: int, said: str, name: str) -> None:
    """The law of this file."""
    assert "bug in bakehouse" not in said
    if code == 0:
        assert home.weights() == home.whole
    else:
        assert code in (1, 2)
        assert Path(name).name in said


@pytest.mark.parametrize("name", FILES)
def test_damage_is_found_and_named(home, capfd, name):
    """`DAMAGE=7 pytest ...` tries other places."""
    rng = random.Random(f"{name}/{os.environ.get('DAMAGE', '')}")
    path = home.run / name
    path.write_bytes(rng.choice([truncated, flipped])(path.read_bytes(), rng))
    code = home.train()
    said = capfd.readouterr().err
    assert "bug in bakehouse" not in said
    if code == 0:
        assert home.weights() == home.whole
    else:
        assert code in (1, 2)
        assert path.name in said


# --- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["optimizer.pt", "state.json"])
def test_the_newest_undamaged_state_is_used_and_named(home, capfd, name):
    (home.run / "checkpoints" / "step-00000003" / name).unlink()
    assert home.train() == 0
    said = capfd.readouterr().err
    assert f"step-00000003/{name} is missing; the state is not used" in said
    assert f"resuming from {home.run}/checkpoints/step-00000002" in said
    assert (home.run / "damaged" / "step-00000003").is_dir()
    assert home.weights() == home.whole


def test_an_error_names_all_states_if_all_are_damaged(home, capfd):
    for step in (2, 3):
        path = home.run / "checkpoints" / f"step-0000000{step}" / "optimizer.pt"
        path.write_bytes(path.read_bytes()[:-9])
    assert home.train() == 1
    said = capfd.readouterr().err
    assert "all saved states are damaged" in said
    assert "step-00000002/optimizer.pt was cut short" in said and "step-00000003/optimizer.pt was cut short" in said
    assert "last good" not in said
    shutil.rmtree(home.run / "checkpoints")
    assert home.train() == 0, "the next step that was named"
    assert home.weights() == home.whole


def test_the_last_good_state_is_undamaged(home, capfd):
    (home.run / "checkpoints" / "step-00000003" / "state.json").write_text("{")
    (home.folder / "tiny" / "unet" / "config.json").write_text("{")
    assert home.train() == 1
    assert "checkpoints/step-00000002" in capfd.readouterr().err
    assert [e.last_good for e in Run(home.run).history() if isinstance(e, Failed)] == ["checkpoints/step-00000002"]


def test_weights_that_were_damaged_after_the_end_are_saved_again(home, capfd):
    assert home.train() == 0
    weights = home.run / "weights" / "zwx-person.safetensors"
    capfd.readouterr()
    assert home.train() == 0
    assert "damaged" not in capfd.readouterr().err
    weights.write_bytes(weights.read_bytes()[:-3] + b"abc")
    assert home.train() == 0
    assert f"{weights} was changed or damaged" in capfd.readouterr().err
    assert home.weights() == home.whole


def as_of_an_earlier_version(run: Path) -> None:
    """Takes out of a run what earlier versions did not write."""
    (run / "inputs.json").unlink()
    for path in run.glob("checkpoints/*/state.json"):
        notes = json.loads(path.read_text())
        path.write_text(json.dumps({"step": notes["step"], "threads": notes["threads"]}))


def test_a_run_of_an_earlier_version_is_resumed_and_checked_from_then_on(home, capfd):
    as_of_an_earlier_version(home.run)
    assert home.train() == 0
    said = capfd.readouterr().err
    assert "was started by an earlier version" in said and "was saved by an earlier version, without hashes" in said
    assert home.weights() == home.whole
    assert home.train() == 0
    assert "earlier version" not in capfd.readouterr().err, "it is said once"


def test_unreadable_states_without_hashes_are_found(home):
    as_of_an_earlier_version(home.run)
    checkpoints = home.run / "checkpoints"
    assert find_states(checkpoints).newest.step == 3
    for name in ("optimizer.pt", "parameters.safetensors", "state.json"):
        path = checkpoints / "step-00000003" / name
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        found = find_states(checkpoints)
        assert found.newest.step == 2
        assert name in str(found.damaged[0])
        path.write_bytes(data)


# --- inputs -----------------------------------------------------------------------------------------------------------


def test_a_run_keeps_the_captions_that_it_was_started_with(home, capfd):
    (home.folder / "photos" / "1.txt").write_text("zwx person, elsewhere")
    (home.folder / "photos" / "2.txt").unlink()
    assert home.train() == 0
    said = capfd.readouterr().err
    assert "captions have changed since this run was started: 1.png, 2.png" in said and "--run OTHER" in said
    assert home.weights() == home.whole
    assert home.metadata() == home.metadata("whole")
    assert "elsewhere" not in home.metadata()["ss_tag_frequency"]


def test_captions_are_kept_as_triggers_made_them(home, capfd):
    recipe = home.folder / "me.toml"
    recipe.write_text(recipe.read_text() + '[[triggers]]\nword = "zwx"\nabsorbs = ["person"]\n')
    assert home.train(recipe, "--run", home.folder / "t") == 0
    (home.folder / "photos" / "1.txt").write_text("zwx person, elsewhere")
    shutil.rmtree(home.folder / "t" / "weights")
    before = json.loads((home.folder / "t" / "inputs.json").read_text())
    assert before["images"][1]["captions"] == ["zwx, place 1"]
    assert home.train(recipe, "--run", home.folder / "t") == 0
    assert json.loads(home.metadata("t")["ss_tag_frequency"])["photos"]["place 1"] == 1
    assert home.train(recipe, "--run", home.folder / "t", "--set", "triggers.0.word=other") == 2
    assert "triggers" in capfd.readouterr().err


def edit_rate(home: Home) -> Path:
    path = home.run / "recipe.toml"
    path.write_text(path.read_text().replace("lr = 0.001", "lr = 0.002"))
    return path


def change_image(home: Home) -> Path:
    path = home.folder / "photos" / "1.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return path


def remove_image(home: Home) -> Path:
    path = home.folder / "photos" / "1.png"
    path.unlink()
    return path


def add_mask(home: Home) -> Path:
    Image.new("L", (64, 64), 99).save(home.folder / "photos" / "1-masklabel.png")
    return home.folder / "photos" / "1.png"


def change_tokenizer(home: Home) -> Path:
    path = home.folder / "tiny" / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 70}))
    return path


def change_class_image(home: Home) -> Path:
    path = sorted(home.folder.glob("cache/class-images/*/*.png"))[0]
    Image.new("RGB", (64, 64), "red").save(path)
    return path


def change_base(home: Home) -> Path:
    path = home.folder / "tiny" / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path


def change_schedule(home: Home) -> Path:
    path = home.folder / "tiny" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "beta_end": 0.02}))
    return path


CHANGES = [
    edit_rate, change_image, remove_image, add_mask, change_class_image, change_base, change_schedule, change_tokenizer
]  # fmt: skip


def test_changed_inputs_are_refused_and_restored_ones_are_resumed(home, capfd):
    kept = {p: p.read_bytes() for p in home.folder.rglob("*") if p.is_file() and p.suffix != ".jsonl"}
    for change in CHANGES:
        changed = change(home)
        assert home.train(home.run) == 2, change
        said = capfd.readouterr().err
        assert changed.name in said and "--run OTHER" in said
        assert ("optimizer.lr = 0.002 (the run has 0.001)" in said) == (change is edit_rate)
        for path in home.folder.glob("photos/*-masklabel.png"):
            path.unlink()
        for path, data in kept.items():
            path.write_bytes(data)
    assert home.train(home.run) == 0
    assert home.weights() == home.whole


def test_changed_masks_and_own_class_images_are_refused(home, capfd):
    mask, cls = home.folder / "photos" / "1-masklabel.png", home.folder / "cls"
    Image.new("L", (64, 64), 200).save(mask)
    shutil.copytree(home.folder / "photos", cls, ignore=lambda _, names: [n for n in names if "mask" in n])
    for path in cls.glob("*.txt"):
        path.write_text("person")
    recipe, run = home.folder / "own.toml", home.folder / "own"
    words = RECIPE.format(base=home.folder / "tiny").replace('source = "captions"\nsteps = 1', 'folder = "cls"')
    recipe.write_text(words)
    stop_after(3, recipe, run)
    capfd.readouterr()
    for path, told in ((mask, "1.png (its mask was changed)"), (cls / "0.png", "0.png (changed)")):
        kept = path.read_bytes()
        Image.new("L", (64, 64), 90).save(path)
        assert home.train(run) == 2
        assert told in capfd.readouterr().err
        path.unlink()
        assert home.train(run) == 2
        assert path.name.replace("-masklabel", "") in capfd.readouterr().err
        path.write_bytes(kept)
    (cls / "0.txt").write_text("dog")
    shutil.copy(cls / "1.png", cls / "9.png")
    assert home.train(run) == 2
    assert "9.png (added)" in capfd.readouterr().err
    (cls / "9.png").unlink()
    assert home.train(recipe, "--run", run, "--set", "concepts.0.repeats=2") == 2
    assert "concepts.0.repeats = 2 (the run has 1)" in capfd.readouterr().err
    assert home.train(run) == 0
    assert "captions have changed since this run was started: 0.txt" in capfd.readouterr().err.replace("0.png", "0.txt")
    assert json.loads((run / "inputs.json").read_text())["images"][3]["captions"] == ["person"]


def test_events_of_a_later_version_are_passed_over(home):
    with (home.run / "events.jsonl").open("a") as f:
        f.write('{"event": "transcended", "time": 1.0, "step": "seven"}\n{"event": "scored", "time": 1.0, "new": 1}\n')
    assert home.train() == 0
    assert home.weights() == home.whole


def test_how_a_run_is_evaluated_may_be_changed(home):
    path = home.run / "recipe.toml"
    path.write_text(path.read_text() + "\n[evaluate]\nimages = 4\n")
    assert home.train(home.run) == 0
    assert home.weights() == home.whole


def test_a_lost_list_of_inputs_is_written_again_if_it_is_the_same(home, capfd):
    (home.run / "inputs.json").write_text("{")
    caption = home.folder / "photos" / "1.txt"
    before = caption.read_text()
    caption.write_text("zwx person, elsewhere")
    assert home.train() == 1
    said = capfd.readouterr().err
    assert "step-00000003 was trained with other inputs" in said
    caption.write_text(before)
    assert home.train() == 0
    assert home.weights() == home.whole
    assert (home.run / "inputs.json").is_file()


# --- caches -----------------------------------------------------------------------------------------------------------


def test_what_is_damaged_in_the_cache_is_made_again(home, capfd):
    latents = sorted(home.folder.glob("cache/latents/*/*"))
    for path, place in zip(latents, itertools.cycle((10, -1))):  # the header, the numbers
        data = bytearray(path.read_bytes())
        data[place] ^= 4
        path.write_bytes(data)
    for path in [*home.folder.glob("cache/class-images/*/*.png"), *home.folder.glob("cache/hashes/*")]:
        path.write_bytes(path.read_bytes()[:-20])
    assert home.train() == 0
    assert capfd.readouterr().err.count("the image was encoded again") == len(latents) == 6
    assert home.weights() == home.whole
