"""Probes words: measures each against rare words and known ones, and finds better ones where it is taken."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated

from pydantic import Field

from bakehouse.core.errors import Problems
from bakehouse.core.events import Event, Progress
from bakehouse.core.settings import Spec
from bakehouse.data.tag_groups import plain
from bakehouse.evaluation.trigger_probe.control_words import CONSONANTS, MOST_PIECES, Controls
from bakehouse.evaluation.trigger_probe.known_words import Bank
from bakehouse.evaluation.trigger_probe.nearest_words import Neighbours
from bakehouse.evaluation.trigger_probe.prediction_shift import Shifts
from bakehouse.evaluation.trigger_probe.probe_result import (
    COLLIDES_FROM,
    HEEDS_FROM,
    Kin,
    Probe,
    Reading,
    Scale,
    explain,
    judge,
)
from bakehouse.models.denoiser import Denoiser

_SUSPECTS = 8
"""Text-encoder neighbours whose effect on the prediction is compared with a word's."""
_SHOWN = 3
_BETTER = 3
_BETTER_PIECES = 3
"""Of proposals where nothing rarer was measured: letters one by one are never a word."""
_BETTER_LETTERS = range(3, 6)
_ROOM = 75
"""Tokens of a prompt."""


class ProbeSpec(Spec):
    """How words are probed. The defaults tell crumb's words apart; more of each narrows the figures."""

    class_word: str = "person"
    """What the base calls such a thing; words are put before it. Empty: words are probed alone."""
    noises: Annotated[int, Field(ge=1, le=256)] = 4
    """Half-made pictures of the class on which predictions are compared, each at three timesteps."""
    rare: Annotated[int, Field(ge=4, le=256)] = 20
    """Rare words of as many pieces that each word is held against; p cannot be less than 1 / (rare + 1)."""
    known: Annotated[int, Field(ge=4, le=256)] = 12
    """Known words."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of noises and of the words drawn."""


@dataclass(frozen=True)
class _Tools:
    """What every word is measured with."""

    model: Denoiser
    bank: Bank
    spec: ProbeSpec
    controls: Controls
    shifts: Shifts
    neighbours: Neighbours

    def pieces(self, word: str) -> int:
        return self.controls.pieces(word)

    def scale(self, word: str) -> Scale:
        rare, known = self.controls.rare(self.pieces(word), but=word), self.controls.known(but=word)
        return Scale([self.shifts.of(w) for w in rare], [self.shifts.of(w) for w in known])

    def needed(self, words: Iterable[str]) -> list[str]:
        """Every word whose shift will be asked for, each once, without those that were measured before."""
        asked = [w for pair in self.controls.pairs() for w in pair]
        for word in words:
            asked += [word, *self.controls.rare(self.pieces(word), but=word), *self.controls.known(but=word)]
        return [w for w in dict.fromkeys(asked) if not self.shifts.knows(w)]


def probe_words(
    model: Denoiser, words: Sequence[str], bank: Bank, spec: ProbeSpec | None = None, *, clip_skip: int = 1
) -> Generator[Event, None, Probe]:
    """Says of each word whether a base knows it; what it says of one does not depend on the others.

    The measure is that of the noise-space test for memorised prompts (Wen et al. 2024, arXiv:2407.21720), with another
    word in the place of no word: RMS over half-made pictures of prediction(word class) - prediction(class).

    Args:
        model: the base, in single precision where it can be: rare words move it by less than half a percent.
        words: tags, one or several words each; doubles are probed once.
        bank: what the base knows, see `bank_of`.
        spec: how; left out: the defaults.
        clip_skip: as A1111 counts it.

    Raises:
        Problems: words that cannot be triggers, all at once.
    """
    spec = spec or ProbeSpec()
    cleaned = _cleaned(model, words, spec)
    tools = _tools(model, bank, spec, clip_skip)
    with tools.shifts.remembering():
        yield from _measure(tools, "measuring words", tools.needed(cleaned))
        pairs = tools.controls.pairs()
        heeded = sum(tools.shifts.of(known) > tools.shifts.of(rare) for known, rare in pairs)
        heeds = heeded >= HEEDS_FROM * len(pairs) and heeded > 0
        readings = []
        for i, word in enumerate(cleaned):
            yield Progress(what="comparing with known words", done=i, total=len(cleaned))
            readings.append(_read(tools, word, heeds=heeds))
        yield Progress(what="comparing with known words", done=len(cleaned), total=len(cleaned))
        better: tuple[str, ...] = ()
        if heeds and any(r.verdict != "free" for r in readings):
            better = yield from _better(tools, cleaned)
    rare = tuple(tools.controls.rare(2))
    return Probe(model.name, spec.class_word, bank.name, heeded, len(pairs), rare, tuple(readings), better)


