from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.render.safe_printing import echo


def rules(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a rule set or word list.")] = "",
) -> None:
    """Print a shipped rule set or word list. Without NAME: list them."""
    from bakehouse.data.shipped_tag_lists import shipped_names, summary_of, text_of

    echo(text_of(name) if name else "\n".join(f"{one:<15} {summary_of(one)}" for one in sorted(shipped_names())))
