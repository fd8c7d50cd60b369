"""A server under load: `python -m benchmarks.serve`.

Starts `bakehouse serve` on crumb, lets clients ask for pictures at once, and meanwhile asks `/health` again and again.
Prints pictures a second, how long requests took, how many pictures shared a batch, and how fast `/health` was. With
`--url` and `--token` it asks a server that runs already.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from bakehouse.core.parse_json_toml_yaml import parse_json

_HEALTH_PAUSE = 0.01


@contextmanager
def server(device: str) -> Iterator[tuple[str, str]]:
    """Run a server; yields its URL and the token of its session."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bakehouse", "serve", "--port", "0", "--device", device, "--json"]
        process = subprocess.Popen(
            [*command, "--data", folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            ready = parse_json(line)
            yield ready["url"], ready["token"]
        finally:
            process.terminate()
            process.communicate()


def ask(url: str, token: str, steps: int, size: int, seed: int) -> float:
    """Ask for one picture; returns the seconds it took."""
    began = time.perf_counter()
    body: dict[str, Any] = {"prompt": f"a cat {seed}", "seed": seed, "steps": steps, "width": size, "height": size}
    answer = requests.post(f"{url}/api/v1/draw", json=body, headers=_headers(token), timeout=600)
    answer.raise_for_status()
    return time.perf_counter() - began


def load(url: str, token: str, *, clients: int, pictures: int, steps: int, size: int) -> dict[str, float]:
    """Have clients ask for pictures, all at once and each again when it has one; returns the measurements."""
    ask(url, token, 1, size, 0)  # loads the model
    before = _metrics(url, token)
    took: list[float] = []
    health: list[float] = []
    ended = threading.Event()

    def client(number: int) -> None:
        for i in range(pictures):
            took.append(ask(url, token, steps, size, number * pictures + i))

    def watch() -> None:
        with requests.Session() as session:
            while not ended.wait(_HEALTH_PAUSE):
                began = time.perf_counter()
                session.get(f"{url}/health", timeout=60).raise_for_status()
                health.append(time.perf_counter() - began)

    watcher = threading.Thread(target=watch)
    threads = [threading.Thread(target=client, args=[number]) for number in range(clients)]
    began = time.perf_counter()
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    ended.set()
    watcher.join()
    after = _metrics(url, token)
    drawn = after["bakehouse_pictures_total"] - before["bakehouse_pictures_total"]
    batches = after["bakehouse_batches_total"] - before["bakehouse_batches_total"]
    return {
        "pictures": drawn,
        "pictures/s": drawn / seconds,
        "pictures/batch": drawn / batches,
        "request s, median": statistics.median(took),
        "request s, most": max(took),
        "/health ms, median": 1000 * statistics.median(health),
        "/health ms, p99": 1000 * statistics.quantiles(health, n=100)[98] if len(health) > 1 else 1000 * health[0],
    }


def _metrics(url: str, token: str) -> dict[str, float]:
    text = requests.get(f"{url}/metrics", headers=_headers(token), timeout=60).text
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=4, help="of each client")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--url", help="of a server that runs already")
    parser.add_argument("--token", default="", help="one with the scope admin, for --url")
    options = parser.parse_args()
    work = {name: getattr(options, name) for name in ("clients", "pictures", "steps", "size")}
    if options.url:
        found = load(options.url, options.token, **work)
    else:
        with server(options.device) as (url, token):
            found = load(url, token, **work)
    for name, value in found.items():
        print(f"{name:20} {value:10.2f}")


if __name__ == "__main__":
    main()
