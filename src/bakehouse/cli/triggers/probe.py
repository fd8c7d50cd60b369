from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.captions.options import Vocabulary
from bakehouse.cli.options import BaseOption, Json, Quiet
from bakehouse.core.bundled_models import BUNDLED_BASE


def probe(
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help='Triggers to try: zwx "red hair".')],
    base: BaseOption = None,
    class_word: Annotated[str, typer.Option("--class", metavar="WORDS", help="What stands behind them.")] = "person",
    vocabulary: Vocabulary = None,
    noises: Annotated[int, typer.Option(help="Half-made pictures to compare on, at three timesteps each.")] = 4,
    rare: Annotated[int, typer.Option(help="Rare words to hold each word against.")] = 20,
    known: Annotated[int, typer.Option(help="Known words to hold them against.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the noises and of the words to compare with.")] = 0,
    draw: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw what the base makes of them.")] = None,
    pictures: Annotated[int, typer.Option(help="In a row of that sheet.")] = 4,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps or auto.")] = "auto",
    precision: Annotated[
        Literal["fp32", "fp16", "bf16"], typer.Option(help="Rare words move a base by little: fp32 sees it best.")
    ] = "fp32",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask a base model whether words are free to be triggers. Exit code 1: it knows one of them."""
    from bakehouse.cli.render.trigger_probe import print_probe, run_probe
    from bakehouse.evaluation.trigger_probe import ProbeSpec, load_known_words

    asked = {"class_word": class_word, "noises": noises, "rare": rare, "known": known, "seed": seed}
    spec, known_words = ProbeSpec.parse(asked, source="the probe"), load_known_words(base or BUNDLED_BASE, vocabulary)
    found, comparisons = run_probe(
        words, base or BUNDLED_BASE, known_words, spec,
        device=device, precision=precision, draw=draw, pictures=pictures, quiet=quiet or json,
    )  # fmt: skip
    print_probe(found, comparisons, draw, json=json, quiet=quiet)
    if found.unsuitable:
        raise typer.Exit(1)
