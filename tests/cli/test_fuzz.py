"""A small part of what `python -m tools.fuzz --cases 10000` tries: commands, names and files drawn at random."""

from __future__ import annotations

import os
import sys

import pytest

from tools.fuzz import Inputs, case, make_inputs
from tools.fuzz.run_case import warm

CASES = 12


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="each case runs in a forked process")
def test_every_command_ends_with_a_result_or_a_message(tmp_path):
    warm()
    inputs = Inputs(make_inputs(tmp_path / "inputs"))
    outcomes = [case(inputs, number, tmp_path, drawing=False) for number in range(CASES)]
    wrong = [(o.number, o.wrong, o.words, o.err[-500:]) for o in outcomes if o.wrong]
    assert not wrong
    assert {o.code for o in outcomes} >= {0, 2}  # some of them work, some are refused
