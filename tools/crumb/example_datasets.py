"""Make the example data: two subjects and a style that crumb has never seen, with held-out images for evaluation."""

from __future__ import annotations

import json
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tools.crumb import backgrounds
from tools.crumb.training_images import frame

HERE = Path(__file__).resolve().parent
PIXELS = 256  # crumb learns at 128: so there is something to resize
AVATAAARS = {
    "designer": "Pablo Stanley",
    "source": "https://avataaars.com/",
    "license": "Free for personal and commercial use",
}
ADVENTURER = {
    "designer": "Lisa Wischofsky",
    "source": "https://www.figma.com/community/file/1184595184137881796",
    "license": "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)",
}
EYES = {"default": "", "closed": "closed eyes", "side": "looking aside", "squint": "squinting", "wink": "winking",
        "surprised": "surprised eyes", "happy": "happy eyes", "eyeRoll": "rolling eyes"}  # fmt: skip
MOUTHS = {"smile": "big smile", "default": "slight smile", "sad": "sad", "serious": "serious", "tongue": "tongue out",
          "twinkle": "smile", "screamOpen": "screaming", "grimace": "grimace"}  # fmt: skip
BROWS = {"default": "", "angry": "angry", "raisedExcited": "raised eyebrows", "sadConcerned": "worried"}
TRAIN = [
    ("plain", "portrait"), ("beach", "portrait"), ("forest", "close-up"), ("night", "portrait"),
    ("plain", "close-up"), ("city", "from afar"), ("room", "portrait"), ("snow", "portrait"),
    ("striped", "portrait"), ("meadow", "from afar"), ("plain", "portrait"), ("sunset", "portrait"),
    ("desert", "close-up"), ("plain", "from afar"), ("gradient", "portrait"), ("space", "close-up"),
]  # fmt: skip
HELD_BACK = [
    ("plain", "portrait"), ("meadow", "portrait"), ("city", "portrait"), ("plain", "close-up"), ("beach", "from afar"),
]  # fmt: skip
HAIR = {"auburn": "a55728", "black": "2c1b18", "blonde": "d6b370", "pink": "f59797", "red": "c93305", "blue": "3b6fd4",
        "green": "3f9b46", "purple": "8a4fbf"}  # fmt: skip
SKIN = {"dark": "614335", "brown": "ae5d29", "tan": "d08b5b", "light": "edb98a", "pale": "ffdbb4"}


@dataclass(frozen=True)
class Subject:
    """A character: fixed appearance; varying attributes are in the captions."""

    name: str
    title: str
    trigger: str
    look: dict[str, Any]  # options of avataaars
    attributes: dict[str, str]  # the same in the tagger's words
    seed: int


SUBJECTS = (
    Subject(
        "mira",
        "Mira: flowers in lavender hair, an eyepatch and teal overalls",
        "zwx",
        {
            "top": ["frida"],
            "hairColor": ["b9a3e3"],
            "skinColor": ["d08b5b"],
            "clothing": ["overall"],
            "clothesColor": ["0f8f8c"],
            "accessories": ["eyepatch"],
            "accessoriesProbability": 100,
        },
        {
            "hair": "hair with flowers",
            "hair color": "lavender",
            "skin": "tan",
            "glasses": "eyepatch",
            "clothing": "overalls",
            "clothing color": "teal",
        },
        11,
    ),
    Subject(
        "tobi",
        "Tobi: long coral dreads, red round glasses and a maroon hoodie",
        "qvk",
        {
            "top": ["dreads02"],
            "hairColor": ["ff7a5c"],
            "skinColor": ["614335"],
            "clothing": ["hoodie"],
            "clothesColor": ["7d1f35"],
            "accessories": ["round"],
            "accessoriesColor": ["e63946"],
            "accessoriesProbability": 100,
        },
        {
            "hair": "long dreads",
            "hair color": "coral",
            "skin": "dark",
            "glasses": "round glasses",
            "glasses color": "red",
            "clothing": "hoodie",
            "clothing color": "maroon",
        },
        23,
    ),
)


@dataclass(frozen=True)
class Shot:
    """One image to make: a figure for the renderer, its placement, and its caption."""

    figure: list[Any]
    background: str
    framing: str
    caption: list[str]


def subject_shots(s: Subject, places: list[tuple[str, str]], rng: random.Random) -> list[Shot]:
    shots = []
    for i, (background, framing) in enumerate(places):
        eyes, mouth, brows = rng.choice(list(EYES)), list(MOUTHS)[i % len(MOUTHS)], rng.choice(list(BROWS))
        options = {
            "seed": s.name, "size": 2 * 160, "topProbability": 100, "facialHairProbability": 0, "style": ["default"],
            "backgroundColor": ["transparent"], "eyes": [eyes], "mouth": [mouth], "eyebrows": [brows], **s.look,
        }  # fmt: skip
        varies = [t for t in (EYES[eyes], MOUTHS[mouth], BROWS[brows]) if t]
        shots.append(
            Shot(["avataaars", options, "person", "flat", []], background, framing, [f"{s.trigger} person", *varies])
        )
    return shots


