"""What the page shows as code is run: JavaScript in Node, with bodies of JSON and forms with files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from PIL import Image

from tests.serve.test_own import until

NODE = shutil.which("node")


def shown_javascript(page) -> str:
    page.get_by_role("button", name="Show as code").first.click()
    page.get_by_role("tab", name="JavaScript").click()
    return page.locator("pre.code:visible").inner_text()


def run_in_node(code: str, folder, token: str) -> None:
    (folder / "example.mjs").write_text(code)
    done = subprocess.run(
        [NODE, "example.mjs"], cwd=folder, env={**os.environ, "TOKEN": token}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(NODE is None, reason="needs Node")
def test_the_javascript_that_is_shown_draws(new_page, live, tmp_path):
    page = new_page("/generate")
    prompt = 'a "red" robot,\nit\'s {big} `${smile}` \\'
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("button", name="More settings").click()
    page.get_by_label("Steps").fill("1")
    code = shown_javascript(page)
    run_in_node(code, tmp_path, live.ready["token"])
    newest = live.request("GET", "/api/v1/jobs?limit=1").json()["jobs"][0]
    assert newest["prompt"] == prompt
    until(lambda: live.request("GET", f"/api/v1/jobs/{newest['id']}").json()["state"] == "done", 120)
    with pytest.raises(AssertionError, match="the token is not valid"):
        run_in_node(code, tmp_path, "bh_nobody")


@pytest.mark.skipif(NODE is None, reason="needs Node")
def test_the_javascript_that_is_shown_sends_files(new_page, live, tmp_path):
    for name in ("01.jpg", "02.jpg", "03.jpg"):
        Image.new("RGB", (128, 128), (int(name[1]) * 70, 40, 40)).save(tmp_path / name)
    page = new_page("/new")
    page.locator("input[type=file]:not([data-folder])").set_input_files(tmp_path / "03.jpg")
    page.get_by_text("1 photo").wait_for()
    code = shown_javascript(page)
    dataset = re.search(r"/datasets/([^/]+)/images", code)[1]
    run_in_node(code, tmp_path, live.ready["token"])
    assert live.request("GET", f"/api/v1/datasets/{dataset}").json()["images"] == 3
    live.request("DELETE", f"/api/v1/datasets/{dataset}")
