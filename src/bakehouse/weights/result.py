"""Result of a tool: ranks and errors of each module and in total."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModuleResult:
    """One module before and after."""

    name: str
    rank: int
    norm: float
    """Frobenius norm of the exact ΔW."""
    error: float
    """Frobenius norm of the difference from it."""
    was: int | None = None
    """The rank before; None if there was none."""

    @property
    def relative(self) -> float:
        return self.error / self.norm if self.norm else 0.0


@dataclass(frozen=True)
class Result:
    """The file that a tool wrote, or with `dry_run` would write."""

    path: Path
    modules: tuple[ModuleResult, ...]
    dry_run: bool = False
    notes: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    """Figures of a single tool."""

    @property
    def error(self) -> float:
        """Relative error of all modules together."""
        return relative_error(self.modules)

    @property
    def ranks(self) -> tuple[int, int]:
        """Smallest and largest rank."""
        ranks = [m.rank for m in self.modules if m.rank]
        return (min(ranks), max(ranks)) if ranks else (0, 0)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "path": str(self.path),
            "dry_run": self.dry_run,
            "modules": len(self.modules),
            "rank": {"least": self.ranks[0], "most": self.ranks[1]},
            "relative_error": self.error,
            "notes": list(self.notes),
            **self.extra,
            "by_module": [{**dataclasses.asdict(m), "relative_error": m.relative} for m in self.modules],
        }


def relative_error(modules: Iterable[ModuleResult]) -> float:
    """Return the relative Frobenius error over modules."""
    modules = list(modules)
    whole = math.fsum(m.norm**2 for m in modules)
    return math.sqrt(math.fsum(m.error**2 for m in modules) / whole) if whole else 0.0
