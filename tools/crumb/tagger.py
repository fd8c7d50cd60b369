"""Train the tagger: one softmax per group of attributes; unknown groups do not count in the loss.

It scores generated images, so it also trains on images that went through the VAE, blurred and noisy ones, and on
faces that are broken on purpose, which it tells from whole ones. It sees nothing of what is held out of crumb's world.
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
from tools.crumb import unfinished
from tools.crumb.muon import Muon
from tools.crumb.precision import autocast
from tools.crumb.training_images import BUSTS, SIDES, Figure, Picture
from tools.crumb.words import vocabulary

UNKNOWN = -100
TEST_EVERY = 16
BROKEN = 0.2
"""Share of faces that are broken in training."""
COLOR_OF = {
    "hair": "hair color", "headwear": "headwear color", "clothing": "clothing color",
    "facial hair": "facial hair color",
}  # fmt: skip
"""A style that cannot colour a part names it without a colour: the colour is then open."""
PERSON_GROUPS = frozenset({
    "hair", "hair color", "headwear", "headwear color", "skin", "clothing", "clothing color", "glasses",
    "glasses color", "facial hair", "facial hair color", "eyes", "expression",
})  # fmt: skip
ROBOT_GROUPS = frozenset({"robot color", "robot head", "robot top"})
CLOTHES = frozenset({"clothing", "clothing color"})

WEIGHTS = {
    "class": 2.0, "hair color": 3.0, "skin": 2.0, "clothing color": 3.0, "concept color": 2.0, "background": 3.0,
    "background color": 2.0, "background color 2": 2.0, "framing": 2.0, "hair": 1.5, "glasses": 2.0, "expression": 2.0,
    "face": 2.0, "left": 0.5, "right": 0.5, "robot head": 0.5, "robot top": 0.5,
}  # fmt: skip
"""What the evaluation scores has more weight."""


@dataclass(frozen=True)
class TaggerOptions:
    minutes: float = 40.0
    batch: int = 64
    lr: float = 3e-3
    widths: tuple[int, ...] = (32, 64, 128, 256)
    depths: tuple[int, ...] = (0, 1, 2, 3)  # the last features are 8 x 8: a mouth from afar has five pixels
    embed: int = 256
    reconstructed: int = 4000  # images that are also seen through the VAE
    seed: int = 0


def targets(p: Picture, words: Vocabulary) -> list[int]:
    """Return the index of the true value of every group; `UNKNOWN` if the tags do not determine it."""
    said = _of_picture(p, words)
    described = p.figures
    open_groups = {"face"} | {g for g in ("style",) if g not in said}
    if len(p.figures) == 2:
        # Of one person the attributes are known, of two or of two things they are not.
        busts = [f for f in p.figures if f.group in BUSTS]
        described = tuple(busts) if len(busts) == 1 else ()
        open_groups |= {"class", "framing"} | (PERSON_GROUPS | ROBOT_GROUPS if len(busts) == 2 else set())
    if any(f.group not in BUSTS for f in p.figures):
        open_groups |= {"concept color"}
    for f in described:
        tags = _of_figure(f, words)
        said |= tags
        open_groups |= _left_open(f, tags)
    if p.framing == "close-up":
        open_groups |= CLOTHES  # they lie below the lower edge
        said = {g: v for g, v in said.items() if g not in CLOTHES}
    return [_index(values, said.get(group), group in open_groups) for group, values in words.groups.items()]


def _index(values: Sequence[str], said: str | None, is_open: bool) -> int:
    """Return the index of a group's value: the default's if nothing is said and it is not open."""
    if said in values:
        return values.index(said)
    return UNKNOWN if said is not None or is_open else 0


def _of_figure(f: Figure, words: Vocabulary) -> dict[str, str]:
    tags: dict[str, str] = {}
    for tag in f.tags:
        tags |= words.atoms(tag)
    tags.pop("class", None)
    return tags


def _left_open(f: Figure, tags: Mapping[str, str]) -> set[str]:
    """Return the groups that a figure's tags leave open."""
    found = {color for part, color in COLOR_OF.items() if part in tags and color not in tags}
    if "headwear" in tags and "hair" not in tags:
        found |= {"hair", "hair color"}  # a strand may show
    return found | ({"expression"} if f.group == "person" else set())


