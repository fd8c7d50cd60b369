"""`--devices N`: what is refused before any process starts, and how the processes' ends are told."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from unittest.mock import ANY

import pytest

from bakehouse.cli.main import main
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Failed, Step
from bakehouse.core.rank_environment import LAUNCHED, rank_environment, tell_launcher
from bakehouse.core.run_folder import Run
from bakehouse.recipe import make_plan, recipe_to_toml
from bakehouse.recipe.memory_estimate import memory_use
from bakehouse.recipe.sharding_choice import choose_sharding
from bakehouse.training import train
from bakehouse.training.device_checks import devices_found
from bakehouse.training.launch_ranks import run_processes
from bakehouse.training.resume_checks import check_recipe
from bakehouse.training.run_inputs import RunInputs

WORLD = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}


SHARD = {"adapter": {"kind": "full"}, "train__shard": True}


def run(capfd, *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as e:
        main(list(words))
    captured = capfd.readouterr()
    return e.value.code, captured.out + captured.err


@pytest.fixture
def written(recipe, tmp_path):
    """A function that writes a recipe and returns its path."""

    def write(**settings):
        path = tmp_path / "me.toml"
        path.write_text(recipe_to_toml(recipe(**settings)))
        return str(path)

    return write


def test_more_devices_than_there_are_and_none(written, tmp_path, capfd):
    found = devices_found("cpu")
    code, text = run(capfd, "train", written(train__device="cpu"), "--run", str(tmp_path / "run"), "--devices", "4000")
    assert code == 2 and f"train.devices = 4000: 4000 asked, {found} found on this machine" in text
    code, text = run(capfd, "train", written(), "--run", str(tmp_path / "run"), "--devices", "0")
    assert code == 2 and "'0' should be greater than or equal to 1" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"train__accumulation": 1},
            "at least one batch of a step: set train.batch = 1 and train.accumulation = 2 for the same images",
        ),
        ({"adapter": {"kind": "full"}, "train__fused_backward": True}, "frees each as it is computed"),
        ({"train__device": "cuda:1"}, "train.device = 'cuda:1' names one: set 'auto', 'cuda' or 'cpu'"),
        ({"train__shard": True}, "adapter.kind = 'lora' trains few"),
        ({**SHARD, "optimizer__name": "adafactor"}, "adafactor needs whole ones: set optimizer.name = 'adamw'"),
        ({**SHARD, "prior__source": "captions", "prior__target": "base"}, "set prior.target = 'noise'"),
        ({**SHARD, "train__compile": True}, "cannot be combined with train.compile = true: leave that out"),
        ({**SHARD, "train__batch": "auto"}, "train.batch = 'auto': it is tried on one device by itself"),
    ],
)
def test_recipes_that_one_device_alone_can_train(recipe, settings, message):
    with pytest.raises(UsageError, match=r"train\.(devices = 2|shard = true)") as e:
        make_plan(recipe(train__devices=2, **settings))
    assert message in str(e.value)


def test_a_slider_is_trained_on_one_device(capfd):
    words = ["plan", "--target", "person", "--positive", "person, smile", "--devices", "2"]
    code, text = run(capfd, *words)
    assert code == 2 and "train.devices = 2: a slider is trained on one device" in text


def test_the_plan_shares_the_images_of_a_step(recipe, written, capfd):
    open_ = recipe(train__batch=None, train__devices=3)
    plan = make_plan(open_)
    assert (plan.recipe.train.batch, plan.recipe.train.accumulation) == (1, 3)
    assert plan.estimate.devices == 3 and plan.estimate.traffic_bytes > 0
    code, text = run(capfd, "plan", written(train__accumulation=6), "--devices", "4")
    assert code == 0 and "each of 4 devices computes 2 x 2 of a step's 12 images, and sends" in text
    assert "in each step 2 wait while 2 compute one more batch" in text
    one, four = (make_plan(recipe(train__accumulation=4, train__devices=n)).estimate for n in (1, 4))
    assert (one.devices, one.traffic_bytes, four.devices) == (1, 0, 4)
    assert make_plan(recipe(train__devices=3)).recipe.train.accumulation == 3, "a batch for each device"


def test_the_plan_says_what_each_device_needs_with_and_without_sharing_the_weights(recipe, written, capfd):
    full = {"adapter": {"kind": "full"}, "train__device": "cpu"}
    plan = make_plan(recipe(train__devices=4, **full))
    assert plan.recipe.train.shard is False and plan.estimate.otherwise.divided
    assert plan.estimate.otherwise.memory_bytes < plan.estimate.memory_bytes
    assert plan.estimate.otherwise.seconds > plan.estimate.seconds
    (reason,) = (d.reason for d in plan.decisions if d.key == "train.shard")
    assert reason.startswith("a whole copy of the weights on each device is faster")
    _, text = run(capfd, "plan", written(**SHARD, train__device="cpu"), "--devices", "4")
    words = " ".join(text.split())
    assert "of weights and gradients" in words
    assert "with train.shard = false, a whole copy of the weights on each device: about" in words
    assert make_plan(recipe(train__devices=4)).estimate.otherwise is None, "an adapter's weights are few"


def test_weights_that_do_not_fit_are_shared(recipe):
    settings = {"train__devices": 4, "train__accumulation": 4, "train__batch": 1, "train__gradient_checkpointing": True}
    xl = recipe(adapter={"kind": "full"}, buckets__resolution=1024, **settings)
    shared, reason = choose_sharding(xl, "sdxl", "cuda")
    assert shared and "in place of" in reason
    whole, parts = (memory_use(xl.with_values({"train.shard": s}), "sdxl", "cuda").total for s in (False, True))
    assert 40e9 < whole < 50e9 and 10e9 < parts < 15e9
    states = [memory_use(xl.with_values({"train.shard": True, "train.devices": n}), "sdxl", "cuda") for n in (2, 8)]
    assert states[0].optimizer == pytest.approx(4 * states[1].optimizer)
    assert choose_sharding(xl, "sd1", "cuda") == (False, ANY), "14 GB fit"
    adafactor, why = choose_sharding(xl.with_values({"optimizer.name": "adafactor"}), "sdxl", "cuda")
    assert not adafactor and "adafactor needs whole ones" in why
    assert choose_sharding(xl.with_values({"train.devices": 1}), "sdxl", "cuda") == (False, "")


def test_several_devices_need_several_processes(recipe, tmp_path):
    with pytest.raises(UsageError, match=r"train\.devices = 2, but one process was started") as e:
        list(train(recipe(train__devices=2, train__accumulation=2), tmp_path / "run"))
    assert "--devices 2" in e.value.hint


def test_the_number_of_devices_may_change_when_a_run_is_resumed(recipe, tmp_path):
    run_folder = Run(tmp_path / "run")
    one, two = (RunInputs.from_recipe(recipe(train__accumulation=2, train__devices=n)) for n in (1, 2))
    assert one.digest == two.digest
    shared = recipe(train__accumulation=2, train__devices=2, **SHARD)
    whole = recipe(train__accumulation=2, adapter={"kind": "full"})
    assert RunInputs.from_recipe(shared).digest == RunInputs.from_recipe(whole).digest
    check_recipe(run_folder, one, recipe(train__accumulation=2, train__devices=2))
    check_recipe(run_folder, two, recipe(train__accumulation=2))
    with pytest.raises(UsageError, match=r"differs in: seed = 1"):
        check_recipe(run_folder, one, recipe(train__accumulation=2, train__devices=2, seed=1))


def test_the_environment_says_which_process_this_is():
    place = rank_environment(WORLD)
    assert place is not None and (place.rank, place.count, place.local_rank, place.launched) == (1, 4, 1, False)
    assert place.name.startswith("rank 1 of 4 on ")
    assert rank_environment({}) is None and rank_environment({**WORLD, "WORLD_SIZE": "1"}) is None
    with pytest.raises(UsageError, match=r"WORLD_SIZE = 4 asks for several processes, but MASTER_ADDR is not set"):
        rank_environment({**WORLD, "MASTER_ADDR": ""})
    with pytest.raises(UsageError, match=r"RANK = '4', WORLD_SIZE = '4'.*no place"):
        rank_environment({**WORLD, "RANK": "4"})


def test_an_error_is_left_for_what_launched_the_process(tmp_path):
    path = tmp_path / "error.json"
    assert not tell_launcher("error: no", "hint", {"TORCHELASTIC_ERROR_FILE": str(path)})
    assert tell_launcher("error: no", "hint", {"TORCHELASTIC_ERROR_FILE": str(path), LAUNCHED: "1"})
    assert json.loads(path.read_text())["message"]["message"] == "error: no"


def test_other_commands_run_in_one_process(monkeypatch, capfd):
    for name, value in {**WORLD, "TORCHELASTIC_RUN_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    code, text = run(capfd, "evaluate", "runs/me")
    assert code == 2 and "bakehouse evaluate runs in one process, but torchrun started 4" in text


KILLED = """
import os, signal, time
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(600)
"""
REFUSED = """
import json, os, sys, time
if os.environ["RANK"] == "1":
    time.sleep(600)
