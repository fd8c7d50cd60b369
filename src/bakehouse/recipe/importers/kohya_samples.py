"""Conversion of kohya's sample prompts: when they are generated, and files of them (.txt, .toml, .json)."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.settings import read_toml
from bakehouse.data.captions import decode_text
from bakehouse.recipe.importers.option_table import Assignment, Outcome, Settings, converts
from bakehouse.recipe.sample_prompt import KOHYA_SAMPLERS

_KNOWN = ("n", "w", "h", "d", "l", "s", "ss")
_WORDS = {
    "negative_prompt": "n",
    "width": "w",
    "height": "h",
    "seed": "d",
    "scale": "l",
    "sample_steps": "s",
    "sample_sampler": "ss",
}


@converts("sample_prompts", "sample_every_n_steps", "sample_every_n_epochs", "sample_at_first", "sample_sampler")
def samples(s: Settings) -> Iterator[Outcome]:
    """Convert prompts from their file; epochs win over steps; kohya's own sampler, steps and scale."""
    prompts = yield from _prompts(s)
    if not prompts:
        yield Assignment("sample.every_epochs", 0, ("sample_prompts",))
        yield Assignment("sample.at_start", False, ("sample_prompts",))
        return
    yield Assignment("sample.prompts", prompts, ("sample_prompts",))
    epochs, steps = s["sample_every_n_epochs"] or 0, s["sample_every_n_steps"] or 0
    yield Assignment("sample.every_epochs", max(0, epochs), ("sample_every_n_epochs",))
    yield Assignment("sample.every_steps", 0 if epochs > 0 else max(0, steps), ("sample_every_n_steps",))
    yield Assignment("sample.at_start", bool(s["sample_at_first"]), ("sample_at_first",))
    yield Assignment("sample.sampler", KOHYA_SAMPLERS.get(s["sample_sampler"], "ddim"), ("sample_sampler",))
    yield Assignment("sample.steps", 30, ("sample_prompts",))
    yield Assignment("sample.guidance", 7.5, ("sample_prompts",))


def _prompts(s: Settings) -> Generator[Outcome, None, list[str]]:
    """Yield notes, and return the prompts as lines that recipes understand."""
    given = s["sample_prompts"]
    if not given:
        return []
    where, there = s.path("sample_prompts")
    there = there and Path(where).is_file()
    if not there and Path(where).suffix.lower() in (".txt", ".toml", ".json"):
        yield s.note("sample_prompts", "unsupported", "file not found: put the prompts into sample.prompts")
        return []
    lines = read_prompts(Path(where)) if there else str(given).splitlines()
    kept = [_line(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    left = sorted({key for _, keys in kept for key in keys})
    if left:
        yield s.note(
            "sample_prompts", "unsupported", f"unknown options in a prompt: {', '.join('--' + k for k in left)}"
        )
    return [line for line, _ in kept]


def read_prompts(path: Path) -> list[str]:
    """Return kohya's .txt, .toml or .json of sample prompts as lines."""
    if path.suffix.lower() == ".toml":
        table = read_toml(path).get("prompt", {})
        return [_joined({**{k: v for k, v in table.items() if k != "subset"}, **x}) for x in table.get("subset", [])]
    text, _, _ = decode_text(path.read_bytes())
    if path.suffix.lower() == ".json":
        return [x if isinstance(x, str) else _joined(x) for x in parse_json(text)]
    return text.splitlines()


def _joined(entry: Mapping[str, Any]) -> str:
    options = "".join(f" --{_WORDS.get(k, k)} {v}" for k, v in entry.items() if k not in ("prompt", "enum"))
    return f"{entry.get('prompt', '')}{options}"


def _line(line: str) -> tuple[str, list[str]]:
    """Return a prompt with the options that recipes support, and the names of the others."""
    prompt, *options = re.split(r"\s--(\w+)(?=\s|$)", " " + line.strip())
    left: list[str] = []
    kept = [prompt.strip()]
    for name, value in zip(options[::2], options[1::2], strict=True):
        key = name.lower()
        if key not in _KNOWN:
            left.append(name)
            continue
        word = value.strip()
        kept.append(f"--{key} {KOHYA_SAMPLERS.get(word.lower(), word) if key == 'ss' else word}")
    return " ".join(kept), left