def _of_picture(p: Picture, words: Vocabulary) -> dict[str, str]:
    """Return what a picture shows beside the attributes of its figures."""
    said = dict(words.atoms(p.background))
    styles = {"avataaars" if f.style == "bottts" else f.style for f in p.figures}
    if len(styles) == 1:
        said["style"] = styles.pop()
    if len(p.figures) == 1:
        return said | {"class": p.figures[0].cls, "framing": p.framing}
    return said | {side: f.cls for side, f in zip(SIDES, p.figures, strict=True)}


FACES = {"pixelArt": (0.5, 0.52, 0.26), "bottts": (0.5, 0.55, 0.26)}
USUAL_FACE = (0.5, 0.5, 0.2)
"""Middle and half the side of a face, as shares of the figure's square."""


def face_of(p: Picture) -> tuple[int, int, int]:
    """Return middle and half the side of the face in pixels; side 0 if there is not exactly one face in the image."""
    if len(p.figures) != 1 or p.figures[0].group not in BUSTS:
        return 0, 0, 0
    (left, top, side), (x, y, r) = p.boxes[0], FACES.get(p.figures[0].style, USUAL_FACE)
    return round(left + x * side), round(top + y * side), round(r * side)


class Album:
    """Images [n, 128, 128, 3] with their targets and faces; one figure in `TEST_EVERY` is for testing."""

    def __init__(self, images: NDArray[np.uint8], pictures: list[Picture], words: Vocabulary) -> None:
        self.images, self.pictures = images, pictures
        self.targets = torch.tensor([targets(p, words) for p in pictures])
        self.faces = np.array([face_of(p) for p in pictures])
        self.groups = list(words.groups)
        # Images of one figure are neighbours and go to the same side.
        self.test = [i for i, p in enumerate(pictures) if p.sprite % TEST_EVERY == 0]
        self.train = [i for i, p in enumerate(pictures) if p.sprite % TEST_EVERY]

    def get(self, keys: Sequence[int]) -> tuple[Tensor, Tensor]:
        order = np.asarray(keys)
        return to_float(self.images[order]), self.targets[order].clone()

    def spoil(self, x: Tensor, y: Tensor, keys: Sequence[int], share: float, rng: np.random.Generator) -> None:
        """Break some of the faces in `x` [n, 3, 128, 128] and say so in `y` [n, groups]; all others are whole."""
        face = self.groups.index("face")
        open_groups = [self.groups.index(g) for g in ("eyes", "expression", "glasses", "glasses color")]
        for row, key in enumerate(keys):
            cx, cy, r = (int(v) for v in self.faces[key])
            if r < 6 or not (r <= cx <= 128 - r and r <= cy <= 128 - r):
                continue
            y[row, face] = 0
            if rng.random() < share:
                part = x[row, :, cy - r : cy + r, cx - r : cx + r]
                part.copy_(broken_face(part, rng))
                y[row, face] = 1
                y[row, open_groups] = UNKNOWN


