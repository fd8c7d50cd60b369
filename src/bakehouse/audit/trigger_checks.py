"""D: triggers. Whether each word stands where it should, and what `triggers explain` says of what they will absorb."""

from __future__ import annotations

import glob
import posixpath
from collections.abc import Callable, Iterable

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import Hit, Level, percent, quoted
from bakehouse.audit.image_facts import Facts
from bakehouse.captions.triggers.findings import ALWAYS
from bakehouse.core.files import file_exists
from bakehouse.core.pluralize import counted, listed
from bakehouse.data.captions import split_tags
from bakehouse.data.tag_groups import group_of, plain
from bakehouse.data.tag_vocabulary import ListedVocabulary, load_vocabulary
from bakehouse.data.tags import key
from bakehouse.data.triggers import RAW_SUFFIX, Trigger

_LEVELS: dict[str, Level] = {"error": "error", "warning": "warning", "note": "info"}
_COUNTS = frozenset({"1girl", "1boy", "2girls", "2boys", "1other", "multiple girls", "multiple boys", "couple"})


def unfit(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """D01."""
    if facts.triggers.problems:
        why = f"the declared triggers do not fit the images: {'; '.join(facts.triggers.problems)}"
        yield Hit(why, key="unfit", mend="", advice="mend the names of folders and tags where they are declared")
    if facts.triggers.problems or spec.compiled:
        return
    for trigger in spec.triggers:
        yield from _coverage(facts, trigger, spec)
    if spec.keep_tokens:
        yield from _front(facts, spec)


def _in_front(facts: Facts, spec: AuditSpec, trigger: Trigger, own: Iterable[str]) -> str | None:
    """Words given on the command line are put in front of their `own` images; triggers of a file are compiled."""
    own = tuple(own)
    if spec.declared:
        # What lacks its trigger although it was compiled was changed by hand since, and is left alone unless told.
        again = any(file_exists((facts.root / name).with_suffix(RAW_SUFFIX)) for name in own)
        return "bakehouse captions compile {folder} --overwrite" if again else None
    where = ""
    if len(spec.triggers) > 1 or facts.reg:
        # A class image whose caption holds the trigger teaches that the class is the subject.
        inside, reg = _above(own), _above(i.name for i in facts.reg)
        where = f"{inside}/*" if inside else f"!{reg}/*" if reg else ""
    path = f" --path {quoted(where)}" if where else ""
    return f"bakehouse captions edit {{folder}} --add {quoted(trigger.head)}{path}"


def _above(names: Iterable[str]) -> str:
    """The innermost folder that holds all of these files, as a pattern; empty for the dataset's own."""
    folders = [posixpath.dirname(name) for name in names]
    return glob.escape(posixpath.commonpath(folders)) if all(folders) and folders else ""


def _coverage(facts: Facts, trigger: Trigger, spec: AuditSpec) -> Iterable[Hit]:
    names = {i.path: i.name for i in facts.taught}
    # An image without a caption is trained by the subject, and is C01's.
    spoken = [c for c in facts.triggers.compiled if any(line.strip() for line in c.record.captions)]
    own = [c.record for c in spoken if any(trigger.word in w.triggers for w in c.wordings)]
    lacking = tuple(names[r.path] for r in own if not any(_says(line, trigger) for line in r.captions))
    if lacking:
        share = percent(1 - len(lacking) / len(own))
        captions = f"the captions of its {counted(len(own), 'image')}"
        own_files = [names[r.path] for r in own]
        why = f"{trigger.word!r} is in {share} of {captions}; {len(lacking)} lack it"
        yield Hit(why, lacking, key=trigger.word, mend=_in_front(facts, spec, trigger, own_files))


def _says(line: str, trigger: Trigger) -> bool:
    words = f" {plain(line.replace(',', ' ').replace('|||', ' '))} "
    return f" {plain(trigger.word)} " in words


def _front(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """Images whose first tags are not exactly the triggers that `keep_tokens` keeps."""
    names = {i.path: i.name for i in facts.taught}
    words = {plain(w) for t in spec.triggers for w in (t.word, t.head)}
    wrong: dict[str, str] = {}
    for one in facts.triggers.compiled:
        for line in one.record.captions:
            leading = _leading(line, words, spec.mark)
            if leading != spec.keep_tokens:
                wrong[names[one.record.path]] = f"{counted(leading, 'trigger')} in front"
    if wrong:
        why = f"{counted(len(wrong), 'caption')} beginning with another number of triggers"
        most = len(spec.triggers)
        mend: str | None = ""
        advice = "put the triggers of each image in front: captions edit FOLDER --add WORD --path 'CONCEPT/*'"
        if spec.keep_tokens > most:
            advice = f"the recipe's captions.keep_tokens is at most {most}: there are no more triggers"
        elif most == 1:
            mend, advice = _in_front(facts, spec, spec.triggers[0], wrong), ""
        why = f"keep_tokens = {spec.keep_tokens}, and {why}"
        yield Hit(why, tuple(wrong), wrong, key="keep_tokens", mend=mend, advice=advice)


def _leading(line: str, words: set[str], mark: str) -> int:
    tags = split_tags(line.split(mark)[0] if mark and mark in line else line)
    count = 0
    while count < len(tags) and plain(tags[count]) in words:
        count += 1
    return count


def explained(number: str) -> Callable[[Facts, AuditSpec], Iterable[Hit]]:
    """A check that hands on what `triggers explain` finds under one id."""

    def check(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
        for finding in facts.triggers.explanation.findings if facts.triggers.explanation else ():
            if finding.id == number:
                ways = "; or ".join(f"{r.what} ({r.setting})" for r in finding.remedies)
                level, key_ = _LEVELS[finding.level], " ".join(finding.triggers)
                yield Hit(finding.message, level=level, key=key_, advice=ways or None)

    return check


def fused(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """D04: what `triggers explain` says of tags in nearly every caption, and those on their way there."""
    yield from explained("D04")(facts, spec)
    for trigger in spec.triggers:
        said = facts.triggers.said.get(trigger.word, {})
        often = {t: share for t, share in said.items() if spec.limits.fused <= share < ALWAYS and group_of(t) is None}
        if often:
            tags = listed([f"{tag!r} ({percent(share)})" for tag, share in sorted(often.items())])
            why = f"{tags} in many captions of {trigger.word!r}, which will bring it unasked"
            yield Hit(why, key=f"{trigger.word} often")


def strategies(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """D07. Words of the command line declare no strategy."""
    if not (spec.declared or spec.compiled):
        return
    for one in facts.triggers.explanation.triggers if facts.triggers.explanation else ():
        if one.realised:
            differs = one.strategy in ("fluid", "semi-static", "static") and one.realised != one.strategy
            why = f"{one.word!r} is declared {one.strategy}, and its captions come to {one.realised}"
            advice = f"in triggers.toml, say strategy = {one.realised!r}, or change its absorbs and keeps"
            yield Hit(why, level="warning" if differs else "info", key=one.word, advice=advice if differs else "")


def taken_words(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """D08, by what captions say and by what the base model was taught."""
    yield from explained("D08")(facts, spec)
    if not spec.vocabulary:
        return
    known = load_vocabulary(spec.vocabulary)
    people = set()
    if isinstance(known, ListedVocabulary):
        people = {k.split(" (")[0] for k, entry in known.entries.items() if entry.category == "character"}
    for trigger in spec.triggers:
        if known.knows(trigger.word):
            why = f"{trigger.word!r} is a tag that the base model was taught: its pictures come along"
            yield Hit(why, key=trigger.word)
        elif inside := sorted({key(w) for w in trigger.word.replace("-", "_").split("_")} & people):
            yield Hit(
                f"{trigger.word!r} holds the name of {listed(inside)}, whom the base model knows", key=trigger.word
            )


def together(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """D09."""
    people = [t for t in spec.triggers if t.kind == "character"]
    if len(people) < 2 or facts.triggers.problems:
        return
    names = {i.path: i.name for i in facts.taught}
    words = {t.word for t in people}
    both = [c for c in facts.triggers.compiled if any(len(words & set(w.triggers)) > 1 for w in c.wordings)]
    if not both:
        why = f"no image shows two of {listed(sorted(words))} together: asked for both, the model will mix them"
        advice = f"find {spec.limits.pack_images} or more images of them together, with both words in their captions"
        yield Hit(why, key="none", advice=advice)
    counting = {
        names[c.record.path]: listed([t for line in c.record.captions for t in split_tags(line) if plain(t) in _COUNTS])
        for c in both
    }
    counting = {name: note for name, note in counting.items() if note}
    if counting:
        why = f"{counted(len(counting), 'caption')} of several characters with words that count people"
        tags = " ".join(f"--remove {quoted(tag)}" for tag in sorted(_COUNTS & _said(counting)))
        mend = f"bakehouse captions edit {{folder}} {tags}"
        yield Hit(f"{why}: the words take a part of the characters", tuple(counting), counting, key="counts", mend=mend)


def _said(notes: dict[str, str]) -> set[str]:
    return {plain(tag) for note in notes.values() for tag in note.split(", ")}
