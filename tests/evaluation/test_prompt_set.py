import pytest

from bakehouse.data.crumb_attributes import Vocabulary
from bakehouse.evaluation import prompt_set as p
from bakehouse.recipe.recipe import ConceptSpec

PERSON = ConceptSpec(folder="x", subject="zwx person")
STYLE = ConceptSpec(folder="x", subject="hzn style", trigger="hzn", class_word="")


def prompts(concept=PERSON, **more):
    return p.make_prompts(concept, **{"kind": "character", "crumb": True, "count": 24, **more})


def test_pairs_differ_in_the_trigger_alone():
    found = prompts(seed=7)
    assert len(found.subject) == len(found.class_prompts) == 24
    for mine, bare in zip(found.subject, found.class_prompts, strict=True):
        assert mine.prompt.replace("zwx ", "") == bare.prompt == mine.bare_prompt == bare.bare_prompt
        assert mine.seed == bare.seed
    assert [a.seed for a in found.subject] == list(range(7, 31))
    assert all("robot" in a.prompt and "zwx" not in a.prompt for a in found.other)


def test_a_seed_draws_the_same_prompts_and_another_draws_others():
    assert prompts(seed=1) == prompts(seed=1)
    assert [a.prompt for a in prompts(seed=1).subject] != [a.prompt for a in prompts(seed=2).subject]


def test_any_beginning_is_a_fair_choice():
    few = prompts(seed=3).first(10)
    assert (len(few.subject), len(few.class_prompts), len(few.other), len(few.words)) == (10, 10, 2, 10)
    assert len({a.prompt for a in few.subject}) == 5
    assert "zwx person" in [a.prompt for a in few.first(6).subject], "the bare subject, in the first round too"
    text = " ".join(a.prompt for a in few.subject)
    for words in (p.FRAMINGS, p.CLOTHES, p.GLASSES, p.EXPRESSIONS):
        assert any(w in text for w in words)


def test_words_alone_are_the_class_prompts_with_the_subject_described():
    found = prompts(description="lavender hair, eyepatch")
    for bare, words in zip(found.class_prompts, found.words, strict=True):
        assert words.prompt == bare.prompt.replace("person", "person, lavender hair, eyepatch", 1)
        assert (words.bare_prompt, words.seed) == (bare.prompt, bare.seed)
    assert [w.prompt for w in prompts().words] == [c.prompt for c in prompts().class_prompts]
    assert p.count_images(prompts().of_base) < len(prompts().of_base), "the same image is not made twice"
    dog = p.make_prompts(
        ConceptSpec(folder="x", subject="sks dog"), kind="object", crumb=False, count=4, description="red collar"
    )
    assert all(w.prompt.endswith(", red collar") for w in dog.words)
    style = p.make_prompts(STYLE, kind="style", crumb=True, count=4, description="thick outlines")
    assert all("thick outlines" in w.prompt and "hzn" not in w.prompt for w in style.words)


def test_impostors_are_other_subjects_of_the_class():
    found = prompts(is_own=lambda words: "pink" in words)
    assert len({a.prompt for a in found.impostors}) == p.IMPOSTORS
    assert len(found.impostors) == p.IMPOSTORS * p.PER_IMPOSTOR
    assert not any("pink" in a.prompt or "zwx" in a.prompt for a in found.impostors)
    robots = prompts(ConceptSpec(folder="x", subject="zwx robot")).impostors
    assert {a.prompt for a in robots} == {f"{color} robot" for color in p.COLORS}
    vase = p.make_prompts(ConceptSpec(folder="x", subject="owl vase"), kind="object", crumb=False, count=4)
    assert all("vase" in a.prompt for a in vase.impostors)


def test_more_images_keep_the_first():
    few, many = prompts(count=12), prompts(count=48)
    assert many.subject[:12] == few.subject
    assert many.class_prompts[:12] == few.class_prompts
    assert many.other[: len(few.other)] == few.other


def test_other_classes_are_among_the_others():
    text = " ".join(a.prompt for a in prompts(other_classes=("person", "robot", "dog", "bus")).other)
    assert "robot" in text
    assert "dog" in text or "bus" in text
    assert "person" not in text


def test_prompts_ask_for_no_other_value_of_what_makes_the_subject():
    text = " ".join(a.prompt for a in prompts(fixed_groups={"clothing color", "glasses"}).subject)
    assert not any(w in text for w in (*p.CLOTHES, *p.GLASSES))
    assert any(w in text for w in p.EXPRESSIONS)


def test_robots_wear_nothing_and_leak_into_people():
    robot = prompts(ConceptSpec(folder="x", subject="zwx robot"))
    assert not any(w in a.prompt for a in robot.subject for w in (*p.CLOTHES, *p.EXPRESSIONS))
    assert all(a.prompt.startswith("person") for a in robot.other)


