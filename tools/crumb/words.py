"""The vocabulary: groups of attributes, and a grammar from caption tags to their values.

``vocabulary()`` is what ships as ``vocabulary.json`` beside the tagger; ``bakehouse.data.crumb_attributes`` reads it.
The first value of a group is its default ("none", "neutral"), which no caption says.
"""

from __future__ import annotations

from typing import Any

HAIR_COLORS = [
    "auburn", "black", "blonde", "brown", "pink", "platinum", "red", "silver", "blue", "green", "purple",
]  # fmt: skip
ODD_HAIR_COLORS = ["teal", "lavender", "coral"]
SKINS = ["dark", "brown", "tan", "light", "pale", "yellow"]
CLOTH_COLORS = [
    "black", "blue", "navy", "white", "gray", "cyan", "mint", "pink", "yellow", "magenta", "red", "orange",
    "green", "purple", "brown",
]  # fmt: skip
ODD_CLOTH_COLORS = ["teal", "maroon", "olive", "lavender", "gold", "lime"]
GLASS_COLORS = ["red", "blue", "white", "pink", "green"]
ROBOT_COLORS = ["yellow", "purple", "red", "blue", "green", "orange", "gray", "teal", "brown"]
BACKGROUND_COLORS = [
    "white", "gray", "black", "red", "orange", "yellow", "green", "teal", "blue", "navy", "purple", "pink",
    "brown", "beige", "sky blue",
]  # fmt: skip

HATS = ["fedora hat", "hijab", "turban", "winter hat", "bobble hat", "beanie", "snow cap"]
HAIR = [
    "bob cut", "hair bun", "curly hair", "wavy hair", "dreadlocks", "afro", "afro with headband",
    "medium hair", "side shave", "long hair", "long straight hair", "long hair with strand",
    "short dreads", "frizzy hair", "shaggy hair", "mullet", "short curly hair", "flat top",
    "short round hair", "short wavy hair", "balding", "caesar cut", "side part", "big hair",
]  # fmt: skip
PIXEL_HAIR = ["short hair"]  # and "long hair", which it shares
ODD_HAIR = ["hair with flowers", "blunt bob", "long dreads"]
INK_HAIR = [
    "afro hair", "bangs hair", "bantu knots hair", "bear hair", "bun hair", "buns hair",
    "cornrows hair", "dreads hair", "flat top hair", "flat top long hair", "gray bun hair",
    "gray medium hair", "gray short hair", "hat beanie hair", "hat hip hair", "long afro hair",
    "long bangs hair", "long curly hair", "medium bangs hair", "medium straight hair",
    "mohawk hair", "no hair hair", "pomp hair", "shaved hair", "turban hair", "twists hair",
]  # fmt: skip
CLOTHES = [
    "hoodie", "overalls", "blazer and shirt", "blazer and sweater", "collared sweater",
    "crew neck shirt", "scoop neck shirt", "v-neck shirt",
]  # fmt: skip
GRAPHICS = ["bat", "bear", "deer", "diamond", "pizza", "skull"]
ODD_GRAPHICS = ["boombox", "hola", "resist"]
GLASSES = [
    "glasses", "square glasses", "round glasses", "sunglasses", "wayfarer sunglasses",
    "white sunglasses",
]  # fmt: skip
BEARDS = ["light beard", "long beard", "beard", "fancy moustache", "moustache"]
EYES = [
    "closed eyes", "crying", "rolling eyes", "happy eyes", "heart eyes", "looking aside",
    "squinting", "surprised eyes", "winking", "dizzy eyes",
]  # fmt: skip
MOUTHS = [
    "concerned", "slight smile", "disbelief", "eating", "grimace", "sad", "screaming", "serious",
    "big smile", "tongue out", "smile",
]  # fmt: skip
BROWS = ["angry", "raised eyebrows", "worried"]
ROBOT_EYES = [
    f"{e} eyes" for e in ("bulging", "eva", "frame", "glow", "hearts", "robocop", "round",
    "round frame", "sensor", "shade")
]  # fmt: skip
ROBOT_MOUTHS = ["bite mouth", "diagram mouth", "grill mouth", "smile mouth", "square mouth"]
ROBOT_TOPS = [
    f"{t} on top" for t in ("antenna", "antenna crooked", "bulb", "glowing bulb", "horns", "lights",
    "pyramid", "radar")
]  # fmt: skip
INK_FACES = [
    "angry with fang", "awe", "blank", "calm", "cheeky", "concerned fear", "contempt", "cute",
    "cyclops", "driven", "eating happy", "explaining", "eyes closed", "fear", "hectic",
    "loving grin", "monster", "old", "rage", "smile big", "smile l o l", "smile teeth gap",
    "solemn", "suspicious", "tired", "very angry",
]  # fmt: skip
SCENES = {
    "at the beach": "beach", "at night": "night", "in a meadow": "meadow", "at sunset": "sunset",
    "in the city": "city", "in the snow": "snow", "in outer space": "space", "in a forest": "forest",
    "in a room": "room", "in the desert": "desert",
}  # fmt: skip
FRAMINGS = ["portrait", "close-up", "from afar"]
STYLES = [
    "flat", "ink", "pixel", "toonHead", "personas", "micah", "adventurer", "bigSmile", "bigEars",
    "lorelei", "notionists", "miniavs",
]  # fmt: skip

