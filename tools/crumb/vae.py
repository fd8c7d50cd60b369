"""Train the VAE, normalize its latents, encode the images, and sharpen the decoder afterwards.

A KL autoencoder of 1.9 M parameters: 128 x 128 pixels to 4 x 16 x 16, as SD's own. Plain L1 loses colour on so small
a net, so that averages and colour differences are asked for as well.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

from tools.crumb.muon import Muon

SCALING = 0.18215  # SD 1.x's own: ours is made to fit it
Say = Callable[[str], None]


@dataclass(frozen=True)
class VAEOptions:
    minutes: float = 35.0
    lr: float = 2.5e-3
    crops: float = (
        0.6  # share of the time on crops of 64 pixels, which are cheap; group norm needs whole ones at the end
    )
    other: float = 1 / 16  # share of images that the UNet never sees, so that they can be drawn
    seed: int = 1


def new_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=128,
    )


class Pictures:
    """Batches of base images, mixed with some held-out ones."""

    def __init__(self, folder: Path, other: float, seed: int) -> None:
        self.base = np.load(folder / "images.npy", mmap_mode="r")
        self.rest = np.load(folder / "heldout.npy", mmap_mode="r")
        self.other = other
        self.rng = np.random.default_rng(seed)

    def batch(self, n: int, crop: int = 128) -> Tensor:
        """Return images [n, 3, crop, crop] in -1..1."""
        images = []
        for _ in range(n):
            source = self.rest if self.rng.random() < self.other else self.base
            y, x = self.rng.integers(0, 129 - crop, size=2)
            images.append(source[self.rng.integers(len(source)), y : y + crop, x : x + crop])
        return to_float(np.stack(images))


def to_float(x: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def chroma(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0] - x[:, 1], x[:, 2] - x[:, 1]], 1)


def picture_loss(y: Tensor, x: Tensor) -> tuple[Tensor, float]:
    """Return L1 + edges + 2 x averages + 2 x colour, and the plain L1 to report."""
    d = y - x
    l1 = d.abs().mean()
    edge = sum((a - b).abs().mean() for a, b in zip(edges(y), edges(x), strict=True))
    low = F.avg_pool2d(d, 8).abs().mean() + F.avg_pool2d(d, 2).abs().mean()
    return l1 + edge + 2 * low + 2 * chroma(d).abs().mean(), float(l1.detach())


def descend(
    module: nn.Module, loss_of: Callable[[float], tuple[Tensor, float]], minutes: float, lr: float, say: Say
) -> None:
    """Train with Muon and a half-cosine schedule over time; `loss_of(progress)` returns loss and a value to report."""
    optimizer = Muon([module], lr)
    start, step, figures = time.monotonic(), 0, []
    while (progress := (time.monotonic() - start) / (60 * minutes)) < 1:
        optimizer.lr = lr * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * progress)) + 2e-5
        loss, figure = loss_of(progress)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        step += 1
        figures.append(figure)
        if step % 100 == 0:
            say(f"step {step} {progress:.0%} L1 {np.mean(figures[-100:]):.4f}")


def train(folder: Path, options: VAEOptions, say: Say, device: str = "cpu") -> AutoencoderKL:
    torch.manual_seed(options.seed)
    vae = new_vae().to(device).train()
    pictures = Pictures(folder, options.other, options.seed)

    def loss_of(progress: float) -> tuple[Tensor, float]:
        x = (pictures.batch(16, 64) if progress < options.crops else pictures.batch(6)).to(device)
        post = vae.encode(x).latent_dist
        y = vae.decode(post.mean + torch.randn_like(post.mean) * post.std).sample
        loss, l1 = picture_loss(y, x)
        kl = (0.5 * (post.mean**2 + post.var - 1 - post.logvar)).mean()
        return loss + 1e-4 * kl, l1

    descend(vae, loss_of, options.minutes, options.lr, say)
    return vae.eval()


def sharpen(folder: Path, vae: AutoencoderKL, minutes: float, say: Say, device: str = "cpu", lr: float = 1e-3) -> None:
    """Train only the decoder: the latents do not change, so the UNet stays valid."""
    pictures = Pictures(folder, 1 / 8, seed=3)
    vae.requires_grad_(False)
    decoder = nn.ModuleList([vae.decoder, vae.post_quant_conv]).requires_grad_(True).train()

    def loss_of(_: float) -> tuple[Tensor, float]:
        x = pictures.batch(8).to(device)
        with torch.no_grad():
            z = vae.encode(x).latent_dist.mean
        return picture_loss(vae.decode(z).sample, x)

    descend(decoder, loss_of, minutes, lr, say)
    vae.eval()


@torch.inference_mode()
def reconstruction_error(
    folder: Path, vae: AutoencoderKL, device: str = "cpu", count: int = 128
) -> tuple[float, float]:
    """Return the mean L1 (-1..1) on the last images of the base and of the held-out set."""
    errors = []
    for name in ("images", "heldout"):
        x = to_float(np.load(folder / f"{name}.npy", mmap_mode="r")[-count:].copy()).to(device)
        parts = [vae.decode(vae.encode(p).latent_dist.mean).sample.clamp(-1, 1) - p for p in torch.split(x, 32)]
        errors.append(float(torch.cat(parts).abs().mean()))
    return errors[0], errors[1]


@torch.inference_mode()
def encode(folder: Path, vae: AutoencoderKL, say: Say, device: str = "cpu", only: int | None = None) -> None:
    """Write the latent means of all images in random order; resumes if interrupted.

    `latents.npy` [n, 4, 16, 16] half precision, `latents_order.npy` [n] the image of each row, `latents.json` how
    many rows are there already: the UNet can begin before all are.
    """
    images = np.load(folder / "images.npy", mmap_mode="r")
    order = np.random.RandomState(0).permutation(len(images))
    np.save(folder / "latents_order.npy", order)
    path, progress = folder / "latents.npy", folder / "latents.json"
    done = json.loads(progress.read_text())["count"] if path.exists() and progress.exists() else 0
    shape = (len(images), 4, 16, 16)
    latents = np.lib.format.open_memmap(path, "r+" if done else "w+", np.float16, None if done else shape)
    for start in range(done, min(len(images), only or len(images)), 64):
        rows = order[start : start + 64]
        x = to_float(np.stack([images[i] for i in rows])).to(device)
        latents[start : start + len(rows)] = vae.encode(x).latent_dist.mean.cpu().numpy()
        if start % 1280 == 0 or start + 64 >= len(images):
            latents.flush()
            progress.write_text(json.dumps({"count": start + len(rows)}))
            say(f"{start + len(rows)} of {len(images)} encoded")


@torch.no_grad()
def normalise(folder: Path, vae: AutoencoderKL, device: str = "cpu", count: int = 2000) -> None:
    """Reparameterize exactly: latents get mean 0 and standard deviation 1 / 0.18215 in every channel, as in SD 1.x.

    Only the 1x1 convolutions before and after the latents change; what the VAE draws does not.
    """
    images = np.load(folder / "images.npy", mmap_mode="r")
    rows = np.random.RandomState(2).choice(len(images), min(count, len(images)), replace=False)
    z = torch.cat(
        [vae.encode(to_float(images[np.sort(r)]).to(device)).latent_dist.mean for r in np.array_split(rows, 40)]
    )
    mean, spread = z.mean((0, 2, 3)), z.std((0, 2, 3)) * SCALING
    before, after = vae.quant_conv, vae.post_quant_conv
    before.weight[:4] /= spread.view(4, 1, 1, 1)
    before.bias[:4] = (before.bias[:4] - mean) / spread
    before.bias[4:] -= 2 * spread.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= spread.view(1, 4, 1, 1)
    vae.register_to_config(scaling_factor=SCALING)
