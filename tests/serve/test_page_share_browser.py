"""A share in a real browser: an owner makes it, visitors on phones draw, show, report and remove."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.serve.browser import DESK, PHONE, check_accessible

MILLISECONDS = 200_000
EXPECTED = r"status of 4|frame-ancestors"
"""Messages of the console about what tests refuse on purpose."""
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def open_page(browser) -> Iterator:
    """Open an address in a browser of its own. Messages of the console fail the test, as do dialogs of scripts."""
    contexts, messages = [], []

    def open_at(address: str, **options):
        context = browser.new_context(**{"viewport": PHONE, "locale": "en", "service_workers": "block", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: messages.append(dialog.message))
        page.on(
            "console",
            lambda m: messages.append(m.text) if m.type == "error" and not re.search(EXPECTED, m.text) else None,
        )
        page.goto(address)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert messages == []


def owner_page(live, open_page, route: str, **options):
    page = open_page(f"{live.ready['url']}/#token={live.ready['token']}", **options)
    page.get_by_role("heading", level=1).wait_for()
    page.goto(f"{live.ready['url']}/#{route}")
    return page


def made(live, name: str, **fields) -> str:
    answer = live.request("POST", "/api/v1/shares", {"name": name, "steps": 2, "width": 64, "height": 64, **fields})
    assert answer.status_code == 201, answer.text
    return live.ready["url"] + answer.json()["path"]


def test_an_owner_makes_a_share_and_a_visitor_draws_shows_and_removes_a_picture(live, open_page):
    owner = owner_page(live, open_page, "/shares?model=crumb", viewport=DESK)  # as the button of a training opens it
    form = owner.get_by_role("dialog")
    assert form.get_by_label("Model").input_value() == "crumb"
    check_accessible(owner, width=DESK["width"])
    form.get_by_label("Name").fill("robots")
    form.get_by_label("Headline").fill(HOSTILE)
    form.get_by_label("Words in every prompt").fill("red robot")
    form.get_by_label("Your own ideas").fill("{subject} in {the snow|a forest}")
    form.get_by_role("button", name="More settings").click()
    form.get_by_label("Steps").fill("3")
    form.get_by_role("button", name="Make the link").click()
    card = owner.locator(".card").filter(has_text="robots")
    link = card.get_by_role("link", name="/share/").get_attribute("href")

    visitor = open_page(link)
    visitor.get_by_role("heading", name=HOSTILE, exact=True).wait_for()
    assert visitor.title() == HOSTILE
    visitor.get_by_role("button", name="red robot in").click()
    visitor.get_by_label("choice").select_option("a forest")
    words = visitor.get_by_label("What do you want to see?")
    assert words.input_value() == "red robot in a forest"
    words.fill(f"{HOSTILE} <lora:x:1>")
    visitor.get_by_role("button", name="Draw", exact=True).click()
    visitor.get_by_text("Left out").wait_for()
    visitor.get_by_role("img", name=HOSTILE).wait_for()
    visitor.get_by_text("19 pictures left today").wait_for()
    check_accessible(visitor)
    visitor.get_by_role("switch", name="Show it in the gallery").check()
    visitor.get_by_role("button", name=f"Open: red robot, {HOSTILE}").wait_for()

    other = open_page(link, color_scheme="dark", locale="zh")
    other.get_by_role("button", name=HOSTILE).click()
    check_accessible(other)
    other.get_by_role("button", name="举报").click()
    other.get_by_role("textbox", name="有什么问题").fill("<b>why</b>")
    other.get_by_role("button", name="提交举报").click()
    other.get_by_text("谢谢").wait_for()
    assert other.get_by_role("switch").count() == 0  # not this browser's picture

    visitor.reload()  # the browser knows its pictures again
    visitor.get_by_role("button", name="Remove").click()
    visitor.get_by_role("button", name="Undo").click()
    visitor.get_by_role("img", name=HOSTILE).wait_for()
    card.get_by_role("button", name="Pictures", exact=True).click()
    owner.get_by_text("“<b>why</b>”").wait_for()
    check_accessible(owner, width=DESK["width"])
    visitor.get_by_role("button", name="Remove").click()
    visitor.close()  # what was to be removed is removed
    other.reload()
    other.get_by_text("还没有人展示图片").wait_for()


def test_what_is_used_up_and_what_is_over_is_said_calmly(live, open_page):
    link = made(live, "small", address_day=1, title="Small")
    page = open_page(link, color_scheme="dark", locale="pt")
    page.get_by_label("O que você quer ver?").fill("a cat")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Você já desenhou a sua imagem").wait_for()
    assert page.get_by_role("button", name="Desenhar", exact=True).is_disabled()
    page.get_by_role("img", name="a cat").wait_for()
    check_accessible(page)
    # A proxy of this machine says who comes: another address has a quota of its own.
    headers = {"X-Visitor": "x" * 32, "X-Forwarded-For": "203.0.113.9"}
    assert requests.get(f"{link}/about", headers=headers, timeout=60).json()["left"][0]["left"] == 1
    assert live.request("DELETE", "/api/v1/shares/small").status_code == 200
    page.reload()
    page.get_by_role("heading", name="Esta página foi encerrada").wait_for()
    page.goto(f"{live.ready['url']}/share/nothing")
    page.get_by_role("heading", name="Este link não leva a lugar nenhum").wait_for()
    check_accessible(page)


@pytest.fixture
def other_site() -> Iterator[tuple[str, dict[str, str]]]:
    """The origin of another site, and its pages by path, which a test fills in."""
    pages: dict[str, str] = {}

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path, "").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", pages
        server.shutdown()
        thread.join()


def test_a_frame_is_shown_where_the_owner_allows_it(live, open_page, other_site):
    origin, pages = other_site
    allowed = made(live, "framed", embed=[origin], title="Framed")
    refused = made(live, "unframed", embed=["http://another.example"], title="Unframed")
    pages["/"] = f"<h1>Site</h1><iframe src='{allowed}' title='a'></iframe>"
    pages["/refused"] = f"<h1>Site</h1><iframe src='{refused}' title='b'></iframe>"
    page = open_page(f"{origin}/")
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Framed").wait_for()
    frame.get_by_label("What do you want to see?").fill("a cat")
    frame.get_by_role("button", name="Draw", exact=True).click()
    frame.get_by_role("img", name="a cat").wait_for()
    with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
        page.goto(f"{origin}/refused")
    assert page.frame_locator("iframe").get_by_role("heading", name="Unframed").count() == 0
