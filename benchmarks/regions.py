"""Two subjects in one picture, with and without regions: `python -m benchmarks.regions RUN RUN`.

Two runs of one base are drawn side by side in a picture of twice the base's width, in three ways with the same seeds:

- `one prompt`: both subjects and both adapters in one prompt, as any program does it;
- `regions, shared adapters`: each half has its subject's prompt, and both adapters act everywhere;
- `regions`: each half has its subject's prompt and adapter.

Each half of a picture is then told by the base's scorer (crumb's tagger, or CLIP): it is recognized if its embedding is
nearer to the mean of its own subject's photos than to that of the other subject's, and than to that of nobody in
particular: images of the untouched base for the class word. The photos should be ones that training has not seen
(`--photos`). What the scorer makes of the photos themselves is the last row: no picture can be told better.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from bakehouse.core.run_folder import Run
from bakehouse.data import scan
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.image_scorers import ImageScorer, Rows, scorer_for
from bakehouse.evaluation.metrics import Interval, proportion
from bakehouse.generation import ImageRequest, Pipeline, Region, Regions, resolve
from bakehouse.generation.run_weights import selected_weights
from bakehouse.recipe import Recipe

SIDES = ("left", "right")


@dataclass(frozen=True)
class Subject:
    """One of the two subjects."""

    phrase: str
    """Trigger and class word: `zwx person`."""
    class_word: str
    strength: float
    photos: tuple[Image.Image, ...]


@dataclass(frozen=True)
class Recognized:
    """How many pictures were told."""

    left: Interval
    right: Interval
    both: Interval


def subject_of(run: Run, photos: Path | None, loras: Path, name: str) -> tuple[Subject, Recipe]:
    """Return a run's subject, and copy its adapter to `loras` under a name that prompts use."""
    recipe = Recipe.load(run.recipe)
    concept = recipe.concepts[0]
    weights, strength = selected_weights(run)
    shutil.copyfile(weights, loras / f"{name}.safetensors")
    opened = tuple(open_image(record.path) for record in scan(photos or concept.folder))
    return Subject(concept.subject, concept.class_name, strength, opened), recipe


def requests(subjects: Sequence[Subject], scene: str, common: ImageRequest) -> dict[str, ImageRequest]:
    """Return what is asked for in each way."""
    tags = [f"<lora:{side}:{one.strength:g}>" for side, one in zip(SIDES, subjects, strict=True)]
    texts = [f"{one.phrase}, {scene}" for one in subjects]

    def halves(*prompts: str) -> Regions:
        return Regions(regions=tuple(Region(area=s, prompt=p) for s, p in zip(SIDES, prompts, strict=True)))

    return {
        "one prompt": replace(
            common, prompt=f"{subjects[0].phrase} and {subjects[1].phrase}, {scene} {' '.join(tags)}"
        ),
        "regions, shared adapters": replace(common, prompt=f"{common.prompt} {' '.join(tags)}", regions=halves(*texts)),
        "regions": replace(common, regions=halves(*(f"{text} {tag}" for text, tag in zip(texts, tags, strict=True)))),
    }


