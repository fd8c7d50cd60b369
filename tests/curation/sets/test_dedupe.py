"""Re-saves go, variants stay; the best copy is kept, and nothing is lost with the others."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.dedupe import Dedupe
from bakehouse.curation.dedupe.best_copy import LOSSLESS, file_quality
from bakehouse.curation.dedupe.candidates import similar_pairs
from bakehouse.curation.dedupe.color_index import ColorIndex
from bakehouse.curation.dedupe.crop_detection import SMALL, find_crop
from bakehouse.curation.dedupe.grouping import connected_groups
from bakehouse.curation.dedupe.image_difference import ComparisonScale, prepare, tile_difference
from bakehouse.curation.dedupe.image_hashes import WINDOWS, hash_image
from bakehouse.curation.dedupe.recolor_prefilter import recolored_pairs
from bakehouse.curation.operation import apply_operation, collect_proposals
from bakehouse.data import open_image, scan

from .make_images import animated, jpeg, put, scaled, scene, screen, smiling

SPRITES = Path(os.environ.get("BAKEHOUSE_SPRITES", "/usr/share/games/renpy/the_question/game/images"))


def verdicts(folder, **options):
    """By the files' stems, in any order."""
    found = Dedupe.parse(options).findings(scan(folder))
    return {frozenset(r.path.stem for r in (f.keep, *f.others)): f.kind for f in found}


