"""Low-rank approximation of a matrix: by randomised SVD where it is accurate enough, else by the full SVD.

Randomised: Halko, Martinsson and Tropp 2011, arXiv:0909.4061: oversampling and subspace iteration. It repeats until
further passes would not make the error noticeably smaller, and gives way to the full decomposition if they would.
Where many singular vectors are wanted of a short side, the iteration runs on the Gram matrix of that side: the
spectrum of A^T A in place of passes over A.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

_OVERSAMPLE = 8
"""Columns beyond the rank and its quarter. Halko et al. advise 5 to 10, which is for few vectors: what is missed
shrinks by (s_columns / s_rank)^4 a pass, so that a slow spectrum wants columns in proportion."""
_MOST_PASSES = 12
_FULL_SHARE = 0.4
"""Of the short side: with more columns than this the full decomposition is no dearer."""
_GRAM_SHARE = 0.07
"""Of the short side: with more columns than this a Gram matrix costs less than the passes over A that it saves."""
_GRAM_ERROR = 1e-4
"""Share of the squared norm that must be left over: rounding of a Gram matrix in single precision is far below it."""
_GRAM_ROWS = 1024
"""Rows of A that go into a Gram matrix at once: as many as stay in a core's cache."""
_SLOWEST = 0.9
"""Largest ratio of a pass's gain to the one before that is assumed."""
_DROPPED = 1e-10
"""Squared singular values below this share of the largest are rounding."""
_BLURRED = 3e-3
"""A residual below this share of the norm cannot be told from norms in single precision: it is measured."""

Method = Literal["auto", "full"]


@dataclass(frozen=True)
class Factors:
    """A ~ U diag(S) Vh, singular values falling."""

    U: Tensor
    """[m, k], orthonormal columns."""
    S: Tensor
    """[k], float32."""
    Vh: Tensor
    """[k, n], orthonormal rows."""
    norm: float
    """Frobenius norm of A."""
    residual: float
    """||A - U S Vh||_F."""
    method: Literal["full", "randomised", "factored"]

    @property
    def rank(self) -> int:
        return int(self.S.shape[0])

    def cut(self, rank: int) -> Factors:
        """Return the first `rank` of them; the rest is orthogonal to them, so squared errors add up."""
        dropped = float(self.S[rank:].double().square().sum())
        residual = math.sqrt(self.residual**2 + dropped)
        return replace(self, U=self.U[:, :rank], S=self.S[:rank], Vh=self.Vh[:rank], residual=residual)

    def product(self) -> Tensor:
        """U diag(S) Vh, [m, n]."""
        return (self.U * self.S) @ self.Vh


def decompose(A: Tensor, rank: int, *, tolerance: float = 2e-3, method: Method = "auto", seed: int = 0) -> Factors:
    """Return the leading `rank` singular triplets of A [m, n], in single precision.

    Args:
        tolerance: by how much the squared error may exceed the smallest possible one, as a share of it. A matrix that
            has no more than `rank` directions comes back exact up to rounding.
        method: `full` asks for the full decomposition.
        seed: of the random start; the same matrix gives the same factors.
    """
    A = A.float()
    rank = min(rank, *A.shape)
    norm = _norm(A)
    columns = rank + _OVERSAMPLE + rank // 4
    if norm == 0.0 or method == "full" or columns > _FULL_SHARE * min(A.shape):
        return _full(A, rank, norm)
    found = None
    if columns > _GRAM_SHARE * min(A.shape):
        found = _by_gram(A, rank, columns, norm, tolerance, seed)
    return found or _randomised(A, rank, columns, norm, tolerance, seed) or _full(A, rank, norm)


def _full(A: Tensor, rank: int, norm: float) -> Factors:
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    return Factors(U, S, Vh, norm, 0.0, "full").cut(rank)


def _randomised(A: Tensor, rank: int, columns: int, norm: float, tolerance: float, seed: int) -> Factors | None:
    """Return the randomised SVD; None if the subspace has not settled after the last pass.

    A pass is Q = orth(A V), Z = A^T Q, V = orth(Z). The eigenvalues of Z^T Z are squared singular values of Q Q^T A, so
    the pass tells what it caught and gives the singular vectors without a decomposition of anything large.
    """
    generator = torch.Generator(A.device).manual_seed(seed)
    V = torch.randn(A.shape[1], columns, generator=generator, device=A.device)
    caught, gain = -math.inf, math.inf
    for _ in range(_MOST_PASSES):
        Q = _orthonormal(A @ V)[0]
        V, S, W = _orthonormal(A.T @ Q)
        before, caught = caught, float(S[:rank].double().square().sum())
        last, gain = gain, caught - before
        left = max(norm**2 - caught, (1e-6 * norm) ** 2)
        if _still_to_come(gain, last, _slowest(S.square(), rank)) <= tolerance * left:
            found = Factors(Q @ W[:, :rank], S[:rank], V[:, :rank].T, norm, 0.0, "randomised")
            return replace(found, residual=_residual(A, found))
    return None