def halves_of(pictures: Sequence[Image.Image]) -> tuple[list[Image.Image], list[Image.Image]]:
    """Return the left and the right half of each picture."""
    cuts = [(p.crop((0, 0, p.width // 2, p.height)), p.crop((p.width // 2, 0, p.width, p.height))) for p in pictures]
    return [left for left, _ in cuts], [right for _, right in cuts]


def nearest_mean(embeddings: Rows, known: Sequence[Rows]) -> np.ndarray:
    """Return for embeddings [N, D] the number of the group whose mean is nearest, [N]; `known` has [M, D] of each."""
    means = np.stack([group.mean(axis=0) for group in known])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    found: np.ndarray = np.argmax(embeddings @ means.T, axis=1)
    return found


def recognized(left: np.ndarray, right: np.ndarray) -> Recognized:
    """Return the shares of pictures whose left half is subject 0, whose right half is subject 1, and of both."""
    return Recognized(proportion(left == 0), proportion(right == 1), proportion((left == 0) & (right == 1)))


def measure(
    pictures: Mapping[str, Sequence[Image.Image]],
    subjects: Sequence[Subject],
    nobody: Sequence[Image.Image],
    scorer: ImageScorer,
) -> dict[str, Recognized]:
    """Return what was told of each way's pictures, and of the photos."""
    photos = [np.asarray(scorer.embed(list(one.photos))) for one in subjects]
    known = [*photos, np.asarray(scorer.embed(list(nobody)))]

    def told(images: Sequence[Image.Image]) -> np.ndarray:
        return nearest_mean(np.asarray(scorer.embed(list(images))), known)

    found = {way: recognized(*map(told, halves_of(made))) for way, made in pictures.items()}
    pairs = min(len(one) for one in photos)
    left, right = (nearest_mean(one[:pairs], known) for one in photos)
    return {**found, "the photos": recognized(left, right)}


def draw(
    runs: Sequence[Run], photos: Sequence[Path | None], scene: str, count: int, seed: int, steps: int, out: Path
) -> tuple[dict[str, list[Image.Image]], list[Subject], list[Image.Image], ImageScorer]:
    """Draw all pictures and save them in `out`; return them, the subjects, images of nobody, and the scorer."""
    loras = out / "adapters"
    loras.mkdir(parents=True, exist_ok=True)
    named = zip(runs, photos, SIDES, strict=True)
    subjects, recipes = zip(*(subject_of(run, folder, loras, side) for run, folder, side in named), strict=True)
    if len({recipe.model.base for recipe in recipes}) > 1:
        raise SystemExit(f"the runs have different bases: {', '.join(recipe.model.base for recipe in recipes)}")
    source = replace(resolve(runs[0].folder), adapters=())
    made: dict[str, list[Image.Image]] = {}
    with Pipeline.open(source, loras=loras) as pipeline:
        side = pipeline.denoiser.native_size
        words = sorted({one.class_word for one in subjects})
        people = f"two {words[0]}s" if len(words) == 1 else " and ".join(words)
        common = ImageRequest(
            prompt=f"{people}, {scene}", width=2 * side, height=side, seed=seed, count=count, steps=steps
        )
        for way, request in requests(subjects, scene, common).items():
            made[way] = [picture.image for picture in pipeline.txt2img(request)]
            for number, image in enumerate(made[way], seed):
                image.save(out / f"{way.replace(', ', '-').replace(' ', '-')}-{number}.png")
        alone = ImageRequest(prompt=f"{words[0]}, {scene}", seed=seed, count=max(count, 8), steps=steps)
        nobody = [picture.image for picture in pipeline.txt2img(alone)]
        return made, list(subjects), nobody, scorer_for(source.base)


def main() -> None:
    """Draw, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="run folders of two subjects on one base")
    parser.add_argument("--photos", nargs=2, type=Path, help="photos of each; default: those of its training")
    parser.add_argument("--scene", default="portrait, at the beach")
    parser.add_argument("-n", "--count", type=int, default=20, help="pictures of each way")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("build/regions"), help="folder of the pictures")
    args = parser.parse_args()
    photos = args.photos or [None, None]
    runs = [Run.open(folder) for folder in args.runs]
    pictures, subjects, nobody, scorer = draw(runs, photos, args.scene, args.count, args.seed, args.steps, args.out)
    table = Table(title=f"{subjects[0].phrase} at the left, {subjects[1].phrase} at the right", box=None)
    for head in ("", "left", "right", "both", "95 %"):
        table.add_column(head, justify="left" if not head else "right")
    for way, found in measure(pictures, subjects, nobody, scorer).items():
        shares = (f"{100 * share.value:.0f} %" for share in (found.left, found.right, found.both))
        table.add_row(way, *shares, f"{100 * found.both.low:.0f} to {100 * found.both.high:.0f} %")
    console = Console()
    console.print(table)
    console.print(f"{args.count} pictures of each; they are in {args.out}")


if __name__ == "__main__":
    main()
