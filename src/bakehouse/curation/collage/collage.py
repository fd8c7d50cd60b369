"""The settings of `dataset collage`, and its proposals: which cut-outs are paired, and where they stand."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from statistics import median
from typing import Annotated, Literal, Self

from PIL import Image
from pydantic import Field, model_validator

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted, Warned
from bakehouse.core.message_text import counted
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal, Write
from bakehouse.curation.collage.backgrounds import Background, read_backgrounds
from bakehouse.curation.collage.collage_captions import collage_caption
from bakehouse.curation.collage.cut_out import CutOut
from bakehouse.curation.collage.layout import LayoutRules, Place, Shape, lay_out
from bakehouse.curation.masks.make_masks import Mask
from bakehouse.curation.output_images import encode_png
from bakehouse.data.provenance import Provenance

Order = Literal["mixed", "a-left", "b-left"]

ATTEMPTS = 12
"""Pairs that are tried for one collage before it is given up."""
MOST_COMPARED = 4000
"""Of more pairs as many are drawn at random for each collage."""
MAX_ENLARGED = 1.5
"""Enlargement of a cut-out from which it is noted: it looks soft beside the other."""
SIDES_OF_DEFAULT = 1.5
"""Width of the default size, as a multiple of its height: two subjects fit without hiding each other."""


class Collage(Spec):
    """Settings of `dataset collage`: two subjects side by side, for the images of a pair."""

    pair: str = ""
    """The word of the pair, first in every caption; empty: none."""
    triggers: tuple[str, str] = ("", "")
    """How captions name the first and the second subject: `zwx person`. Empty: as the images' own captions do."""
    count: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Number of collages."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides which cut-outs stand together, and where."""
    size: tuple[int, int] | None = None
    """Width and height in pixels. None: as high as the images usually are, and half as wide again."""
    order: Order = "mixed"
    """Who stands at the left: each in half of the collages (mixed), or always the first (a) or the second (b)."""
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.15
    """Largest share of the narrower subject's width that may be hidden behind the other."""
    vary: Annotated[float, Field(ge=0, le=0.5)] = 0.06
    """Each subject's size is varied by up to this share."""
    ratio: Annotated[float, Field(ge=0.2, le=5)] = 1.0
    """Height of the second subject as a share of the first one's."""
    backgrounds: tuple[str, ...] = ()
    """Plain colours, image files or folders. Default: white, light gray, beige and light blue."""
    write_masks: bool = False
    """Also write the masks of both subjects together, so that the backgrounds are not learned."""
    masks: Mask = Mask()
    """How masks are made of images that have none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size is not None and not all(64 <= side <= 8192 for side in self.size):
            raise ValueError(f"size {self.size[0]}x{self.size[1]}: sides must be 64 to 8192 pixels")
        if "," in self.pair:
            raise ValueError(f"pair {self.pair!r} has a comma: it is one word or tag")
        return self

    def collages(
        self, a: Sequence[CutOut], b: Sequence[CutOut], subjects: tuple[str, str]
    ) -> Iterator[Proposal | Event]:
        """Propose the collages of two sets of cut-outs; each is a new image with its caption.

        Args:
            a: of the first subject.
            b: of the second.
            subjects: how captions name them.

        Raises:
            UsageError: no two cut-outs fit side by side.
            Problems: a background is neither a colour nor an image.
        """
        size = self.size or _usual_size([*a, *b])
        rules = LayoutRules(size, self.overlap, self.vary)
        planned = list(_plan(self, a, b, rules))
        if not planned:
            raise UsageError(
                f"no cut-out of {subjects[0]} fits beside one of {subjects[1]} at {size[0]}x{size[1]} pixels",
                hint="take a wider --size, a larger --overlap, or images that show the subjects whole",
            )
        if any(one.pair[0].framing != one.pair[1].framing for one in planned):
            yield Noted(message="the sets share no framing: subjects of different framings stand side by side")
        if len(planned) < self.count:
            few = "too few cut-outs fit side by side"
            yield Warned(message=f"{len(planned)} of {counted(self.count, 'collage')} could be made: {few}")
        soft = sum(one.enlarged > MAX_ENLARGED for one in planned)
        if soft:
            yield Noted(
                message=f"{counted(soft, 'collage')} with a subject enlarged more than {MAX_ENLARGED:g} times, "
                "which looks soft: take a smaller --size"
            )
        for number, one in enumerate(planned, 1):
            name = PurePosixPath(f"collage-{self.seed}-{number:03d}.png")
            yield Proposal(name, one.why(subjects), partial(one.edits, name, self, subjects))


@dataclass(frozen=True)
class Planned:
    """One collage before it is made."""

    pair: tuple[CutOut, CutOut]
    """The first and the second subject."""
    places: tuple[Place, Place]
    """In the same order."""
    first_in_front: bool
    background: Background
    size: tuple[int, int]

    @property
    def enlarged(self) -> float:
        """The larger of both enlargements."""
        return max(place.height / cut.height for place, cut in zip(self.places, self.pair, strict=True))

    def why(self, subjects: tuple[str, str]) -> str:
        """Return what it shows, in one clause."""
        order = sorted(range(2), key=lambda k: self.places[k].x)
        left, right = (f"{subjects[k]} ({self.pair[k].name})" for k in order)
        return f"{left} left of {right}, {self.pair[0].framing}, on {self.background.name}"

    def edits(self, name: PurePosixPath, spec: Collage, subjects: tuple[str, str]) -> list[Edit]:
        """Return the writes of the image, its caption, and its mask if wanted."""
        image, mask = self.render()
        texts = tuple(next(iter(cut.record.captions), "") for cut in self.pair)
        caption = collage_caption(spec.pair, subjects, (texts[0], texts[1]), self.background.tags)
        paths = [cut.record.path for cut in self.pair]
        paths += [self.background.path] if self.background.path is not None else []
        sources = [f"{path.parent.name}/{path.name}" for path in paths]  # no folders of the user's machine
        made = Provenance("composed", tuple(sources), {"by": "dataset collage", "seed": spec.seed})
        edits: list[Edit] = [
            Write(name, encode_png(image, made)),
            Write(name.with_suffix(".txt"), f"{caption}\n".encode()),
        ]
        return [*edits, Write(PurePosixPath("masks") / name, encode_png(mask))] if spec.write_masks else edits

    def render(self) -> tuple[Image.Image, Image.Image]:
        """Return the picture and the mask of both subjects together.

        Raises:
            ImageError: an image can no longer be read.
        """
        image, mask = self.background.load(self.size), Image.new("L", self.size)
        order = (1, 0) if self.first_in_front else (0, 1)
        for k in order:
            place = self.places[k]
            # Premultiplied, so that transparent pixels lend no colour to their neighbours.
            cut = self.pair[k].load().convert("RGBa").resize((place.width, place.height), Image.Resampling.LANCZOS)
            layer = cut.convert("RGBA")
            image.paste(layer, (place.x, place.y), layer)
            mask.paste(255, (place.x, place.y), layer.getchannel("A"))
        return image, mask


def _plan(spec: Collage, a: Sequence[CutOut], b: Sequence[CutOut], rules: LayoutRules) -> Iterator[Planned]:
    rng = random.Random(f"collage {spec.seed}")
    backgrounds = read_backgrounds(spec.backgrounds)
    pairs = _pairs(a, b)
    used: Counter[str] = Counter()
    left_a = [spec.order == "a-left" or (spec.order == "mixed" and i % 2 == 0) for i in range(spec.count)]
    rng.shuffle(left_a)
    grounds: list[Background] = []
    for a_left in left_a:
        one = None
        for pair in _least_used(pairs, used, rng):
            one = _arranged(pair, a_left, spec, rules, rng)
            if one is not None:
                break
        if one is None:
            continue
        used.update(cut.name + side for cut, side in zip(one[0], "ab", strict=True))
        used["+".join(cut.name for cut in one[0])] += 1
        grounds = grounds or rng.sample(backgrounds, len(backgrounds))
        yield Planned(one[0], one[1], rng.random() < 0.5, grounds.pop(), rules.size)


def _arranged(
    pair: tuple[CutOut, CutOut], a_left: bool, spec: Collage, rules: LayoutRules, rng: random.Random
) -> tuple[tuple[CutOut, CutOut], tuple[Place, Place]] | None:
    """Return a pair with its places, in the wanted order, or the other one if both orders are allowed."""
    for first_left in (a_left, not a_left) if spec.order == "mixed" else (a_left,):
        shapes = [_shape(cut) for cut in pair]
        left, right = shapes if first_left else reversed(shapes)
        placed = lay_out(left, right, spec.ratio if first_left else 1 / spec.ratio, rules, rng)
        if placed is not None:
            return pair, placed if first_left else (placed[1], placed[0])
    return None


def _shape(cut: CutOut) -> Shape:
    sides = {f"cut_{side}": side in cut.cut for side in ("top", "bottom", "left", "right")}
    return Shape(cut.width, cut.height, cut.relative_height, **sides)


def _pairs(a: Sequence[CutOut], b: Sequence[CutOut]) -> list[tuple[CutOut, CutOut]]:
    """Return the pairs of equal framing; if there are none, of all."""
    every = [(one, other) for one in a for other in b]
    return [pair for pair in every if pair[0].framing == pair[1].framing] or every


def _least_used(
    pairs: Sequence[tuple[CutOut, CutOut]], used: Counter[str], rng: random.Random
) -> list[tuple[CutOut, CutOut]]:
    """Return pairs to try, those first whose cut-outs were used least; at random among equals."""

    def uses(pair: tuple[CutOut, CutOut]) -> tuple[int, int]:
        names = [cut.name for cut in pair]
        return used["+".join(names)], used[f"{names[0]}a"] + used[f"{names[1]}b"]

    shuffled = rng.sample(pairs, min(len(pairs), MOST_COMPARED))
    return sorted(shuffled, key=uses)[:ATTEMPTS]


def _usual_size(cut_outs: Sequence[CutOut]) -> tuple[int, int]:
    """Return the median height of the images and half as much again, in whole 8 pixels."""
    height = max(64, round(median(cut.record.height for cut in cut_outs) / 8) * 8)
    return round(height * SIDES_OF_DEFAULT / 8) * 8, height
