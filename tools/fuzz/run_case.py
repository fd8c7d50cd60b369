"""One fuzz case: damaged copies of the inputs, a command in a forked process, and its outcome."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tools.fuzz.damage import damage
from tools.fuzz.draw import words_of
from tools.fuzz.inputs import Inputs

SECONDS = 60
"""CPU time of a case; more is a hang (a learning-rate test of 8 steps takes up to 25 s on a busy machine).

On the clock a case may take six times as much: others may use the machine.
"""
MEMORY = 24 << 30
_STEPS = "tidy drop convert flatten square dedupe trim clean crop upscale mask bucket sort repeats undo"
CHANGES = (
    {f"dataset {verb}" for verb in re.findall(r"\w+", _STEPS)}
    | {f"captions {verb}" for verb in ("edit", "tag", "compile")}
    | {f"queue {verb}" for verb in ("add", "stop", "resume", "move", "remove")}
    | {"train", "evaluate"}
)
"""Commands that change their input folder."""

_BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case."""

    number: int
    words: tuple[str, ...]
    code: int | str
    seconds: float
    out: str
    err: str
    wrong: str = ""
    """What is wrong; empty if nothing."""


def case(inputs: Inputs, number: int, workplace: Path, *, drawing: bool = True) -> Outcome:
    """Run one case in a process of its own and check its outcome; `drawing` includes commands that run models."""
    rng = random.Random(number)
    name, words = words_of(inputs, rng, drawing=drawing)
    home = workplace / f"case-{number}"
    home.mkdir()
    try:
        _set_out(inputs.folder, home, words)
        used = [
            w
            for w in words
            if w and "/" not in w and "\0" not in w and len(w) < 200 and (home / w).exists() and w != "."
        ]
        for word in used:
            if rng.random() < 0.6 and word not in ("..",):
                damage(home / word, rng)
        before = _state(home) if name not in CHANGES else {}
        code, seconds, out, err = _run(words, home)
        wrong = _fault(code, out, err)
        if not wrong and before and "--overwrite" not in words and "--write" not in words:
            after = _state(home)
            # What a command writes to, it may replace, if it was told to.
            outs = {
                words[i + 1]
                for i, w in enumerate(words[:-1])
                if w in ("-o", "--out", "--html", "--preview", "--figure", "--pictures", "--run")
            }
            changed = [
                k
                for k, v in before.items()
                if after.get(k) != v and not any(Path(k) == Path(o) or Path(o) in Path(k).parents for o in outs)
            ]
            wrong = f"changed {changed[:3]}" if changed else ""
        return Outcome(number, tuple(words), code, seconds, out, err, wrong)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _set_out(folder: Path, home: Path, words: list[str]) -> None:
    """Hard-link the named files and the images: commands replace files and must never write into them."""
    for path in folder.iterdir():
        if path.name != "photos" and not any(path.name in word for word in words):
            continue
        if path.is_dir():
            shutil.copytree(path, home / path.name, copy_function=os.link, symlinks=True)
        else:
            os.link(path, home / path.name)


def _state(home: Path) -> dict[str, str]:
    found = {}
    for path in sorted(home.rglob("*")):
        if (
            path.is_file()
            and not path.is_symlink()
            and path.relative_to(home).parts[0] not in (".cache", ".data", "model")
        ):
            found[str(path.relative_to(home))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _run(words: list[str], home: Path) -> tuple[int | str, float, str, str]:
    """Return the exit code (or `hang`), the seconds and the output."""
    from bakehouse.cli.main import main

    started = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()
            os.chdir(home)
            for descriptor, name in ((1, ".out"), (2, ".err")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.environ |= {
                "BAKEHOUSE_CACHE": str(home / ".cache"),
                "BAKEHOUSE_DATA": str(home / ".data"),
                "HOME": str(home),
            }
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8")
            main(words)
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 0 if e.code is None else 98
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    while time.monotonic() - started < SECONDS * 6:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.002)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        status = signal.SIGXCPU
    took = time.monotonic() - started
    code_or_signal = os.waitstatus_to_exitcode(status)
    ended: int | str = "hang" if code_or_signal in (-signal.SIGXCPU, -signal.SIGKILL) else code_or_signal
    texts = [
        (home / name).read_bytes().decode(errors="replace") if (home / name).is_file() else ""
        for name in (".out", ".err")
    ]
    return ended, took, texts[0], texts[1]


def _fault(code: int | str, out: str, err: str) -> str:
    if code not in (0, 1, 2, 130):
        return f"ended with {code}"
    for sign in ("bug in bakehouse", "Traceback", "Aborted!"):
        if sign in err:
            return sign
    if code not in (0, 130) and not (err.strip() or out.strip()):
        return "no message"
    if found := _BAD.search(out + err):
        return f"control character {found[0]!r}"
    return ""


def warm() -> None:
    """Import what commands import, once for all cases."""
    import PIL.Image
    import torch

    import bakehouse.cli.main
    import bakehouse.cli.weights
    import bakehouse.evaluation
    import bakehouse.generation
    import bakehouse.recipe
    import bakehouse.training

    torch.set_num_threads(1)
    assert PIL and bakehouse
