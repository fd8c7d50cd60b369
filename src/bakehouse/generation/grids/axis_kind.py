"""Kinds of axes: the rows of the table of axes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.generation.grids.cells import GridCell
from bakehouse.generation.grids.values import Ranged
from bakehouse.generation.model_source import ModelSource
from bakehouse.generation.request import ImageRequest

Parse = Callable[[str, ModelSource], Any]
"""Parses one value."""
Apply = Callable[[GridCell, Any, tuple[Any, ...]], GridCell]
"""Returns a cell with a value applied; the last argument is all values of the axis."""
Defaults = Callable[[ModelSource, ImageRequest], Sequence[Any]]


def always(*values: Any) -> Defaults:
    """Return defaults that depend on nothing."""
    return lambda source, request: values


def no_default(source: ModelSource, request: ImageRequest) -> Sequence[Any]:
    """An axis that needs values."""
    return ()


@dataclass(frozen=True)
class AxisKind:
    """One row: how a value is parsed, what it sets, and its label."""

    name: str
    label: str
    """A1111's name for it, if it has one."""
    parse: Parse
    apply: Apply
    defaults: Defaults = no_default
    bare: bool = False
    """Whether labels are the value alone, not `Seed: 1`."""
    ranged: Ranged | None = None
    """Which numbers `1-5` means; None: it is text."""
    sets: frozenset[str] = frozenset()
    """What the axis decides. Two axes of one grid may not decide the same."""
    takes: str = "words"
    """Which values it has, for a list of axes."""
    files: bool = False
    """Whether values are files, of which labels have the name alone."""

    def value_label(self, text: str) -> str:
        """Return the label of a value."""
        if self.files:
            text = re.sub(r"\.(safetensors|ckpt)(?=$|:)", "", Path(text).name) or text
        return text if self.bare else f"{self.label}: {text}"
