"""Train UNet and text encoder together on the VAE's latents, with new random captions each time.

Epsilon prediction on SD 1.x's noise schedule, loss weighted (min(SNR, 5) + 1) / SNR: what min-SNR-5 gives to
velocity prediction (Hang et al. 2023, section 3.4). With min(SNR, 5) / SNR, the noise levels at which layout and
colours are decided have next to no weight, and text was ignored after 100,000 images.

Muon, an exponential moving average, and a learning rate that decays with the clock, not with the steps: the run ends
when it was told to end, on a fast machine as on a shared one.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from bakehouse.data.crumb_attributes import Vocabulary
from tools.crumb import unfinished
from tools.crumb.muon import Muon
from tools.crumb.precision import autocast, multiplies_bf16
from tools.crumb.text_encoder import TextOptions, new_text_encoder
from tools.crumb.text_encoder import train as teach_to_read
from tools.crumb.training_images import Picture, caption
from tools.crumb.words import vocabulary

SCALING = 0.18215
SHORT_CONTEXT = 42
"""Longest caption in tokens; attention over 77 padded positions is only needed at the end of training."""
UNFINISHED_PARTS = {"unet": "diffusion_pytorch_model.safetensors", "text_encoder": "model.safetensors"}


@dataclass(frozen=True)
class UNetOptions:
    minutes: float = 150.0
    lr: float = 2e-3
    text_lr: float = 0.2
    """Learning rate of the text encoder, relative to the UNet's: it has learned to read before."""
    text_minutes: float = 4.0
    batch: int = 96
    warmup: int = 150
    hold: float = 0.4  # share of the time at full learning rate, before it falls linearly to zero
    ema: float = 0.998
    snr_gamma: float = 5.0
    long_from: float = 0.8  # share of the time after which captions have all 77 positions
    compile: bool = False
    save_every: float = 300.0  # seconds
    seed: int = 0


def new_unet(latent_channels: int, width: int = 64, context: int = 192) -> UNet2DConditionModel:
    """Return a UNet of 14.9 M parameters: SD 1.x's four levels, narrow, one layer each, heads of 32."""
    channels = (width, 2 * width, 3 * width, 3 * width)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=context,
        attention_head_dim=[c // 32 for c in channels],
        norm_num_groups=16,
    )
    nn.init.zeros_(unet.conv_out.weight)
    return unet


class Latents:
    """Latents and their images. The file may still be growing: ``refresh`` reads it again."""

    def __init__(self, folder: Path, pictures: list[Picture]) -> None:
        self.folder = folder
        self.latents = np.load(folder / "latents.npy", mmap_mode="r")
        self.order = np.load(folder / "latents_order.npy")
        self.pictures = pictures
        self.channel_weights = torch.tensor(json.loads((folder / "channel_weights.json").read_text()))
        """How much each channel of the latents shows in the pixels, [channels], of mean 1."""
        self.count = 0
        self.refresh()

    def refresh(self) -> None:
        self.count = int(json.loads((self.folder / "latents.json").read_text())["count"])

    def batch(self, n: int, gen: torch.Generator) -> tuple[Tensor, list[Picture]]:
        """Return ``x_0`` [n, channels, 16, 16] in the UNet's scale, and the images."""
        rows = torch.randint(self.count, (n,), generator=gen).numpy()
        x = torch.from_numpy(self.latents[rows].astype(np.float32)) * SCALING
        return x, [self.pictures[int(i)] for i in self.order[rows]]


class Schedule:
    """Learning rate and context length as functions of the elapsed share of the time."""

    def __init__(self, options: UNetOptions) -> None:
        self.o = options

    def lr(self, progress: float, step: int) -> float:
        decay = min(1.0, (1 - progress) / (1 - self.o.hold) + 1e-3)
        return self.o.lr * min(1.0, (step + 1) / self.o.warmup) * decay

    def context(self, progress: float) -> int:
        return 77 if progress > self.o.long_from else SHORT_CONTEXT


