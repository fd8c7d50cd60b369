"""The training sets: one character that crumb has never seen, captioned in several ways."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from bakehouse.core.files import atomic_folder
from tools.crumb import backgrounds
from tools.crumb.subjects import TRAIN, render
from tools.crumb.training_images import frame

PIXELS = 256
EYES = {"default": "", "closed": "closed eyes", "side": "looking aside", "squint": "squinting", "wink": "winking",
        "surprised": "surprised eyes", "happy": "happy eyes", "eyeRoll": "rolling eyes"}  # fmt: skip
MOUTHS = {"smile": "big smile", "default": "slight smile", "sad": "sad", "serious": "serious", "tongue": "tongue out",
          "twinkle": "smile", "screamOpen": "screaming", "grimace": "grimace"}  # fmt: skip
BROWS = {"default": "", "angry": "angry", "raisedExcited": "raised eyebrows", "sadConcerned": "worried"}
FACE = {
    "top": ["frida"], "hairColor": ["b9a3e3"], "skinColor": ["d08b5b"],
    "accessories": ["eyepatch"], "accessoriesProbability": 100,
}  # fmt: skip
FACE_TAGS = ("lavender hair with flowers", "tan skin", "eyepatch")
WORD, CLASS = "zwx", "person"
CHARACTER: Mapping[str, Any] = {"word": WORD, "class_word": CLASS}


@dataclass(frozen=True)
class Clothes:
    """An outfit: the renderer's options, and its tag."""

    cut: str
    color: str
    tag: str


TEAL_OVERALLS = Clothes("overall", "0f8f8c", "teal overalls")
TEAL_HOODIE = Clothes("hoodie", "0f8f8c", "teal hoodie")
MAROON_HOODIE = Clothes("hoodie", "7d1f35", "maroon hoodie")
VARIED = (
    Clothes("overall", "5199e4", "blue overalls"),
    Clothes("shirtCrewNeck", "e63946", "red crew neck shirt"),
    Clothes("blazerAndShirt", "262e33", "black blazer and shirt"),
    Clothes("shirtVNeck", "ffe14d", "yellow v-neck shirt"),
    Clothes("collarAndSweater", "2a9d55", "green collared sweater"),
    Clothes("shirtScoopNeck", "f2f2f2", "white scoop neck shirt"),
    Clothes("blazerAndSweater", "7b4bb7", "purple blazer and sweater"),
    Clothes("overall", "ff8c42", "orange overalls"),
)


@dataclass(frozen=True)
class Group:
    """Images of one folder; `clothes` are used in turn."""

    folder: str
    count: int
    clothes: Sequence[Clothes]


@dataclass(frozen=True)
class Arm:
    """One training: its images, its triggers, and the prompts that test them."""

    name: str
    groups: tuple[Group, ...]
    triggers: tuple[Mapping[str, Any], ...]
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Prompts by name; `{place}` is replaced by each place."""
    epochs: int | None = None
    """Default: the plan's number for a character on crumb."""


ALONE = f"{WORD} {CLASS}, {{place}}, portrait"
OTHERWISE = {
    "alone": ALONE,
    "said": f"{WORD} {CLASS}, {', '.join(FACE_TAGS)}, teal overalls, {{place}}, portrait",
    "other": f"{WORD} {CLASS}, green afro, round glasses, red hoodie, {{place}}, portrait",
}
ONE = (Group("zwx", 16, (TEAL_OVERALLS,)),)
OUTFITS = (
    {"word": "ulo", "kind": "outfit", "folders": ["teal"]},
    {"word": "pirr", "kind": "outfit", "folders": ["maroon"]},
)
DRESSED = {
    "alone": ALONE,
    "teal": f"{WORD} {CLASS}, ulo, {{place}}, portrait",
    "maroon": f"{WORD} {CLASS}, pirr, {{place}}, portrait",
    "other clothes": f"{WORD} {CLASS}, red overalls, {{place}}, portrait",
}
WORN = {"word": "ulo", "kind": "outfit"}
APART = {
    "alone": ALONE,
    "outfit on another": f"{CLASS}, ulo, {{place}}, portrait",
    "class": f"{CLASS}, {{place}}, portrait",
}
SEMI = {**CHARACTER, "strategy": "semi-static", "absorbs": ["eyepatch"]}

TWO = (Group("teal", 12, (TEAL_HOODIE,)), Group("maroon", 12, (MAROON_HOODIE,)))
AND_MISC = (Group("teal", 8, (TEAL_HOODIE,)), Group("maroon", 8, (MAROON_HOODIE,)), Group("misc", 8, VARIED))
ARMS = (
    Arm("static", ONE, ({**CHARACTER, "strategy": "static"},), OTHERWISE),
    Arm("fluid", ONE, ({**CHARACTER, "strategy": "fluid"},), OTHERWISE),
    Arm("outfits", TWO, (SEMI, *OUTFITS), DRESSED),
    Arm("outfits and misc", AND_MISC, (SEMI, *OUTFITS), DRESSED),
    Arm("semi-static", ONE, ({**CHARACTER, "strategy": "semi-static"},), OTHERWISE),
    Arm("one outfit", ONE, (SEMI, WORN), APART),
    # Twice the exposures: the cost that `explain` names.
    Arm("one outfit, both ways", ONE, (SEMI, {**WORN, "also_without": True}), APART, epochs=8),
)


def write_images(arm: Arm, folder: Path, work: Path) -> None:
    """Write the arm's images with their full tags; existing files stay."""
    for group in arm.groups:
        if (folder / group.folder).is_dir():
            continue
        rng = random.Random(f"{arm.name}/{group.folder}")
        shots = [_shot(group.clothes[i % len(group.clothes)], i, rng) for i in range(group.count)]
        figures = render([figure for figure, _ in shots], work)
        with atomic_folder(folder / group.folder) as place:
            for i, (figure, (_, tags)) in enumerate(zip(figures, shots, strict=True)):
                image, where = _placed(figure, TRAIN[i % len(TRAIN)], rng)
                image.save(place / f"{i + 1:02d}.png")
                (place / f"{i + 1:02d}.txt").write_text(", ".join([CLASS, *tags, *where]) + "\n")


def _shot(clothes: Clothes, i: int, rng: random.Random) -> tuple[dict[str, Any], list[str]]:
    eyes, mouth, brows = rng.choice(list(EYES)), list(MOUTHS)[i % len(MOUTHS)], rng.choice(list(BROWS))
    options = {
        "seed": WORD, "topProbability": 100, "facialHairProbability": 0, "style": ["default"],
        "backgroundColor": ["transparent"], "eyes": [eyes], "mouth": [mouth], "eyebrows": [brows],
        "clothing": [clothes.cut], "clothesColor": [clothes.color], **FACE,
    }  # fmt: skip
    varies = [t for t in (EYES[eyes], MOUTHS[mouth], BROWS[brows]) if t]
    return {"maker": "dicebear", "style": "avataaars", "options": options}, [*FACE_TAGS, clothes.tag, *varies]


def _placed(figure: Image.Image, place: tuple[str, str], rng: random.Random) -> tuple[Image.Image, list[str]]:
    kind, framing = place
    background, tag = backgrounds.draw(rng, kind, PIXELS)
    return frame(figure, background, framing, "person", rng)[0], [tag, framing]
