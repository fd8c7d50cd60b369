"""Validate the trigger probe on crumb, whose vocabulary is known, and write the table of docs/triggers.md.

    python -m tools.validate_trigger_probe

Known words are tags of crumb's vocabulary, rare ones strings of consonants; none is a control word of the probe. Then
images of some words are generated, and the tagger counts attributes.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bakehouse.core.events import result_of
from bakehouse.core.files import write_text
from bakehouse.data.tag_vocabulary import load_vocabulary
from bakehouse.evaluation import CrumbScorer
from bakehouse.evaluation.trigger_probe import (
    KnownWords,
    ProbeResult,
    ProbeSpec,
    WordResult,
    load_known_words,
    probe_words,
)
from bakehouse.evaluation.trigger_probe.control_words import CONSONANTS
from bakehouse.generation import ImageRequest, Pipeline
from bakehouse.models.denoiser import Denoiser
from bakehouse.vision.taggers import Vocabulary

PAGE = Path(__file__).parents[1] / "docs" / "triggers.md"
BEGIN, END = "<!-- probed: written by `python -m tools.validate_trigger_probe` -->", "<!-- end of what was probed -->"
ASKED = (
    "zwx", "ohwx", "sks", "qvk", "qvl", "hzn", "mira", "dog",
    "person", "red hair", "glasses", "beach", "robot", "smile",
)  # fmt: skip
"""Words in the page's table."""
DRAWN = ("zwx", "sks", "qvl", "glasses")
PICTURES = 32
SEEN = ("facial hair", "glasses")
"""Groups of the tagger that are counted on generated images."""
LABELS = {
    "hair": ("hair", "hair color"),
    "clothes and hats": ("clothing", "clothing color", "graphic", "headwear", "headwear color"),
    "glasses and beards": ("glasses", "glasses color", "facial hair", "facial hair color"),
    "skin": ("skin",),
    "backgrounds and framing": ("background", "background color", "background color 2", "framing"),
    "robots and styles": ("robot color", "robot head", "robot top", "class", "style"),
    "eyes, mouths, faces": ("eyes", "mouth", "brows", "face"),
}
WORLD = Vocabulary.load()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.validate_trigger_probe", description=__doc__)
    parser.add_argument("--words", type=int, default=40, help="number of known and of rare words")
    given = parser.parse_args()
    vocabulary = dataclasses.replace(load_known_words("crumb"), taught=None)
    with Pipeline.open("crumb") as pipeline:
        rare = rare_words(pipeline.denoiser, vocabulary, given.words)
        taught = taught_words(given.words)
        began = time.perf_counter()
        asked = probed(pipeline.denoiser, ASKED, load_known_words("crumb"))
        print(f"{len(ASKED)} words in {time.perf_counter() - began:.0f} s", flush=True)
        found = {r.word: r for r in probed(pipeline.denoiser, [*rare, *taught], vocabulary).words}
        lines = [*_asked(asked), *_counted([found[w] for w in rare], [found[w] for w in taught]), *_seen(pipeline)]
    text = PAGE.read_text("utf-8")
    head, rest = text.split(BEGIN)
    body = "".join(f"{line}\n" for line in lines)
    print(f"wrote {write_text(PAGE, head + BEGIN + chr(10) * 2 + body + END + rest.split(END)[1])}")


def probed(model: Denoiser, words: Sequence[str], vocabulary: KnownWords) -> ProbeResult:
    """Probe all words with default settings; print a dot for each step."""
    found = result_of(probe_words(model, words, vocabulary, ProbeSpec()), lambda _: print(".", end="", flush=True))
    print(flush=True)
    return found


def rare_words(model: Denoiser, vocabulary: KnownWords, count: int) -> list[str]:
    """Return random strings of 3 to 5 consonants, from another random stream than the probe's."""
    rng = random.Random("tools.probe")
    drawn = ("".join(rng.choice(CONSONANTS) for _ in range(rng.randint(3, 5))) for _ in itertools.count())
    fit = (w for w in drawn if w not in vocabulary.parts and 1 <= model.token_count([w])[0] <= 5)
    return list(itertools.islice(dict.fromkeys(itertools.islice(fit, 2 * count)), count))


