"""Jobs in a Ray cluster of nodes on this machine: a node that is killed takes no job with it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bakehouse.core.errors import UsageError
from bakehouse.queue.executor import make_executor
from bakehouse.queue.ray_executor import RayExecutor
from bakehouse.queue.scheduler import run_jobs

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

MEMORY = {"object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster():
    """A cluster whose head runs no jobs."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # Processes of the cluster and their workers import what the tests import.
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(Path.cwd())])
        )
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **MEMORY})
        patch.setenv("RAY_ADDRESS", made.address)
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture
def node(cluster):
    found = cluster.add_node(num_cpus=1, **MEMORY)
    yield found
    for one in [n for n in cluster.worker_nodes if n in cluster.list_all_nodes()]:
        cluster.remove_node(one, allow_graceful=False)


@pytest.fixture
def recipe(tmp_path, tiny_folder):
    """The TOML of a training of a few seconds."""
    from PIL import Image

    from bakehouse.recipe import recipe_for_folder, recipe_to_toml

    (tmp_path / "photos").mkdir()
    for n in range(4):
        Image.new("RGB", (64, 64), (60 * n, 120, 200)).save(tmp_path / "photos" / f"{n}.png")
    settings = {
        "buckets.resolution": 64, "buckets.step": 16, "train.batch": 1, "train.epochs": 8, "concepts.0.repeats": 2,
        "prior.source": "none", "sample.prompts": [], "optimizer.lr": 1e-3, "save.every_epochs": 0,
        "save.state_every_seconds": 0.2, "save.dtype": "fp32",
    }  # fmt: skip
    made = recipe_for_folder(tmp_path / "photos", "zwx person", base=str(tiny_folder), settings=settings)
    return recipe_to_toml(made.resolved_from(tmp_path))


def steps(run):
    try:
        return (run / "events.jsonl").read_text().count('"event": "step"')
    except FileNotFoundError:
        return 0


def test_a_job_goes_on_elsewhere_when_its_node_is_lost(cluster, node, queue, recipe, tmp_path, until):
    from bakehouse.recipe import Recipe
    from bakehouse.training import train

    job = queue.add("me", recipe, tmp_path / "run")
    events = []
    work = run_jobs(queue, ["cpu"], executor=make_executor("ray"))
    thread = threading.Thread(target=lambda: events.extend(work))
    thread.start()
    until(lambda: steps(job.run) > 3, 200)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1, **MEMORY)
    thread.join(300)
    assert not thread.is_alive() and [(j.state, j.error) for j in queue.jobs()] == [("done", "")]
    (tmp_path / "me.toml").write_text(recipe)
    for _ in train(Recipe.load(tmp_path / "me.toml"), tmp_path / "alone"):
        pass
    assert steps(tmp_path / "alone") == 64 <= steps(job.run)
    here, there = (load_file(f / "weights" / "zwx-person.safetensors") for f in (tmp_path / "alone", job.run))
    assert all(torch.equal(there[name], here[name]) for name in here)


def test_a_job_waits_for_a_free_node_and_can_be_taken_back(cluster, tmp_path):
    executor = RayExecutor()
    began = time.monotonic()
    handle = executor.start(tmp_path / "none.toml", tmp_path / "run", "cpu")
    assert handle.poll() is None
    handle.terminate()
    assert handle.poll() is not None and time.monotonic() - began < 30


def test_a_node_without_the_files_is_named(cluster, node, tmp_path, until):
    handle = RayExecutor().start(tmp_path / "none.toml", tmp_path / "run", "cpu")
    until(lambda: handle.poll() is not None, 60)
    assert "none.toml is not there" in handle.log() and os.uname().nodename in handle.log()


def test_devices_are_kinds_with_numbers(cluster):
    executor = RayExecutor()
    for device in ("auto", "cpu", "cpu:3"):
        executor.check_device(device)
    with pytest.raises(UsageError, match="has no GPU"):
        executor.check_device("cuda:1")
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        executor.check_device("tpu")
