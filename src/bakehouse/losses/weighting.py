"""How much a timestep counts."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from bakehouse.core.spec import Spec
from bakehouse.families.schedule import NoiseSchedule


class WeightingSpec(Spec):
    kind: Literal["none", "min_snr", "debiased"] = "none"
    """On x0: `min_snr` min(snr, gamma) (Hang 2023, arXiv:2303.09556); `debiased` sqrt(snr) (arXiv:2310.08442)."""
    gamma: Annotated[float, Field(gt=0)] = 5.0
    """Of min_snr. 5 in the paper; lower is smoother."""

    def __call__(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """Weights [B] in float64 on the CPU for timesteps [B], for squared error on the prediction."""
        if self.kind == "none":
            return torch.ones(len(t), dtype=torch.float64)
        snr = schedule.snr(t).clamp(min=1e-8)
        on_x0 = snr.clamp(max=self.gamma) if self.kind == "min_snr" else snr.sqrt()
        return on_x0 * schedule.x0_weight(t)
