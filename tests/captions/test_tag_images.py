from __future__ import annotations

import json

import pytest
from PIL import Image

from bakehouse.captions import tag_images
from bakehouse.captions.tag_images import Tag, parse_thresholds
from bakehouse.cli.main import main
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Noted, Progress, Warned
from bakehouse.curation import apply_and_undo
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.operation import apply_operation
from bakehouse.data import scan
from bakehouse.vision.taggers.base import TagPrediction, most_likely_first


class Eyes:
    """A tagger that says the colour of the first pixel, and counts how often it looks."""

    def __init__(self, name="eyes", key="eyes", text="", words=()):
        self.name, self.key, self.text, self.extra = name, key, text, tuple(words)
        self.thresholds = {"general": 0.4, "character": 0.8}
        self.looked = []

    def predict(self, images):
        self.looked.append(len(images))
        return [self.see(image) for image in images]

    def see(self, image):
        if self.text:
            return TagPrediction(text=self.text)
        red = image.getpixel((0, 0))[0]
        general = {f"red_{red}": 0.9, "maybe": 0.5, "^_^": 0.45, **dict.fromkeys(self.extra, 0.6)}
        return TagPrediction(scores={"general": general, "character": {"a_hero_(x)": 0.7}, "rating": {"safe": 0.9}})

    def to_tags(self, prediction, thresholds):
        return [prediction.text] if prediction.text else most_likely_first(prediction.scores, thresholds)


@pytest.fixture
def eyes(monkeypatch, tmp_path):
    """Taggers by name."""
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    there = {
        "eyes": Eyes(), "other": Eyes("other", "other", words=("red_0", "more")),
        "writer": Eyes("writer", "writer", "A red square."),
    }  # fmt: skip
    monkeypatch.setattr(tag_images, "load_tagger", lambda where, **_: there[where])
    return there


def run(root, **options):
    told = []
    apply_operation(root, Tag(**{"taggers": ("eyes",), **options}), on_event=told.append)
    return told


def captions(root):
    return {p.stem: p.read_text() for p in sorted(root.glob("*.txt"))}


def test_captions_are_written_for_images_without(eyes, folder):
    root = folder(a=None, b="by hand", c="", d=" \n")
    told = run(root)
    assert captions(root) == {
        "a": "red 0, maybe, ^_^\n", "b": "by hand", "c": "red 80, maybe, ^_^\n", "d": "red 120, maybe, ^_^\n",
    }  # fmt: skip
    notes = [e.message for e in told if isinstance(e, Noted)]
    assert ["1 caption written or edited by hand: kept" in note for note in notes] == [True]
    assert [(e.done, e.total) for e in told if isinstance(e, Progress)] == [(0, 3), (3, 3)]
    apply_and_undo.undo(root)
    assert captions(root) == {"b": "by hand", "c": "", "d": " \n"}


def test_its_own_captions_are_written_anew_and_changed_ones_stay(eyes, folder):
    root = folder(a=None, b=None)
    run(root)
    (root / "b.txt").write_text("red 40, mine")
    run(root, thresholds={"general": 0.8})
    assert captions(root) == {"a": "red 0\n", "b": "red 40, mine"}
    run(root, thresholds={"general": 0.8}, existing="replace")
    assert captions(root) == {"a": "red 0\n", "b": "red 40\n"}
    apply_and_undo.undo(root)
    assert captions(root)["b"] == "red 40, mine"
    # Another threshold asked no model.
    assert eyes["eyes"].looked == [2]


def test_what_a_rule_changed_is_no_longer_the_taggers(eyes, folder):
    from bakehouse.captions import RuleSet, parse_rules
    from bakehouse.captions.edit_captions import Edit

    root = folder(a=None)
    run(root)
    apply_operation(root, Edit(rules=RuleSet(rules=parse_rules([{"kind": "add", "tags": ["zwx"]}]))))
    run(root, thresholds={"general": 0.8})
    assert captions(root) == {"a": "zwx, red 0, maybe, ^_^\n"}
    apply_and_undo.undo(root)
    run(root, thresholds={"general": 0.8})
    assert captions(root) == {"a": "red 0\n"}


def test_appending_keeps_what_was_there_and_does_it_once(eyes, folder):
    root = folder(a="mine, Maybe", b=None)
    run(root, existing="append")
    assert captions(root)["a"] == "mine, Maybe, red 0, ^_^\n"
    run(root, existing="append")
    assert captions(root)["a"] == "mine, Maybe, red 0, ^_^\n"
    run(root, thresholds={"general": 0.8})
    assert captions(root) == {"a": "mine, Maybe, red 0, ^_^\n", "b": "red 40\n"}


def test_what_is_said(eyes, folder):
    root = folder(a=None)
    run(root, thresholds={"character": 0.5}, categories=("rating", "character", "general"), front=("zwx",))
    assert captions(root)["a"] == "zwx, safe, a hero (x), red 0, maybe, ^_^\n"
    run(root, underscores=True, exclude=("may*",))
    assert captions(root)["a"] == "red_0, ^_^\n"
    run(root, most=1)
    assert captions(root)["a"] == "red 0\n"
    told = run(root, exclude=("red*", "may*", "^*"))
    assert "no tag is above the threshold" in next(e.message for e in told if isinstance(e, Warned))
    assert captions(root)["a"] == "red 0\n"


