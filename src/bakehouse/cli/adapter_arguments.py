"""Adapters given with `--adapter`, in addition to the model's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.cli.render.consoles import print_warnings
from bakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from bakehouse.generation import ModelSource


def extra_adapters(
    source: ModelSource, texts: Sequence[str] | None, own_weight: float | None = None
) -> tuple[tuple[Path, float], ...]:
    """Return files and strengths of the additional adapters; warn of parts of the files that are not used.

    Raises:
        UsageError: not an adapter, not for this base model, or a strength for a model without an adapter.
    """
    if own_weight is not None and texts and not source.adapters:
        raise UsageError(
            f"--weight {own_weight:g} sets the strength of the model's own adapter, and {source.title} has none",
            hint=f"--adapter {texts[0].partition(':')[0]}:{own_weight:g}",
        )
    from bakehouse.generation.adapter_header import unapplied_notes
    from bakehouse.generation.adapter_options import parse_adapters

    found = parse_adapters(source, texts or ())
    print_warnings(note for path, _ in (*source.adapters, *found) for note in unapplied_notes(path))
    return found
