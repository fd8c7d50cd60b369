from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakehouse.captions import RuleSet, parse_rules
from bakehouse.captions.ruleset import SHIPPED_RULES
from bakehouse.core.errors import Problems, UsageError
from bakehouse.data.shipped_tag_lists import read_data, read_list, shipped_names
from bakehouse.data.tag_vocabulary import ListedVocabulary, VocabularyTag

LAW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def edit(caption, *rules, vocabulary=None):
    captions = [caption] if isinstance(caption, str) else caption
    known = ListedVocabulary(map(VocabularyTag, vocabulary)) if vocabulary is not None else None
    new = RuleSet(rules=parse_rules(rules)).apply(captions, vocabulary=known)
    return new[0] if isinstance(caption, str) else new


def clean(caption, vocabulary=None):
    known = ListedVocabulary(map(VocabularyTag, vocabulary)) if vocabulary is not None else None
    return RuleSet.load_rules("clean").apply([caption], vocabulary=known)[0]


def test_add():
    add = {"kind": "add", "tags": ["zwx, person"]}
    assert edit("a, b", add) == "zwx, person, a, b"
    assert edit("a, Person, zwx, b", add) == "zwx, person, a, b"
    assert edit("a, zwx", {**add, "to": "back"}) == "a, zwx, person"
    assert edit("A dog sits on the grass.", {"kind": "add", "tags": ["zwx"]}) == "zwx, A dog sits on the grass."
    assert edit("A zwx dog sits on the grass.", {"kind": "add", "tags": ["zwx"]}) == "A zwx dog sits on the grass."


def test_remove():
    assert edit("a, blue_Hair, simple background", {"kind": "remove", "tags": ["blue hair", "* background"]}) == "a"
    assert edit("a, ^_^", {"kind": "remove", "tags": ["^ ^"]}) == "a, ^_^"
    assert edit("general, white background", {"kind": "remove", "lists": ["junk"]}) == "white background"
    assert edit("meme, highres", {"kind": "remove", "lists": ["junk"], "keep": ["meme"]}) == "meme"
    sentence = "A girl in front of a simple background."
    assert edit(sentence, {"kind": "remove", "tags": ["simple background"]}) == sentence
    with pytest.raises(UsageError, match="did you mean 'junk'"):
        edit("a", {"kind": "remove", "lists": ["junks"]})


def test_replace():
    table = {"red hair": "ginger hair", "suit and tie": "suit, necktie", "meme": ""}
    replace = {"kind": "replace", "tags": table}
    assert edit("Red_Hair, suit and tie, meme, suit", replace) == "ginger hair, necktie, suit"
    assert edit("a girl with red hair, walking", replace) == "a girl with ginger hair, walking"
    assert edit("a cat on a mat", {"kind": "replace", "tags": {"cat": "black cat"}}) == "a black cat on a mat"
    assert edit("cat, mat", {"kind": "replace", "tags": {"cat": "black cat"}}) == "black cat, mat"


def test_regex():
    assert edit("blue_hair, x", {"kind": "regex", "find": r"^(\w+)_hair$", "put": r"\1 hair"}) == "blue hair, x"
    assert edit("a b, c", {"kind": "regex", "find": " ", "put": ", "}) == "a, b, c"
    assert edit("x1, y", {"kind": "regex", "find": r"^x\d$"}) == "y"
    on_caption = {"kind": "regex", "find": r"grey", "put": "gray", "on": "caption"}
    assert edit("A grey cat sits on a mat.", on_caption) == "A gray cat sits on a mat."
    with pytest.raises(Problems, match="not a valid regular expression"):
        parse_rules([{"kind": "regex", "find": "("}])
    with pytest.raises(UsageError, match="invalid replacement"):
        edit("a", {"kind": "regex", "find": "a", "put": r"\7"})


def test_sort():
    captions = ["zwx, b, a", "c, zwx, a", "a"]
    assert edit(captions, {"kind": "sort", "triggers": ["zwx"]}) == ["zwx, a, b", "zwx, a, c", "a"]
    assert edit(captions, {"kind": "sort"}) == ["a, zwx, b", "a, zwx, c", "a"]
    assert edit("z, y, x", {"kind": "sort", "by": "alphabet", "keep": 1}) == "z, x, y"
    assert edit("z, y ||| c, b ||| q, a", {"kind": "sort", "by": "alphabet"}) == "z, y ||| b, c ||| q, a"


