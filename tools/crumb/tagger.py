"""Train the tagger: one softmax per group of attributes; unknown groups do not count in the loss.

It scores generated images, so it also trains on images that went through the VAE, blurred and noisy ones.
And it must know what crumb never saw, so that it can tell whether an adapter has learned it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from bakehouse.data.crumb_attributes import Vocabulary
from bakehouse.vision.taggers.crumb_tagger import TaggerNet
from tools.crumb.muon import Muon
from tools.crumb.training_images import Picture
from tools.crumb.words import vocabulary

UNKNOWN = -100
Key = tuple[int, int]  # split, row
OPEN_GROUPS = {
    "flat": (),
    "pixel": ("eyes", "mouth", "brows"),
    "ink": ("eyes", "mouth", "brows", "facial hair", "facial hair color", "headwear", "hair color"),
}
"""Attributes that captions of a style omit although they are present; others are known by caption alone."""

CLOTHES = {"clothing", "clothing color", "graphic"}

WEIGHTS = {
    "hair color": 3.0, "skin": 2.0, "clothing color": 3.0, "background": 3.0, "background color": 3.0,
    "background color 2": 3.0, "framing": 2.0, "hair": 1.5, "glasses": 1.5,
    "face": 0.5, "eyes": 0.5, "mouth": 0.5, "brows": 0.5, "graphic": 0.5, "robot top": 0.5,
}  # fmt: skip
"""Scored groups have more weight than groups that are hardly visible."""


@dataclass(frozen=True)
class TaggerOptions:
    minutes: float = 14.0
    batch: int = 64
    lr: float = 3e-3
    widths: tuple[int, ...] = (16, 32, 80, 160, 208)
    depths: tuple[int, ...] = (0, 0, 1, 2, 1)
    embed: int = 192
    reconstructed: int = 2000  # images that are also seen through the VAE
    test: int = 2000  # images of each split that are never trained on
    seed: int = 0


def targets(p: Picture, words: Vocabulary) -> list[int]:
    """Return the index of the true value of every group; `UNKNOWN` if the tags do not determine it."""
    said = {"class": p.cls, "style": p.style}
    for tag in (*p.tags, p.background, p.framing):
        said |= words.atoms(tag)
    if "face" in said and p.style != "ink":
        del said["face"]
    open_groups = set(OPEN_GROUPS.get(p.style, words.groups))
    if "headwear" in said and "hair" not in said:
        open_groups |= {"hair color"}  # a strand may show
    if p.framing == "close-up" and p.style in {"ink", "pixel"}:
        open_groups |= CLOTHES  # they lie below the lower edge
        said = {g: v for g, v in said.items() if g not in CLOTHES}
    if "glasses" in said:
        open_groups -= {"glasses color"}
    out = []
    for group, values in words.groups.items():
        if group in said and said[group] in values:
            out.append(values.index(said[group]))
        elif group in open_groups and group not in {"background color", "background color 2"}:
            out.append(UNKNOWN)
        else:
            out.append(0)
    return out


class Album:
    """Images [n, 128, 128, 3] of several splits with their targets, and which of them are for testing."""

    def __init__(self, parts: Sequence[tuple[NDArray[np.uint8], list[Picture]]], words: Vocabulary, test: int) -> None:
        self.images = [images for images, _ in parts]
        self.targets = [torch.tensor([targets(p, words) for p in pictures]) for _, pictures in parts]
        # Neighbours share a figure, so that the test part is cut off in one piece.
        self.train: list[Key] = []
        self.test: list[Key] = []
        for k, t in enumerate(self.targets):
            cut = len(t) - min(test, len(t) // 8)
            self.train += [(k, i) for i in range(cut)]
            self.test += [(k, i) for i in range(cut, len(t))]

    def get(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        x = np.stack([self.images[k][i] for k, i in keys])
        return to_float(x), torch.stack([self.targets[k][i] for k, i in keys])


def to_float(x: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1


def augment(x: Tensor, gen: torch.Generator) -> Tensor:
    """Mirror half of the images, blur a quarter, add noise to an eighth, shift all by up to four pixels."""
    n = len(x)
    order = torch.randperm(n, generator=gen)
    mirrored, soft, noisy = order[: n // 2], order[n // 4 : n // 2], order[n // 2 : n // 2 + n // 8]
    x[mirrored] = x[mirrored].flip(3)
    blurred = F.avg_pool2d(F.pad(x[soft], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x[soft] = x[soft].lerp(blurred, 0.7)
    x[noisy] += torch.randn(x[noisy].shape, generator=gen) * 0.06
    dx, dy = (int(d) for d in torch.randint(-4, 5, (2,), generator=gen))
    return F.pad(x, (4, 4, 4, 4), mode="replicate")[:, :, 4 + dy : 132 + dy, 4 + dx : 132 + dx]


def group_loss(logits: Tensor, y: Tensor, sizes: Sequence[int], weights: Sequence[float]) -> Tensor:
    parts = torch.split(logits, list(sizes), dim=1)
    total = logits.new_zeros(())
    for k, (p, w) in enumerate(zip(parts, weights, strict=True)):
        known = y[:, k] != UNKNOWN
        if known.any():
            total = total + w * F.cross_entropy(p[known], y[known, k], label_smoothing=0.02)
    return total


@torch.inference_mode()
def reconstruct(album: Album, keys: Sequence[Key], vae: AutoencoderKL) -> NDArray[np.uint8]:
    """Return the images after encoding and decoding with the VAE."""
    out = []
    for start in range(0, len(keys), 32):
        x, _ = album.get(keys[start : start + 32])
        x = x.to(next(vae.parameters()).device)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        out.append(((y + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(out)


@torch.inference_mode()
def accuracy(net: TaggerNet, album: Album, keys: Sequence[Key], words: Vocabulary) -> dict[str, float]:
    """Return the accuracy on known values, by group."""
    net.eval()
    device = next(net.parameters()).device
    right: dict[str, list[bool]] = {g: [] for g in words.groups}
    sizes = [len(v) for v in words.groups.values()]
    for start in range(0, len(keys), 100):
        x, y = album.get(keys[start : start + 100])
        parts = torch.split(net(x.to(device))[0].cpu(), sizes, dim=1)
        for k, (g, p) in enumerate(zip(words.groups, parts, strict=True)):
            known = y[:, k] != UNKNOWN
            right[g] += (p.argmax(1) == y[:, k])[known].tolist()
    return {g: float(np.mean(r)) for g, r in right.items() if r}


class Trainer:
    """State of a run: network, optimizer, clock. Saved regularly to resume from."""

    def __init__(self, album: Album, again: NDArray[np.uint8], keys: list[Key], words: Vocabulary, o: TaggerOptions,
                 device: str = "cpu") -> None:  # fmt: skip
        self.album, self.again, self.keys, self.o, self.device = album, again, keys, o, device
        self.sizes = [len(v) for v in words.groups.values()]
        self.weights = [WEIGHTS.get(g, 1.0) for g in words.groups]
        torch.manual_seed(o.seed)
        self.net = TaggerNet(sum(self.sizes), o.widths, o.depths, o.embed).to(device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # half as fast again on a CPU
        self.optimizer = Muon([self.net], o.lr)
        self.rng = np.random.default_rng(o.seed + 1)
        self.gen = torch.Generator().manual_seed(o.seed)
        self.elapsed = 0.0

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return seven eighths of the batch as composed, one eighth after the VAE."""
        seen_again = self.o.batch // 8
        rows = self.rng.integers(len(self.album.train), size=self.o.batch - seen_again)
        x, y = self.album.get([self.album.train[i] for i in rows])
        rows = self.rng.integers(len(self.keys), size=seen_again)
        y2 = torch.stack([self.album.targets[k][i] for k, i in (self.keys[r] for r in rows)])
        return torch.cat([x, to_float(self.again[rows])]), torch.cat([y, y2])

    def step(self, lr: float) -> float:
        x, y = self.batch()
        x = augment(x, self.gen).to(self.device).contiguous(memory_format=torch.channels_last)
        self.net.train()
        loss = group_loss(self.net(x)[0], y.to(self.device), self.sizes, self.weights)
        self.optimizer.lr = lr
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return float(loss.detach())

    def run(self, out: Path, say: Callable[[str], None]) -> None:
        last, losses = time.monotonic(), list[float]()
        while (progress := self.elapsed / (60 * self.o.minutes)) < 1:
            warm = min(1.0, (len(losses) + 1) / 30)
            losses.append(self.step(self.o.lr * warm * min(1.0, 1.5 * (1 - progress) + 1e-3)))
            now = time.monotonic()
            self.elapsed, last = self.elapsed + now - last, now
            if len(losses) % 50 == 0:
                say(f"step {len(losses)} {progress:.0%} loss {np.mean(losses[-50:]):.3f}")
            if len(losses) % 200 == 0:
                self.save(out)
        self.save(out)

    def save(self, out: Path) -> None:
        state = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "elapsed": self.elapsed}
        torch.save(state, out / "state.tmp")
        (out / "state.tmp").replace(out / "state.pt")

    def resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.elapsed = state["elapsed"]


