"""Rules out of single wishes, as a command line has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bakehouse.captions.ruleset import RuleSet, rules_of
from bakehouse.core.errors import Problems, UsageError

_PLAIN = ("synonyms", "split", "generics", "redundant", "consolidate")


def rules_asked(
    *,
    rules: Sequence[str] | None = None,
    vocabulary: str | None = None,
    has: Sequence[str] | None = None,
    lacks: Sequence[str] | None = None,
    path: str = "",
    **wishes: Any,
) -> RuleSet:
    """Rules files one after the other, and then one rule for each wish, in the order of the command line's options.

    Args:
        rules: files, or names of shipped ones.
        vocabulary: of the base model; left out, that of the files.
        has, lacks, path: which captions the wishes (not the files) are for.
        wishes: fields of the command line's `Changes`.

    Raises:
        UsageError: there is no such file.
        Problems: wrong values, all of them.
    """
    files = [RuleSet.load_rules(name) for name in rules or ()]
    said = {"has": list(has or ()), "lacks": list(lacks or ()), "path": path}
    where = {name: value for name, value in said.items() if value}
    single = rules_of([{**rule, **({"where": where} if where else {})} for rule in _wished(wishes)], "captions edit")
    named = [vocabulary] if vocabulary else [f.vocabulary for f in files if f.vocabulary]
    if len(set(named)) > 1:
        raise UsageError(f"the rules name several vocabularies: {', '.join(named)}", hint="--vocabulary says which")
    asked = RuleSet.parse({"vocabulary": named[0]} if named else {}).then(
        [*(r for f in files for r in f.rules), *single]
    )
    if not asked.rules:
        raise UsageError("nothing to do", hint="--rules clean, or --add, --remove, --replace, --sort, ...")
    needing = [r.kind for r in single if r.kind in ("split", "consolidate")]
    if needing and not asked.vocabulary:
        raise UsageError(
            f"--{needing[0]} has to know what the base model was taught",
            hint="--vocabulary crumb, a tagger's name, or the path of a selected_tags.csv",
        )
    return asked


def _wished(wishes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spare = list(wishes.get("trigger") or ())
    if wishes.get("tidy"):
        yield {"kind": "tidy"}
    if wishes.get("underscores"):
        yield {"kind": "underscores", "to": wishes["underscores"], "spare": spare}
    if wishes.get("parentheses"):
        yield {"kind": "parentheses", "to": wishes["parentheses"]}
    if wishes.get("lower"):
        yield {"kind": "case", "spare": spare}
    if wishes.get("replace"):
        yield {"kind": "replace", "tags": _pairs(wishes["replace"])}
    for expression in wishes.get("regex") or ():
        find, put = _parted(expression)
        yield {"kind": "regex", "find": find, "put": put}
    if wishes.get("remove") or wishes.get("junk"):
        yield {
            "kind": "remove",
            "tags": list(wishes.get("remove") or ()),
            "lists": ["junk"] if wishes.get("junk") else [],
        }
    yield from ({"kind": kind} for kind in _PLAIN if wishes.get(kind))
    yield from ({"kind": "add", "tags": list(wishes[w]), "to": to} for w, to in _ENDS if wishes.get(w))
    if wishes.get("dedupe"):
        yield {"kind": "dedupe"}
    if wishes.get("sort"):
        yield {"kind": "sort", "by": wishes["sort"], "triggers": spare or list(wishes.get("add") or ())}


_ENDS = (("add", "front"), ("append", "back"))


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    if wrong := [f"--replace {text!r}" for text in texts if "=" not in text.strip("= ")]:
        hint = "write --replace 'red hair=ginger hair'; --remove takes a tag out"
        raise Problems("a replacement has a tag on both sides of '='; these have not:", wrong, hint=hint)
    # A tag may be a face with an equals sign (`=_=`): the first one that has something on both sides parts.
    pairs = {}
    for text in texts:
        at = next(i for i, c in enumerate(text) if c == "=" and text[:i].strip("= "))
        pairs[text[:at].strip()] = text[at + 1 :].strip()
    return pairs


def _parted(expression: str) -> tuple[str, str]:
    """`s/FIND/PUT/`, with any sign for the slash."""
    parts = expression[2:].split(expression[1]) if expression[:1] == "s" and len(expression) > 3 else []
    if len(parts) != 3 or parts[2]:
        raise UsageError(
            f"--regex {expression!r} is not of the form s/FIND/PUT/", hint=r"for example 's/^(\w+)_hair$/\1 hair/'"
        )
    return parts[0], parts[1]
