"""The prompt of each image of a request: its template, its random choices, and the quality words of the base."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue.conventions import Conventions, PromptForm, with_quality
from bakehouse.core.settings import Spec
from bakehouse.generation.request import GeneratedImage, ImageRequest
from bakehouse.generation.templates.resolve import Resolver
from bakehouse.generation.templates.syntax import is_plain, parse
from bakehouse.generation.templates.template_set import LIBRARY, Template, TemplateSet
from bakehouse.generation.templates.wildcards import LIBRARY as WILDCARDS
from bakehouse.generation.templates.wildcards import Wildcards

if TYPE_CHECKING:
    from bakehouse.generation.model_source import ModelSource


@dataclass(frozen=True)
class DrawnPrompt:
    """The request of one image with its prompt resolved, and the infotext's record of the template."""

    request: ImageRequest
    record: Mapping[str, str]
    """Settings of the infotext: `Template`, as the webui's Dynamic Prompts writes it, and `Template name`."""


class _Defaults(Spec):
    """What fills the library's slots where nothing else does."""

    sentences: dict[str, str]
    tags: dict[str, str]


def draw_prompts(
    request: ImageRequest,
    *,
    sets: Sequence[TemplateSet] = (),
    slots: Mapping[str, str] | None = None,
    wildcards: Sequence[Path] = (),
    conventions: Conventions | None = None,
    form: PromptForm | None = None,
) -> list[DrawnPrompt]:
    """Return the prompt of each image. It depends on the image's seed alone: any part of a series can be made again.

    The template is the seed's remainder by their number, so that images with consecutive seeds take all in turn.

    Args:
        request: its prompt is the template if there are no `sets`; its negative prompt may have choices too.
        sets: templates to take instead of the request's prompt.
        slots: what fills `{subject}` and the others, before what the sets and the library say.
        wildcards: folders of wildcard files, before those of the library.
        conventions: of the base. Templates get its quality words, the negative ones where the request has none, and
            its form, sentences or tags. The request's own prompt is left as it is.
        form: in place of that of the conventions.

    Raises:
        UsageError: an unknown slot or wildcard, or a template that cannot be read; before any image is made.
    """
    form = form or (conventions.prompts if conventions is not None else "sentences")
    found = Wildcards([*wildcards, WILDCARDS])
    plain = {**_defaults(form), **(slots or {})}
    pool = [(template, {**_defaults(form), **s.slots, **(slots or {})}) for s in sets for template in s.templates]
    pool = pool or [(Template("", request.prompt, where="the prompt"), plain)]
    for template, words in pool:
        _check(template, form, words, found)
    _check(Template("", request.negative, where="the negative prompt"), form, plain, found)
    quality = conventions if conventions is not None and sets else None
    return [_drawn(one, *pool[one.seed % len(pool)], form, found, quality) for one in request.each()]


def recorded(images: Iterable[GeneratedImage], drawn: Sequence[DrawnPrompt]) -> Iterator[GeneratedImage]:
    """Yield images with their template in the infotext; `drawn` are their prompts, in the same order."""
    for image, prompt in zip(images, drawn, strict=True):
        yield replace(image, infotext=image.infotext.with_settings(prompt.record)) if prompt.record else image


def subject_slots(source: ModelSource) -> dict[str, str]:
    """Return `subject`, `class` and `trigger` of a run's first concept; empty for a model without a run."""
    from bakehouse.recipe.recipe import Recipe

    if source.run is None:
        return {}
    concept = Recipe.load(source.run.recipe).concepts[0]
    named = {"subject": concept.subject, "class": concept.class_name, "trigger": concept.trigger_word}
    return {name: plain_words(words) for name, words in named.items() if words}


def parse_slots(texts: Iterable[str]) -> dict[str, str]:
    """Return the slots of `NAME=WORDS` options.

    Raises:
        UsageError: an option without a name or `=`, or words that cannot be read as a template.
    """
    found = {}
    for text in texts:
        name, equals, words = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError(f"--slot {text!r} is not NAME=WORDS", hint='write --slot place="in a garden"')
        try:
            parse(words)
        except UsageError as e:
            raise UsageError(f"--slot {text!r}: {e.message}", hint=e.hint) from e
        found[name.strip()] = words.strip()
    return found


def _drawn(
    request: ImageRequest,
    template: Template,
    slots: Mapping[str, str],
    form: PromptForm,
    wildcards: Wildcards,
    conventions: Conventions | None,
) -> DrawnPrompt:
    prompt = Resolver(request.seed, "prompt", slots, wildcards)
    text = prompt.resolve(template.nodes(form))
    negative = Resolver(request.seed, "negative", slots, wildcards)
    usual = conventions.negative if conventions is not None and not request.negative else ""
    parts = [negative.resolve(parse(n)) for n in (template.negative, request.negative) if n]
    resolved = replace(
        request,
        prompt=with_quality(text, conventions.quality if conventions is not None else ""),
        negative=", ".join(part for part in (*parts, usual) if part),
    )
    record = {"Template": template.text(form)} if template.name or not is_plain(template.nodes(form)) else {}
    if template.name:
        record["Template name"] = template.name
    if not is_plain(parse(request.negative)):
        record["Negative Template"] = request.negative
    return DrawnPrompt(resolved, record)


def _check(template: Template, form: PromptForm, slots: Mapping[str, str], wildcards: Wildcards) -> None:
    """Check all that a template could draw.

    Raises:
        UsageError: see `Wildcards.check`; names the template's file and line.
    """
    try:
        wildcards.check(template.nodes(form), slots)
        wildcards.check(parse(template.negative), slots)
        for words in slots.values():
            wildcards.check(parse(words), slots)
    except UsageError as e:
        known = template.where in e.message
        raise e if known else UsageError(f"{template.where}: {e.message}", hint=e.hint) from e


def plain_words(words: str) -> str:
    """Return words as a template that always resolves to exactly these words."""
    return "".join(f"\\{c}" if c in "{}|_$" else c for c in words)


@functools.cache
def _library_defaults() -> _Defaults:
    return _Defaults.load(LIBRARY / "slots" / "defaults.toml")


def default_slots(form: PromptForm = "sentences") -> dict[str, str]:
    """Return what fills the library's slots where nothing else does."""
    return dict(_defaults(form))


def _defaults(form: PromptForm) -> dict[str, str]:
    defaults = _library_defaults()
    return defaults.tags if form == "tags" else defaults.sentences