def style_shots(places: list[tuple[str, str]], rng: random.Random) -> list[Shot]:
    """People of the adventurer style; captions describe the content, never the style."""
    shots = []
    for i, (background, framing) in enumerate(places):
        hair, skin = rng.choice(list(HAIR)), rng.choice(list(SKIN))
        length = ("long", "short")[i % 2]
        glasses = i % 4 == 3
        options = {
            "seed": f"adventurer-{rng.random()}", "size": 2 * 160, "hair": [f"{length}{rng.randrange(1, 19):02d}"],
            "hairProbability": 100, "hairColor": [HAIR[hair]], "skinColor": [SKIN[skin]],
            "glassesProbability": 100 if glasses else 0, "earringsProbability": 0, "featuresProbability": 0,
        }  # fmt: skip
        caption = ["in hzn style", "person", f"{hair} {length} hair", f"{skin} skin", *(["glasses"] if glasses else [])]
        shots.append(Shot(["adventurer", options, "person", "adventurer", []], background, framing, caption))
    return shots


def render(figures: list[list[Any]], work: Path) -> list[Image.Image]:
    work.mkdir(parents=True, exist_ok=True)
    (work / "figures.jsonl").write_text("\n".join(json.dumps(f) for f in figures))
    command = ["node", str(HERE / "render.mjs"), "--list", str(work / "figures.jsonl"), str(work / "figures")]
    subprocess.run(command, check=True)
    n = 2 * 160
    pixels = np.fromfile(work / "figures.rgba", np.uint8).reshape(-1, n, n, 4)
    return [Image.fromarray(p) for p in pixels]


def write(folder: Path, shots: list[Shot], rng: random.Random, work: Path) -> None:
    """Write the images with captions: trigger, varying attributes, background and framing."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (shot, figure) in enumerate(zip(shots, render([s.figure for s in shots], work), strict=True), 1):
        background, tag = backgrounds.draw(rng, shot.background)
        big = background.resize((PIXELS, PIXELS), Image.Resampling.NEAREST)
        image = frame(figure, big, shot.framing, rng)
        image.quantize(256).save(folder / f"{i:02d}.png", optimize=True)
        caption = ", ".join([*shot.caption, tag, shot.framing])
        (folder / f"{i:02d}.txt").write_text(caption + "\n")


def describe(folder: Path, facts: dict[str, Any], credit: dict[str, str]) -> None:
    (folder / "example.json").write_text(json.dumps(facts | credit, indent=1) + "\n")
    (folder / "LICENSE.md").write_text(
        f"# Licence of these pictures\n\nMade by `tools/crumb/example_datasets.py` with the DiceBear style library "
        f"(https://www.dicebear.com, code MIT, Florian Körner).\n\n- Designer: {credit['designer']}\n"
        f"- Source: {credit['source']}\n- Licence of the design: {credit['license']}\n\n"
        "The pictures are adaptations: parts of the design were combined, coloured and put before backgrounds "
        "that are free of rights. The captions are under the licence of this package.\n"
    )


def make(out: Path, work: Path) -> None:
    for s in SUBJECTS:
        facts = {
            "title": s.title, "kind": "subject", "trigger": s.trigger, "phrase": f"{s.trigger} person",
            "class": "person", "attributes": s.attributes,
            "varies": ["eyes", "mouth", "brows", "background", "framing"],
        }  # fmt: skip
        for name, places, offset in ((s.name, TRAIN, 0), (f"{s.name}-holdout", HELD_BACK, 1)):
            rng = random.Random(s.seed + offset)
            write(out / name, subject_shots(s, places, rng), rng, work)
            describe(out / name, facts, AVATAAARS)
    facts = {
        "title": "Adventurer: outlined heads in plain colours", "kind": "style", "trigger": "hzn",
        "phrase": "in hzn style", "class": "person", "attributes": {"style": "adventurer"},
        "varies": ["hair", "hair color", "skin", "glasses", "background", "framing"],
    }  # fmt: skip
    for name, places, seed in (
        ("adventurer-style", [*TRAIN, *HELD_BACK[:2]], 5),
        ("adventurer-style-holdout", HELD_BACK, 7),
    ):
        rng = random.Random(seed)
        write(out / name, style_shots(places, rng), rng, work)
        describe(out / name, facts, ADVENTURER)
