"""What is painted, dragged and answered by keys on the page, in a real browser: masks, regions, crops, duplicates."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image

from bakehouse.serve.store.store import open_store
from bakehouse.synthesis.candidates import Candidate, Candidates, write_accept
from tests.serve.browser import PHONE, SECONDS, check_accessible
from tests.serve.conftest import Served
from tests.serve.test_page_browser import MIRA

PAINTED_SHARE = """canvas => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((value, i) => i % 4 === 3 && value > 128).length / (data.length / 4);
}"""
SMALL_HANDLES = """() => [...document.querySelectorAll('[data-handle], .extend-handle')].filter(handle => {
    const { width, height } = handle.getBoundingClientRect();
    return width < 24 || height < 24;
}).map(handle => handle.className)"""

KEPT_FILES = """async () => {
    const cache = await caches.open((await caches.keys())[0]);
    return (await cache.keys()).map(request => request.url);
}"""


def drag(page, area, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag between two places of an element, as shares of its width and height."""
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=4)
    page.mouse.up()


def draw(page, prompt: str) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="More settings").click()
    page.get_by_label("Steps").fill("4")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_role("button", name=f"Open: {prompt}").first.wait_for()


def without_audit(page) -> None:
    """Keep the page from auditing the dataset: commands of one dataset wait for each other."""
    page.route("**/audit", lambda route: route.fulfill(status=404, json={"error": "not here"}))


def body_shown(page) -> dict:
    """The request that the page would send, as it shows it for curl; images are shortened there."""
    page.get_by_role("button", name="Show as code").click()
    page.get_by_role("tab", name="curl").click()
    text = page.get_by_role("tabpanel").locator("pre").inner_text()
    page.keyboard.press("Escape")
    return json.loads(text.split("-d '")[1].rpartition("' http")[0])


@pytest.fixture
def dataset(live, request):
    """A dataset of four images, of which two are copies, and three drawn images that wait for an answer."""
    name = f"canvas-{re.sub(r'[^a-z]+', '-', request.node.name)[-40:].strip('-')}"
    folder, run = Path(live.ready["datasets"]) / name, Path(live.ready["runs"]) / "drew"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        shutil.copy(MIRA / f"{number:02}.png", folder)
        shutil.copy(MIRA / f"{number:02}.txt", folder)
    with Image.open(folder / "03.png") as image:
        image.convert("RGB").resize((192, 192)).save(folder / "copy.jpg", quality=70)
    (run / "extend").mkdir(parents=True, exist_ok=True)
    (run / "recipe.toml").write_text("")
    items = tuple(Candidate(f"{i:03}-0.png", f"mrx person, {i}", "person", i, 0.7, 0.3, "01.png") for i in range(3))
    found = Candidates(run / "extend/0123abcd", str(folder.resolve()), "weights/a.safetensors", 1.0, {}, items)
    found.save()
    for number, one in enumerate(items, 4):
        found.path(one).parent.mkdir(exist_ok=True)
        shutil.copy(MIRA / f"{number:02}.png", found.path(one))
        found.caption_path(one).write_text(f"{one.prompt}\n")
    write_accept(found)
    yield folder
    shutil.rmtree(run)


def test_regions_are_dragged_drawn_and_recalled(new_page):
    page = new_page("/generate")
    page.get_by_role("button", name="Regions").click()
    page.get_by_role("button", name="Halves").click()
    stage = page.get_by_role("group", name="Regions of the picture")
    drag(page, stage.locator("[data-handle=e]"), (0.5, 0.5), (-2, 0.5))  # the edge of region 1, to the left
    page.get_by_label("What is in region 1").fill("person, pink afro")
    page.get_by_label("What is in region 2").fill("red robot")
    second = stage.get_by_role("button", name="Box 2")
    second.focus()
    page.keyboard.press("Shift+ArrowUp")
    boxes = [one["area"].split(",") for one in body_shown(page)["regions"]["regions"]]
    assert boxes[0][:2] == ["0", "0"] and 20 < float(boxes[0][2]) < 45, "dragged"
    assert boxes[1] == ["50", "0", "100", "99"], "made smaller by a key"
    drag(page, stage, (0.02, 0.6), (0.02, 0.6))  # a click draws no box
    assert stage.get_by_role("button").count() == 2
    draw(page, "two, at the beach")
    page.get_by_role("button", name="Open: two, at the beach").first.click()
    assert 'Region 2: "50,0,100,99: red robot"' in page.locator("pre.code").inner_text()
    page.get_by_role("button", name="Use its settings").click()
    page.get_by_label("What is in region 2").wait_for()
    assert page.get_by_label("What is in region 1").input_value() == "person, pink afro"
    page.get_by_role("button", name="None", exact=True).click()
    page.get_by_role("button", name="Undo").click()
    assert page.get_by_label("What is in region 2").input_value() == "red robot"


