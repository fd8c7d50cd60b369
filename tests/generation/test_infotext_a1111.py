"""Infotext as A1111's own parser reads it: its answers to these texts are kept in infotext_a1111.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bakehouse.generation.infotext import Infotext

DATA = json.loads((Path(__file__).parent / "infotext_a1111.json").read_text("utf-8"))


def as_there(info: Infotext) -> dict[str, str]:
    """In the form that A1111 gives: a size is two numbers, and prompts stand among the settings."""
    answer = {"Prompt": info.prompt, "Negative prompt": info.negative}
    for name, value in info.settings:
        size = re.match(r"^(\d+)x(\d+)$", value)
        answer |= {f"{name}-1": size[1], f"{name}-2": size[2]} if size else {name: value}
    return answer


@pytest.mark.parametrize("case", DATA["reads"], ids=lambda c: c["text"][:40])
def test_texts_are_read_as_a1111_reads_them(case: dict[str, Any]) -> None:
    assert as_there(Infotext.parse(case["text"])) == case["a1111"]


@pytest.mark.parametrize("case", DATA["beyond"], ids=lambda c: c["text"][-40:])
def test_settings_that_a1111_loses_are_found(case: dict[str, Any]) -> None:
    assert set(case["a1111"]) == {"Prompt", "Negative prompt"}, "there, all of it is a prompt"
    info = Infotext.parse(case["text"])
    assert {"prompt": info.prompt, "negative": info.negative, "settings": dict(info.settings)} == case["ours"]
    assert Infotext.parse(str(info)) == info


@pytest.mark.parametrize("case", DATA["writes"], ids=lambda c: c["prompt"][:40])
def test_what_is_written_is_read_back_by_a1111_and_by_us(case: dict[str, Any]) -> None:
    info = Infotext.make(case["prompt"], case["negative"], case["settings"])
    assert str(info) == case["text"]
    assert as_there(info) == case["a1111"]
    assert Infotext.parse(case["text"]) == info
