"""Runs a trigger probe with progress, and prints its result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table
from bakehouse.cli.render.events import progress_renderer
from bakehouse.cli.render.safe_printing import echo

if TYPE_CHECKING:
    from bakehouse.evaluation.trigger_probe import KnownWords, ProbeResult, ProbeSpec, SampleComparison, WordResult


def run_probe(
    words: Sequence[str],
    base: str,
    vocabulary: KnownWords,
    spec: ProbeSpec,
    *,
    device: str,
    precision: Literal["fp32", "fp16", "bf16"],
    draw: Path | None,
    images: int,
    quiet: bool,
) -> tuple[ProbeResult, tuple[SampleComparison, ...]]:
    """Load the base model, probe the words and generate the sheet.


    Raises:
        UsageError: not a base model, words that cannot be triggers, or a sheet that cannot be written.
    """
    from bakehouse.core.events import result_of
    from bakehouse.evaluation.trigger_probe import check_sheet, draw_sample_sheet, probe_words, resolve_base
    from bakehouse.generation import Pipeline

    source = resolve_base(base)
    if draw:
        check_sheet(draw, images)
    with progress_renderer(quiet=quiet) as on_event, Pipeline.open(source, device=device, dtype=precision) as pipeline:
        work = probe_words(pipeline.denoiser, words, vocabulary, spec, clip_skip=source.clip_skip)
        found = result_of(work, on_event)
        return found, draw_sample_sheet(pipeline, found, draw, seeds=images, on_event=on_event) if draw else ()


def print_probe(
    probe: ProbeResult,
    comparisons: Sequence[SampleComparison],
    sheet: Path | None,
    *,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Print a table (not with `quiet`) and a sentence for each word."""
    if json:
        print_json({**probe.to_json(), "looks": [dataclasses.asdict(c) for c in comparisons]})
        return
    if not quiet:
        print_table(_table(probe, comparisons))
        echo()
    for result in probe.words:
        echo(result.why)
    if probe.better:
        echo(f"free words to use instead: {', '.join(probe.better)}")
    if sheet is not None:
        echo(f"wrote {sheet}")


def _table(probe: ProbeResult, comparisons: Sequence[SampleComparison]) -> Table:
    before = f" before {probe.class_word!r}" if probe.class_word else " alone"
    title = (
        f"{probe.base}{before}; known words ({probe.vocabulary}) shift the prediction more than rare ones in "
        f"{probe.responsive_pairs} of {probe.pairs} pairs"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("word", style="bold", no_wrap=True)
    table.add_column("verdict")
    table.add_column("tokens")
    for name in ("shift", "of a known word", "reach", "p"):
        table.add_column(name, justify="right")
    table.add_column("nearest words", style="dim")
    if comparisons:
        table.add_column("spread", justify="right")
        table.add_column("change", justify="right")
    drawn = {c.word: (f"{c.spread:.2f}", f"{c.change:.2f}") for c in comparisons}
    for result in probe.words:
        table.add_row(*_cells(result), *drawn.get(result.word, ()))
    return table


def _cells(r: WordResult) -> tuple[str, ...]:
    pieces = " ".join(piece.removesuffix("</w>") for piece in r.pieces)
    near = ", ".join(f"{n.word} {n.cosine:.2f}" for n in r.nearest)
    reach = f"{r.reach:.2f}" if math.isfinite(r.reach) else "-"
    return r.word, r.verdict, pieces, f"{r.shift:.4f}", f"{r.share:.0%}", reach, f"{r.p:.2f}", near
