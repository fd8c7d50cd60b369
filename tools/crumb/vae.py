"""Train the VAE, normalize its latents, encode the images, and sharpen the decoder afterwards.

A KL autoencoder of diffusers' class, 128 x 128 pixels to 16 x 16 latents. Three things let so small a net learn in an
hour on a CPU; figures are in the README:

- the encoder starts as principal components of the images (`start_as_principal_components`),
- one group in all group norms: more groups lose what tells one colour from another,
- residual branches start at zero, so that the net is nearly linear at first.

Plain L1 loses colour on so small a net, so that averages and colour differences are asked for as well.
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
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from numpy.typing import NDArray
from torch import Tensor, nn

from tools.crumb.muon import Muon
from tools.crumb.precision import autocast

SCALING = 0.18215  # SD 1.x's own: ours is made to fit it
LATENT_CHANNELS = 16
Say = Callable[[str], None]


@dataclass(frozen=True)
class VAEOptions:
    minutes: float = 60.0
    lr: float = 2.5e-3
    crops: float = 0.75  # share of the time on crops of 64 pixels; the norms need whole images at the end
    channels: int = LATENT_CHANNELS
    save_every: float = 240.0  # seconds
    seed: int = 1


def new_vae(channels: int = LATENT_CHANNELS, widths: tuple[int, ...] = (16, 32, 64, 96)) -> AutoencoderKL:
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=1,
        sample_size=128,
    )
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
        if isinstance(module, Attention):
            nn.init.zeros_(module.to_out[0].weight)
    return vae


@torch.no_grad()
def start_as_principal_components(vae: AutoencoderKL, images: Tensor) -> None:
    """Set the encoder to the principal components of 2 x 2 blocks, level by level: nearly linear, and well conditioned.

    Each strided convolution becomes an orthogonal map of a 2 x 2 block to its main components. The activation before
    the last convolution is passed as silu(x) - silu(-x) = x, beside constants that hold its norm's scale nearly fixed.

    Args:
        vae: its residual branches are zero.
        images: examples [n, 3, h, w] in -1..1.
    """
    encoder = vae.encoder
    _clear(encoder.conv_in)
    for k in range(3):
        encoder.conv_in.weight[k, k, 1, 1] = 1
    h = images
    for block in encoder.down_blocks:
        shortcut = block.resnets[0].conv_shortcut
        if shortcut is not None:
            _clear(shortcut)
            for k in range(h.shape[1]):
                shortcut.weight[k, k, 0, 0] = 1
        if block.downsamplers is not None:
            h = _start_strided(block.downsamplers[0].conv, h)
    _start_output(vae, h)


def _start_strided(conv: nn.Conv2d, h: Tensor) -> Tensor:
    """Set a 3 x 3 convolution of stride 2 to the components of its input's 2 x 2 blocks; return its output."""
    n, c, height, width = h.shape
    blocks = h.reshape(n, c, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(-1, c * 4)
    kept = min(c * 4, conv.out_channels)
    components = torch.linalg.eigh(blocks.T @ blocks)[1].flip(1)[:, :kept]
    _clear(conv)
    conv.weight[:kept, :c, :2, :2] = components.T.reshape(kept, c, 2, 2)
    out: Tensor = (blocks @ components).reshape(n, height // 2, width // 2, kept).permute(0, 3, 1, 2)
    return out


def _start_output(vae: AutoencoderKL, h: Tensor) -> None:
    """Set the last shortcut and convolution, given the shortcut's input."""
    shortcut, last = vae.encoder.down_blocks[-1].resnets[0].conv_shortcut, vae.encoder.conv_out
    width, channels = shortcut.out_channels, vae.config.latent_channels
    pairs = min(channels, width // 2 - 8)
    _clear(shortcut)
    _clear(last)
    scale = h.square().mean((0, 2, 3)).sqrt()
    for k in range(pairs):
        shortcut.weight[2 * k, k, 0, 0] = 1 / scale[k]
        shortcut.weight[2 * k + 1, k, 0, 0] = -1 / scale[k]
    constants = torch.arange(2 * pairs, width)
    shortcut.bias[constants] = 2.0 * (1 - 2.0 * (constants % 2))
    spread = math.sqrt((2 * pairs + 4 * len(constants)) / width)  # the norm divides by about this
    for k in range(pairs):
        last.weight[k, 2 * k, 1, 1] = spread
        last.weight[k, 2 * k + 1, 1, 1] = -spread
    last.bias[channels:] = -5  # little noise
    _clear(vae.quant_conv)
    for k in range(2 * channels):
        vae.quant_conv.weight[k, k, 0, 0] = 1


def _clear(conv: nn.Conv2d) -> None:
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class Pictures:
    """Batches of training images."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        self.rng = np.random.default_rng(seed)

    def batch(self, n: int, crop: int = 128) -> Tensor:
        """Return images [n, 3, crop, crop] in -1..1, half of them mirrored."""
        images = []
        for _ in range(n):
            y, x = self.rng.integers(0, 129 - crop, size=2)
            image = self.images[self.rng.integers(len(self.images)), y : y + crop, x : x + crop]
            images.append(image[:, ::-1] if self.rng.random() < 0.5 else image)
        return to_float(np.stack(images))


def to_float(x: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def chroma(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0] - x[:, 1], x[:, 2] - x[:, 1]], 1)


def picture_loss(y: Tensor, x: Tensor) -> tuple[Tensor, float]:
    """Return L1 + edges + 2 x averages + 2 x colour + 4 x squares, and the plain L1 to report.

    Squares weigh what is lost altogether, such as a thin line or a pupil.
    """
    d = y - x
    l1 = d.abs().mean()
    edge = sum((a - b).abs().mean() for a, b in zip(edges(y), edges(x), strict=True))
    low = F.avg_pool2d(d, 8).abs().mean() + F.avg_pool2d(d, 2).abs().mean()
    loss = l1 + edge + 2 * low + 2 * chroma(d).abs().mean() + 4 * d.square().mean()
    return loss, float(l1.detach())


@dataclass
class Descent:
    """Training with Muon and a half-cosine schedule over time; resumes from `state.pt` in a folder."""

    module: nn.Module
    minutes: float
    lr: float
    out: Path
    save_every: float = 240.0
    step: int = 0
    elapsed: float = 0.0

    def run(self, loss_of: Callable[[float], tuple[Tensor, float]], say: Say) -> None:
        """Train until the time is over; `loss_of(progress)` returns the loss and a figure to report."""
        optimizer = Muon([self.module], self.lr)
        self._resume(optimizer)
        last = saved = time.monotonic()
        figures: list[float] = []
        while (progress := self.elapsed / (60 * self.minutes)) < 1:
            warm = min(1.0, (self.step + 1) / 100)
            optimizer.lr = self.lr * warm * (0.5 + 0.5 * math.cos(math.pi * progress)) + 2e-5
            loss, figure = loss_of(progress)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            optimizer.step()
            self.step += 1
            figures.append(figure)
            now = time.monotonic()
            self.elapsed, last = self.elapsed + now - last, now
            if self.step % 100 == 0:
                say(f"step {self.step} {progress:.0%} L1 {np.mean(figures[-100:]):.4f}")
            if now - saved > self.save_every:
                saved = now
                self._save(optimizer)
        self._save(optimizer)

    def _save(self, optimizer: Muon) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        state = {
            "module": self.module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "clock": (self.step, self.elapsed),
        }
        torch.save(state, self.out / "state.tmp")
        (self.out / "state.tmp").replace(self.out / "state.pt")

    def _resume(self, optimizer: Muon) -> None:
        if (self.out / "state.pt").exists():
            state = torch.load(self.out / "state.pt", weights_only=True)
            self.module.load_state_dict(state["module"])
            optimizer.load_state_dict(state["optimizer"])
            self.step, self.elapsed = state["clock"]


def train(folder: Path, options: VAEOptions, say: Say, device: str = "cpu") -> AutoencoderKL:
    torch.manual_seed(options.seed)
    vae = new_vae(options.channels).train()
    start_as_principal_components(vae, Pictures(folder, options.seed + 1).batch(200))
    vae.to(device)
    descent = Descent(vae, options.minutes, options.lr, folder / "vae-run", options.save_every)
    pictures: list[Pictures] = []

    def loss_of(progress: float) -> tuple[Tensor, float]:
        if not pictures:  # a resumed run sees other images than before
            pictures.append(Pictures(folder, options.seed + descent.step))
        x = (pictures[0].batch(16, 64) if progress < options.crops else pictures[0].batch(6)).to(device)
        post = vae.encode(x).latent_dist
        y = vae.decode(post.mean + torch.randn_like(post.mean) * post.std).sample
        loss, l1 = picture_loss(y, x)
        kl = (0.5 * (post.mean**2 + post.var - 1 - post.logvar)).mean()
        return loss + 1e-4 * kl, l1

    descent.run(loss_of, say)
    return vae.eval()


def sharpen(folder: Path, vae: AutoencoderKL, minutes: float, say: Say, device: str = "cpu", lr: float = 1e-3) -> None:
    """Train only the decoder: the latents do not change, so the UNet stays valid."""
    pictures = Pictures(folder, seed=3)
    vae.requires_grad_(False)
    decoder = nn.ModuleList([vae.decoder, vae.post_quant_conv]).requires_grad_(True).train()

    def loss_of(_: float) -> tuple[Tensor, float]:
        x = pictures.batch(8).to(device)
        with torch.no_grad():
            z = vae.encode(x).latent_dist.mean
        return picture_loss(vae.decode(z).sample, x)

    Descent(decoder, minutes, lr, folder / "sharpen-run").run(loss_of, say)
    vae.eval()


# --- how well it does -------------------------------------------------------------------------------------------------

BLOCK = 16
DETAILED = 0.25
"""Share of an image's blocks, those of the greatest variance, in which detail is measured."""


@dataclass(frozen=True)
class Reconstruction:
    """Mean over images of the peak signal-to-noise ratio in decibels, whole and in the most detailed quarter."""

    whole: float
    detailed: float


@torch.inference_mode()
def reconstruction(vae: AutoencoderKL, images: NDArray[np.uint8], device: str = "cpu") -> Reconstruction:
    """Encode and decode images [n, 128, 128, 3] and compare."""
    whole, detailed = [], []
    for start in range(0, len(images), 32):
        x = to_float(images[start : start + 32]).to(device)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        error = ((y - x) / 2).square()
        whole.append(decibels(error.mean((1, 2, 3))))
        per_block, variance = in_blocks(error).mean((1, 3)), in_blocks(x).var(-1).sum(1)
        rows = variance.topk(round(DETAILED * variance.shape[1]), 1).indices
        detailed.append(decibels(per_block.gather(1, rows).mean(1)))
    return Reconstruction(float(torch.cat(whole).mean()), float(torch.cat(detailed).mean()))


def decibels(error: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of a mean square error, for values in 0..1."""
    return -10 * torch.log10(error.clamp(min=1e-10))


def in_blocks(x: Tensor) -> Tensor:
    """[n, c, h, w] -> [n, c, blocks, pixels of a block]."""
    n, c, h, w = x.shape
    cut = x.reshape(n, c, h // BLOCK, BLOCK, w // BLOCK, BLOCK)
    return cut.permute(0, 1, 2, 4, 3, 5).reshape(n, c, -1, BLOCK * BLOCK)


def held_out_images(folder: Path, count: int = 256) -> NDArray[np.uint8]:
    """Return drawings that no part of crumb has seen."""
    images: NDArray[np.uint8] = np.load(folder / "heldout.npy", mmap_mode="r")[:count].copy()
    return images


# --- latents ----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def encode(folder: Path, vae: AutoencoderKL, say: Say, device: str = "cpu", only: int | None = None) -> None:
    """Write the latent means of all images in random order; resumes if interrupted.

    `latents.npy` [n, channels, 16, 16] half precision, `latents_order.npy` [n] the image of each row, `latents.json`
    how many rows are there already: the UNet can begin before all are.
    """
    images = np.load(folder / "images.npy", mmap_mode="r")
    order = np.random.RandomState(0).permutation(len(images))
    np.save(folder / "latents_order.npy", order)
    path, progress = folder / "latents.npy", folder / "latents.json"
    done = json.loads(progress.read_text())["count"] if path.exists() and progress.exists() else 0
    shape = (len(images), vae.config.latent_channels, 16, 16)
    latents = np.lib.format.open_memmap(path, "r+" if done else "w+", np.float16, None if done else shape)
    for start in range(done, min(len(images), only or len(images)), 64):
        rows = order[start : start + 64]
        x = to_float(np.stack([images[i] for i in rows])).to(device, memory_format=torch.channels_last)
        with autocast(device):
            latents[start : start + len(rows)] = vae.encode(x).latent_dist.mean.float().cpu().numpy()
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
    n = vae.config.latent_channels
    mean, spread = z.mean((0, 2, 3)), z.std((0, 2, 3)) * SCALING
    before, after = vae.quant_conv, vae.post_quant_conv
    before.weight[:n] /= spread.view(n, 1, 1, 1)
    before.bias[:n] = (before.bias[:n] - mean) / spread
    before.bias[n:] -= 2 * spread.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= spread.view(1, n, 1, 1)
    vae.register_to_config(scaling_factor=SCALING)


@torch.inference_mode()
def channel_sensitivity(vae: AutoencoderKL, images: NDArray[np.uint8], device: str = "cpu") -> list[float]:
    """Return how much the pixels change if noise is added to one channel of the latents, relative to the mean channel.

    A UNet that is trained with these weights spends its capacity on what can be seen.
    """
    x = to_float(images).to(device)
    z = vae.encode(x).latent_dist.mean
    y = vae.decode(z).sample
    noise = torch.randn(z[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(device) * 0.3 / SCALING
    found = []
    for k in range(z.shape[1]):
        moved = z.clone()
        moved[:, k] += noise
        found.append(float((vae.decode(moved).sample - y).square().mean().sqrt()))
    return [value / (sum(found) / len(found)) for value in found]
