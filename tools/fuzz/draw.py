"""Random commands and arguments: most are valid, some are not."""

from __future__ import annotations

import random
import typing
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from tools.fuzz.inputs import Inputs

DRAWS = frozenset({"generate", "grid", "evaluate", "doctor", "find-rate", "triggers probe", "train"})
WORDS = (
    "", " ", "zwx", "zwx person", "\x1b[31mred", "\u202etxt", "a\nb", "x" * 300, "x" * 70000, "é😀", "--help", "-1",
    "0", "../../evil", "~", "/", ".", "..", "a=b", "=", "[", "]", "{", "}", "(((", "a:1.5", "(a:1e999)", "(a:nan)",
    "%s%d{x}", "\\", "\"", "'", "\udcff", "none", "auto", "null", "true", "nan", "1e400", "*", "?", "[a-", "(?P<",
    "a,b,,c", "<lora:x:1>", "\ud800",
)  # fmt: skip
NUMBERS = (
    "0", "1", "2", "4", "-1", "-0", "8", "64", "0.5", "1e9", "1000000000", "99999999999999999999999", "nan", "inf",
    "-inf", "1e400", "1e-320", "2147483648", "9223372036854775808", "", "x", "0x10", "٣", "1_000", "1,5", "3.7",
)  # fmt: skip
KEYS = (
    "adapter.rank", "adapter.alpha", "adapter.kind", "adapter", "adapter.dims", "adapter.include", "adapter.blocks",
    "train.batch", "train.steps", "train.epochs", "optimizer.lr", "optimizer.kind", "optimizer", "schedule.kind",
    "schedule", "schedule.warmup", "buckets.resolution", "buckets.step", "buckets.min", "buckets.max", "buckets",
    "concepts", "concepts.0", "concepts.5.x", "concepts.0.folder", "concepts.0.repeats", "concepts.-1.repeats",
    "concepts.x", "concepts.0.subject", "name", "seed", "kind", "model.base", "model.clip_skip", "model",
    "sample.prompts", "sample", "prior.source", "prior.weight", "loss.kind", "loss", "loss.weighting",
    "captions.separator", "captions.shuffle", "captions.keep_tokens", "noise.offset", "noise", "triggers",
    "stop.when", "cache", "device", "precision", "", ".", "..", "a.b.c", "__class__", "model_config",
)  # fmt: skip
VALUES = (
    "0", "1", "4", "-1", "1e9", "99999999999999999999999", "nan", "inf", "1e400", '""', '"x"', "x", "[]", "[1]", "{}",
    "{a=1}", '["a"', "true", '{"*"=0}', '{"*"=4}', '["zwx person --s 1 --l nan"]', '["zwx --w abc"]', '"a\\u0000b"',
    '"../../evil"', "", " ", "1979-05-27", "[" * 20000, '"lora"', '"lokr"', '"loha"', '"full"', '"adamw"',
    '"prodigy"', '"cosine"', '"v_prediction"', '["(?P<"]', '"' + "n" * 300 + '"', "16", "64", "512", '"generated"',
    '"folder"', "[[[]]]", '[{folder="photos"}]',
)  # fmt: skip


def words_of(inputs: Inputs, rng: random.Random, *, drawing: bool = True) -> tuple[str, list[str]]:
    """Return a command with all its arguments."""
    draws = rng.random() < 0.02 and drawing
    name = rng.choice([n for n in inputs.commands if (n in DRAWS) == draws])
    command, words, behind = inputs.commands[name], name.split(), []
    wild = rng.choice([0.0, 0.0, 0.03, 0.3])
    for parameter in command.params:
        option = parameter.param_type_name == "option"
        if option and (parameter.name in ("help", "device", "watch") or rng.random() > (0.15 if wild else 0.07)):
            continue
        times = rng.choice([0, 1, 2]) if parameter.nargs == -1 else 1
        for _ in range(times):
            value = _value(inputs, parameter, name, wild, rng)
            if not option:
                behind.append(value)
            elif getattr(parameter, "is_flag", False):
                words.append(rng.choice([*parameter.opts, *parameter.secondary_opts]))
            else:
                words += [parameter.opts[0], value]
    words += _completed(name, command, words, behind, rng)
    takes_out = any(p.name == "out" for p in command.params) and not {"-o", "--out"} & set(words)
    if takes_out and rng.random() < 0.8:
        words += ["-o", _output(name, "out", rng.random() >= wild, rng)]
    return name, [*words, *(["--"] if rng.random() < 0.05 else []), *behind]


_NEEDED = {
    "weights resize": ("--rank", "2"),
    "weights rescale": ("--factor", "0.5"),
    "weights extract": ("--base", "crumb"),
    "weights merge": ("--base", "crumb"),
    "dataset sort": ("--tag", "hat"),
    "dataset repeats": ("--write", "toml"),
    "generate": ("--width", "64", "--height", "64"),
    "grid": ("--width", "64", "--height", "64"),
    "evaluate": ("--set", "images=1", "--set", "weights=[1.0]", "--set", "steps=1"),
    "triggers probe": ("--noises", "1", "--rare", "2", "--known", "2"),
    "train": ("--dry-run",),
}
"""Arguments without which a command is refused at once, or takes minutes."""
_ALWAYS = frozenset({"evaluate", "triggers probe", "train"})
_WITH_SUBJECT = frozenset({"plan", "train", "queue add", "find-rate", "triggers explain"})


