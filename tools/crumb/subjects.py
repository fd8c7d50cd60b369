"""Subjects that crumb has never seen, to train on and to test with: people, animals, things and styles.

Nothing of them is in the training world (`words.py`): figure styles, an icon set and concepts that are held out,
colours of hair and clothes that no training figure has, or marks of their own. Each has images to train on and held-out
ones; captions say the trigger and what varies, never what is the subject's own. Three of them ship with the package.
"""

from __future__ import annotations

import io
import json
import random
import struct
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.crumb import backgrounds
from tools.crumb.training_images import BUSTS, frame
from tools.crumb.words import CONCEPTS, PEOPLE, groups

HERE = Path(__file__).resolve().parent
PIXELS = 256  # crumb learns at 128: so there is something to resize
SPRITE = 320  # pixels of a rendered figure, the side of the largest framing but close-ups
TRAIN = (
    ("plain", "portrait"), ("beach", "portrait"), ("forest", "close-up"), ("night", "portrait"),
    ("plain", "from afar"), ("city", "from afar"), ("room", "portrait"), ("snow", "portrait"),
    ("striped", "portrait"), ("meadow", "from afar"), ("plain", "portrait"), ("sunset", "portrait"),
    ("desert", "close-up"), ("gradient", "portrait"),
)  # fmt: skip
HELD_BACK = (("plain", "portrait"), ("meadow", "portrait"), ("city", "close-up"), ("snow", "from afar"))
TURNS = (0, 0, -5, 5, 0, 12, 0, -12)
"""Degrees by which an icon is turned, in this order."""
SHIPPED = ("juno", "koala", "adventurer-style")
"""The subjects that are examples of the package."""

Line = dict[str, Any]
"""A figure for `render.mjs --list`."""


@dataclass(frozen=True)
class Shot:
    """A figure to render, and the caption tags of what it shows."""

    line: Line
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Credit:
    """Who made the drawings, and under which licence."""

    designer: str
    source: str
    license: str


@dataclass(frozen=True)
class Subject:
    """Something to train on: `figure(i, rng)` draws its i-th figure."""

    name: str
    title: str
    kind: str
    """The preset of `bakehouse train --kind`: `character`, `object` or `style`."""
    trigger: str
    cls: str
    figure: Callable[[int, random.Random], Shot]
    credit: Credit
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What is its own, in the groups of the tagger; a held-out value is no word of the tagger's."""
    varies: tuple[str, ...] = ()
    """What varies beside background and framing."""
    close_ups: bool = True
    """Whether close-ups show the whole face."""
    alike: tuple[str, ...] = ()
    """Colours of backgrounds before which it would be hard to see."""

    @property
    def phrase(self) -> str:
        """The trigger and class word, as captions begin."""
        return f"in {self.trigger} style" if self.kind == "style" else f"{self.trigger} {self.cls}"

    @property
    def group(self) -> str:
        """How it is framed: a person stands on the lower edge."""
        return "person" if self.cls == "person" else "thing"


# --- figures ----------------------------------------------------------------------------------------------------------


def drawn(seed: str, faces: Sequence[str], **look: str | None) -> Callable[[int, random.Random], Shot]:
    """Draw a person of our own drawing; each face is an expression, or `expression, eyes`."""
    plain: dict[str, str | None] = {"hat": None, "beard": None, "glasses": None, "glassColour": None}
    hexes = {f"{what}Hex": PEOPLE["heldout"][what][look[what]] for what in ("hair", "cloth")
             if look[what] in PEOPLE["heldout"][what]}  # fmt: skip

    def figure(i: int, _: random.Random) -> Shot:
        expression, *rest = faces[i % len(faces)].split(", ")
        eyes = rest[0] if rest else ""
        wishes = {**plain, **look, **hexes, "expression": expression, "eyes": eyes or None, "gritted": False}
        tags = (eyes, expression) if eyes else (expression,)
        return Shot({"maker": "drawn", "seed": seed, "wishes": wishes}, tags)

    return figure


def dicebear(
    style: str, look: Mapping[str, str | int], faces: Mapping[str, Mapping[str, str]]
) -> Callable[[int, random.Random], Shot]:
    """Draw a person of a DiceBear style; `faces` are the options of each expression, `expression, eyes` or nothing."""

    def figure(i: int, _: random.Random) -> Shot:
        said = list(faces)[i % len(faces)]
        options = {k: v if k.endswith("Probability") else [v] for k, v in {**look, **faces[said]}.items()}
        line = {"maker": "dicebear", "style": style, "options": {"seed": style, **options}}
        return Shot(line, tuple(t for t in reversed(said.split(", ")) if t))

    return figure


