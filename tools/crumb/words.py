"""The vocabulary: groups of attributes, and a grammar from caption tags to their values.

`people.json` (attributes of people and robots) and `concepts.json` (animals, food, things, vehicles, plants) are what
the renderer of the figures reads too. ``vocabulary()`` is what ships as ``vocabulary.json`` beside the tagger;
``bakehouse.data.crumb_attributes`` reads it. The first value of a group is its default ("none", "neutral"), which no
caption says. What is held out of the training world has no word here: the tagger must not know it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEOPLE: dict[str, Any] = json.loads((HERE / "people.json").read_text(encoding="utf-8"))
CONCEPTS: dict[str, Any] = json.loads((HERE / "concepts.json").read_text(encoding="utf-8"))

FIGURE_STYLES: dict[str, tuple[str, ...]] = {
    "avataaars": ("flat avatar", "avatar"),
    "openPeeps": ("ink drawing", "sketch"),
    "pixelArt": ("pixel art", "8-bit"),
    "personas": ("pastel avatar",),
    "bigEars": ("mascot head",),
    "bigSmile": ("toothy cartoon",),
    "croodles": ("doodle", "pen doodle"),
    "dylan": ("bold cartoon head",),
    "lorelei": ("ink line portrait",),
    "notionists": ("monochrome comic",),
    "toonHead": ("soft portrait drawing",),
    "bottts": ("flat avatar",),
    **{name: tuple(words) for name, words in PEOPLE["themes"].items()},
}
ICON_STYLES = {name: (str(entry["caption"]),) for name, entry in CONCEPTS["styles"].items() if not entry["heldout"]}
STYLE_WORDS: dict[str, tuple[str, ...]] = {**FIGURE_STYLES, **ICON_STYLES}
"""Caption words of a style; held-out styles have none, for adapters to learn."""
USUAL_STYLES = frozenset({"avataaars", "bottts", "noto"})
"""What is drawn if no style is named: captions name these seldom."""

HAIR_COLORS = list(PEOPLE["hair"])
SKINS = list(PEOPLE["skin"])
CLOTH_COLORS = list(PEOPLE["cloth"])
GLASS_COLORS = list(PEOPLE["glasses"])
ROBOT_COLORS = list(PEOPLE["robot"])
CONCEPT_COLORS = list(CONCEPTS["colours"])
BACKGROUND_COLORS = [
    "white", "gray", "black", "red", "orange", "yellow", "green", "teal", "blue", "navy", "purple", "pink",
    "brown", "beige", "sky blue",
]  # fmt: skip
BALD = ("bald",)
"""Hair that has no colour in captions."""
SCENES = {
    "at the beach": "beach", "at night": "night", "in a meadow": "meadow", "at sunset": "sunset",
    "in the city": "city", "in the snow": "snow", "in outer space": "space", "in a forest": "forest",
    "in a room": "room", "in the desert": "desert",
}  # fmt: skip
FRAMINGS = ["portrait", "close-up", "from afar"]
CLOTHES = tuple(PEOPLE["words"]["clothes"])
PEOPLE_WORDS = ("person", "man", "woman", "boy", "girl", "character", "figure")


def concept_names() -> list[str]:
    """Return the concepts of the training world."""
    return [c["name"] for c in CONCEPTS["concepts"] if not c["heldout"]]


def styles() -> list[str]:
    """Return the styles of the training world; robots are drawn in the style of the flat avatars."""
    return [name for name in STYLE_WORDS if name != "bottts"]


ALIASES: dict[str, dict[str, str]] = {
    "close up": {"framing": "close-up"}, "closeup": {"framing": "close-up"},
    "far away": {"framing": "from afar"}, "from far away": {"framing": "from afar"},
    "in the distance": {"framing": "from afar"},
    "beach": {"background": "beach"}, "on the beach": {"background": "beach"},
    "on a beach": {"background": "beach"}, "by the sea": {"background": "beach"},
    "at a beach": {"background": "beach"},
    "night": {"background": "night"}, "in the night": {"background": "night"},
    "at nighttime": {"background": "night"},
    "meadow": {"background": "meadow"}, "in the meadow": {"background": "meadow"},
    "sunset": {"background": "sunset"}, "at the sunset": {"background": "sunset"},
    "city": {"background": "city"}, "in a city": {"background": "city"},
    "in space": {"background": "space"}, "space": {"background": "space"},
    "outer space": {"background": "space"},
    "snow": {"background": "snow"}, "in snow": {"background": "snow"}, "snowy background": {"background": "snow"},
    "forest": {"background": "forest"}, "in the forest": {"background": "forest"},
    "in the woods": {"background": "forest"},
    "room": {"background": "room"}, "in the room": {"background": "room"},
    "indoors": {"background": "room"}, "desert": {"background": "desert"},
    "in a desert": {"background": "desert"},
    "plain background": {"background": "plain"}, "gradient background": {"background": "gradient"},
    "striped background": {"background": "striped"}, "stripes": {"background": "striped"},
    "polka dots": {"background": "polka dots"},
    "checkered background": {"background": "checkered"},
    "no glasses": {"glasses": "none"}, "without glasses": {"glasses": "none"},
    "no hat": {"headwear": "none"}, "without a hat": {"headwear": "none"},
    "no beard": {"facial hair": "none"},
    "smiling": {"expression": "smile"}, "laughing": {"expression": "big smile"},
    "grinning": {"expression": "big smile"}, "screams": {"expression": "screaming"},
    "frowning": {"expression": "sad"}, "wink": {"eyes": "winking"}, "winks": {"eyes": "winking"},
    "tears": {"eyes": "crying"}, "eyes closed": {"eyes": "closed eyes"},
    "hearts in the eyes": {"eyes": "heart eyes"},
    "crew neck shirt": {"clothing": "shirt"}, "scoop neck shirt": {"clothing": "shirt"},
}  # fmt: skip

ACCEPTS: dict[str, dict[str, list[str]]] = {
    "clothing": {"shirt": ["v-neck shirt", "striped shirt", "collared sweater"]},
    "hair": {
        "long hair": ["wavy hair"],
        "short hair": ["flat top", "side shave", "spiky hair"],
        "hair bun": ["two buns"],
        "bald": ["balding"],
    },
    "headwear": {"hat": ["fedora hat", "winter hat", "bobble hat", "beanie", "cap"]},
    "glasses": {"glasses": ["square glasses", "round glasses"]},
    "facial hair": {"beard": ["long beard"]},
    "expression": {"smile": ["big smile", "smirk"]},
}
"""Special words that satisfy a general one."""


def groups() -> dict[str, list[str]]:
    """Return every group and its values, in the order of the tagger's outputs."""
    words = PEOPLE["words"]
    classes = ["person", "robot", *concept_names()]
    return {
        "class": classes,
        "left": ["none", *classes],
        "right": ["none", *classes],
        "style": styles(),
        "hair": ["none", *words["hair"]],
        "hair color": ["none", *HAIR_COLORS],
        "headwear": ["none", *words["headwear"]],
        "headwear color": ["none", *CLOTH_COLORS],
        "skin": ["none", *SKINS],
        "clothing": ["none", *words["clothes"]],
        "clothing color": ["none", *CLOTH_COLORS],
        "glasses": ["none", *words["glasses"]],
        "glasses color": ["black", *GLASS_COLORS],
        "facial hair": ["none", *words["facial hair"]],
        "facial hair color": ["none", *HAIR_COLORS],
        "eyes": ["neutral", *words["eyes"]],
        "expression": ["neutral", *words["expression"]],
        "robot color": ["none", *ROBOT_COLORS],
        "robot head": ["none", *words["robot head"]],
        "robot top": ["none", *words["robot top"]],
        "concept color": ["none", *CONCEPT_COLORS],
        "background": ["plain", "gradient", "striped", "polka dots", "checkered", *SCENES.values()],
        "background color": ["none", *BACKGROUND_COLORS],
        "background color 2": ["none", *BACKGROUND_COLORS],
        "framing": FRAMINGS,
        "face": ["whole", "broken"],
    }


