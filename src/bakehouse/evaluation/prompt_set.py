"""Evaluation prompts of a concept: the subject in new contexts, the class without the trigger, and others.

Each subject prompt has a class prompt that differs only in the trigger, and both are generated with the same seed:
every difference between the two images is the subject. The untouched base also gets the subject prompts with the
subject described in words, and prompts of other subjects. Prompts depend on the concept, its description and a seed
alone, so that runs can be compared.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bakehouse.core.model_catalogue.conventions import PromptForm
from bakehouse.recipe.recipe import ConceptSpec, Kind

PER_PROMPT = 2
"""Images of each prompt, next to each other: two show what the prompt leaves open."""
CLASS_PER_OTHER = 4
"""Number of class images for each image of another class."""

PLACES = (
    "at the beach", "in the snow", "in a forest", "at night", "in the city", "in the desert", "white background",
    "in a meadow", "at sunset", "in outer space", "in a room", "green background",
)  # fmt: skip
CLOTHES = (
    "red hoodie", "blue v-neck shirt", "yellow overalls", "white collared sweater", "green hoodie",
    "black blazer and shirt", "orange hoodie", "pink v-neck shirt",
)  # fmt: skip
GLASSES = ("wearing sunglasses", "wearing round glasses")
FRAMINGS = ("portrait", "close-up", "from afar")
FRAMINGS_OF_THINGS = ("", "close-up", "from afar")
"""As captions have them: nobody calls a picture of a mug a portrait."""
EXPRESSIONS = ("big smile", "tongue out", "sad", "screaming")
FIGURES = (
    "person, black short hair", "person, red long hair", "person, dark skin", "person, blonde long hair, glasses",
    "person, pale skin", "person, pink short hair",
)  # fmt: skip
ROBOTS = ("yellow robot", "blue robot", "green robot", "red robot")
COLORS = ("yellow", "blue", "green", "red")
"""Crumb's own vocabulary; the tests check that its tagger knows each of these words."""

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
PROPERTIES = ("a red {}", "a purple {}", "a shiny {}", "a wet {}", "a tiny {}")
RENDERED = (
    "an oil painting of {}", "a black and white photo of {}", "a pencil drawing of {}", "a close-up of {}",
    "{} made of wood",
)  # fmt: skip
CONTENTS = (
    "a lighthouse on a cliff", "a cat on a sofa", "a bowl of fruit", "an old man with a beard", "a sailing ship",
    "a street in the rain", "a mountain lake", "a vase of flowers", "a woman with a red scarf", "a steam train",
    "a horse in a field", "a castle at night", "a cup of tea", "a fishing village", "a dancer on a stage",
)  # fmt: skip
RECONTEXT_TAGS = (
    "{}, beach, ocean", "{}, snow, outdoors", "{}, jungle, outdoors", "{}, street, cobblestone", "{}, cityscape",
    "{}, mountain, scenery", "{}, house, outdoors", "{}, forest, outdoors", "{}, night, lamppost",
    "{}, kitchen, indoors",
)  # fmt: skip
WEAR_TAGS = (
    "{}, sunglasses", "{}, red hat", "{}, striped scarf", "{}, yellow shirt", "{}, chef hat, apron",
    "{}, firefighter jacket, helmet", "{}, police uniform", "{}, crown", "{}, headphones",
    "{}, purple robe, wizard hat",
)  # fmt: skip
STAND_TAGS = (
    "{}, wooden table", "{}, pink cloth", "{}, floating, water", "{}, autumn leaves", "{}, shelf, glass",
    "{}, from above", "{}, holding, hand", "{}, table, coffee cup", "{}, white background", "{}, shop, window",
)  # fmt: skip
PROPERTIES_TAGS = ("{}, red theme", "{}, purple theme", "{}, shiny", "{}, wet", "{}, miniature")
RENDERED_TAGS = (
    "{}, oil painting, painterly", "{}, monochrome, greyscale", "{}, pencil sketch, monochrome", "{}, close-up",
    "{}, wooden, figure",
)  # fmt: skip
CONTENTS_TAGS = (
    "lighthouse, cliff, ocean", "cat, couch", "fruit, bowl, still life", "1boy, old man, beard", "sailing ship, ocean",
    "street, rain", "lake, mountain", "vase, flower, still life", "1girl, red scarf", "steam locomotive, train",
    "horse, field", "castle, night", "teacup, tea", "village, fishing boat, harbor", "1girl, dancing, stage",
)  # fmt: skip
"""The same in the tags that anime models were captioned with (Danbooru's)."""