def test_dedupe_and_spelling():
    assert edit("a, Blue_Hair, blue hair, a", {"kind": "dedupe"}) == "a, Blue_Hair"
    spaces, lower = {"kind": "underscores"}, {"kind": "case"}
    assert edit("blue_hair, ^_^, ||_||, (o)_(o), my_x", {**spaces, "spare": ["my_x"]}) == (
        "blue hair, ^_^, ||_||, (o)_(o), my_x"
    )
    assert edit("blue hair, ^_^", {**spaces, "to": "underscores"}) == "blue_hair, ^_^"
    assert edit("Blue Hair, XD, :D, Zwx", {**lower, "spare": ["Zwx"]}) == "blue hair, XD, :D, Zwx"
    assert edit(r"a \(b\)", {"kind": "parentheses"}) == "a (b)"
    escaped = {"kind": "parentheses", "to": "escaped"}
    assert edit("a (b), (o)_(o)", escaped) == r"a \(b\), (o)_(o)"
    assert edit("1girl，solo、a\u00a0b,\0c,,d", {"kind": "tidy"}) == "1girl, solo, a b, c, d"
    assert edit("cafe\u0301, x", {"kind": "tidy"}) == "café, x"
    assert edit("blue\u200bberry, so\u00adlo, 1\u200cgirl", {"kind": "tidy"}) == "blueberry, solo, 1girl"
    assert edit("👩\u200d🎨, می\u200cروم", {"kind": "tidy"}) == "👩\u200d🎨, می\u200cروم"


def test_where():
    rule = {"kind": "add", "tags": ["x"], "where": {"has": ["1girl"], "lacks": ["* hat"]}}
    assert edit(["1girl", "1girl, red hat", "dog"], rule) == ["x, 1girl", "1girl, red hat", "dog"]
    either = {"kind": "add", "tags": ["x"], "where": {"any": ["cat", "dog"]}}
    assert edit(["cat", "cow"], either) == ["x, cat", "cow"]
    rules = RuleSet(rules=parse_rules([{"kind": "add", "tags": ["x"], "where": {"path": "2_dress/*"}}]))
    assert rules.apply(["a", "a"], ["1_a/1.txt", "2_dress/1.txt"]) == ["a", "x, a"]


def test_rules_are_used_in_their_order():
    first, second = {"kind": "replace", "tags": {"a": "b"}}, {"kind": "remove", "tags": ["b"]}
    assert edit("a, c", first, second) == "c"
    assert edit("a, b, c", second, {"kind": "add", "tags": ["b"], "to": "back", "where": {"has": ["d"]}}) == "a, c"


def test_what_no_rule_changes_keeps_its_letters():
    assert edit("a,b ,  c", {"kind": "remove", "tags": ["d"]}) == "a,b ,  c"


# --- the laws ---------------------------------------------------------------------------------------------------------

TAGS = st.sampled_from(
    [
        "zwx", "1girl", "2girls", "shirt", "white shirt", "White_Shirt", "dress", "dress shirt", "blue hair",
        "long hair", "blue_eyes", "red eyes", "heterochromia", "earrings", "jewelry", "tiara", "circlet", "^_^",
        "||_||", "|||", "long blue hair", "blonde twintails", "meme", "highres", "holding", "holding sword", "sword",
        "no shoes", "shoes", "shirt and tie", r"name \(series\)", "a\uff0cb", "a girl in a red dress", "body suit",
        "close-up", "a b", "X",
    ]
)  # fmt: skip
CAPTIONS = st.lists(st.lists(TAGS, max_size=7).map(", ".join), min_size=1, max_size=4)
WORDS = st.sampled_from(["zwx", "shirt", "blue hair", "red eyes", "meme", "x", "* hair"])
RULES = st.one_of(
    st.sampled_from(
        [
            *({"kind": kind} for kind in ("tidy", "case", "underscores", "parentheses", "dedupe", "synonyms")),
            *({"kind": kind} for kind in ("generics", "redundant", "split", "consolidate", "sort")),
            {"kind": "sort", "by": "alphabet", "triggers": ["zwx"]},
            {"kind": "underscores", "to": "underscores"},
            {"kind": "parentheses", "to": "escaped"},
            {"kind": "remove", "lists": ["junk"]},
            {"kind": "regex", "find": r"\bblue\b", "put": "azure", "on": "caption"},
            {"kind": "regex", "find": " ", "put": ", "},
        ]
    ),
    WORDS.map(lambda w: {"kind": "add", "tags": [w]}),
    WORDS.map(lambda w: {"kind": "add", "tags": [w], "to": "back"}),
    WORDS.map(lambda w: {"kind": "remove", "tags": [w]}),
    st.tuples(WORDS, WORDS).map(lambda p: {"kind": "replace", "tags": {p[0]: p[1]}}),
)
VOCABULARY = [
    "blue hair",
    "long hair",
    "long blue hair",
    "blonde hair",
    "twintails",
    "shirt",
    "white shirt",
    "red eyes",
]


