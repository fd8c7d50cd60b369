"""Probe of words on a base model: measure each against rare and known words, and propose better ones."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated

from pydantic import Field

from bakehouse.core.errors import Problems
from bakehouse.core.events import Event, Progress
from bakehouse.core.message_text import counted
from bakehouse.core.settings import Spec
from bakehouse.data.tag_groups import plain
from bakehouse.evaluation.trigger_probe.control_words import CONSONANTS, MAX_TOKENS, ControlWords
from bakehouse.evaluation.trigger_probe.known_words import KnownWords
from bakehouse.evaluation.trigger_probe.nearest_words import NearestWords
from bakehouse.evaluation.trigger_probe.prediction_shift import PredictionShifts
from bakehouse.evaluation.trigger_probe.probe_result import (
    COLLIDES_COSINE,
    RESPONSIVE_SHARE,
    ProbeResult,
    ShiftScale,
    SimilarWord,
    WordResult,
    classify,
    explain,
)
from bakehouse.models.denoiser import Denoiser

_CANDIDATES = 8
"""Nearest words in the text encoder's space whose effect on the prediction is compared with a word's."""
_SHOWN = 3
_PROPOSALS = 3
_PROPOSAL_TOKENS = 3
"""Tokens of a proposal if no probed word has 2 to this many: a string of single letters is never a word."""
_PROPOSAL_LETTERS = range(3, 6)
_PROMPT_TOKENS = 75


class ProbeSpec(Spec):
    """Settings of a probe. The defaults separate crumb's words; larger numbers give narrower figures."""

    class_word: str = "person"
    """The class word, before which words are put. Empty: words are probed alone."""
    noises: Annotated[int, Field(ge=1, le=256)] = 4
    """Number of initial noises, each denoised to three timesteps at which predictions are compared."""
    rare: Annotated[int, Field(ge=4, le=256)] = 20
    """Number of rare control words of as many tokens for each word; p is at least 1 / (rare + 1)."""
    known: Annotated[int, Field(ge=4, le=256)] = 12
    """Number of known control words."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of noises and control words."""


@dataclass(frozen=True)
class _Probe:
    """What every word is measured with."""

    model: Denoiser
    vocabulary: KnownWords
    spec: ProbeSpec
    controls: ControlWords
    shifts: PredictionShifts
    nearest: NearestWords

    def token_count(self, word: str) -> int:
        return self.controls.token_count(word)

    def scale(self, word: str) -> ShiftScale:
        rare, known = self._controls_of(word)
        return ShiftScale([self.shifts.measure(w) for w in rare], [self.shifts.measure(w) for w in known])

    def not_cached(self, words: Iterable[str]) -> list[str]:
        """Return every word whose shift is needed and not cached, each once."""
        needed = [w for pair in self.controls.pairs() for w in pair]
        for word in words:
            rare, known = self._controls_of(word)
            needed += [word, *rare, *known]
        return [w for w in dict.fromkeys(needed) if not self.shifts.is_cached(w)]

    def _controls_of(self, word: str) -> tuple[list[str], list[str]]:
        return self.controls.rare(self.token_count(word), exclude=word), self.controls.known(exclude=word)


def probe_words(
    model: Denoiser, words: Sequence[str], vocabulary: KnownWords, spec: ProbeSpec | None = None, *, clip_skip: int = 1
) -> Generator[Event, None, ProbeResult]:
    """Measure whether a base knows words; the result of one does not depend on the others.

    The measure is that of the noise-space test for memorized prompts (Wen et al. 2024, arXiv:2407.21720), with another
    word in place of the empty prompt: the RMS of prediction(word class) - prediction(class) on partly denoised latents.

    Args:
        model: the base, in single precision if possible: rare words shift it by less than half a percent.
        words: tags of one or several words; duplicates are probed once.
        vocabulary: what the base knows, see `load_known_words`.
        spec: settings; None: the defaults.
        clip_skip: as A1111 counts it.

    Raises:
        Problems: words that cannot be triggers, all of them.
    """
    spec = spec or ProbeSpec()
    cleaned = _cleaned(model, words, spec)
    probe = _make_probe(model, vocabulary, spec, clip_skip)
    with probe.shifts.saving_cache():
        yield from _measure(probe, "measuring words", probe.not_cached(cleaned))
        pairs = probe.controls.pairs()
        further = sum(probe.shifts.measure(known) > probe.shifts.measure(rare) for known, rare in pairs)
        responsive = further >= RESPONSIVE_SHARE * len(pairs) and further > 0
        results = []
        for i, word in enumerate(cleaned):
            yield Progress(what="comparing with known words", done=i, total=len(cleaned))
            results.append(_result(probe, word, responsive=responsive))
        yield Progress(what="comparing with known words", done=len(cleaned), total=len(cleaned))
        better: tuple[str, ...] = ()
        if responsive and any(r.verdict != "free" for r in results):
            better = yield from _propose(probe, cleaned)
    rare = tuple(probe.controls.rare(2))
    return ProbeResult(model.name, spec.class_word, vocabulary.name, further, len(pairs), rare, tuple(results), better)