def names(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


RESAVES = {
    "q90": lambda im: jpeg(im, 90),
    "q50": lambda im: jpeg(im, 50),
    "q30": lambda im: jpeg(im, 30),
    "q15": lambda im: jpeg(im, 15),
    "half": lambda im: scaled(im, 0.5),
    "half and q30": lambda im: jpeg(scaled(im, 0.5), 30),
    "double": lambda im: scaled(im, 2),
    "a little brighter": lambda im: ImageEnhance.Brightness(im).enhance(1.03),
}


@pytest.mark.parametrize("made", RESAVES.values(), ids=RESAVES)
def test_a_resave_is_a_duplicate(made, tmp_path):
    image = scene(3)
    assert verdicts(put(tmp_path, a_png=image, b_png=made(image))) == {frozenset("ab"): "duplicate"}


VARIANTS = {
    "a mouth": smiling,
    "a mouth, and saved again": lambda im: jpeg(smiling(im), 70),
    "a mouth, and half as large": lambda im: scaled(smiling(im), 0.5),
    "grey": lambda im: im.convert("L").convert("RGB"),
    "darker": lambda im: ImageEnhance.Brightness(im).enhance(0.6),
    "paler": lambda im: ImageEnhance.Color(im).enhance(0.4),
    "gamma": lambda im: im.point(lambda v: round(255 * (v / 255) ** 1.6)),
}


@pytest.mark.parametrize("made", VARIANTS.values(), ids=VARIANTS)
def test_a_variant_is_none(made, tmp_path):
    image = scene(3)
    assert verdicts(put(tmp_path, a_png=image, b_png=made(image))) == {frozenset("ab"): "variant"}


EXPRESSIONS = {"calm": {}, "smile": {"mouth": "smile"}, "open": {"mouth": "open"}, "asleep": {"eyes": False}}


@pytest.mark.parametrize("size", [1.0, 0.6, 0.4])
def test_expressions_on_the_screen_of_a_game_all_stay(size, tmp_path):
    screens = {name: screen(size=size, **drawn) for name, drawn in EXPRESSIONS.items()}
    put(tmp_path, **{f"{name}_png": image for name, image in screens.items()})
    assert verdicts(tmp_path) == {frozenset(EXPRESSIONS): "variant"}


@pytest.mark.parametrize("made", RESAVES.values(), ids=RESAVES)
def test_a_resaved_screen_of_a_game_is_a_duplicate(made, tmp_path):
    image = screen("smile")
    assert verdicts(put(tmp_path, a_png=image, b_png=made(image))) == {frozenset("ab"): "duplicate"}


def disc(x, y, radius, colour=(255, 255, 255)):
    """A disc on transparent ground of its own colour."""
    image = Image.new("RGBA", (256, 256), (*colour, 0))
    alpha = Image.new("L", image.size)
    ImageDraw.Draw(alpha).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    image.putalpha(alpha)
    return image


def test_pictures_that_differ_in_alpha_alone_all_stay(tmp_path):
    put(tmp_path, big_png=disc(128, 128, 100), small_png=disc(60, 60, 30), right_png=disc(200, 100, 50))
    assert not any(f.dropped for f in Dedupe(crops="drop").findings(scan(tmp_path)))


def test_of_a_transparent_picture_and_its_copies_it_stays_itself(tmp_path):
    image = scene(3)
    image.putalpha(disc(128, 128, 100).getchannel("A").resize(image.size))
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    put(tmp_path, a_jpg=flat, b_png=image, c_png=scaled(image, 0.5), d_png=scaled(flat, 2))
    found = Dedupe().findings(scan(tmp_path))
    assert {(f.keep.path.name, f.other.path.name) for f in found if f.dropped} == {
        ("b.png", other) for other in ("a.jpg", "c.png", "d.png")
    }


def test_a_moving_picture_is_no_copy_of_its_first_frame(tmp_path):
    first, second = scene(3), smiling(scene(3))
    put(tmp_path, a_png=first)
    for name in ("b.gif", "c.webp"):
        animated(tmp_path / name, first, second)
    (tmp_path / "d.webp").write_bytes((tmp_path / "c.webp").read_bytes())
    told = []
    (proposal,) = collect_proposals(Dedupe(text="off"), scan(tmp_path), told.append)
    assert proposal.path.name == "d.webp" and "same bytes" in proposal.why
    (note,) = [event.message for event in told if hasattr(event, "message")]
    assert note == "animated images are kept, only identical files count as duplicates: b.gif, c.webp, d.webp"


def test_a_copy_of_256_colours_is_a_duplicate(tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize((480, 360))
    put(tmp_path, a_gif=image.quantize(256), b_jpg=jpeg(image, 90))
    assert verdicts(tmp_path) == {frozenset("ab"): "duplicate"}


def test_drawings_of_one_composition_are_parted_by_their_colours():
    """Their hashes are near; so many pairs that each were opened would grow as the square."""
    looks = [hash_image(figure(seed)) for seed in range(60)]
    assert len(similar_pairs(looks, 10, 255.0, 255.0)) > 5 * len(similar_pairs(looks, 10, 15.6, 15.0))


def figure(seed):
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (192, 192), tuple(rng.integers(170, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for box in ((50, 30, 142, 120), (40, 120, 152, 192), (50, 22, 142, 66)):
        draw.ellipse(box, fill=tuple(rng.integers(0, 255, 3).tolist()))
    return image


def test_other_pictures_are_not_even_mentioned(tmp_path):
    put(tmp_path, **{f"s{seed}_png": scene(seed) for seed in range(8)})
    assert verdicts(tmp_path) == {}


@pytest.mark.parametrize(
    "box", [(16, 20, 304, 380), (0, 0, 320, 220), (60, 40, 280, 320)], ids=["5 % each side", "upper half", "inside"]
)
def test_a_crop_is_near(box, tmp_path):
    image = scene(5)
    put(tmp_path, a_png=image, b_png=jpeg(image.crop(box), 85))
    assert verdicts(tmp_path) == {frozenset("ab"): "near"}
    assert verdicts(tmp_path, crops="ignore") == {}
    (finding,) = Dedupe(crops="drop").findings(scan(tmp_path))
    assert finding.dropped and finding.other.path.stem == "b"


def test_a_crop_is_found_where_it_was_cut():
    image, box = scene(5), (0.2, 0.15, 0.9, 0.75)
    part = image.crop(tuple(round(edge * side) for edge, side in zip(box, image.size * 2, strict=True)))
    small = image.copy()
    small.thumbnail((SMALL, SMALL))
    starts = sorted(WINDOWS, key=lambda window: sum(abs(a - b) for a, b in zip(window, box, strict=True)))[:3]
    found, off = find_crop(small, part, starts)
    assert found == pytest.approx(box, abs=0.02)
    assert off < 4


def test_crops_of_changed_or_finer_pictures_stay(tmp_path):
    image = scene(5)
    put(
        tmp_path,
        a_png=image,
        b_png=smiling(image).crop((40, 0, 280, 300)),
        c_png=scaled(image.crop((0, 0, 320, 240)), 2),
    )
    assert not any(f.dropped for f in Dedupe(crops="drop").findings(scan(tmp_path)))


def test_what_is_hidden_by_alpha_is_not_seen(tmp_path):
    image, alpha = scene(1), Image.fromarray(np.repeat([[0] * 100 + [255] * 220], 400, 0).astype(np.uint8))
    first, second = image.copy(), smiling(image)
    second.paste((0, 255, 0), (0, 0, 100, 400))
    for picture in (first, second):
        picture.putalpha(alpha)
    second.paste(first.crop((100, 0, 320, 400)), (100, 0))
    assert verdicts(put(tmp_path, a_png=first, b_png=second)) == {frozenset("ab"): "duplicate"}


def test_a_file_that_is_cut_short_is_passed_over(tmp_path):
    image = scene(3)
    put(tmp_path, a_png=image, b_png=image, c_png=scaled(image, 0.5))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    told = []
    (proposal,) = collect_proposals(Dedupe(text="off"), scan(tmp_path, whole=False), told.append)
    assert proposal.path.name == "c.png"
    (warning,) = [event.message for event in told if hasattr(event, "message")]
    assert warning.startswith("skipped b.png: the file is damaged or cut short")


# --- which one stays --------------------------------------------------------------------------------------------------


def kept(folder):
    (finding,) = Dedupe().findings(scan(folder))
    return finding.keep.path.name, finding.why


def test_more_pixels_then_less_loss_then_a_caption_then_age(tmp_path):
    image = scene(2)
    folder = put(tmp_path / "pixels", a_png=scaled(image, 0.6), b_jpg=image)
    assert kept(folder)[0] == "b.jpg" and "2.8 times the pixels" in kept(folder)[1]
    folder = put(tmp_path / "loss", a_jpg=image, b_png=image)
    assert kept(folder)[0] == "b.png" and "quality 95" in kept(folder)[1]
    folder = put(tmp_path / "caption", a_png=image, b_png=jpeg(image, 95))
    (folder / "b.txt").write_text("person")
    assert kept(folder) == ("b.png", kept(folder)[1]) and "has a caption" in kept(folder)[1]
    folder = put(tmp_path / "age", a_png=image, b_png=jpeg(image, 95))
    os.utime(folder / "a.png", (2e9, 2e9))
    os.utime(folder / "b.png", (1e9, 1e9))
    assert kept(folder)[0] == "b.png" and "is older" in kept(folder)[1]


def test_of_256_colours_and_a_good_jpeg_the_jpeg_stays(tmp_path):
    image = scaled(scene(2).rotate(10), 1.5)
    gif, drawn = image.quantize(256), Image.new("P", (64, 64), 1)
    folder = put(tmp_path, a_gif=gif, b_jpg=image)
    assert kept(folder)[0] == "b.jpg" and "quality 95, not quality 50" in kept(folder)[1]
    drawn.putpalette([0, 0, 0, 9, 9, 9])
    drawn.save(tmp_path / "few.png")
    assert file_quality(tmp_path / "few.png") == LOSSLESS


def test_of_a_picture_and_the_same_with_bars_the_one_without_stays(tmp_path):
    image = scene(5, 400, 300)
    barred = Image.new("RGB", (400, 400))
    barred.paste(image, (0, 50))
    folder = put(tmp_path, a_png=barred, b_png=image)
    (folder / "a.txt").write_text("person, red hair")
    (finding,) = Dedupe().findings(scan(folder))
    assert not finding.dropped and finding.why == "a.png is the same image with a border"
    (finding,) = Dedupe(crops="drop").findings(scan(folder))
    assert finding.dropped and finding.keep.path.name == "b.png" and "with a border" in finding.why
    apply_operation(folder, Dedupe(crops="drop"))
    assert names(folder) == ["b.png", "b.txt"]


def test_quality_is_that_of_the_file(tmp_path):
    image = scene(2, 64, 64)
    image.save(tmp_path / "a.jpg", quality=40)
    image.save(tmp_path / "b.webp", lossless=True)
    image.save(tmp_path / "c.webp", quality=50)
    image.save(tmp_path / "d.png")
    assert [file_quality(tmp_path / n) for n in ("a.jpg", "b.webp", "c.webp", "d.png")] == [40, LOSSLESS, 85, LOSSLESS]


def test_of_a_watermark_the_clean_copy_stays(tmp_path):
    image = scene(2)
    marked = scaled(image, 1.5)
    ImageDraw.Draw(marked).text((20, marked.height - 40), "@artist 2024", fill=(0, 0, 0), font_size=20)
    put(tmp_path, clean_png=image, marked_png=marked)

    def find_text(cut):
        """Text is whatever is black here."""
        black = np.asarray(cut.convert("L")) < 30
        rows, columns = np.nonzero(black)
        return [(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)] if black.sum() > 20 else []

    (finding,) = Dedupe(text="off").findings(scan(tmp_path))
    assert finding.kind == "variant"
    (finding,) = Dedupe().findings(scan(tmp_path), find_text)
    assert finding.dropped and finding.keep.path.stem == "clean" and "no text" in finding.why


def test_a_chain_of_small_differences_drops_only_what_is_like_the_one_that_stays(tmp_path):
    image = scene(4).point(lambda v: v // 2)
    put(tmp_path, a_png=image, b_png=image.point(lambda v: v + 9), c_png=image.point(lambda v: v + 18))
    found = Dedupe().findings(scan(tmp_path))
    assert {(f.keep.path.stem, f.other.path.stem) for f in found if f.dropped} == {("a", "b")}


def test_the_order_of_files_does_not_matter(tmp_path):
    image = scene(6)
    put(tmp_path, a_png=image, b_png=jpeg(image, 60), c_png=scaled(image, 0.7), d_png=smiling(image), e_png=scene(7))
    images = scan(tmp_path)
    turned = replace(images, records=images.records[::-1])
    for spec in (Dedupe(), Dedupe(crops="drop")):
        gone = [{f.other.path.name for f in spec.findings(some) if f.dropped} for some in (images, turned)]
        assert gone[0] == gone[1]
        assert {"a.png", "d.png", "e.png"} & gone[0] == set() or {"b.png", "d.png", "e.png"} & gone[0] == set()


# --- doing it ---------------------------------------------------------------------------------------------------------


def test_captions_and_masks_go_to_the_one_that_stays_and_come_back(tmp_path):
    image = scene(2)
    folder = put(tmp_path, a_png=image, b_png=scaled(image, 0.5), c_png=scaled(image, 0.6), other_png=scene(9))
    (folder / "a.txt").write_text("person")
    (folder / "b.caption").write_text("person, red hair, smile")
    (folder / "c.txt").write_text("person, hat")
    put(folder / "masks", c_png=Image.new("L", (192, 240), 255))
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    step = apply_operation(folder, Dedupe())
    assert names(folder) == ["a.caption", "a.png", "masks", "other.png"]
    assert (folder / "a.caption").read_text() == "person, red hair, smile"
    assert names(folder / "masks") == ["a.png"]
    assert step.settings == {}
    assert apply_operation(folder, Dedupe()) is None  # twice is once
    undo(folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and ".bakehouse" not in p.parts} == before


def test_a_shared_caption_stays(tmp_path):
    image = scene(2)
    folder = put(tmp_path, a_png=image, a_jpg=image)
    (folder / "a.txt").write_text("person")
    apply_operation(folder, Dedupe())
    assert names(folder) == ["a.png", "a.txt"]


def test_captions_may_stay_where_they_are(tmp_path):
    folder = put(tmp_path, a_png=scene(2), b_png=scaled(scene(2), 0.5))
    (folder / "b.txt").write_text("person")
    apply_operation(folder, Dedupe(captions=False))
    assert names(folder) == ["a.png"]


def test_what_stays_is_told(tmp_path):
    put(tmp_path, a_png=scene(2), b_png=smiling(scene(2)), c_png=scene(2).crop((20, 20, 310, 330)))
    told = []
    assert collect_proposals(Dedupe(text="off"), scan(tmp_path), told.append) == []
    messages = [event.message for event in told if hasattr(event, "message")]
    assert messages == ["kept 1 variant: b.png (of a.png)", "kept 1 crop: c.png (of a.png)"]


def flat(seed):
    """A shape on a plain ground, each seed in other colours."""
    ground, fill = (tuple(c) for c in np.random.default_rng(seed).integers(0, 256, (2, 3)).tolist())
    image = Image.new("RGB", (96, 96), ground)
    ImageDraw.Draw(image).ellipse((24, 16, 74, 82), fill=fill)
    return image


def test_one_shape_in_many_colours_is_one_finding_for_each_group(tmp_path):
    put(tmp_path, **{f"{seed:02}_png": flat(seed) for seed in range(40)})
    found = Dedupe(text="off").findings(scan(tmp_path))
    assert {f.kind for f in found} == {"variant"} and not any(f.dropped for f in found)
    files = [record.path for f in found for record in (f.keep, *f.others)]
    assert len(files) == len(set(files)) >= 36
    assert len(found) == 2  # light on dark, dark on light
    assert all("variants, which differ in their colours" in f.why for f in found)


def test_the_note_on_a_large_group_names_a_few_files(tmp_path):
    looks = [Image.eval(flat(1), lambda v, k=k: v * (9 - k) // 9) for k in range(8)]
    put(tmp_path, **{f"{k}_png": image for k, image in enumerate(looks)})
    told = []
    assert collect_proposals(Dedupe(text="off"), scan(tmp_path), told.append) == []
    (message,) = [event.message for event in told if hasattr(event, "message") and "kept" in event.message]
    assert message == "kept 7 variants: 1.png, 2.png, 3.png, 4.png, 5.png and 2 more (of 0.png)"


def test_a_recoloured_copy_of_a_dropped_copy_is_a_variant_of_the_kept_one(tmp_path):
    image = scene(3)
    put(tmp_path, a_png=scaled(image, 0.5), b_png=image, c_png=ImageEnhance.Brightness(image).enhance(0.6))
    assert verdicts(tmp_path) == {frozenset("ab"): "duplicate", frozenset("bc"): "variant"}


# --- the parts --------------------------------------------------------------------------------------------------------


def test_recoloured_pairs_grow_with_the_number_of_images():
    for count in (30, 90):
        pairs = recolored_pairs([hash_image(flat(seed)) for seed in range(count)], 5, 12.0)
        assert len(pairs) <= 4 * count
        assert max(Counter(j for _, j in pairs).values()) <= 4
        assert len({i for pair in pairs for i in pair}) >= 0.9 * count


def test_drawings_in_unrelated_colours_are_no_recoloured_pairs():
    looks = [hash_image(scene(seed, 96, 96)) for seed in range(20)]
    assert recolored_pairs(looks, 32, 12.0) == []
    grey = [hash_image(scene(seed, 96, 96).convert("L").convert("RGB")) for seed in range(20)]
    assert recolored_pairs(looks + grey, 5, 12.0) == [(seed, 20 + seed) for seed in range(20)]
    assert recolored_pairs(looks + grey, 5, 12.0, apart_from=[(0, 20)]) == [(seed, 20 + seed) for seed in range(1, 20)]


def test_pairs_are_those_of_a_plain_search():
    looks = [hash_image(scene(seed, 96, 96)) for seed in range(30)]
    looks += [hash_image(jpeg(scene(seed, 96, 96), 20)) for seed in range(10)]

    def apart(a, b):
        return bin(int(a) ^ int(b)).count("1")

    def near(a, b):
        bits = apart(a.phash, b.phash), 64 if a.uninformative[0] or b.uninformative[0] else apart(a.dhash, b.dhash)
        colours = np.abs(a.colors[0].astype(int) - b.colors[0]).mean()
        return min(bits) <= 18 and (colours <= 30 or max(bits) <= 9)

    plain = [(i, j) for (i, a), (j, b) in itertools.combinations(enumerate(looks), 2) if near(a, b)]
    assert similar_pairs(looks, 18, 30.0, 255.0) == plain
    assert {(seed, 30 + seed) for seed in range(10)} <= set(similar_pairs(looks, 10, 16.0, 15.0))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 120), st.sampled_from([0.0, 3.3, 14.0, 60.0, 255.0]), st.integers(8, 40)
)
def test_an_index_by_colours_finds_what_a_plain_search_finds(seed, count, colour, within):
    rng = np.random.default_rng(seed)
    hashes, words = (rng.integers(0, 2**64, n, np.uint64) for n in (count, 20))
    grounds = rng.integers(0, 256, (4, 48))
    spread = int(rng.integers(0, 60))
    means, colours = (
        np.clip(grounds[rng.integers(0, 4, n)] + rng.integers(-spread, spread + 1, (n, 48)), 0, 255).astype(np.uint8)
        for n in (count, 20)
    )
    off = np.abs(colours[:, None].astype(int) - means).mean(2)
    near = (np.bitwise_count(words[:, None] ^ hashes) <= within) & (off <= colour)
    w, j, found = ColorIndex(hashes, means.astype(np.int16), within, colour).search(words, colours)
    assert sorted(zip(w.tolist(), j.tolist(), strict=True)) == [tuple(pair) for pair in np.argwhere(near).tolist()]
    assert np.array_equal(found, off[w, j])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_groups_are_what_pairs_connect(pairs):
    found = connected_groups(pairs)
    place = {i: k for k, group in enumerate(found) for i in group}
    assert sorted(place) == sorted({i for pair in pairs for i in pair})
    assert all(place[a] == place[b] for a, b in pairs)
    links = sum(len(group) - 1 for group in found)
    assert links <= len(set(pairs))  # no group without the pairs that hold it together
    assert all(group == sorted(group) for group in found)


def test_a_difference_does_not_depend_on_who_is_first():
    a, b = scene(1, 700, 500), smiling(scene(1, 350, 250))
    assert ComparisonScale.of(a.size, b.size) == ComparisonScale.of(b.size, a.size)
    scale = ComparisonScale.of(a.size, b.size)
    first, second = prepare(a, scale), prepare(b, scale)
    assert np.array_equal(tile_difference(first, second).tiles, tile_difference(second, first).tiles)
    assert tile_difference(first, first).largest == 0


# --- real art ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not SPRITES.is_dir(),
    reason="needs the art of Debian's renpy-thequestion: install it, or name its folder in BAKEHOUSE_SPRITES",
)
def test_expressions_and_outfits_of_a_character_all_stay(tmp_path):
    for path in SPRITES.glob("sylvie*.png"):
        open_image(path).save(tmp_path / path.name)
    assert len(names(tmp_path)) == 8
    found = verdicts(tmp_path)
    assert set(found.values()) == {"variant"}
    assert [len(group) for group in found] == [4, 4]  # four expressions of either outfit; the outfits are not alike
    normal = open_image(tmp_path / "sylvie blue normal.png")
    for name, made in RESAVES.items():
        made(normal).save(tmp_path / "copy.png")
        gone = {f.other.path.stem for f in Dedupe(text="off").findings(scan(tmp_path)) if f.dropped}
        assert gone in ({"copy"}, {"sylvie blue normal"}), name
