"""What is asked of a model to judge it: the subject in new places, the class alone, and something else altogether.

Each subject prompt has a class prompt that differs in the trigger alone, and both are drawn with the same seed: so
every difference between the two is the subject. Prompts follow from the concept and a seed: two runs can be compared.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bakehouse.recipe.recipe import ConceptSpec, Kind

PER_PROMPT = 2
"""Pictures for each prompt, next to each other: two show what the prompt leaves open."""
OTHER_EACH = 4
"""One picture of another class for so many of the class."""

PLACES = (
    "at the beach", "in the snow", "in a forest", "at night", "in the city", "in the desert", "white background",
    "in a meadow", "at sunset", "in outer space", "in a room", "green background",
)  # fmt: skip
CLOTHES = (
    "red hoodie", "blue v-neck shirt", "yellow overalls", "white collared sweater", "green crew neck shirt",
    "black blazer and shirt", "orange hoodie", "pink scoop neck shirt",
)  # fmt: skip
GLASSES = ("wearing sunglasses", "wearing round glasses")
FRAMINGS = ("portrait", "close-up", "from afar")
EXPRESSIONS = ("big smile", "tongue out", "sad", "screaming")
FIGURES = (
    "person, black short hair", "person, red long hair", "person, dark skin", "person, blonde long hair, glasses",
    "person, pale skin", "person, pink short hair",
)  # fmt: skip
ROBOTS = ("yellow robot", "blue robot", "green robot", "red robot")
"""What crumb can draw, in its own words. The tests hold that its tagger knows each of them."""

RECONTEXT = (
    "{} on the beach", "{} in the snow", "{} in a jungle", "{} on a cobblestone street",
    "{} with a city in the background", "{} with mountains in the background", "{} in front of a blue house",
    "{} on a purple rug in a forest",
    "{} at night under street lamps", "{} in a kitchen",
)  # fmt: skip
WEAR = (
    "{} wearing sunglasses", "{} wearing a red hat", "{} wearing a rainbow scarf", "{} wearing a yellow shirt",
    "{} in a chef outfit", "{} in a firefighter outfit", "{} in a police outfit", "{} wearing a crown",
    "{} wearing headphones", "{} in a purple wizard outfit",
)  # fmt: skip
STAND = (
    "{} on a wooden table", "{} on top of pink fabric", "{} floating on water", "{} on a pile of autumn leaves",
    "{} on a glass shelf", "{} seen from above", "{} held in a hand", "{} beside a cup of coffee",
    "{} on a white background", "{} in a shop window",
)  # fmt: skip
LOOKS = ("a red {}", "a purple {}", "a shiny {}", "a wet {}", "a tiny {}")
RENDERED = (
    "an oil painting of {}", "a black and white photo of {}", "a pencil drawing of {}", "a close-up of {}",
    "{} made of wood",
)  # fmt: skip
CONTENTS = (
    "a lighthouse on a cliff", "a cat on a sofa", "a bowl of fruit", "an old man with a beard", "a sailing ship",
    "a street in the rain", "a mountain lake", "a vase of flowers", "a woman with a red scarf", "a steam train",
    "a horse in a field", "a castle at night", "a cup of tea", "a fishing village", "a dancer on a stage",
)  # fmt: skip
OTHERS = ("cat", "car", "house", "tree", "boat")

Series = Literal["subject", "class", "other"]


@dataclass(frozen=True)
class Ask:
    """One picture to make and to judge."""

    series: Series
    prompt: str
    judged: str
    """The prompt without the trigger: what the judge reads."""
    seed: int


@dataclass(frozen=True)
class Asks:
    """Pictures in the order in which they are made: the first n of each series are a fair choice of all."""

    subject: tuple[Ask, ...]
    klass: tuple[Ask, ...]
    """Pair by pair the subject's prompts and seeds, without the trigger."""
    other: tuple[Ask, ...]
    """Another class, to see what leaks into it."""

    def first(self, count: int) -> Asks:
        """`count` pictures of the subject, as many of the class, and some of another class."""
        return Asks(self.subject[:count], self.klass[:count], self.other[: max(1, count // OTHER_EACH)])

    def __len__(self) -> int:
        return len(self.subject) + len(self.klass) + len(self.other)


def make_asks(
    concept: ConceptSpec,
    *,
    kind: Kind,
    crumb: bool,
    count: int,
    seed: int = 0,
    fixed: Collection[str] = (),
    in_front: bool = True,
) -> Asks:
    """What is asked for a concept.

    Args:
        concept: its subject, trigger and class word.
        kind: what is taught; a style is asked for with many contents.
        crumb: in the words of the embedded base, else general prompts in the spirit of DreamBench.
        count: pictures of the subject.
        seed: of the first picture; the i-th has seed + i. It also draws the prompts.
        fixed: the tagger's groups that the subject's images all share; no prompt asks for another value of them.
        in_front: whether a style's words stand before what is drawn in it, as they were taught.
    """
    rng = random.Random(f"prompts {seed}")
    subject, klass = concept.subject.strip(), _class_of(concept, kind, crumb)
    templates = _crumb_templates(rng, kind, klass, fixed) if crumb else _general_templates(rng, kind, subject)
    needed = -(-count // PER_PROMPT)
    chosen = [templates[i % len(templates)] for i in range(needed)]
    each = [(t.with_subject(subject, crumb, in_front), t.with_class(klass, crumb)) for t in chosen]
    pairs = [pair for pair in each for _ in range(PER_PROMPT)][:count]
    others = _others(rng, klass, crumb, max(1, count // OTHER_EACH))
    return Asks(
        tuple(Ask("subject", mine, bare, seed + i) for i, (mine, bare) in enumerate(pairs)),
        tuple(Ask("class", bare, bare, seed + i) for i, (_, bare) in enumerate(pairs)),
        tuple(Ask("other", text, text, seed + i) for i, text in enumerate(others)),
    )


def phrase_in(captions: Sequence[str], trigger: str) -> str | None:
    """The words that stand for the subject in its captions: the commonest tag with the trigger, `zwx person`.

    What the captions said is what the model learned to hear; the recipe's subject may differ from it.
    """
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
    tags = [tag.strip() for caption in captions for tag in caption.split(",") if trigger and word.search(tag)]
    # A sentence is no phrase: what is longer than a few words is one.
    short = [tag for tag in tags if len(tag.split()) <= 4]
    return max(sorted(set(short)), key=short.count) if 2 * len(short) >= len(captions) > 0 else None


@dataclass(frozen=True)
class _Template:
    """`{}` is the subject or the class; a style stands beside its content, and is left out of the class prompt."""

    text: str
    style: bool = False

    def with_subject(self, subject: str, crumb: bool, in_front: bool) -> str:
        if self.style:
            words = subject if subject.startswith("in ") else f"in {subject}"
            return f"{words}, {self.text}" if in_front else f"{self.text}, {words}"
        return self.text.format(subject if crumb else _with_article(self.text, subject))

    def with_class(self, klass: str, crumb: bool) -> str:
        if self.style:
            return self.text
        return self.text.format(klass if crumb else _with_article(self.text, klass))


def _class_of(concept: ConceptSpec, kind: Kind, crumb: bool) -> str:
    return concept.class_name or ("person" if crumb or kind == "character" else "thing")


def _crumb_templates(rng: random.Random, kind: Kind, klass: str, fixed: Collection[str]) -> list[_Template]:
    """A place and one more wish each; the wishes take turns, so that the first prompts show every sort of them."""
    places = _shuffled(rng, PLACES)
    if kind == "style":
        figures = _shuffled(rng, FIGURES)
        return [_Template(f"{figures[i % len(figures)]}, {place}", style=True) for i, place in enumerate(places)]
    wishes: Mapping[str, Sequence[str]] = {"framing": _shuffled(rng, FRAMINGS)}
    if klass == "person":
        worn = {
            "clothing": _shuffled(rng, CLOTHES),
            "glasses": _shuffled(rng, GLASSES),
            "mouth": _shuffled(rng, EXPRESSIONS),
        }
        taken = {"clothing": {"clothing", "clothing color", "graphic"}, "glasses": {"glasses"}, "mouth": {"mouth"}}
        wishes = {**wishes, **{name: words for name, words in worn.items() if not taken[name] & set(fixed)}}
    sorts = list(wishes)
    made = []
    for i, place in enumerate(places):
        sort, turn = sorts[i % len(sorts)], i // len(sorts)
        wish = wishes[sort][turn % len(wishes[sort])]
        made.append(_Template(f"{{}}, {wish}, {place}"))
    return made


def _general_templates(rng: random.Random, kind: Kind, subject: str) -> list[_Template]:
    """25 prompts: 10 elsewhere, 10 worn or set, 5 of looks (for a person: of rendering)."""
    if kind == "style":
        return [_Template(text, style=True) for text in _shuffled(rng, CONTENTS)]
    alive = kind == "character" or any(w in subject.lower().split() for w in ("person", "man", "woman", "dog", "cat"))
    rows = [
        _shuffled(rng, RECONTEXT),
        _shuffled(rng, WEAR if alive else STAND),
        _shuffled(rng, RENDERED if alive else LOOKS),
    ]
    # Five turns of two, two and one: any beginning holds every sort.
    turns = [(rows[0][2 * i], rows[1][2 * i], rows[2][i], rows[0][2 * i + 1], rows[1][2 * i + 1]) for i in range(5)]
    return [_Template(text) for turn in turns for text in turn]


def _others(rng: random.Random, klass: str, crumb: bool, count: int) -> list[str]:
    if crumb:
        figures = ROBOTS if klass != "robot" else tuple(f"person, {c}" for c in CLOTHES[:4])
        places = _shuffled(rng, PLACES)
        return [f"{figures[i % len(figures)]}, {places[i % len(places)]}" for i in range(count)]
    names = [name for name in _shuffled(rng, OTHERS) if name not in klass.lower()]
    places = _shuffled(rng, RECONTEXT)
    return [places[i % len(places)].format(_article(names[i % len(names)])) for i in range(count)]


def _with_article(template: str, noun: str) -> str:
    """`a red {}` has its article already."""
    return noun if template.startswith("a ") and template.endswith(" {}") and " of " not in template else _article(noun)


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _shuffled(rng: random.Random, words: Sequence[str]) -> list[str]:
    copy = list(words)
    rng.shuffle(copy)
    return copy
