"""Run fuzz cases and print the bad ones."""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections import Counter
from pathlib import Path

import tools.fuzz
from tools.fuzz.inputs import Inputs, make_inputs
from tools.fuzz.run_case import case, warm


def main() -> None:
    """Run cases and print the bad ones, each kind once."""
    parser = argparse.ArgumentParser(description=tools.fuzz.__doc__)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--run", type=Path, default=None)
    parser.add_argument("--film", type=Path, default=None)
    chosen = parser.parse_args()
    warm()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        gc.freeze()
        inputs = Inputs(make_inputs(Path(folder) / "folder", chosen.run, chosen.film))
        codes: Counter[str] = Counter()
        times: dict[str, float] = {}
        bad = 0
        for number in range(chosen.first, chosen.first + chosen.cases):
            outcome = case(inputs, number, Path(folder))
            codes[str(outcome.code)] += 1
            name = " ".join(outcome.words[:2])
            times[name] = times.get(name, 0.0) + outcome.seconds
            if outcome.wrong or chosen.show:
                bad += bool(outcome.wrong)
                shown = " ".join(repr(w if len(w) < 80 else w[:60] + "...") for w in outcome.words)
                print(f"{number}: {outcome.wrong or outcome.code} ({outcome.seconds:.1f} s): {shown}", flush=True)
                text = outcome.err if not chosen.show else outcome.out + outcome.err
                print("   ", "\n    ".join(text.strip().splitlines()[-(60 if chosen.show else 4) :])[:3000], flush=True)
        print({k: round(v, 1) for k, v in sorted(times.items(), key=lambda e: -e[1])[:12]})
        print(f"{chosen.cases} cases, {bad} bad; ended with {dict(codes)}", flush=True)


if __name__ == "__main__":
    main()
