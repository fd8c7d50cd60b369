"""`make lab-outfits`: a character in two outfits and other clothes; does each word give its own?

The character is drawn for it, and crumb has never seen it. It is planned, trained and evaluated by the command line
with the plan's own numbers. Two measures are independent of each other: the evaluation compares images with the photos
of each group, the tagger names clothes and colour. Run again to go on where it stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.files import write_json, write_text
from bakehouse.core.run_folder import Run
from bakehouse.data.open_image import open_image
from bakehouse.evaluation import Report
from bakehouse.evaluation.metrics import Interval, proportion
from bakehouse.evaluation.trigger_groups import TriggerGroupScores
from bakehouse.vision.taggers.crumb_tagger import CrumbTagger
from tools.triggers.arms import CLASS, MAROON_HOODIE, TEAL_OVERALLS, VARIED, WORD, Arm, Group, write_images

PER_GROUP = 12
"""Images of each outfit and of other clothes."""
OUTFITS = {"work": TEAL_OVERALLS, "home": MAROON_HOODIE}
"""Folders of the outfits, which give their words."""
OTHER = tuple(c for c in VARIED if c.cut not in {o.cut for o in OUTFITS.values()})
MISC = "misc"
MARK = "hair with flowers"
"""What shows the character, whatever it wears; after a short training the flowers have all colours."""
OWN_WORD, NEITHER = 0.80, 0.70
"""Least shares: of an outfit with its word, and of images without an outfit's word that show neither."""


COLUMNS = (
    "prompt", "should show", "at least", "images", "by likeness", "by the tagger", "reached", "character",
    "photos told apart",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What the images of a word show."""

    prompt: str
    wanted: str
    least: float
    images: int
    likeness: Interval
    """Share that is as wanted, by the evaluation."""
    tagger: Interval
    """The same by clothes and colour."""
    character: Interval
    """Share that shows the character, by its hair."""
    told_apart: float
    """Share of the group's photos that the evaluation assigns to their own group."""

    @property
    def verdict(self) -> str:
        """`yes` or `no` where both measures agree, by their values."""
        kept = {figure.value >= self.least for figure in (self.likeness, self.tagger)}
        return "measures differ" if len(kept) > 1 else "yes" if kept.pop() else "no"


def make_photos(folder: Path, work: Path) -> None:
    """Draw the images; existing ones stay."""
    groups = [Group(name, PER_GROUP, (clothes,)) for name, clothes in OUTFITS.items()]
    write_images(Arm("lab outfits", (*groups, Group(MISC, PER_GROUP, OTHER)), ()), folder, work)


def commands(folder: Path, recipe: Path, run: Path, train: Sequence[str], evaluate: Sequence[str]) -> list[list[str]]:
    """Return the command lines, in order; each may be run again."""

    def settings(pairs: Sequence[str]) -> list[str]:
        return [word for pair in pairs for word in ("--set", pair)]

    plan = ["plan", str(folder), "--kind", "outfits", "--subject", f"{WORD} {CLASS}", *settings(train)]
    return [
        [*plan, "-o", str(recipe)],
        ["train", str(recipe), "--run", str(run)],
        ["evaluate", str(run), *settings(evaluate)],
    ]


def rows(report: Report, tagger: CrumbTagger) -> list[Row]:
    """Return what the images of each word show."""
    assert report.words is not None
    made = []
    for group in report.words.groups:
        images = [open_image(report.folder / path).convert("RGB") for path in group.pictures]
        found = tagger(images)
        shown = [{g: v for g, (v, _) in found.best(i).items()} for i in range(len(images))]
        of = {name: [has_tag(seen, clothes.tag, tagger) for seen in shown] for name, clothes in OUTFITS.items()}
        made.append(_row(group, of, [has_tag(seen, MARK, tagger) for seen in shown]))
    return made


def _row(group: TriggerGroupScores, of: dict[str, list[bool]], character: list[bool]) -> Row:
    own = of.get(group.word)
    neither = [not any(each) for each in zip(*of.values(), strict=True)]
    wanted, least = (group.word, OWN_WORD) if own is not None else ("neither outfit", NEITHER)
    hits = own if own is not None else neither
    figures = group.own, proportion(hits), proportion(character), group.in_photos
    return Row(group.prompt, wanted, least, group.images, *figures)


def has_tag(shown: dict[str, str], tag: str, tagger: CrumbTagger) -> bool:
    """Return whether the tagger's values of an image are all parts of a tag."""
    atoms = tagger.vocabulary.atoms(tag)
    return all(tagger.vocabulary.accepts(group, value, shown[group]) for group, value in atoms.items())


def table(found: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    for r in found:
        likeness, tagger, character = (
            f"{i.value:.0%} ({i.low:.0%}-{i.high:.0%})" for i in (r.likeness, r.tagger, r.character)
        )
        what = [f"`{r.prompt}`", r.wanted, f"{r.least:.0%}", str(r.images)]
        cells = [*what, likeness, tagger, r.verdict, character, f"{r.told_apart:.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.crumb.lab_outfits", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/lab-outfits"))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="train", help="of the recipe")
    parser.add_argument("--evaluate", nargs="+", default=[], metavar="KEY=VALUE", help="of the evaluation")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    make_photos(a.out / "photos", a.out / "work")
    run = a.out / "run"
    for words in commands(a.out / "photos", a.out / "recipe.toml", run, a.train, a.evaluate):
        subprocess.run([sys.executable, "-m", "bakehouse", *words, "--quiet"], check=True)
    found = rows(Report.load(Run(run)), CrumbTagger.load())
    write_text(a.out / "table.md", table(found))
    measures = ("likeness", "tagger", "character")
    figures = [{**{m: getattr(r, m).to_json() for m in measures}, "reached": r.verdict} for r in found]
    write_json(a.out / "table.json", [{**vars(r), **figure} for r, figure in zip(found, figures, strict=True)])
    print(table(found), end="")


if __name__ == "__main__":
    main()
