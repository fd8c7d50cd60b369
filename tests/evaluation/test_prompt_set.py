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
    few = prompts(seed=3).first(8)
    assert (len(few.subject), len(few.class_prompts), len(few.other)) == (8, 8, 2)
    assert len({a.prompt for a in few.subject}) == 4
    text = " ".join(a.prompt for a in few.subject)
    for words in (p.FRAMINGS, p.CLOTHES, p.GLASSES, p.EXPRESSIONS):
        assert any(w in text for w in words)


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
