"""Fuzz the command line with damaged files, odd names and odd arguments.

`python -m tools.fuzz --cases 10000` runs random commands, each in a forked process with its own copy of a small
folder of valid inputs, some of them damaged. A case is bad if it ends in anything but a result or a message, takes too
long, writes control characters, or changes a file that it should only read. The same number gives the same case:
`python -m tools.fuzz --from 4711 --cases 1 --show`.
"""

from __future__ import annotations

from tools.fuzz.inputs import Inputs as Inputs
from tools.fuzz.inputs import make_inputs as make_inputs
from tools.fuzz.run_case import Outcome as Outcome
from tools.fuzz.run_case import case as case