def nouns() -> dict[str, dict[str, Any]]:
    """Words after a colour: their own value, and the group of the colour."""
    words = PEOPLE["words"]
    out: dict[str, dict[str, Any]] = {}
    for h in words["hair"]:
        if h not in BALD:
            out[h] = {"atoms": {"hair": h}, "color": "hair color"}
    out["hair"] = {"atoms": {}, "color": "hair color"}
    for h in words["headwear"]:
        out[h] = {"atoms": {"headwear": h}, "color": "headwear color"}
    out["skin"] = {"atoms": {}, "color": "skin"}
    for c in words["clothes"]:
        out[c] = {"atoms": {"clothing": c}, "color": "clothing color"}
    for g in words["glasses"]:
        out[g] = {"atoms": {"glasses": g}, "color": "glasses color"}
    for b in words["facial hair"]:
        out[b] = {"atoms": {"facial hair": b}, "color": "facial hair color"}
    for name, color in (("robot", "robot color"), *((c, "concept color") for c in concept_names())):
        for shown in (name, f"{name} face"):
            out[shown] = {"atoms": {"class": name}, "color": color}
            for side in ("left", "right"):
                out[f"{shown} on the {side}"] = {"atoms": {side: name}, "color": color}
    out["background"] = {"atoms": {"background": "plain"}, "color": "background color"}
    return out


