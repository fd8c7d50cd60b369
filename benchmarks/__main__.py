"""`make bench`: seconds per step and peak memory against the bare minimum and against diffusers with PEFT.

The cases take turns, so that a machine that slows down slows all of them; the table shows medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.cases import SIZES

WHO = {"bare": "bare minimum", "ours": "bakehouse", "peer": "diffusers + PEFT"}


def measure(model: str, who: str) -> dict[str, float]:
    """One case in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cases", model, who], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{model} {who} failed:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def start_up() -> dict[str, float]:
    """Seconds of whole commands, the median of three."""
    commands = {"bakehouse --help": ["--help"], "bakehouse plan --help": ["plan", "--help"]}
    found = {}
    for name, arguments in commands.items():
        times = []
        for _ in range(4):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "bakehouse", *arguments], capture_output=True, check=True)
            times.append(time.perf_counter() - began)
        found[name] = statistics.median(times[1:])
    return found


def main() -> None:
    """Runs the rounds and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console(stderr=options.json)
    found: dict[str, dict[str, list[dict[str, float]]]] = {m: {w: [] for w in WHO} for m in options.models}
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=len(options.models) * len(WHO) * options.rounds)
        for model in options.models:
            for _ in range(options.rounds):
                for who in WHO:
                    found[model][who].append(measure(model, who))
                    bar.advance(task)
    commands = start_up()
    if options.json:
        print(json.dumps({"steps": found, "commands": commands, "threads": torch.get_num_threads()}))
        return
    for model, cases in found.items():
        console.print(table(model, cases))
    for name, seconds in commands.items():
        console.print(f"{name}: {seconds:.2f} s")


def table(model: str, cases: dict[str, list[dict[str, float]]]) -> Table:
    """Medians and ratios; a ratio is the median of the rounds' own ratios."""
    size = SIZES[model]
    title = f"{model}: LoRA rank 16, batch {size.batch}, {size.side} px, fp32, {torch.get_num_threads()} threads"
    out = Table("", "s / step", "x bare minimum", "peak memory", title=title)
    for who, name in WHO.items():
        ratios = [c["seconds"] / b["seconds"] for c, b in zip(cases[who], cases["bare"], strict=True)]
        seconds = statistics.median(c["seconds"] for c in cases[who])
        peak = statistics.median(c["peak_bytes"] for c in cases[who])
        out.add_row(name, f"{seconds:.4f}", f"{statistics.median(ratios):.2f}", f"{peak / 2**20:.0f} MiB")
    return out


if __name__ == "__main__":
    main()
