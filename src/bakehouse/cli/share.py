from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.options import Json
from bakehouse.cli.serve import Data
from bakehouse.cli.share_options import ShareOptions

share = typer.Typer(help="Links to one model, for people without a token.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the share.")]
ImageId = Annotated[str, typer.Argument(metavar="IMAGE", help="Id of an image, as `share images` lists it.")]
Url = Annotated[
    str, typer.Option(metavar="URL", help="Address by which visitors reach the server, for links.", show_default=True)
]
_URL = "http://127.0.0.1:7860"


@share.command("add")
@expand_option_groups
def add(
    name: Name,
    model: Annotated[str, typer.Option(help="Name of a served model.")] = "crumb",
    url: Url = _URL,
    data: Data = None,
    json: Json = False,
    options: ShareOptions = ShareOptions(),  # noqa: B008 - frozen
) -> None:
    """Make a share and print its link."""
    from bakehouse.cli.render.share import print_share
    from bakehouse.serve.store.store import open_store

    settings = options.settings(model)
    with open_store(data) as store:
        print_share(store.shares.add(name, settings), url, json=json)


@share.command("change")
@expand_option_groups
def change(
    name: Name,
    model: Annotated[str | None, typer.Option(help="Name of a served model.")] = None,
    url: Url = _URL,
    data: Data = None,
    json: Json = False,
    options: ShareOptions = ShareOptions(),  # noqa: B008 - frozen
) -> None:
    """Change settings of a share; its link stays."""
    from bakehouse.cli.render.share import print_share
    from bakehouse.serve.store.store import open_store

    with open_store(data) as store:
        before = store.shares.named(name).settings
        print_share(store.shares.change(name, options.settings(model, before)), url, json=json)


@share.command("list")
def list_shares(url: Url = _URL, data: Data = None, json: Json = False) -> None:
    """List the shares with their links and use."""
    from bakehouse.cli.render.share import print_shares
    from bakehouse.serve.store.store import open_store

    with open_store(data) as store:
        usage, pictures = store.share_usage, store.share_pictures
        rows = [(one, usage.drawn(one), pictures.reported(one.id)) for one in store.shares.all()]
    print_shares(rows, url, json=json)


@share.command("revoke")
def revoke(name: Name, data: Data = None) -> None:
    """Revoke a share at once, also in a server that is running."""
    from bakehouse.cli.render.safe_printing import echo
    from bakehouse.serve.store.store import open_store

    with open_store(data) as store:
        found = store.shares.revoke(name)
    echo(f"revoked share {found.name}; its images and usage are kept")


@share.command("embed")
def embed(name: Name, url: Url = _URL, data: Data = None) -> None:
    """Print the HTML that shows a share in a page of another site."""
    from bakehouse.cli.render.safe_printing import echo
    from bakehouse.core.errors import UsageError
    from bakehouse.serve.shares.embed import embed_code
    from bakehouse.serve.store.store import open_store

    with open_store(data) as store:
        found = store.shares.named(name)
    if not found.settings.embed:
        raise UsageError(
            f"no site may show the share {found.name!r} in a frame",
            hint=f"allow one first: bakehouse share change {found.name} --embed https://example.org",
        )
    echo(embed_code(found, url))


@share.command("images")
def images(
    name: Name,
    only: Annotated[
        Literal["all", "shown", "reported"], typer.Option(help="All, those in the gallery, or reported ones.")
    ] = "all",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most images to list.")] = 50,
    data: Data = None,
    json: Json = False,
) -> None:
    """List what visitors have drawn, the newest first."""
    from bakehouse.cli.render.share import print_share_images
    from bakehouse.serve.store.store import open_store

    with open_store(data) as store:
        pictures = store.share_pictures
        found = pictures.for_owner(store.shares.named(name).id, limit=limit, only=only)
        print_share_images([(one, pictures.reasons(one.job)) for one in found], store.pictures.path, json=json)


@share.command("hide")
def hide(
    name: Name,
    image: ImageId,
    undo: Annotated[bool, typer.Option("--undo", help="Let it stay, whatever is reported.")] = False,
    data: Data = None,
) -> None:
    """Hide an image from visitors."""
    from bakehouse.cli.render.safe_printing import echo
    from bakehouse.serve.store.store import open_store

    with open_store(data) as store:
        found = store.share_picture(name, image)
        store.share_pictures.hide(found.job, hidden=not undo)
    echo(f"image {found.job} is {'shown again' if undo else 'hidden'}")


@share.command("remove")
def remove(name: Name, image: ImageId, data: Data = None) -> None:
    """Remove an image and its prompt for good."""
    from bakehouse.cli.render.safe_printing import echo
    from bakehouse.serve.store.store import open_store

    with open_store(data) as store:
        found = store.share_picture(name, image)
        store.remove_share_picture(found)
    echo(f"removed image {found.job}")
