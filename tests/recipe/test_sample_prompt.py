"""Sample prompts: read as sd-scripts reads them, and whatever a plan lets through can be drawn."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakehouse.core.errors import UsageError
from bakehouse.models.samplers import SAMPLERS, find_sampler
from bakehouse.recipe.recipe import SampleSpec
from bakehouse.recipe.sample_prompt import KOHYA_SAMPLERS, parse_sample_prompt, rounded, sample_defaults

KOHYA = json.loads((Path(__file__).parent / "kohya_sample_lines.json").read_text("utf-8"))["lines"]
DEFAULTS = sample_defaults(SampleSpec(steps=30, guidance=7.5, seed=99), 512)


@pytest.mark.parametrize("answer", KOHYA, ids=lambda a: a["line"])
def test_lines_are_read_as_sd_scripts_reads_them(answer):
    read = vars(parse_sample_prompt(answer["line"], DEFAULTS))
    expected = {**answer, "seed": 99 if answer["seed"] is None else answer["seed"]}
    assert {name: read[name] for name in expected if name != "line"} == {
        name: value for name, value in expected.items() if name != "line"
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a --w 500 --h 512", ["--w 500 is used as 496"]),
        ("a --l 0.5", ["--l 0.5 is used as 1"]),
        ("a --s 2000 --h 8", ["--h 8 is used as 64", "--s 2000 is used as 1000"]),
        ("a --l 7 --s 30 --d 500", []),
    ],
)
def test_what_is_rounded_is_said(line, said):
    assert sorted(rounded(line)) == said


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("a --w abc", r"--w 'abc': is not a number"),
        ("a --w 1.5", r"--w '1.5': is not a number"),
        ("a --w", r"--w '': is not a number"),
        ("a --w --h 64", r"--w '': is not a number"),
        ("a --w -64", r"--w '-64': a side in pixels, 1 to 8192"),
        ("a --h 999999999999999999999", r"--h .*: is not a number"),
        ("a --h 100000", r"a side in pixels, 1 to 8192"),
        ("a --d -1", r"a seed is 0 to"),
        ("a --l nan", r"--l 'nan': is not a number"),
        ("a --l inf", r"--l 'inf': is not a number"),
        ("a --l -1", r"--l '-1': is not a number of at least 0"),
        ("a --ss eular_a", r"--ss 'eular_a': .*unknown.*did you mean"),
        ("a --g 3.5", r"unknown option --g; supported are --n"),
        ("a --l=7", r"unknown option --l=7"),
    ],
)
def test_what_cannot_be_drawn_is_named(line, match):
    with pytest.raises(UsageError, match=re.compile(match, re.DOTALL)):
        parse_sample_prompt(line, DEFAULTS)


def test_samplers_by_either_name():
    for name in (*KOHYA_SAMPLERS, "DPM++ 2M Karras", "euler a", "DDIMScheduler"):
        assert find_sampler(parse_sample_prompt(f"a --ss {name}", DEFAULTS).sampler).label.lower() in SAMPLERS


def test_a_resolution_that_no_model_draws_is_rounded():
    assert (sample_defaults(SampleSpec(), 500).width, sample_defaults(SampleSpec(), 48).height) == (496, 64)


_VALUE = st.one_of(
    st.integers(-10, 10**12).map(str), st.floats().map(repr), st.text(max_size=8), st.sampled_from(["", "ddim"])
)
_OPTION = st.tuples(st.sampled_from(["n", "w", "h", "d", "l", "s", "ss", "W"]), _VALUE).map(
    lambda kv: f" --{kv[0]} {kv[1]}"
)


@settings(max_examples=60)
@given(st.text(max_size=20), st.lists(_OPTION, max_size=4))
def test_what_is_let_through_can_be_drawn(prompt, options):
    try:
        read = parse_sample_prompt(prompt + "".join(options), DEFAULTS)
    except UsageError:
        return
    for side in (read.width, read.height):
        assert side % 8 == 0 and 64 <= side <= 8192
    assert 1 <= read.steps <= 1000 and 1 <= read.guidance < float("inf") and 0 <= read.seed < 2**63
    find_sampler(read.sampler)
