"""Write the table of program support in docs/adapters.md from the measurements.

python -m tools.write_program_support_docs
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bakehouse.weights.program_support import FAMILIES, Program, Row, programs

PAGE = Path(__file__).parent.parent / "docs" / "adapters.md"
BEGIN, END = "<!-- loaders: written by `make docs` -->", "<!-- end of loaders -->"
WORDS = {"same": "yes", "at 1": "weight 1 only", "other": "another change", "none": "no"}
NAMES = {
    "kohya": "kohya's, with diffusers' names: `lora_unet_down_blocks_1_...`",
    "kohya blocks": "kohya's, with block numbers: `lora_unet_input_blocks_4_1_...`",
    "lycoris": "LyCORIS' wrapper: `lycoris_down_blocks_1_...`",
    "diffusers": "diffusers: `unet.down_blocks.1. ... .lora_A.weight`",
    "processor": "diffusers of early 2023: `unet. ... .processor.to_q_lora.down.weight`",
    "compvis": "CompVis: `diffusion_model.input_blocks.4.1. ... .lora_A.weight`",
    "peft": "PEFT: `base_model.model. ... .lora_A.weight`",
}


def page(text: str) -> str:
    """Return the page with its tables rewritten."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{''.join(tables())}\n{END}{tail}"


def tables() -> Iterator[str]:
    """Yield one row for each tensor form, and one for each naming scheme."""
    found = programs()
    head = " | ".join(f"{program.name} {program.version}" for program in found)
    rule = "|".join("---" for _ in range(len(found) + 1))
    yield f"| tensors of a module | {head} |\n|{rule}|\n"
    for form in sorted({form for program in found for form in program.forms}, key=_order):
        yield f"| {form} | {' | '.join(_cell(program, program.forms.get(form, ())) for program in found)} |\n"
    yield f"\n| names of modules | {' | '.join(program.name for program in found)} |\n|{rule}|\n"
    for spelling, name in NAMES.items():
        yield f"| {name} | {' | '.join(_cell(program, program.spellings.get(spelling, ())) for program in found)} |\n"


_FIRST = ("LoRA", "LoHa", "LoKr", "IA3", "OFT", "BOFT", "GLoRA", "full difference", "norm layers")


def _order(form: str) -> tuple[int, str]:
    kind = form.split(",")[0]
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST), form


def _cell(reader: Program, rows: tuple[Row, ...]) -> str:
    """Return `yes`, or the exceptions and where they apply."""
    if not rows:
        return "not measured"
    outcomes = list(dict.fromkeys(row.outcome for row in rows))  # in the order of the file: a tie goes to the first
    if len(outcomes) == 1:
        return WORDS[outcomes[0]]
    common = max(outcomes, key=lambda o: sum(len(row.parts) for row in rows if row.outcome == o and not row.modules))
    rest = [f"{WORDS[row.outcome]}: {_where(row)}" for row in rows if row.outcome != common]
    return f"{WORDS[common]}; {'; '.join(dict.fromkeys(rest))}"


def _where(row: Row) -> str:
    modules = ", ".join(row.modules) if len(row.modules) <= 4 else f"{len(row.modules)} kinds of modules"
    parts = ", ".join(row.parts)
    for what in ("UNet", "text encoder"):
        if len(row.parts) > 1 and all(what in part for part in row.parts):
            family = {part.split(" UNet")[0].split(" text")[0] for part in row.parts}
            whole = family == set(FAMILIES.values()) and (what == "UNet" or len(row.parts) == 4)
            parts = f"{what}s" if whole else parts
    return f"{modules} of {parts}" if modules else parts


def main() -> None:
    """Write the page; with --check, exit 1 if it is not up to date."""
    text = PAGE.read_text("utf-8")
    fresh = page(text)
    if "--check" in sys.argv and fresh != text:
        sys.exit("docs/adapters.md is not up to date: run `make docs`")
    PAGE.write_text(fresh, "utf-8")


if __name__ == "__main__":
    main()
