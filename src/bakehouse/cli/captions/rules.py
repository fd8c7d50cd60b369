from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.render.printing import say


def rules(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of rules, or of a list that rules use.")] = "",
) -> None:
    """Print shipped rules and lists to copy and change. Without a name: say what there is."""
    from bakehouse.data.shipped_tag_lists import shipped_names, summary_of, text_of

    say(text_of(name) if name else "\n".join(f"{one:<15} {summary_of(one)}" for one in sorted(shipped_names())))