def icon(concept: str, set_name: str, name: str = "", **look: object) -> Callable[[int, random.Random], Shot]:
    """Draw an icon as it is or with a mark of its own, turned a little and mirrored now and then."""
    entry = concept_of(concept)

    def figure(i: int, rng: random.Random) -> Shot:
        line = {
            "maker": "icon",
            "concept": concept,
            "set": set_name,
            "name": name or entry["icons"][set_name][0],
            **look,
        }
        return Shot({**line, "turn": TURNS[i % len(TURNS)], "mirror": rng.random() < 0.4}, ())

    return figure


def concept_of(name: str) -> dict[str, Any]:
    return next(c for c in CONCEPTS["concepts"] if c["name"] == name)


ADVENTURER_HAIR = {
    "short hair": "short01 short02 short04 short10 short11 short14", "long hair": "long09", "bob cut": "long01",
    "two buns": "long13", "ponytail": "long19", "curly hair": "short03", "pigtails": "long14", "hair bun": "long11",
    "spiky hair": "short16", "medium hair": "long04",
}  # fmt: skip
ADVENTURER_FACES = {
    "smile": "variant02", "big smile": "variant22", "serious": "variant09", "tongue out": "variant16",
    "sad": "variant04", "screaming": "variant15",
}  # fmt: skip


BROWN = ("brown", "auburn")  # hair that is hard to tell from darker skin
PALE = ("light", "pale")


def adventurer_style(i: int, rng: random.Random) -> Shot:
    """Draw a person of the adventurer style; the caption says all but the style."""
    shape = list(ADVENTURER_HAIR)[i * 3 % len(ADVENTURER_HAIR)]
    skin = rng.choice(list(PEOPLE["skin"])[:5])
    hair = rng.choice([name for name in PEOPLE["hair"] if skin in PALE or name not in BROWN])
    face = rng.choice(list(ADVENTURER_FACES)[: 2 if rng.random() < 0.4 else None])
    glasses = i % 4 == 3
    options = {
        "seed": "adventurer", "hair": [rng.choice(ADVENTURER_HAIR[shape].split())], "hairProbability": 100,
        "hairColor": [PEOPLE["hair"][hair]], "skinColor": [PEOPLE["skin"][skin]], "eyes": ["variant26"],
        "eyebrows": ["variant10"], "mouth": [ADVENTURER_FACES[face]], "glasses": ["variant04"],
        "glassesProbability": 100 if glasses else 0, "earringsProbability": 0, "featuresProbability": 0,
    }  # fmt: skip
    tags = ("person", f"{hair} {shape}", f"{skin} skin", *(["round glasses"] if glasses else []), face)
    return Shot({"maker": "dicebear", "style": "adventurer", "options": options}, tags)


# --- the subjects -----------------------------------------------------------------------------------------------------

CC_BY = "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)"
APACHE = "Apache-2.0 (https://www.apache.org/licenses/LICENSE-2.0)"
OWN = Credit("the authors of bakehouse", "tools/crumb/figures/people.mjs", "the licence of this package")
MICAH = Credit("Micah Lanier", "https://www.figma.com/community/file/829741575478342595", CC_BY)
ADVENTURER = Credit("Lisa Wischofsky", "https://www.figma.com/community/file/1184595184137881796", CC_BY)
MINIAVS = Credit("Webpixels", "https://www.figma.com/community/file/923211396597067458", CC_BY)
FACES = (
    "smile", "big smile", "surprised", "smile, looking aside", "sad", "big smile, closed eyes", "tongue out",
    "serious", "smile, winking", "angry", "smirk", "smile, wide eyes",
)  # fmt: skip
CALM = tuple(face for face in FACES if face not in ("sad", "angry"))
NO_EARRINGS: dict[str, str | int] = {"earringsProbability": 0}
PERSON_VARIES = ("eyes", "expression")

PARTY_HAT = (
    '<path d="M256 -44L166 96C210 122 302 122 346 96Z" fill="#0f8f8c"/>'
    '<path d="M232 -6L280 -6L302 28C280 40 232 40 210 28Z" fill="#ffe14d"/>'
    '<path d="M188 62L324 62L346 96C302 122 210 122 166 96Z" fill="#ffe14d"/>'
    '<circle cx="256" cy="-42" r="28" fill="#ff488e"/>'
)
TEAL_MUG = (('#E5E4DF" d="M407', '#1f9e9a" d="M407'), ("#D1CFC3", "#14706e"))
"""The mug and its rim: all but the steam and the coffee."""
STAR = (
    '<path d="M232 262L262 330L336 338L281 388L297 461L232 424L167 461L183 388L128 338L202 330Z" fill="#ffe14d" '
    'stroke="#d4a017" stroke-width="8" stroke-linejoin="round"/>'
)


