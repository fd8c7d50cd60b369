"""Trainings in two processes, against the same training in one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bakehouse.core.events import Failed, Finished, Sampled, Step
from bakehouse.core.run_folder import Run
from bakehouse.recipe import recipe_for_folder, recipe_to_toml
from bakehouse.training.training_state import find_states

ROOT = Path(__file__).parent.parent.parent
COMMON = {
    "concepts.0.repeats": 1, "buckets.resolution": 64, "buckets.step": 16, "train.batch": 3, "train.accumulation": 2,
    "train.epochs": 2, "prior.source": "none", "sample.prompts": [], "optimizer.lr": 1e-3, "save.dtype": "fp32",
}  # fmt: skip
"""Buckets of 4 and 2 images: 3 batches, of which two are not full, and the last step of an epoch has but one."""
CASES = {
    "lora": {"adapter.text": True, "adapter.dropout": 0.1, "captions.shuffle": True, "data.flip": True},
    "lokr": {
        "adapter": {"kind": "lokr", "factor": 4}, "train.accumulation": 3, "train.ema": 0.9, "prior.source": "captions",
        "prior.steps": 1, "data.cache": "memory", "sample.prompts": ["zwx person"], "sample.steps": 1,
        "sample.at_start": False, "train.epochs": 1, "prior.guidance": 1.0,
    },
    "full": {
        "adapter": {"kind": "full"}, "optimizer.lr": 1e-4, "prior.source": "captions", "prior.target": "base",
        "prior.steps": 1, "stop.when": "learned",
    },
    "sharded": {
        "adapter": {"kind": "full", "text": True}, "optimizer.lr": 1e-4, "train.ema": 0.9, "train.shard": True,
        "train.gradient_checkpointing": True, "train.channels_last": False, "sample.prompts": ["zwx person"],
        "sample.steps": 1, "sample.at_start": False, "captions.shuffle": True,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_folder) -> Path:
    """Recipes of the cases, on six small images in two shapes."""
    folder = tmp_path_factory.mktemp("ranks")
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for i, (width, height) in enumerate([(64, 64)] * 4 + [(48, 80)] * 2):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(photos / f"{i}.png")
        (photos / f"{i}.txt").write_text(f"zwx person, place {i}, smiling")
    for name, settings in CASES.items():
        recipe = recipe_for_folder(photos, "zwx person", base=str(tiny_folder), settings={**COMMON, **settings})
        (folder / f"{name}.toml").write_text(recipe_to_toml(recipe))
    return folder


@pytest.fixture(scope="module")
def ended(folder) -> dict[str, list[str]]:
    """How the processes ended, by what they did; their runs are in `folder`."""
    command = [sys.executable, "-m", "tests.training.two_ranks", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "ended.json").read_text())


def tensors(run: Path) -> dict[str, torch.Tensor]:
    (weights,) = (p for p in Run(run).list_weights() if p.stem == "zwx-person")
    files = [weights] if weights.is_file() else sorted(weights.glob("*/*.safetensors"))
    return {f"{file.parent.name}.{name}": tensor for file in files for name, tensor in load_file(file).items()}


def difference(a: Path, b: Path) -> float:
    first, second = tensors(a), tensors(b)
    assert first.keys() == second.keys() and first
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_the_weights_of_one(folder, ended, case):
    assert ended[f"{case} alone"] == [""] and ended[f"{case} in two"] == ["", ""]
    one, two = (Run(folder / f"{case}-{name}") for name in ("one", "two"))
    assert difference(one.folder, two.folder) < 1e-6
    events, theirs = ([e for e in run.history() if isinstance(e, Step)] for run in (one, two))
    assert len(events) == len(theirs) == {"lora": 4, "lokr": 2, "full": 3, "sharded": 4}[case]
    for mine, other in zip(events, theirs, strict=True):
        assert (mine.step, mine.rates) == (other.step, other.rates)
        assert mine.loss == pytest.approx(other.loss, abs=1e-5)
        assert mine.subject_loss == pytest.approx(other.subject_loss, abs=1e-5)
        assert mine.prior_loss == (None if case in ("lora", "sharded") else pytest.approx(other.prior_loss, abs=1e-5))


def test_one_process_writes_and_each_image_is_made_once(folder, ended):
    run = Run(folder / "lokr-two")
    assert [path.name for path in sorted(run.samples.iterdir())] == ["step-000002-0.png"]
    kinds = Counter(type(event) for event in run.history())
    assert (kinds[Sampled], kinds[Step], kinds[Finished]) == (1, 2, 1)
    made = (folder / "lokr-made.txt").read_text().splitlines()
    assert len(made) == len(set(made))
    assert Counter(line.split()[0] for line in made) == {"encoded": 12, "generated": 2}
    caches = [folder / f"cache-{rank}" / "class-images" for rank in (0, 1)]
    mine, theirs = ({path.relative_to(cache) for path in cache.rglob("*.png")} for cache in caches)
    assert mine == theirs and len(mine) == 12, "each machine has all of two cases, though it made half of them"


def test_a_killed_run_is_resumed_to_the_same_bits_or_by_one_process(folder, ended):
    whole, killed = ended["killed"]
    assert killed == "signal 9" and whole.startswith("RankEndedError: another rank has ended, without a word")
    *_, last = Run(folder / "killed").history()
    assert isinstance(last, Failed) and last.last_good == "checkpoints/step-00000002"
    assert ended["resumed"] == ["", ""] and ended["resumed-alone"] == [""]
    assert difference(folder / "resumed", folder / "lora-two") == 0
    assert difference(folder / "resumed-alone", folder / "lora-two") < 1e-6


def test_ranks_with_parts_of_the_weights_write_what_one_process_does(folder, ended):
    one, two = (Run(folder / f"sharded-{name}") for name in ("one", "two"))
    files = ({path.relative_to(run.folder) for path in run.folder.rglob("*")} for run in (one, two))
    assert next(files) == next(files)
    config = "weights/zwx-person/unet/config.json"
    assert (one.folder / config).read_text() == (two.folder / config).read_text()
    pictures = [np.asarray(Image.open(run.samples / "step-000002-0.png"), dtype=int) for run in (one, two)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    states = (find_states(run.states).newest for run in (one, two))
    mine, theirs = (torch.load(state.path / "optimizer.pt", weights_only=True) for state in states)
    assert mine["param_groups"] == theirs["param_groups"] and mine["state"].keys() == theirs["state"].keys()
    for number, of in mine["state"].items():
        assert all(torch.allclose(of[name], theirs["state"][number][name], atol=1e-6) for name in of)


def test_parts_of_the_weights_are_resumed_to_the_same_bits_or_by_one_process(folder, ended):
    whole, killed = ended["sharded-killed"]
    assert killed == "signal 9" and whole.startswith("RankEndedError: another rank has ended, without a word")
    assert ended["sharded-cut"] == ["KeyboardInterrupt: ", "SystemExit: 1"]
    found = find_states(Run(folder / "sharded-cut").states)
    assert found.newest is not None and found.newest.step == 1 and not found.damaged
    assert ended["sharded-resumed"] == ["", ""] and ended["sharded-alone"] == [""]
    assert difference(folder / "sharded-resumed", folder / "sharded-two") == 0
    assert difference(folder / "sharded-alone", folder / "sharded-two") < 1e-6


def test_rank_0_decides_when_the_subject_is_learned(folder, ended):
    *_, finished = Run(folder / "full-two").history()
    assert isinstance(finished, Finished) and finished.step == 3, "of 6 steps"
    assert (folder / "evaluators.txt").read_text().split("\n") == ["full-one ", "full-two 0", ""]


def test_ctrl_c_saves_a_state(folder, ended):
    assert ended["interrupted"] == ["KeyboardInterrupt: ", "SystemExit: 1"]
    found = find_states(Run(folder / "interrupted").states)
    assert found.newest is not None and found.newest.step == 1 and not found.damaged


def test_a_device_without_memory_is_named(folder, ended):
    main, other = ended["memory"]
    assert main.startswith("RankEndedError: rank 1 of 2 on ") and other.startswith("OutOfMemory: rank 1 of 2 on ")
    assert "out of memory at step 1: cpu" in main and "add these settings" in main
    found = json.loads(Run(folder / "memory").plan.read_text())["recipe"]["train"]
    assert (found["batch"], found["accumulation"]) == (2, 2), "the largest that leaves a batch for each"


def test_ranks_that_differ_are_refused_before_anything_is_written(folder, ended):
    main, other = ended["recipes"]
    assert main.startswith("UsageError: rank 1 of 2 on ") and "seed = 5 (rank 0 has None)" in main
    assert other == "SystemExit: 1", "rank 0 tells it"
    assert "bakehouse = '0.9' (rank 0 has '1.0')" in ended["versions"][0]
    assert not (folder / "other").exists() and not (folder / "versions").exists()


def test_a_machine_without_the_images_is_named(folder, ended):
    message = ended["files"][0]
    assert message.startswith("UsageError: rank 1 of 2 on ") and "2 files not as on the machine of rank 0" in message
    assert "photos/0.png" in message and "storage that all of them see" in message
