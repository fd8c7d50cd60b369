"""Teach the text encoder what captions say, before the UNet is trained with it.

Stable Diffusion's text encoder comes trained from CLIP. A new one begins with states that differ by position, hardly by
word, and a UNet learns to ignore them: after 80,000 images they explained 1 % of what it predicted. So it first learns,
in minutes, to let small heads read a picture's attributes off its states: one query for each group of attributes
attends to the states, as the UNet's cross-attention will.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from bakehouse.data.crumb_attributes import Vocabulary
from tools.crumb.muon import Muon
from tools.crumb.precision import autocast, multiplies_bf16
from tools.crumb.tagger import UNKNOWN, targets
from tools.crumb.training_images import Picture, caption


@dataclass(frozen=True)
class TextOptions:
    minutes: float = 4.0
    batch: int = 192
    lr: float = 2e-3
    context: int = 42
    """Tokens of a caption."""
    seed: int = 0


def new_text_encoder(tokenizer: CLIPTokenizer, width: int = 192, layers: int = 3) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            max_position_embeddings=77,
            projection_dim=width,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class Readers(nn.Module):
    """States [n, tokens, width] -> logits [n, all values of all groups]: one attention query for each group."""

    def __init__(self, width: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(sizes), width) / width**0.5)
        self.keys = nn.Linear(width, width, bias=False)
        self.values = nn.Linear(width, width, bias=False)
        self.heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)

    def forward(self, states: Tensor) -> Tensor:
        attention = (self.queries @ self.keys(states).mT / states.shape[-1] ** 0.5).softmax(-1)
        read = attention @ self.values(states)
        return torch.cat([head(read[:, k]) for k, head in enumerate(self.heads)], 1)


def train(
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    pictures: Sequence[Picture],
    words: Vocabulary,
    options: TextOptions,
    say: Callable[[str], None],
    device: str = "cpu",
) -> None:
    """Train the encoder in place, on random captions and the attributes of their pictures."""
    if device == "cpu" and multiplies_bf16(device):
        text_encoder.set_attn_implementation("eager")
    sizes = [
        len(values) for group, values in words.groups.items() if group != "face"
    ]  # no caption speaks of broken faces
    columns = [k for k, group in enumerate(words.groups) if group != "face"]
    torch.manual_seed(options.seed)
    readers = Readers(text_encoder.config.hidden_size, sizes)
    both = nn.ModuleList([text_encoder.to(device).train(), readers.to(device)])
    optimizer = Muon([both], options.lr)
    rng = random.Random(options.seed)
    began, losses = time.monotonic(), list[float]()
    while (progress := (time.monotonic() - began) / (60 * options.minutes)) < 1:
        some = rng.choices(pictures, k=options.batch)
        ids = tokenizer(
            [caption(p, rng) for p in some],
            padding="max_length", truncation=True, max_length=options.context, return_tensors="pt",
        ).input_ids  # fmt: skip
        wanted = torch.tensor([targets(p, words) for p in some])[:, columns].to(device)
        with autocast(device):
            logits = readers(text_encoder(ids.to(device)).last_hidden_state)
        loss = _cross_entropy(logits.float(), wanted, sizes)
        optimizer.lr = options.lr * min(1.0, (len(losses) + 1) / 50) * min(1.0, 2 * (1 - progress) + 1e-3)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
        if len(losses) % 25 == 0:
            say(f"text encoder: step {len(losses)} {progress:.0%} loss {np.mean(losses[-25:]):.3f}")
    text_encoder.requires_grad_(True)


def _cross_entropy(logits: Tensor, wanted: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the mean over groups of the cross entropy of known values."""
    parts = torch.split(logits, list(sizes), dim=1)
    found = [F.cross_entropy(p, wanted[:, k], ignore_index=UNKNOWN, reduction="sum") for k, p in enumerate(parts)]
    return torch.stack(found).sum() / (wanted != UNKNOWN).sum().clamp(min=1)