def test_a_part_is_painted_over_and_edges_are_dragged(new_page):
    page = new_page("/generate")
    draw(page, "a (blue:1.2) house")
    assert page.locator(".prompt-behind [data-kind=syntax]").first.inner_text() == "("
    page.get_by_role("button", name="Open: a (blue:1.2) house").first.click()
    page.get_by_role("button", name="Send to").click()
    page.get_by_role("menuitem", name="Paint over a part").click()
    canvas = page.get_by_role("application", name="Mask")
    drag(page, canvas, (0.2, 0.3), (0.8, 0.3))
    by_mouse = canvas.evaluate(PAINTED_SHARE)
    assert 0.05 < by_mouse < 0.2
    canvas.focus()
    for key in ("Space", "ArrowDown", "ArrowDown", "Space"):
        page.keyboard.press(key)
    by_keys = canvas.evaluate(PAINTED_SHARE)
    assert by_keys > by_mouse
    page.keyboard.press("Control+z")
    assert canvas.evaluate(PAINTED_SHARE) == by_mouse
    page.get_by_role("button", name="Redo").click()
    assert canvas.evaluate(PAINTED_SHARE) == by_keys
    page.keyboard.press("e")
    page.get_by_role("button", name="Invert the mask").click()
    assert canvas.evaluate(PAINTED_SHARE) == pytest.approx(1 - by_keys, abs=0.02)
    page.get_by_label("Draw the painted part in full resolution").check()
    page.get_by_label("Surroundings").fill("48")
    inpaint = body_shown(page)["inpaint"]
    assert (inpaint["area"], inpaint["padding"], inpaint["content"]) == ("only masked", 48, "original")
    page.get_by_text("Extend", exact=True).click()
    page.get_by_role("slider", name="Add at the right").focus()
    page.keyboard.press("ArrowRight")
    handle = page.get_by_role("slider", name="Add at the top")
    drag(page, handle, (0.5, 0.5), (0.5, -1.5))
    shown = body_shown(page)
    assert shown["image"]["extend"]["right"] == 8 and shown["image"]["extend"]["up"] > 8 and "inpaint" not in shown


def test_a_template_is_chosen_and_filled(new_page):
    page = new_page("/generate")
    page.get_by_role("button", name="Ideas").click()
    page.get_by_label("Search templates").fill("plate armor")
    page.get_by_role("button", name="as a knight in worn plate armor").click()
    page.get_by_label("subject").fill("a red {cat}")
    page.get_by_label("The prompt").get_by_text("a red {cat}").wait_for()
    page.get_by_role("button", name="Use it").click()
    prompt = "a portrait of a red {cat} as a knight in worn plate armor, banner behind, overcast sky"
    assert page.get_by_label("Prompt", exact=True).input_value() == prompt


def test_a_mask_and_a_crop_of_a_dataset_are_steps_that_can_be_undone(new_page, live, dataset):
    page = new_page("/")
    without_audit(page)
    page.goto(f"{live.ready['url']}/#/datasets/{dataset.name}")
    page.get_by_role("button", name="Open 01.png").click()
    page.get_by_text("Mask", exact=True).click()
    drag(page, page.get_by_role("application", name="Mask"), (0.1, 0.5), (0.9, 0.5))
    page.get_by_role("button", name="Save the mask").click()
    page.get_by_text("Mask saved.").wait_for()
    with Image.open(io.BytesIO((dataset / "01.mask.png").read_bytes())) as mask:
        assert mask.size == (256, 256) and mask.getpixel((128, 128)) == 255 and mask.getpixel((128, 10)) == 0
    page.get_by_role("button", name="Undo", exact=True).click()
    page.get_by_role("button", name="Remove the mask").wait_for(state="detached")
    assert not (dataset / "01.mask.png").exists()

    page.get_by_text("Crops", exact=True).click()
    drag(page, page.get_by_role("group", name="Crops of 01.png"), (0.25, 0.1), (0.75, 0.6))
    page.get_by_role("combobox", name="Framing").click()
    page.get_by_role("option", name="Portrait").click()
    page.get_by_role("button", name="Add 1 crop").click()
    page.get_by_text("1 crop added.").wait_for()
    with Image.open(dataset / "01-portrait.png") as crop:
        assert abs(crop.width - 128) <= 2 and abs(crop.height - 128) <= 2
    assert "portrait" in (dataset / "01-portrait.txt").read_text()
    page.get_by_role("button", name="Undo", exact=True).click()
    page.get_by_role("button", name="Add 1 crop").wait_for()  # its box is back, too
    assert not (dataset / "01-portrait.png").exists()


