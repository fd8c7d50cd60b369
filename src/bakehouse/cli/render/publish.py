"""Output of `bakehouse publish`, and its questions."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence

from bakehouse.cli.render.consoles import print_json, stderr_console
from bakehouse.cli.render.events import progress_renderer
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.errors import UsageError
from bakehouse.core.events import result_of
from bakehouse.core.message_text import counted
from bakehouse.core.units import size
from bakehouse.publish import PublicationPlan, Published, open_destination, preview, publish


def preview_plan(plan: PublicationPlan, to: str, *, json: bool, quiet: bool) -> None:
    """Print what would be published: the model, each file, and what is asked first."""
    ask = _ask_token if sys.stdin.isatty() and not json else None
    destination = open_destination(to, plan.facts.spec, ask=ask)
    with progress_renderer(quiet=quiet or json) as on_event:
        shown = result_of(preview(plan, destination), on_event)
    found = shown.to_json()
    if json:
        print_json({**found, "to": to})
        return
    echo(f"{found['title']} ({found['kind']}): {found['weights']} at strength {found['strength']:g} to {to}")
    echo(f"base: {found['base']}, licence: {found['licence']}")
    echo(f"trigger words: {', '.join(found['triggers']) or 'none'}")
    echo(f"gallery: {counted(len(plan.images), 'image')}")
    for image in plan.images:
        echo(f"  {image.name}  {image.prompt}")
    echo(f"files: {counted(len(shown.found.files), 'file')}")
    for file in shown.found.files:
        echo(f"  {file.state:<7}  {size(file.bytes):>8}  {file.name}")
    for note in shown.found.notes:
        echo(note)
    for concern in plan.concerns:
        echo(f"asks first ({concern.name}): {concern.why}")


def confirm(plan: PublicationPlan, *, yes: bool, accepted: Sequence[str], json: bool) -> None:
    """Ask about each concern that was not accepted, where there is a terminal and not JSON.

    Raises:
        UsageError: the answer is no, or there is nobody to ask.
    """
    for concern in () if yes else plan.concerns:
        if concern.name in accepted:
            continue
        if json or not sys.stdin.isatty():
            raise UsageError(
                f"not published: {concern.why}",
                hint=f"pass --accept {concern.name} to publish in spite of this, or --yes for all of this kind",
            )
        stderr_console().print(concern.why, style="yellow", soft_wrap=True)
        if input("publish anyway? [y/N] ").strip().lower() not in ("y", "yes"):
            raise UsageError("not published")


def publish_to(plan: PublicationPlan, to: str, *, json: bool, quiet: bool) -> None:
    """Publish with progress, and print the result."""
    # The Hub's own bars count bytes of each file; beside ours they would be drawn over each other.
    bars = to.startswith("hub:") and stderr_console().is_terminal and not (json or quiet)
    ask = _ask_token if sys.stdin.isatty() and not json else None
    destination = open_destination(to, plan.facts.spec, ask=ask, bars=bars)
    with progress_renderer(quiet=quiet or json or bars) as on_event:
        published = result_of(publish(plan, destination), on_event)
    _print_published(published, json=json)


def _ask_token() -> str:
    return getpass.getpass("token of the Hugging Face Hub, with the right to write (it is not kept): ")


def _print_published(published: Published, *, json: bool) -> None:
    if json:
        print_json(published.to_json())
        return
    for note in published.notes:
        echo(note)
    same = f", {counted(published.unchanged, 'file')} unchanged" if published.unchanged else ""
    echo(f"published to {published.where}: {counted(len(published.changed), 'file')} written{same}")
