"""The page's trainings in a real browser: the recipe's form, the queue, comparing, blind tests, triggers."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

import pytest

from bakehouse.core.folder_lock import locked
from bakehouse.core.parse_json_toml_yaml import parse_json, parse_toml
from bakehouse.queue.job_queue import JobQueue
from bakehouse.recipe import recipe_for_folder
from bakehouse.recipe.write_recipe import recipe_to_toml
from tests.serve.browser import PHONE, check_accessible
from tests.serve.conftest import Served
from tests.serve.finished_run import STATES, write_finished_run
from tests.serve.test_page_browser import MIRA

WAITING = ("one", "two", "three")
COMPARED = "/compare?runs=%5B%22first%22%2C%22second%22%5D"


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Iterator[Served]:
    """A server with two finished runs and three trainings that wait, since this process holds the queue."""
    folder = tmp_path_factory.mktemp("runs")
    photos = folder / "datasets" / "mira"
    photos.mkdir(parents=True)
    for number in range(1, 7):
        shutil.copy(MIRA / f"{number:02}.png", photos)
        worn = "teal overalls" if number <= 3 else "white dress"
        (photos / f"{number:02}.txt").write_text(f"1girl, blue eyes, {worn}, smile\n")
    write_finished_run(folder / "runs" / "first", photos)
    write_finished_run(folder / "runs" / "second", photos, loss=0.2, adapter__rank=4, adapter__kind="loha")
    queue = JobQueue(folder / "queue.db")
    for name in WAITING:
        queue.add(name, recipe_to_toml(recipe_for_folder(photos, "mrx woman")), folder / "runs" / name)
    with locked(folder / "queue.jobs" / "cpu", "running the queue"):
        served = Served(folder)
        try:
            vote = {
                "question": "better",
                "first": "base",
                "second": STATES[0],
                "seed": 1,
                "number": 0,
                "choice": "left",
            }
            assert served.request("POST", "/api/v1/runs/second/blind-test/votes", vote).status_code == 201
            yield served
        finally:
            served.end(signal.SIGTERM)


def order(live: Served) -> list[str]:
    rows = live.request("GET", "/api/v1/runs").json()["runs"]
    return [row["name"] for row in rows if row["state"] == "waiting"]


def test_a_form_shows_reasons_and_errors_and_changes_a_training_that_waits(new_page, live):
    page = new_page("/trainings/one")
    rank, rate = page.get_by_role("textbox", name="Rank"), page.get_by_role("textbox", name="Learning rate")
    rank.fill("-1")
    rate.fill("fast")
    page.get_by_text("should be greater than or equal to 1").wait_for()
    page.get_by_text("should be a valid number").wait_for()  # both at once, each at its field
    assert rank.get_attribute("aria-invalid") == rate.get_attribute("aria-invalid") == "true"
    assert page.get_by_role("button", name="Save the settings").is_disabled()
    rank.fill("4")
    page.get_by_role("button", name="Reset optimizer.lr").click()
    page.get_by_text("Preset: 16").wait_for()
    assert rate.input_value() == "0.002"
    page.get_by_text("All settings").click()
    page.get_by_label("Find a setting").fill("loss.huber_c")
    huber = page.get_by_role("textbox", name="loss.huber_c")
    page.get_by_text("Not used here: without loss.kind = 'huber' or 'smooth_l1'").wait_for()
    assert huber.is_disabled()
    page.get_by_label("Find a setting").fill("loss.kind")
    page.get_by_role("combobox", name="loss.kind").click()
    page.get_by_role("option", name="huber", exact=True).click()
    page.get_by_label("Find a setting").fill("loss.huber_c")
    page.get_by_text("Not used here").wait_for(state="detached")
    assert huber.is_enabled()
    page.get_by_role("button", name="Save the settings").click()
    page.get_by_text("Saved. It trains with these settings.").wait_for()
    recipe = parse_toml(live.request("GET", "/api/v1/runs/one/recipe").json()["toml"])
    assert (recipe["adapter"]["rank"], recipe["loss"]["kind"], "lr" in recipe.get("optimizer", {})) == (
        4,
        "huber",
        False,
    )


def test_another_kind_of_adapter_has_its_own_settings(new_page):
    page = new_page("/trainings/two")
    page.get_by_text("All settings").click()
    page.get_by_label("Find a setting").fill("adapter.")
    page.get_by_text("adapter.rs_lora", exact=True).wait_for()
    page.get_by_role("combobox", name="adapter.kind").click()
    page.get_by_role("option", name="oft", exact=True).click()
    page.get_by_text("adapter.block_size", exact=True).wait_for()
    assert page.get_by_text("adapter.rs_lora", exact=True).count() == 0
    page.get_by_text("Only what I changed (1)").click()
    assert page.locator(".setting").count() == 1


def test_the_queue_is_reordered_by_buttons_and_by_drag(new_page, live):
    page = new_page("/trainings")
    page.get_by_role("button", name="Earlier: three").focus()
    page.keyboard.press("Enter")
    page.get_by_text("three is now number 2.").wait_for()
    page.locator("[aria-label='Earlier: three']:focus").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("three is now number 1.").wait_for()
    page.locator("[aria-label='Later: three']:focus").wait_for()  # it cannot go further up
    page.wait_for_load_state("networkidle")
    assert order(live) == ["three", "one", "two"]
    rows = page.get_by_role("list", name="Waiting").get_by_role("listitem")
    assert rows.count() == 3
    rows.nth(2).locator(".grip").drag_to(rows.nth(0), target_position={"x": 40, "y": 4})
    page.get_by_text("two is now number 1.").wait_for()
    page.wait_for_load_state("networkidle")
    assert order(live) == ["two", "three", "one"]
    page.get_by_role("button", name="Hold back: three").click()
    page.get_by_role("button", name="Go on: three").wait_for()
    assert order(live) == ["two", "one"]
    page.get_by_role("button", name="Go on: three").click()
    page.get_by_role("button", name="Hold back: three").wait_for()
    assert order(live) == ["two", "three", "one"]


def test_trainings_are_compared(new_page):
    page = new_page("/trainings")
    page.get_by_role("link", name="Compare", exact=True).click()
    page.get_by_role("heading", name="Settings that differ").wait_for()
    keys = page.locator("code.key")
    keys.first.wait_for()
    assert {"adapter.kind", "adapter.rank"} <= set(keys.all_inner_texts())
    assert "train.batch" not in keys.all_inner_texts()
    page.get_by_role("img", name="first: Loss from 0.1000 to 0.0125").wait_for()
    page.get_by_role("row", name="Prior drift").wait_for()
    assert page.get_by_role("img", name="second, epoch 2").count() == 2
    page.get_by_role("combobox", name="Trainings").click()
    page.get_by_role("option", name="second").click()
    page.get_by_text("Choose two trainings").wait_for()


def test_a_blind_test_is_answered_with_the_keyboard(new_page, live):
    page = new_page("/trainings/first")
    page.get_by_role("button", name="Begin", exact=True).click()
    for number in range(1, 5):
        page.get_by_text(f"{number} of 4").wait_for()
        page.keyboard.press("ArrowLeft" if number % 2 else "ArrowRight")
    page.get_by_text("4 pairs answered.").wait_for()
    page.keyboard.press("Backspace")
    page.get_by_text("4 of 4").wait_for()
    page.keyboard.press("ArrowDown")
    page.get_by_text("4 pairs answered.").wait_for()
    page.get_by_role("button", name="End", exact=True).click()
    page.get_by_text("of 3 pairs. No difference in 1.").wait_for()
    page.get_by_text("May be chance").wait_for()
    votes = parse_json((live.folder / "runs/first/report/blind_test.json").read_text())["votes"]
    assert len(votes) == 4
    assert {vote["choice"] for vote in votes} <= {None, "base", *STATES}


def test_triggers_are_declared_and_captions_written(new_page, live):
    page = new_page("/datasets/mira")
    page.get_by_role("button", name="Triggers").click()
    page.get_by_role("button", name="Declare a trigger").click()
    page.get_by_role("textbox", name="Word", exact=True).fill("mrx")
    page.get_by_role("button", name="One more trigger").click()
    page.get_by_role("textbox", name="Word", exact=True).nth(1).fill("a, b")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("has a comma: a trigger is one tag").wait_for()
    page.get_by_role("textbox", name="Word", exact=True).nth(1).fill("work")
    page.get_by_role("combobox", name="Only images with these tags").nth(1).fill("teal overalls")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("img", name="mrx: 3 images; mrx + work: 3 images").wait_for()
    page.get_by_role("region", name="work").get_by_text("teal overalls").wait_for()
    assert page.locator(".diff ins").first.inner_text() == "mrx"
    page.get_by_role("button", name="Write these captions").click()
    page.get_by_role("button", name="Undo compile").wait_for()
    page.get_by_role("button", name="Write these captions").wait_for(state="detached")
    assert (live.folder / "datasets/mira/01.txt").read_text() == "mrx, work, 1girl, smile\n"


@pytest.mark.parametrize(("scheme", "language"), [("light", "zh"), ("dark", "pt"), ("light", "en")])
def test_the_pages_are_accessible_and_fit_a_phone(new_page, scheme, language):
    page = new_page(viewport=PHONE, color_scheme=scheme, locale=language)
    for route, ready in [
        (COMPARED, ".epochs"), ("/trainings", ".queue"), ("/trainings/two", ".setting"),
        ("/trainings/second", ".interval"), ("/datasets/mira", "[aria-expanded]"),
    ]:  # fmt: skip
        page.evaluate("route => { location.hash = route }", route)
        page.locator(ready).first.wait_for()
        if route == "/datasets/mira":
            page.locator("[aria-expanded]:has(.tabler-icon-tag)").click()
            page.locator(".venn").wait_for()
        page.wait_for_load_state("networkidle")
        check_accessible(page, route)
