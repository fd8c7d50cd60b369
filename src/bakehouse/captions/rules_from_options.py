"""Build a rule set from the options of `captions edit`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bakehouse.captions.ruleset import RuleSet, parse_rules
from bakehouse.core.errors import Problems, UsageError

_SIMPLE_RULES = ("synonyms", "split", "generics", "redundant", "consolidate")


def rules_from_options(
    *,
    rules: Sequence[str] | None = None,
    vocabulary: str | None = None,
    has: Sequence[str] | None = None,
    lacks: Sequence[str] | None = None,
    path: str = "",
    **options: Any,
) -> RuleSet:
    """Return the rules of the files, followed by one rule for each option, in the order of the command line's help.

    Args:
        rules: rules files, or names of shipped ones.
        vocabulary: of the base model; None: that of the files.
        has, lacks, path: which captions the options (not the files) apply to.
        options: the other options of `captions edit`, by name.

    Raises:
        UsageError: there is no such file, or no rule at all.
        Problems: invalid values, all of them.
    """
    files = [RuleSet.load_rules(name) for name in rules or ()]
    conditions = {"has": list(has or ()), "lacks": list(lacks or ()), "path": path}
    where = {name: value for name, value in conditions.items() if value}
    single = parse_rules(
        [{**rule, **({"where": where} if where else {})} for rule in _option_rules(options)], "captions edit"
    )
    named = [vocabulary] if vocabulary else [f.vocabulary for f in files if f.vocabulary]
    if len(set(named)) > 1:
        raise UsageError(
            f"the rules name several vocabularies: {', '.join(named)}", hint="choose one with --vocabulary"
        )
    found = RuleSet.parse({"vocabulary": named[0]} if named else {}).with_rules(
        [*(r for f in files for r in f.rules), *single]
    )
    if not found.rules:
        hint = "pass --rules clean, or --add, --remove, --replace, --sort, ..."
        raise UsageError("no rules given: nothing to do", hint=hint)
    needing = [r.kind for r in single if r.kind in ("split", "consolidate")]
    if needing and not found.vocabulary:
        raise UsageError(
            f"--{needing[0]} needs the vocabulary of the base model",
            hint="pass --vocabulary crumb, a tagger's name, or the path of a selected_tags.csv",
        )
    return found


def _option_rules(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spare = list(options.get("trigger") or ())
    if options.get("tidy"):
        yield {"kind": "tidy"}
    if options.get("underscores"):
        yield {"kind": "underscores", "to": options["underscores"], "spare": spare}
    if options.get("parentheses"):
        yield {"kind": "parentheses", "to": options["parentheses"]}
    if options.get("lower"):
        yield {"kind": "case", "spare": spare}
    if options.get("replace"):
        yield {"kind": "replace", "tags": _parse_replacements(options["replace"])}
    for expression in options.get("regex") or ():
        find, put = _parse_sed(expression)
        yield {"kind": "regex", "find": find, "put": put}
    if options.get("remove") or options.get("junk"):
        yield {
            "kind": "remove",
            "tags": list(options.get("remove") or ()),
            "lists": ["junk"] if options.get("junk") else [],
        }
    yield from ({"kind": kind} for kind in _SIMPLE_RULES if options.get(kind))
    yield from ({"kind": "add", "tags": list(options[w]), "to": to} for w, to in _ADD_OPTIONS if options.get(w))
    if options.get("dedupe"):
        yield {"kind": "dedupe"}
    if options.get("sort"):
        yield {"kind": "sort", "by": options["sort"], "triggers": spare or list(options.get("add") or ())}


_ADD_OPTIONS = (("add", "front"), ("append", "back"))


def _parse_replacements(texts: Sequence[str]) -> dict[str, str]:
    if wrong := [f"--replace {text!r}" for text in texts if "=" not in text.strip("= ")]:
        hint = "write --replace 'red hair=ginger hair'; to delete a tag, use --remove"
        raise Problems("a replacement needs a tag on both sides of '=':", wrong, hint=hint)
    # A tag may be a face with an equals sign (`=_=`): split at the first one with text on both sides.
    pairs = {}
    for text in texts:
        at = next(i for i, c in enumerate(text) if c == "=" and text[:i].strip("= "))
        pairs[text[:at].strip()] = text[at + 1 :].strip()
    return pairs


def _parse_sed(expression: str) -> tuple[str, str]:
    """Return FIND and PUT of `s/FIND/PUT/`; any character can replace the slash."""
    parts = expression[2:].split(expression[1]) if expression[:1] == "s" and len(expression) > 3 else []
    if len(parts) != 3 or parts[2]:
        raise UsageError(
            f"--regex {expression!r}: the format is s/FIND/PUT/", hint=r"for example 's/^(\w+)_hair$/\1 hair/'"
        )
    return parts[0], parts[1]
