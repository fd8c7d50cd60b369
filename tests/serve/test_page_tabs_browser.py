"""Several tabs of the page at once: while its server is killed and comes back, and while both edit one caption."""

from __future__ import annotations

import shutil
import signal

from tests.serve.browser import SECONDS
from tests.serve.conftest import Served
from tests.serve.test_page_browser import MIRA

LOST = "The server does not answer."
ROUTES = ("/", "/generate", "/gallery", "/new", "/trainings", "/datasets/mira")


def test_tabs_outlive_a_kill_of_the_server_and_keep_an_edit_of_another_tab(browser, tmp_path):
    photos = tmp_path / "datasets" / "mira"
    photos.mkdir(parents=True)
    for ending in ("png", "txt"):
        shutil.copy(MIRA / f"01.{ending}", photos)
    served = Served(tmp_path)
    url = served.ready["url"]
    context = browser.new_context(locale="en")

    def tab(route: str):
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(f"{url}/#{route}")
        page.get_by_role("heading", level=1).wait_for()
        return page

    try:
        context.new_page().goto(f"{url}/#token={served.ready['token']}")
        tabs = {route: tab(route) for route in ROUTES}
        tabs["/generate"].get_by_label("Prompt").fill("a red robot")
        served.end(signal.SIGKILL)
        for page in tabs.values():
            page.get_by_text(LOST).wait_for()
        served = Served(tmp_path, "--port", url.rsplit(":", 1)[1])
        for route, page in tabs.items():
            page.get_by_text(LOST).wait_for(state="detached")
            page.get_by_role("heading", level=1).wait_for()
            assert page.url == f"{url}/#{route}"
        assert tabs["/generate"].get_by_label("Prompt").input_value() == "a red robot"

        first, second = tabs["/datasets/mira"], tab("/datasets/mira")
        for page, word in ((first, "first hat"), (second, "second hat")):
            page.get_by_role("button", name="01.png").first.click()
            tags = page.get_by_role("dialog").get_by_label("Tags")
            tags.fill(word)
            tags.press("Enter")
        first.get_by_role("button", name="Save", exact=True).click()
        first.get_by_role("button", name="Saved", exact=True).wait_for()
        second.get_by_role("button", name="Save", exact=True).click()
        second.get_by_text("This caption was changed in another window:").wait_for()
        caption = photos / "01.txt"
        assert "first hat" in caption.read_text() and "second hat" not in caption.read_text()
        second.get_by_role("button", name="Replace it").click()
        second.get_by_role("button", name="Saved", exact=True).wait_for()
        assert "second hat" in caption.read_text() and "first hat" not in caption.read_text()
    finally:
        context.close()
        served.end(signal.SIGTERM)
