"""Is a small set learned better once it is extended? `python -m benchmarks.extend FOLDER --subject "zwx person" ...`.

A few images of FOLDER are trained as they are (`few`); the dataset is extended once by that run, with every image that
passes accepted (`extended`), and trained again from nothing, by a plan of its own: as many images are shown, as often.
Both are evaluated with the same prompts, seeds and measure of the subject: only the few images are references, and the
images of --holdout are held out. The last checkpoint counts, at strength 1.

An interrupted measurement goes on where it stopped. With --page the table of a page is written between its two marks.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bakehouse.cli.render.events import render_events
from bakehouse.core.events import Finished, result_of
from bakehouse.core.run_folder import Run
from bakehouse.curation.apply_and_undo import last_applied
from bakehouse.curation.operation import apply_operation
from bakehouse.data import scan
from bakehouse.data.open_image import open_image
from bakehouse.evaluation import Report, evaluate, evaluate_run
from bakehouse.evaluation.checkpoint_scores import ScoredCheckpoint
from bakehouse.evaluation.evaluation_inputs import evenly_spaced
from bakehouse.evaluation.metrics import Interval
from bakehouse.recipe import make_plan, recipe_for_folder
from bakehouse.synthesis.accept import accept
from bakehouse.synthesis.draw_candidates import draw_candidates
from bakehouse.synthesis.extension import ExtendSpec, Extension
from bakehouse.training import train

BEGIN, END = "<!-- measured: written by `python -m benchmarks.extend` -->", "<!-- end of measured -->"
CELL = 160
"""Side of the images of the picture, in pixels."""


@dataclass(frozen=True)
class Arm:
    """One of the two trainings of a seed."""

    name: str
    seed: int
    images: int
    cell: ScoredCheckpoint
    report: Report


def copy_some(source: Path, to: Path, count: int) -> None:
    """Copy evenly spaced images with their captions, and what is said of the subject."""
    if to.is_dir():
        return
    to.mkdir(parents=True)
    for record in evenly_spaced(scan(source).records, count):
        for path in filter(None, (record.path, record.caption_path)):
            shutil.copyfile(path, to / path.name)
    if (source / "example.json").is_file():
        shutil.copyfile(source / "example.json", to / "example.json")


def trained(folder: Path, run: Path, subject: str, holdout: Path, seed: int, images: int) -> Run:
    """Train a folder by a plan of its own and evaluate the last checkpoint; finished parts are not repeated."""
    if not (run.is_dir() and any(isinstance(event, Finished) for event in Run(run).history())):
        recipe = make_plan(recipe_for_folder(folder, subject, settings={"seed": seed, "sample.prompts": []})).recipe
        render_events(train(recipe, run), quiet=True)
    opened = Run.open(run)
    changes = {"weights": [1.0], "checkpoints": 1, "images": images, "holdout": str(holdout.resolve())}
    if not (opened.report / "scores.json").is_file() or Report.load(opened).spec.images != images:
        render_events(evaluate(opened, changes=changes), quiet=True)
    return opened


def extended(few: Path, to: Path, run: Run, seed: int, count: int, tries: int) -> int:
    """Copy a dataset and extend it by its run; return how many images were drawn."""
    if last_applied(to) is None:
        shutil.copytree(few, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".bakehouse"))
        extension = Extension.make(run, to, ExtendSpec(count=count, tries=tries, seed=1000 * seed))
        candidates = result_of(draw_candidates(extension))
        apply_operation(to, accept("all", candidates.folder))
        return len(candidates.items)
    return 0


def arm(name: str, seed: int, folder: Path, run: Run) -> Arm:
    """Return what was measured of a run."""
    report = Report.load(run)
    return Arm(name, seed, len(scan(folder)), report.cells[-1], report)


def figure(interval: Interval, scale: float = 1.0) -> str:
    """Return `0.71 (0.65 to 0.77)`."""
    return f"{interval.value * scale:.2f} ({interval.low * scale:.2f} to {interval.high * scale:.2f})"


def table(arms: Sequence[Arm]) -> str:
    """Return the table of all trainings, in Markdown."""
    head = "| seed | training images | subject fidelity | own prompts kept | class shift | near copies |"
    rows = [head, "|---|---|---|---|---|---|"]
    for one in arms:
        cell = one.cell
        kept = f"{100 * cell.prompt_retention:.0f} %"
        shift = f"{cell.drift.shift.value:.0f}"
        copies = f"{100 * cell.near_copies.share.value:.0f} %"
        rows.append(
            f"| {one.seed} | {one.images} ({one.name}) | {figure(cell.fidelity)} | {kept} | {shift} | {copies} |"
        )
    return "\n".join(rows)


def picture(few: Path, grown: Path, arms: Sequence[Arm], path: Path) -> None:
    """Write rows of the few images, the drawn ones, and what both trainings draw of the same prompts and seeds."""
    rows = [[r.path for r in scan(few)], [r.path for r in scan(grown) if r.path.name.startswith("drawn-")]]
    for one in arms:
        numbers = range(one.cell.images)
        found = [one.report.image_path(one.cell, "subject", number) for number in numbers]
        rows.append([p for p in found[::2] if p is not None and p.is_file()])
    width = min(10, max(map(len, rows)))
    sheet = Image.new("RGB", (width * (CELL + 4), len(rows) * (CELL + 10)), "white")
    for y, row in enumerate(rows):
        for x, file in enumerate(row[:width]):
            sheet.paste(
                open_image(file).resize((CELL, CELL), Image.Resampling.LANCZOS), (x * (CELL + 4), y * (CELL + 10))
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images of a subject, with captions")
    parser.add_argument("--subject", required=True, help='trigger and class word: "zwx person"')
    parser.add_argument("--holdout", type=Path, required=True, help="images of the subject that are never trained on")
    parser.add_argument("--images", type=int, default=5, help="images of the small set")
    parser.add_argument("--count", type=int, default=10, help="images to draw")
    parser.add_argument("--tries", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each kind")
    parser.add_argument("--evaluated", type=int, default=24, help="images of each evaluation")
    parser.add_argument("--out", type=Path, default=Path("build/extend"))
    parser.add_argument("--page", type=Path, help="page with the marks between which the table is written")
    parser.add_argument("--picture", type=Path, help="PNG of the images")
    args = parser.parse_args()
    evaluate_run.MOST_TIMES = 1  # the same number of images for all
    few, arms = args.out / "few", []
    copy_some(args.folder, few, args.images)
    for seed in range(args.seeds):
        small = trained(few, args.out / f"run-few-{seed}", args.subject, args.holdout, seed, args.evaluated)
        grown = args.out / f"extended-{seed}"
        extended(few, grown, small, seed, args.count, args.tries)
        large = trained(grown, args.out / f"run-extended-{seed}", args.subject, args.holdout, seed, args.evaluated)
        arms += [arm("as they are", seed, few, small), arm("extended", seed, grown, large)]
        if args.picture and seed == 0:
            picture(few, grown, arms, args.picture)
    text = table(arms)
    print(text)
    if args.page:
        head, rest = args.page.read_text("utf-8").split(BEGIN)
        args.page.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
