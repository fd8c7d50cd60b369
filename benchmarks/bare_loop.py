"""The bare minimum of training: forward, backward and optimizer step on tensors made beforehand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from bakehouse.adapters import Adapter, LoRA, inject
from bakehouse.models.denoiser import Denoiser
from bakehouse.training.precision import Precision
from benchmarks.workloads import Workload


def step_of(workload: Workload, model: Denoiser) -> tuple[Callable[[], None], Adapter]:
    """Return a function that runs one step, and the adapter that it trains."""
    adapter = inject(LoRA(rank=workload.rank, alpha=workload.rank, targets="attention"), model.trainable_modules())
    parameters = list(adapter.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    x_t = torch.randn(workload.batch, *model.latent_shape(workload.side, workload.side), device=model.device)
    eps = torch.randn_like(x_t)
    t = torch.randint(0, 1000, (workload.batch,), device=model.device)
    precision = Precision(workload.precision, model.device)
    with torch.no_grad(), precision.autocast():
        cond = model.encode_prompt(["zwx person"] * workload.batch)

    def step() -> None:
        with precision.autocast():
            loss = F.mse_loss(model(x_t, t, cond).float(), eps)
        precision.backward(loss)
        optimizer.step()
        optimizer.zero_grad()

    return step, adapter


def steps(workload: Workload, model: Denoiser, folder: Path) -> Iterator[None]:
    """Run steps in the faster of two memory formats."""
    step, _ = step_of(workload, model)
    unet = model.trainable_modules()["lora_unet"]
    formats: dict[torch.memory_format, float] = {}
    for form in (torch.channels_last, torch.contiguous_format):
        unet.to(memory_format=form)  # type: ignore[call-overload]
        step()
        began = time.perf_counter()
        step()
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        formats[form] = time.perf_counter() - began
    unet.to(memory_format=min(formats, key=lambda f: formats[f]))  # type: ignore[call-overload]
    while True:
        step()
        yield
