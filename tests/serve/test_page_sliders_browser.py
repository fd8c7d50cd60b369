"""Sliders in a real browser: planned in words, queued, and tried at any strength."""

from __future__ import annotations

import json
import signal

import pytest

from tests.serve.browser import PHONE, check_routes
from tests.serve.conftest import Served
from tests.serve.test_own import until

SHORT = {
    "train.steps": 2, "train.epochs": 1, "slider.points": 2, "slider.steps": 2, "slider.images": 1,
    "slider.strengths": [1.0], "sample.prompts": [], "sample.steps": 2, "adapter.rank": 2,
}  # fmt: skip
WORDS = {"target": "person", "positive": "person, big smile", "negative": "person, frown"}


@pytest.fixture(scope="module")
def live(tiny_folder, tmp_path_factory):
    """A server that trains a slider of a tiny model for two steps."""
    folder = tmp_path_factory.mktemp("sliders")
    served = Served(folder, f"tiny={tiny_folder}")
    try:
        recipe = {"kind": "slider", "model": {"base": "tiny"}, "slider": {"prompts": [WORDS]}}
        asked = {"recipe": recipe, "settings": SHORT, "name": "smile"}
        answer = served.request("POST", "/api/v1/runs", asked)
        assert answer.status_code == 201, answer.text
        yield served
    finally:
        served.end(signal.SIGTERM)


def test_a_slider_is_planned_in_words_and_queued(new_page, live):
    page = new_page("/sliders")
    page.get_by_role("link", name="smile").wait_for()
    page.get_by_role("link", name="New slider").click()
    page.get_by_role("button", name="Length of hair").click()
    page.get_by_text("Strength 1 shows “person, long hair”").wait_for()
    page.get_by_label("Most steps").fill("3")
    page.get_by_role("button", name="Show as code").click()
    command = page.locator("pre.code").first.inner_text()
    assert "bakehouse train --kind slider --target person --positive 'person, long hair'" in command
    assert "--keep 'smile, frown'" in command and "--set train.steps=3" in command
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_url("**/sliders/long-hair")
    page.get_by_role("button", name="Stop").click()  # it waits for the other one
    page.get_by_role("button", name="Go on").wait_for()
    recipe = live.request("GET", "/api/v1/runs/long-hair/recipe").json()["recipe"]
    assert recipe["slider"]["prompts"][0]["negative"] == "person, short hair" and recipe["train"]["steps"] == 3
    assert recipe["slider"]["keep"] == ["smile", "frown"]


def test_a_slider_says_its_range(live):
    until(lambda: live.request("GET", "/api/v1/runs/smile").json()["state"] in ("done", "failed"), 240)
    found = live.request("GET", "/api/v1/runs/smile/slider").json()
    assert [place["strength"] for place in found["places"]] == [-1.0, 0.0, 1.0], found
    assert found["low"] <= found["preferred"] <= found["high"] and found["prompts"][0]["target"] == "person"
    for place in found["places"]:
        (url,) = place["images"]
        assert live.request("GET", url).content.startswith(b"\x89PNG")
    assert found["sample"]["steps"] == 2 and found["sample"]["size"] == [64, 64]
    assert live.request("GET", "/api/v1/runs/other/slider").status_code == 404
    assert str(live.folder) not in json.dumps(found)


def test_a_slider_is_drawn_with_at_any_strength(new_page, live):
    page = new_page("/sliders/smile")
    page.get_by_role("button", name="Load it").click()
    page.get_by_role("img", name="Picture at strength").wait_for()
    control = page.get_by_role("slider", name="Strength")
    page.get_by_role("button", name="Strength -1", exact=False).first.click()
    page.get_by_role("img", name="Picture at strength -1", exact=True).wait_for()
    before = page.get_by_role("img", name="Picture at strength").get_attribute("src")
    control.focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("img", name="Picture at strength").get_attribute("src") == before  # until the next is there
    page.get_by_role("img", name="Picture at strength -0.9", exact=True).wait_for()
    assert page.get_by_role("img", name="Picture at strength").get_attribute("src") != before
    page.get_by_role("button", name="Show as code").last.click()
    assert "<lora:" in page.locator("pre.code").first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_sliders_are_accessible_and_fit_a_phone(new_page, scheme):
    page = new_page(viewport=PHONE, color_scheme=scheme, locale="pt" if scheme == "dark" else "zh")
    check_routes(page, "/sliders", "/sliders/-/new", "/sliders/smile")
