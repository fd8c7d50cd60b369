"""k-diffusion as the oracle of `bakehouse.models.solvers`: its latents, for the tests.

`python -m tools.solver_oracle` writes them to tests/models/data; it needs k-diffusion, torchsde and scipy
(`pip install --no-deps k-diffusion torchsde trampoline scipy`). The tests compare with the file, and with the package
itself where it is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bakehouse.models.image_noise import ImageNoise
from bakehouse.models.noise_schedule import EpsilonSchedule, NoiseSchedule, scaled_linear
from bakehouse.models.samplers import find_sampler
from bakehouse.models.sigma_schedules import make_sigmas
from bakehouse.models.sigma_table import SigmaTable

NEEDED = ("k_diffusion", "torchsde", "scipy")
FUNCTIONS = {
    "Euler": "sample_euler",
    "Euler a": "sample_euler_ancestral",
    "Heun": "sample_heun",
    "LMS": "sample_lms",
    "DPM2": "sample_dpm_2",
    "DPM2 a": "sample_dpm_2_ancestral",
    "DPM++ 2S a": "sample_dpmpp_2s_ancestral",
    "DPM++ 2M": "sample_dpmpp_2m",
    "DPM++ SDE": "sample_dpmpp_sde",
    "DPM++ 2M SDE": "sample_dpmpp_2m_sde",
    "DPM++ 2M SDE Heun": "sample_dpmpp_2m_sde",
    "DPM++ 3M SDE": "sample_dpmpp_3m_sde",
    "DPM fast": "sample_dpm_fast",
    "DPM adaptive": "sample_dpm_adaptive",
}
"""Samplers that both have, and k-diffusion's function."""

Network = Callable[[Tensor, Tensor], Tensor]
"""The guided prediction of noise for x_t and timesteps."""


@dataclass(frozen=True)
class Case:
    """A sampler, its schedule and the number of steps."""

    sampler: str
    schedule: str
    steps: int

    @property
    def name(self) -> str:
        return f"{self.sampler}, {self.schedule}, {self.steps}"


def cases(model: str) -> Iterator[Case]:
    """Yield what is compared: each sampler with its own schedule, and with another number of steps.

    DPM adaptive chooses its steps by differences that networks with random weights leave to rounding: 1e-6 more at
    the start is another image. It is compared on a formula.
    """
    for sampler in FUNCTIONS:
        if (sampler == "DPM adaptive") == (model == FORMULA):
            yield Case(sampler, "Automatic", 8)
            yield Case(sampler, "Uniform", 5)


SHAPE = (4, 8, 8)
SEED = 5
DATA = Path(__file__).parent.parent / "tests" / "models" / "data" / "k_diffusion_latents.safetensors"

_SMALL: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (16, 32),
    "norm_num_groups": 8,
    "cross_attention_dim": 24,
}
_UNETS: dict[str, dict[str, Any]] = {
    "crumb": {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 8,
    },
    "sdxl": {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 2],
        "attention_head_dim": [1, 2],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 16 + 6 * 8,
    },
}
FORMULA = "formula"
MODELS = (*_UNETS, FORMULA)


def small_network(model: str) -> tuple[Network, NoiseSchedule]:
    """Return a small network of a kind of model, guided at scale 3, or a formula, and its noise schedule.

    The network's prediction is x_t, which is right for pure noise, and what a UNet with random weights adds to it.
    """
    if model == FORMULA:
        return lambda x, t: 0.9 * x + 0.3 * torch.sin(2 * x + t.view(-1, 1, 1, 1) / 250), EpsilonSchedule(
            scaled_linear()
        )
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(**_SMALL, **_UNETS[model]).eval().requires_grad_(False)
    _fill(unet)
    added = None
    if model == "sdxl":
        sizes = torch.tensor([[64, 64, 0, 0, 64, 64]]).expand(2, -1)
        added = {"text_embeds": _numbers("pooled", (2, 16)), "time_ids": sizes}
    hidden = _numbers("hidden", (2, 77, 24))

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        both = unet(x_t.expand(2, -1, -1, -1), t.expand(2), hidden, added_cond_kwargs=added, return_dict=False)[0]
        uncond, cond = both.chunk(2)
        guided: Tensor = x_t + 0.2 * (uncond + 3.0 * (cond - uncond))
        return guided

    return predict, EpsilonSchedule(scaled_linear())


