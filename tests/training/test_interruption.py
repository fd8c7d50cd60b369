"""Ctrl-C and SIGTERM: the step is ended and saved, and what the run ends with is what an undisturbed one does."""

from __future__ import annotations

import json
import subprocess
import sys

DRIVER = """
import json, os, signal, sys
from pathlib import Path
from bakehouse.core.events import Sampled, Saved, Step
from bakehouse.core.run_folder import Run
from bakehouse.recipe import Recipe
from bakehouse.training import train
from bakehouse.training.training_state import find_states
from safetensors.torch import load_file

recipe, folder = Recipe.load(sys.argv[1]), Path(sys.argv[2])

def made(run):
    kept = [e for e in run.history() if isinstance(e, Step | Sampled | Saved)]
    return [[type(e).__name__, e.step, getattr(e, "path", "")] for e in kept]

def contents(run):
    files = {p.name: p.read_bytes().hex() for p in run.samples.iterdir()}
    tensors = {p.name: {k: t.tolist() for k, t in load_file(p).items()} for p in run.weights.iterdir()}
    return [files, tensors]

def interrupted(name, number, moment):
    run, was = Run(folder / name), ""
    try:
        for event in train(recipe, run.folder):
            if moment(event):
                os.kill(os.getpid(), number)
    except KeyboardInterrupt:
        was = list(run.history())[-1].message
    step = find_states(run.states).newest.step
    # The caller's own handlers are back.
    handlers = [signal.getsignal(s) in (signal.SIG_DFL, signal.default_int_handler) for s in (2, 15)]
    list(train(recipe, run.folder))
    return {"said": was, "step": step, "handlers": handlers, "made": made(run), "same": contents(run) == whole[1]}

list(train(recipe, folder / "whole"))
whole = made(Run(folder / "whole")), contents(Run(folder / "whole"))
print(json.dumps({"whole": whole[0], "cases": {
    "a step": interrupted("step", signal.SIGTERM, lambda e: isinstance(e, Step) and e.step == 3),
    "a sample": interrupted("sample", signal.SIGINT, lambda e: isinstance(e, Sampled) and e.path.endswith("4-0.png")),
    "weights": interrupted("weights", signal.SIGTERM, lambda e: isinstance(e, Saved) and e.step == 4),
    "the end": interrupted("end", signal.SIGTERM, lambda e: isinstance(e, Step) and e.step == 6),
}}))
"""


def test_an_interrupted_run_loses_no_step_and_makes_nothing_twice(recipe, tmp_path):
    from bakehouse.recipe import recipe_to_toml

    path = tmp_path / "me.toml"
    made = recipe(
        train__steps=6, train__epochs=None, sample__prompts=["zwx person", "person"], sample__steps=1,
        sample__every_steps=2, sample__every_epochs=0, save__every_steps=2, save__every_epochs=0,
        save__state_every_seconds=3600,
    )  # fmt: skip
    path.write_text(recipe_to_toml(made))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: case["step"] for name, case in found["cases"].items()} == {
        "a step": 3, "a sample": 4, "weights": 4, "the end": 6,
    }  # fmt: skip
    for name, case in found["cases"].items():
        assert case["said"].startswith(f"stopped after step {case['step']}: its state is saved"), name
        assert case["handlers"] == [True, True], name
        assert case["made"] == found["whole"], name
        assert case["same"], name
