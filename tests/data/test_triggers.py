"""Captions compiled from raw tags: what is left out, for whom, and that it can be done again and otherwise."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bakehouse.core.errors import Problems
from bakehouse.data.compile_captions import compile_captions, with_compiled
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.tag_groups import excluded_groups, group_of, groups, head_of
from bakehouse.data.triggers import Trigger, TriggerFile

ROOT = Path("/p/set")
TAGS = (
    "person, long hair with ribbon, blue eyes, huge breasts, eyepatch, white hat, red dress, lace, red boots, "
    "closed eyes, beach"
)


def record(name="a.png", caption=TAGS):
    return ImageRecord(ROOT / name, 64, 64, name, (caption,) if caption else ())


def captions(triggers, *records):
    compiled = compile_captions(records, triggers, [ROOT])
    return [tuple(w.text() for w in c.wordings) for c in compiled]


def caption(trigger, text=TAGS):
    ((line,),) = captions([trigger], record(caption=text))
    return line


@pytest.mark.parametrize(
    ("tag", "group"),
    [
        ("long pink hair", "hair"), ("hair with flowers", "hair"), ("Blue_Eyes", "eyes"), ("closed eyes", "expression"),
        ("hair ribbon", "headwear"), ("red ribbon", "trimmings"), ("white shirt with bear", "clothes"),
        ("huge breasts", "breasts"), ("flat chest", "breasts"), ("thigh boots", "footwear"), ("pink afro", "hair"),
        ("mole under eye", "skin"), ("white background", "background"), ("standing", None), ("at the beach", None),
        ("looking at viewer", None), ("hand on hip", None), ("dress shirt", "clothes"), ("1girl", None),
    ],
)  # fmt: skip
def test_a_tag_belongs_to_what_it_is_about(tag, group):
    assert group_of(tag) == group


def test_no_word_stands_in_two_groups():
    words = list(itertools.chain.from_iterable(groups().values()))
    assert len(words) == len(set(words))


def test_heads():
    assert [head_of(t) for t in ("long red dress", "pink hair with flowers", "dress shirt")] == [
        "dress",
        "hair",
        "shirt",
    ]


@pytest.mark.parametrize(
    ("strategy", "left"),
    [
        ("fluid", TAGS.removeprefix("person, ")),
        (1, "long hair with ribbon, huge breasts, eyepatch, white hat, red dress, lace, red boots, closed eyes, beach"),
        ("semi-static", "huge breasts, eyepatch, white hat, red dress, lace, red boots, closed eyes, beach"),
        (3, "huge breasts, red dress, lace, red boots, closed eyes, beach"),
        ("static", "huge breasts, closed eyes, beach"),
    ],
)
def test_a_characters_levels(strategy, left):
    assert caption(Trigger(word="zwx", class_word="person", strategy=strategy)) == f"zwx person, {left}"


@pytest.mark.parametrize(
    ("strategy", "gone"),
    [(0, set()), (1, {"lace"}), (2, {"lace", "red dress"}), (4, {"lace", "red dress", "eyepatch", "white hat"})],
)
def test_an_outfits_levels_leave_the_wearer_and_the_shoes(strategy, gone):
    left = set(caption(Trigger(word="fit", kind="outfit", strategy=strategy)).split(", ")) - {"fit"}
    assert left == set(TAGS.split(", ")) - gone


def test_lists_of_what_is_never_taken():
    for kind in ("character", "outfit", "style", "concept"):
        assert not set(excluded_groups(kind)) & Trigger(word="x", kind=kind, strategy="static").groups
    assert "breasts" in excluded_groups("character") and "footwear" in excluded_groups("outfit")


def test_absorbs_and_keeps_come_before_the_strategy():
    trigger = Trigger(word="zwx", strategy=4, absorbs=("beach", "@breasts"), keeps=("@headwear", "*boots"))
    assert caption(trigger) == "zwx, person, white hat, red boots, closed eyes"


def test_a_rare_tag_is_a_variation():
    many = [record(f"{i}.png", f"{'blue' if i else 'red'} eyes, pose {i}") for i in range(20)]
    texts = [c for (c,) in captions([Trigger(word="zwx")], *many)]
    assert texts[0] == "zwx, red eyes, pose 0" and texts[1] == "zwx, pose 1"
    named = captions([Trigger(word="zwx", absorbs=("red eyes",))], *many)
    assert named[0] == ("zwx, pose 0",)


@pytest.mark.parametrize("change", ["fluid", "semi-static", "static"])
@pytest.mark.parametrize("more", [{}, {"also_without": True}])
def test_compiling_twice_is_compiling_once(change, more):
    triggers = [Trigger(word="zwx", class_word="person", strategy=change), Trigger(word="fit", kind="outfit", **more)]
    compiled = compile_captions([record()], triggers, [ROOT])
    once = [c.captions for c in with_compiled_records(compiled)]
    from_first_line = [record(caption=once[0][0])]
    assert captions(triggers, *from_first_line)[0][0] == once[0][0]


def with_compiled_records(compiled):
    from bakehouse.data.image_records import ImageSet

    return with_compiled(ImageSet(tuple(c.record for c in compiled)), compiled)


def test_raw_tags_beside_the_image_come_first(tmp_path):
    image = ImageRecord(tmp_path / "a.png", 64, 64, "a", ("zwx, beach",))
    (tmp_path / "a.tags").write_text("blue eyes, beach\n")
    (one,) = compile_captions([image], [Trigger(word="zwx", strategy="fluid")], [tmp_path])
    assert one.wordings[0].text() == "zwx, blue eyes, beach"


def test_each_image_gets_the_triggers_of_its_folder():
    images = [record("10_red dress/a.png"), record("blue/sub/b.png"), record("c.png")]
    triggers = [
        Trigger(word="all", strategy=0),
        Trigger(word="red", strategy=0, folders=("red dress",)),
        Trigger(word="both", strategy=0, folders=("set/blue", "10_*")),
    ]
    heads = [c[0].split(", person")[0] for c in captions(triggers, *images)]
    assert heads == ["all, red, both", "all, both", "all"]


def test_folders_above_the_set_do_not_count():
    with pytest.raises(Problems, match="no image in 'p'"):
        captions([Trigger(word="x", folders=("p",))], record())


def test_when_asks_the_tags():
    triggers = [Trigger(word="fit", kind="outfit", when=("dress",))]
    assert captions(triggers, record(), record("b.png", "person, jeans")) == [
        ("fit, " + TAGS.replace("red dress, lace, ", ""),),
        ("person, jeans",),
    ]


def test_share_is_spread_evenly():
    images = [record(f"{i}.png", "person") for i in range(10)]
    with_it = [c[0].startswith("fit") for c in captions([Trigger(word="fit", kind="outfit", share=0.3)], *images)]
    assert sum(with_it) == 3 and with_it.index(True) > 0 and sum(with_it[:7]) == 2


def test_also_without_says_what_the_trigger_takes():
    triggers = [Trigger(word="zwx"), Trigger(word="fit", kind="outfit", also_without=True)]
    ((both, alone),) = captions(triggers, record(caption="blue eyes, red dress, beach"))
    assert (both, alone) == ("zwx, fit, beach", "zwx, red dress, beach")


def test_sentences_are_said_whole():
    text = "a girl with very long and beautiful blue hair and blue eyes"
    assert caption(Trigger(word="zwx", strategy=4), text) == f"zwx, {text}"


def test_no_caption_and_no_trigger_is_nothing_to_say():
    images = [record("red/a.png", ""), record("b.png", "")]
    assert captions([Trigger(word="fit", folders=("red",))], *images) == [("fit",), ()]


def test_the_mark_stands_behind_the_triggers():
    (one,) = compile_captions([record(caption="beach, sun")], [Trigger(word="zwx")], [ROOT])
    assert one.wordings[0].text("|||") == "zwx ||| beach, sun"


def test_everything_wrong_is_said_at_once():
    triggers = [
        Trigger(word="a", folders=("sett",)),
        Trigger(word="A", when=("unicorn",)),
    ]
    with pytest.raises(Problems) as e:
        captions(triggers, record())
    assert len(e.value.problems) == 3
    assert "did you mean 'set'" in e.value.problems[0]


def test_declarations_are_checked():
    with pytest.raises(Problems) as e:
        TriggerFile.parse(
            {"triggers": [{"word": "a, b"}, {"word": "c", "absorbs": ["@cloth"]},
                          {"word": "d", "absorbs": ["hat"], "keeps": ["Hat"]}, {"word": "e", "strategy": "semistatic"}]}
        )  # fmt: skip
    text = str(e.value)
    assert "comma" in text and "did you mean 'clothes'" in text and "both absorbs and keeps hat" in text
    assert "triggers.3.strategy" in text
    with pytest.raises(Problems, match="declared twice"):
        TriggerFile.parse({"triggers": [{"word": "a"}, {"word": "A"}]})