message = {"message": "error: this cannot be trained", "extraInfo": {"hint": "change it", "timestamp": "1"}}
open(os.environ["TORCHELASTIC_ERROR_FILE"], "w").write(json.dumps({"message": message}))
sys.exit(2)
"""
SAVING = """
import os, signal, sys, time
folder = sys.argv[1]
def save(number, frame):
    open(f"{folder}/saved-{os.environ['RANK']}", "w").close()
    sys.exit(130)
signal.signal(signal.SIGINT, save)
open(f"{folder}/ready-{os.environ['RANK']}", "w").close()
time.sleep(600)
"""


def test_a_killed_process_ends_all_and_is_named_once(tmp_path, capfd):
    run_folder = Run(tmp_path)
    (tmp_path / "recipe.toml").touch()
    step = Step(step=7, epoch=1, loss=1, subject_loss=1, prior_loss=None, rates={}, images_per_s=1, memory=1)
    run_folder.append(step)
    begun = time.monotonic()
    with pytest.raises(BakehouseError, match=r"^rank 1 of 2 was killed by signal 9 \(SIGKILL\)"):
        run_processes(["-c", KILLED], 2, run_folder)
    assert time.monotonic() - begun < 120, "the other one sleeps for ten minutes"
    *_, last = run_folder.history()
    assert isinstance(last, Failed) and last.step == 7 and "rank 1 of 2 was killed" in last.error
    assert capfd.readouterr() == ("", ""), "the caller tells it"


def test_what_rank_0_refuses_is_told_as_it_is(tmp_path):
    with pytest.raises(UsageError) as e:
        run_processes(["-c", REFUSED], 2, Run(tmp_path))
    assert (e.value.message, e.value.hint) == ("this cannot be trained", "change it")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_lets_the_processes_save(tmp_path, number):
    def interrupt() -> None:
        while not all((tmp_path / f"ready-{rank}").exists() for rank in (0, 1)):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run_processes(["-c", SAVING, str(tmp_path)], 2, Run(tmp_path))
    thread.join()
    assert all((tmp_path / f"saved-{rank}").exists() for rank in (0, 1))
    assert signal.getsignal(number) == before


def test_the_command_starts_processes_and_tells_their_error_once(written, tmp_path, capfd):
    """With a base that is not there, so that the processes import no network."""
    recipe = written(train__accumulation=2, train__device="cpu", model__base=str(tmp_path / "nothing"))
    code, text = run(
        capfd, "train", recipe, "--run", str(tmp_path / "run"), "--devices", str(min(2, devices_found("cpu")))
    )
    assert code == 2 and text.count("error: ") == 1 and "nothing" in text
    assert not Path(tmp_path / "run").exists()