def taught_words(count: int) -> list[str]:
    """Return random tags of crumb's vocabulary, evenly over the groups."""
    tags = list(load_vocabulary("crumb").names())
    random.Random("tools.probe").shuffle(tags)
    by_group: dict[str, list[str]] = {}
    for tag in tags:
        by_group.setdefault(label(tag), []).append(tag)
    # In turn: two of three tags are about hair, and would hide the other groups.
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_group.values()))
    return list(itertools.islice((tag for tag in turns if tag), count))


def label(tag: str) -> str:
    """Return the name of a tag's group, as on the page."""
    group = next(iter(WORLD.atoms(tag)))
    return next(name for name, groups in LABELS.items() if group in groups)


def _asked(found: ProbeResult) -> Iterator[str]:
    heads = f"known words move it further than rare ones in {found.responsive_pairs} of {found.pairs} pairs"
    yield f"Words before `person` on crumb; {heads}."
    yield ""
    yield "| word | pieces | shift | of a known word's | reach | p | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for r in found.words:
        pieces = " ".join(piece.removesuffix("</w>") for piece in r.pieces)
        names = ", ".join(f"{k.word} {k.cosine:.2f}" for k in r.collides)
        verdict = f"{r.verdict}: {names}" if names else r.verdict
        yield f"| `{r.word}` | {pieces} | {r.shift:.4f} | {r.share:.0%} | {r.reach:.2f} | {r.p:.2f} | {verdict} |"
    yield ""


def _counted(rare: Sequence[WordResult], taught: Sequence[WordResult]) -> Iterator[str]:
    yield (
        f"{len(rare)} strings of consonants and {len(taught)} words that crumb was trained on, none of them a control; "
        "the probe is not told which is which:"
    )
    yield ""
    yield "| words | | free | weak | collides | known | reach, middle half |"
    yield "|---|---|---|---|---|---|---|"
    groups = {"strings of consonants": list(rare)}
    groups |= {name: [r for r in taught if label(r.word) == name] for name in LABELS}
    for name, results in groups.items():
        verdicts = Counter(r.verdict for r in results)
        cells = " | ".join(str(verdicts[v]) for v in ("free", "weak", "collides", "known"))
        reaches = sorted(r.reach for r in results)
        low, high = (reaches[round(q * (len(reaches) - 1))] for q in (0.25, 0.75))
        yield f"| {name} | {len(results)} | {cells} | {low:.2f} to {high:.2f} |"
    loud = [r for r in rare if r.verdict != "free"]
    yield ""
    yield f"Strings that are not free: {'; '.join(_loud(r) for r in loud) or 'none'}."
    yield ""


def _loud(r: WordResult) -> str:
    names = ", ".join(f"{k.word} {k.cosine:.2f}" for k in r.collides)
    return f"`{r.word}` {r.reach:.2f} ({names or r.verdict})"


def _seen(pipeline: Pipeline) -> Iterator[str]:
    """Yield the table of the tagger's attributes on generated images."""
    scorer = CrumbScorer.load()
    yield f"Tags that the tagger finds on {PICTURES} images of each:"
    yield ""
    yield f"| prompt | {' | '.join(SEEN)} |"
    yield f"|---|{'---|' * len(SEEN)}"
    for prompt in ("person", *(f"{word} person" for word in DRAWN)):
        images = [p.image for p in pipeline.txt2img(ImageRequest(prompt=prompt, seed=1, count=PICTURES, steps=8))]
        seen = scorer.attributes(images)
        cells = (" ".join(f"{v} {n / PICTURES:.0%}," for v, n in _usual(seen, group)).strip(",") for group in SEEN)
        yield f"| `{prompt}` | {' | '.join(cells)} |"
    yield ""


def _usual(seen: Sequence[dict[str, str]], group: str) -> list[tuple[str, int]]:
    return Counter(s.get(group, "-") for s in seen).most_common(3)


if __name__ == "__main__":
    main()
