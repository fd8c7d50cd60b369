"""`make lab-subjects`: train on subjects that crumb has never seen, and let a witness say what was learned.

Each subject is trained and evaluated by the command line with the plan's own numbers. Then the witness, which knows
nothing of crumb, and the tagger look at the images of the pick. Rows of impostors beside show what the figures are
worth: the base's images of the same prompts, and figures that differ from the subject in one thing. Run again to go on
where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bakehouse.core.run_folder import Run
from bakehouse.evaluation import Report
from bakehouse.evaluation.checkpoint_scores import ScoredCheckpoint
from bakehouse.vision.taggers.crumb_tagger import CrumbTagger
from tools.crumb import subjects, training_images
from tools.crumb.subjects import SUBJECTS, Subject
from tools.crumb.witness import Eye, Witness

HERE = Path(__file__).resolve().parent
WORLD = {"people": 120, "icons": 80}
"""Figures of the training world that the witness learns as nobody."""
UNKNOWN = math.nan


@dataclass(frozen=True)
class Row:
    """What was found on some images; shares are from 0 to 1, NaN is unknown."""

    subject: str
    images: str
    """Whose images: `trained`; `held-out` photos; the impostors are of the `base` and of `look-alikes`."""
    verdict: str
    right: float
    """Share of images that the witness assigns to the subject."""
    score: float
    """Mean score of the witness."""
    attributes: float
    """Share of the subject's attributes that the tagger finds, of those it knows."""
    class_moved: float
    """Class shift in points."""
    broken: float
    """Share of images with a broken face, as the tagger sees it."""
    train_seconds: float = UNKNOWN
    evaluate_seconds: float = UNKNOWN


@dataclass(frozen=True)
class Lab:
    """One laboratory folder: photos, runs, times and the table."""

    out: Path
    train_settings: tuple[str, ...] = ()
    evaluate_settings: tuple[str, ...] = ()

    def run_folder(self, s: Subject) -> Path:
        return self.out / "runs" / s.name

    def photos(self, name: str) -> list[Image.Image]:
        return [Image.open(path).convert("RGB") for path in sorted((self.out / "photos" / name).glob("*.png"))]

    def make_photos(self) -> None:
        """Make the photos of all subjects: the witness must know the others too."""
        missing = [
            s.name for s in SUBJECTS if not (self.out / "photos" / f"{s.name}-holdout" / "example.json").exists()
        ]
        subjects.make(self.out / "photos", self.out / "work", missing)

    def world(self) -> list[Image.Image]:
        """Return images of the training world."""
        rng, images = random.Random(0), []
        for split, count in WORLD.items():
            path = self.out / "work" / split
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.with_suffix(".rgba").exists():
                command = ["node", str(HERE / "render.mjs"), split, str(count), str(path), "witness"]
                subprocess.run(command, check=True)
            sprites = training_images.Sprites(path)
            for i, figure in enumerate(sprites.figures):
                images.append(training_images.compose(sprites.image(i), figure.group, rng)[0])
        return images

    def look_alikes(self) -> dict[str, list[Image.Image]]:
        """Return images of figures that differ from a subject in one thing, by the subject's name."""
        rng = random.Random(0)
        lines = {s.name: subjects.look_alikes(s, rng) for s in SUBJECTS}
        figures = iter(subjects.render([line for some in lines.values() for line in some], self.out / "work"))
        return {
            s.name: [training_images.compose(next(figures), s.group, rng)[0] for _ in lines[s.name]] for s in SUBJECTS
        }

    def train(self, s: Subject) -> None:
        """Train and evaluate one subject; both commands resume."""
        run = str(self.run_folder(s))
        train = ["train", str(self.out / "photos" / s.name), "--subject", s.phrase, "--kind", s.kind, "--run", run]
        for name, words, settings in (
            ("train", train, self.train_settings),
            ("evaluate", ["evaluate", run], self.evaluate_settings),
        ):
            times = self.times(s)
            if f"{name}_done" in times:
                continue
            extra = [word for setting in settings for word in ("--set", setting)]
            began = time.monotonic()
            done = subprocess.run([sys.executable, "-m", "bakehouse", *words, *extra, "--quiet"], check=False)
            times[name] = times.get(name, 0.0) + time.monotonic() - began
            if done.returncode == 0:
                times[f"{name}_done"] = 1.0
            self._times_path(s).parent.mkdir(parents=True, exist_ok=True)
            self._times_path(s).write_text(json.dumps(times))
            if done.returncode:
                raise SystemExit(f"`bakehouse {name}` failed on {s.name}; run again to go on")

    def _times_path(self, s: Subject) -> Path:
        return self.out / "times" / f"{s.name}.json"

    def times(self, s: Subject) -> dict[str, float]:
        """Return the seconds of each command so far, and which of them are done."""
        path = self._times_path(s)
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def finished(self) -> list[Subject]:
        return [s for s in SUBJECTS if "evaluate_done" in self.times(s)]


