"""The bundled tagger: a small convolutional network for the vocabulary of the base model `crumb`, and a little more.

For `crumb` it has the role of WD taggers, CLIP and DINO: it predicts caption tags with probabilities, and a unit vector
to compare subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bakehouse.core.errors import BakehouseError
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.data.crumb_attributes import FOLDER, Vocabulary

Floats = NDArray[np.float32]


class Block(nn.Module):
    """A residual block with one 3x3 convolution; not depthwise, which is slow on CPUs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.norm(self.conv(x)))


class TaggerNet(nn.Module):
    """[n, 3, 128, 128] in -1..1 -> logits [n, all values of all groups], embedding [n, embed] of unit length."""

    def __init__(self, outputs: int, widths: Sequence[int], depths: Sequence[int], embed: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = 3
        # Each stage halves the size; the first has no block, since 64 x 64 costs the most time.
        for width, depth in zip(widths, depths, strict=True):
            stages += [nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            stages += [Block(width) for _ in range(depth)]
            before = width
        self.stages = nn.Sequential(*stages)
        # Mean pooling captures the background, max pooling small details such as the mouth.
        self.embed = nn.Linear(2 * before, embed)
        self.heads = nn.Linear(embed, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.stages(x)
        e = F.gelu(self.embed(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1)))
        return self.heads(e), F.normalize(e, dim=1)

    def patches(self, x: Tensor, side: int) -> Tensor:
        """Return the deepest feature map [n, C, rows, columns] with a grid of at least `side` x `side`."""
        last = x
        for module in self.stages:
            x = module(x)
            if min(x.shape[2:]) < side:
                break
            last = x
        return last


@dataclass(frozen=True)
class TagResult:
    """Predictions for N images: `probs[group]` is [N, values of the group], `embeddings` is [N, D] of unit length."""

    vocabulary: Vocabulary
    probs: dict[str, Floats]
    embeddings: Floats

    def __len__(self) -> int:
        return len(self.embeddings)

    def best(self, i: int) -> dict[str, tuple[str, float]]:
        """Return the likeliest value of every group in image `i`, and its probability."""
        out = {}
        for group, p in self.probs.items():
            k = int(p[i].argmax())
            out[group] = (self.vocabulary.groups[group][k], float(p[i, k]))
        return out

    def tags(self, i: int, threshold: float = 0.5) -> list[str]:
        """Return the caption tags of image `i` in the base's vocabulary, for values of at least this probability."""
        best = self.best(i)
        return self.vocabulary.tags_of({g: v for g, (v, p) in best.items() if p >= threshold})


class CrumbTagger:
    """Tags images of any size."""

    def __init__(self, net: TaggerNet, vocabulary: Vocabulary, size: int = 128) -> None:
        self.net = net.eval()
        self.vocabulary = vocabulary
        self.size = size

    @classmethod
    def load(cls, folder: Path | None = None) -> CrumbTagger:
        """Load the bundled tagger, or one from a folder with `config.json`, `vocabulary.json` and `model.safetensors`.

        Raises:
            BakehouseError: a file is missing, or the weights do not match the configuration.
        """
        folder = folder or FOLDER
        vocabulary = Vocabulary.load(_existing_file(folder / "vocabulary.json"))
        config = parse_json(_existing_file(folder / "config.json").read_text(encoding="utf-8"))
        outputs = sum(len(values) for values in vocabulary.groups.values())
        net = TaggerNet(outputs, config["widths"], config["depths"], config["embed"])
        path = _existing_file(folder / "model.safetensors")
        try:
            net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
        except (RuntimeError, SafetensorError) as e:
            reason = str(e).splitlines()[0]
            hint = "reinstall bakehouse, or rebuild the folder with `python -m tools.crumb make`"
            raise BakehouseError(
                f"{path} does not match its config.json and vocabulary.json: {reason}", hint=hint
            ) from e
        return cls(net, vocabulary, config["size"])

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image], batch_size: int = 64) -> TagResult:
        logits, embeddings = [], []
        device = next(self.net.parameters()).device
        for start in range(0, len(images), batch_size):
            x = torch.from_numpy(np.stack([self._pixels(im) for im in images[start : start + batch_size]]))
            y, e = self.net(x.to(device))
            logits.append(y.float().cpu())
            embeddings.append(e.float().cpu())
        if not logits:
            width = self.net.embed.out_features
            logits, embeddings = [torch.zeros(0, self.net.heads.out_features)], [torch.zeros(0, width)]
        sizes = [len(v) for v in self.vocabulary.groups.values()]
        parts = torch.split(torch.cat(logits), sizes, dim=1)
        probs = {g: p.softmax(1).numpy() for g, p in zip(self.vocabulary.groups, parts, strict=True)}
        return TagResult(self.vocabulary, probs, torch.cat(embeddings).numpy())

    @torch.inference_mode()
    def patches(self, images: Sequence[Image.Image], side: int, batch_size: int = 64) -> Floats:
        """Return features [N, C, rows, columns] of a grid of at least `side` x `side`; see `TaggerNet.patches`."""
        device = next(self.net.parameters()).device
        parts = []
        for start in range(0, len(images), batch_size):
            x = torch.from_numpy(np.stack([self._pixels(im) for im in images[start : start + batch_size]]))
            parts.append(self.net.patches(x.to(device), side).float().cpu())
        if not parts:
            empty = torch.zeros(1, 3, self.size, self.size, device=device)
            parts = [self.net.patches(empty, side)[:0].float().cpu()]
        return np.asarray(torch.cat(parts).numpy(), np.float32)

    def _pixels(self, image: Image.Image) -> Floats:
        rgb = image.convert("RGB")
        if rgb.size != (self.size, self.size):
            rgb = rgb.resize((self.size, self.size), Image.Resampling.LANCZOS)
        return np.asarray(rgb, np.float32).transpose(2, 0, 1) / 127.5 - 1


def prompt_accuracy(result: TagResult, i: int, wanted: Mapping[str, str]) -> dict[str, bool]:
    """Return for every wanted attribute whether image `i` has it; special cases count ("wayfarers" are "sunglasses").

    Background colours count as part of the group "background": it is present only with its colours.
    """
    best = {group: value for group, (value, _) in result.best(i).items()}
    accepts = result.vocabulary.accepts
    out = {g: accepts(g, w, best[g]) for g, w in wanted.items() if g in best}
    colors = [out.pop(g) for g in ("background color", "background color 2") if g in out]
    if colors:
        out["background"] = out.get("background", True) and all(colors)
    return out


def prompt_probabilities(result: TagResult, i: int, wanted: Mapping[str, str]) -> dict[str, float]:
    """Return for every wanted attribute the probability that image `i` has it, special cases included."""
    vocabulary = result.vocabulary
    return {
        group: sum(
            float(p)
            for value, p in zip(vocabulary.groups[group], result.probs[group][i], strict=True)
            if vocabulary.accepts(group, want, value)
        )
        for group, want in wanted.items()
        if group in result.probs
    }


def _existing_file(path: Path) -> Path:
    if not path.is_file():
        raise BakehouseError(
            f"the tagger's file {path.name} is missing in {path.parent}",
            hint="reinstall bakehouse, or rebuild it with `python -m tools.crumb make`",
        )
    return path
