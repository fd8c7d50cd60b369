"""The four examples: one outfit, two outfits, two and a varied rest, two that leave the same thing out everywhere."""

from __future__ import annotations

import pytest

from bakehouse.captions.triggers import explain
from bakehouse.data.triggers import Trigger
from tests.captions.triggers.conftest import group

LOOK = ("1girl", "blue eyes", "long hair")
A = Trigger(word="zwx", kind="character", class_word="1girl")
B = Trigger(word="redfit", kind="outfit", folders=("red",))
C = Trigger(word="bluefit", kind="outfit", folders=("blue",))
RED = group("red", 20, *LOOK, "red dress", "white belt", "pose {}")
BLUE = group("blue", 20, *LOOK, "blue dress", "black gloves", "pose {}")
MISC = [*group("misc", 10, *LOOK, "green dress", "pose {}"), *group("misc2", 10, *LOOK, "white shirt", "pose {}")]


def explained(build, triggers, *groups, repeats=None):
    images = sum(map(len, groups))
    return explain(build(triggers, *groups), triggers, repeats or [1] * images)


def absorbed(explanation, word, least=0.0):
    (found,) = (t for t in explanation.triggers if t.word == word)
    return {a.trait for a in found.absorbs if a.strength >= least}


def ids(explanation):
    return [f.id for f in explanation.findings]


def test_one_outfit_alone_cannot_be_told_from_its_character(build):
    report = explained(build, [A, B], RED)
    (error,) = report.errors
    assert error.id == "D02" and error.triggers == ("zwx", "redfit")
    split, twice = error.remedies
    assert (split.setting, split.images, split.exposures) == ("share = 0.5 at 'redfit'", 60, 0)
    assert (twice.setting, twice.images, twice.exposures) == ("also_without = true at 'redfit'", 0, 20)
    assert "blue eyes" in absorbed(report, "redfit") and "red dress" in absorbed(report, "zwx")


@pytest.mark.parametrize("way", [{"share": 0.5}, {"also_without": True}])
def test_either_remedy_tells_them_apart(build, way):
    outfit = B.model_copy(update=way)
    report = explained(build, [A, outfit], RED)
    assert not report.errors
    assert absorbed(report, "zwx") == {"blue eyes", "long hair"}
    assert absorbed(report, "redfit") == {"red dress"}


def test_the_character_takes_what_both_outfits_leave_out_and_they_their_own(build):
    report = explained(build, [A, B, C], RED, BLUE)
    assert not report.errors
    assert absorbed(report, "zwx") >= {"blue eyes", "long hair"}
    assert absorbed(report, "redfit") == {"red dress"}
    assert absorbed(report, "bluefit") == {"blue dress", "black gloves"}


def test_a_varied_group_keeps_the_dress_from_the_character(build):
    report = explained(build, [A, B, C], RED, BLUE, MISC)
    assert absorbed(report, "zwx") == {"blue eyes", "long hair"}
    assert absorbed(report, "redfit") == {"red dress", "dress"}
    assert absorbed(report, "bluefit") == {"blue dress", "black gloves", "dress"}
    assert "D05" not in ids(report)


def test_what_others_take_may_come_along_where_the_word_was_hardly_seen_without(build):
    """A prompt of the character alone says nothing of clothes: two of three of its shows wear a dress."""
    character, outfit, _ = explained(build, [A, B, C], RED, BLUE, MISC).triggers
    assert character.co_occurring == {"dress": pytest.approx(2 / 3)}
    assert outfit.co_occurring == {"blue eyes": 1, "long hair": 1}, "never seen on anybody else"
    character, _, _ = explained(build, [A, B, C], RED, BLUE, [*MISC, *MISC, *MISC]).triggers
    assert character.co_occurring == {}


