"""Duration of each stage of a longer command."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bakehouse.cli.render.consoles import stderr_console
from bakehouse.core.units import duration


class StageTimer:
    """`with timer("train"): ...` prints the name of a stage and measures its seconds."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.stages: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        if not self.quiet:
            stderr_console().print(f"== {stage}", style="bold")
        began = time.monotonic()
        yield
        self.stages[stage] = time.monotonic() - began

    def __str__(self) -> str:
        parts = [f"{stage} {duration(seconds)}" for stage, seconds in self.stages.items()]
        return ", ".join([*parts, f"total {duration(sum(self.stages.values()))}"])
