"""Write the tables of templates in docs/templates.md and of conventions in docs/base-models.md from their data.

python -m tools.write_prompt_docs
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bakehouse.core.model_catalogue.conventions import Conventions, all_conventions
from bakehouse.generation.templates import library

DOCS = Path(__file__).parent.parent / "docs"


def templates_page(text: str) -> str:
    """Return docs/templates.md with its table rewritten."""
    return _between(text, "library", _library())


def base_models_page(text: str) -> str:
    """Return docs/base-models.md with its table rewritten."""
    return _between(text, "conventions", _conventions())


PAGES = {"templates.md": templates_page, "base-models.md": base_models_page}


def _between(text: str, name: str, rows: Iterator[str]) -> str:
    begin, end = f"<!-- {name}: written by `make docs` -->", f"<!-- end of {name} -->"
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    return f"{head}{begin}\n\n{''.join(rows)}\n{end}{tail}"


def _library() -> Iterator[str]:
    yield "| set | use | prompts | example |\n|---|---|---|---|\n"
    for s in library():
        yield _row(f"`{s.name}`", s.about, str(len(s.templates)), f"`{s.templates[0].sentence}`")


def _conventions() -> Iterator[str]:
    yield "| name | base | prompts | guidance | sampler | clip skip | sizes | quality words | negative words |\n"
    yield f"|{'---|' * 9}\n"
    for entry in all_conventions().values():
        yield _row(
            f"`{entry.name}`",
            f"[{entry.title}]({entry.source})" if entry.source else entry.title,
            _prompts(entry),
            f"{entry.guidance:g}",
            entry.sampler,
            str(entry.clip_skip),
            ", ".join(entry.sizes),
            _words(entry.quality),
            _words(entry.negative),
        )


def _prompts(entry: Conventions) -> str:
    return f"{entry.prompts}; predicts v" if entry.prediction == "v_prediction" else entry.prompts


def _words(words: str) -> str:
    return f"`{words}`" if words else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def main() -> None:
    """Write the pages; with --check, only fail if one is outdated."""
    for name, page in PAGES.items():
        text = (DOCS / name).read_text("utf-8")
        fresh = page(text)
        if "--check" in sys.argv and fresh != text:
            sys.exit(f"docs/{name} is not up to date: run `make docs`")
        (DOCS / name).write_text(fresh, "utf-8")


if __name__ == "__main__":
    main()