def _make_probe(model: Denoiser, vocabulary: KnownWords, spec: ProbeSpec, clip_skip: int) -> _Probe:
    @cache
    def token_count(word: str) -> int:
        return model.token_count([word])[0]

    controls = ControlWords(vocabulary, token_count, model.single_token_words(), spec.rare, spec.known, spec.seed)
    shifts = PredictionShifts(
        model, class_word=spec.class_word, noises=spec.noises, seed=spec.seed, clip_skip=clip_skip
    )
    nearest = NearestWords(model, vocabulary, class_word=spec.class_word, clip_skip=clip_skip)
    return _Probe(model, vocabulary, spec, controls, shifts, nearest)


def _cleaned(model: Denoiser, words: Sequence[str], spec: ProbeSpec) -> list[str]:
    """Return the words with single spaces, each once.

    Raises:
        Problems: no words, or some that are not tags.
    """
    found = list(dict.fromkeys(" ".join(word.split()) for word in words))
    problems = [] if found else ["no word is given"]
    for word, tokens in zip(found, model.token_count(found), strict=True):
        if "," in word:
            problems.append(f"{word!r} contains a comma: a trigger is one tag")
        elif not 1 <= tokens <= MAX_TOKENS:
            problems.append(f"{word!r} has {counted(tokens, 'token')}: allowed are 1 to {MAX_TOKENS}")
    class_tokens = model.token_count([spec.class_word])[0]
    if class_tokens > _PROMPT_TOKENS - MAX_TOKENS:
        problems.append(
            f"the class word {spec.class_word!r} has {class_tokens} tokens: at most {_PROMPT_TOKENS - MAX_TOKENS}"
        )
    if problems:
        raise Problems("these words cannot be probed:", problems, hint='write each as one argument: zwx "red hair"')
    return found


def _measure(probe: _Probe, what: str, words: Sequence[str]) -> Generator[Event, None, None]:
    for i, word in enumerate(words):
        yield Progress(what=what, done=i, total=len(words))
        probe.shifts.measure(word)
    if words:
        yield Progress(what=what, done=len(words), total=len(words))


def _result(probe: _Probe, word: str, *, responsive: bool) -> WordResult:
    """Return all figures of a word; collisions are only searched if it is not free."""
    shift, scale = probe.shifts.measure(word), probe.scale(word)
    near = probe.nearest.nearest(word, _CANDIDATES)
    class_word = probe.spec.class_word
    taught = probe.vocabulary.knows(word) or (bool(class_word) and plain(word) == plain(class_word))
    result = WordResult(
        word=word,
        verdict=classify(scale.reach(shift), taught=taught, responsive=responsive),
        why="",
        pieces=tuple(probe.model.tokens([word])[0]),
        shift=shift,
        share=scale.share(shift),
        reach=scale.reach(shift),
        p=scale.p(shift),
        nearest=near[:_SHOWN],
    )
    if result.verdict not in ("free", "unclear"):
        collides = () if taught else _collisions(probe, word, near)
        verdict = classify(result.reach, taught=taught, responsive=responsive, collides=collides)
        result = replace(result, verdict=verdict, collides=collides, class_cosine=_class_cosine(probe, word))
    names = {"base": probe.model.name, "class_word": class_word, "vocabulary": probe.vocabulary.name}
    return replace(result, why=explain(result, **names, taught=taught))


def _collisions(probe: _Probe, word: str, candidates: Sequence[SimilarWord]) -> tuple[SimilarWord, ...]:
    """Return the candidates that move the prediction in the word's direction, the most similar first."""
    shifts, difference = probe.shifts, probe.shifts.difference(word)
    found = [SimilarWord(c.word, shifts.cosine(difference, shifts.difference(c.word))) for c in candidates]
    similar = sorted((c for c in found if c.cosine >= COLLIDES_COSINE), key=lambda c: -c.cosine)
    return tuple(similar[:_SHOWN])


def _class_cosine(probe: _Probe, word: str) -> float | None:
    """Return the cosine between the effects of the word alone and the class word alone, relative to no prompt."""
    if not probe.spec.class_word:
        return None
    empty, of_class = probe.shifts.prediction(""), probe.shifts.prediction(probe.spec.class_word)
    return probe.shifts.cosine(probe.shifts.prediction(word) - empty, of_class - empty)


def _propose(probe: _Probe, words: Sequence[str]) -> Generator[Event, None, tuple[str, ...]]:
    """Return free words with the smallest shifts: short strings of consonants among the rare words."""
    probed = {plain(w) for w in words}
    counts = {n for n in map(probe.token_count, words) if 1 < n <= _PROPOSAL_TOKENS} or {_PROPOSAL_TOKENS}
    found = [w for n in sorted(counts) for w in probe.controls.rare(n) if _is_short(w) and w not in probed]
    yield from _measure(probe, "looking for better words", probe.not_cached(found))
    reaches = {w: probe.scale(w).reach(probe.shifts.measure(w)) for w in found}
    free = [w for w in found if classify(reaches[w], taught=probe.vocabulary.knows(w), responsive=True) == "free"]
    return tuple(sorted(free, key=lambda w: (probe.shifts.measure(w), w))[:_PROPOSALS])


def _is_short(word: str) -> bool:
    return len(word) in _PROPOSAL_LETTERS and set(word) <= set(CONSONANTS)
