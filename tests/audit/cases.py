"""Cases of the audit: for every check a fault, the settings of the audit, and who can fix it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from tests.audit import make_datasets as make
from tests.audit.run_checks import ZWX, trigger


@dataclass(frozen=True)
class Case:
    """A fault, the settings of the audit that finds it, and who can fix it."""

    id: str
    fault: Callable[..., object]
    spec: dict[str, Any] = field(default_factory=dict)
    level: str = ""
    key: str = ""
    by: Literal["command", "person", "nobody"] = "command"
    """The finding's command fixes it; it only has advice; nothing has to be fixed."""
    recipe: bool = False
    """The fault is (also) one of `me.toml`, which says how the images are used."""


LARGE = {"base": "sd15", "family": "sd1", "buckets": {"resolution": 512, "step": 64}}
FACES, TEXT, KNOWN = {"faces": True}, {"text": True}, {"vocabulary": "@known"}
PAIR = [trigger("zwx", folders=["red dress"]), trigger("qvx", folders=["blue coat"])]
BOTH = [trigger("zwx", folders=["red dress", "both"]), trigger("qvx", folders=["blue coat", "both"])]

FILES = [
    Case("A01", make.unreadable),
    Case("A02", make.too_large, level="error"),
    Case("A03", make.misnamed),
    Case("A04", make.same_stem),
    Case("A05", make.junk, level="info"),
    Case("A05", make.stale, level="error", key="cache"),
    Case("A06", make.links, level="error"),
    Case("A06", make.link_out, level="warning", key="outside"),
    Case("A07", make.turned),
    Case("A08", make.profile),
    Case("A09", make.deep),
    Case("A10", make.inks),
    Case("A11", make.clear),
    Case("A12", make.animated),
    Case("A13", make.telling, key="generator"),
    Case("A13", make.placed, key="gps"),
]
PIXELS = [
    Case("B01", make.small, level="warning"),
    Case("B01", lambda f: make.texture(0, (24, 24)).save(f / "00.png"), level="error", key="far"),
    Case("B02", make.photo, level="warning", key="step", recipe=True),
    Case("B02", lambda f: make.texture(0, (128, 150)).save(f / "00.png"), level="warning", by="person"),
    Case("B02", make.long, level="error", key="far", by="person"),
    Case("B02", make.face_at_the_edge, spec=FACES, level="error", key="face", by="person"),
    Case("B03", make.one_of_a_shape, spec={"batch": 2}, by="person"),
    Case("B03", lambda f: make.shapes(f, 32), key="many", recipe=True),
    Case("B03", make.shapes, key="many", recipe=True, by="person"),
    Case("B04", make.framed),
    Case("B05", make.blurred),
    Case("B06", make.compressed),
    Case("B06", make.blocky),
    Case("B07", make.grey, level="warning"),
    Case("B07", lambda f: make.grey(f, 10), level="error", by="person"),
    Case("B07", lambda f: make.grey(f, 1), level="info", by="nobody"),
    Case("B08", lambda f: make.faced(f, "00.png", 0, (700, 1000), (300, 100, 349, 179)), spec=FACES),
    Case("B08", lambda f: make.faced(f, "00.png", 0, (128, 128), (40, 10, 50, 21)), FACES, key="far", by="person"),
    Case("B09", make.signed, spec=TEXT),
    Case("B09", lambda f: make.signed(f, rough=128), spec=TEXT, key="rough"),
    Case("B09", lambda f: make.signed(f, range(3), rough=128), spec=TEXT, key="watermark rough"),
    Case("B09", lambda f: make.signed(f, at=(20, 20), rough=128), spec=TEXT, level="info", key="signs rough"),
    Case("B09", lambda f: make.signed(f, range(3)), spec=TEXT, key="watermark"),
    Case("B09", lambda f: make.signed(f, at=(20, 80)), spec=TEXT, level="info", key="signs"),
    Case(
        "B10", lambda f: make.faced(f, "00.png", 0, (256, 256), (10, 10, 90, 110), (170, 20, 230, 90)), FACES,
        key="many",
    ),
    Case("B10", make.one_without_a_face, spec=FACES, level="info", key="none"),
    Case("B11", make.all_far, spec=FACES, level="warning"),
    Case("B11", make.one_framing, level="warning", by="person"),
    Case("B12", make.one_background),
    Case("B13", make.copied, level="warning"),
    Case("B13", make.copied_to_the_class, level="error", key="reg"),
    Case("B13", make.varied, level="info", key="variant", by="nobody"),
    Case("B13", make.cut_out, level="info", key="crop", by="nobody"),
    Case("B14", lambda f: make.add_tags(f, "1980s (style), screencap"), key="old", by="nobody"),
]  # fmt: skip
CAPTIONS = [
    Case("C01", make.silent),
    Case("C01", make.silent, spec={"triggers": ZWX}),
    Case("C02", make.encoded),
    Case("C02", make.listed, key="lines"),
    Case("C03", make.stray),
    Case("C04", make.lengthy),
    Case("C04", make.far_too_long, level="error", key="far"),
    Case("C04", make.far_too_long, spec={"triggers": ZWX}, level="error", key="far"),
    Case("C05", lambda f: make.add_tags(f, "Blue_Sky, blue sky")),
    Case("C06", lambda f: make.add_tags(f, "shirt, white shirt")),
    Case("C07", lambda f: make.add_tags(f, "eyeglasses, twin tails")),
    Case("C08", lambda f: make.add_tags(f, "closed eyes, blue eyes, open mouth, closed mouth, solo, 2girls")),
    Case("C09", lambda f: make.add_tags(f, "absurdres, meme, rating:safe")),
    Case("C10", lambda f: make.add_tags(f, "jewelry, weapon")),
    Case("C11", lambda f: make.add_tags(f, "blobfish, whiteboard eraser"), spec=KNOWN),
    Case("C11", lambda f: make.add_tags(f, "rare thing"), spec=KNOWN, level="info", key="weak"),
    Case("C12", lambda f: make.add_tags(f, "hatsune miku"), spec=KNOWN),
    Case("C13", lambda f: make.add_tags(f, ", ".join(f"thing {n} seen here" for n in range(70))), level="warning"),
    Case("C14", lambda f: [make.set_caption(f, "A photo of a person who is wearing a hat.", n) for n in (0, 1)]),
    Case(
        "C14", lambda f: [make.set_caption(f, "A photo of a zwx person who is wearing a hat.", n) for n in (0, 1)],
        {"triggers": ZWX},
    ),
    Case("C15", lambda f: make.add_tags(f, "red_coat, long_scarf"), key="underscores"),
    Case("C15", lambda f: make.add_tags(f, r"saber \(fate\), saber (fate)"), key="escaped parentheses"),
    Case("C16", lambda f: make.set_caption(f, "zwxx person, portrait"), spec={"triggers": ZWX}, key="zwx"),
]  # fmt: skip
TRIGGERS = [
    Case("D01", lambda f: make.set_caption(f, "portrait, smile"), spec={"triggers": ZWX}, key="zwx"),
    Case("D01", lambda f: make.silent(f) or make.set_caption(f, "portrait", 2), spec={"triggers": ZWX}, key="zwx"),
    Case("D01", make.with_class_images, spec={"triggers": ZWX, "keep_tokens": 1}, key="zwx"),
    Case(
        "D01", lambda f: make.set_caption(f, "hat, zwx person"), {"triggers": ZWX, "keep_tokens": 1},
        key="keep_tokens",
    ),
    Case("D01", lambda f: None, {"triggers": ZWX, "keep_tokens": 2}, key="keep_tokens", by="person"),
    Case("D01", lambda f: None, {"triggers": [trigger("zwx", folders=["nowhere"])]}, key="unfit", by="person"),
    Case("D01", make.declared_unsaid, {"triggers": ZWX, "declared": True}, key="zwx"),
    Case("D01", make.changed_by_hand, {"triggers": ZWX, "declared": True}, key="zwx"),
    Case(
        "D02", make.outfit_folders, {"triggers": [trigger("zwx"), trigger("qvx", kind="outfit")]},
        key="zwx qvx", by="person",
    ),
    Case(
        "D03", lambda f: make.outfit_folders(f, counts=(10, 4)),
        {"triggers": [trigger("zwx"), trigger("qvx", kind="outfit", folders=["red dress"])]},
        key="zwx qvx", by="person",
    ),
    Case("D04", lambda f: make.add_tags(f, "looking at viewer", range(10)), {"triggers": ZWX}, key="zwx", by="person"),
    Case(
        "D04", lambda f: make.add_tags(f, "looking at viewer", range(7)), {"triggers": ZWX}, key="zwx often",
        by="person",
    ),
    Case("D05", make.one_apron, {"triggers": make.APRON}, key="zwx qvr qvb", by="person"),
    Case(
        "D06", make.outfit_folders, key="qvx", by="person",
        spec={"triggers": [trigger("qvx", kind="outfit", folders=["red dress"], absorbs=["@footwear"])]},
    ),
    Case("D07", make.looks, {"triggers": make.KEEPING, "declared": True}, level="warning", key="zwx", by="person"),
    Case("D07", make.looks, {"triggers": [trigger("zwx")], "declared": True}, level="info", key="zwx", by="nobody"),
    Case("D08", lambda f: None, {"triggers": [trigger("rare thing", strategy="fluid")], **KNOWN}, key="rare thing",
         by="person"),
    Case("D09", make.outfit_folders, {"triggers": PAIR, "kind": "pack"}, key="none", by="person"),
    Case("D09", make.counted, {"triggers": BOTH, "kind": "pack"}, key="counts"),
]  # fmt: skip
BALANCE = [
    Case("E01", lambda f: make.outfit_folders(f, counts=(10, 5)), key="2_blue coat", by="person"),
    Case("E01", lambda f: None, {"kind": "pack"}, by="person"),
    Case("E02", lambda f: make.outfit_folders(f, counts=(10, 22)), level="warning"),
    Case("E02", lambda f: make.two_concepts(f, 3, 1), recipe=True),
    Case("E03", lambda f: None, {**LARGE, "epochs": 1, "repeats": {".": 1}, "triggers": ZWX}),
    Case("E03", lambda f: make.recipe(f, (".", 30), epochs=1), recipe=True),
    Case("E03", lambda f: make.recipe(f, (".", 30), epochs=40), recipe=True),
    Case("E03", lambda f: make.recipe(f, (".", 900), epochs=1), recipe=True, by="person"),
    Case("E04", lambda f: make.outfit_folders(f, ("3_red dress", "blue coat"))),
    Case("E05", make.many_of_the_class, {"triggers": ZWX}, level="warning", key="many"),
    Case("E05", make.many_of_the_class, {"triggers": ZWX}, level="error", key="triggers"),
    Case("E05", make.class_of_a_recipe, key="many", recipe=True),
    Case("E06", lambda f: make.recipe(f, (".", 1), epochs=300), recipe=True, by="person"),
    Case(
        "E06",
        lambda f: make.twenty(f) or make.recipe(f, (".", 1), epochs=300),
        level="warning",
        recipe=True,
    ),
    Case("E06", lambda f: make.recipe(f, (".", 20), epochs=10), level="info", recipe=True, by="nobody"),
]
MASKS = [
    Case("F01", lambda f: make.masks(f) or Image.new("L", (128, 40), 255).save(f / "masks" / "00.png")),
    Case("F02", lambda f: make.masks(f) or Image.new("L", (128, 128), 255).save(f / "masks" / "00.png")),
    Case("F03", make.masks, level="info", by="nobody"),
    Case("F04", lambda f: make.masks(f, range(4))),
]
CASES = [*FILES, *PIXELS, *CAPTIONS, *TRIGGERS, *BALANCE, *MASKS]

SIDE_EFFECTS = {"B07": ("E01",), "B09": ("F04",), "E03": ("E06",), "F02": ("F04",)}
"""Findings that a fix may cause: few images have many exposures each, and masked text makes the first masks."""
KNOWN_TAGS = "tag_id,name,category,count\n1,smile,0,90000\n2,rare thing,0,12\n3,hatsune_miku,4,99999\n"
