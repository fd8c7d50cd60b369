"""Publishing and base models in a real browser, against a Hub on this machine."""

from __future__ import annotations

import shutil

import pytest

from tests.doctor.conftest import write_adapter as write_adapter
from tests.publish.conftest import base_folder, make_run  # noqa: F401
from tests.publish.hub_server import TOKEN, Repo, running_hub
from tests.serve.browser import PHONE, check_routes
from tests.serve.conftest import served_beside

REPO = "someone/tiny"


@pytest.fixture(scope="module")
def hub():
    with running_hub() as server:
        server.repos[REPO] = Repo(private=False, files={"README.md": b"", "model_index.json": b"{}"})
        server.held.add("model_index.json")
        yield server
        server.released.set()


@pytest.fixture(scope="module")
def live(hub, make_run, tmp_path_factory):  # noqa: F811
    """A server with a run that was not evaluated, and a token for the Hub in its environment."""
    folder = tmp_path_factory.mktemp("page")
    run = make_run(folder / "made", evaluated=False)
    shutil.copytree(run.folder, folder / "runs" / "Anna")
    with served_beside(hub, folder) as served:
        yield served


def test_a_run_is_looked_at_and_published_to_the_hub_in_private(new_page, hub):
    page = new_page("/trainings/Anna")
    page.get_by_role("link", name="Publish").click()
    look = page.get_by_role("button", name="Preview")
    assert look.is_disabled()  # whether it shows a real person was not said
    page.get_by_label("Yes, and the person agrees to this").check()
    page.get_by_text("The Hub", exact=True).click()
    page.get_by_text("The token is taken from the environment variable HF_TOKEN").wait_for()
    page.get_by_label("Repository").fill("me/anna")
    page.get_by_label("Author").fill("Ann <b>")
    page.get_by_role("button", name="Show as code").click()
    assert page.locator("pre.code").first.inner_text().startswith("bakehouse publish runs/Anna --to hub:me/anna")
    page.keyboard.press("Escape")
    look.click()
    card = page.locator(".markdown")
    card.get_by_text("real person, who has agreed").wait_for()
    assert "by Ann <b>" in card.inner_text()
    assert page.get_by_role("row", name="pytorch_lora_weights.safetensors").get_by_text("new").count() == 1
    assert not hub.repos.get("me/anna")
    publish = page.get_by_role("button", name="Publish", exact=True)
    assert publish.is_disabled()
    page.get_by_label("Publish anyway").check()
    publish.click()
    page.get_by_role("status").get_by_role("heading", name="Published").wait_for()
    assert page.get_by_role("link", name=f"{hub.url}/me/anna").count() >= 1
    assert hub.repos["me/anna"].private and "README.md" in hub.repos["me/anna"].files
    assert TOKEN not in page.content()


def test_a_base_is_fetched_with_progress_and_stopped(new_page):
    page = new_page("/models")
    crumb = page.get_by_role("group", name="crumb").last
    crumb.get_by_text("Apache-2.0").wait_for()
    page.get_by_label("Id on the Hub").fill(REPO)
    page.get_by_role("button", name="Fetch", exact=True).click()
    row = page.get_by_role("group", name=f"Fetching {REPO}")
    row.get_by_role("progressbar").wait_for()
    row.get_by_role("button", name="Stop").click()
    row.wait_for(state="detached")
    page.get_by_label("Id on the Hub").fill("me")
    assert page.get_by_role("button", name="Fetch", exact=True).is_disabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible_and_fit_a_phone(new_page, scheme):
    page = new_page(viewport=PHONE, color_scheme=scheme, locale="pt" if scheme == "dark" else "zh")
    check_routes(page, "/trainings/Anna/publish", "/models")
