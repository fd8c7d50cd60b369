"""A server under load: `python -m benchmarks.serve`.

Starts `bakehouse serve` on crumb, lets clients ask for pictures at once, and meanwhile asks `/health` again and again.
Prints pictures a second, how long requests took, how many pictures shared a batch, and how fast `/health` was. With
`--seconds` the clients ask again and again for so long, and the answers are counted. With
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
from pathlib import Path
from typing import Any

import requests

from bakehouse.core.parse_json_toml_yaml import parse_json

_HEALTH_PAUSE = 0.01


@contextmanager
def server(device: str, *options: str) -> Iterator[tuple[str, str]]:
    """Run a server; yields its URL and the token of its session."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bakehouse", "serve", "--port", "0", "--device", device, "--json"]
        process = subprocess.Popen(
            [*command, "--data", folder, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
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


def crowd(url: str, token: str, *, clients: int, seconds: float, steps: int, size: int) -> dict[str, float]:
    """Have many clients ask again and again for some seconds, whatever they are answered; returns counts by status.

    A status other than 200, 429 and 503, or a 503 without `Retry-After`, is counted as `wrong`.
    """
    ask(url, token, 1, size, 0)
    counts: dict[str, float] = {"200": 0, "429": 0, "503": 0, "wrong": 0}
    health: list[float] = []
    lock, end = threading.Lock(), time.perf_counter() + seconds
    memory = _memory_bytes()

    def client(number: int) -> None:
        body: dict[str, Any] = {
            "prompt": f"a cat {number}",
            "seed": number,
            "steps": steps,
            "width": size,
            "height": size,
        }
        with requests.Session() as session:
            while time.perf_counter() < end:
                answer = session.post(f"{url}/api/v1/draw", json=body, headers=_headers(token), timeout=600)
                status = str(answer.status_code)
                fits = status in counts and (status == "200" or "Retry-After" in answer.headers)
                with lock:
                    counts[status if fits else "wrong"] += 1
                if status != "200":
                    time.sleep(0.5)

    def watch() -> None:
        with requests.Session() as session:
            while time.perf_counter() < end:
                began = time.perf_counter()
                session.get(f"{url}/health", timeout=60).raise_for_status()
                health.append(time.perf_counter() - began)
                time.sleep(_HEALTH_PAUSE)

    threads = [threading.Thread(target=client, args=[number]) for number in range(clients)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        **counts,
        "pictures/s": counts["200"] / seconds,
        "/health ms, median": 1000 * statistics.median(health),
        "/health ms, p99": 1000 * statistics.quantiles(health, n=100)[98],
        "memory MB, before": memory / 1e6,
        "memory MB, after": _memory_bytes() / 1e6,
    }


def _memory_bytes() -> int:
    """Return the resident memory of the server and its workers, on Linux; 0 elsewhere."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            command = status.with_name("cmdline").read_bytes().replace(b"\0", b" ")
            if b"bakehouse serve" in command or b"bakehouse.serve" in command:
                total += 1024 * int(re.findall(r"VmRSS:\s+(\d+)", status.read_text())[0])
        except (OSError, IndexError):
            continue
    return total


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
    parser.add_argument("--seconds", type=float, help="ask again and again for so long, and count the answers")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--url", help="of a server that runs already")
    parser.add_argument("--token", default="", help="one with the scope admin, for --url")
    options = parser.parse_args()
    work = {name: getattr(options, name) for name in ("clients", "steps", "size")}

    def measure(url: str, token: str) -> dict[str, float]:
        if options.seconds is not None:
            return crowd(url, token, seconds=options.seconds, **work)
        return load(url, token, pictures=options.pictures, **work)

    if options.url:
        found = measure(options.url, options.token)
    else:
        with server(options.device) as (url, token):
            found = measure(url, token)
    for name, value in found.items():
        print(f"{name:20} {value:10.2f}")


if __name__ == "__main__":
    main()