def _tools(model: Denoiser, bank: Bank, spec: ProbeSpec, clip_skip: int) -> _Tools:
    @cache
    def pieces(word: str) -> int:
        return model.token_count([word])[0]

    controls = Controls(bank, pieces, model.single_token_words(), spec.rare, spec.known, spec.seed)
    shifts = Shifts(model, class_word=spec.class_word, noises=spec.noises, seed=spec.seed, clip_skip=clip_skip)
    return _Tools(
        model, bank, spec, controls, shifts, Neighbours(model, bank, class_word=spec.class_word, clip_skip=clip_skip)
    )


def _cleaned(model: Denoiser, words: Sequence[str], spec: ProbeSpec) -> list[str]:
    """The words with single spaces, each once.

    Raises:
        Problems: none, or some that are no tags.
    """
    found = list(dict.fromkeys(" ".join(word.split()) for word in words))
    problems = [] if found else ["no word is given"]
    for word, tokens in zip(found, model.token_count(found), strict=True):
        if "," in word:
            problems.append(f"{word!r} has a comma: a trigger is one tag")
        elif not 1 <= tokens <= MOST_PIECES:
            problems.append(f"{word!r} is {tokens} pieces to the tokenizer: allowed are 1 to {MOST_PIECES}")
    taken = model.token_count([spec.class_word])[0]
    if taken > _ROOM - MOST_PIECES:
        problems.append(f"the class {spec.class_word!r} has {taken} tokens: at most {_ROOM - MOST_PIECES}")
    if problems:
        raise Problems("these words cannot be probed:", problems, hint='name them one by one: zwx "red hair"')
    return found


def _measure(tools: _Tools, what: str, words: Sequence[str]) -> Generator[Event, None, None]:
    for i, word in enumerate(words):
        yield Progress(what=what, done=i, total=len(words))
        tools.shifts.of(word)
    if words:
        yield Progress(what=what, done=len(words), total=len(words))


def _read(tools: _Tools, word: str, *, heeds: bool) -> Reading:
    """One word, all its figures; its kin only where it is not free."""
    shift, scale = tools.shifts.of(word), tools.scale(word)
    near = tools.neighbours.near(word, _SUSPECTS)
    taught = tools.bank.knows(word) or (bool(tools.spec.class_word) and plain(word) == plain(tools.spec.class_word))
    reading = Reading(
        word=word,
        verdict=judge(scale.reach(shift), taught=taught, heeds=heeds),
        why="",
        pieces=tuple(tools.model.tokens([word])[0]),
        shift=shift,
        share=scale.share(shift),
        reach=scale.reach(shift),
        p=scale.p(shift),
        neighbours=near[:_SHOWN],
    )
    if reading.verdict not in ("free", "unclear"):
        kin = () if taught else _kin(tools, word, near)
        verdict = judge(reading.reach, taught=taught, heeds=heeds, collides=kin)
        reading = replace(reading, verdict=verdict, collides=kin, of_class=_of_class(tools, word))
    told = {"base": tools.model.name, "class_word": tools.spec.class_word, "vocabulary": tools.bank.name}
    return replace(reading, why=explain(reading, **told, taught=taught))


def _kin(tools: _Tools, word: str, suspects: Sequence[Kin]) -> tuple[Kin, ...]:
    """Which of the suspects move the prediction as the word does, the most alike first."""
    moved = tools.shifts.direction(word)
    found = [Kin(k.word, tools.shifts.likeness(moved, tools.shifts.direction(k.word))) for k in suspects]
    alike = sorted((k for k in found if k.cosine >= COLLIDES_FROM), key=lambda k: -k.cosine)
    return tuple(alike[:_SHOWN])


def _of_class(tools: _Tools, word: str) -> float | None:
    """How alike the word alone and the class word alone are, both against an empty prompt."""
    if not tools.spec.class_word:
        return None
    empty, of_class = tools.shifts.prediction(""), tools.shifts.prediction(tools.spec.class_word)
    return tools.shifts.likeness(tools.shifts.prediction(word) - empty, of_class - empty)


def _better(tools: _Tools, words: Sequence[str]) -> Generator[Event, None, tuple[str, ...]]:
    """Free words, the quietest first: short strings of consonants among the rare words."""
    asked = {plain(w) for w in words}
    pools = {p for p in map(tools.pieces, words) if 1 < p <= _BETTER_PIECES} or {_BETTER_PIECES}
    found = [w for p in sorted(pools) for w in tools.controls.rare(p) if _is_short(w) and w not in asked]
    yield from _measure(tools, "looking for better words", tools.needed(found))
    reaches = {w: tools.scale(w).reach(tools.shifts.of(w)) for w in found}
    free = [w for w in found if judge(reaches[w], taught=tools.bank.knows(w), heeds=True) == "free"]
    return tuple(sorted(free, key=lambda w: (tools.shifts.of(w), w))[:_BETTER])


def _is_short(word: str) -> bool:
    return len(word) in _BETTER_LETTERS and set(word) <= set(CONSONANTS)
