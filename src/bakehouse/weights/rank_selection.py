"""Selection of a rank for each matrix: the rules of kohya's resize and LyCORIS' extract, under their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.settings import Spec
from bakehouse.weights.svd import Factors, Method, decompose, nuclear_norm

_FIRST_GUESS = 32
_NOTHING = 1e-6
"""Largest singular value below which kohya's rules treat a matrix as zero."""


@dataclass(frozen=True)
class _Spectrum:
    """Singular values and sums that the rules use."""

    S: Tensor
    """The leading singular values in descending order, float64."""
    squares: float
    """Sum of all squared singular values."""
    total: float
    """Sum of all singular values; 0 if the rule does not need it."""


@dataclass(frozen=True)
class _Rule:
    description: str
    low: float
    high: float
    count: Callable[[_Spectrum, float], int]
    sums: bool = False
    """Whether it needs the sum of all singular values."""


def _above(S: Tensor, bound: float) -> int:
    return int((bound < S).sum())


def _below(parts: Tensor, wanted: float) -> int:
    """Return how many of the first parts stay below a sum."""
    return int((parts.cumsum(0) < wanted * (1 - 1e-9)).sum())


def _one_more(count: int, s: _Spectrum) -> int:
    """Add one, as kohya's tool does; 1 for a zero matrix."""
    return 1 if float(s.S[0]) <= _NOTHING else max(1, count) + 1


RULES: Mapping[str, _Rule] = {
    "ratio": _Rule(
        "singular values above this share of the largest", 0, 1, lambda s, p: _above(s.S, float(s.S[0]) * p)
    ),
    "threshold": _Rule("singular values above this", 0, 1e12, lambda s, p: _above(s.S, p)),
    "quantile": _Rule(
        "as many as stay below this share of the sum of singular values",
        0,
        1,
        lambda s, p: _below(s.S, p * s.total),
        sums=True,
    ),
    "sv_ratio": _Rule(
        "singular values above the largest divided by this, and one more",
        1,
        1e12,
        lambda s, p: _one_more(_above(s.S, float(s.S[0]) / p), s),
    ),
    "sv_cumulative": _Rule(
        "as many as reach this share of the sum of singular values, and one more",
        0,
        1,
        lambda s, p: _one_more(_below(s.S, p * s.total) + 1, s),
        sums=True,
    ),
    "sv_fro": _Rule(
        "as many as reach this share of the Frobenius norm, and one more",
        0,
        1,
        lambda s, p: _one_more(_below(s.S.square(), p * p * s.squares) + 1, s),
    ),
}
"""The rules of LyCORIS' extraction (ratio, threshold, quantile) and of kohya's resize_lora.py (sv_...): the same rank
for the same number."""


class RankRule(Spec):
    """The rank of each module, fixed or by a rule."""

    rank: int = Field(0, ge=0)
    """The rank; with `by` the largest rank, 0 for no limit."""
    by: str = ""
    """The rule for each module: ratio, sv_ratio, threshold, quantile, sv_cumulative or sv_fro."""
    value: float = 0.0
    """The rule's number."""

    @model_validator(mode="after")
    def _makes_sense(self) -> RankRule:
        if not self.by:
            if self.rank < 1:
                raise ValueError("rank = 0: set a rank of at least 1, or a rule")
            return self
        if self.by not in RULES:
            raise ValueError(f"rule {self.by!r}: allowed are {', '.join(RULES)}{did_you_mean(self.by, RULES)}")
        rule = RULES[self.by]
        if not rule.low <= self.value <= rule.high:
            raise ValueError(f"{self.by} = {self.value:g} ({rule.description}): from {rule.low:g} to {rule.high:g}")
        return self

    @classmethod
    def read(cls, rank: int | None, by: str | None, *, source: str = "the rank") -> RankRule:
        """Parse a rank and a rule such as `sv_fro=0.95`.

        Raises:
            UsageError: an unknown rule, no number, or neither is given.
        """
        if not by:
            return cls.parse({"rank": rank or 0}, source=source)
        name, _, text = by.partition("=")
        try:
            value = float(text)
        except ValueError:
            raise UsageError(
                f"{by!r} is not a rule with a number", hint="for example sv_fro=0.95; rules: " + ", ".join(RULES)
            ) from None
        return cls.parse({"rank": rank or 0, "by": name, "value": value}, source=source)

    def __str__(self) -> str:
        limit = f", at most {self.rank}" if self.rank else ""
        return f"{self.by} = {self.value:g}{limit}" if self.by else f"rank {self.rank}"

    def choose(self, factors: Factors, total: float = 0.0) -> int:
        """Return the rank that the rule selects for a decomposition; at least 1."""
        if not self.by:
            return min(self.rank, factors.rank)
        picked = RULES[self.by].count(_Spectrum(factors.S.double(), factors.norm**2, total), self.value)
        return max(1, min(picked, self.rank or picked, factors.rank))


def reduce(A: Tensor, rule: RankRule, *, method: Method = "auto") -> Factors:
    """Return the singular triplets of A [m, n] that a rule keeps, with the error."""
    if not rule.by:
        return decompose(A, rule.rank, method=method)
    most = min(min(A.shape), rule.rank or min(A.shape))
    total = nuclear_norm(A) if RULES[rule.by].sums else 0.0
    tried = min(_FIRST_GUESS, most)
    while True:
        factors = decompose(A, tried, method=method)
        kept = rule.choose(factors, total)
        # A rule that selects all that were computed may need more.
        if kept < factors.rank or tried >= most:
            return factors.cut(kept)
        tried = min(2 * tried, most)


def reduce_factored(factors: Factors, rule: RankRule) -> Factors:
    """Reduce a complete decomposition by a rule."""
    return factors.cut(rule.choose(factors, float(factors.S.double().sum())))


def split(factors: Factors, clamp_quantile: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return LoRA's B [m, k] and A [k, n] with B A = U S Vh, with the roots of the singular values on both sides.

    Args:
        clamp_quantile: below 1, as kohya's extraction: all of S goes to B, and entries of B and A are clamped to that
            quantile of both, so that none overflows half precision. It costs accuracy.
    """
    if clamp_quantile >= 1.0:
        root = factors.S.sqrt()
        return factors.U * root, root[:, None] * factors.Vh
    B, A = factors.U * factors.S, factors.Vh
    values = torch.cat([B.flatten(), A.flatten()])
    # torch.quantile stops at 16 million numbers.
    at = max(1, min(values.numel(), round(clamp_quantile * values.numel())))
    high = float(values.kthvalue(at).values)
    return B.clamp(-high, high), A.clamp(-high, high)


def parse_rank_rules(
    rank: int | None, by: str | None, conv_rank: int | None = None, conv_by: str | None = None
) -> tuple[RankRule, RankRule | None]:
    """Parse the rules for linear maps and for 3x3 convolutions; None if no option concerns convolutions.

    Raises:
        UsageError: an unknown rule, or neither a rank nor a rule.
    """
    conv = RankRule.read(conv_rank, conv_by, source="the convolutions' rank") if conv_rank or conv_by else None
    return RankRule.read(rank, by), conv
