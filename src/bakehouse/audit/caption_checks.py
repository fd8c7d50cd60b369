"""C: captions. Wording is checked by caption rules: what a rule would change is the finding, the rule is the fix."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.caption_tokens import token_counter
from bakehouse.audit.check import CheckFinding, quote_argument
from bakehouse.audit.facts import Facts, ImageFacts
from bakehouse.captions.rule import Rule, matcher
from bakehouse.captions.ruleset import RuleSet
from bakehouse.captions.tag_meaning_rules import Generics, Redundant, Synonyms, vague_tags
from bakehouse.captions.tag_rules import Dedupe, Remove
from bakehouse.captions.tagger_of_base import how_to_get_a_tagger
from bakehouse.core.errors import nearest
from bakehouse.core.message_text import counted, listed
from bakehouse.data.captions import CAPTION_PER_LINE, EMPTY, ONE_TAG_PER_LINE
from bakehouse.data.tag_vocabulary import ListedVocabulary, TagVocabulary, load_vocabulary
from bakehouse.data.tags import BARRIER, form_of, is_face, keeps_underscores, key, split_caption
from bakehouse.data.triggers import Trigger

_SHORT_WORD = 5
"""Triggers of at most so many letters may be misspelled by one letter, longer ones by two."""


def _captioned(facts: Facts) -> dict[str, ImageFacts]:
    return {i.name: i for i in facts.train_images if any(line.strip() for line in i.captions)}


def _lines(facts: Facts) -> list[tuple[str, str]]:
    """Return every line of every caption, with the image's name."""
    return [(name, line) for name, image in _captioned(facts).items() for line in image.captions]


def _tagged(facts: Facts) -> dict[str, tuple[str, ...]]:
    """Return the tags of the images whose captions are lists of tags."""
    found: dict[str, tuple[str, ...]] = {}
    for name, image in _captioned(facts).items():
        lines = [line for line in image.captions if form_of(line) == "tags"]
        if lines:
            found[name] = tuple(tag for line in lines for tag in split_caption(line) if tag != BARRIER)
    return found


def _files(names: Mapping[str, object], facts: Facts) -> tuple[str, ...]:
    return tuple(i.name for i in facts.images if i.name in names)


_MAX_TAGS = 40
"""Most tags in one command; where there are more, it has to be run again."""
_REPLACE = "--existing replace"
_EXPECTED = (EMPTY, CAPTION_PER_LINE)
"""Warnings of the reader that C02 leaves out: C01 reports the first, the second may be intended."""

# --- files of captions ------------------------------------------------------------------------------------------------


