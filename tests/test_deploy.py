"""The files for containers and services: what they promise, as far as it can be checked without root."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from bakehouse.cli.queue import queue

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
SYSTEMD = shutil.which("systemd-analyze")


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit_and_rates_it_as_the_page_says(tmp_path):
    unit = tmp_path / "bakehouse.service"
    text = (DEPLOY / "bakehouse.service").read_text()
    text = text.replace("/opt/bakehouse/bin/bakehouse", shutil.which("true") or "")
    unit.write_text(text.replace("User=bakehouse", "User=daemon").replace("Group=bakehouse", "Group=daemon"))
    done = subprocess.run([SYSTEMD, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rated = subprocess.run(
        [SYSTEMD, "security", "--offline=true", "--no-pager", "--threshold=25", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout


def test_both_run_the_server_without_root_and_keep_data_in_one_place():
    unit = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "bakehouse.service").read_text(), re.MULTILINE))
    assert (unit["User"], unit["ProtectSystem"], unit["StateDirectory"]) == ("bakehouse", "strict", "bakehouse")
    container = (DEPLOY / "Containerfile").read_text()
    assert re.search(r"^USER 10001:10001$", container, re.MULTILINE)
    assert re.search(r'^VOLUME \["/data"\]$', container, re.MULTILINE)
    for name in ("BAKEHOUSE_DATA", "BAKEHOUSE_CACHE", "HF_HOME", "HOME"):
        assert re.search(rf"\b{name}=/data\b", container)
        assert f"Environment={name}=/var/lib/bakehouse" in (DEPLOY / "bakehouse.service").read_text()


def test_the_container_copies_files_that_exist():
    container = (DEPLOY / "Containerfile").read_text()
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", container, re.MULTILINE) for name in line.split()
    ]
    allowed = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    assert copied and all((ROOT / name).exists() and f"!{name}" in allowed for name in copied)


def test_the_server_knows_the_options_that_both_give_it():
    from bakehouse.cli.serve import serve

    text = (DEPLOY / "bakehouse.service").read_text() + (DEPLOY / "Containerfile").read_text()
    options = {o[2:].replace("-", "_") for o in re.findall(r"--(?:host|port|allow-host)\b", text)}
    assert options and options <= set(serve.__annotations__)


def test_slurms_file_is_a_script_that_trains():
    script = DEPLOY / "slurm.sbatch"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "-m -- bakehouse train" in script.read_text()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_accepts_slurms_file():
    subprocess.run(["shellcheck", DEPLOY / "slurm.sbatch"], check=True)


def test_the_queue_on_kubernetes_uses_commands_that_exist():
    """Against KubeRay's own schema of RayJob it was checked when it was written."""
    job, volume = yaml.safe_load_all((DEPLOY / "kuberay-queue.yaml").read_text())
    words = job["spec"]["entrypoint"].split()
    assert words[:3] == ["bakehouse", "queue", "run"]
    group = typer.main.get_command(queue)
    group.commands["run"].make_context("run", words[3:])
    cluster = job["spec"]["rayClusterSpec"]
    for pods in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = pods["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert {"name": "data", "mountPath": "/data"} in spec["containers"][0]["volumeMounts"]
        assert spec["volumes"][0]["persistentVolumeClaim"]["claimName"] == volume["metadata"]["name"]
