"""Muon: orthogonalised momentum for matrices and convolutions, AdamW for the rest.

The update of a matrix is its momentum with all singular values pushed to one (Jordan et al. 2024).
Scaled by ``0.2 sqrt(max(rows, columns))`` it has the root mean square of an Adam update, so that one
learning rate serves both. On this small model it reaches in a third of the time what AdamW reaches.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tools.crumb.precision import multiplies_bf16

SKIP = ("embedding", "conv_in", "conv_out", "time_emb")
"""Parameters with independent rows (embeddings): AdamW suits them better."""


def orthogonalise(g: Tensor, steps: int = 4) -> Tensor:
    """Newton-Schulz iteration: ``g`` [n, rows, columns] with its singular values brought near one."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16() if multiplies_bf16(g.device) else g  # enough for this iteration
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        m = x @ x.mT
        x = a * x + torch.baddbmm(m, m, m, beta=b, alpha=c) @ x
    out: Tensor = (x.mT if tall else x).to(g.dtype)
    return out


class Muon:
    """Optimizer of all trainable parameters of some modules; ``lr`` is set anew before each step."""

    def __init__(self, modules: Iterable[nn.Module], lr: float, momentum: float = 0.95) -> None:
        named = [(n, p) for m in modules for n, p in m.named_parameters() if p.requires_grad]
        is_matrix = [p.ndim >= 2 and not any(s in n for s in SKIP) for n, p in named]
        self.matrices = [p for (_, p), yes in zip(named, is_matrix, strict=True) if yes]
        self.momenta = [torch.zeros_like(p) for p in self.matrices]
        rest = [p for (_, p), yes in zip(named, is_matrix, strict=True) if not yes]
        self.adamw = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
        self.momentum = momentum
        self.lr = lr
        # Matrices of one shape are orthogonalised together.
        self.groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, p in enumerate(self.matrices):
            self.groups[(p.shape[0], p[0].numel())].append(i)

    def zero_grad(self) -> None:
        self.adamw.zero_grad()
        for p in self.matrices:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.adamw.param_groups[0]["lr"] = self.lr
        self.adamw.step()
        for shape, members in self.groups.items():
            updates = torch.stack([self._nesterov(i).reshape(shape) for i in members])
            scale = self.lr * 0.2 * math.sqrt(max(shape))
            for i, u in zip(members, orthogonalise(updates), strict=True):
                self.matrices[i].sub_(u.view_as(self.matrices[i]), alpha=scale)

    def _nesterov(self, i: int) -> Tensor:
        grad = self.matrices[i].grad
        if grad is None:
            return self.momenta[i]
        self.momenta[i].lerp_(grad, 1 - self.momentum)
        return grad.lerp(self.momenta[i], self.momentum)

    def state_dict(self) -> dict[str, Any]:
        return {"momenta": self.momenta, "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for mine, theirs in zip(self.momenta, state["momenta"], strict=True):
            mine.copy_(theirs)
        self.adamw.load_state_dict(state["adamw"])
