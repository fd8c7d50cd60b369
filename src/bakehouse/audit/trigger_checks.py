"""D: triggers. Whether captions have their triggers, and the findings of `triggers explain`."""

from __future__ import annotations

import glob
import posixpath
from collections.abc import Callable, Iterable

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import CheckFinding, percent, quote_argument
from bakehouse.audit.facts import Facts
from bakehouse.captions.triggers.findings import ALWAYS_CAPTIONED
from bakehouse.core.checks import Level
from bakehouse.core.files import file_exists
from bakehouse.core.message_text import counted, listed
from bakehouse.data.captions import split_tags
from bakehouse.data.compile_captions import RAW_SUFFIX
from bakehouse.data.tag_groups import group_of, plain
from bakehouse.data.tag_vocabulary import ListedVocabulary, load_vocabulary
from bakehouse.data.tags import key
from bakehouse.data.triggers import Trigger

_LEVELS: dict[str, Level] = {"error": "error", "warning": "warning", "note": "info"}
_PEOPLE_COUNTS = frozenset({"1girl", "1boy", "2girls", "2boys", "1other", "multiple girls", "multiple boys", "couple"})


def missing_triggers(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """D01: captions without their trigger, or with it in the wrong place."""
    if facts.triggers.problems:
        why = f"the declared triggers do not fit the images: {'; '.join(facts.triggers.problems)}"
        yield CheckFinding(
            why, key="unfit", fix="", advice="correct the folders and tags where the triggers are declared"
        )
    if facts.triggers.problems or spec.compiled:
        return
    for trigger in spec.triggers:
        yield from _coverage(facts, trigger, spec)
    if spec.keep_tokens:
        yield from _leading_triggers(facts, spec)


def _add_command(facts: Facts, spec: AuditSpec, trigger: Trigger, own: Iterable[str]) -> str | None:
    """Return the command that adds a trigger to the captions of its `own` images; None: the check's (compile)."""
    own = tuple(own)
    if spec.declared:
        # A compiled caption without its trigger was edited by hand: compiling keeps it unless told to overwrite.
        again = any(file_exists((facts.root / name).with_suffix(RAW_SUFFIX)) for name in own)
        return "bakehouse captions compile {folder} --overwrite" if again else None
    pattern = ""
    if len(spec.triggers) > 1 or facts.class_images:
        # A trigger in the caption of a class image would make it mean the class.
        inside, reg = _common_folder(own), _common_folder(i.name for i in facts.class_images)
        pattern = f"{inside}/*" if inside else f"!{reg}/*" if reg else ""
    path = f" --path {quote_argument(pattern)}" if pattern else ""
    return f"bakehouse captions edit {{folder}} --add {quote_argument(trigger.head)}{path}"


def _common_folder(names: Iterable[str]) -> str:
    """Return the innermost folder that holds all of these files, as a pattern; empty for the dataset's own."""
    folders = [posixpath.dirname(name) for name in names]
    return glob.escape(posixpath.commonpath(folders)) if all(folders) and folders else ""


def _coverage(facts: Facts, trigger: Trigger, spec: AuditSpec) -> Iterable[CheckFinding]:
    names = {i.path: i.name for i in facts.train_images}
    # Images without a caption are left to C01: the training captions them with the subject.
    captioned = [c for c in facts.triggers.compiled if any(line.strip() for line in c.record.captions)]
    own = [c.record for c in captioned if any(trigger.word in w.triggers for w in c.wordings)]
    lacking = tuple(names[r.path] for r in own if not any(_has_trigger(line, trigger) for line in r.captions))
    if lacking:
        share = percent(1 - len(lacking) / len(own))
        captions = f"the captions of its {counted(len(own), 'image')}"
        own_files = [names[r.path] for r in own]
        why = f"{trigger.word!r} is in {share} of {captions}; {len(lacking)} without it"
        yield CheckFinding(why, lacking, key=trigger.word, fix=_add_command(facts, spec, trigger, own_files))


def _has_trigger(line: str, trigger: Trigger) -> bool:
    words = f" {plain(line.replace(',', ' ').replace('|||', ' '))} "
    return f" {plain(trigger.word)} " in words


def _leading_triggers(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """Yield the images that do not begin with exactly `keep_tokens` triggers."""
    names = {i.path: i.name for i in facts.train_images}
    words = {plain(w) for t in spec.triggers for w in (t.word, t.head)}
    wrong: dict[str, str] = {}
    for one in facts.triggers.compiled:
        for line in one.record.captions:
            leading = _leading(line, words, spec.mark)
            if leading != spec.keep_tokens:
                wrong[names[one.record.path]] = f"{counted(leading, 'trigger')} at the beginning"
    if wrong:
        why = f"keep_tokens = {spec.keep_tokens}, and {counted(len(wrong), 'caption')} beginning with another number"
        most = len(spec.triggers)
        fix: str | None = ""
        advice = "put the triggers of each concept first: bakehouse captions edit FOLDER --add WORD --path 'CONCEPT/*'"
        if spec.keep_tokens > most:
            advice = f"set the recipe's captions.keep_tokens to at most {most}, the number of triggers"
        elif most == 1:
            fix, advice = _add_command(facts, spec, spec.triggers[0], wrong), ""
        yield CheckFinding(f"{why} of triggers", tuple(wrong), wrong, key="keep_tokens", fix=fix, advice=advice)


def _leading(line: str, words: set[str], mark: str) -> int:
    tags = split_tags(line.split(mark)[0] if mark and mark in line else line)
    count = 0
    while count < len(tags) and plain(tags[count]) in words:
        count += 1
    return count


def from_explain(number: str) -> Callable[[Facts, AuditSpec], Iterable[CheckFinding]]:
    """Return a check that yields the findings of `triggers explain` with one id."""

    def check(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
        for finding in facts.triggers.explanation.findings if facts.triggers.explanation else ():
            if finding.id == number:
                remedies = "; or ".join(f"{r.action} ({r.setting})" for r in finding.remedies)
                level, key_ = _LEVELS[finding.level], " ".join(finding.triggers)
                yield CheckFinding(finding.message, level=level, key=key_, advice=remedies or None)

    return check


def correlated_tags(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """D04: tags in nearly every caption of a trigger (by `triggers explain`), and tags in many of them."""
    yield from from_explain("D04")(facts, spec)
    for trigger in spec.triggers:
        shares = facts.triggers.captioned.get(trigger.word, {})
        low, high = spec.limits.fused, ALWAYS_CAPTIONED
        often = {t: share for t, share in shares.items() if low <= share < high and group_of(t) is None}
        if often:
            tags = listed([f"{tag!r} ({percent(share)})" for tag, share in sorted(often.items())])
            why = f"{tags} in many captions of {trigger.word!r}: it will appear with the trigger unprompted"
            yield CheckFinding(why, key=f"{trigger.word} often")


def strategies(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """D07: the strategy that a trigger's captions amount to, beside the one it declares.

    Triggers given on the command line declare none.
    """
    if not (spec.declared or spec.compiled):
        return
    for one in facts.triggers.explanation.triggers if facts.triggers.explanation else ():
        if one.effective_strategy:
            differs = one.strategy in ("fluid", "semi-static", "static") and one.effective_strategy != one.strategy
            why = f"{one.word!r} is declared {one.strategy}; its captions amount to {one.effective_strategy}"
            advice = f"in triggers.toml, set strategy = {one.effective_strategy!r}, or change `absorbs` and `keeps`"
            yield CheckFinding(
                why, level="warning" if differs else "info", key=one.word, advice=advice if differs else ""
            )


def known_words(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """D08: triggers that are words of captions (by `triggers explain`) or of the base model's vocabulary."""
    yield from from_explain("D08")(facts, spec)
    if not spec.vocabulary:
        return
    known = load_vocabulary(spec.vocabulary)
    people = set()
    if isinstance(known, ListedVocabulary):
        people = {k.split(" (")[0] for k, entry in known.entries.items() if entry.category == "character"}
    for trigger in spec.triggers:
        if known.knows(trigger.word):
            why = f"{trigger.word!r} is a tag that the base model knows: its meaning mixes with the subject"
            yield CheckFinding(why, key=trigger.word)
        elif inside := sorted({key(w) for w in trigger.word.replace("-", "_").split("_")} & people):
            why = f"{trigger.word!r} contains {listed(inside)}, a character that the base model knows"
            yield CheckFinding(why, key=trigger.word)


def characters_together(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """D09: packs of several characters without images of them together."""
    people = [t for t in spec.triggers if t.kind == "character"]
    if len(people) < 2 or facts.triggers.problems:
        return
    names = {i.path: i.name for i in facts.train_images}
    words = {t.word for t in people}
    both = [c for c in facts.triggers.compiled if any(len(words & set(w.triggers)) > 1 for w in c.wordings)]
    if not both:
        why = f"no image shows two of {listed(sorted(words))} together: prompts with both will mix them"
        advice = f"find {spec.limits.pack_images} or more images of them together, with both triggers in their captions"
        yield CheckFinding(why, key="none", advice=advice)
    counting = {
        names[c.record.path]: listed(
            [t for line in c.record.captions for t in split_tags(line) if plain(t) in _PEOPLE_COUNTS]
        )
        for c in both
    }
    counting = {name: note for name, note in counting.items() if note}
    if counting:
        why = f"{counted(len(counting), 'caption')} of several characters with tags that count people"
        tags = " ".join(f"--remove {quote_argument(tag)}" for tag in sorted(_PEOPLE_COUNTS & _tags_of(counting)))
        fix = f"bakehouse captions edit {{folder}} {tags}"
        yield CheckFinding(
            f"{why}: these absorb a part of the characters", tuple(counting), counting, key="counts", fix=fix
        )


def _tags_of(notes: dict[str, str]) -> set[str]:
    return {plain(tag) for note in notes.values() for tag in note.split(", ")}
