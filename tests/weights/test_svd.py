"""Randomised decompositions are as good as full ones, and say how good that is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bakehouse.core.errors import Problems, UsageError
from bakehouse.weights.rank_selection import RULES, RankRule, reduce, reduce_factored, split
from bakehouse.weights.svd import Factors, decompose, decompose_product, nuclear_norm


def spectrum(kind: str, n: int) -> torch.Tensor:
    steps = torch.arange(1, n + 1).float()
    return {"slow": steps**-0.5, "fast": 0.7**steps, "step": (steps <= 12).float() + 1e-4, "flat": steps * 0 + 1}[kind]


def matrix(m: int, n: int, kind: str, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    k = min(m, n)
    U = torch.linalg.qr(torch.randn(m, k, generator=generator)).Q
    V = torch.linalg.qr(torch.randn(n, k, generator=generator)).Q
    return (U * spectrum(kind, k)) @ V.T


@pytest.mark.parametrize("shape", [(160, 160), (400, 120), (120, 400), (600, 500)])
@pytest.mark.parametrize("kind", ["slow", "fast", "step", "flat"])
@pytest.mark.parametrize("rank", [1, 12, 24])
def test_randomised_is_as_good_as_full(shape, kind, rank):
    A = matrix(*shape, kind)
    best = decompose(A, rank, method="full")
    found = decompose(A, rank)
    error = float((A - found.product()).norm())
    smallest = float((A - best.product()).norm())
    assert error <= smallest * 1.001 + 1e-5 * found.norm
    assert found.residual == pytest.approx(error, rel=1e-2, abs=2e-6 * found.norm)
    assert found.norm == pytest.approx(float(A.norm()), rel=1e-5)


def test_it_is_randomised_where_that_pays_and_full_where_not():
    assert decompose(matrix(200, 200, "fast"), 8).method == "randomised"
    assert decompose(matrix(200, 200, "fast"), 150).method == "full"


def test_same_matrix_same_factors():
    A = matrix(160, 200, "slow")
    first, second = decompose(A, 8), decompose(A, 8)
    assert torch.equal(first.U, second.U)
    assert torch.equal(first.Vh, second.Vh)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 80), st.integers(0, 9))
def test_factors_are_orthonormal_whatever_the_shape(m, n, rank, seed):
    A = torch.randn(m, n, generator=torch.Generator().manual_seed(seed))
    found = decompose(A, rank)
    eye = torch.eye(found.rank)
    assert found.rank == min(m, n, rank)
    assert torch.allclose(found.U.T @ found.U, eye, atol=1e-4)
    assert torch.allclose(found.Vh @ found.Vh.T, eye, atol=1e-4)
    assert bool((found.S[:-1] >= found.S[1:] - 1e-6).all())


def test_a_zero_matrix_has_no_error():
    found = decompose(torch.zeros(50, 40), 3)
    assert found.residual == 0.0
    assert float(found.product().abs().max()) == 0.0


def test_low_rank_comes_back_exact():
    A = torch.randn(300, 6) @ torch.randn(6, 200)
    found = decompose(A, 16)
    assert torch.allclose(found.product(), A, atol=1e-4)
    assert found.residual < 1e-5 * found.norm


def test_a_product_is_decomposed_without_being_made():
    B, A = torch.randn(90, 5), torch.randn(5, 70)
    found = decompose_product(B, A)
    S = torch.linalg.svdvals(B @ A)
    assert torch.allclose(found.S, S[:5], rtol=1e-4)
    assert torch.allclose(found.product(), B @ A, atol=1e-4)


@pytest.mark.parametrize("clamp", [1.0, 0.99])
def test_split_multiplies_back(clamp):
    factors = decompose(matrix(60, 50, "fast"), 20)
    B, A = split(factors, clamp)
    if clamp == 1.0:
        assert torch.allclose(B @ A, factors.product(), atol=1e-6)
        assert torch.allclose(B.norm(dim=0), A.norm(dim=1), rtol=1e-3)
    else:
        high = torch.quantile(torch.cat([(factors.U * factors.S).flatten(), factors.Vh.flatten()]), clamp)
        assert max(float(B.max()), float(A.max())) == pytest.approx(float(high), rel=0.05)
        assert min(float(B.min()), float(A.min())) >= -float(high) * 1.05


def expected(name: str, S: torch.Tensor, value: float) -> int:
    """The rules in their plainest words, on all singular values."""
    S = S.double()
    match name:
        case "ratio":
            return sum(bool(s > S[0] * value) for s in S)
        case "sv_ratio":
            return sum(bool(s > S[0] / value) for s in S) + 1
        case "threshold":
            return sum(bool(s > value) for s in S)
        case "sv_fro":
            return next(k for k in range(1, len(S) + 1) if S[:k].norm() >= value * S.norm() * (1 - 1e-9)) + 1
        case "quantile":
            return sum(bool(S[:k].sum() < value * S.sum() * (1 - 1e-9)) for k in range(1, len(S) + 1))
        case _:
            return next(k for k in range(1, len(S) + 1) if S[:k].sum() >= value * S.sum() * (1 - 1e-9)) + 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ratio", 0.11),
        ("sv_ratio", 6.5),
        ("threshold", 0.19),
        ("quantile", 0.6),
        ("sv_cumulative", 0.6),
        ("sv_fro", 0.9),
    ],
)
@pytest.mark.parametrize("kind", ["slow", "fast"])
def test_rules_pick_what_they_say(name, value, kind):
    A = matrix(200, 180, kind)
    rule = RankRule.read(None, f"{name}={value}")
    wanted = expected(name, torch.linalg.svdvals(A), value)
    assert reduce(A, rule, method="full").rank == wanted
    assert abs(reduce(A, rule).rank - wanted) <= 1
    assert reduce_factored(decompose_product(A, torch.eye(180)), rule).rank == wanted
    assert reduce(A, RankRule.read(3, f"{name}={value}")).rank <= 3


GEOMETRIC = [0.7**i for i in range(24)]
SLOW = [(i + 1) ** -0.5 for i in range(24)]


@pytest.mark.parametrize(
    ("values", "ranks"),
    [
        # sv_ratio 2, 6.5, 50; sv_cumulative 0.3, 0.6, 0.95; sv_fro 0.5, 0.9, 0.99; all with at most 16.
        (GEOMETRIC, [3, 7, 12, 2, 4, 10, 2, 4, 7]),
        (SLOW, [4, 16, 16, 5, 12, 16, 2, 13, 16]),
        ([1.0] * 12, [12, 12, 12, 5, 9, 12, 4, 11, 12]),
        ([3.0, 0.5, *[0.0] * 14], [2, 3, 3, 2, 2, 3, 2, 2, 3]),
        ([0.0] * 8, [1] * 9),
        ([9e-7 / (i + 1) for i in range(8)], [1] * 9),
    ],
)
def test_the_ranks_are_kohyas(values, ranks):
    """What rank_resize of sd-scripts' resize_lora.py (48d368fa) gives for these singular values."""
    S = torch.tensor(values)
    factors = Factors(torch.eye(len(S)), S, torch.eye(len(S)), float(S.norm()), 0.0, "full")
    rules = [("sv_ratio", 2), ("sv_ratio", 6.5), ("sv_ratio", 50)]
    rules += [("sv_cumulative", p) for p in (0.3, 0.6, 0.95)] + [("sv_fro", p) for p in (0.5, 0.9, 0.99)]
    assert [reduce_factored(factors, RankRule(by=by, value=p, rank=16)).rank for by, p in rules] == ranks


