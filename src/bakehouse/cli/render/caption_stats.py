"""Output of `captions stats`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from bakehouse.captions.stats import CaptionStats
from bakehouse.cli.render.consoles import print_json, print_table, print_warnings
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.bundled_models import BUNDLED_BASE, BUNDLED_BASE_FOLDER
from bakehouse.core.message_text import counted
from bakehouse.data.compile_captions import RAW_SUFFIX


def tokenizer_folder(base: str) -> Path:
    """Return the folder of a base model's tokenizer. Single files have none: CLIP's is used.

    Raises:
        UsageError: no such model.
        BakehouseError: it is not on this machine and cannot be downloaded.
    """
    if base == BUNDLED_BASE:
        return BUNDLED_BASE_FOLDER
    if Path(base).is_dir():
        return Path(base)
    from bakehouse.models.hub import TOKENIZER_FILES, download
    from bakehouse.models.load import CLIP_TOKENIZER, resolve_model

    where = resolve_model(base)
    return where.path if where.path and where.path.is_dir() else download(CLIP_TOKENIZER, TOKENIZER_FILES)


_LONG = 300
"""Characters of a tag or a caption that are shown; --json prints all."""


def print_stats(stats: CaptionStats, base: str, *, top: int, json: bool = False) -> None:
    """Print tables of at most `top` lines, or everything as JSON."""
    if json:
        print_json(stats.to_json())
        return
    print_warnings(stats.notes)
    _print_totals(stats, base)
    total = max(1, stats.captions)
    frequency = [(tag, str(n), f"{n / total:.0%}") for tag, n in stats.frequency.items()]
    _print_part("most frequent tags", ("tag", "captions", "of all"), frequency, top)
    _print_part(
        "longer than 75 tokens",
        ("caption", "tokens", "beyond the first 75"),
        _rows(stats.longest, "path", "tokens", "past"),
        top,
    )
    _print_part(
        "not in the vocabulary", ("tag", "captions"), [(t, str(stats.frequency[t])) for t in stats.unknown], top
    )
    weak = [(tag, str(stats.frequency[tag]), str(n)) for tag, n in stats.weak.items()]
    _print_part("rare in the vocabulary", ("tag", "captions", "images of the base model"), weak, top)
    near = [(m.tag, str(m.count), m.correction, str(m.correction_count)) for m in stats.near]
    _print_part("probably mistyped", ("tag", "captions", "similar to", "captions"), near, top)
    spelled = [(tag, ", ".join(others)) for tag, others in stats.spellings.items()]
    _print_part("several spellings", ("tag", "also spelled"), spelled, top)
    _print_part("ambiguous tags: name the kind", ("tag",), [(tag,) for tag in stats.vague], top)
    pairs = [(p.first, p.second, str(p.both), f"{p.jaccard:.2f}") for p in stats.pairs]
    _print_part("tags that occur together", ("tag", "tag", "captions", "Jaccard"), pairs, top)


def _print_totals(stats: CaptionStats, base: str) -> None:
    missing = f"{stats.without} of them without a caption" if stats.without else "all with a caption"
    echo(f"{counted(stats.images, 'image')}, {missing}")
    sentences = f", {stats.sentences} of them sentences" if stats.sentences else ""
    echo(f"{counted(stats.captions, 'caption')}{sentences}; {counted(len(stats.frequency), 'different tag')}")
    if set(stats.files) - {".txt"}:
        read = " and ".join(counted(n, f"{ending or 'nameless'} file") for ending, n in stats.files.items())
        raw = ": raw tags, before triggers are compiled into them" if RAW_SUFFIX in stats.files else ""
        echo(f"read from {read}{raw}")
    if stats.lengths:
        count = sum(stats.lengths.values())
        mean = sum(n * captions for n, captions in stats.lengths.items()) / count
        echo(f"tags per caption: {min(stats.lengths)} to {max(stats.lengths)}, {mean:.1f} on average")
    if stats.tokens:
        ranges = {name: "more than 225" if name == "more" else f"at most {name}" for name in stats.tokens}
        parts = [f"{counted(n, 'caption')} with {ranges[name]}" for name, n in stats.tokens.items() if n]
        echo(f"tokens ({base}): {', '.join(parts)}")


def _rows(items: Iterable[object], *names: str) -> list[tuple[str, ...]]:
    return [tuple(str(getattr(item, name)) for name in names) for item in items]


def _print_part(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], top: int) -> None:
    if not rows:
        return
    echo(f"\n{title}" + (f" ({top} of {len(rows)})" if len(rows) > top else ""))
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows[:top]:
        table.add_row(*(cell if len(cell) <= _LONG else f"{cell[:_LONG]} ..." for cell in row))
    print_table(table)
