"""Image scorers: one protocol and its implementations, the tagger for `crumb`, CLIP and DINO for other bases.

Crumb's tagger knows every attribute that crumb can draw. Other families are scored as in the literature, by DINO for
the subject and CLIP for the prompt; both are loaded with transformers, from a folder or the Hub.
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
from bakehouse.evaluation.description import ranked_phrases
from bakehouse.evaluation.own_marks import Patches

if TYPE_CHECKING:
    from bakehouse.vision.taggers.crumb_tagger import CrumbTagger, TagResult

Rows = NDArray[np.float32]

CLIP = "openai/clip-vit-large-patch14"
DINO = "facebook/dinov2-base"
PATCH_GRID = 8
"""Least side of the grid of patches that the tagger gives; coarser maps merge parts, finer ones know less of them."""
CONTEXT_GROUPS = frozenset({
    "background", "background color", "background color 2", "framing", "class", "left", "right", "face",
})  # fmt: skip
"""Groups of the tagger that describe where and how a subject is shown, not what it is."""

WITH_FACES = ("person", "robot")
"""Classes whose faces the tagger reads."""
BROKEN_FACE = 0.5
"""From this probability on a face is called broken."""


class ImageScorer(Protocol):
    """Scores images. Results depend on the image (and prompt) alone, so that they can be cached."""

    name: str
    """Identifies the models behind it; scores of different names are not comparable."""
    measures: str
    """How the subject is compared, in words, for the report."""
    has_floor: bool
    """Whether an image scores well above 0 for an unrelated prompt (with CLIP it does)."""
    classes: Sequence[str]
    """Classes that the base can draw; empty if there is no list."""

    def embed(self, images: Sequence[Image.Image]) -> Rows:
        """Return embeddings [N, D], rows of unit length; similar rows mean similar subjects."""

    def prompt_scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Rows:
        """Return how well each image matches its prompt [N]. Prompts must not contain the trigger."""

    def between(self, images: Sequence[Image.Image], positive: Sequence[str], negative: Sequence[str]) -> Rows:
        """Return how much better each image matches its positive prompt than its negative one [N]."""

    def attributes(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        """Return the attributes of each image by group; empty dicts if the scorer detects none."""

    def requested_attributes(self, prompt: str) -> Mapping[str, str]:
        """Return the attributes that a prompt asks for by group; empty if the scorer does not parse prompts."""

    def describe(self, images: Sequence[Image.Image], class_word: str, attributes: Mapping[str, str]) -> list[str]:
        """Return what images of one subject show in the words of prompts, given the attributes found in most."""

    def is_reliable(self, group: str) -> bool:
        """Return whether an attribute of this group is detected reliably."""

    def patches(self, images: Sequence[Image.Image]) -> Patches:
        """Return features of a grid of patches over each image, for `own_marks`; images are squeezed to a square."""

    def broken(self, images: Sequence[Image.Image]) -> NDArray[np.bool_] | None:
        """Return which images the scorer itself sees to be broken [N]; None if it does not judge that.

        `image_health` asks the base model; this is for scorers that know more, such as a reader of faces.
        """


class CrumbScorer:
    """The tagger of the embedded base: attributes, and the embedding from which it predicts them."""

    has_floor = False
    measures = "the tagger's embedding and the attributes it names"

    def __init__(self, tagger: CrumbTagger) -> None:
        self.tagger = tagger
        self.name = "crumb-tagger"
        self.classes: Sequence[str] = tuple(tagger.vocabulary.groups.get("class", ()))
        self._reliable = {*tagger.vocabulary.scored_groups, "background color", "background color 2"}
        self._last: tuple[tuple[int, ...], Sequence[Image.Image], TagResult] | None = None

    @classmethod
    def load(cls) -> CrumbScorer:
        """Load the tagger that comes with the package."""
        from bakehouse.core.files import sha256_file
        from bakehouse.data.crumb_attributes import FOLDER
        from bakehouse.vision.taggers.crumb_tagger import CrumbTagger

        scorer = cls(CrumbTagger.load())
        scorer.name = f"crumb-tagger {sha256_file(FOLDER / 'model.safetensors')[:12]}"
        return scorer

    def embed(self, images: Sequence[Image.Image]) -> Rows:
        return self._predict(images).embeddings

    def prompt_scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Rows:
        """Return the mean probability of the attributes that each prompt requests; NaN if it requests none.

        Probabilities, not hits: an image on which the tagger wavers moves a mean of few images less. Only colours,
        skin, background and framing count, which the tagger detects reliably; mouths and partings it does not. The
        class counts only if nothing else does: nearly every image shows it.
        """
        from bakehouse.vision.taggers.crumb_tagger import prompt_probabilities

        result = self._predict(images)
        scores = []
        for i, prompt in enumerate(prompts):
            requested = self.requested_attributes(prompt)
            reliable = {g: v for g, v in requested.items() if g in self._reliable}
            found = prompt_probabilities(result, i, reliable or {g: v for g, v in requested.items() if g == "class"})
            scores.append(float(np.mean(list(found.values()))) if found else math.nan)
        return np.asarray(scores, dtype=np.float32)

    def between(self, images: Sequence[Image.Image], positive: Sequence[str], negative: Sequence[str]) -> Rows:
        """Return the mean difference in probability of the attributes in which the two prompts of an image differ.

        All groups count, reliable or not, since nothing else was asked for; NaN if the prompts do not differ in any.
        """
        from bakehouse.vision.taggers.crumb_tagger import prompt_probabilities

        result = self._predict(images)
        scores = []
        for i, prompts in enumerate(zip(positive, negative, strict=True)):
            more, less = map(self.requested_attributes, prompts)
            groups = {g for g in {*more, *less} if more.get(g) != less.get(g)}
            ends = [
                sum(prompt_probabilities(result, i, {g: v for g, v in wanted.items() if g in groups}).values())
                for wanted in (more, less)
            ]
            scores.append((ends[0] - ends[1]) / len(groups) if groups else math.nan)
        return np.asarray(scores, dtype=np.float32)

    def attributes(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        result = self._predict(images)
        return [{group: value for group, (value, _) in result.best(i).items()} for i in range(len(images))]

    def requested_attributes(self, prompt: str) -> Mapping[str, str]:
        return self.tagger.vocabulary.atoms_of_prompt(prompt)

    def describe(self, images: Sequence[Image.Image], class_word: str, attributes: Mapping[str, str]) -> list[str]:
        return self.tagger.vocabulary.tags_of({g: v for g, v in attributes.items() if g not in CONTEXT_GROUPS})

    def is_reliable(self, group: str) -> bool:
        return group in self._reliable

    def patches(self, images: Sequence[Image.Image]) -> Patches:
        """Return the deepest of the tagger's feature maps whose grid is fine enough, before any pooling."""
        maps = self.tagger.patches(images, PATCH_GRID)
        count, width, rows, columns = maps.shape
        features = maps.reshape(count, width, rows * columns).transpose(0, 2, 1)
        return Patches(np.ascontiguousarray(features), (rows, columns))

    def broken(self, images: Sequence[Image.Image]) -> NDArray[np.bool_] | None:
        """Return which images show a face that is smeared, melted or wiped away [N], if the tagger reads faces."""
        groups = self.tagger.vocabulary.groups
        if "broken" not in groups.get("face", ()):
            return None
        result = self._predict(images)
        faces = [groups["class"].index(c) for c in WITH_FACES if c in groups["class"]]
        has_face = np.isin(result.probs["class"].argmax(1), faces)
        chance = result.probs["face"][:, groups["face"].index("broken")]
        return np.asarray(has_face & (chance > BROKEN_FACE))

    def _predict(self, images: Sequence[Image.Image]) -> TagResult:
        """Run the tagger; its last result is kept, since all three scores of the same images need it."""
        ids = tuple(id(image) for image in images)
        if self._last is None or self._last[0] != ids:
            # The images are kept as well, so that their ids stay valid.
            self._last = (ids, tuple(images), self.tagger(images))
        return self._last[2]