ALIASES: dict[str, dict[str, str]] = {
    "man": {"class": "person"}, "woman": {"class": "person"}, "character": {"class": "person"},
    "boy": {"class": "person"}, "girl": {"class": "person"},
    "flat avatar": {"style": "flat"}, "avatar": {"style": "flat"},
    "sketch": {"style": "ink"}, "8-bit": {"style": "pixel"},
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
    "in the snow": {"background": "snow"}, "snow": {"background": "snow"},
    "in snow": {"background": "snow"}, "snowy background": {"background": "snow"},
    "in space": {"background": "space"}, "space": {"background": "space"},
    "outer space": {"background": "space"},
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
    "no beard": {"facial hair": "none"}, "eye patch": {"glasses": "eyepatch"},
    "smiling": {"mouth": "smile"}, "laughing": {"mouth": "big smile"}, "grinning": {"mouth": "big smile"},
    "screams": {"mouth": "screaming"}, "wink": {"eyes": "winking"}, "winks": {"eyes": "winking"},
    "tears": {"eyes": "crying"}, "eyes closed": {"eyes": "closed eyes", "face": "eyes closed"},
    "frowning": {"mouth": "sad"}, "hearts in the eyes": {"eyes": "heart eyes"},
}  # fmt: skip

ACCEPTS: dict[str, dict[str, list[str]]] = {
    "clothing": {"shirt": ["crew neck shirt", "scoop neck shirt", "v-neck shirt"]},
    "hair": {
        "long hair": ["long straight hair", "long hair with strand", "wavy hair"],
        "short hair": ["short round hair", "short wavy hair", "caesar cut", "side part", "short curly hair"],
        "curly hair": ["short curly hair"],
        "afro": ["afro with headband"],
    },
    "headwear": {"hat": ["fedora hat", "winter hat", "bobble hat", "beanie", "snow cap"]},
    "glasses": {
        "glasses": ["square glasses", "round glasses"],
        "sunglasses": ["wayfarer sunglasses", "white sunglasses"],
    },
    "facial hair": {
        "beard": ["light beard", "long beard"],
        "moustache": ["fancy moustache"],
    },
    "mouth": {"smile": ["slight smile", "big smile"]},
}
"""Special words that satisfy a general one."""


def groups() -> dict[str, list[str]]:
    """Return every group and its values, in the order of the tagger's outputs."""
    hats = [*HATS, "hat"]
    hair = [*HAIR, *PIXEL_HAIR, *ODD_HAIR, *INK_HAIR]
    scenes = list(SCENES.values())
    return {
        "class": ["person", "robot"],
        "style": STYLES,
        "hair": ["none", *hair],
        "hair color": ["none", *HAIR_COLORS, *ODD_HAIR_COLORS],
        "headwear": ["none", *hats],
        "headwear color": ["none", *CLOTH_COLORS],
        "skin": ["none", *SKINS],
        "clothing": ["none", "shirt", *CLOTHES],
        "clothing color": ["none", *CLOTH_COLORS, *ODD_CLOTH_COLORS],
        "graphic": ["none", *GRAPHICS, *ODD_GRAPHICS],
        "glasses": ["none", *GLASSES, "eyepatch"],
        "glasses color": ["black", *GLASS_COLORS],
        "facial hair": ["none", *BEARDS],
        "facial hair color": ["none", *HAIR_COLORS, *ODD_HAIR_COLORS],
        "eyes": ["neutral", *EYES, *ROBOT_EYES],
        "mouth": ["neutral", *MOUTHS, *ROBOT_MOUTHS],
        "brows": ["neutral", *BROWS],
        "face": ["none", *INK_FACES, "concerned", "serious", "smile"],
        "robot color": ["none", *ROBOT_COLORS],
        "robot head": ["none", "round head", "square head"],
        "robot top": ["none", *ROBOT_TOPS],
        "background": ["plain", "gradient", "striped", "polka dots", "checkered", *scenes],
        "background color": ["none", *BACKGROUND_COLORS],
        "background color 2": ["none", *BACKGROUND_COLORS],
        "framing": FRAMINGS,
    }