def train(
    folder: Path,
    vae: AutoencoderKL,
    options: TaggerOptions,
    say: Callable[[str], None],
    device: str = "cpu",
    start: Path | None = None,
) -> Path:
    """Train on the base and held-out images of `folder`; return the new folder. `start`: a tagger to start from."""
    out = folder / "tagger"
    out.mkdir(exist_ok=True)
    (out / "vocabulary.json").write_text(json.dumps(vocabulary(), indent=1) + "\n")
    words = Vocabulary.load(out / "vocabulary.json")
    album = load_album(folder, words, options.test)
    order = np.random.default_rng(options.seed).permutation(len(album.train))
    keys = [album.train[i] for i in order[: options.reconstructed]]
    cache = folder / "reconstructed.npy"
    if not cache.exists():
        say(f"seeing {len(keys)} pictures through the VAE")
        np.save(cache, reconstruct(album, keys, vae))
    trainer = Trainer(album, np.load(cache), keys, words, options, device)
    if (out / "state.pt").exists():
        trainer.resume(out / "state.pt")
    elif start is not None:
        trainer.net.load_state_dict(load_file(start / "model.safetensors"))
    trainer.run(out, say)
    report = test(trainer.net, album, folder, words)
    for name, found in report.items():
        say(f"{name}: " + ", ".join(f"{g} {v:.3f}" for g, v in found.items()))
    save(trainer.net, out, options, report)
    return out