def test_left_out_in_all_groups_the_dress_is_the_characters(build):
    report = explained(build, [A, B, C], RED, BLUE)
    assert "dress" in absorbed(report, "zwx") and "dress" not in absorbed(report, "redfit")
    (warning,) = (f for f in report.findings if f.id == "D05")
    assert warning.level == "warning" and "'zwx'" in warning.message and "'dress'" in warning.message
    assert "misc group" in warning.remedies[0].action and warning.remedies[0].images == 20


def test_without_a_common_trigger_it_is_nobodys(build):
    report = explained(build, [B, C], RED, BLUE)
    (warning,) = (f for f in report.findings if f.id == "D05")
    assert "no trigger absorbs it" in warning.message and "'dress'" in warning.message
    assert "misc group" in warning.remedies[0].action


def test_repeats_count_and_not_files(build):
    # Two images of a varied rest, shown forty times as often, are as many shows as the outfits have.
    few = MISC[:1] + MISC[-1:]
    once = explained(build, [A, B, C], RED, BLUE, few)
    often = explained(build, [A, B, C], RED, BLUE, few, repeats=[1] * 40 + [10, 10])
    assert "dress" in absorbed(once, "zwx")
    assert "dress" not in absorbed(often, "zwx") and "dress" in absorbed(often, "redfit")


def test_the_order_of_declaration_does_not_matter(build):
    words = [A, B, C]
    sets = [{w: absorbed(explained(build, order, RED, BLUE, MISC), w) for w in ("zwx", "redfit", "bluefit")}
            for order in (words, words[::-1], [B, A, C])]  # fmt: skip
    assert sets[0] == sets[1] == sets[2]


def test_small_subsets_are_warned_of(build):
    lonely = group("misc", 3, *LOOK, "green dress")
    report = explained(build, [A, B], group("red", 20, *LOOK, "red dress"), lonely)
    (warning,) = (f for f in report.findings if f.id == "D03")
    assert "in 3 images" in warning.message and warning.triggers == ("zwx", "redfit")
    tiny = explained(build, [A, B], group("red", 5, *LOOK, "red dress"), MISC)
    assert [f.triggers for f in tiny.findings if f.id == "E01"] == [("redfit",)]


def test_what_is_always_there_sticks(build):
    report = explained(build, [A], group("red", 20, *LOOK, "white background", "pose {}"))
    (warning,) = (f for f in report.findings if f.id == "D04" and f.level == "warning")
    assert "white background" in warning.message
    fluid = A.model_copy(update={"strategy": "fluid"})
    notes = [f.message for f in explained(build, [fluid], RED).findings if f.id == "D04" and f.level == "note"]
    assert "blue eyes" in notes[0] and "red dress" in notes[0]


def test_declared_against_the_lists(build):
    greedy = B.model_copy(update={"absorbs": ("red shoes", "@breasts")})
    report = explained(build, [A, greedy], group("red", 20, *LOOK, "red dress", "red shoes"), MISC)
    warned = [f.message for f in report.findings if f.id == "D06"]
    assert len(warned) == 2 and "cuts heads" in warned[0]
    assert "red shoes" in absorbed(report, "redfit")


@pytest.mark.parametrize(
    ("strategy", "effective"), [("fluid", "fluid"), ("semi-static", "semi-static"), ("static", "static")]
)
def test_what_captions_come_to_is_what_was_declared(build, strategy, effective):
    trigger = A.model_copy(update={"strategy": strategy})
    (told_,) = explained(build, [trigger], RED).triggers
    assert told_.effective_strategy == effective


def test_a_word_that_never_stands_alone_is_warned_of(build):
    crowded = explained(build, [A, B, C], RED, BLUE)
    (warning,) = (f for f in crowded.findings if f.id == "D03")
    assert warning.triggers == ("zwx", "redfit", "bluefit") and "in 0 images" in warning.message
    assert warning.remedies[0].images == 13
    assert "D03" not in ids(explained(build, [A, B, C], RED, BLUE, MISC))
    both = [o.model_copy(update={"also_without": True}) for o in (B, C)]
    assert "D03" not in ids(explained(build, [A, *both], RED, BLUE))
