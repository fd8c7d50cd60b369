"""The HTML that shows a share in a page of another site."""

from __future__ import annotations

import html

from bakehouse.serve.store.shares import Share


def embed_code(share: Share, url: str) -> str:
    """Return an `<iframe>`; `url` is the server's address as visitors reach it."""
    source = html.escape(f"{url.rstrip('/')}{share.path}")
    title = html.escape(share.title)
    style = "border:0;width:100%;max-width:720px;height:820px"
    return f'<iframe src="{source}" title="{title}" style="{style}" loading="lazy"></iframe>'
