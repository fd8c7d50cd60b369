from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json
from bakehouse.cli.serve import Data

tokens = typer.Typer(help="Tokens of `bakehouse serve`: who may use it, and how much.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the token: who uses it.")]


@tokens.command("add")
def add(
    name: Name,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may do: read, draw, train or admin. Repeatable. Default: draw."),
    ] = None,
    characters: Annotated[int | None, typer.Option(metavar="N", help="Characters of prompts a month.")] = None,
    pictures: Annotated[int | None, typer.Option(metavar="N", help="Images a month.")] = None,
    requests: Annotated[int | None, typer.Option(metavar="N", help="Requests a minute.")] = None,
    concurrent: Annotated[int | None, typer.Option(metavar="N", help="Requests at once.")] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make a token and print it. It cannot be shown again."""
    from bakehouse.cli.render.serve import print_new_token
    from bakehouse.serve.store.store import open_store
    from bakehouse.serve.store.tokens import Quota, parse_scopes

    with open_store(data) as store:
        token, text = store.tokens.add(
            name, parse_scopes(scope or ["draw"]), Quota(characters, pictures, requests, concurrent)
        )
    print_new_token(token, text, json=json)


@tokens.command("list")
def list_tokens(data: Data = None, json: Json = False) -> None:
    """List the tokens with what they have used this month."""
    from bakehouse.cli.render.serve import print_tokens
    from bakehouse.serve.store.store import open_store

    with open_store(data) as store:
        print_tokens([(token, store.ledger.used(token.caller)) for token in store.tokens.all()], json=json)


@tokens.command("revoke")
def revoke(name: Name, data: Data = None) -> None:
    """Revoke a token at once, also in a server that is running."""
    from bakehouse.cli.render.safe_printing import echo
    from bakehouse.serve.store.store import open_store

    with open_store(data) as store:
        token = store.tokens.revoke(name)
    echo(f"revoked token {token.name}; its usage is kept")


@tokens.command("usage")
def usage(
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Month, in UTC. Default: all.")] = None,
    data: Data = None,
) -> None:
    """Print what was used, as CSV."""
    from bakehouse.cli.render.safe_printing import echo
    from bakehouse.serve.store.store import open_store
    from bakehouse.serve.store.usage import usage_csv

    with open_store(data) as store:
        echo(usage_csv(store.ledger.rows(month=month)), end="")