@LAW
@given(CAPTIONS, st.lists(RULES, min_size=1, max_size=5))
def test_twice_is_once(captions, rules):
    known = ListedVocabulary(map(VocabularyTag, VOCABULARY))
    made = RuleSet(rules=parse_rules(rules))
    try:
        once = made.apply(captions, vocabulary=known)
    except UsageError as e:
        assert "do not converge" in str(e)
        return
    assert made.apply(once, vocabulary=known) == once


@LAW
@given(CAPTIONS, st.sampled_from(SHIPPED_RULES))
def test_shipped_rules_come_to_rest(captions, name):
    rules, known = RuleSet.load_rules(name), ListedVocabulary(map(VocabularyTag, VOCABULARY))
    once = rules.apply(captions, vocabulary=known)
    assert rules.apply(once, vocabulary=known) == once


@LAW
@given(CAPTIONS, st.randoms())
def test_the_order_of_captions_does_not_matter(captions, rng):
    rules = RuleSet.load_rules("clean").with_rules(parse_rules([{"kind": "sort"}]))
    mixed = list(range(len(captions)))
    rng.shuffle(mixed)
    straight, shuffled = rules.apply(captions), rules.apply([captions[i] for i in mixed])
    assert [straight[i] for i in mixed] == shuffled


def test_several_tags_in_one_text_are_several():
    assert edit("x, y, z", {"kind": "remove", "tags": ["x, y"]}) == "z"
    assert edit("x, y", {"kind": "add", "tags": ["z"], "where": {"has": ["x, y"]}}) == "z, x, y"
    assert edit("x", {"kind": "add", "tags": ["z"], "where": {"has": ["x, y"]}}) == "x"


def test_rules_that_never_rest_are_refused():
    with pytest.raises(UsageError, match="do not converge: 'aa' becomes 'aaaa', which is changed again") as e:
        edit("a", {"kind": "regex", "find": "a", "put": "aa"})
    assert "'regex'" in e.value.hint
    with pytest.raises(UsageError, match="'replace'"):
        edit("a", {"kind": "replace", "tags": {"a": "b", "b": "a"}})
    with pytest.raises(UsageError, match=r"'A cat sat\. ' becomes 'A cat sat\.  ', which"):
        edit("A cat sat.", {"kind": "regex", "find": "$", "put": " ", "on": "caption"})


# --- what other programs do wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "caption",
    [
        "heterochromia, blue eyes, red eyes",  # one colour was lost
        "2girls, blonde hair, black hair",  # one girl's hair was lost
        "dress, dress shirt",  # the first word is not what a thing is
        "gun, gun holster",
        "bow, rainbow", "cape, landscape", "bra, braid", "cat, scattered petals", "ass, glasses",
        "ring, earrings", "ear, bear",  # letters inside another word
        "brown skirt, long skirt", "white shirt, black shirt", "blonde hair, black hair",  # joined into nonsense
        "white hair, long hair",
        "my trigger, shirt",  # a trigger of two words went to the back
        "2girls, shirt, white shirt",  # it may be the other one's
        "no shoes, shoes", "hot dog, dog", "sailor collar, collar", "lap pillow, pillow",
        "name (series), 1girl",  # parentheses were taken for weights
        "^_^, (o)_(o), ||_||, >_<",
        "watermark, signature, artist name",  # what can be seen keeps its tag
    ],
)  # fmt: skip
def test_clean_leaves_alone(caption):
    assert clean(caption) == caption


@pytest.mark.parametrize(
    ("caption", "cleaned"),
    [
        ("shirt, white shirt", "white shirt"),
        ("dress, dress shirt, shirt", "dress, dress shirt"),
        ("1girl, rating:safe, shirt", "1girl, shirt"),  # all behind the rating was lost
        ("gothic_lolita, blue_eyes, ^_^", "gothic lolita, blue eyes, ^_^"),
        ("jewelry, earrings, necklace", "earrings, necklace"),
        ("holding, holding sword, sword", "holding sword"),
        ("meme, star_wars_parody, absurdres, bad_pixiv_id, 1girl", "1girl"),
        ("commentary_request, english_commentary, smile", "smile"),
        ("eyes closed, pigtails", "closed eyes, twintails"),
        ("cat ears and tail", "cat ears, cat tail"),
        ("1girl\uff0cSolo", "1girl, Solo"),
        ("", ""),
    ],
)
def test_clean(caption, cleaned):
    assert clean(caption) == cleaned