def _by_gram(A: Tensor, rank: int, columns: int, norm: float, tolerance: float, seed: int) -> Factors | None:
    """Return the same as `_randomised` by iterating with A^T A, made once: each pass costs only the short side.

    None where the subspace has not settled, or so little is left over that the squares' rounding would show.
    """
    G = _gram(A if A.shape[0] >= A.shape[1] else A.T)
    V = torch.randn(G.shape[0], columns, generator=torch.Generator(A.device).manual_seed(seed), device=A.device)
    # No spectrum has settled after two passes: they are made without a look, and orthonormalised together.
    V = torch.linalg.qr(G @ (G @ V)).Q
    caught, gain = -math.inf, math.inf
    for _ in range(_MOST_PASSES):
        V, squares, _ = _orthonormal(G @ V)
        before, caught = caught, float(squares[:rank].double().sum())
        last, gain = gain, caught - before
        left = norm**2 - caught
        if left < _GRAM_ERROR * norm**2 or V.shape[1] < rank:
            return None
        # The squares come from A^T A V of the pass before, so that the vectors are one pass better than they say.
        if _still_to_come(gain, last, _slowest(squares, rank), ahead=1) <= tolerance * left:
            return _of_subspace(A, V[:, :rank], norm)
    return None


def _gram(tall: Tensor) -> Tensor:
    """Return A^T A; only blocks on and below the diagonal are computed, the others are their mirror images."""
    n = tall.shape[1]
    pairs = list(itertools.pairwise(round(i * n / 5) for i in range(6)))
    G = torch.zeros(n, n, device=tall.device)
    for start in range(0, len(tall), _GRAM_ROWS):
        rows = tall[start : start + _GRAM_ROWS]
        for a, b in pairs:
            G[a:b, :b].addmm_(rows[:, a:b].T, rows[:, :b])
    for a, b in pairs:
        G[:a, a:b] = G[a:b, :a].T
    return G


def _of_subspace(A: Tensor, V: Tensor, norm: float) -> Factors:
    """Return the singular triplets of A within directions V of its short side."""
    if A.shape[0] >= A.shape[1]:
        Q, S, W = _orthonormal(A @ V)
        found = Factors(Q, S, (V @ W).T, norm, 0.0, "randomised")
    else:
        Q, S, W = _orthonormal(A.T @ V)
        found = Factors(V @ W, S, Q.T, norm, 0.0, "randomised")
    return replace(found, residual=_residual(A, found))


def _orthonormal(Y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return left vectors, singular values and right vectors of a thin Y, without its null directions.

    From the Gram matrix in double precision: a product instead of a QR decomposition, and several times faster.
    """
    wide = Y.double()
    values, W = torch.linalg.eigh(wide.T @ wide)
    values, W = values.flip(0), W.flip(1)
    kept = int((values > _DROPPED * values[0]).sum())
    S, W = values[:kept].sqrt(), W[:, :kept]
    return Y @ (W / S).to(Y.dtype), S.to(Y.dtype), W.to(Y.dtype)


def _slowest(squares: Tensor, rank: int) -> float:
    """Return the factor by which a pass reduces the error of the last wanted direction.

    Halko et al., section 10.4: (s_columns / s_rank)^4. Where there are fewer than `rank`, nothing is missed.
    """
    return 0.0 if len(squares) < rank else float(squares[-1] / squares[rank - 1]) ** 2


def _still_to_come(gain: float, last: float, slowest: float, ahead: int = 0) -> float:
    """Estimate the gain of all further passes, without the next `ahead`: gains fall like a geometric series.

    Its ratio is what the last two gains tell, but no less than `slowest`: the first directions to settle go fast.
    """
    if gain <= 0.0 or math.isinf(gain):
        return max(gain, 0.0)
    seen = gain / last if last > 0 else 1.0
    ratio = min(max(seen, slowest), _SLOWEST)
    return gain * ratio ** (1 + ahead) / (1 - ratio)


def _norm(A: Tensor) -> float:
    """Return the Frobenius norm: rows in single precision, their sum in double; ten times faster than all in double."""
    return float(torch.linalg.vector_norm(torch.linalg.vector_norm(A, dim=1), dtype=torch.float64))


def _residual(A: Tensor, found: Factors) -> float:
    """Return the error by Pythagoras from the norms; measured if rounding would exceed it."""
    squared = found.norm**2 - float(found.S.double().square().sum())
    if squared > (_BLURRED * found.norm) ** 2:
        return math.sqrt(squared)
    return float(torch.linalg.vector_norm(A - found.product(), dtype=torch.float64))


def decompose_product(B: Tensor, A: Tensor) -> Factors:
    """Return all singular triplets of B A without making it: two QR decompositions and a small SVD, exact.

    B [m, r], A [r, n]. Work grows with (m + n) r^2, where the full decomposition takes m n min(m, n).
    """
    QB, RB = torch.linalg.qr(B.float())
    QA, RA = torch.linalg.qr(A.float().T)
    U, S, Vh = torch.linalg.svd(RB @ RA.T, full_matrices=False)
    norm = float(torch.linalg.vector_norm(S, dtype=torch.float64))
    return Factors(QB @ U, S, Vh @ QA.T, norm, 0.0, "factored")


def nuclear_norm(A: Tensor) -> float:
    """Return the sum of A's singular values, from the eigenvalues of its Gram matrix in double precision."""
    A = A.double()
    gram = A @ A.T if A.shape[0] <= A.shape[1] else A.T @ A
    return float(torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().sum())
