"""C: captions. A fault of wording is what a rule would change: so the rule that mends it is the check that finds it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.caption_tokens import token_counter
from bakehouse.audit.check import Hit, quoted
from bakehouse.audit.image_facts import Facts, ImageFacts
from bakehouse.captions.rule import Rule, matcher
from bakehouse.captions.ruleset import RuleSet
from bakehouse.captions.tag_rules import Dedupe, Remove
from bakehouse.captions.word_rules import Generics, Redundant, Synonyms, vague_tags
from bakehouse.core.errors import nearest
from bakehouse.core.pluralize import counted, listed
from bakehouse.data.captions import CAPTION_PER_LINE, EMPTY, ONE_TAG_PER_LINE
from bakehouse.data.tag_vocabulary import ListedVocabulary, TagVocabulary, load_vocabulary
from bakehouse.data.tags import BARRIER, form_of, is_face, keeps_underscores, key, split_caption
from bakehouse.data.triggers import Trigger

_NEAR_SHORT, _NEAR_LONG = 5, 2
"""Words of up to five letters may differ by one, longer ones by two."""


def _captioned(facts: Facts) -> dict[str, ImageFacts]:
    return {i.name: i for i in facts.taught if any(line.strip() for line in i.captions)}


def _lines(facts: Facts) -> list[tuple[str, str]]:
    """Every line of every caption, with the image's name."""
    return [(name, line) for name, image in _captioned(facts).items() for line in image.captions]


def _tagged(facts: Facts) -> dict[str, tuple[str, ...]]:
    """Images whose captions are tags, with all of them."""
    found: dict[str, tuple[str, ...]] = {}
    for name, image in _captioned(facts).items():
        lines = [line for line in image.captions if form_of(line) == "tags"]
        if lines:
            found[name] = tuple(tag for line in lines for tag in split_caption(line) if tag != BARRIER)
    return found


def _files(names: Mapping[str, object], facts: Facts) -> tuple[str, ...]:
    return tuple(i.name for i in facts.images if i.name in names)


_NAMED = 40
"""Tags that a command names; with more, it has to be run again."""
_NO_FAULT = (EMPTY, CAPTION_PER_LINE)
"""What reading a caption remarks and C01 says, or what may be meant so."""

# --- files of captions ------------------------------------------------------------------------------------------------


