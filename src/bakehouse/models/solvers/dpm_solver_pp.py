"""DPM-Solver++: exponential integrators on the prediction of x0. Lu et al. 2022, arXiv:2211.01095.

With lambda = -log sigma, h = lambda' - lambda and latents in sigma space, a step with constant prediction D is
x' = (sigma' / sigma) x + (1 - e^-h) D (its equation 9); solvers differ in how they correct D.
"""

from __future__ import annotations

from torch import Tensor

from bakehouse.models.solvers.coroutine import (
    Query,
    StepNoise,
    Steps,
    ancestral,
    at_half_log_snr,
    half_log_snr,
    pairs,
)


def _step(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Return x' = (sigma' / sigma) x + (1 - e^-h) D, where e^-h = sigma' / sigma."""
    h = half_log_snr(sigma_next) - half_log_snr(sigma)
    return (sigma_next / sigma) * x - (-h).expm1() * denoised


def dpm_pp_2s_ancestral(x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0) -> Steps:
    """DPM-Solver++(2S), algorithm 1: the prediction half-way in lambda, for the whole step down; then noise."""
    for sigma, sigma_next in pairs(sigmas):
        x, denoised, _ = yield Query(x, sigma)
        down, up = ancestral(sigma, sigma_next, eta)
        if down > 0:
            middle = at_half_log_snr((half_log_snr(sigma) + half_log_snr(down)) / 2)
            _, denoised, _ = yield Query(_step(x, denoised, sigma, middle), middle)
        x = _step(x, denoised, sigma, down)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def dpm_pp_2m(x: Tensor, sigmas: Tensor) -> Steps:
    """DPM-Solver++(2M), algorithm 2: D extrapolated from the last two predictions; the step to 0 takes the last one.

    D = (1 + 1 / 2r) D_i - (1 / 2r) D_(i-1), r = h_(i-1) / h_i.
    """
    before: Tensor | None = None
    h_before: Tensor | None = None
    for sigma, sigma_next in pairs(sigmas):
        x, denoised, _ = yield Query(x, sigma)
        h = half_log_snr(sigma_next) - half_log_snr(sigma)
        estimate = denoised
        if before is not None and h_before is not None and sigma_next > 0:
            share = h / (2 * h_before)
            estimate = (1 + share) * denoised - share * before
        x = _step(x, estimate, sigma, sigma_next)
        before, h_before = denoised, h
    return x


def dpm_pp_sde(x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0) -> Steps:
    """DPM-Solver++(2S) for the reverse SDE: a noisy half step, and from there the whole one, noisy too.

    Each half and whole step is ancestral: down to sigma_down by equation 9, then noise up.
    """
    for sigma, sigma_next in pairs(sigmas):
        x, denoised, _ = yield Query(x, sigma)
        if sigma_next == 0:
            x = denoised
            continue
        # The noise of the way depends on the last digits of its levels: each is the logarithm's and back.
        t, t_next = half_log_snr(sigma), half_log_snr(sigma_next)
        start, middle, end = at_half_log_snr(t), at_half_log_snr(t + (t_next - t) / 2), at_half_log_snr(t_next)
        down, up = ancestral(start, middle, eta)
        half = _step(x, denoised, start, down) + noise(start, middle) * up
        _, denoised, _ = yield Query(half, middle)
        down, up = ancestral(start, end, eta)
        x = _step(x, denoised, start, down) + noise(start, end) * up
    return x


def dpm_pp_2m_sde(
    x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0, correct_with_heun: bool = False
) -> Steps:
    """DPM-Solver++(2M) for the reverse SDE: SDE-DPM-Solver++(2M), algorithm in appendix B.

    x' = (sigma' / sigma) e^(-eta h) x + (1 - e^-(h + eta h)) D + c (D - D_before) / r + sigma' sqrt(1 - e^(-2 eta h)) z
    with c = (1 - e^-(h + eta h)) / 2 (midpoint) or 1 - (1 - e^-(h + eta h)) / (h + eta h) (Heun's).
    """
    before: Tensor | None = None
    h_before: Tensor | None = None
    for sigma, sigma_next in pairs(sigmas):
        x, denoised, _ = yield Query(x, sigma)
        if sigma_next == 0:
            x = denoised
            continue
        h = half_log_snr(sigma_next) - half_log_snr(sigma)
        whole = h + eta * h
        decay = -(-whole).expm1()
        x = (sigma_next / sigma) * (-eta * h).exp() * x + decay * denoised
        if before is not None and h_before is not None:
            correction = 1 - decay / whole if correct_with_heun else decay / 2
            x = x + correction * (h / h_before) * (denoised - before)
        if eta:
            x = x + noise(sigma, sigma_next) * sigma_next * (-(-2 * eta * h).expm1()).sqrt()
        before, h_before = denoised, h
    return x


def dpm_pp_2m_sde_heun(x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0) -> Steps:
    """`dpm_pp_2m_sde` with the correction of Heun's method."""
    return dpm_pp_2m_sde(x, sigmas, noise=noise, eta=eta, correct_with_heun=True)


def dpm_pp_3m_sde(x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0) -> Steps:
    """Third order of the same: D is a parabola in lambda through the last three predictions.

    With H = h + eta h, phi_2 = 1 - (1 - e^-H) / H, phi_3 = phi_2 / H - 1/2 and the divided differences d1, d2 of D:
    x' = e^-H x + (1 - e^-H) D + phi_2 d1 - phi_3 d2 + noise.
    """
    history: list[tuple[Tensor, Tensor]] = []  # predictions and the steps after them, newest first
    for sigma, sigma_next in pairs(sigmas):
        x, denoised, _ = yield Query(x, sigma)
        if sigma_next == 0:
            x = denoised
            continue
        h = half_log_snr(sigma_next) - half_log_snr(sigma)
        whole = h * (eta + 1)
        x = (-whole).exp() * x - (-whole).expm1() * denoised
        phi_2 = (-whole).expm1() / whole + 1
        if len(history) == 1:
            ((before, h_1),) = history
            x = x + phi_2 * (denoised - before) / (h_1 / h)
        elif len(history) == 2:
            (before, h_1), (oldest, h_2) = history
            r0, r1 = h_1 / h, h_2 / h
            near, far = (denoised - before) / r0, (before - oldest) / r1
            second = (near - far) / (r0 + r1)
            x = x + phi_2 * (near + second * r0) - (phi_2 / whole - 0.5) * second
        if eta:
            x = x + noise(sigma, sigma_next) * sigma_next * (-(-2 * h * eta).expm1()).sqrt()
        history = [(denoised, h), *history][:2]
    return x
