"""Output of `bakehouse weights`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, print_warnings
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.errors import UsageError
from bakehouse.core.message_text import counted
from bakehouse.core.units import size

if TYPE_CHECKING:
    from bakehouse.weights.adapter_info import AdapterInfo
    from bakehouse.weights.inspect_weights import ModelInfo, RunInfo
    from bakehouse.weights.merge_into_base import WeightedAdapter
    from bakehouse.weights.program_support import Verdict
    from bakehouse.weights.result import Result

_LONG = 100
"""Characters of a metadata value that are shown."""


def print_info(found: AdapterInfo | ModelInfo | RunInfo, *, keys: bool, metadata: bool) -> None:
    """Print what a file contains."""
    from bakehouse.weights.adapter_info import AdapterInfo
    from bakehouse.weights.inspect_weights import RunInfo

    if isinstance(found, RunInfo):
        echo(f"{found.path}: a run with {counted(len(found.weights), 'weights file')}")
        for path in found.weights:
            echo(f"  {path}")
        if found.newest is not None:
            print_info(found.newest, keys=keys, metadata=metadata)
        return
    if isinstance(found, AdapterInfo):
        _adapter(found)
    else:
        _model(found)
    if metadata:
        for key, value in sorted((found.metadata or {}).items()):
            echo(f"{key}: {value if len(value) <= _LONG else value[:_LONG] + ' ...'}")
    if keys:
        _keys(found.to_json(keys=True).get("keys", []))


def _adapter(found: AdapterInfo) -> None:
    kinds = ", ".join(f"{name} ({counted(count, 'module')})" for name, count in found.algorithms.items())
    lines = {
        "algorithm": kinds,
        "base": found.base,
        "size": f"{size(found.bytes)}, {', '.join(found.dtypes)}",
        "triggers": ", ".join(found.triggers),
        "tags": ", ".join(f"{tag} {count}" for tag, count in list(found.tags.items())[:12]),
        "recipe": "stored in the file" if found.recipe else "",
    }
    _facts(found.path, lines)
    table = Table("block", "modules", "rank", "alpha", "norm of change", box=None, pad_edge=False)
    for block in found.blocks:
        norm = "-" if block.norm is None else f"{block.norm:.4g}"
        table.add_row(block.name, str(block.modules), _span(block.ranks), _span(block.alphas), norm)
    print_table(table)
    for verdict in found.loaders:
        echo(f"  {verdict.program:10} {_loads(verdict)}")
    print_warnings(found.notes)


def _loads(verdict: Verdict) -> str:
    if not verdict.loads:
        return f"no: {verdict.why}"
    return f"loads it; {verdict.why}" if verdict.limits else "loads it"


def _model(found: ModelInfo) -> None:
    what = f"{found.kind}{f' of the family {found.family}' if found.family else ''} ({found.because})"
    _facts(found.path, {"what": what, "size": f"{size(found.bytes)} {', '.join(found.dtypes)}".strip()})
    for network in found.networks:
        echo(f"  {network.name:16} {network.parameters / 1e6:9.2f} M parameters  {', '.join(network.dtypes)}")
    for program, loads in (found.loaders or {}).items():
        why = "its files are incomplete" if found.problems else "it reads single files"
        echo(f"  {program:10} {'loads it' if loads else f'no: {why}'}")
    print_warnings(found.problems)


def _facts(title: str, lines: Mapping[str, str]) -> None:
    echo(title)
    for name, value in lines.items():
        if value:
            echo(f"  {name:10} {value}")


def _span(values: Sequence[float]) -> str:
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"


def _keys(rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        refused = "; ".join(f"{program}: {why}" for program, why in row.get("refused", {}).items())
        echo(f"{row['key']}  {row['dtype']} {row['shape']}{f'  ({refused})' if refused else ''}")


def print_result(result: Any, *, json: bool) -> None:
    """Print what was written, or would be."""
    if json:
        plain = result.to_json() if hasattr(result, "to_json") else dataclasses.asdict(result)
        print_json(plain)
        return
    action = "would write" if result.dry_run else "wrote"
    echo(f"{action} {result.path}{_details(result)}")
    print_warnings(getattr(result, "notes", ()))


def _details(result: Any) -> str:
    modules = getattr(result, "modules", ())
    if not modules:
        return f": {result.layout}, {result.dtype}" if hasattr(result, "layout") else ""
    low, high = result.ranks
    ranks = f", rank {low}" if low == high else f", ranks {low} to {high}"
    measured = any(m.norm for m in modules)
    error = f", relative error {result.error:.2g}" if measured else ""
    return f": {counted(len(modules), 'module')}{ranks if high else ''}{error}"


def print_results(results: Sequence[Result], *, json: bool) -> None:
    """Print several results; one list in JSON."""
    if json:
        print_json([result.to_json() for result in results])
        return
    for result in results:
        print_result(result, json=False)


def print_changes(changes: Mapping[str, tuple[str | None, str | None]], *, json: bool) -> None:
    """Print the changed metadata keys, before and after."""
    if json:
        print_json({key: {"before": before, "after": after} for key, (before, after) in changes.items()})
        return
    for key, (before, after) in changes.items():
        echo(f"{key}: {_short(before)} -> {_short(after)}")
    if not changes:
        echo("nothing changed")


def _short(value: str | None) -> str:
    if value is None:
        return "-"
    return repr(value if len(value) <= _LONG else f"{value[:_LONG]} ...")


def parse_strength(text: str) -> WeightedAdapter:
    """Parse `a.safetensors=0.8` or `a.safetensors=0.8,0.5` (UNet, text encoder).

    Raises:
        UsageError: the strength is not a number, or the file is not an adapter.
    """
    from bakehouse.weights.merge_into_base import weighted

    path, equals, numbers = text.rpartition("=")
    if not equals or Path(text).exists():
        return weighted(text)
    try:
        values = [float(word) for word in numbers.split(",")]
    except ValueError:
        raise UsageError(f"{text!r}: {numbers!r} is not a strength", hint="write FILE=0.8, or FILE=0.8,0.5") from None
    if len(values) > 2:
        raise UsageError(f"{text!r}: at most two strengths, for UNet and text encoder")
    return weighted(path, *values)