def phrases() -> dict[str, dict[str, str]]:
    """Return tags without a colour."""
    words = PEOPLE["words"]
    classes = ("person", "robot", *concept_names())
    out: dict[str, dict[str, str]] = {name: {"class": name} for name in classes}
    out |= {f"{name} face": {"class": name} for name in concept_names()}
    for side in ("left", "right"):
        out |= {f"{name} on the {side}": {side: name} for name in classes}
        out |= {f"{name} face on the {side}": {side: name} for name in concept_names()}
    for name, said in STYLE_WORDS.items():
        if name != "bottts":
            out |= {s: {"style": name} for s in said}
    for group in ("hair", "headwear", "glasses", "facial hair", "eyes", "expression", "robot head", "robot top"):
        out |= {v: {group: v} for v in words[group]}
    out |= {c: {"clothing": c} for c in words["clothes"]}
    out |= {v: {"framing": v} for v in FRAMINGS}
    return out | {said: {"background": scene} for said, scene in SCENES.items()}


def aliases() -> dict[str, dict[str, str]]:
    """Return other words for what a tag names."""
    people = {word: {"class": "person"} for word in PEOPLE_WORDS[1:]}
    beside = {f"{w} on the {side}": {side: "person"} for w in PEOPLE_WORDS[1:] for side in ("left", "right")}
    return people | beside | ALIASES


def patterns() -> list[dict[str, Any]]:
    """Return tags with two colours; if neither comes first in the image, the colours are sorted."""
    colors = ["background color", "background color 2"]
    return [
        {"template": f"{{0}} and {{1}} {kind} background", "atoms": {"background": kind},
         "colors": colors, "sorted": True}
        for kind in ("gradient", "striped", "checkered")
    ] + [
        {"template": "{0} background with {1} polka dots", "atoms": {"background": "polka dots"},
         "colors": colors, "sorted": False}
    ]  # fmt: skip


def vocabulary() -> dict[str, Any]:
    return {
        "version": 2,
        "judged": ["class", "hair color", "skin", "clothing color", "concept color", "background", "framing"],
        "groups": groups(),
        "silent": {"glasses color": "black", "face": "whole"},
        "nouns": nouns(),
        "phrases": phrases(),
        "patterns": patterns(),
        "aliases": aliases(),
        "spelling": {"grey": "gray", "blond": "blonde", "mustache": "moustache", "t-shirt": "shirt",
                     "tee": "shirt", "dungarees": "overalls", "shades": "sunglasses",
                     "spectacles": "glasses", "eyeglasses": "glasses", "afros": "afro",
                     "jumper": "collared sweater", "navy blue": "navy"},
        "accepts": ACCEPTS,
    }  # fmt: skip