def missing(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C01."""
    spoken = _captioned(facts)
    silent = {i.name: "empty" if i.record and i.record.caption_path else "none" for i in facts.taught}
    silent = {name: note for name, note in silent.items() if name not in spoken}
    if silent:
        why = f"{counted(len(silent), 'image')} of {len(facts.taught)} without a caption"
        why = f"{why}: other trainers take the folder's name, and stop at an empty file"
        yield Hit(why, tuple(silent), silent, mend=_tag(facts, spec))


def _tag(facts: Facts, spec: AuditSpec, *, anew: bool = False) -> str:
    """Taggers do not know the trigger that the command line gave: it goes in front, unless class images are there.

    Nor do they know that it says its class already.
    """
    command = "bakehouse captions tag {folder}" + (" --existing replace" if anew else "")
    if not spec.triggers or spec.declared or spec.compiled or facts.reg:
        return command
    trigger = spec.triggers[0]
    known = f" --exclude {quoted(trigger.class_word)}" if trigger.class_word else ""
    return f"{command} --front {quoted(trigger.head)}{known}"


def encodings(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C02."""
    found: dict[str, str] = {}
    for caption in facts.captions:
        notes = [note for note in caption.notes if not any(word in note for word in _NO_FAULT)]
        if caption.crlf:
            notes.append("its lines end as Windows' do")
        if notes:
            found[caption.name] = "; ".join(notes)
    tag_lines = {name: note for name, note in found.items() if ONE_TAG_PER_LINE in note}
    rest = {name: note for name, note in found.items() if name not in tag_lines}
    if rest:
        yield Hit(f"{counted(len(rest), 'caption')} that other trainers read otherwise than meant", tuple(rest), rest)
    if tag_lines:
        why = f"{counted(len(tag_lines), 'caption')} with one tag a line, of which other trainers read the first"
        yield Hit(
            why, tuple(tag_lines), tag_lines, key="lines", mend="bakehouse captions edit {folder} --utf8 --join-lines"
        )


def strays(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C03."""
    files = tuple(c.name for c in facts.captions if c.image is None)
    if files:
        yield Hit(
            f"{counted(len(files), 'caption')} without an image: a typing error in a name, or a removed image", files
        )


def lengths(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C04."""
    counter = token_counter(spec)
    most = max(spec.limits.tokens, spec.max_tokens)
    counts = {n: max(map(counter.count, i.captions)) for n, i in _captioned(facts).items()}
    beyond = {n: max(i.captions, key=counter.count) for n, i in _captioned(facts).items() if counts[n] > most}
    notes = {n: f"{counter.sure}{counts[n]} tokens; cut: {counter.rest(line, most)[:80]}" for n, line in beyond.items()}
    far = {n: note for n, note in notes.items() if counts[n] > spec.limits.tokens_most}
    near = {n: note for n, note in notes.items() if n not in far}
    if far:
        why = f"{counted(len(far), 'caption')} longer than {spec.limits.tokens_most} tokens: no trainer reads the end"
        yield Hit(why, tuple(far), far, level="error", key="far", mend=_tag(facts, spec, anew=True))
    if near:
        yield Hit(
            f"{counted(len(near), 'caption')} longer than {most} tokens: the end is not learned", tuple(near), near
        )


def panic(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C13."""
    tagged = _tagged(facts)
    found = {
        c.image: f"{c.bytes:,} bytes, {counted(len(tagged[c.image]), 'tag')}"
        for c in facts.captions
        if c.used and c.image in tagged and c.bytes > spec.limits.caption_bytes
    }
    if found:
        why = f"{counted(len(found), 'caption')} of more than {spec.limits.caption_bytes:,} bytes of tags"
        why = f"{why}: a tagger with too low a threshold names what is not there"
        yield Hit(why, tuple(found), found, mend=_tag(facts, spec, anew=True))


# --- wording ----------------------------------------------------------------------------------------------------------


def _by_rules(facts: Facts, spec: AuditSpec, rules: RuleSet) -> dict[str, str]:
    """Images whose captions the rules would change, and what would go, come or change."""
    lines = _lines(facts)
    vocabulary = load_vocabulary(spec.vocabulary) if spec.vocabulary else None
    after = rules.apply([line for _, line in lines], vocabulary=vocabulary)
    found: dict[str, str] = {}
    for (name, before), new in zip(lines, after, strict=True):
        if new != before:
            found.setdefault(name, _changed(split_caption(before), split_caption(new)))
    return found


def _changed(before: Sequence[str], after: Sequence[str]) -> str:
    gone = list((Counter(before) - Counter(after)).elements())
    come = list((Counter(after) - Counter(before)).elements())
    return f"{listed(gone)} -> {listed(come)}" if come else listed(gone)


def _finder(make: Callable[[], Rule], why: str) -> Callable[[Facts, AuditSpec], Iterable[Hit]]:
    """A check that finds what a rule would change. `why` stands behind `12 captions`."""

    def check(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
        found = _by_rules(facts, spec, RuleSet(rules=(make(),)))
        if found:
            yield Hit(f"{counted(len(found), 'caption')} {why}", _files(found, facts), found)

    return check


twice = _finder(Dedupe, "with a tag said twice: it counts twice, and room for others is lost")
redundant = _finder(Redundant, "with a thing that is said more exactly beside it")
synonyms = _finder(Synonyms, "with words of which the folder has another spelling or a synonym")
junk_tags = _finder(lambda: Remove(lists=("junk",)), "with tags that say nothing of what is to be seen")


def contradictions(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C08."""
    found = _by_rules(facts, spec, RuleSet.load_rules("contradictions"))
    if found:
        yield Hit(f"{counted(len(found), 'caption')} with tags that contradict each other", _files(found, facts), found)


def vague(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C10."""
    after = _rest(facts, Generics())
    words = vague_tags()
    found = {n: listed([t for t in tags if key(t) in words]) for n, tags in after.items()}
    found = {n: note for n, note in found.items() if note}
    if found:
        tags = sorted({key(t) for n in found for t in after[n] if key(t) in words})
        why = f"{counted(len(found), 'caption')} with tags that may mean anything ({listed(tags)}): say which kind"
        yield Hit(why, _files(found, facts), found, mend=_edit(tags))


def _rest(facts: Facts, rule: Rule) -> dict[str, tuple[str, ...]]:
    """Tags that a rule leaves, by image."""
    lines = _lines(facts)
    after = RuleSet(rules=(rule,)).apply([line for _, line in lines])
    rest: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for (name, _), line in zip(lines, after, strict=True):
        if form_of(line) == "tags":
            rest[name] += split_caption(line)
    return rest


def _edit(gone: Sequence[str] = (), other: Mapping[str, str] | None = None) -> str:
    """The command that removes tags and spells others anew."""
    removed = [f"--remove {quoted(tag)}" for tag in gone[:_NAMED]]
    replaced = [f"--replace {quoted(f'{old}={new}')}" for old, new in (other or {}).items()]
    return f"bakehouse captions edit {{folder}} {' '.join([*removed, *replaced])}"


# --- vocabulary -------------------------------------------------------------------------------------------------------


def unknown(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C11."""
    known = load_vocabulary(spec.vocabulary)
    own = _own_words(spec)
    tagged = _tagged(facts)
    counts = Counter(key(t) for tags in tagged.values() for t in {*tags} if key(t) not in own)
    strange = [t for t, _ in counts.most_common() if not known.knows(t)]
    if strange:
        found = _holders(tagged, strange)
        near = {t: n for t in strange[:_NAMED] if (n := nearest(t, known.names()))}
        why = f"{counted(len(strange), 'tag')} that the base model was not taught: {listed(strange)}"
        yield Hit(why, _files(found, facts), found, mend=_edit([t for t in strange if t not in near], near))
    weak = [t for t in counts if (pictures := known.count(t)) is not None and pictures < spec.limits.known]
    if weak:
        found = _holders(tagged, weak)
        why = f"{counted(len(weak), 'tag')} with fewer than {spec.limits.known:,} pictures: {listed(weak)}"
        yield Hit(why, _files(found, facts), found, level="info", key="weak", mend=_edit(weak))


def characters(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C12."""
    known = load_vocabulary(spec.vocabulary)
    if not isinstance(known, ListedVocabulary):
        return
    own, tagged = _own_words(spec), _tagged(facts)
    tags = {key(t) for ts in tagged.values() for t in ts} - own
    others = sorted(t for t in tags if (entry := known.find(t)) and entry.category == "character")
    if others:
        found = _holders(tagged, others)
        why = f"{counted(len(found), 'caption')} with a character of somebody else's: {listed(others)}"
        yield Hit(why, _files(found, facts), found, mend=_edit(others))


def _holders(tagged: Mapping[str, Sequence[str]], tags: Iterable[str]) -> dict[str, str]:
    has = matcher(tags)
    found = {name: listed([t for t in mine if has(t)], 3) for name, mine in tagged.items()}
    return {name: note for name, note in found.items() if note}


def _own_words(spec: AuditSpec) -> set[str]:
    return {key(word) for t in spec.triggers for word in (t.word, t.head, t.class_word) if word}


# --- consistency ------------------------------------------------------------------------------------------------------


def mixed_forms(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C14."""
    for group in facts.taught_groups:
        forms = {i.name: form_of(i.captions[0]) for i in group.images if i.captions and i.captions[0].strip()}
        counts = Counter(forms.values())
        if len(counts) < 2:
            continue
        rare, n = counts.most_common()[-1]
        words = {"tags": "tags", "prose": "sentences"}
        where = group.name or "the folder"
        why = f"{counted(n, 'caption')} of {len(forms)} in {where} in {words[rare]}, the rest not"
        files = tuple(name for name, form in forms.items() if form == rare)
        yield Hit(why, files, key=group.name, mend=_tag(facts, spec, anew=True))


def spelling(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C15."""
    tagged = _tagged(facts)
    joined = {n: [t for t in tags if "_" in t and not keeps_underscores(t)] for n, tags in tagged.items()}
    spaced = {n: [t for t in tags if " " in t] for n, tags in tagged.items()}
    yield from _mixed(facts, joined, spaced, "underscores", "spaces in other tags", "--underscores spaces")
    escaped = {n: [t for t in tags if r"\(" in t] for n, tags in tagged.items()}
    plainly = {n: [t for t in tags if "(" in t and r"\(" not in t and not is_face(t)] for n, tags in tagged.items()}
    yield from _mixed(facts, escaped, plainly, "escaped parentheses", "plain ones in other tags", "--parentheses plain")


def _mixed(
    facts: Facts,
    ours: Mapping[str, Sequence[str]],
    theirs: Mapping[str, Sequence[str]],
    what: str,
    other: str,
    option: str,
) -> Iterable[Hit]:
    found = {n: listed(tags, 3) for n, tags in ours.items() if tags}
    if found and any(theirs.values()):
        why = f"{counted(len(found), 'caption')} with {what}, and {other}: to the model these are different words"
        yield Hit(why, _files(found, facts), found, key=what, mend=f"bakehouse captions edit {{folder}} {option}")


def near_misses(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """C16."""
    known = load_vocabulary(spec.vocabulary) if spec.vocabulary else None
    tagged = _tagged(facts)
    for trigger in spec.triggers:
        meant = {key(trigger.word): trigger.word, key(trigger.head): trigger.head}
        misses = {t: right for ts in tagged.values() for t in ts if (right := _meant(t, meant, trigger, known))}
        if misses:
            found = _holders(tagged, misses)
            why = (
                f"{counted(len(found), 'caption')} with another spelling of {trigger.word!r}: {listed(sorted(misses))}"
            )
            yield Hit(why, _files(found, facts), found, key=trigger.word, mend=_edit(other=misses))


def _meant(tag: str, meant: Mapping[str, str], trigger: Trigger, known: TagVocabulary | None) -> str:
    said = key(tag)
    if said in meant or (known is not None and known.knows(tag)):
        return ""
    for right, written in meant.items():
        most = 1 if len(trigger.word) <= _NEAR_SHORT else _NEAR_LONG
        if abs(len(said) - len(right)) <= most and distance(said, right) <= most:
            return written
    return ""


def distance(a: str, b: str) -> int:
    """Letters to insert, remove or change to make one of the other (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]
