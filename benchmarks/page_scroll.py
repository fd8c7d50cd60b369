"""Scrolling a large dataset on the web page: `python -m benchmarks.page_scroll`.

Fills a dataset with tiny generated images, opens it in headless Chromium (Debian's, driven by Playwright) and turns the
wheel while the page counts its own frames with `requestAnimationFrame`. Prints frames a second, how long frames took,
and how many cells in sight had their picture when the wheel stopped. Chromium renders in software here, on the same
cores as the server that makes the thumbnails: a desktop with a GPU is faster. `--warm` scrolls once before, so that the
thumbnails are there.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.serve import server

_SIDE = 64
_WHEEL_PIXELS = 120
"""One notch of a wheel."""
_WHEEL_SECONDS = 1 / 30
_COUNT_FRAMES = """() => {
    window.frames_seen = [];
    const seen = now => { window.frames_seen.push(now); window.frame_request = requestAnimationFrame(seen); };
    window.frame_request = requestAnimationFrame(seen);
}"""
_IN_SIGHT = """() => {
    const cells = [...document.querySelectorAll('[role=listitem] img')].filter(image => {
        const { top, bottom } = image.getBoundingClientRect();
        return bottom > 0 && top < innerHeight;
    });
    return { cells: cells.length, shown: cells.filter(image => image.complete && image.naturalWidth > 0).length };
}"""


def make_dataset(folder: Path, count: int) -> None:
    """Write images of all colours, each with a caption."""
    folder.mkdir(parents=True)
    for number in range(count):
        color = (number % 256, number // 256 % 256, 37 * number % 256)
        Image.new("RGB", (_SIDE, _SIDE), color).save(folder / f"{number:05}.png", compress_level=1)
        (folder / f"{number:05}.txt").write_text(f"image {number}, color {number % 7}\n", "utf-8")


def turn_wheel(page: Any, seconds: float) -> list[float]:
    """Scroll for some seconds; returns the milliseconds between frames."""
    page.mouse.move(700, 600)
    page.evaluate(_COUNT_FRAMES)
    for _ in range(round(seconds / _WHEEL_SECONDS)):
        page.mouse.wheel(0, _WHEEL_PIXELS)
        page.wait_for_timeout(1000 * _WHEEL_SECONDS)
    page.evaluate("cancelAnimationFrame(window.frame_request)")
    times: list[float] = page.evaluate("window.frames_seen")
    return [after - before for before, after in itertools.pairwise(times)]


def measure(url: str, token: str, dataset: str, *, seconds: float, warm: bool) -> dict[str, float]:
    """Open a dataset's page, scroll, and return the measurements."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en")
        page.set_default_timeout(300_000)
        page.route("**/audit", lambda route: route.abort())  # a process of its own, which would take a core
        page.goto(f"{url}/#token={token}")
        page.get_by_role("heading", level=1).wait_for()
        page.goto(f"{url}/#/datasets/{dataset}")
        page.get_by_role("listitem").first.wait_for()
        page.wait_for_timeout(1000)
        if warm:
            turn_wheel(page, seconds)
            page.wait_for_timeout(3000)
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(1000)
        frames = turn_wheel(page, seconds)
        scrolled = page.evaluate("scrollY")
        page.wait_for_timeout(1500)
        sight = page.evaluate(_IN_SIGHT)
        browser.close()
    ordered = sorted(frames)
    return {
        "frames a second": 1000 / statistics.mean(frames),
        "median frame in ms": statistics.median(frames),
        "95th percentile in ms": ordered[int(0.95 * len(ordered))],
        "longest frame in ms": ordered[-1],
        "frames of more than 50 ms in percent": 100 * sum(one > 50 for one in frames) / len(frames),
        "pixels scrolled": scrolled,
        "cells in sight": sight["cells"],
        "of them with their picture after 1.5 s": sight["shown"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm", action="store_true", help="scroll once before, so that the thumbnails are made")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        datasets = Path(folder) / "datasets"
        make_dataset(datasets / "large", options.images)
        with server("cpu", "--datasets", str(datasets)) as (url, token):
            found = measure(url, token, "large", seconds=options.seconds, warm=options.warm)
    for name, value in found.items():
        print(f"{name:<42} {value:10.1f}")
    print(f"{options.images} images, {os.cpu_count()} cores, load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
