"""How long the main commands take on this machine, each in a fresh process: `make bench`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

STEPS = 40
COMMANDS = (
    ("the help", ["--help"]),
    ("a plan of 16 images", ["plan", "photos", "--subject", "zwx person", "-o", "me.toml", "--quiet"]),
    (
        f"{STEPS} steps of batch 8, begun from nothing",
        ["train", "me.toml", "--run", "run", "--set", f"train.steps={STEPS}", "--set", "sample.prompts=[]"],
    ),
    ("4 pictures of 20 steps", ["generate", "run", "zwx person", "-n", "4", "--seed", "1"]),
)


def main() -> None:
    """Prints seconds a command; the second of two runs of the help counts, since the first reads the disk."""
    command = str(Path(sys.executable).with_name("bakehouse"))
    photos = Path(str(resources.files("bakehouse"))) / "assets" / "examples" / "mira"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(photos, Path(folder) / "photos")
        environment = {**os.environ, "BAKEHOUSE_CACHE": str(Path(folder) / "cache")}
        subprocess.run([command, "--help"], env=environment, check=True, stdout=subprocess.DEVNULL)
        print(f"{os.cpu_count()} cores")
        for name, words in COMMANDS:
            began = time.monotonic()
            subprocess.run([command, *words], cwd=folder, env=environment, check=True, capture_output=True)
            print(f"{time.monotonic() - began:8.2f} s  {name}", flush=True)


if __name__ == "__main__":
    main()
