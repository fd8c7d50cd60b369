"""Train crumb with every adapter and optimizer, evaluate, and write the table of docs/adapters.md.

    python -m tools.benchmark_adapter_kinds --out build/adapters

Each cell is a run folder, so the command can be interrupted and run again. All cells use the
plan's numbers for their adapter and optimizer, the same images, epochs and seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bakehouse.cli.example_images import copy_example
from bakehouse.core.events import result_of
from bakehouse.core.message_text import counted
from bakehouse.core.run_folder import Run
from bakehouse.evaluation import evaluate
from bakehouse.recipe import Recipe, recipe_for_folder
from bakehouse.training import train

PAGE = Path(__file__).parent.parent / "docs" / "adapters.md"
BEGIN, END = "<!-- table: written by `python -m tools.benchmark_adapter_kinds` -->", "<!-- end of table -->"

ADAPTERS: dict[str, dict[str, Any]] = {
    "LoRA": {"kind": "lora"},
    "LoCon": {"kind": "lora", "targets": "full", "conv_rank": 8},
    "DoRA on outputs": {"kind": "lora", "dora": True, "wd_on_output": True},
    "LoRA-FA": {"kind": "lora", "lora_fa": True},
    "LoHa": {"kind": "loha"},
    "LoKr": {"kind": "lokr"},
    "IA3": {"kind": "ia3"},
    "DyLoRA": {"kind": "dylora"},
    "Diag-OFT": {"kind": "oft"},
    "BOFT": {"kind": "boft"},
    "GLoRA": {"kind": "glora"},
    "full-diff": {"kind": "diff"},
}
OPTIMIZERS = ("adamw", "prodigy")
SHOWN = ("mira", "a held-out character")
ROW = "row.json"
"""Result file of a cell, in its run folder."""


@dataclass(frozen=True)
class Row:
    """Result of one run: fractions with their intervals, seconds of training, bytes of the file."""

    adapter: str
    optimizer: str
    seed: int
    fidelity: tuple[float, float, float]
    shown: tuple[float, float, float]
    kept: float
    drift: float
    seconds: float
    bytes: int


def recipe_of(
    images: Path, subject: str, adapter: dict[str, Any], optimizer: str, seed: int, epochs: int | None
) -> Recipe:
    """Return the planned recipe, without samples and extra checkpoints."""
    length = {} if epochs is None else {"train.epochs": epochs}
    return recipe_for_folder(images, subject).with_values(
        {
            "seed": seed,
            "adapter": adapter,
            "optimizer.name": optimizer,
            **length,
            "sample.every_epochs": 0,
            "sample.at_start": False,
            "save.every_epochs": 0,
            "evaluate.weights": [1.0],
            "evaluate.checkpoints": 1,
        }
    )


def cell(folder: Path, recipe: Recipe, name: str, optimizer: str) -> Row:
    """Train and evaluate one cell, or read its result file."""
    noted = folder / ROW
    if noted.is_file():
        return Row(**json.loads(noted.read_text()))
    began = time.monotonic()
    events = list(train(recipe, folder))
    steps = [e for e in events if type(e).__name__ == "Step"]
    seconds = steps[-1].time - steps[0].time if steps else time.monotonic() - began
    found = result_of(evaluate(Run(folder))).shown
    row = Row(
        name,
        optimizer,
        recipe.seed,
        (found.fidelity.value, found.fidelity.low, found.fidelity.high),
        (found.shown.value, found.shown.low, found.shown.high),
        found.prompt_retention,
        found.drift.points.value,
        seconds,
        (folder / found.weights).stat().st_size,
    )
    noted.write_text(json.dumps(asdict(row)) + "\n")
    return row


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table; figures in percent, intervals of 95 %."""
    heads = ("adapter", "optimizer", "subject fidelity", "images that show it", "prompt retention", "drift")
    yield f"| {' | '.join([*heads, 'training', 'file'])} |"
    yield "| --- " * (len(heads) + 2) + "|"
    for r in rows:
        share = " | ".join(f"{v:.0%} ({low:.0%} to {high:.0%})" for v, low, high in (r.fidelity, r.shown))
        size = f"{r.bytes / 1024:.0f} KB"
        yield (
            f"| {r.adapter} | {r.optimizer} | {share} | {r.kept:.0%} | {r.drift:.0f} points "
            f"| {r.seconds:.0f} s | {size} |"
        )


def write(rows: Sequence[Row], about: str) -> None:
    """Write the table into the page."""
    text = PAGE.read_text("utf-8")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n{about}\n\n" + "\n".join(lines(rows)) + f"\n\n{END}{tail}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.benchmark_adapter_kinds", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/adapters"))
    parser.add_argument("--only", nargs="+", choices=list(ADAPTERS), default=list(ADAPTERS))
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, help="default: the plan's")
    parser.add_argument("--no-page", action="store_true", help="print the table; do not write the page")
    parser.add_argument("--tables", action="store_true", help="do not train: write the page from finished cells")
    a = parser.parse_args()
    images, subject = copy_example(SHOWN[0], a.out)
    rows = []
    for name in a.only:
        for optimizer in a.optimizers:
            for seed in a.seeds:
                folder = a.out / f"{name}-{optimizer}-{seed}"
                if a.tables and not (folder / ROW).is_file():
                    continue
                recipe = recipe_of(images, subject, ADAPTERS[name], optimizer, seed, a.epochs)
                row = cell(folder, recipe, name, optimizer)
                rows.append(row)
                print(*list(lines([row]))[2:], sep="\n", flush=True)
    length = counted(a.epochs, "epoch") if a.epochs else "the planned length"
    about = (
        f"The example subject {SHOWN[0]} ({SHOWN[1]}) on crumb, {length}, "
        f"{'seeds' if a.seeds[1:] else 'seed'} {', '.join(map(str, a.seeds))}, "
        f"{counted(torch.get_num_threads(), 'CPU thread')}, weight 1; "
        "intervals of 95 % over images."
    )
    if a.no_page:
        print(about)
    else:
        write(rows, about)


if __name__ == "__main__":
    main()