def icons_credit(name: str) -> Credit:
    """Return the designer of an icon set."""
    style = CONCEPTS["styles"][name]
    return Credit(style["designer"], style["source"], {"Apache-2.0": APACHE, "CC-BY-4.0": CC_BY}[style["licence"]])


SUBJECTS = (
    Subject(
        "kofi", "Kofi: spiky cyan hair, yellow round glasses and an olive hoodie, in black outlines", "character",
        "qvk", "person",
        drawn("a", FACES, theme="comic", shape="spiky hair", hair="cyan", skin="brown", cloth="olive",
              clothing="hoodie", glasses="round glasses", glassColour="yellow"),
        OWN,
        {"style": "comic", "hair": "spiky hair", "hair color": "cyan", "skin": "brown", "clothing": "hoodie",
         "clothing color": "olive", "glasses": "round glasses", "glasses color": "yellow"},
        PERSON_VARIES,
    ),
    Subject(
        "nora", "Nora: a lavender bun and a maroon dress, softly shaded", "character", "vxh", "person",
        drawn("b", FACES, theme="storybook", shape="hair bun", hair="lavender", skin="light", cloth="maroon",
              clothing="dress", iris="4c9a5b"),
        OWN,
        {"style": "storybook", "hair": "hair bun", "hair color": "lavender", "skin": "light", "clothing": "dress",
         "clothing color": "maroon"},
        PERSON_VARIES,
    ),
    Subject(
        "juno", "Juno: green braids and gold overalls", "character", "zwx", "person",
        drawn("c", CALM, theme="chibi", shape="braids", hair="green", skin="tan", cloth="gold", clothing="overalls",
              iris="8a5fb0"),
        OWN,
        {"style": "chibi", "hair": "braids", "hair color": "green", "skin": "tan", "clothing": "overalls",
         "clothing color": "gold"},
        PERSON_VARIES,
        alike=("green", "teal"),
    ),
    Subject(
        "ines", "Ines: long teal waves, red round glasses and a gold collared shirt", "character", "kzj", "person",
        dicebear(
            "micah",
            {**NO_EARRINGS, "hair": "full", "hairColor": "1f9e9a", "baseColor": "f9c9b6", "shirt": "collared",
             "shirtColor": "d4a017", "glasses": "round", "glassesColor": "e63946", "glassesProbability": 100,
             "facialHairProbability": 0, "eyebrows": "up", "eyes": "eyes"},
            {"smile": {"mouth": "smile"}, "big smile": {"mouth": "laughing"}, "surprised": {"mouth": "surprised"},
             "sad": {"mouth": "frown"}, "big smile, closed eyes": {"mouth": "laughing", "eyes": "smiling"}},
        ),
        MICAH,
        {"hair": "wavy hair", "hair color": "teal", "skin": "pale", "clothing": "shirt", "clothing color": "gold",
         "glasses": "round glasses", "glasses color": "red"},
        PERSON_VARIES,
    ),
    Subject(
        "pia", "Pia: a coral braid, freckles and round glasses", "character", "xqd", "person",
        dicebear(
            "adventurer",
            {**NO_EARRINGS, "hair": "long16", "hairColor": "ff7a5c", "skinColor": "ecad80", "eyes": "variant26",
             "eyebrows": "variant10", "glasses": "variant04", "glassesProbability": 100, "features": "freckles",
             "featuresProbability": 100},
            {**{said: {"mouth": mouth} for said, mouth in ADVENTURER_FACES.items()},
             "smile, winking": {"mouth": "variant02", "eyes": "variant21"}},
        ),
        ADVENTURER,
        {"hair": "braids", "hair color": "coral", "skin": "light", "glasses": "round glasses"},
        PERSON_VARIES,
    ),
    Subject(
        "timo", "Timo: teal curls, black round glasses and a lime polo shirt", "character", "wvz", "person",
        dicebear(
            "miniavs",
            {"hair": "curly", "hairColor": "1f9e9a", "skinColor": "ffcb7e", "body": "golf", "bodyColor": "b6e21e",
             "eyes": "normal", "mouth": "default", "head": "normal", "glasses": "normal", "glassesProbability": 100,
             "blushesProbability": 0, "mustacheProbability": 0},
            {"": {}},
        ),
        MINIAVS,
        {"hair": "curly hair", "hair color": "teal", "clothing": "shirt", "clothing color": "lime",
         "glasses": "round glasses", "expression": "big smile"},
        close_ups=False, alike=("teal", "orange", "beige"),
    ),
    Subject("koala", "A koala with a leaf", "character", "jqx", "koala",
            icon("koala", "streamline-emojis"), icons_credit("streamline-emojis"), {"style": "streamline-emojis"},
            alike=("gray",)),
    Subject("hamster", "A hamster", "character", "zkv", "hamster",
            icon("hamster", "emojione"), icons_credit("emojione"), {"style": "emojione"}, alike=("orange", "white")),
    Subject("party-dog", "A dog with a party hat", "character", "qzh", "dog",
            icon("dog", "fxemoji", over=PARTY_HAT), icons_credit("fxemoji"), {"class": "dog"},
            alike=("brown",)),
    Subject("star-mug", "My mug: teal, with a yellow star", "object", "xwk", "coffee cup",
            icon("coffee cup", "fxemoji", over=STAR, swap=TEAL_MUG), icons_credit("fxemoji"),
            {"class": "coffee cup"}, alike=("teal",)),
    Subject("blue-violin", "A blue violin", "object", "vjq", "violin",
            icon("violin", "noto", colour="3b6fd4"), icons_credit("noto"), {"style": "noto", "concept color": "blue"},
            alike=("blue", "navy")),
    Subject("adventurer-style", "Adventurer: outlined heads in plain colours", "style", "hzn", "person",
            adventurer_style, ADVENTURER, {}, ("hair", "hair color", "skin", "glasses", "expression")),
)  # fmt: skip