def test(net: TaggerNet, album: Album, folder: Path, words: Vocabulary) -> dict[str, dict[str, float]]:
    """Return the accuracy by group on test images: of both splits, with close-ups separate; `n` is their number."""
    report = {}
    for k, (name, file) in enumerate((("base", "images"), ("held out", "heldout"))):
        pictures = Picture.read(folder / f"{file}.jsonl")
        for near in (False, True):
            keys = [(s, i) for s, i in album.test if s == k and (pictures[i].framing == "close-up") is near]
            found = accuracy(net, album, keys, words)
            report[f"{name} {'close-up' if near else 'others'}"] = {"n": float(len(keys)), **found}
    return report


def table(report: Mapping[str, Mapping[str, float]], words: Vocabulary) -> str:
    """Return the test as a Markdown table; scored groups come first."""
    columns = ("base others", "base close-up", "held out others", "held out close-up")
    backgrounds = ("background color", "background color 2")
    rest = [g for g in words.groups if g not in words.scored_groups and g not in backgrounds]
    order = (*words.scored_groups, *backgrounds, *rest)

    def share(column: str, group: str) -> str:
        return f"{report[column][group]:.1%}" if group in report[column] else "-"

    return "\n".join(
        [
            "| group | base, portrait and from afar | base, close-up | held out, portrait and from afar "
            "| held out, close-up |",
            "| --- | --- | --- | --- | --- |",
            "| pictures | " + " | ".join(f"{report[c]['n']:.0f}" for c in columns) + " |",
            *(f"| {g} | " + " | ".join(share(c, g) for c in columns) + " |" for g in order),
        ]
    )


def load_album(folder: Path, words: Vocabulary, test: int) -> Album:
    parts = [
        (np.load(folder / f"{name}.npy", mmap_mode="r"), Picture.read(folder / f"{name}.jsonl"))
        for name in ("images", "heldout")
    ]
    return Album(parts, words, test)


def save(net: TaggerNet, out: Path, options: TaggerOptions, report: Mapping[str, Mapping[str, float]]) -> None:
    """Save in half precision, with the shapes that the loader checks."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    save_file({k: v.contiguous().cpu() for k, v in state.items()}, out / "model.safetensors")
    config = {"widths": options.widths, "depths": options.depths, "embed": options.embed, "size": 128}
    (out / "config.json").write_text(json.dumps(config | {"accuracy": report}, indent=1) + "\n")
