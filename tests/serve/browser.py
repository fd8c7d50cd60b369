"""What tests in a real browser share: Debian's Chromium, driven by Playwright, and axe."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HAS_PLAYWRIGHT = all(importlib.util.find_spec(name) for name in ("playwright", "axe_playwright_python"))
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1440, "height": 900}
SECONDS = 60_000
WITHOUT_GPU = ["--no-sandbox", "--disable-gpu"]
"""Without the second, a process of its own computes what a GPU would."""


@pytest.fixture(scope="module")
def browser():
    """Chromium; tests that need it are skipped where it, or what drives it, is not installed."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    if not HAS_PLAYWRIGHT:
        pytest.skip("needs playwright: pip install 'bakehouse[dev]'")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=WITHOUT_GPU)
        yield started
        started.close()


@pytest.fixture
def new_page(browser, live) -> Iterator:
    """Open the page at a route, signed in by the link that the server prints. Messages of the console fail the test.

    Each page is that of a new visitor, for whom the service worker would fetch all of its files: it is off. What it is
    for is tested where the server goes away.
    """
    contexts, messages = [], []

    def open_page(route: str = "/", **options):
        context = browser.new_context(**{"viewport": DESK, "locale": "en", "service_workers": "block", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on(
            "console", lambda m: messages.append(m.text) if m.type == "error" and "status of 4" not in m.text else None
        )
        page.goto(f"{live.ready['url']}/#token={live.ready['token']}")
        page.get_by_role("heading", level=1).wait_for()
        page.goto(f"{live.ready['url']}/#{route}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


def check_accessible(page, what: str = "", width: int = PHONE["width"]) -> None:
    """Check that nothing is wider than the screen, and that axe finds nothing serious."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.evaluate("document.documentElement.scrollWidth") <= width, what
    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    assert not [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found], what


def check_routes(page, *routes: str) -> None:
    """Go through routes of the page and check each, on a phone."""
    for route in routes:
        page.evaluate("route => { location.hash = route }", route)
        page.get_by_role("heading", level=1).wait_for()
        page.wait_for_load_state("networkidle")
        check_accessible(page, route)