def test_two_taggers_are_merged(eyes, folder):
    root = folder(a=None, b=None)
    run(root, taggers=("eyes", "other"))
    assert captions(root)["b"] == "red 40, maybe, ^_^, more, red 0\n"
    run(root, taggers=("eyes", "other"), merge="all")
    assert captions(root)["b"] == "red 40, maybe, ^_^\n"
    run(root, taggers=("eyes", "writer"))
    assert captions(root)["b"] == "A red square, red 40, maybe, ^_^\n"
    run(root, taggers=("writer",))
    assert captions(root)["b"] == "A red square.\n"


def test_what_was_stopped_goes_on(eyes, folder, monkeypatch):
    root = folder(**{f"i{n}": None for n in range(6)})
    tagger = eyes["eyes"]
    monkeypatch.setattr(tagger, "see", lambda image: Eyes.see(tagger, image) if len(tagger.looked) < 3 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(root, batch=2)
    assert captions(root) == {}
    monkeypatch.undo()
    monkeypatch.setattr(tag_images, "load_tagger", lambda where, **_: tagger)
    tagger.looked.clear()
    cache = next((root.parent / "cache" / "sights").glob("*.jsonl"))
    # A line that was cut off in the middle does not count.
    cache.write_text(cache.read_text() + '\n{"sha256": "12')
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(root.parent / "cache"))
    run(root, batch=2)
    assert tagger.looked == [2]
    assert len(captions(root)) == 6


def test_equal_pictures_are_looked_at_once(eyes, folder):
    root = folder(a=None)
    (root / "b.png").write_bytes((root / "a.png").read_bytes())
    run(root)
    assert eyes["eyes"].looked == [1]
    assert captions(root)["a"] == captions(root)["b"]


def test_two_images_of_one_stem_get_their_own_captions(eyes, folder):
    root = folder(a=None)
    Image.new("RGB", (20, 20), (77, 0, 0)).save(root / "a.bmp")
    run(root)
    assert (root / "a.png.txt").read_text().startswith("red 0")
    assert (root / "a.bmp.txt").read_text().startswith("red 77")
    assert {r.captions[0].split(",")[0] for r in scan(root)} == {"red 0", "red 77"}


def test_a_caption_that_two_images_share_is_written_apart(eyes, folder):
    root = folder(a="shared")
    Image.new("RGB", (20, 20), (77, 0, 0)).save(root / "a.bmp")
    run(root, existing="append")
    assert (root / "a.txt").read_text() == "shared"
    assert {r.captions[0] for r in scan(root)} == {"shared, red 0, maybe, ^_^", "shared, red 77, maybe, ^_^"}


def test_raw_tags_are_written_where_captions_are_compiled_from_them(eyes, folder):
    root = folder(a="compiled")
    (root / "a.tags").write_text("old\n")
    run(root, existing="replace")
    assert (root / "a.tags").read_text() == "red 0, maybe, ^_^\n"
    assert captions(root) == {"a": "compiled"}


def test_captions_in_a_metadata_file_are_named(eyes, folder):
    root = folder(a=None)
    (root / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "x"}\n')
    with pytest.raises(UsageError, match=r"metadata\.jsonl"):
        run(root)


def test_thresholds():
    assert parse_thresholds(["0.3", "character=0.9"]) == {"general": 0.3, "character": 0.9}
    for wrong, words in (("x", "not a number"), ("2", "0.05 to 1"), ("charcter=0.5", "did you mean 'character'")):
        with pytest.raises(UsageError, match=words):
            parse_thresholds([wrong])
    with pytest.raises(Problems, match="categories"):
        Tag.parse({"categories": ["colour"]})


def test_the_command_with_the_embedded_tagger(tmp_path, capsys, monkeypatch):
    from importlib import resources

    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    root.mkdir()
    example = resources.files("bakehouse") / "assets" / "examples" / "mira"
    for name in ("01.png", "02.png"):
        (root / name).write_bytes((example / name).read_bytes())
    (root / "02.txt").write_text("by hand")
    with pytest.raises(SystemExit) as e:
        main(["captions", "tag", str(root), "--front", "zwx", "--extension", ".caption", "--json"])
    assert not e.value.code
    assert [c["path"] for c in json.loads(capsys.readouterr().out)["changes"]] == ["01.caption"]
    written = (root / "01.caption").read_text()
    assert written.startswith("zwx, person, ")
    assert (root / "02.txt").read_text() == "by hand"
    # What it said is what the example's own caption says of hair, skin or background.
    own = set((example / "01.txt").read_text().strip().split(", "))
    assert len(own & set(written.strip().split(", "))) >= 2
    with pytest.raises(SystemExit) as e:
        main(["captions", "tag", str(root), "--batch", "0"])
    assert e.value.code == 2
    assert "--batch" in capsys.readouterr().err


def test_proposals_are_shown_without_writing(eyes, folder):
    root = folder(a=None)
    (made,) = [p for p in Tag(taggers=("eyes",)).propose(scan(root)) if isinstance(p, Proposal)]
    assert made.why == "3 tags"
    assert captions(root) == {}