@pytest.mark.parametrize(("values", "ranks"), [(GEOMETRIC, [5, 7, 1, 2, 1]), (SLOW, [24, 24, 3, 10, 1])])
def test_the_ranks_are_lycoris(values, ranks):
    """What extract_linear of LyCORIS 4.1.3 gives for them."""
    S = torch.tensor(values)
    factors = Factors(torch.eye(24), S, torch.eye(24), float(S.norm()), 0.0, "full")
    rules = [("threshold", 0.2), ("ratio", 0.11), ("quantile", 0.3), ("quantile", 0.6), ("quantile", 0.02)]
    assert [reduce_factored(factors, RankRule(by=by, value=p)).rank for by, p in rules] == ranks


def test_every_rule_is_tested_and_kept_within_its_range():
    assert set(RULES) == {"ratio", "sv_ratio", "threshold", "quantile", "sv_cumulative", "sv_fro"}
    for words in ("sv_fro=1.5", "sv_ratio=0.5", "quantile=-1"):
        with pytest.raises(Problems, match="from"):
            RankRule.read(None, words)
    with pytest.raises(Problems, match="did you mean 'sv_fro'"):
        RankRule.read(None, "svfro=0.5")
    with pytest.raises(UsageError, match="not a rule with a number"):
        RankRule.read(None, "sv_fro")
    with pytest.raises(Problems, match="rank = 0"):
        RankRule.read(None, None)


def test_fro_keeps_what_it_promises():
    A = matrix(150, 150, "slow")
    found = reduce(A, RankRule.read(None, "sv_fro=0.8"))
    assert math.sqrt(1 - (found.residual / found.norm) ** 2) >= 0.8 * 0.999


def test_nuclear_norm():
    A = matrix(80, 30, "slow")
    assert nuclear_norm(A) == pytest.approx(float(torch.linalg.svdvals(A).sum()), rel=1e-4)
