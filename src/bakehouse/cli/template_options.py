"""Options of prompt templates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from bakehouse.cli.help_panels import TEMPLATES

if TYPE_CHECKING:
    from bakehouse.generation import ImageRequest, ModelSource
    from bakehouse.generation.templates import DrawnPrompt


@dataclass(frozen=True)
class TemplateOptions:
    """Where prompts come from beside PROMPT; `expand_option_groups` makes an option of each field."""

    panel: ClassVar[str] = TEMPLATES

    templates: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Take prompts from a set of `bakehouse templates`, or a file; NAME:3 for one. Repeatable.",
        ),
    ] = None
    slot: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=WORDS", help='Fill a slot of templates, e.g. place="in a garden". Repeatable.'),
    ] = None
    wildcards: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folder of wildcard files, for __name__ in prompts. Repeatable."),
    ] = None
    quality: Annotated[
        bool, typer.Option(help="Add the base model's usual quality and negative words to templates.")
    ] = True

    def draw(self, request: ImageRequest, source: ModelSource | None, *, prompt: str | None) -> list[DrawnPrompt]:
        """Return the prompt of each image of a request.

        Args:
            request: without templates and `prompt` its own prompt is a caption, which is used as it is.
            source: the model; a run gives the subject. None: a model on a server, of which nothing is known here.
            prompt: the user's PROMPT, which may have choices; with templates it is their subject.

        Raises:
            UsageError: as `draw_prompts`.
        """
        from dataclasses import replace

        from bakehouse.generation.templates import (
            DrawnPrompt,
            draw_prompts,
            find_templates,
            parse_slots,
            subject_slots,
        )

        if prompt is None and not self.templates:
            return [DrawnPrompt(replace(one, prompt_syntax="plain"), {}) for one in request.each()]
        given = parse_slots(self.slot or ())
        slots = {**(subject_slots(source) if source else {}), **given}
        if self.templates and prompt is not None:
            slots["subject"] = given.get("subject", prompt)
        usual = source.usual if source else None
        known = None if usual is None else usual.conventions
        if known is not None and not self.quality:
            known = known.model_copy(update={"quality": "", "negative": ""})
        return draw_prompts(
            replace(request, prompt="") if self.templates else request,
            sets=[find_templates(ref) for ref in self.templates or ()],
            slots=slots,
            wildcards=self.wildcards or (),
            conventions=known,
        )
