"""One timed case, in a process of its own: `python -m benchmarks.cases MODEL WHO` prints seconds a step as JSON.

All three do the same work: UNet LoRA of rank 16 on every attention projection, fp32, AdamW, the same batch.

- `bare`: forward, backward, optimizer step on tensors made beforehand. Nothing can be faster with this network.
- `ours`: the loop of `bakehouse train`, with its caches, captions, guards and events.
- `peer`: the loop of diffusers' DreamBooth LoRA example: PEFT, the VAE and the text encoder at every step.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from bakehouse.adapters import LoRA, inject
from bakehouse.core.events import Step
from bakehouse.core.run import Run
from bakehouse.families.denoiser import Denoiser
from bakehouse.families.load import load_model
from bakehouse.recipe import make_plan, recipe_for_folder
from bakehouse.train.bake import prepare
from bakehouse.train.loop import train

RANK = 16


@dataclass(frozen=True)
class Size:
    """How large, and how long to look."""

    batch: int
    side: int
    warmup: int
    steps: int


SIZES = {"crumb": Size(8, 128, 4, 24), "sd15": Size(1, 256, 1, 3)}


def model_of(name: str) -> Denoiser:
    """crumb, or random weights in SD 1.5's shape: speed does not depend on what they are."""
    if name == "crumb":
        return load_model("crumb")
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from bakehouse.families.components import load_tokenizer
    from bakehouse.families.crumb import crumb_folder
    from bakehouse.families.sd1 import SD1

    torch.manual_seed(0)
    unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8, sample_size=64)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            eos_token_id=1130,
            bos_token_id=1129,
            pad_token_id=1130,
        )
    )
    return SD1(unet=unet, vae=vae, text_encoder=text, tokenizer=load_tokenizer(crumb_folder() / "tokenizer"))


def ours(model: Denoiser, size: Size, folder: Path) -> Iterator[None]:
    """The real loop on the real plan."""
    settings = {
        "concepts.0.repeats": 50,
        "buckets.resolution": size.side,
        "train.batch": size.batch,
        "train.epochs": 1,
        "prior.source": "none",
        "adapter.rank": RANK,
        "adapter.targets": "attention",
        "adapter.text": False,
        "sample.prompts": [],
        "data.cache": "memory",
    }
    plan = make_plan(recipe_for_folder(_pictures(folder, size), "zwx person", settings=settings))
    events = prepare(plan, model, Run(folder / "run"))
    while True:
        try:
            next(events)
        except StopIteration as stop:
            parts, state = stop.value
            break
    for event in train(parts, state):
        if isinstance(event, Step):
            yield


def bare(model: Denoiser, size: Size, folder: Path) -> Iterator[None]:
    """The least there is to do, in the better of the two memory formats."""
    adapter = inject(LoRA(rank=RANK, alpha=RANK, targets="attention"), model.parts())
    optimizer = torch.optim.AdamW(list(adapter.parameters()), lr=1e-4, fused=True)
    side = size.side // 8
    x_t = torch.randn(size.batch, 4, side, side)
    eps = torch.randn_like(x_t)
    t = torch.randint(0, 1000, (size.batch,))
    with torch.no_grad():
        cond = model.encode_prompt(["zwx person"] * size.batch)

    def step() -> None:
        F.mse_loss(model(x_t, t, cond), eps).backward()
        optimizer.step()
        optimizer.zero_grad()

    unet = model.parts()["lora_unet"]
    formats: dict[torch.memory_format, float] = {}
    for form in (torch.channels_last, torch.contiguous_format):
        unet.to(memory_format=form)
        step()
        began = time.perf_counter()
        step()
        formats[form] = time.perf_counter() - began
    unet.to(memory_format=min(formats, key=lambda f: formats[f]))
    while True:
        step()
        yield


def peer(model: Denoiser, size: Size, folder: Path) -> Iterator[None]:
    """As the diffusers example does it, at the same size, rank and batch."""
    from diffusers import DDPMScheduler
    from peft import LoraConfig

    parts = model.parts()
    unet = parts["lora_unet"]
    vae, text, tokenizer = model.vae, model.text_encoder, model.tokenizer  # type: ignore[attr-defined]
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    optimizer = torch.optim.AdamW([p for p in unet.parameters() if p.requires_grad], lr=1e-4)
    noise = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    files = sorted(_pictures(folder, size).glob("*.png"))
    while True:
        chosen = [files[i] for i in torch.randint(len(files), (size.batch,)).tolist()]
        pixels = torch.stack([_tensor(f, size.side) for f in chosen])
        with torch.no_grad():
            latents = vae.encode(pixels).latent_dist.sample() * vae.config.scaling_factor
            ids = tokenizer(
                ["zwx person"] * size.batch, padding="max_length", max_length=77, return_tensors="pt"
            ).input_ids
            hidden = text(ids).last_hidden_state
        eps = torch.randn_like(latents)
        t = torch.randint(0, 1000, (size.batch,))
        pred = unet(noise.add_noise(latents, eps, t), t, hidden, return_dict=False)[0]
        loss = F.mse_loss(pred.float(), eps.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in unet.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.detach().item()
        yield


CASES: dict[str, Callable[[Denoiser, Size, Path], Iterator[None]]] = {"ours": ours, "bare": bare, "peer": peer}


def _pictures(folder: Path, size: Size) -> Path:
    rng = np.random.default_rng(0)
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (size.side, size.side, 3), dtype=np.uint8)).save(photos / f"{i}.png")
    return photos


def _tensor(path: Path, side: int) -> torch.Tensor:
    image = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 127.5 - 1


def main(name: str, who: str) -> None:
    """Times one case and prints a line of JSON."""
    size = SIZES[name]
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        steps = CASES[who](model_of(name), size, Path(folder))
        for number in range(size.warmup + size.steps):
            began = time.perf_counter()
            next(steps)
            if number >= size.warmup:
                seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": sorted(seconds)[len(seconds) // 2], "peak_bytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
