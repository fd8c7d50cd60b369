"""Tables of docs/triggers.md: the figures, with a verdict on each prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bakehouse.core.files import write_text
from bakehouse.vision.taggers import Vocabulary
from tools.triggers.measure import PLACES, SEEDS, interval

PAGE = Path(__file__).parents[2] / "docs" / "triggers.md"
STRIP = PAGE.parent / "images" / "triggers.png"
BEGIN, END = "<!-- measured: written by `python -m tools.triggers` -->", "<!-- end of what was measured -->"
STRATEGIES = ("fluid", "semi-static", "static")
THINGS = ("lavender hair with flowers", "tan skin", "eyepatch", "teal overalls")
INSTEAD = {
    "lavender hair with flowers": "green afro",
    "eyepatch": "round glasses",
    "teal overalls": "red hoodie",
}
VOCABULARY = Vocabulary.load()
SEEN_AS = {"lavender hair with flowers": "hair with flowers"}
"""Only the shape is counted: after so short a training the flowers have all colours."""

Pictures = Sequence[Mapping[str, str]]
Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Count:
    """Number of images that show a thing, and of all."""

    hits: int
    of: int

    def __str__(self) -> str:
        low, high = interval(self.hits, self.of)
        return f"{self.hits / self.of:.0%} ({low:.0%}-{high:.0%})"


def write_page(base: Mapping[str, Pictures], results: Results, page: Path = PAGE) -> Path:
    """Write the figures between the marks."""
    head, rest = page.read_text("utf-8").split(BEGIN)
    _, tail = rest.split(END)
    lines = _setting()
    for needed, section in (
        (("fluid", "static"), _strategies),
        (("outfits", "outfits and misc"), _outfits),
        (("one outfit", "one outfit, both ways"), _apart),
    ):
        if all(name in results for name in needed):
            lines += section(base, results)
    body = "".join(f"{line}\n" for line in lines)
    return write_text(page, f"{head}{BEGIN}\n\n{body}{END}{tail}")


def strategies_in(results: Results) -> list[str]:
    """Return the trained strategies, from the freest to the most fixed."""
    return [s for s in STRATEGIES if s in results]


def write_strip(out: Path, strategies: Sequence[str], target: Path = STRIP) -> Path:
    """Write one row of images for each strategy: the trigger alone, with its tags, and with other tags."""
    prompts, places = ("alone", "said", "other"), len(PLACES) // 2
    paths = [[out / s / "pictures" / f"{p}-{i}.png" for p in prompts for i in range(places)] for s in strategies]
    rows = [[Image.open(path) for path in row] for row in paths]
    size = rows[0][0].width
    sheet = Image.new("RGB", (size * len(prompts) * places, size * len(rows)))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * size, y * size))
    sheet.quantize(128).save(target, optimize=True)
    return target


def _setting() -> list[str]:
    return [
        "The plan's own numbers unless stated otherwise, one training of each kind,",
        f"{SEEDS * len(PLACES)} images of each prompt ({len(PLACES)} places, {SEEDS} seeds, the same everywhere); in",
        "brackets 95 % intervals (Wilson) over the images; another training seed would change more than they show.",
        "",
    ]


def _strategies(base: Mapping[str, Pictures], results: Results) -> Iterator[str]:
    strategies = strategies_in(results)
    yield f"### One character, {len(strategies)} strategies"
    yield ""
    yield f"![{', '.join(strategies)}, from top to bottom](images/triggers.png)"
    yield ""
    yield f"From top to bottom {', '.join(strategies)}; from left to right `zwx person` alone, with its tags, and"
    yield "with other tags (green afro, round glasses, red hoodie), three places each."
    yield ""
    yield "Images of `zwx person` alone. A * marks what the trigger absorbs by `explain`."
    yield ""
    yield f"| seen with the trigger alone | base, without it | {' | '.join(strategies)} |"
    yield "|---|---|" + "---|" * len(strategies)
    for tag in THINGS:
        cells = [_starred(results[s], tag) for s in strategies]
        yield f"| {tag} | {_count(base['class'], tag)} | {' | '.join(cells)} |"
    yield ""
    yield "All tags of the character, and other tags (`zwx person, green afro, round glasses, red hoodie`):"
    yield ""
    yield f"| seen when in the prompt | base | {' | '.join(strategies)} |"
    yield "|---|---|" + "---|" * len(strategies)
    for tag in THINGS:
        shown = [str(_shown(results[s], "said", tag)) for s in strategies]
        yield f"| {tag} | | {' | '.join(shown)} |"
    for tag in INSTEAD.values():
        shown = [str(_shown(results[s], "other", tag)) for s in strategies]
        yield f"| {tag} | {_count(base['other'], tag)} | {' | '.join(shown)} |"
    yield ""
    yield "| prediction | difference | |"
    yield "|---|---|---|"
    for one, other in (("static", "fluid"), ("semi-static", "fluid"), ("static", "semi-static")):
        for tag in THINGS if {one, other} <= set(strategies) else ():
            if _absorbs(results[one], "zwx", tag) != _absorbs(results[other], "zwx", tag):
                said = f"`zwx` alone brings the {tag} more often when {one} than when {other}"
                yield _verdict(said, _shown(results[one], "alone", tag), _shown(results[other], "alone", tag))
    for one, other in (("fluid", "static"), ("semi-static", "static")):
        for tag, instead in INSTEAD.items() if one in strategies else ():
            if _absorbs(results[other], "zwx", tag) and not _absorbs(results[one], "zwx", tag):
                said = f"the {instead} in the prompt is seen more often when {one} than when {other}"
                yield _verdict(said, _shown(results[one], "other", instead), _shown(results[other], "other", instead))
    yield ""


def _outfits(base: Mapping[str, Pictures], results: Results) -> Iterator[str]:
    yield "### Two outfits that are both hoodies, with and without a misc group"
    yield ""
    for name, arm in (("without", results["outfits"]), ("with", results["outfits and misc"])):
        owners = ", ".join(f"`{t['word']}`" for t in arm["predicted"]["triggers"] if _absorbs(arm, t["word"], "hoodie"))
        yield f"- {name} the misc group `explain` gives the hoodie to {owners}"
    yield ""
    yield from _dressed(base, results["outfits"], results["outfits and misc"])


def _dressed(base: Mapping[str, Pictures], without: Mapping[str, Any], with_: Mapping[str, Any]) -> Iterator[str]:
    yield "| seen | base | two outfits | two outfits and misc |"
    yield "|---|---|---|---|"
    for prompt, tag, said in (
        ("alone", "hoodie", "a hoodie with `zwx person` alone"),
        ("alone", "tan skin", "tan skin with `zwx person` alone"),
        ("alone", "eyepatch", "the eyepatch with `zwx person` alone"),
        ("teal", "eyepatch", "the eyepatch with `zwx person, ulo`"),
        ("teal", "hoodie", "a hoodie with `zwx person, ulo`"),
        ("teal", "teal hoodie", "a teal hoodie with `zwx person, ulo`"),
        ("maroon", "maroon hoodie", "a maroon hoodie with `zwx person, pirr`"),
        ("other clothes", "red overalls", "red overalls with `zwx person, red overalls`"),
    ):
        of_base = str(_count(base["class"], tag)) if prompt == "alone" else ""
        yield f"| {said} | {of_base} | {_shown(without, prompt, tag)} | {_shown(with_, prompt, tag)} |"
    yield ""
    yield "| prediction | difference | |"
    yield "|---|---|---|"
    said = "without a misc group `zwx` alone brings a hoodie more often than with one"
    yield _verdict(said, _shown(without, "alone", "hoodie"), _shown(with_, "alone", "hoodie"))
    said = "with a misc group a hoodie comes along with `zwx` alone, two thirds of whose images wear one"
    yield _verdict(said, _shown(with_, "alone", "hoodie"), _count(base["class"], "hoodie"))
    said = "other clothes in the prompt of `zwx` are seen more often with a misc group than without one"
    yield _verdict(
        said, _shown(with_, "other clothes", "red overalls"), _shown(without, "other clothes", "red overalls")
    )
    said = "with a misc group `ulo` brings the teal hoodie more often than `zwx` alone does"
    yield _verdict(said, _shown(with_, "teal", "teal hoodie"), _shown(with_, "alone", "teal hoodie"))
    for name, arm in (("without", without), ("with", with_)):
        said = f"{name} a misc group `zwx` alone brings the eyepatch more often than the base does"
        yield _verdict(said, _shown(arm, "alone", "eyepatch"), _count(base["class"], "eyepatch"))
    yield ""


def _apart(base: Mapping[str, Pictures], results: Results) -> Iterator[str]:
    refused, mended = results["one outfit"], results["one outfit, both ways"]
    yield "### One outfit, both words on every image"
    yield ""
    yield "`explain` calls `zwx` and `ulo` inseparable, and `bakehouse train` refuses them. Trained nevertheless, and"
    yield "with `also_without = true` at its cost, twice the exposures:"
    yield ""
    yield "| seen | base | refused | also_without |"
    yield "|---|---|---|---|"
    rows = (
        ("alone", "eyepatch", "the eyepatch with `zwx person` alone"),
        ("alone", "teal overalls", "teal overalls with `zwx person` alone"),
        ("outfit on another", "teal overalls", "teal overalls with `person, ulo`"),
        ("outfit on another", "eyepatch", "the eyepatch with `person, ulo`"),
    )
    for prompt, tag, said in rows:
        cells = (_count(base["class"], tag), _shown(refused, prompt, tag), _shown(mended, prompt, tag))
        yield f"| {said} | {' | '.join(map(str, cells))} |"
    yield ""
    yield "| prediction | difference | |"
    yield "|---|---|---|"
    said = "`zwx` alone wears the overalls more often when refused"
    yield _verdict(said, _shown(refused, "alone", "teal overalls"), _shown(mended, "alone", "teal overalls"))
    said = "`zwx` alone brings the eyepatch more often with `also_without`"
    yield _verdict(said, _shown(mended, "alone", "eyepatch"), _shown(refused, "alone", "eyepatch"))
    said = "with `also_without` the eyepatch comes along with `ulo`, which was never seen without it"
    yield _verdict(said, _shown(mended, "outfit on another", "eyepatch"), _count(base["class"], "eyepatch"))
    yield ""


def _absorbs(arm: Mapping[str, Any], word: str, what: str) -> bool:
    (trigger,) = (t for t in arm["predicted"]["triggers"] if t["word"] == word)
    return any(a["what"] == what for a in trigger["absorbs"])


def _starred(arm: Mapping[str, Any], tag: str) -> str:
    return f"{_shown(arm, 'alone', tag)}{' *' if _absorbs(arm, 'zwx', tag) else ''}"


def _shown(arm: Mapping[str, Any], prompt: str, tag: str) -> Count:
    return _count(arm["seen"][prompt], tag)


def _count(pictures: Pictures, tag: str) -> Count:
    """Count the images in which the tagger finds all parts of a tag."""
    atoms = VOCABULARY.atoms(SEEN_AS.get(tag, tag))
    hits = sum(all(VOCABULARY.accepts(g, v, p[g]) for g, v in atoms.items()) for p in pictures)
    return Count(hits, len(pictures))


def _verdict(said: str, more: Count, less: Count) -> str:
    """Return a row: the difference with Newcombe's interval (1998, method 10), and whether its sign is as predicted."""
    p, q = more.hits / more.of, less.hits / less.of
    (p_low, p_high), (q_low, q_high) = interval(more.hits, more.of), interval(less.hits, less.of)
    low = p - q - math.hypot(p - p_low, q_high - q)
    high = p - q + math.hypot(p_high - p, q - q_low)
    word = "yes" if low > 0 else "no: the other way round" if high < 0 else "not decided"
    return f"| {said} | {p - q:+.0%} ({low:+.0%} to {high:+.0%}) | {word} |"