def test_tags_are_joined_only_where_the_base_model_knows_the_result():
    known = ["long hair", "pink hair", "pink long hair", "red eyes", "blue eyes", "blue red eyes", "hair"]
    assert clean("long hair, pink hair, smile", known) == "pink long hair, smile"
    assert clean("long hair, pink hair", ["long hair", "pink hair"]) == "long hair, pink hair"
    assert clean("red eyes, blue eyes", known) == "red eyes, blue eyes"
    assert clean("2girls, long hair, pink hair", known) == "2girls, long hair, pink hair"
    assert clean("heterochromia, long hair, pink hair", known).count(",") == 2


def test_tags_are_split_only_where_the_base_model_does_not_know_the_whole():
    known = ["long hair", "blonde hair", "twintails", "white shirt", "red hat", "dress shirt"]
    split = {"kind": "split"}
    assert edit("long blonde hair, x", split, vocabulary=known) == "long hair, blonde hair, x"
    assert edit("blonde twintails", split, vocabulary=known) == "blonde hair, twintails"
    assert edit("white shirt and red hat", split, vocabulary=known) == "white shirt, red hat"
    assert edit("long hair white shirt", split, vocabulary=known) == "long hair, white shirt"
    assert edit("long green hair", split, vocabulary=known) == "long green hair"
    assert edit("long blonde hair, long hair", split, vocabulary=[*known, "long blonde hair"]).startswith("long blonde")
    assert edit("long blonde hair", split) == "long blonde hair"


def test_confusions_follow_the_folder_and_spellings_the_boorus():
    rule = {"kind": "synonyms"}
    assert edit(["tiara", "circlet", "circlet"], rule) == ["circlet"] * 3
    assert edit(["circlet", "tiara", "tiara"], rule) == ["tiara"] * 3
    assert edit("eyeglasses, glasses", rule) == "glasses"
    assert edit(["tiara", "circlet", "circlet"], rule, vocabulary=["tiara"]) == ["tiara"] * 3
    own = {"kind": "synonyms", "shipped": False, "sets": [["sword", "blade"]]}
    assert edit("blade, eyeglasses", own) == "sword, eyeglasses"


def test_replacing_one_tag_leaves_the_others():
    # One program's replacement turned every tag into the new one, another's did nothing.
    assert edit("1girl, solo", {"kind": "replace", "tags": {"1girl": "female"}}) == "female, solo"
    # Another's deleted a tag that was replaced by itself.
    assert edit("1girl, solo", {"kind": "replace", "tags": {"solo": "solo"}}) == "1girl, solo"


# --- data and files ---------------------------------------------------------------------------------------------------


def test_shipped_rules_are_rules_and_shipped_lists_have_no_tag_twice():
    assert {"clean", "contradictions"} == set(SHIPPED_RULES)
    assert {"junk", "faces", "colors"} <= shipped_names()
    for name in ("junk", "faces", "colors"):
        assert len(set(read_list(name))) == len(read_list(name)), name
    for words in [*read_data("synonyms")["spellings"], *read_data("synonyms")["confusions"]]:
        assert len(set(words)) == len(words) > 1
    assert not set(read_list("junk")) & {"solo", "1girl", "watermark", "signature", "text"}


def test_a_rules_file(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(
        'vocabulary = "crumb"\n[[rules]]\nkind = "add"\ntags = ["zwx"]\nwhere = {lacks = ["dog"]}\n'
        '[[rules]]\nkind = "consolidate"\n'
    )
    rules = RuleSet.load_rules(path)
    assert rules.apply(["long hair, pink hair", "dog"]) == ["zwx, pink long hair", "dog"]
    path.write_text('[[rules]]\nkind = "ad"\n[[rules]]\nkind = "sort"\nbye = "x"\n')
    with pytest.raises(Problems) as e:
        RuleSet.load_rules(path)
    assert "did you mean 'add'" in str(e.value)
    assert "did you mean 'by'" in str(e.value)
    with pytest.raises(UsageError, match="clean"):
        RuleSet.load_rules("nothing")