def _completed(name: str, command: Any, words: list[str], behind: list[str], rng: random.Random) -> list[str]:
    """Add arguments that get a command past its first check most of the time."""
    more = list(_NEEDED.get(name, ()))
    if more and name not in _ALWAYS and (more[0] in words or rng.random() < 0.3):
        more = []
    if "--steps" in {o for p in command.params for o in p.opts} and "--steps" not in words:
        more += ["--steps", "1"]
    if name in _WITH_SUBJECT and "--subject" not in words and "photos" in behind:
        more += ["--subject", "zwx person"]
    if name in ("dataset audit", "dataset drop") and rng.random() < 0.9:
        more += ["--no-faces", "--no-text"]  # seconds of loading their networks
    return more


def _output(command: str, parameter: str, tame: bool, rng: random.Random) -> str:
    if tame:
        endings = {"preview": ".html", "html": ".html", "figure": ".png"}
        usual = ".toml" if command in ("plan", "import", "find-rate") else ""
        usual = ".safetensors" if command.startswith("weights") else usual
        return f"out{endings.get(parameter, usual)}"
    return rng.choice(
        ["out", "out.safetensors", "out.toml", "out/a/b.html", "photos", "lora.safetensors", "recipe.toml", "", ".",
         "/", "full/x", "recipe.toml/x", "x" * 252, "x" * 260 + ".safetensors", "/dev/full", "/proc/x", "locked/x"]
    )  # fmt: skip


def _value(inputs: Inputs, parameter: Any, command: str, wild: float, rng: random.Random) -> str:
    kind = _kind(parameter)
    tame = rng.random() >= wild
    if not tame and rng.random() < 0.5:
        return rng.choice(WORDS)
    if isinstance(kind, tuple):
        return str(rng.choice(kind))
    if kind in (int, float):
        return rng.choice(["1", "2", "4", "8", "64", *(["0.1", "0.5"] if kind is float else [])] if tame else NUMBERS)
    if kind is Path:
        return _path(inputs, parameter.name, command, tame, rng)
    return _word(parameter.name, command, tame, rng)


def _path(inputs: Inputs, parameter: str, command: str, tame: bool, rng: random.Random) -> str:
    if parameter == "run" and command == "evaluate":
        return "run"
    if parameter in ("out", "preview", "html", "figure", "run", "pictures"):
        return _output(command, parameter, tame, rng)
    if tame and (likely := _likely(parameter, command)):
        return rng.choice(likely)
    return rng.choice([*inputs.names(), "nothing", *WORDS])


_TAME = {
    "templates": ("crumb", "toys", "toys:2", "nothing"),
    "slot": ("place=at night", "subject=a cat", "place"),
    "vocabulary": ("crumb", "tags.csv", "nothing"),
    "tagger": ("crumb", "nothing"),
    "base": ("crumb", "crumb", "model", "run", "nothing", "photos"),
    "model": ("crumb", "model", "run", "lora.safetensors", "nothing", "photos"),
    "adapter": ("lora.safetensors", "peft", "run", "nothing", "recipe.toml"),
    "settings": ("adapter.rank=2", "train.batch=1", "train.steps=3", "name=x", "buckets.resolution=64"),
}


def _word(parameter: str, command: str, tame: bool, rng: random.Random) -> str:
    if parameter == "settings" and (not tame or rng.random() < 0.5):
        return f"{rng.choice(KEYS)}={rng.choice(VALUES)}"
    if not tame:
        return rng.choice([*WORDS, "zwx person", "person", "smile", "hat"])
    if parameter in ("source", "tuned", "path", "files"):
        return rng.choice(_likely(parameter, command) or ["photos"])
    usual = ("zwx person", "hat", "smile", "person", "zwx", "a=b", "steps=1,2", "weight=0.5")
    return rng.choice(_TAME.get(parameter, usual))


_LIKELY = {
    "folder": ("photos",), "source": ("photos", "recipe.toml", "concepts.json", "run"), "run": ("run",),
    "recipe": ("recipe.toml",), "triggers": ("triggers.toml",), "rules": ("rules.toml",), "vocabulary": ("tags.csv",),
    "against": ("audit.json",), "queue": ("queue",), "file": ("queue",), "thumbnail": ("photos/1.png",),
    "images": ("photos",), "a": ("photos",), "b": ("photos", "hf"),
    "where": ("model", "lora.safetensors"), "model": ("crumb", "model", "run"),
}  # fmt: skip


def _likely(parameter: str, command: str) -> list[str]:
    if command == "import":
        return ["kohya.toml", "gui.json", "run.sh", "one.json", "toolkit.yaml", "run.ps1", "recipe.toml"]
    if command == "dataset import":
        return [
            "archive.zip",
            "photos",
            "film.avi",
            "films",
            "concepts.json",
            "kohya.toml",
            "hf",
            "photos/1.png",
            "lzma.zip",
            "bz2.zip",
        ]
    if command.startswith("weights") or parameter in ("adapter", "files"):
        return [
            "lora.safetensors",
            "lora.safetensors",
            "peft",
            "run",
            "model",
            "lora.pt",
            "f8.safetensors",
            "bf16.safetensors",
        ]
    return list(_LIKELY.get(parameter, ()))


def _kind(parameter: Any) -> Any:
    """Return `int`, `float`, `Path`, `str`, or the allowed values."""
    left = [parameter.type_descriptor.annotation]
    while left:
        one = left.pop()
        if typing.get_origin(one) is Literal:
            return typing.get_args(one)
        if isinstance(one, type) and issubclass(one, Enum):
            return tuple(member.value for member in one)
        if one in (int, float, Path, str):
            return one
        left += typing.get_args(one)
    return str