def test_a_style_is_asked_for_with_many_contents():
    found = p.make_prompts(STYLE, kind="style", crumb=True, count=8)
    assert all(a.prompt.startswith("in hzn style, person") for a in found.subject)
    behind = p.make_prompts(STYLE, kind="style", crumb=True, count=8, style_first=False)
    assert all(a.prompt.endswith(", in hzn style") and a.prompt.startswith("person") for a in behind.subject)
    assert not any("style" in a.prompt for a in found.class_prompts)
    general = p.make_prompts(STYLE, kind="style", crumb=False, count=8)
    assert len({a.bare_prompt for a in general.subject}) == 4


@pytest.mark.parametrize("phrases", [p.PLACES, p.CLOTHES, p.GLASSES, p.FRAMINGS, p.EXPRESSIONS, p.ROBOTS, p.FIGURES])
def test_crumbs_tagger_knows_every_wish(phrases):
    vocabulary = Vocabulary.load()
    for phrase in phrases:
        assert vocabulary.atoms_of_prompt(phrase), phrase


def test_general_prompts_are_twenty_five_sentences():
    dog = ConceptSpec(folder="x", subject="sks dog")
    found = p.make_prompts(dog, kind="object", crumb=False, count=50)
    assert len({a.bare_prompt for a in found.subject}) == 25
    assert found.subject[2].prompt == "a sks dog"
    text = {a.bare_prompt for a in found.subject}
    assert "a dog in the snow" in text
    assert any(t.startswith("an oil painting of a dog") for t in text), "a dog wears and is painted"
    owl = p.make_prompts(ConceptSpec(folder="x", subject="sks owl vase"), kind="object", crumb=False, count=50)
    texts = {a.bare_prompt for a in owl.subject}
    assert "a red owl vase" in texts
    assert "an owl vase on the beach" in texts
    assert not any(
        name in a.prompt
        for a in p.make_prompts(
            dog.model_copy(update={"subject": "sks cat"}), kind="object", crumb=False, count=40
        ).other
        for name in ("a cat ",)
    )


def test_the_captions_say_what_the_subject_is_called():
    captions = ["person, red hat, in hzn style", "person, in the snow, in hzn style"]
    assert p.subject_phrase(captions, "hzn") == "in hzn style"
    assert p.subject_phrase(["zwx person, smiling"], "zwx") == "zwx person"
    assert p.subject_phrase(["a long sentence that tells what zwx does all day"], "zwx") is None
    assert p.subject_phrase(["no trigger"], "zwx") is None
    assert p.subject_phrase([], "zwx") is None


def test_a_concept_without_a_class_word():
    bare = p.make_prompts(ConceptSpec(folder="x", subject="zwx"), kind="character", crumb=True, count=2)
    assert bare.class_prompts[0].prompt.startswith("person, ")


TAGGED = ConceptSpec(folder="x", subject="zwx 1girl")


def test_prompts_in_tags_are_tags_and_pairs_still_differ_in_the_trigger_alone():
    for kind, concept in (("character", TAGGED), ("object", ConceptSpec(folder="x", subject="zwx teapot"))):
        found = p.make_prompts(concept, kind=kind, crumb=False, form="tags", count=50, description="red hair")
        for mine, bare, words in zip(found.subject, found.class_prompts, found.words, strict=True):
            assert mine.prompt.replace("zwx ", "") == bare.prompt
            assert words.prompt == bare.prompt.replace(concept.class_name, f"{concept.class_name}, red hair", 1)
        texts = [a.prompt for a in (*found.subject, *found.other, *found.impostors)]
        assert not [t for t in texts if t.startswith(("a ", "an ")) or " of a " in t or "(" in t]
        assert len({a.prompt for a in found.subject}) == 25
    style = p.make_prompts(STYLE, kind="style", crumb=False, form="tags", count=30)
    assert {a.prompt for a in style.class_prompts} == {*p.CONTENTS_TAGS}
    assert all(a.prompt == f"in hzn style, {a.bare_prompt}" for a in style.subject)


def test_tags_and_sentences_are_of_the_same_number():
    pairs = (
        (p.RECONTEXT, p.RECONTEXT_TAGS), (p.WEAR, p.WEAR_TAGS), (p.STAND, p.STAND_TAGS),
        (p.PROPERTIES, p.PROPERTIES_TAGS), (p.RENDERED, p.RENDERED_TAGS), (p.CONTENTS, p.CONTENTS_TAGS),
        (p.OTHER_STYLES, p.OTHER_STYLES_TAGS),
    )  # fmt: skip
    assert all(len(sentences) == len(tags) == len(set(tags)) for sentences, tags in pairs)
