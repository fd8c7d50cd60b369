"""Train, generate, count tags and write docs/triggers.md: `python -m tools.triggers --out build/triggers`.

Run it again to resume. `--only NAME` runs one arm and leaves the page alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.triggers.arms import ARMS
from tools.triggers.measure import base_rates, measure, result_of
from tools.triggers.page import strategies_in, write_page, write_strip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.triggers", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/triggers"))
    parser.add_argument("--only", action="append", choices=[a.name for a in ARMS])
    parser.add_argument("--tables", action="store_true", help="only write the page, from the results that are there")
    given = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)

    given.out.mkdir(parents=True, exist_ok=True)
    base = base_rates(given.out, say)
    results = {}
    for arm in ARMS:
        if given.tables and not result_of(arm, given.out).is_file():
            continue
        if not given.only or arm.name in given.only:
            results[arm.name] = measure(arm, given.out, say)
    if not given.only:
        print(f"wrote {write_page(base, results)}")
        print(f"wrote {write_strip(given.out, strategies_in(results))}")


if __name__ == "__main__":
    main()
