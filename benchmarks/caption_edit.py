"""Time to edit captions: `python -m benchmarks.caption_edit`.

Writes captions of 28 tags each, half of which want to be cleaned, and goes through what `bakehouse captions edit` does:
reading, the rules `clean` with a trigger and an order, writing as a step, and taking it back. Then the command itself,
started as a user does, and the command that takes it back.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bakehouse.captions import RuleSet, parse_rules
from bakehouse.captions.caption_files import read_captions
from bakehouse.captions.edit_captions import Edit
from bakehouse.curation import apply_and_undo
from bakehouse.curation.changeset import Proposal
from bakehouse.data.image_records import ImageSet

COLORS = ("red", "blue", "green", "white", "black", "brown", "pink", "blonde")
NOUNS = ("shirt", "skirt", "hair", "eyes", "dress", "hat", "gloves", "boots", "ribbon", "bow", "jacket", "background")
OTHERS = ("1girl", "solo", "absurdres", "highres", "meme", "jewelry", "earrings", "smile", "^_^", "looking_at_viewer")
TRIGGER = "zwx"


def write(folder: Path, captions: int) -> None:
    """Write `count` caption files, the same ones each time."""
    folder.mkdir()
    rng = random.Random(0)
    usual = [*(f"{color}_{noun}" for color in COLORS for noun in NOUNS), *NOUNS, *OTHERS]
    rare = [f"thing {i}" for i in range(4000)]
    for i in range(captions):
        tags = [TRIGGER, *rng.sample(usual, 20), *rng.sample(rare, 7)]
        (folder / f"{i:06}.txt").write_text(", ".join(tags) + "\n", encoding="utf-8")


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Run a function; print wall and processor time."""
    wall, cpu = time.perf_counter(), _of_processors()
    result = work()
    print(f"{what:32} {time.perf_counter() - wall:7.2f} s {_of_processors() - cpu:7.2f} s of a processor", flush=True)
    return result


def _of_processors() -> float:
    """Return processor seconds of this process and of its finished children."""
    return sum(os.times()[:4])


def command(*arguments: str) -> None:
    """Run `bakehouse` as a user does."""
    subprocess.run([sys.executable, "-m", "bakehouse", *arguments], check=True, capture_output=True)


def main() -> None:
    """Write captions, edit them and undo it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.caption_edit", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--captions", type=int, default=10_000)
    count = parser.parse_args().captions
    added: list[dict[str, Any]] = [{"kind": "add", "tags": [TRIGGER]}, {"kind": "sort", "triggers": [TRIGGER]}]
    verb = Edit(rules=RuleSet.load_rules("clean").with_rules(parse_rules(added)))
    with tempfile.TemporaryDirectory() as temporary:
        root, other = Path(temporary, "phases"), Path(temporary, "command")
        write(root, count)
        write(other, count)  # what was edited once is in the store already
        timed("read", lambda: read_captions(root))
        made = timed("read, rules", lambda: list(verb.propose(ImageSet((), root=root))))
        proposals = [p for p in made if isinstance(p, Proposal)]
        timed(f"write {len(proposals)} as a step", lambda: apply_and_undo.apply_proposals(root, "edit", proposals))
        left = timed("read, rules, nothing to do", lambda: list(verb.propose(ImageSet((), root=root))))
        assert not any(isinstance(p, Proposal) for p in left), "edited twice is not edited once"
        timed("take it back", lambda: apply_and_undo.undo(root))
        edit = ("captions", "edit", str(other), "--rules", "clean", "--add", TRIGGER, "--sort", "frequency")
        timed("the whole command", lambda: command(*edit))
        timed("the command that takes it back", lambda: command("dataset", "undo", str(other)))


if __name__ == "__main__":
    main()