def missing(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C01: images without a caption."""
    captioned = _captioned(facts)
    bare = {i.name: "empty" if i.record and i.record.caption_path else "none" for i in facts.train_images}
    bare = {name: note for name, note in bare.items() if name not in captioned}
    if bare:
        why = f"{counted(len(bare), 'image')} of {len(facts.train_images)} without a caption"
        why = f"{why}: other trainers use the folder's name, or stop at an empty file"
        yield _fixed_by_tagging(CheckFinding(why, tuple(bare), bare), facts, spec)


def _fixed_by_tagging(found: CheckFinding, facts: Facts, spec: AuditSpec, *existing: str) -> CheckFinding:
    """Return the finding with the command that tags the images; with advice where no tagger is on this machine.

    A trigger of the command line comes first, unless the folder has class images. Its class word is excluded, for the
    trigger has it.
    """
    options = list(existing)
    if spec.triggers and not (spec.declared or spec.compiled or facts.class_images):
        trigger = spec.triggers[0]
        options.append(f"--front {quote_argument(trigger.head)}")
        options += [f"--exclude {quote_argument(trigger.class_word)}"] if trigger.class_word else []
    command = " ".join(["bakehouse captions tag {folder}", *options])
    if facts.tagger:
        return replace(found, fix=f"{command} --tagger {{tagger}}")
    command = command.format(folder=shlex.quote(str(facts.root)))
    return replace(found, fix="", advice=how_to_get_a_tagger(spec.base, command))


def encodings(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C02: captions whose encoding or line format other trainers misread."""
    found: dict[str, str] = {}
    for caption in facts.captions:
        notes = [note for note in caption.notes if not any(word in note for word in _EXPECTED)]
        if caption.crlf:
            notes.append("Windows line endings (CRLF)")
        if notes:
            found[caption.name] = "; ".join(notes)
    tag_lines = {name: note for name, note in found.items() if ONE_TAG_PER_LINE in note}
    rest = {name: note for name, note in found.items() if name not in tag_lines}
    if rest:
        yield CheckFinding(f"{counted(len(rest), 'caption')} that other trainers may misread", tuple(rest), rest)
    if tag_lines:
        why = f"{counted(len(tag_lines), 'caption')} with one tag a line: other trainers read only the first"
        yield CheckFinding(
            why, tuple(tag_lines), tag_lines, key="lines", fix="bakehouse captions edit {folder} --utf8 --join-lines"
        )


def stray_captions(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C03: captions without an image."""
    files = tuple(c.name for c in facts.captions if c.image is None)
    if files:
        why = f"{counted(len(files), 'caption')} without an image: misnamed, or the image was removed"
        yield CheckFinding(why, files)


def token_limit(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C04: captions with more tokens than the training uses."""
    counter = token_counter(spec)
    most = max(spec.limits.tokens, spec.max_tokens)
    counts = {n: max(map(counter.count, i.captions)) for n, i in _captioned(facts).items()}
    beyond = {n: max(i.captions, key=counter.count) for n, i in _captioned(facts).items() if counts[n] > most}
    notes = {
        n: f"{counter.prefix}{counts[n]} tokens; cut off: {counter.after(line, most)[:80]}"
        for n, line in beyond.items()
    }
    far = {n: note for n, note in notes.items() if counts[n] > spec.limits.tokens_most}
    near = {n: note for n, note in notes.items() if n not in far}
    if far:
        why = (
            f"{counted(len(far), 'caption')} longer than {spec.limits.tokens_most} tokens: all trainers cut off the end"
        )
        yield _fixed_by_tagging(CheckFinding(why, tuple(far), far, "error", "far"), facts, spec, _REPLACE)
    if near:
        why = f"{counted(len(near), 'caption')} longer than {most} tokens: the end is not learned"
        yield CheckFinding(why, tuple(near), near)


def oversized_tag_lists(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C13: lists of tags that are too long."""
    tagged = _tagged(facts)
    found = {
        c.image: f"{c.bytes:,} bytes, {counted(len(tagged[c.image]), 'tag')}"
        for c in facts.captions
        if c.used and c.image in tagged and c.bytes > spec.limits.caption_bytes
    }
    if found:
        why = f"{counted(len(found), 'caption')} with over {spec.limits.caption_bytes:,} bytes of tags: the tagger's"
        why = f"{why} threshold was probably too low"
        yield _fixed_by_tagging(CheckFinding(why, tuple(found), found), facts, spec, _REPLACE)


# --- wording ----------------------------------------------------------------------------------------------------------


def _changed_by(rules: RuleSet, facts: Facts, spec: AuditSpec) -> dict[str, str]:
    """Return the images whose captions the rules would change, with the tags removed and added."""
    lines = _lines(facts)
    vocabulary = load_vocabulary(spec.vocabulary) if spec.vocabulary else None
    after = rules.apply([line for _, line in lines], vocabulary=vocabulary)
    found: dict[str, str] = {}
    for (name, before), new in zip(lines, after, strict=True):
        if new != before:
            found.setdefault(name, _difference(split_caption(before), split_caption(new)))
    return found


def _difference(before: Sequence[str], after: Sequence[str]) -> str:
    removed = list((Counter(before) - Counter(after)).elements())
    added = list((Counter(after) - Counter(before)).elements())
    return f"{listed(removed)} -> {listed(added)}" if added else listed(removed)


def _rule_check(make: Callable[[], Rule], why: str) -> Callable[[Facts, AuditSpec], Iterable[CheckFinding]]:
    """Return a check that finds what a rule would change; its sentence is `12 captions` and `why`."""

    def check(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
        found = _changed_by(RuleSet(rules=(make(),)), facts, spec)
        if found:
            yield CheckFinding(f"{counted(len(found), 'caption')} {why}", _files(found, facts), found)

    return check


repeated_tags = _rule_check(Dedupe, "with a repeated tag: it takes up tokens")
redundant_tags = _rule_check(Redundant, "with a tag that is redundant beside a more specific one")
synonyms = _rule_check(Synonyms, "with a synonym or another spelling of a tag of the dataset")
junk_tags = _rule_check(lambda: Remove(lists=("junk",)), "with tags that describe nothing visible")


def contradictions(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C08: tags in one caption that contradict each other."""
    found = _changed_by(RuleSet.load_rules("contradictions"), facts, spec)
    if found:
        yield CheckFinding(f"{counted(len(found), 'caption')} with contradictory tags", _files(found, facts), found)


def ambiguous_tags(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C10: tags with several meanings."""
    after = _tags_after(facts, Generics())
    words = vague_tags()
    found = {n: listed([t for t in tags if key(t) in words]) for n, tags in after.items()}
    found = {n: note for n, note in found.items() if note}
    if found:
        tags = sorted({key(t) for n in found for t in after[n] if key(t) in words})
        why = f"{counted(len(found), 'caption')} with ambiguous tags ({listed(tags)}): replace them by specific ones"
        yield CheckFinding(why, _files(found, facts), found, fix=_edit(tags))


def _tags_after(facts: Facts, rule: Rule) -> dict[str, tuple[str, ...]]:
    """Return the tags of each image after a rule was applied."""
    lines = _lines(facts)
    after = RuleSet(rules=(rule,)).apply([line for _, line in lines])
    tags: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for (name, _), line in zip(lines, after, strict=True):
        if form_of(line) == "tags":
            tags[name] += split_caption(line)
    return tags


def _edit(remove: Sequence[str] = (), replace: Mapping[str, str] | None = None) -> str:
    """Return the command that removes tags and replaces others."""
    removals = [f"--remove {quote_argument(tag)}" for tag in remove[:_MAX_TAGS]]
    replacements = [f"--replace {quote_argument(f'{old}={new}')}" for old, new in (replace or {}).items()]
    return f"bakehouse captions edit {{folder}} {' '.join([*removals, *replacements])}"


# --- vocabulary -------------------------------------------------------------------------------------------------------


def unknown_tags(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C11: tags that the base model does not know."""
    known = load_vocabulary(spec.vocabulary)
    own = _own_words(spec)
    tagged = _tagged(facts)
    counts = Counter(key(t) for tags in tagged.values() for t in {*tags} if key(t) not in own)
    unknown = [t for t, _ in counts.most_common() if not known.knows(t)]
    if unknown:
        found = _holders(tagged, unknown)
        near = {t: n for t in unknown[:_MAX_TAGS] if (n := nearest(t, known.names()))}
        why = f"{counted(len(unknown), 'tag')} unknown to the base model: {listed(unknown)}"
        yield CheckFinding(why, _files(found, facts), found, fix=_edit([t for t in unknown if t not in near], near))
    weak = [t for t in counts if (images := known.count(t)) is not None and images < spec.limits.known]
    if weak:
        found = _holders(tagged, weak)
        why = f"{counted(len(weak), 'tag')} known from fewer than {spec.limits.known:,} images: {listed(weak)}"
        yield CheckFinding(why, _files(found, facts), found, level="info", key="weak", fix=_edit(weak))


def other_characters(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C12: names of other characters in captions."""
    known = load_vocabulary(spec.vocabulary)
    if not isinstance(known, ListedVocabulary):
        return
    own, tagged = _own_words(spec), _tagged(facts)
    tags = {key(t) for ts in tagged.values() for t in ts} - own
    others = sorted(t for t in tags if (entry := known.find(t)) and entry.category == "character")
    if others:
        found = _holders(tagged, others)
        why = f"{counted(len(found), 'caption')} with the name of another character: {listed(others)}"
        yield CheckFinding(why, _files(found, facts), found, fix=_edit(others))


def _holders(tagged: Mapping[str, Sequence[str]], tags: Iterable[str]) -> dict[str, str]:
    """Return the images that have one of the tags, with those that they have."""
    has = matcher(tags)
    found = {name: listed([t for t in mine if has(t)], 3) for name, mine in tagged.items()}
    return {name: note for name, note in found.items() if note}


def _own_words(spec: AuditSpec) -> set[str]:
    return {key(word) for t in spec.triggers for word in (t.word, t.head, t.class_word) if word}


# --- consistency ------------------------------------------------------------------------------------------------------


def mixed_forms(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C14: folders whose captions are tag lists in part and sentences in part."""
    for group in facts.train_groups:
        forms = {i.name: form_of(i.captions[0]) for i in group.images if i.captions and i.captions[0].strip()}
        counts = Counter(forms.values())
        if len(counts) < 2:
            continue
        rare, n = counts.most_common()[-1]
        words = {"tags": "tags", "prose": "sentences"}
        label = group.name or "the folder"
        why = f"{counted(n, 'caption')} of {len(forms)} in {label} made of {words[rare]}, unlike the others"
        files = tuple(name for name, form in forms.items() if form == rare)
        yield _fixed_by_tagging(CheckFinding(why, files, key=group.name), facts, spec, _REPLACE)


def inconsistent_spelling(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C15: tags that are spelled in several ways."""
    tagged = _tagged(facts)
    joined = {n: [t for t in tags if "_" in t and not keeps_underscores(t)] for n, tags in tagged.items()}
    spaced = {n: [t for t in tags if " " in t] for n, tags in tagged.items()}
    yield from _mixed(facts, joined, spaced, "underscores", "spaces", "--underscores spaces")
    escaped = {n: [t for t in tags if r"\(" in t] for n, tags in tagged.items()}
    plain = {n: [t for t in tags if "(" in t and r"\(" not in t and not is_face(t)] for n, tags in tagged.items()}
    yield from _mixed(facts, escaped, plain, "escaped parentheses", "plain ones", "--parentheses plain")


def _mixed(
    facts: Facts,
    tags: Mapping[str, Sequence[str]],
    other_tags: Mapping[str, Sequence[str]],
    spelling: str,
    other_spelling: str,
    option: str,
) -> Iterable[CheckFinding]:
    found = {n: listed(some, 3) for n, some in tags.items() if some}
    if found and any(other_tags.values()):
        why = f"{counted(len(found), 'caption')} with {spelling}, others with {other_spelling}: different tokens"
        yield CheckFinding(
            why, _files(found, facts), found, key=spelling, fix=f"bakehouse captions edit {{folder}} {option}"
        )


def misspelled_triggers(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """C16: tags that are misspellings of a trigger."""
    known = load_vocabulary(spec.vocabulary) if spec.vocabulary else None
    tagged = _tagged(facts)
    for trigger in spec.triggers:
        spellings = {key(trigger.word): trigger.word, key(trigger.head): trigger.head}
        typos = {t: right for ts in tagged.values() for t in ts if (right := _correction(t, spellings, trigger, known))}
        if typos:
            found = _holders(tagged, typos)
            why = f"{counted(len(found), 'caption')} with {trigger.word!r} misspelled: {listed(sorted(typos))}"
            yield CheckFinding(why, _files(found, facts), found, key=trigger.word, fix=_edit(replace=typos))


def _correction(tag: str, spellings: Mapping[str, str], trigger: Trigger, known: TagVocabulary | None) -> str:
    """Return the spelling of the trigger that a tag is a misspelling of; empty if it is none."""
    given = key(tag)
    if given in spellings or (known is not None and known.knows(tag)):
        return ""
    for right, written in spellings.items():
        most = 1 if len(trigger.word) <= _SHORT_WORD else 2
        if abs(len(given) - len(right)) <= most and distance(given, right) <= most:
            return written
    return ""


def distance(a: str, b: str) -> int:
    """Return the Levenshtein distance: letters to insert, remove or replace."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]
