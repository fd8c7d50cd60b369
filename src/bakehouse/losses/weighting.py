"""Timestep weighting of the loss.

The literature gives weights for squared error on x0; `NoiseSchedule.x0_weight` converts them to what the network
predicts, so that each is right for epsilon and for v.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from bakehouse.core.setting_needs import Needs, is_off, is_on, one_of, other_than
from bakehouse.core.settings import Spec
from bakehouse.models.noise_schedule import NoiseSchedule

SMALLEST_SNR = 1e-8
"""Lower limit of the snr: a zero-terminal schedule ends with 0, and 0 x inf would be NaN."""
CAP = 1000
"""Upper limit of the snr in some weightings of kohya and OneTrainer; only SD's first timestep is above it."""


FADING = ("min_snr", "soft_min_snr", "debiased", "p2", "epsilon")
"""Weightings that go to 0 with the snr on v-prediction."""


Kind = Literal["none", "min_snr", "soft_min_snr", "debiased", "p2", "epsilon", "v", "x0"]


class WeightingSpec(Spec):
    kind: Annotated[
        Kind,
        Needs(one_of("model.prediction", "v_prediction"), at=("epsilon",)),
        Needs(one_of("model.prediction", "epsilon"), at=("v",)),
        Needs(
            is_off("noise.zero_terminal_snr"),
            at=FADING,
            otherwise="goes to 0 at the last timesteps, so images stay at medium brightness (use 'none' or 'v')",
        ),
        Needs(one_of("loss.kind", "l2"), otherwise="is derived for squared errors, and only approximate"),
    ] = "none"
    """Weight of the squared error on x0. `none`: unweighted error of the prediction; `min_snr`: min(snr, gamma) (Hang
    2023, arXiv:2303.09556); `soft_min_snr`: gamma snr / (gamma + snr) (Crowson 2024, arXiv:2401.11605); `debiased`:
    sqrt(snr) (arXiv:2310.08442); `p2`: snr / (p2_k + snr)^p2_gamma (Choi 2022, arXiv:2204.00227); `epsilon`: snr, as
    with a network that predicts noise (on v: kohya's scale_v_pred_loss_like_noise_pred); `v`: snr + 1; `x0`: 1."""
    also: Annotated[tuple[Kind, ...], Needs(other_than("kind", "none"))] = ()
    """Further weightings, whose weights multiply those of `kind`, as kohya does if several are set."""
    gamma: Annotated[float, Field(gt=0, le=1_000_000), Needs(one_of("kind", "min_snr", "soft_min_snr"))] = 5.0
    """Gamma of min_snr (5 in the paper; lower is smoother) and soft_min_snr (4 in the paper)."""
    p2_gamma: Annotated[float, Field(ge=0, le=5), Needs(one_of("kind", "p2"))] = 1.0
    """How fast weights decrease with the snr."""
    p2_k: Annotated[float, Field(gt=0, le=1_000_000), Needs(one_of("kind", "p2")), Needs(is_on("p2_gamma"))] = 1.0
    """Added to the snr."""
    form: Annotated[
        Literal["published", "kohya", "onetrainer"],
        Needs(one_of("kind", "min_snr", "debiased", "epsilon", "v"), is_on("v_pred_like"), at=("kohya",)),
        Needs(one_of("kind", "debiased", "p2"), at=("onetrainer",)),
    ] = "published"
    """Whose formulas to use where they differ. kohya: the snr is that before `noise.zero_terminal_snr`, at most 1000 in
    debiased, epsilon and v_pred_like; debiased is 1 / (snr + 1) on v. OneTrainer: debiased has the snr at most 1000,
    and is (snr + 1)^-0.5 on v; p2 is (1 + snr)^-p2_gamma, and (2 + snr)^-p2_gamma on v."""
    v_pred_like: Annotated[float, Field(ge=0, le=10)] = 0.0
    """For epsilon models: multiply by 1 + this x (snr + 1) / snr, which adds this share of a v-prediction loss."""

    def __call__(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """Return weights [B] for timesteps [B], for squared error on the prediction; float64 on the CPU."""
        if self.form == "kohya":
            schedule = schedule.unrescaled
        snr = schedule.snr(t).clamp(min=SMALLEST_SNR)
        capped = snr.clamp(max=CAP)
        weight = torch.ones_like(snr)
        for kind in (self.kind, *self.also):
            other = self._other_trainer(kind, capped, snr, schedule.prediction == "v_prediction")
            if other is not None:
                weight = weight * other
            elif kind != "none":
                weight = weight * self._on_x0(kind, snr) * schedule.x0_weight(t)
        if not self.v_pred_like:
            return weight
        like = capped if self.form == "kohya" else snr
        return weight * (1 + self.v_pred_like * (like + 1) / like)

    def _other_trainer(self, kind: Kind, capped: Tensor, snr: Tensor, v: bool) -> Tensor | None:
        """Return another trainer's weights for the prediction itself, None where they are the published ones."""
        match self.form, kind:
            case "kohya", "debiased":
                return 1 / (capped + 1) if v else capped.rsqrt()
            case "kohya", "epsilon" if v:
                return capped / (capped + 1)
            case "onetrainer", "debiased":
                return (capped + 1).rsqrt() if v else capped.rsqrt()
            case "onetrainer", "p2":
                return (1 + snr + v) ** -self.p2_gamma
        return None

    def _on_x0(self, kind: Kind, snr: Tensor) -> Tensor:
        match kind:
            case "min_snr":
                return snr.clamp(max=self.gamma)
            case "soft_min_snr":
                return self.gamma * snr / (self.gamma + snr)
            case "debiased":
                return snr.sqrt()
            case "p2":
                return snr / (self.p2_k + snr) ** self.p2_gamma
            case "epsilon":
                return snr
            case "v":
                return snr + 1
            case _:
                return torch.ones_like(snr)