OTHERS = ("cat", "car", "house", "tree", "boat")
OTHER_PERSONS = (
    "{}, black curly hair",
    "{}, blonde hair, glasses",
    "{}, dark skin, gray hair",
    "{}, red hair, freckles",
)
OTHER_THINGS = ("a red {}", "a small blue {}", "an old white {}", "a striped green {}")
OTHER_STYLES = ("an oil painting of {}", "a pencil drawing of {}", "a photo of {}", "a pixel art picture of {}")
OTHER_STYLES_TAGS = (
    "{}, oil painting, painterly", "{}, pencil sketch, monochrome", "{}, photorealistic, realistic", "{}, pixel art",
)  # fmt: skip
PER_IMPOSTOR = 2
"""Images of each description of another subject."""
IMPOSTORS = 4
"""Number of such descriptions."""

Series = Literal["subject", "class", "other", "words", "impostor"]
ADAPTER_SERIES: tuple[Series, ...] = ("subject", "class", "other")
BASE_SERIES: tuple[Series, ...] = ("class", "other", "words", "impostor")


@dataclass(frozen=True)
class EvalPrompt:
    """A prompt with its seed: one image to generate and to score."""

    series: Series
    prompt: str
    bare_prompt: str
    """The prompt without the trigger, which the scorer reads."""
    seed: int

    def to_json(self) -> dict[str, Any]:
        return {"series": self.series, "prompt": self.prompt, "judged": self.bare_prompt, "seed": self.seed}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> EvalPrompt:
        return EvalPrompt(value["series"], str(value["prompt"]), str(value["judged"]), int(value["seed"]))


