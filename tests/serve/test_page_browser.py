"""Whole ways through the page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.serve.browser import PHONE, SECONDS, check_routes

MIRA = Path(__file__).parents[2] / "src/bakehouse/assets/examples/mira"
PAGES = ("/", "/generate", "/gallery", "/new", "/datasets", "/trainings", "/shares", "/usage", "/settings")


def draw(page, prompt: str) -> None:
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("button", name="More settings").click()
    page.get_by_label("Steps").fill("4")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_role("button", name=f"Open: {prompt}").first.wait_for()


def test_a_picture_is_drawn_starred_found_and_used_again(new_page):
    page = new_page("/generate")
    draw(page, "a red robot, at the beach")
    assert "token" not in page.url
    page.get_by_role("button", name="Open: a red robot").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Star").click()
    page.keyboard.press("Escape")
    page.goto(page.url.replace("/generate", "/gallery"))
    page.get_by_label("Starred").check()
    page.get_by_label("Search by words or seed").fill("robot")
    page.get_by_role("listitem").get_by_role("button", name="Open: a red robot").click()
    seed = re.search(r"Seed: (\d+)", page.locator("pre.code").inner_text())[1]
    page.get_by_role("button", name="Use its settings").click()
    page.get_by_role("button", name="More settings").click()
    assert page.get_by_label("Prompt").input_value() == "a red robot, at the beach"
    assert page.get_by_label("Seed").input_value() == seed
    page.get_by_role("button", name="Show as code").click()
    assert f"--seed {seed}" in page.locator("pre.code").first.inner_text()


def test_photos_become_a_training_and_a_picture(new_page):
    page = new_page("/new")
    photos = [MIRA / f"{number:02}{ending}" for number in range(1, 7) for ending in (".png", ".txt")]
    page.locator("input[type=file]:not([data-folder])").set_input_files(photos)
    page.get_by_text("6 photos").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_label("What do you call it?").fill("Mira")
    page.get_by_role("radio", name="Style").click()
    assert page.get_by_label("Its word in prompts").input_value() == "mrx"
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Most steps").fill("2")
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_url("**/trainings/Mira")
    page.get_by_role("button", name="Draw with it").click(timeout=4 * SECONDS)  # when it is trained
    page.wait_for_url("**/generate")
    page.get_by_role("button", name="Add mrx style to the prompt").click()
    assert page.get_by_label("Prompt").input_value().startswith("mrx style")
    draw(page, "mrx style, a house")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_a_phone(new_page, scheme):
    page = new_page(viewport=PHONE, color_scheme=scheme, locale="pt" if scheme == "dark" else "zh")
    check_routes(page, *PAGES)
    assert page.evaluate("document.documentElement.lang") == ("pt" if scheme == "dark" else "zh")
