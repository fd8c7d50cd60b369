"""Who looks at the pictures: one protocol, and the judge that suits a base model.

`crumb` has a tagger that knows every attribute of its world. The big families are judged as in the literature, by
DINO for the subject and CLIP for the prompt; both are read through transformers, from a folder or the Hub.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from bakehouse.vision.taggers.crumb_tagger import CrumbTagger, TagResult

Rows = NDArray[np.float32]

CLIP = "openai/clip-vit-large-patch14"
DINO = "facebook/dinov2-base"
CONTEXT = frozenset({"background", "background color", "background color 2", "framing", "class"})
"""Groups of the tagger that say where and how a subject is shown, never what it is."""


class Judge(Protocol):
    """Looks at pictures. Calls depend on the pictures alone, so what a judge said can be kept."""

    name: str
    """Names what it is made of: judgements of two names are never compared."""
    measures: str
    """What the subject is compared by, in words: for the report."""
    has_floor: bool
    """Whether a picture scores well above 0 for a prompt that has nothing to do with it (CLIP does)."""

    def embed(self, images: Sequence[Image.Image]) -> Rows:
        """[N, D], rows of unit length: near means the same subject."""

    def prompt_scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Rows:
        """[N]: how much of its prompt each picture shows. The prompts must not hold the trigger."""

    def attributes(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        """For each picture what it shows, by group; empty dicts where the judge names nothing."""

    def asked(self, prompt: str) -> Mapping[str, str]:
        """What a prompt asks for, by group; empty where the judge does not read prompts so."""


class CrumbJudge:
    """The tagger of the embedded base: attributes, and an embedding that was trained to tell them."""

    has_floor = False
    measures = "the tagger's embedding and the attributes it names"

    def __init__(self, tagger: CrumbTagger) -> None:
        self.tagger = tagger
        self.name = "crumb-tagger"
        self._reliable = {*tagger.vocabulary.judged, "background color", "background color 2"}
        self._last: tuple[tuple[int, ...], Sequence[Image.Image], TagResult] | None = None

    @classmethod
    def load(cls) -> CrumbJudge:
        """The tagger of the package."""
        from bakehouse.core.files import sha256_file
        from bakehouse.data.crumb_attributes import FOLDER
        from bakehouse.vision.taggers.crumb_tagger import CrumbTagger

        judge = cls(CrumbTagger.load())
        judge.name = f"crumb-tagger {sha256_file(FOLDER / 'model.safetensors')[:12]}"
        return judge

    def embed(self, images: Sequence[Image.Image]) -> Rows:
        return self._look(images).embeddings

    def prompt_scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Rows:
        """The share of the attributes that a prompt asks for which the tagger finds; NaN where it asks for none.

        Counted are colours, skin, background and framing, which the tagger can be relied on to tell; it guesses at
        mouths and partings. The class counts where nothing else does: nearly every picture has it, and it would only
        water the figure down.
        """
        from bakehouse.vision.taggers.crumb_tagger import prompt_accuracy

        result = self._look(images)
        scores = []
        for i, prompt in enumerate(prompts):
            asked = self.asked(prompt)
            wanted = {g: v for g, v in asked.items() if g in self._reliable}
            found = prompt_accuracy(result, i, wanted or {g: v for g, v in asked.items() if g == "class"})
            scores.append(float(np.mean(list(found.values()))) if found else math.nan)
        return np.asarray(scores, dtype=np.float32)

    def attributes(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        result = self._look(images)
        return [{group: value for group, (value, _) in result.best(i).items()} for i in range(len(images))]

    def asked(self, prompt: str) -> Mapping[str, str]:
        return self.tagger.vocabulary.atoms_of_prompt(prompt)

    def _look(self, images: Sequence[Image.Image]) -> TagResult:
        """One look serves the three questions that are asked of the same pictures."""
        ids = tuple(id(image) for image in images)
        if self._last is None or self._last[0] != ids:
            # The pictures are kept too: an id is only theirs while they live.
            self._last = (ids, tuple(images), self.tagger(images))
        return self._last[2]


class TransformersJudge:
    """CLIP for the prompt, DINO for the subject (or CLIP's image side for both), loaded through transformers.

    Subject: cosine of DINO's class token; prompt: CLIP-T, the cosine of image and text (Ruiz et al. 2022, section 4.1).
    """

    has_floor = True

    def __init__(
        self, clip: str | Path = CLIP, dino: str | Path | None = DINO, *, device: str = "cpu", batch: int = 16
    ) -> None:
        """Loads both.

        Args:
            clip: a CLIP model: Hub id or folder.
            dino: a DINO or DINOv2 model: Hub id or folder; None: CLIP-I measures the subject.
            device: where they run.
            batch: pictures at once.

        Raises:
            UsageError: one of them is not there or is of another kind.
        """
        self.clip, self._clip_eyes = _load(clip, device)
        if not hasattr(self.clip, "get_text_features"):
            raise UsageError(f"{clip} is no CLIP model: it reads no text", hint=f"the usual one is {CLIP}")
        self._tokens = _tokenizer(clip)
        self.dino: Any = None
        self._dino_eyes: Any = None
        if dino is not None:
            self.dino, self._dino_eyes = _load(dino, device)
        self.device, self.batch = device, batch
        self.name = f"clip {clip}, dino {dino}"
        self.measures = f"{'DINO' if dino is not None else 'CLIP-I'} ({dino if dino is not None else clip})"

    def embed(self, images: Sequence[Image.Image]) -> Rows:
        if self.dino is None:
            return self._batched(
                images, lambda x: _vector(self.clip.get_image_features(pixel_values=x)), self._clip_eyes
            )
        model = self.dino
        return self._batched(images, lambda x: model(pixel_values=x).last_hidden_state[:, 0], self._dino_eyes)

    def prompt_scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Rows:
        seen = self._batched(images, lambda x: _vector(self.clip.get_image_features(pixel_values=x)), self._clip_eyes)
        different = list(dict.fromkeys(prompts))
        row = {prompt: i for i, prompt in enumerate(different)}
        said = self._read(different)[[row[p] for p in prompts]] if different else np.zeros_like(seen)
        scores: Rows = (seen * said).sum(axis=1).astype(np.float32)
        return scores

    def attributes(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        return [{} for _ in images]

    def asked(self, prompt: str) -> Mapping[str, str]:
        return {}

    def _read(self, prompts: Sequence[str]) -> Rows:
        import torch

        tokens = self._tokens(list(prompts), padding=True, truncation=True, return_tensors="pt").to(self.device)
        with torch.no_grad():
            features = _vector(self.clip.get_text_features(**tokens)).float()
        return _unit(features.cpu().numpy())

    def _batched(self, images: Sequence[Image.Image], look: Any, eyes: Any) -> Rows:
        import torch

        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(images), self.batch):
            some = [image.convert("RGB") for image in images[start : start + self.batch]]
            pixels = eyes(images=some, return_tensors="pt")["pixel_values"].to(self.device)
            with torch.no_grad():
                parts.append(look(pixels).float().cpu().numpy())
        return _unit(np.concatenate(parts)) if parts else np.zeros((0, 1), dtype=np.float32)


def judge_for(
    base: str, *, clip: str | Path | None = None, dino: str | Path | None = None, device: str = "cpu"
) -> Judge:
    """The judge of a base model: its family's own, or CLIP and DINO where one of them is named.

    Args:
        base: the base model, as the recipe has it.
        clip: a CLIP model to take instead of the usual one.
        dino: a DINO model to take instead of the usual one.
        device: where CLIP and DINO run; the tagger runs on the processor.
    """
    from bakehouse.models.families import family_of

    if clip is None and dino is None and family_of(base).scorer == "bundled tagger":
        return CrumbJudge.load()
    return TransformersJudge(clip or CLIP, dino or DINO, device=device)


def _load(ref: str | Path, device: str) -> tuple[Any, Any]:
    import transformers

    try:
        model = transformers.AutoModel.from_pretrained(str(ref)).to(device).eval()
        eyes = transformers.AutoImageProcessor.from_pretrained(str(ref))
    except (OSError, ValueError) as e:
        reason = str(e).strip().splitlines()[0]
        raise UsageError(
            f"the judge {ref} cannot be loaded: {reason}",
            hint="name a CLIP and a DINO model that are on this machine, or fetch them where there is a network",
        ) from e
    return model, eyes


def _tokenizer(ref: str | Path) -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(str(ref))


def _vector(features: Any) -> Any:
    """The features themselves: newer transformers wrap them in an output with `pooler_output`."""
    return getattr(features, "pooler_output", features)


def _unit(rows: NDArray[Any]) -> Rows:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Rows = (rows / np.maximum(length, 1e-12)).astype(np.float32)
    return unit
