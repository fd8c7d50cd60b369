"""What `--adapter` puts beside a model's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.cli.render.consoles import print_warnings
from bakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from bakehouse.generation import ModelSource


def more_adapters(
    source: ModelSource, texts: Sequence[str] | None, own_weight: float | None = None
) -> tuple[tuple[Path, float], ...]:
    """The files and weights that were asked for; says what is in the files that is not read.

    Raises:
        UsageError: not an adapter, or not for this base; or a weight for an adapter that the model does not have.
    """
    if own_weight is not None and texts and not source.adapters:
        raise UsageError(
            f"--weight {own_weight:g} is of the model's own adapter, and {source.title} has none",
            hint=f"--adapter {texts[0].partition(':')[0]}:{own_weight:g}",
        )
    from bakehouse.generation.adapter_header import unapplied_notes
    from bakehouse.generation.adapter_options import parse_adapters

    found = parse_adapters(source, texts or ())
    print_warnings(note for path, _ in (*source.adapters, *found) for note in unapplied_notes(path))
    return found
