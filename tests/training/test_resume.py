"""Killed at any moment, the same command ends with the bits of the undisturbed run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = """
import hashlib, json, os, random, signal, sys, time
import torch
from bakehouse.models.load import load_model
from bakehouse.recipe import Recipe, make_plan
from bakehouse.training import train
import bakehouse.models.samplers, bakehouse.training.prepare, bakehouse.training.trainer

torch.set_num_threads(1)
recipe_path, folder, cache, kills, seed = sys.argv[1:]
# Both import what a training needs: once, before the forks.
load_model(make_plan(Recipe.load(recipe_path)).recipe.model.base)

def run(folder, cache):
    # The child's own process: nothing of it survives a SIGKILL.
    pid = os.fork()
    if pid:
        return pid
    try:
        os.environ["BAKEHOUSE_CACHE"] = cache
        for event in train(Recipe.load(recipe_path), folder):
            pass
        os._exit(0)
    except BaseException as e:
        print(repr(e), file=sys.stderr, flush=True)
        os._exit(1)

def digest(folder):
    weights = sorted(p for p in os.listdir(os.path.join(folder, "weights")))
    return {p: tensors(os.path.join(folder, "weights", p)) for p in weights}

def tensors(path):
    from safetensors.torch import load_file
    state = load_file(path)
    return hashlib.sha256(b"".join(state[k].numpy().tobytes() for k in sorted(state))).hexdigest()

def steps_done():
    try:
        lines = open(os.path.join(folder, "events.jsonl")).read().splitlines()
    except FileNotFoundError:
        return -1
    return sum('"event": "step"' in line for line in lines)

_, status = os.waitpid(run(folder + "-whole", cache + "-whole"), 0)
assert status == 0, status
rng = random.Random(int(seed))
# One kill while caching, the others spread over the steps: mid-epoch, while saving, at an epoch's end.
for target in json.loads(kills):
    pid = run(folder, cache)
    while steps_done() < target:
        time.sleep(0.003)
    time.sleep(rng.uniform(0, 0.05))
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), "it was done before it could be killed"
_, status = os.waitpid(run(folder, cache), 0)
assert status == 0, status
print(json.dumps({"whole": digest(folder + "-whole"), "killed": digest(folder)}))
"""


@pytest.mark.parametrize(
    "settings",
    [
        {"data__workers": 0, "train__accumulation": 2, "captions__shuffle": True, "data__flip": True},
        {
            "data__workers": 2,
            "prior__source": "captions",
            "prior__steps": 2,
            "optimizer__name": "prodigy",
            "optimizer__lr": 1.0,
            "adapter__text": True,
            "adapter__dropout": 0.1,
            "train__ema": 0.9,
        },
    ],
    ids=["accumulation", "prodigy-dropout-ema-prior"],
)
def test_killed_runs_end_with_the_same_bits(recipe, tmp_path, settings):
    from bakehouse.recipe import recipe_to_toml

    made = recipe(**settings, train__epochs=3, save__state_every_seconds=0.001, noise__offset=0.05)
    path = tmp_path / "me.toml"
    path.write_text(recipe_to_toml(made))
    command = [
        sys.executable,
        "-c",
        DRIVER,
        str(path),
        str(tmp_path / "run"),
        str(tmp_path / "cache"),
        "[-1, 1, 4]",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["killed"] == result["whole"]
    leftovers = [p.name for p in Path(tmp_path / "run").rglob("*.part")]
    assert leftovers == []