def test_duplicates_and_drawn_images_are_answered_by_keys(new_page, live, dataset):
    page = new_page("/")
    without_audit(page)
    page.goto(f"{live.ready['url']}/#/datasets/{dataset.name}")
    page.get_by_text("Suggestions").click()
    page.get_by_text("3 images wait for an answer").wait_for()
    for key in ("a", "r"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Add 1, refuse 1").click()
    page.get_by_text("1 image added.").wait_for()
    assert (dataset / "drawn-0123abcd-000-0.txt").read_text() == "mrx person, 0\n"
    assert not (dataset / "drawn-0123abcd-001-0.png").exists()

    page.get_by_text("Duplicates", exact=True).click()
    page.get_by_role("button", name="Look for duplicates").click()
    page.get_by_text("1 pair left").wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_text("No duplicates are left.").wait_for()
    assert sorted(path.name for path in dataset.glob("*3.png")) + [p.name for p in dataset.glob("copy.jpg")] in (
        ["03.png"], ["copy.jpg"],
    )  # fmt: skip
    page.keyboard.press("Control+z")
    page.get_by_text("1 pair left").wait_for()
    assert (dataset / "03.png").exists() and (dataset / "copy.jpg").exists()


@pytest.mark.parametrize(("scheme", "locale"), [("light", "zh"), ("dark", "pt")])
def test_painting_is_accessible_and_fits_a_phone(new_page, dataset, scheme, locale):
    texts = json.loads((Path(__file__).parents[2] / f"web/src/i18n/{locale}.json").read_text("utf-8"))["canvas"]
    page = new_page("/generate", viewport=PHONE, color_scheme=scheme, locale=locale, has_touch=True)

    def check(what: str) -> None:
        page.wait_for_load_state("networkidle")
        assert page.evaluate(SMALL_HANDLES) == [], what
        check_accessible(page, what)

    page.locator(".prompt-input").first.fill("two (people:1.4), [cat|dog] <lora:x:1> [[calm]]")
    page.locator("[data-kind=tag]").wait_for()
    page.get_by_role("button", name=texts["regions"]["title"]).click()
    page.get_by_role("button", name=texts["regions"]["halves"]).click()
    page.locator("input[type=file]").set_input_files(MIRA / "01.png")
    page.get_by_text(texts["startAs"]["part"], exact=True).click()
    page.get_by_role("application").wait_for()
    check("painting")
    page.get_by_text(texts["startAs"]["beyond"], exact=True).click()
    page.get_by_role("slider", name=texts["extend"]["left"]).wait_for()
    check("extending")
    page.evaluate("route => { location.hash = route }", f"/datasets/{dataset.name}")
    page.get_by_text(texts["set"]["views"]["drawn"], exact=True).click()
    page.get_by_role("button", name=texts["set"]["drawn"]["accept"]).wait_for()
    check("drawn images")


def test_a_restart_of_the_server_is_survived_and_the_page_opens_while_it_is_away(browser, tmp_path):
    with open_store(tmp_path) as store:
        _, token = store.tokens.add("browser", frozenset({"draw"}))
    served = Served(tmp_path)
    url = served.ready["url"]
    context = browser.new_context(locale="en")
    try:
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(f"{url}/#token={token}")
        page.get_by_role("heading", level=1).wait_for()
        assert page.get_by_role("link", name="New subject").count() == 0  # this token may not train
        page.evaluate("navigator.serviceWorker.ready.then(() => null)")
        served.end(signal.SIGKILL)
        page.get_by_text("The server does not answer.").wait_for()
        page.reload()
        page.get_by_text("The server does not answer. Trying again").wait_for()
        page.get_by_role("link", name="Draw", exact=True).click()  # a part of the page that was not opened before
        page.get_by_label("Prompt", exact=True).fill("kept while it is away")
        kept = page.evaluate(KEPT_FILES)
        assert f"{url}/" in kept and not [one for one in kept if "/api/" in one]
        served = Served(tmp_path, "--port", url.rsplit(":", 1)[1])
        page.get_by_text("The server does not answer.").wait_for(state="detached")
        assert page.get_by_label("Prompt", exact=True).input_value() == "kept while it is away"
    finally:
        context.close()
        served.end(signal.SIGTERM)
