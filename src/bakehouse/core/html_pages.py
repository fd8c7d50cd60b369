"""Render HTML pages from Jinja templates: each page is one file with its style and images inside.

A template lies beside the module that renders it and extends `base_page.html.j2`: the document's frame and the common
style in light and dark. It fills the blocks `style` (more CSS) and `body`. Values are escaped unless they are `Markup`;
a name that the caller did not pass is an error.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from PIL import Image

from bakehouse.core.message_text import counted

WEBP_QUALITY = 82


@dataclass(frozen=True)
class InlineImage:
    """An image as a data URI with its size in pixels; `macros.html.j2` has `inline_image` to place it."""

    uri: str
    width: int
    height: int


def render(package: str, template: str, **values: object) -> str:
    """Return the text of `template`, a file in `package`'s folder, filled with `values`.

    Templates can include files of their own folder (`{% include "page.css" %}`) and those of `bakehouse.core`.
    They have the filter `counted`: `{{ 3 | counted("image") }}` is `3 images`.

    Args:
        package: dotted name of the package that holds the template, such as `bakehouse.audit`.
        template: name of the file, such as `html_report.html.j2`.
        values: what the template may name. Text is escaped; HTML has to come as `markupsafe.Markup`.

    Raises:
        jinja2.TemplateError: the template is missing or wrong, or names a value that was not passed.
    """
    return _environment(package).get_template(template).render(values)


def inline_image(image: Image.Image, longest_side: int) -> InlineImage:
    """Return a WebP copy of `image` as a data URI; its longer side has at most `longest_side` pixels."""
    if max(image.size) > longest_side:
        image = image.copy()
        image.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=WEBP_QUALITY, method=4)
    return InlineImage(webp_uri(stream.getvalue()), image.width, image.height)


def webp_uri(data: bytes) -> str:
    """Return the bytes of a WebP file as a data URI."""
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


@cache
def _environment(package: str) -> Environment:
    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader("bakehouse.core", ".")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["counted"] = counted
    return environment
