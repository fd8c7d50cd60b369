import base64
import io
import re

import jinja2
import pytest
from PIL import Image

from bakehouse.core.html_pages import inline_image, render, webp_uri


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a template of its own."""
    folder = tmp_path / "pages_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "own.css").write_text("b > i { color: red }")
    (folder / "page.html.j2").write_text(
        '{% extends "base_page.html.j2" %}\n'
        '{% from "macros.html.j2" import inline_image %}\n'
        '{% block style %}{% include "own.css" %}{% endblock %}\n'
        "{% block body %}<p>{{ text }}</p>{{ 3 | counted('image') }}{{ inline_image(image, text) }}{% endblock %}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_text_is_escaped_and_style_is_not(package):
    text = "<script>\"a\" & 'b'</script>"
    page = render(package, "page.html.j2", title=text, text=text, image=inline_image(Image.new("RGB", (9, 5)), 9))
    escaped = "&lt;script&gt;&#34;a&#34; &amp; &#39;b&#39;&lt;/script&gt;"
    assert f"<title>{escaped}</title>" in page and f"<p>{escaped}</p>" in page and f'alt="{escaped}"' in page
    assert "<script>" not in page and "b > i { color: red }" in page and "prefers-color-scheme: dark" in page
    assert "3 images" in page and re.search(
        r'<img src="data:image/webp;base64,[^"]+" alt="[^"]+" width="9" height="5"', page
    )


def test_a_value_that_was_not_passed_is_an_error(package):
    with pytest.raises(jinja2.UndefinedError, match="text"):
        render(package, "page.html.j2", title="", image=None)


@pytest.mark.parametrize(("size", "inside"), [((400, 100), (200, 50)), ((30, 20), (30, 20)), ((1, 4000), (1, 200))])
def test_an_image_is_reduced_and_never_enlarged(size, inside):
    image = Image.new("RGBA", size, (10, 200, 30, 128))
    inline = inline_image(image, 200)
    assert (inline.width, inline.height) == inside and image.size == size
    data = base64.b64decode(inline.uri.removeprefix("data:image/webp;base64,"))
    assert Image.open(io.BytesIO(data)).size == inside and webp_uri(data) == inline.uri