class TransformersScorer:
    """CLIP for the prompt and DINO (or CLIP's image encoder) for the subject, loaded with transformers.

    Subject: cosine of DINO's class token; prompt: CLIP-T, the cosine of image and text (Ruiz et al. 2022, section 4.1).
    """

    has_floor = True
    classes: Sequence[str] = ()

    def __init__(
        self, clip: str | Path = CLIP, dino: str | Path | None = DINO, *, device: str = "cpu", batch: int = 16
    ) -> None:
        """Load both models.

        Args:
            clip: a CLIP model: Hub id or folder.
            dino: a DINO or DINOv2 model: Hub id or folder; None: the subject is compared by CLIP-I.
            device: device of both models.
            batch: images per batch.

        Raises:
            UsageError: one of them is missing or of another kind.
        """
        self.clip, self._clip_processor = _load(clip, device)
        if not hasattr(self.clip, "get_text_features"):
            raise UsageError(f"{clip} is not a CLIP model: it has no text encoder", hint=f"the default is {CLIP}")
        self._tokenizer = _load_tokenizer(clip)
        self.dino: Any = None
        self._dino_processor: Any = None
        if dino is not None:
            self.dino, self._dino_processor = _load(dino, device)
        self.device, self.batch = device, batch
        self.name = f"clip {clip}, dino {dino}"
        self.measures = f"{'DINO' if dino is not None else 'CLIP-I'} ({dino if dino is not None else clip})"

    def embed(self, images: Sequence[Image.Image]) -> Rows:
        if self.dino is None:
            return self.clip_embeddings(images)
        model = self.dino
        return self._batched(images, lambda x: model(pixel_values=x).last_hidden_state[:, 0], self._dino_processor)

    def prompt_scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Rows:
        image_features = self.clip_embeddings(images)
        different = list(dict.fromkeys(prompts))
        row = {prompt: i for i, prompt in enumerate(different)}
        rows = [row[p] for p in prompts]
        text_features = self._clip_text_features(different)[rows] if different else np.zeros_like(image_features)
        scores: Rows = (image_features * text_features).sum(axis=1).astype(np.float32)
        return scores

    def between(self, images: Sequence[Image.Image], positive: Sequence[str], negative: Sequence[str]) -> Rows:
        scores: Rows = self.prompt_scores(images, positive) - self.prompt_scores(images, negative)
        return scores

    def attributes(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        return [{} for _ in images]

    def requested_attributes(self, prompt: str) -> Mapping[str, str]:
        return {}

    def describe(self, images: Sequence[Image.Image], class_word: str, attributes: Mapping[str, str]) -> list[str]:
        return ranked_phrases(images, class_word, self.prompt_scores)

    def is_reliable(self, group: str) -> bool:
        return False

    def patches(self, images: Sequence[Image.Image]) -> Patches:
        """Return DINO's patch tokens, CLIP's if there is no DINO; the processor's central crop is left out."""
        model, processor = (
            (self.dino, self._dino_processor)
            if self.dino is not None
            else (
                self.clip.vision_model,
                self._clip_processor,
            )
        )
        config = getattr(model.config, "vision_config", model.config)
        crop = processor.crop_size if getattr(processor, "crop_size", None) else processor.size
        height, width = (crop[side] if side in crop else crop["shortest_edge"] for side in ("height", "width"))
        grid = height // config.patch_size, width // config.patch_size
        count = grid[0] * grid[1]

        def whole(images: Sequence[Image.Image], return_tensors: str) -> Any:
            squeezed = [image.resize((width, height), Image.Resampling.BICUBIC) for image in images]
            return processor(images=squeezed, return_tensors=return_tensors, do_resize=False, do_center_crop=False)

        # Class and register tokens come first.
        tokens = self._encoded(images, lambda x: model(pixel_values=x).last_hidden_state[:, -count:], whole)
        return Patches(tokens if len(images) else np.zeros((0, count, config.hidden_size), np.float32), grid)

    def broken(self, images: Sequence[Image.Image]) -> NDArray[np.bool_] | None:
        return None

    def clip_embeddings(self, images: Sequence[Image.Image]) -> Rows:
        """Return CLIP's embeddings of images [N, D], rows of unit length; their cosines are CLIP-I."""
        clip = self.clip
        return self._batched(images, lambda x: _pooled(clip.get_image_features(pixel_values=x)), self._clip_processor)

    def _clip_text_features(self, prompts: Sequence[str]) -> Rows:
        import torch

        tokens = self._tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt").to(self.device)
        with torch.no_grad():
            features = _pooled(self.clip.get_text_features(**tokens)).float()
        return _unit(features.cpu().numpy())

    def _batched(self, images: Sequence[Image.Image], encode: Any, processor: Any) -> Rows:
        return _unit(self._encoded(images, encode, processor))

    def _encoded(self, images: Sequence[Image.Image], encode: Any, processor: Any) -> Rows:
        import torch

        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(images), self.batch):
            batch = [image.convert("RGB") for image in images[start : start + self.batch]]
            pixels = processor(images=batch, return_tensors="pt")["pixel_values"].to(self.device)
            with torch.no_grad():
                parts.append(encode(pixels).float().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)