def broken_face(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a face [3, s, s] as a failing model draws it: smeared, melted, jumbled, wiped away."""
    side = x.shape[-1]
    mask = soft_disc(side)
    kind = rng.integers(5)
    if kind == 0:  # smeared: details below some size are gone
        small = F.adaptive_avg_pool2d(x[None], int(rng.integers(2, max(3, side // 7))))
        new = F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)[0]
    elif kind == 1:  # melted: displaced by smooth noise
        shift = torch.from_numpy(rng.normal(0, rng.uniform(0.25, 0.5), (1, 2, 5, 5)).astype(np.float32))
        shift = F.interpolate(shift, size=(side, side), mode="bicubic", align_corners=True)
        lines = torch.linspace(-1, 1, side)
        grid = torch.stack(torch.meshgrid(lines, lines, indexing="xy"), -1)[None] + shift.permute(0, 2, 3, 1)
        new = F.grid_sample(x[None], grid, padding_mode="reflection", align_corners=True)[0]
    elif kind == 2:  # jumbled: blocks change places
        n = int(rng.integers(2, 5))
        cut = side // n
        new = x.clone()
        order = rng.permutation(n * n)
        for to, source in zip(order, np.roll(order, 1), strict=True):  # one cycle: no block stays
            (ty, tx), (sy, sx) = divmod(int(to), n), divmod(int(source), n)
            block = x[:, sy * cut : (sy + 1) * cut, sx * cut : (sx + 1) * cut]
            new[:, ty * cut : (ty + 1) * cut, tx * cut : (tx + 1) * cut] = block
    elif kind == 3:  # wiped: one colour where eyes and mouth should be
        new = x.flatten(1).median(1).values[:, None, None].expand_as(x)
    else:  # two faces over each other
        dy, dx = (int(d) for d in rng.integers(side // 6, side // 3 + 1, size=2))
        new = 0.5 * x + 0.5 * torch.roll(x, (dy if rng.random() < 0.5 else -dy, dx), (1, 2))
    return x + mask * (new - x)


def soft_disc(side: int) -> Tensor:
    """Return weights [side, side]: 1 inside a disc, falling to 0 at the edge of the square."""
    lines = torch.linspace(-1, 1, side)
    radius = (lines[:, None].square() + lines[None].square()).sqrt()
    return ((1.0 - radius) * 5).clamp(0, 1)


def to_float(x: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1


def augment(x: Tensor, y: Tensor, sides: tuple[int, int], gen: torch.Generator) -> Tensor:
    """Mirror half of the images, blur a quarter, add noise to an eighth, shift all by up to four pixels.

    `sides` are the columns of `y` for left and right, which a mirror exchanges.
    """
    n = len(x)
    order = torch.randperm(n, generator=gen)
    mirrored, soft, noisy = order[: n // 2], order[n // 4 : n // 2], order[n // 2 : n // 2 + n // 8]
    x[mirrored] = x[mirrored].flip(3)
    left, right = sides
    y[mirrored[:, None], torch.tensor([left, right])] = y[mirrored[:, None], torch.tensor([right, left])]
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
def reconstruct(album: Album, keys: Sequence[int], vae: AutoencoderKL) -> NDArray[np.uint8]:
    """Return the images after encoding and decoding with the VAE."""
    out = []
    for start in range(0, len(keys), 32):
        x, _ = album.get(keys[start : start + 32])
        x = x.to(next(vae.parameters()).device)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        out.append(((y + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(out)


@torch.inference_mode()
def accuracy(
    net: TaggerNet, album: Album, keys: Sequence[int], words: Vocabulary, *, spoiled: bool = False
) -> dict[str, float]:
    """Return the accuracy by group on known values but "none" and "neutral"; what is seen in vain is wrong.

    `spoiled`: half of the faces are broken first.
    """
    net.eval()
    device = next(net.parameters()).device
    right: dict[str, list[bool]] = {g: [] for g in words.groups}
    sizes = [len(v) for v in words.groups.values()]
    rng = np.random.default_rng(0)
    for start in range(0, len(keys), 100):
        x, y = album.get(keys[start : start + 100])
        if spoiled:
            album.spoil(x, y, keys[start : start + 100], 0.5, rng)
        parts = torch.split(net(x.to(device))[0].cpu(), sizes, dim=1)
        for k, (g, p) in enumerate(zip(words.groups, parts, strict=True)):
            best = p.argmax(1)
            known = y[:, k] != UNKNOWN
            if words.groups[g][0] in {"none", "neutral"}:
                known &= (y[:, k] != 0) | (best != 0)  # that a dog has no glasses is no merit
            right[g] += (best == y[:, k])[known].tolist()
    return {g: float(np.mean(r)) for g, r in right.items() if r}


class Trainer:
    """State of a run: network, optimizer, clock. Saved regularly to resume from."""

    def __init__(self, album: Album, again: NDArray[np.uint8], keys: list[int], words: Vocabulary, o: TaggerOptions,
                 device: str = "cpu") -> None:  # fmt: skip
        self.album, self.again, self.keys, self.o, self.device = album, again, keys, o, device
        self.sizes = [len(v) for v in words.groups.values()]
        self.sides = (album.groups.index("left"), album.groups.index("right"))
        self.weights = [WEIGHTS.get(g, 1.0) for g in words.groups]
        torch.manual_seed(o.seed)
        self.net = TaggerNet(sum(self.sizes), o.widths, o.depths, o.embed).to(device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # half as fast again on a CPU
        self.optimizer = Muon([self.net], o.lr)
        self.rng = np.random.default_rng(o.seed + 1)
        self.gen = torch.Generator().manual_seed(o.seed)
        self.elapsed = 0.0

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return seven eighths of the batch as composed, one eighth after the VAE; some faces are broken."""
        seen_again = self.o.batch // 8
        rows = self.rng.integers(len(self.album.train), size=self.o.batch - seen_again)
        keys = [self.album.train[i] for i in rows]
        x, y = self.album.get(keys)
        rows = self.rng.integers(len(self.keys), size=seen_again)
        keys += [self.keys[r] for r in rows]
        x = torch.cat([x, to_float(self.again[rows])])
        y = torch.cat([y, self.album.targets[np.asarray(keys[-seen_again:])]])
        self.album.spoil(x, y, keys, BROKEN, self.rng)
        return x, y

    def step(self, lr: float) -> float:
        x, y = self.batch()
        x = augment(x, y, self.sides, self.gen).to(self.device).contiguous(memory_format=torch.channels_last)
        self.net.train()
        with autocast(self.device):
            logits = self.net(x)[0]
        loss = group_loss(logits.float(), y.to(self.device), self.sizes, self.weights)
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
    """Train on the images of `folder`; return the new folder.

    `start` is what to start from: the folder of a tagger, or its weights in the middle of training.
    """
    out = folder / "tagger"
    out.mkdir(exist_ok=True)
    (out / "vocabulary.json").write_text(json.dumps(vocabulary(), indent=1) + "\n")
    words = Vocabulary.load(out / "vocabulary.json")
    album = load_album(folder, words)
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
        trainer.net.load_state_dict(
            load_file(start / "model.safetensors") if start.is_dir() else unfinished.read(start)
        )
    trainer.run(out, say)
    report = test(trainer.net, album, words)
    for name, found in report.items():
        say(f"{name}: " + ", ".join(f"{g} {v:.3f}" for g, v in found.items()))
    save(trainer.net, out, options, report)
    return out


VIEWS = ("portrait", "close-up", "from afar", "two figures", "broken faces")


def test(net: TaggerNet, album: Album, words: Vocabulary) -> dict[str, dict[str, float]]:
    """Return the accuracy by view and group on test images; `n` is their number."""

    def view(i: int) -> str:
        return "two figures" if len(album.pictures[i].figures) == 2 else album.pictures[i].framing

    report = {}
    for name in VIEWS:
        keys = [i for i in album.test if view(i) == (name if name != "broken faces" else "portrait")]
        found = accuracy(net, album, keys, words, spoiled=name == "broken faces")
        if name == "broken faces":
            found = {"face": found["face"]}
        else:
            found.pop("face", None)
        report[name] = {"n": float(len(keys)), **found}
    return report


def table(report: Mapping[str, Mapping[str, float]], words: Vocabulary) -> str:
    """Return the test as a Markdown table; scored groups come first."""
    backgrounds = ("background color", "background color 2")
    rest = [g for g in words.groups if g not in words.scored_groups and g not in backgrounds]
    order = (*words.scored_groups, *backgrounds, *rest)

    def share(view: str, group: str) -> str:
        return f"{report[view][group]:.1%}" if group in report[view] else "-"

    return "\n".join(
        [
            "| group | " + " | ".join(VIEWS) + " |",
            "| --- |" + " --- |" * len(VIEWS),
            "| pictures | " + " | ".join(f"{report[v]['n']:.0f}" for v in VIEWS) + " |",
            *(f"| {g} | " + " | ".join(share(v, g) for v in VIEWS) + " |" for g in order),
        ]
    )


def load_album(folder: Path, words: Vocabulary) -> Album:
    return Album(np.load(folder / "images.npy", mmap_mode="r"), Picture.read(folder / "images.jsonl"), words)


def save(net: TaggerNet, out: Path, options: TaggerOptions, report: Mapping[str, Mapping[str, float]]) -> None:
    """Save in half precision, with the shapes that the loader checks."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    save_file({k: v.contiguous().cpu() for k, v in state.items()}, out / "model.safetensors")
    config = {"widths": options.widths, "depths": options.depths, "embed": options.embed, "size": 128}
    (out / "config.json").write_text(json.dumps(config | {"accuracy": report}, indent=1) + "\n")
