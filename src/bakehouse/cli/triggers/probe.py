from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.captions.options import Vocabulary
from bakehouse.cli.options import BaseOption, Json, Quiet
from bakehouse.core.bundled_models import BUNDLED_BASE


def probe(
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help='Triggers to test, e.g. zwx "red hair".')],
    base: BaseOption = None,
    class_word: Annotated[
        str, typer.Option("--class", metavar="WORDS", help="Class word after the trigger.")
    ] = "person",
    vocabulary: Vocabulary = None,
    noises: Annotated[int, typer.Option(help="Number of noisy latents per word, at three timesteps each.")] = 4,
    rare: Annotated[int, typer.Option(help="Number of rare control words.")] = 20,
    known: Annotated[int, typer.Option(help="Number of known control words.")] = 12,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    draw: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Write a sheet of sample images to this file.")
    ] = None,
    images: Annotated[int, typer.Option(help="Images per row of the sheet.")] = 4,
    device: Annotated[str, typer.Option(metavar="NAME", help="Device: auto, cpu, mps, cuda or cuda:1.")] = "auto",
    precision: Annotated[
        Literal["fp32", "fp16", "bf16"],
        typer.Option(help="Number format of the computation; fp32 is the most sensitive."),
    ] = "fp32",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Test whether the base model already knows a trigger word.

    Exit code 1 if it knows one of the words.
    """
    from bakehouse.cli.render.trigger_probe import print_probe, run_probe
    from bakehouse.evaluation.trigger_probe import ProbeSpec, load_known_words

    asked = {"class_word": class_word, "noises": noises, "rare": rare, "known": known, "seed": seed}
    spec, known_words = ProbeSpec.parse(asked, source="the probe"), load_known_words(base or BUNDLED_BASE, vocabulary)
    found, comparisons = run_probe(
        words, base or BUNDLED_BASE, known_words, spec,
        device=device, precision=precision, draw=draw, images=images, quiet=quiet or json,
    )  # fmt: skip
    print_probe(found, comparisons, draw, json=json, quiet=quiet)
    if found.unsuitable:
        raise typer.Exit(1)