def pictures(report: Report, cell: ScoredCheckpoint | None, series: str) -> list[Image.Image]:
    """Return the images of a series at a cell (None: the base)."""
    paths = [report.image_path(cell, series, i) for i in range(report.shown.images)]
    return [Image.open(p).convert("RGB") for p in paths if p is not None and p.exists()]


def examine(lab: Lab, tagger: CrumbTagger) -> list[Row]:
    """Let the witness and the tagger look at every finished subject.

    Every second image of the base is learned as nobody, so that the look of the decoder tells nothing, and every second
    look-alike; the others are the impostors.
    """
    done = lab.finished()
    reports = {s.name: Report.load(Run(lab.run_folder(s))) for s in done}
    base = {name: pictures(report, None, "class") for name, report in reports.items()}
    alike = lab.look_alikes()
    learned = [image for images in (*base.values(), *alike.values()) for image in images[1::2]]
    nobody = [*lab.world(), *learned]
    witness = Witness.learn({s.name: lab.photos(s.name) for s in SUBJECTS}, nobody, Eye())
    rows = []
    for s in done:
        report, times = reports[s.name], lab.times(s)
        trained = look(s, "trained", pictures(report, report.shown, "subject"), witness, tagger)
        facts = {
            "verdict": report.verdict.outcome,
            "class_moved": report.shown.drift.shift.value,
            "train_seconds": times["train"],
            "evaluate_seconds": times["evaluate"],
        }
        rows += [
            Row(**(asdict(trained) | facts)),
            look(s, "base", base[s.name][::2], witness, tagger),
            *([look(s, "look-alikes", alike[s.name][::2], witness, tagger)] if alike[s.name] else []),
            look(s, "held-out", lab.photos(f"{s.name}-holdout"), witness, tagger),
        ]
    return rows


def look(s: Subject, whose: str, images: Sequence[Image.Image], witness: Witness, tagger: CrumbTagger) -> Row:
    """Return what the witness and the tagger find on images that are or are not of the subject."""
    shares = witness.shares(images)
    k = witness.names.index(s.name)
    found = tagger(images)
    best = [{group: value for group, (value, _) in found.best(i).items()} for i in range(len(images))]
    known = {g: v for g, v in s.attributes.items() if v in tagger.vocabulary.groups.get(g, ())}
    attributes = [shown[g] == v for shown in best for g, v in known.items()]
    broken = [shown["face"] == "broken" for shown in best if "face" in shown]
    right = (shares.argmax(1) == k).mean()
    return Row(s.name, whose, "", float(right), float(shares[:, k].mean()), mean(attributes), UNKNOWN, mean(broken))


def mean(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if values else UNKNOWN


COLUMNS = ("subject", "images", "verdict", "subject right", "witness", "attributes", "class moved", "broken",
           "train s", "evaluate s")  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""

    def cells(r: Row) -> list[str]:
        shares = [share(r.right), f"{r.score:.2f}", share(r.attributes), number(r.class_moved), share(r.broken)]
        return [r.subject, r.images, r.verdict or "-", *shares, number(r.train_seconds), number(r.evaluate_seconds)]

    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *map(cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.crumb.lab_subjects", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[s.name for s in SUBJECTS], metavar="NAME", help="default: all")
    parser.add_argument("--out", type=Path, default=Path("build/lab-subjects"))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="train", help="of every recipe")
    parser.add_argument("--evaluate", nargs="+", default=[], metavar="KEY=VALUE", help="of every evaluation")
    return parser


def main() -> None:
    a = arguments().parse_args()
    lab = Lab(a.out, tuple(a.train), tuple(a.evaluate))
    lab.make_photos()
    for s in SUBJECTS:
        if not a.only or s.name in a.only:
            lab.train(s)
    rows = examine(lab, CrumbTagger.load())
    (a.out / "table.md").write_text(table(rows))
    values = [{k: None if v != v else v for k, v in asdict(row).items()} for row in rows]
    (a.out / "table.json").write_text(json.dumps(values, indent=1) + "\n")
    print(table(rows), end="")


if __name__ == "__main__":
    main()
