"""Pages of the documentation: their commands, and the same commands with less work for tests."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CONSOLE = re.compile(r"(<!-- not run: .+? -->\n)?```console\n(.*?)```", re.DOTALL)

CHEAP_TRAINING = {
    "train.steps": "2",
    "train.batch": "1",
    "prior.source": '"none"',
    "sample.prompts": "[]",
    "adapter.text": "false",
    "evaluate.images": "2",
    "evaluate.steps": "1",
    "evaluate.weights": "[1.0]",
}
"""Settings added to a page's commands, so that each runs in a second or two."""
CHEAP_SLIDER = {
    "slider.steps": "3",
    "slider.points": "2",
    "slider.strengths": "[1.0]",
    "slider.images": "1",
    "sample.steps": "1",
}
"""Those added to commands about `smile.toml`."""

WITHOUT_NETWORK = ("adapter.text",)
"""Settings that commands about `zwx.toml` lack: no network trains with an embedding."""


def commands(page: Path) -> list[str]:
    """Return the lines of a page's console blocks, except blocks with a reason not to run them."""
    return [
        line
        for skipped, block in CONSOLE.findall(page.read_text("utf-8"))
        if not skipped
        for line in block.splitlines()
    ]


def cheaper(line: str) -> list[str]:
    """Return the words of a command, changed to do less work."""
    words = shlex.split(line)
    if words[1] in ("plan", "train"):
        settings = {**CHEAP_TRAINING, **(CHEAP_SLIDER if "smile.toml" in words else {})}
        settings = {k: v for k, v in settings.items() if "zwx.toml" not in words or k not in WITHOUT_NETWORK}
        words += [w for key, value in settings.items() for w in ("--set", f"{key}={value}")]
    if words[1] == "dreambench":
        few = {k: v for k, v in CHEAP_TRAINING.items() if not k.startswith(("sample", "evaluate"))} | {
            "evaluate.steps": "1"
        }
        words += [w for key, value in few.items() for w in ("--set", f"{key}={value}")]
        words += ["--prompts", "1", "--images", "1"]
    if words[1] in ("generate", "grid") and "--again" not in words:
        words += ["--steps", "1"]
    if words[1:3] == ["dataset", "extend"] and "-n" in words:
        words[words.index("-n") + 1] = "2"
        words += ["--tries", "1"]
    if words[1] == "evaluate":
        words = [re.sub(r"^images=\d+$", "images=2", word) for word in words]
    if "-n" in words and words[1] == "generate":
        count = words.index("-n") + 1
        words[count] = str(min(int(words[count]), 2))
    if "--img2img" in words:
        words[words.index("--img2img") + 1] = "0.01"
    if words[1:3] == ["triggers", "probe"]:
        words += ["--noises", "1", "--rare", "5", "--known", "4"]
    return words