@dataclass(frozen=True)
class EvalPrompts:
    """The prompts of an evaluation in the order of generation; the first n of each series are a balanced choice."""

    subject: tuple[EvalPrompt, ...]
    class_prompts: tuple[EvalPrompt, ...]
    """The subject's prompts and seeds without the trigger, in the same order."""
    other: tuple[EvalPrompt, ...]
    """Prompts of another class, to measure what leaks into it."""
    words: tuple[EvalPrompt, ...] = ()
    """The subject's prompts and seeds with the subject described in words, for the untouched base alone."""
    impostors: tuple[EvalPrompt, ...] = ()
    """Other subjects of the class in words, for the untouched base alone."""

    def first(self, count: int) -> EvalPrompts:
        """Return `count` prompts of the subject, as many of the class, and some of another class."""
        other = self.other[: max(1, count // CLASS_PER_OTHER)]
        return EvalPrompts(self.subject[:count], self.class_prompts[:count], other, self.words[:count], self.impostors)

    @property
    def of_base(self) -> tuple[EvalPrompt, ...]:
        """The prompts that the untouched base gets."""
        return (*self.class_prompts, *self.other, *self.words, *self.impostors)

    @property
    def of_adapter(self) -> tuple[EvalPrompt, ...]:
        """The prompts that every checkpoint gets."""
        return (*self.subject, *self.class_prompts, *self.other)

    def numbered(self, *, of_base: bool) -> Iterator[tuple[Series, int, EvalPrompt]]:
        """Yield the prompts of the base, or those of a checkpoint, each with its series and its number in it."""
        for series in self._all():
            for i, prompt in enumerate(series):
                if prompt.series in (BASE_SERIES if of_base else ADAPTER_SERIES):
                    yield prompt.series, i, prompt

    def to_json(self) -> dict[str, Any]:
        return {
            name: [prompt.to_json() for prompt in prompts] for name, prompts in zip(_SAVED, self._all(), strict=True)
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> EvalPrompts:
        return EvalPrompts(*(tuple(map(EvalPrompt.from_json, value[name])) for name in _SAVED))

    def _all(self) -> tuple[tuple[EvalPrompt, ...], ...]:
        return self.subject, self.class_prompts, self.other, self.words, self.impostors


_SAVED = ("subject", "klass", "other", "words", "impostors")


def count_images(prompts: Sequence[EvalPrompt]) -> int:
    """Return the number of different images that prompts ask one model for."""
    return len({(prompt.prompt, prompt.seed) for prompt in prompts})


def make_prompts(
    concept: ConceptSpec,
    *,
    kind: Kind,
    crumb: bool,
    form: PromptForm = "sentences",
    count: int,
    seed: int = 0,
    fixed_groups: Collection[str] = (),
    style_first: bool = True,
    description: str = "",
    other_classes: Collection[str] = (),
    is_own: Callable[[str], bool] = lambda words: False,
) -> EvalPrompts:
    """Make the evaluation prompts of a concept.

    Args:
        concept: its subject, trigger and class word.
        kind: kind of subject; a style is combined with different contents.
        crumb: use the vocabulary of the embedded base, which is tags; else general prompts in the manner of DreamBench.
        form: whether general prompts are sentences or tags.
        count: number of subject images.
        seed: seed of the first image; image i uses seed + i. It also selects the prompts.
        fixed_groups: attribute groups in which all of the subject's images agree; no prompt asks for another value.
        style_first: whether a style's words stand in front of the content, as in its captions.
        description: the subject in words; without them words alone are the class prompts.
        other_classes: classes that crumb can draw.
        is_own: whether words for another subject describe this one.
    """
    rng = random.Random(f"prompts {seed}")
    subject, class_word = concept.subject.strip(), _class_of(concept, kind, crumb)
    tags = crumb or form == "tags"
    templates = (
        _crumb_templates(rng, kind, class_word, fixed_groups) if crumb else _general_templates(rng, kind, subject, tags)
    )
    needed = -(-count // PER_PROMPT)
    if not (kind == "style" and not crumb):
        # In the first round too; a style alone is no prompt of a general base.
        templates.insert(1, _Template(class_word, style=True) if kind == "style" else _Template("{}"))
    chosen = [templates[i % len(templates)] for i in range(needed)]
    each = [
        (
            t.with_subject(subject, tags, style_first),
            t.with_class(class_word, tags),
            t.with_words(class_word, description, tags),
        )
        for t in chosen
    ]
    images = [prompts for prompts in each for _ in range(PER_PROMPT)][:count]
    others = _others(rng, class_word, crumb, tags, max(1, count // CLASS_PER_OTHER), other_classes)
    figures = _impostors(class_word, kind, crumb, tags)
    impostors = [text for text in figures if not is_own(text)][:IMPOSTORS]
    rest = [(words, i) for i, words in enumerate(w for w in impostors for _ in range(PER_IMPOSTOR))]
    return EvalPrompts(
        tuple(EvalPrompt("subject", mine, bare, seed + i) for i, (mine, bare, _) in enumerate(images)),
        tuple(EvalPrompt("class", bare, bare, seed + i) for i, (_, bare, _) in enumerate(images)),
        tuple(EvalPrompt("other", text, text, seed + i) for i, text in enumerate(others)),
        tuple(EvalPrompt("words", words, bare, seed + i) for i, (_, bare, words) in enumerate(images)),
        tuple(EvalPrompt("impostor", words, words, seed + i) for words, i in rest),
    )


def place_templates(crumb: bool, form: PromptForm) -> tuple[str, ...]:
    """Return prompts with `{}` for the subject, the first of it alone, the others of it in a place each."""
    if crumb:
        return ("{}", *(f"{{}}, {place}" for place in PLACES))
    return ("{}", *(RECONTEXT_TAGS if form == "tags" else RECONTEXT))


def subject_phrase(captions: Sequence[str], trigger: str) -> str | None:
    """Return the subject as the captions name it: the most frequent tag that contains the trigger, `zwx person`.

    The model learned the phrase of the captions; the recipe's subject may differ from it.
    """
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
    tags = [tag.strip() for caption in captions for tag in caption.split(",") if trigger and word.search(tag)]
    # Longer tags are sentences of a natural-language caption.
    short = [tag for tag in tags if len(tag.split()) <= 4]
    return max(sorted(set(short)), key=short.count) if 2 * len(short) >= len(captions) > 0 else None


@dataclass(frozen=True)
class _Template:
    """A prompt with `{}` for the subject or class; a style is written beside its content, not in the class prompt."""

    text: str
    style: bool = False

    def with_subject(self, subject: str, tags: bool, style_first: bool) -> str:
        if self.style:
            words = subject if subject.startswith("in ") else f"in {subject}"
            return f"{words}, {self.text}" if style_first else f"{self.text}, {words}"
        return self.text.format(subject if tags else _with_article(self.text, subject))

    def with_class(self, class_word: str, tags: bool) -> str:
        if self.style:
            return self.text
        return self.text.format(class_word if tags else _with_article(self.text, class_word))

    def with_words(self, class_word: str, description: str, tags: bool) -> str:
        """Return the class prompt with the subject described: behind the class among tags, else behind the prompt."""
        if not description:
            return self.with_class(class_word, tags)
        if tags and not self.style:
            return self.text.format(f"{class_word}, {description}")
        return f"{self.with_class(class_word, tags)}, {description}"


def _class_of(concept: ConceptSpec, kind: Kind, crumb: bool) -> str:
    return concept.class_name or ("person" if crumb or kind == "character" else "thing")


def _crumb_templates(rng: random.Random, kind: Kind, class_word: str, fixed_groups: Collection[str]) -> list[_Template]:
    """Return prompts of a place and one more detail; details alternate, so that the first prompts have every kind."""
    places = _shuffled(rng, PLACES)
    if kind == "style":
        figures = _shuffled(rng, FIGURES)
        return [_Template(f"{figures[i % len(figures)]}, {place}", style=True) for i, place in enumerate(places)]
    framings = FRAMINGS if class_word in ("person", "robot") else FRAMINGS_OF_THINGS
    details: Mapping[str, Sequence[str]] = {"framing": _shuffled(rng, framings)}
    if class_word == "person":
        of_person = {
            "clothing": _shuffled(rng, CLOTHES),
            "glasses": _shuffled(rng, GLASSES),
            "expression": _shuffled(rng, EXPRESSIONS),
        }
        groups = {
            "clothing": {"clothing", "clothing color"},
            "glasses": {"glasses"},
            "expression": {"expression", "mouth"},
        }
        free = {name: words for name, words in of_person.items() if not groups[name] & set(fixed_groups)}
        details = {**details, **free}
    kinds = list(details)
    templates = []
    for i, place in enumerate(places):
        words = details[kinds[i % len(kinds)]]
        detail = words[i // len(kinds) % len(words)]
        templates.append(_Template(", ".join(part for part in ("{}", detail, place) if part)))
    return templates


def _general_templates(rng: random.Random, kind: Kind, subject: str, tags: bool) -> list[_Template]:
    """Return 25 prompts: 10 of places, 10 of accessories or settings, 5 of properties (for a person: of media)."""
    if kind == "style":
        return [_Template(text, style=True) for text in _shuffled(rng, CONTENTS_TAGS if tags else CONTENTS)]
    words = subject.lower().split()
    is_alive = kind == "character" or any(w in words for w in ("person", "man", "woman", "dog", "cat"))
    alive = (RECONTEXT_TAGS, WEAR_TAGS, RENDERED_TAGS) if tags else (RECONTEXT, WEAR, RENDERED)
    things = (RECONTEXT_TAGS, STAND_TAGS, PROPERTIES_TAGS) if tags else (RECONTEXT, STAND, PROPERTIES)
    rows = [_shuffled(rng, texts) for texts in (alive if is_alive else things)]
    # Five rounds of two, two and one, so that the first few prompts have every kind.
    rounds = [(rows[0][2 * i], rows[1][2 * i], rows[2][i], rows[0][2 * i + 1], rows[1][2 * i + 1]) for i in range(5)]
    return [_Template(text) for prompts in rounds for text in prompts]


def _others(
    rng: random.Random, class_word: str, crumb: bool, tags: bool, count: int, other_classes: Collection[str] = ()
) -> list[str]:
    if crumb:
        near = ROBOTS if class_word != "robot" else tuple(f"person, {c}" for c in CLOTHES[: len(COLORS)])
        rest = _shuffled(rng, [c for c in other_classes if c not in (class_word, "robot", "person")])
        figures = [f for pair in itertools.zip_longest(near, rest[: len(near)]) for f in pair if f is not None]
        places = _shuffled(rng, PLACES)
        return [f"{figures[i % len(figures)]}, {places[i % len(places)]}" for i in range(count)]
    names = [name for name in _shuffled(rng, OTHERS) if name not in class_word.lower()]
    places = _shuffled(rng, RECONTEXT_TAGS if tags else RECONTEXT)
    nouns = names if tags else [_article(name) for name in names]
    return [places[i % len(places)].format(nouns[i % len(nouns)]) for i in range(count)]


def _impostors(class_word: str, kind: Kind, crumb: bool, tags: bool) -> list[str]:
    """Return descriptions of other subjects of the class."""
    if crumb:
        return [*FIGURES] if class_word == "person" else [f"{color} {class_word}" for color in COLORS]
    if kind == "style":
        styles, contents = (OTHER_STYLES_TAGS, CONTENTS_TAGS) if tags else (OTHER_STYLES, CONTENTS)
        return [text.format(content) for text, content in zip(styles, contents, strict=False)]
    if kind == "character":
        return [text.format(class_word if tags else _article(class_word)) for text in OTHER_PERSONS]
    if tags:
        return [f"{class_word}, {color} theme" for color in COLORS]
    return [text.format(class_word) for text in OTHER_THINGS]


def _with_article(template: str, noun: str) -> str:
    """Return the noun with its article, unless the template has one: `a red {}`."""
    return noun if template.startswith("a ") and template.endswith(" {}") and " of " not in template else _article(noun)


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _shuffled(rng: random.Random, words: Sequence[str]) -> list[str]:
    copy = list(words)
    rng.shuffle(copy)
    return copy