class Trainer:
    """State of a run: models, optimizer, average, clock. ``run`` resumes it."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        data: Latents,
        options: UNetOptions,
        device: str = "cpu",
    ) -> None:
        self.o = options
        self.device = torch.device(device)
        self.unet = unet.to(self.device).train()
        self.text_encoder = text_encoder.to(self.device).train()
        self.tokenizer = tokenizer
        self.data = data
        if self.device.type == "cpu" and multiplies_bf16(self.device):
            # torch's fused attention is slow backwards on a CPU: plain products of matrices take a third of its time.
            self.unet.set_attn_processor(AttnProcessor())
            self.text_encoder.set_attn_implementation("eager")
        self.models: list[nn.Module] = [self.unet, self.text_encoder]
        self.params = [p for m in self.models for p in m.parameters()]
        self.ema = [p.detach().clone() for p in self.params]
        self.optimizers = Muon([self.unet], options.lr), Muon([self.text_encoder], options.lr)
        self.schedule = Schedule(options)
        noise = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
        snr = noise / (1 - noise)
        self.alphas = noise
        self.weights = (torch.clamp(snr, max=options.snr_gamma) + 1) / snr
        self.channel_weights = data.channel_weights.view(1, -1, 1, 1).to(self.device)
        self.denoise: Callable[..., Tensor] = self._denoise
        if options.compile:
            self.denoise = torch.compile(self._denoise, dynamic=False)  # one graph for each length of context
        self.step_count = 0
        self.seen = 0
        self.elapsed = 0.0

    def _denoise(self, x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        eps: Tensor = self.unet(x_t, t, cond, return_dict=False)[0]
        return eps

    def loss(self, context: int, gen: torch.Generator, rng: random.Random) -> Tensor:
        """Mean of w(t) v_k (eps_theta(x_t, t, c) - eps)_k^2, with min-SNR weights w and channel weights v."""
        x, pictures = self.data.batch(self.o.batch, gen)
        ids = self.tokenizer(
            [caption(p, rng) for p in pictures],
            padding="max_length",
            truncation=True,
            max_length=context,
            return_tensors="pt",
        ).input_ids
        t = torch.randint(0, 1000, (len(x),), generator=gen)
        eps = torch.randn(x.shape, generator=gen)
        a = self.alphas[t].view(-1, 1, 1, 1)
        x_t = a.sqrt() * x + (1 - a).sqrt() * eps
        x_t, t_d, eps, ids = (v.to(self.device) for v in (x_t, t, eps, ids))
        with autocast(self.device):
            cond = self.text_encoder(ids).last_hidden_state
            predicted = self.denoise(x_t, t_d, cond)
        error = ((predicted.float() - eps).square() * self.channel_weights).mean((1, 2, 3))
        weighted: Tensor = error * self.weights[t].to(self.device)
        return weighted.mean()

    def step(self, progress: float) -> float:
        gen = torch.Generator().manual_seed(self.o.seed + 7919 * self.step_count)
        rng = random.Random(self.o.seed + 104729 * self.step_count)
        self.optimizers[0].lr = self.schedule.lr(progress, self.step_count)
        self.optimizers[1].lr = self.optimizers[0].lr * self.o.text_lr
        loss = self.loss(self.schedule.context(progress), gen, rng)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.params, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step_count += 1
        self.seen += self.o.batch
        if self.step_count % 4 == 0:
            decay = min(self.o.ema, (self.step_count + 1) / (self.step_count + 10)) ** 4
            torch._foreach_lerp_(self.ema, [p.detach() for p in self.params], 1 - decay)
        return float(loss.detach())

    def run(self, out: Path, say: Callable[[str], None]) -> None:
        begun = last = saved = time.monotonic()
        losses: list[float] = []
        while (progress := self.elapsed / (60 * self.o.minutes)) < 1:
            losses.append(self.step(progress))
            now = time.monotonic()
            self.elapsed += now - last
            last = now
            if self.step_count % 25 == 0:
                self.data.refresh()
                say(
                    f"step {self.step_count} {self.elapsed / 60:.1f} min, {self.seen} images, "
                    f"loss {np.mean(losses[-100:]):.4f}, lr {self.optimizers[0].lr:.2e}, "
                    f"{self.o.batch * len(losses) / max(1e-9, now - begun):.1f}/s"
                )
            if now - saved > self.o.save_every:
                saved = now
                self.save(out)
        self.save(out)

    def save(self, out: Path) -> None:
        """Save the averaged weights as diffusers folders, and the state to resume from."""
        mine = [p.detach().clone() for p in self.params]
        self._load(self.ema)
        self.unet.save_pretrained(out / "unet")
        self.text_encoder.save_pretrained(out / "text_encoder")
        self._load(mine)
        state = {
            "params": mine,
            "ema": self.ema,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "clock": (self.step_count, self.seen, self.elapsed),
        }
        torch.save(state, out / "state.tmp")
        (out / "state.tmp").replace(out / "state.pt")

    def resume(self, out: Path) -> None:
        state = torch.load(out / "state.pt", map_location=self.device, weights_only=True)
        self._load(state["params"])
        self._load_ema(state["ema"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step_count, self.seen, self.elapsed = state["clock"]

    @torch.no_grad()
    def _load(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(list[Tensor](self.params), values)

    @torch.no_grad()
    def _load_ema(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(self.ema, values)


def save_unfinished(run: Path, path: Path) -> None:
    """Write the averaged weights of a saved run into one small file."""
    parts = {name: load_file(run / name / file) for name, file in UNFINISHED_PARTS.items()}
    unfinished.write({f"{part}.{name}": t for part, of in parts.items() for name, t in of.items()}, path)


def load_unfinished(path: Path, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
    weights = unfinished.read(path)
    for prefix, model in zip(UNFINISHED_PARTS, (unet, text_encoder), strict=True):
        own = {name.removeprefix(f"{prefix}."): t for name, t in weights.items() if name.startswith(f"{prefix}.")}
        model.load_state_dict(own)


def clock(run: Path) -> tuple[int, float]:
    """Return the images seen and the minutes of a saved run."""
    _, seen, elapsed = torch.load(run / "state.pt", map_location="cpu", weights_only=True)["clock"]
    return int(seen), elapsed / 60


def train(
    folder: Path,
    pictures: list[Picture],
    options: UNetOptions,
    say: Callable[[str], None],
    device: str = "cpu",
    start: Path | None = None,
) -> Path:
    """Train in ``folder``; return the folder of the weights.

    ``start``: weights to start from, a pipeline's folder or a file of ``save_unfinished``.
    """
    out = folder / "unet-run"
    out.mkdir(exist_ok=True)
    torch.manual_seed(options.seed)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    if start is not None and start.is_dir():
        unet = UNet2DConditionModel.from_pretrained(start / "unet").float()
        text_encoder = CLIPTextModel.from_pretrained(start / "text_encoder").float()
    else:
        channels = np.load(folder / "latents.npy", mmap_mode="r").shape[1]
        unet, text_encoder = new_unet(channels), new_text_encoder(tokenizer)
        if start is not None:
            load_unfinished(start, unet, text_encoder)
        elif not (out / "state.pt").exists():
            reading = TextOptions(minutes=options.text_minutes, seed=options.seed)
            teach_to_read(text_encoder, tokenizer, pictures, Vocabulary.from_json(vocabulary()), reading, say, device)
    trainer = Trainer(unet, text_encoder, tokenizer, Latents(folder, pictures), options, device=device)
    if (out / "state.pt").exists():
        trainer.resume(out)
    trainer.run(out, say)
    return out
