"""`make bench`: speed and memory against the bare minimum, diffusers with PEFT, and the device's ceiling.

The cases take turns, so that a machine that slows down slows all of them; the tables show medians over the rounds. On a
GPU one process does all batches of a case, and the budget limits what is measured; rows that
were not reached are named.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.workloads import CPU, CUDA, LEAN, Workload

WHO = {"bare": "bare minimum", "bakehouse": "bakehouse", "diffusers_peft": "diffusers + PEFT"}
_DEFAULT = {"cpu": ["crumb", "sd15"], "cuda": ["sd15", "sdxl"]}

Found = dict[str, Any]


def ask(who: str, workloads: Sequence[Workload], timeout: float) -> list[Found]:
    """Measure workloads with one case in its own process; answers that did not come in time are errors."""
    lines = "".join(json.dumps(dataclasses.asdict(w), default=dict) + "\n" for w in workloads)
    command = [sys.executable, "-m", "benchmarks.case_process", who]
    try:
        done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=timeout, check=False)
        out, failed = done.stdout, done.stderr if done.returncode else ""
    except subprocess.TimeoutExpired as e:
        out, failed = (e.stdout or b"").decode(), ""
    answers: list[Any] = [json.loads(line) for line in out.splitlines() if line[:1] in "{0123456789"]
    reason = failed.strip().splitlines()[-1] if failed.strip() else "no time left"
    return answers + [{"error": reason}] * (len(workloads) - len(answers))


class Budget:
    """Remaining seconds."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return max(1.0, self._end - time.monotonic())


def seconds_of(text: str) -> float:
    """`90`, `90s`, `8m` or `1h` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: write 90s, 8m or 1h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def measure(workloads: Sequence[Workload], rounds: int, budget: Budget, bar: Progress) -> dict[str, list[list[Found]]]:
    """Return the measurements of each round, by case and workload."""
    found: dict[str, list[list[Found]]] = {who: [[] for _ in workloads] for who in WHO}
    task = bar.add_task(workloads[0].model, total=rounds * len(WHO) * len(workloads))
    together = workloads[0].device.startswith("cuda")
    batches = [list(range(len(workloads)))] if together else [[i] for i in range(len(workloads))]
    for _ in range(rounds):
        for numbers in batches:
            for who in WHO:
                answers = ask(who, [workloads[i] for i in numbers], budget.left())
                for i, answer in zip(numbers, answers, strict=True):
                    found[who][i].append(answer)
                bar.advance(task, len(numbers))
    return found


def middle(answers: Sequence[Found], key: str) -> float | None:
    """Return the median over the rounds that have an answer."""
    values = [a[key] for a in answers if key in a]
    return statistics.median(values) if values else None


def ratio(case: Sequence[Found], bare: Sequence[Found]) -> float | None:
    """Return the median of each round's ratio."""
    pairs = [(c["seconds"], b["seconds"]) for c, b in zip(case, bare, strict=True) if "seconds" in c and "seconds" in b]
    return statistics.median(c / b for c, b in pairs) if pairs else None


def table(workload: Workload, cases: dict[str, list[Found]], ceiling: float | None) -> Table:
    """Return the rows of one workload; the ceiling share of every case counts the operations of the bare minimum."""
    title = f"{workload.title}: LoRA rank {workload.rank}, {workload.precision}"
    out = Table("", "s / step", "images / s", "x bare minimum", "peak memory", "of the ceiling", title=title)
    flops = middle(cases.get("bare", []), "flops")
    for who, answers in cases.items():
        seconds, peak = middle(answers, "seconds"), middle(answers, "peak_bytes")
        if seconds is None or peak is None:
            out.add_row(WHO[who], answers[-1].get("error", "not measured"), "", "", "", "")
            continue
        against = ratio(answers, cases["bare"]) if "bare" in cases else None
        share = flops / seconds / ceiling if flops and ceiling else None
        out.add_row(
            WHO[who],
            f"{seconds:.4f}",
            f"{workload.batch / seconds:.2f}",
            f"{against:.2f}" if against else "-",
            f"{peak / 2**20:.0f} MiB",
            f"{share:.0%}" if share else "-",
        )
    return out


def start_up() -> dict[str, float]:
    """Return seconds of whole commands, the median of three."""
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


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen workloads; return what --json prints."""
    budget = Budget(options.budget)
    table_of = CUDA if options.device == "cuda" else CPU
    found: dict[str, Any] = {"device": device_name(options.device), "works": [], "ceilings": {}}
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for model in options.models:
            workloads = table_of[model]
            precision = workloads[0].precision
            if precision not in found["ceilings"]:
                (found["ceilings"][precision],) = ask("ceiling", workloads[:1], budget.left())
            by_case = measure(workloads, options.rounds, budget, bar)
            for i, workload in enumerate(workloads):
                cases = {who: answers[i] for who, answers in by_case.items()}
                found["works"].append({"work": dataclasses.asdict(workload), "cases": cases})
            lean = LEAN.get(model, []) if options.device == "cuda" else []
            answers = ask("bakehouse", lean, budget.left()) if lean else []
            found["works"] += [
                {"work": dataclasses.asdict(w), "cases": {"bakehouse": [a]}} for w, a in zip(lean, answers, strict=True)
            ]
    return found


def device_name(device: str) -> str:
    """Return the name of the device that was measured."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu, {torch.get_num_threads()} threads"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--models", nargs="+", help=f"of {', '.join(CPU)} on a cpu, {', '.join(CUDA)} on cuda")
    parser.add_argument("--rounds", type=int, help="default: 3 on a cpu, 1 on cuda")
    parser.add_argument("--budget", type=seconds_of, default=3600.0, help="90s, 8m or 1h: no case begins later")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    options.models = options.models or _DEFAULT[options.device]
    options.rounds = options.rounds or (3 if options.device == "cpu" else 1)
    unknown = sorted(set(options.models) - set(CUDA if options.device == "cuda" else CPU))
    if unknown:
        parser.error(f"--models {' '.join(unknown)}: not measured on {options.device}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no such device here")
    found = run(options)
    if options.device == "cpu":
        found["commands"] = start_up()
    if options.json:
        print(json.dumps(found, default=dict))
        return
    show(found)


def show(found: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console()
    console.print(found["device"])
    for precision, flops in found["ceilings"].items():
        if isinstance(flops, float):
            console.print(f"ceiling, {precision} matrix product: {flops / 1e12:.3g} TFLOP/s")
    for row in found["works"]:
        workload = Workload(**row["work"])
        ceiling = found["ceilings"].get(workload.precision)
        console.print(table(workload, row["cases"], ceiling if isinstance(ceiling, float) else None))
    for name, seconds in found.get("commands", {}).items():
        console.print(f"{name}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