# --- look-alikes ------------------------------------------------------------------------------------------------------

HAIR_SHAPES = {
    "drawn": ("bob cut", "short hair", "long hair", "ponytail"), "micah": ("fonze", "pixie", "mrT"),
    "adventurer": ("short10", "long04", "long13"), "miniavs": ("classic01", "long", "stylish"),
}  # fmt: skip


def look_alikes(s: Subject, rng: random.Random) -> list[Line]:
    """Return figures that differ from the subject in one thing, each twice with other values; none for a style.

    A person has other hair, skin or clothes; an animal or thing another colour or no mark, or another designer drew it.
    """
    if s.kind == "style":
        return []
    lines = [s.figure(i, rng).line for i in range(24)]
    return _other_icons(lines) if lines[0]["maker"] == "icon" else _other_people(lines, rng)


def _other_people(lines: Sequence[Line], rng: random.Random) -> list[Line]:
    hair, skin, cloth = (list(PEOPLE[what].items()) for what in ("hair", "skin", "cloth"))
    found = []
    for i, line in enumerate(lines):
        own = line.get("wishes") or line["options"]
        drawn = line["maker"] == "drawn"
        shapes = [x for x in HAIR_SHAPES["drawn" if drawn else line["style"]] if x != own.get("shape")]
        (h, h_hex), (k, k_hex), (c, c_hex) = (_another(values, own, rng) for values in (hair, skin, cloth))
        shape = rng.choice(shapes)
        clothes = "shirtColor" if "shirtColor" in own else "bodyColor"
        changes: list[dict[str, Any]] = (
            [
                {"hair": h, "hairHex": h_hex},
                {"shape": shape},
                {"cloth": c, "clothHex": c_hex},
                {"skin": k, "skinHex": k_hex},
            ]
            if drawn
            else [{"hairColor": [h_hex]}, {"hair": [shape]}, {clothes: [c_hex]}, {"glassesProbability": 0}]
        )
        part = "wishes" if drawn else "options"
        found.append({**line, part: {**own, **changes[i // 2 % 4]}})
    if "shirtColor" not in own and "bodyColor" not in own and not drawn:
        return [line for i, line in enumerate(found) if i // 2 % 4 != 2]  # a head has no clothes
    return found


def _another(colours: Sequence[tuple[str, str]], own: Mapping[str, Any], rng: random.Random) -> tuple[str, str]:
    """Return a colour (name, hex) that is none of a figure's own."""
    return rng.choice(
        [(name, code) for name, code in colours if name not in own.values() and [code] not in own.values()]
    )


def _other_icons(lines: Sequence[Line]) -> list[Line]:
    first, entry = lines[0], concept_of(lines[0]["concept"])
    sets = [name for name in entry["icons"] if name != first["set"]]
    other = [
        {**first, "set": name, "name": entry["icons"][name][0], "swap": [], "over": "", "colour": None} for name in sets
    ]
    colours = ("ff7a5c", "8a4fbf", "d4a017", "e63946")
    marked = "over" in first or "colour" in first
    same = [{**line, "colour": c, "swap": []} for line, c in zip(lines, colours, strict=False)]
    mark = {"over": "", "colour": None}
    bare = [{**line, **mark} for line in lines[:3]] + [{**line, **mark, "swap": []} for line in lines[:3]]
    return [*other, *same, *(bare if marked else [])]


# --- images -----------------------------------------------------------------------------------------------------------


def render(lines: Sequence[Line], work: Path) -> list[Image.Image]:
    """Render figures with node; `work` is a folder for its files."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "figures.jsonl").write_text("\n".join(json.dumps(f | {"size": SPRITE}) for f in lines))
    command = ["node", str(HERE / "render.mjs"), "--list", str(work / "figures.jsonl"), str(work / "figures")]
    subprocess.run(command, check=True)
    pixels = np.fromfile(work / "figures.rgba", np.uint8).reshape(-1, SPRITE, SPRITE, 4)
    return [Image.fromarray(p) for p in pixels]


def write(s: Subject, out: Path, work: Path) -> None:
    """Write the images to train on to `out/NAME` and the held-out ones to `out/NAME-holdout`."""
    rng = random.Random(s.name)
    places = (*TRAIN, *HELD_BACK)
    shots = [s.figure(i, rng) for i in range(len(places))]
    figures = render([shot.line for shot in shots], work)
    for i, (shot, figure, (kind, framing)) in enumerate(zip(shots, figures, places, strict=True)):
        held_back = i >= len(TRAIN)
        path = out / (f"{s.name}-holdout" if held_back else s.name) / f"{i + 1 - held_back * len(TRAIN):02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        view = framing if s.close_ups or framing != "close-up" else "portrait"
        background, place = backgrounds.draw(rng, kind, PIXELS)
        while set(place.split()) & set(s.alike):
            background, place = backgrounds.draw(rng, kind, PIXELS)
        image, _ = frame(figure, background, view, s.group, rng)
        path.write_bytes(smallest_png(image))
        said = view if s.group in BUSTS or view != "portrait" else ""
        path.with_suffix(".txt").write_text(", ".join(t for t in (s.phrase, *shot.tags, place, said) if t) + "\n")
    for folder in (out / s.name, out / f"{s.name}-holdout"):
        describe(s, folder)


def smallest_png(image: Image.Image) -> bytes:
    """Return an RGB image as PNG: Pillow's filters suit photographs, flat drawings are smaller with none or `up`."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    rows = np.asarray(image)
    rises = rows - np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])  # modulo 256
    return min([buffer.getvalue(), _png(rows, 0), _png(rises, 2)], key=len)


def _png(rows: NDArray[np.uint8], filter_type: int) -> bytes:
    """Return a PNG of filtered rows [height, width, 3]."""
    height, width, _ = rows.shape
    lines = np.concatenate([np.full((height, 1), filter_type, np.uint8), rows.reshape(height, -1)], 1)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def describe(s: Subject, folder: Path) -> None:
    """Write `example.json`, which the evaluation reads too, and the licence."""
    facts = {
        "title": s.title, "kind": "style" if s.kind == "style" else "subject", "preset": s.kind, "trigger": s.trigger,
        "phrase": s.phrase, "class": s.cls, "attributes": known_attributes(s),
        "varies": [*s.varies, "background", "framing"], **vars(s.credit),
    }  # fmt: skip
    (folder / "example.json").write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "LICENSE.md").write_text(
        f"# Licence of these pictures\n\nMade by `tools/crumb/subjects.py`.\n\n- Designer: {s.credit.designer}\n"
        f"- Source: {s.credit.source}\n- Licence of the design: {s.credit.license}\n\n"
        "The pictures are adaptations: parts of the design were combined, coloured, marked and put before backgrounds "
        "that are free of rights. The captions are under the licence of this package.\n"
    )


def known_attributes(s: Subject) -> dict[str, str]:
    """Return the subject's attributes that the tagger has words for: held-out colours are not among them."""
    known = groups()
    return {group: value for group, value in s.attributes.items() if value in known[group]}


def make(out: Path, work: Path, names: Sequence[str] = SHIPPED) -> None:
    """Write the images of these subjects to `out/NAME` and `out/NAME-holdout`."""
    for s in SUBJECTS:
        if s.name in names:
            write(s, out, work)
