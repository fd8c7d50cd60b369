"""How long a newcomer waits on the web page, from starting the server to a picture: `python -m benchmarks.newcomer`.

Walks through the page in headless Chromium (Debian's, driven by Playwright) as a person does: drop the photos of an
example subject, have them captioned, name it, train by the plan, evaluate, draw with the picked weights. Prints the
seconds of each part and how many times the person has to act; each action is counted with three seconds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from benchmarks.serve import server

_ACTION_SECONDS = 3
"""To find a button and press it, or to type a name."""
_PATIENCE_MS = 1_800_000


def walk(url: str, token: str, photos: Sequence[Path], screenshot: Path | None) -> tuple[dict[str, float], int]:
    """Go the whole way; return the seconds of each part, and the number of actions."""
    from playwright.sync_api import sync_playwright

    parts: dict[str, float] = {}
    actions = 0
    last = time.monotonic()

    def done(part: str, acted: int) -> None:
        nonlocal actions, last
        parts[part], last = time.monotonic() - last, time.monotonic()
        actions += acted

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en")
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(f"{url}/#token={token}")
        page.get_by_role("link", name="New subject").first.click()
        done("open the page", 1)
        page.locator("input[type=file]:not([data-folder])").set_input_files(photos)
        page.get_by_role("button", name="Mend all").click()
        page.get_by_text("Mended. The originals are kept.").wait_for()
        done("photos, looked at and captioned", 2)
        page.get_by_role("button", name="Next").click()
        page.get_by_label("What do you call it?").fill("Mira")
        page.get_by_role("button", name="Next").click()
        page.get_by_role("button", name="Train", exact=True).click()
        page.wait_for_url("**/trainings/Mira")
        done("name and plan", 4)
        page.get_by_role("button", name="Draw with it").wait_for()
        done("training", 0)
        page.get_by_role("button", name="Evaluate", exact=True).click()
        page.get_by_role("button", name="Evaluate again").wait_for()
        done("evaluation", 1)
        page.get_by_role("button", name="Draw with it").click()
        page.wait_for_url("**/generate")
        page.get_by_role("button", name="to the prompt").first.click()
        page.get_by_role("button", name="Draw", exact=True).click()
        page.get_by_role("button", name="Open: ").first.wait_for()
        done("picture", 3)
        if screenshot is not None:
            page.screenshot(path=screenshot)
        browser.close()
    return parts, actions


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--screenshot", type=Path, metavar="FILE", help="image of the page at the end")
    options = parser.parse_args(arguments)
    example = Path(str(resources.files("bakehouse"))) / "assets" / "examples" / "mira"
    began = time.monotonic()
    with server("cpu") as (url, token):
        parts = {"start the server": time.monotonic() - began}
        found, actions = walk(url, token, sorted(example.glob("*.png")), options.screenshot)
    for name, value in (parts | found).items():
        print(f"{name:<32} {value:7.1f} s")
    print(f"{'all':<32} {sum((parts | found).values()):7.1f} s")
    print(f"{'of the person':<32} {_ACTION_SECONDS * actions:7.1f} s more, {actions} actions")
    print(f"{os.cpu_count()} cores, load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
