"""Options of a share; `expand_option_groups` makes an option of each field. None: as it was, or the default."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bakehouse.serve.store.shares import ShareSettings

ANY = "any"
"""What lifts a limit."""
_LIMITS = ("day", "month", "address_day", "address_month")


@dataclass(frozen=True)
class ShareOptions:
    """What a share offers, to whom, and how much of it."""

    title: Annotated[str | None, typer.Option(help="Headline of the page. Default: NAME.")] = None
    intro: Annotated[str | None, typer.Option(help="A few sentences below the headline.")] = None
    subject: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Words in every prompt. Default: the model's trigger.")
    ] = None
    negative: Annotated[str | None, typer.Option(metavar="WORDS", help="Negative prompt of all images.")] = None
    templates: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="Offer a set of `bakehouse templates`; NAME:3 for one. Repeatable."),
    ] = None
    template: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help='Offer a template, e.g. "{subject} in {red|blue}". Repeatable.'),
    ] = None
    width: Annotated[int | None, typer.Option(metavar="N", help="Width of images. Default: the model's.")] = None
    height: Annotated[int | None, typer.Option(metavar="N", help="Height of images. Default: the model's.")] = None
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps of images. Default: 20.")] = None
    guidance: Annotated[float | None, typer.Option(metavar="X", help="Guidance. Default: the model's.")] = None
    characters: Annotated[int | None, typer.Option(metavar="N", help="Longest prompt. Default: 300.")] = None
    day: Annotated[
        str | None, typer.Option(metavar="N|any", help="Images a day for all visitors together. Default: 200.")
    ] = None
    month: Annotated[str | None, typer.Option(metavar="N|any", help="Images a month for all visitors together.")] = None
    address_day: Annotated[
        str | None, typer.Option(metavar="N|any", help="Images a day for each address. Default: 20.")
    ] = None
    address_month: Annotated[str | None, typer.Option(metavar="N|any", help="Images a month for each address.")] = None
    gallery: Annotated[bool | None, typer.Option(help="Let visitors show images to each other. Default: yes.")] = None
    embed: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN|*", help="Site whose pages may show it in a frame. Repeatable."),
    ] = None
    days: Annotated[float | None, typer.Option(metavar="N", help="Close it after so long.")] = None

    def settings(self, model: str | None, before: ShareSettings | None = None) -> ShareSettings:
        """Return the settings that the options give.

        Args:
            model: name of a served model; None: as before.
            before: settings that options change; None: a new share's.

        Raises:
            UsageError: a value that a share cannot have, or an unknown set of templates.
        """
        from bakehouse.core.errors import UsageError
        from bakehouse.serve.shares.templates import templates_of
        from bakehouse.serve.store.shares import ShareSettings

        kept = ("title", "intro", "subject", "negative", "width", "height", "steps", "guidance", "gallery")
        given: dict[str, Any] = {name: getattr(self, name) for name in kept}
        given |= {"model": model, "prompt_characters": self.characters}
        values = {name: value for name, value in given.items() if value is not None}
        values |= {name: _limit(name, text) for name in _LIMITS if (text := getattr(self, name)) is not None}
        if self.templates or self.template:
            values["templates"] = templates_of(self.templates or (), self.template or ())
        if self.embed is not None:
            values["embed"] = tuple(site.strip().rstrip("/").lower() for site in self.embed if site)
        if self.days is not None:
            if not self.days > 0:
                raise UsageError(f"--days {self.days:g}: must be more than 0")
            values["expires"] = time.time() + 24 * 3600 * self.days
        return ShareSettings(**{**({} if before is None else vars(before)), **values})


def _limit(name: str, text: str) -> int | None:
    from bakehouse.core.errors import UsageError

    if text.strip().lower() == ANY:
        return None
    if not text.strip().isdecimal():
        raise UsageError(f"--{name.replace('_', '-')} {text!r}: allowed are a whole number from 1 on, or {ANY}")
    return int(text)
