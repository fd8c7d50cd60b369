"""The laws of caption tags: a tag and its atoms say the same, and prompts are understood however they are put."""

import sys
from subprocess import run

import pytest

from bakehouse.vision.taggers import Vocabulary


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return Vocabulary.load()


def test_every_caption_tag_survives_the_way_to_atoms_and_back(words: Vocabulary) -> None:
    for tag in words.caption_tags():
        atoms = words.atoms(tag)
        assert atoms, tag
        assert all(value in words.groups[group] for group, value in atoms.items()), tag
        said = words.tags_of(atoms)
        assert len(said) == 1, tag
        assert words.atoms(said[0]) == atoms, tag


@pytest.mark.parametrize(
    ("tag", "atoms"),
    [
        ("pink afro", {"hair": "afro", "hair color": "pink"}),
        ("Green Hoodie", {"clothing": "hoodie", "clothing color": "green"}),
        ("sky blue background", {"background": "plain", "background color": "sky blue"}),
        ("at the beach", {"background": "beach"}),
        ("close-up", {"framing": "close-up"}),
        ("grey beanie", {"headwear": "beanie", "headwear color": "gray"}),
        ("blue shirt with bat", {"clothing": "shirt", "graphic": "bat", "clothing color": "blue"}),
        ("masterpiece", {}),
    ],
)
def test_atoms_of_a_tag(words: Vocabulary, tag: str, atoms: dict[str, str]) -> None:
    assert words.atoms(tag) == atoms


def test_two_colours_without_an_order_are_the_same_either_way(words: Vocabulary) -> None:
    assert words.atoms("red and white striped background") == words.atoms("white and red striped background")
    assert words.atoms("red background with white polka dots") != words.atoms("white background with red polka dots")


def test_a_list_and_a_sentence_say_the_same(words: Vocabulary) -> None:
    sentence = "a close-up of a person with pink afro, tan skin and green hoodie, at the beach"
    tags = "person, pink afro, tan skin, green hoodie, at the beach, close-up"
    assert words.atoms_of_prompt(sentence) == words.atoms_of_prompt(tags)
    assert words.tags_of(words.atoms_of_prompt(tags)) == tags.split(", ")


def test_free_phrases_are_understood(words: Vocabulary) -> None:
    atoms = words.atoms_of_prompt("zwx person wearing sunglasses and a red hoodie, standing in the snow")
    assert atoms == {
        "class": "person",
        "glasses": "sunglasses",
        "clothing": "hoodie",
        "clothing color": "red",
        "background": "snow",
    }


def test_a_general_word_accepts_the_special_one_only(words: Vocabulary) -> None:
    assert words.accepts("glasses", "sunglasses", "wayfarer sunglasses")
    assert not words.accepts("glasses", "wayfarer sunglasses", "sunglasses")


def test_words_need_no_torch() -> None:
    code = "import sys, bakehouse.curation, bakehouse.vision.taggers; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
