"""The training loop of diffusers' DreamBooth LoRA examples: PEFT, and the VAE at every step.

For SD 1.5 the text encoder runs at every step too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bakehouse.models.denoiser import Denoiser
from bakehouse.training.precision import Precision
from benchmarks.workloads import Workload, write_images


def steps(workload: Workload, model: Denoiser, folder: Path) -> Iterator[None]:
    """Run steps at the same size, rank, batch and precision."""
    from diffusers import DDPMScheduler
    from peft import LoraConfig

    networks: Any = model
    unet, vae = networks.unet, networks.vae
    targets = ["to_k", "to_q", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=workload.rank, lora_alpha=workload.rank, target_modules=targets))
    learned = [p for p in unet.parameters() if p.requires_grad]
    for p in learned:
        p.data = p.data.float()
    optimizer = torch.optim.AdamW(learned, lr=1e-4)
    noise = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    files = sorted(write_images(folder, workload.side).glob("*.png"))
    precision = Precision(workload.precision, model.device)
    embeddings = _PromptEmbeddings(workload, networks)
    while True:
        chosen = [files[i] for i in torch.randint(len(files), (workload.batch,)).tolist()]
        pixels = torch.stack([_tensor(f, workload.side) for f in chosen]).to(model.device, vae.dtype)
        with torch.no_grad():
            latents = vae.encode(pixels).latent_dist.sample() * vae.config.scaling_factor
        hidden, added = embeddings()
        eps = torch.randn_like(latents)
        t = torch.randint(0, 1000, (workload.batch,), device=model.device)
        noisy = noise.add_noise(latents, eps, t)
        with precision.autocast():
            pred = unet(noisy, t, hidden, added_cond_kwargs=added, return_dict=False)[0]
            loss = F.mse_loss(pred.float(), eps.float())
        precision.backward(loss)
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.detach().item()
        yield


class _PromptEmbeddings:
    """Prompt embeddings as the examples make them: at every step for SD 1.5, once for SDXL."""

    def __init__(self, workload: Workload, networks: Any) -> None:
        self.workload = workload
        self.networks = networks
        self.added: dict[str, Tensor] | None = None
        if hasattr(networks, "text_encoder_2"):
            with torch.no_grad():
                cond = networks.encode_prompt(["zwx person"] * workload.batch)
            self.hidden = cond.hidden
            sizes = torch.tensor([[workload.side, workload.side, 0, 0, workload.side, workload.side]] * workload.batch)
            self.added = {"text_embeds": cond.pooled, "time_ids": sizes.to(networks.device)}

    def __call__(self) -> tuple[Tensor, dict[str, Tensor] | None]:
        if self.added is not None:
            return self.hidden, self.added
        tokens = self.networks.tokenizer(
            ["zwx person"] * self.workload.batch, padding="max_length", max_length=77, return_tensors="pt"
        )
        with torch.no_grad():
            hidden: Tensor = self.networks.text_encoder(tokens.input_ids.to(self.networks.device)).last_hidden_state
        return hidden, None


def _tensor(path: Path, side: int) -> Tensor:
    image = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 127.5 - 1