def scorer_for(
    base: str, *, clip: str | Path | None = None, dino: str | Path | None = None, device: str = "cpu"
) -> ImageScorer:
    """Return the scorer for a base model: the tagger for `crumb`; CLIP and DINO for others, or if one is named.

    Args:
        base: the base model, as in the recipe.
        clip: a CLIP model in place of the default.
        dino: a DINO model in place of the default.
        device: device of CLIP and DINO; the tagger runs on the CPU.
    """
    from bakehouse.models.families import family_of

    if clip is None and dino is None and family_of(base).scorer == "bundled tagger":
        return CrumbScorer.load()
    return TransformersScorer(clip or CLIP, dino or DINO, device=device)


def _load(ref: str | Path, device: str) -> tuple[Any, Any]:
    import transformers

    try:
        model = transformers.AutoModel.from_pretrained(str(ref)).to(device).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(str(ref))
    except (OSError, ValueError) as e:
        reason = str(e).strip().splitlines()[0]
        raise UsageError(
            f"{ref}, which scores the images, cannot be loaded: {reason}",
            hint="download it once with a network connection, or pass a CLIP and a DINO model that are on this machine",
        ) from e
    return model, processor


def _load_tokenizer(ref: str | Path) -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(str(ref))


def _pooled(features: Any) -> Any:
    """Return the features, which newer versions of transformers wrap in an output with `pooler_output`."""
    return getattr(features, "pooler_output", features)


def _unit(rows: NDArray[Any]) -> Rows:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Rows = (rows / np.maximum(length, 1e-12)).astype(np.float32)
    return unit