def nouns() -> dict[str, dict[str, Any]]:
    """Words after a colour: their own value, and the group of the colour."""
    out: dict[str, dict[str, Any]] = {}
    for h in [*HAIR, *PIXEL_HAIR, *ODD_HAIR]:
        out[h] = {"atoms": {"hair": h}, "color": "hair color"}
    out["hair"] = {"atoms": {}, "color": "hair color"}
    for h in HATS:
        out[h] = {"atoms": {"headwear": h}, "color": "headwear color"}
    out["skin"] = {"atoms": {}, "color": "skin"}
    for c in ["shirt", *CLOTHES]:
        out[c] = {"atoms": {"clothing": c}, "color": "clothing color"}
    for g in [*GRAPHICS, *ODD_GRAPHICS]:
        atoms = {"clothing": "shirt", "graphic": g}
        out[f"shirt with {g}"] = {"atoms": atoms, "color": "clothing color"}
    for g in ("glasses", "square glasses", "round glasses"):
        out[g] = {"atoms": {"glasses": g}, "color": "glasses color"}
    for b in BEARDS:
        out[b] = {"atoms": {"facial hair": b}, "color": "facial hair color"}
    out["robot"] = {"atoms": {"class": "robot"}, "color": "robot color"}
    out["background"] = {"atoms": {"background": "plain"}, "color": "background color"}
    return out


def phrases() -> dict[str, dict[str, str]]:
    """Return tags without a colour."""
    out: dict[str, dict[str, str]] = {
        "person": {"class": "person"},
        "robot": {"class": "robot"},
        "ink drawing": {"style": "ink"},
        "pixel art": {"style": "pixel"},
    }
    for h in [*HAIR, *PIXEL_HAIR, *ODD_HAIR, *INK_HAIR]:
        out[h] = {"hair": h}
    for h in [*HATS, "hat"]:
        out[h] = {"headwear": h}
    for c in ["shirt", *CLOTHES]:
        out[c] = {"clothing": c}
    for g in [*GLASSES, "eyepatch"]:
        out[g] = {"glasses": g}
    for b in BEARDS:
        out[b] = {"facial hair": b}
    for group, values in (
        ("eyes", [*EYES, *ROBOT_EYES]),
        ("mouth", [*MOUTHS, *ROBOT_MOUTHS]),
        ("brows", BROWS),
        ("face", INK_FACES),
        ("robot head", ["round head", "square head"]),
        ("robot top", ROBOT_TOPS),
        ("framing", FRAMINGS),
    ):
        out |= {v: {group: v} for v in values}
    return out | {words: {"background": scene} for words, scene in SCENES.items()}


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
        "version": 1,
        "judged": ["hair color", "skin", "clothing color", "background", "framing"],
        "groups": groups(),
        "silent": {"glasses color": "black"},
        "nouns": nouns(),
        "phrases": phrases(),
        "patterns": patterns(),
        "aliases": ALIASES,
        "spelling": {"grey": "gray", "blond": "blonde", "mustache": "moustache", "t-shirt": "shirt",
                     "tee": "shirt", "dungarees": "overalls", "shades": "sunglasses",
                     "spectacles": "glasses", "eyeglasses": "glasses", "afros": "afro",
                     "jumper": "collared sweater", "navy blue": "navy"},
        "accepts": ACCEPTS,
    }  # fmt: skip