def _numbers(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return unit noise that depends on a name, whatever the order in which it is asked for."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))


def _fill(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        values = _numbers(name, tuple(parameter.shape))
        if parameter.ndim > 1:
            parameter.data = values / parameter[0].numel() ** 0.5
        else:
            parameter.data = 0.1 * values + (1.0 if "norm" in name and name.endswith("weight") else 0.0)


def missing() -> list[str]:
    """Return the packages that are needed and not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def k_diffusion() -> tuple[Any, Any]:
    """Return k-diffusion's modules `sampling` and `external`, without what else its package imports."""
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("k_diffusion")
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(spec.submodule_search_locations)
    utils = types.ModuleType("k_diffusion.utils")
    vars(utils)["append_dims"] = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    vars(package)["utils"] = utils
    solver_of_odes = types.ModuleType("torchdiffeq")
    vars(solver_of_odes)["odeint"] = None
    stubs = {"k_diffusion": package, "k_diffusion.utils": utils, "torchdiffeq": solver_of_odes}
    before = {name: sys.modules.get(name) for name in (*stubs, "k_diffusion.sampling", "k_diffusion.external")}
    sys.modules |= stubs
    try:
        vars(package)["sampling"] = sampling = importlib.import_module("k_diffusion.sampling")
        return sampling, importlib.import_module("k_diffusion.external")
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


class _Torch:
    """torch, whose `randn_like` gives the images' own noise, as A1111 replaces it in k-diffusion."""

    def __init__(self, noise: ImageNoise) -> None:
        self._noise = noise

    def __getattr__(self, name: str) -> Any:
        return (lambda x: self._noise.next()) if name == "randn_like" else getattr(torch, name)


@torch.no_grad()
def latents_of_k_diffusion(network: Network, schedule: NoiseSchedule, case: Case) -> Tensor:
    """Return the latents [1, C, h, w] that k-diffusion makes, called as A1111 calls it."""
    sampling, external = k_diffusion()
    noise = ImageNoise([SEED], SHAPE)
    sampling.torch = _Torch(noise)
    abar = schedule.alphas_cumprod.float()
    denoiser = external.DiscreteEpsDDPMDenoiser(network, abar, quantize=False)
    choice = find_sampler(case.sampler, case.schedule)
    row, table = choice.sampler, SigmaTable.of(schedule)
    sigmas = make_sigmas(choice.schedule, case.steps, table, discard_penultimate=row.discard_penultimate)
    x = noise.first() * sigmas[0]
    more: dict[str, Any] = {"solver_type": "heun"} if case.sampler == "DPM++ 2M SDE Heun" else {}
    if row.eta is not None:
        more["eta"] = row.eta
    if row.brownian:
        ends = sigmas[sigmas > 0].min(), sigmas.max()
        more["noise_sampler"] = sampling.BrownianTreeNoiseSampler(x, *ends, seed=[SEED])
    function = getattr(sampling, FUNCTIONS[case.sampler])
    if row.steps == "range":
        more |= {"n": case.steps} if case.sampler == "DPM fast" else {}
        made: Tensor = function(denoiser, x, table.smallest, table.largest, disable=True, **more)
    else:
        made = function(denoiser, x, sigmas, disable=True, **more)
    return made


def main() -> None:
    """Write the latents of all cases."""
    from importlib.metadata import version

    from safetensors.torch import save_file

    if absent := missing():
        sys.exit(f"not installed: {', '.join(absent)}; see the top of {__file__}")
    made = {}
    for model in MODELS:
        network, schedule = small_network(model)
        for case in cases(model):
            made[f"{model}: {case.name}"] = latents_of_k_diffusion(network, schedule, case).contiguous()
    DATA.parent.mkdir(exist_ok=True)
    save_file(made, DATA, metadata={"k-diffusion": version("k-diffusion"), "torchsde": version("torchsde")})
    print(f"{len(made)} latents in {DATA}")


if __name__ == "__main__":
    main()
