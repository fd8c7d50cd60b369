"""The pipeline: a loaded base model with adapters on it, which generates images until it is closed."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import torch

from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent, Warned, ignore
from bakehouse.dtypes import DTYPES
from bakehouse.generation.generation_events import event_watch, warn_of_large_images
from bakehouse.generation.hires_upscalers import HiresUpscalers, upscaler_label
from bakehouse.generation.image_infotext import image_infotext
from bakehouse.generation.infotext import Infotext
from bakehouse.generation.model_source import ModelSource, replace_weights, resolve
from bakehouse.generation.placed_adapters import PlacedAdapters, strengths
from bakehouse.generation.prompt_adapters import PromptAdapters
from bakehouse.generation.prompt_files import NO_FILES, PromptFiles
from bakehouse.generation.read_prompts import ReadPrompt, read_prompts
from bakehouse.generation.region_masks import RegionReader
from bakehouse.generation.request import GeneratedImage, ImageRequest
from bakehouse.generation.source_image import Canvas, PreparedSource, named, plan_canvas, prepare
from bakehouse.generation.trained_weights import TrainedWeights, load_weights
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.denoising_error import denoising_errors
from bakehouse.models.load import load_model
from bakehouse.models.prompt_guiders import PromptCache
from bakehouse.models.region_map import RegionMap
from bakehouse.models.samplers import find_sampler
from bakehouse.models.sampling_options import check_options
from bakehouse.models.text_to_image import ImageSpec, Watch, batches, check_size, generate_images
from bakehouse.models.weights_fingerprint import file_sha256
from bakehouse.recipe.device_and_precision import require_device

if TYPE_CHECKING:
    from PIL.Image import Image

AdapterRef = str | Path | tuple[str | Path, float]
Precision = Literal["auto", "fp32", "fp16", "bf16"]

_BATCH_PIXELS = 4 * 512 * 512
"""Pixels in one batch by default: what 8 GB hold for every family in half precision."""
_MAX_BATCH = 16


@dataclass
class _LoadedAdapter:
    """An adapter on the base model."""

    path: Path
    strength: float
    adapter: TrainedWeights
    own: bool
    """Whether it is the model's own (a run's or a file's), not one that was added to it."""

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True)
class _Drawing:
    """An image to generate."""

    request: ImageRequest
    read: ReadPrompt
    spec: ImageSpec


class Pipeline:
    """Open one with `Pipeline.open`. An image depends on its request alone, never on its batch or its place in it.

    Threads may share a pipeline: each batch, and each `with` block of `adapter_strengths` or `restoring`, runs alone.
    What a thread changes outside such a block (`swap`, `close`) holds for all of them.
    """

    def __init__(
        self, denoiser: Denoiser, source: ModelSource, *, title: str | None = None, files: PromptFiles = NO_FILES
    ) -> None:
        """Wrap a loaded base model and apply `source.adapters` to it; `files` are what prompts may name."""
        self.denoiser = denoiser
        self.source = source
        self.title = title or source.title or denoiser.name
        self._lock = threading.RLock()
        self._loaded: list[_LoadedAdapter] = []
        self.files = files.check()
        self._prompt_cache = PromptCache()
        self._prompt_adapters = PromptAdapters(denoiser)
        self._upscalers = HiresUpscalers(str(denoiser.device))
        self._find_embeddings()
        for path, strength in source.adapters:
            self._apply(path, strength, own=True)

    @classmethod
    def open(
        cls,
        ref: str | Path | ModelSource,
        *,
        base: str | Path | None = None,
        adapters: Sequence[AdapterRef] = (),
        device: str = "auto",
        dtype: Precision | torch.dtype = "auto",
        loras: Path | None = None,
        embeddings: Path | None = None,
    ) -> Self:
        """Load a model and its adapters.

        Args:
            ref: MODEL: crumb, a path, a Hub id, a run folder, an adapter's file; or a resolved source.
            base: the base model of an adapter that does not name one, or another than it names.
            adapters: more adapters beside the model's own: files, or (file, strength).
            device: auto, cpu, cuda, cuda:1, mps.
            dtype: auto: on CUDA the training's half precision if known, else fp16; fp32 on other devices.
            loras: the folder of adapters that prompts may name (`<lora:NAME:0.8>`), beside the model's own.
            embeddings: the folder of textual inversions that prompts may name.

        Raises:
            UsageError: no such model, adapter or folder, or a device that is not available.
            BakehouseError: a file is damaged.
        """
        source = ref if isinstance(ref, ModelSource) else resolve(ref, base=base)
        more = [(Path(a), 1.0) if isinstance(a, str | Path) else (Path(a[0]), float(a[1])) for a in adapters]
        place = require_device(device)
        files = PromptFiles(loras, embeddings).check()
        pipeline = cls(_load(source, place, pick_dtype(dtype, place, source.precision)), source, files=files)
        for path, strength in more:
            pipeline._apply(path, strength, own=False)
        return pipeline

    @property
    def adapters(self) -> tuple[tuple[Path, float], ...]:
        """The adapters on the model and their strengths, in the order in which they were applied."""
        return tuple((a.path, a.strength) for a in self._loaded)

    def txt2img(
        self, request: ImageRequest, *, batch: int | None = None, on_event: OnEvent | None = None
    ) -> Iterator[GeneratedImage]:
        """Generate `request.count` images, from words or from the image that it names; see `generate`."""
        return self.generate([request], batch=batch, on_event=on_event)

    def generate(
        self,
        requests: Sequence[ImageRequest],
        *,
        batch: int | None = None,
        preview_every: int = 0,
        on_event: OnEvent | None = None,
    ) -> Iterator[GeneratedImage]:
        """Generate the images of all requests, in order.

        Neighbours with the same size, steps, guidance, sampler and number of text chunks share a batch. All requests
        are checked before the first image is generated. What is probably not meant in a prompt, and names in it that
        are not found, are `Warned` events. When memory runs out the batch is halved, with a `Warned` event.

        Args:
            requests: what to generate.
            batch: images at once. Default: as many as have the pixels of four images of 512x512, 16 at most.
            preview_every: send a `Previewed` event of each image after every so many steps; 0: none.
            on_event: receives `Progress("denoising", steps done, steps in all)`. It may raise
                `models.sampling.SamplingCancelledError`, which stops and leaves the pipeline ready for the next call.

        Raises:
            UsageError: a size, sampler or clip skip that this model does not support, an adapter in a prompt that is
                not for it, a mask of another shape than its image, an unknown upscaler, or a batch below 1.
            ImageError: an image or mask that cannot be used.
            BakehouseError: a single image does not fit into memory.
        """
        if batch is not None and batch < 1:
            raise UsageError(f"batch = {batch}: must be at least 1")
        if preview_every < 0:
            raise UsageError(f"preview_every = {preview_every}: must be 0 (no previews) or more steps")
        resolved = [self._resolved(one) for request in requests for one in request.each()]
        return self._generate(self._read(resolved), batch, preview_every, on_event or ignore)

    @contextlib.contextmanager
    def adapter_strengths(self, *strengths: float) -> Iterator[Pipeline]:
        """Set the strengths of the first adapters inside a `with` block; costs nothing and restores them at its end.

        Raises:
            UsageError: more strengths than there are adapters.
        """
        with self._lock:
            if len(strengths) > len(self._loaded):
                names = ", ".join(a.name for a in self._loaded) or "none"
                raise UsageError(
                    f"{len(strengths)} strengths, but {self.title} has {len(self._loaded)} adapters ({names})"
                )
            before = [a.strength for a in self._loaded]
            try:
                for a, strength in zip(self._loaded, strengths, strict=False):
                    a.strength = float(strength)
                yield self
            finally:
                for a, strength in zip(self._loaded, before, strict=False):
                    a.strength = strength

    def base_denoising_errors(self, images: Sequence[Image], prompts: Sequence[str]) -> torch.Tensor:
        """Return the untouched base's error maps [N, T, h, w] on images of one size, one prompt each.

        See `models.denoising_error`. Adapters are off meanwhile; images are cut down to sides that the model takes.

        Raises:
            ValueError: as many prompts as images are needed, and images of one size.
        """
        multiple = self.denoiser.downscale
        cut = [
            image.crop((0, 0, image.width - image.width % multiple, image.height - image.height % multiple))
            for image in images
        ]
        batch = max(1, min(_MAX_BATCH, _BATCH_PIXELS // max(1, cut[0].width * cut[0].height))) if cut else 1
        with self._lock, contextlib.ExitStack() as stack:
            for a in self._loaded:
                stack.enter_context(a.adapter.scaled(0.0))
            return denoising_errors(self.denoiser, cut, prompts, clip_skip=self.source.clip_skip, batch=batch)

    def swap(self, ref: str | Path) -> None:
        """Replace the model's own weights: an adapter by another at the same strength, or the whole base model.

        Adapters that were added beside the model stay. Replacing an adapter costs as much as reading its file; a base
        model is loaded only if it differs from the present one.

        Raises:
            UsageError: no such model or adapter.
            BakehouseError: a file is damaged, or an adapter does not fit the base.
        """
        with self._lock:
            self.use(replace_weights(replace(self.source, adapters=self._own), ref))

    @contextlib.contextmanager
    def restoring(self) -> Iterator[Pipeline]:
        """Undo `swap` and `use` at the end of a `with` block."""
        with self._lock:
            before, added = replace(self.source, adapters=self._own), self._added
            try:
                yield self
            finally:
                self.use(before, added)

    def use(self, source: ModelSource, added: Sequence[tuple[Path, float]] | None = None) -> None:
        """Generate with another model from now on. What stays the same is not loaded again.

        After an error the pipeline is as it was before.

        Args:
            source: the model and its own adapters.
            added: adapters beside them, in place of those that were added before. None: these stay.

        Raises:
            UsageError: no such model or adapter.
            BakehouseError: a file is damaged, or an adapter does not fit the base.
        """
        with self._lock:
            before, kept = replace(self.source, adapters=self._own), self._added
            try:
                self._replace(source, kept if added is None else added)
            except Exception:
                self._replace(before, kept)
                raise

    def _replace(self, source: ModelSource, added: Sequence[tuple[Path, float]]) -> None:
        wanted = [(path, strength, True) for path, strength in source.adapters]
        wanted += [(path, strength, False) for path, strength in added]
        same_base = source.base_settings == self.source.base_settings
        if same_base and [(a.path, a.own) for a in self._loaded] == [(path, own) for path, _, own in wanted]:
            for a, (_, strength, _) in zip(self._loaded, wanted, strict=True):
                a.strength = strength
            self.source = source
            return
        if same_base:
            self._remove_adapters()
        else:
            self.close()
            self.denoiser = _load(source, str(self.denoiser.device), self.denoiser.dtype)
            self._prompt_adapters = PromptAdapters(self.denoiser)
            self._find_embeddings()
        self.source = source
        for path, strength, own in wanted:
            self._apply(path, strength, own=own)

    @property
    def _own(self) -> tuple[tuple[Path, float], ...]:
        return tuple((a.path, a.strength) for a in self._loaded if a.own)

    @property
    def _added(self) -> tuple[tuple[Path, float], ...]:
        return tuple((a.path, a.strength) for a in self._loaded if not a.own)

    def close(self) -> None:
        """Remove the adapters and forget encoded prompts; the base model is as it was loaded."""
        with self._lock:
            self._remove_adapters()
            self._prompt_cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _apply(self, path: Path, strength: float, *, own: bool) -> None:
        adapter = load_weights(path, self.denoiser).eval()
        self._loaded.append(_LoadedAdapter(path, strength, adapter, own))

    def _find_embeddings(self) -> None:
        found = self.files.embedding_files()
        self._prompt_cache.inversions = self.denoiser.textual_inversions(found) if found else None

    def _remove_adapters(self) -> None:
        self._prompt_adapters.remove()
        while self._loaded:
            self._loaded.pop().adapter.remove()

    def _resolved(self, request: ImageRequest) -> ImageRequest:
        """Return the request with every default filled in and checked against the model.

        Raises:
            UsageError: see `generate`.
        """
        model, native = self.denoiser, self.denoiser.native_size
        canvas = self._canvas(request)
        if canvas is None:
            width, height = request.width or native, request.height or native
            check_size(model, width, height)
        else:
            width, height = canvas.drawn if canvas.only_masked else canvas.resized
        choice = find_sampler(request.sampler, request.schedule)
        check_options(choice, request.sampling_options(downscale=model.downscale))
        clip_skip = request.clip_skip or self.source.clip_skip
        guidance = self.source.guidance if request.guidance is None else request.guidance
        hires = request.hires and replace(request.hires, upscaler=upscaler_label(request.hires.upscaler))
        resolved = replace(
            request,
            width=width,
            height=height,
            sampler=choice.label,
            schedule=choice.schedule,
            clip_skip=clip_skip,
            guidance=guidance,
            hires=hires,
        )
        if hires is not None and (second := self._spec(resolved).second_pass) is not None:
            second.check(model)
        return resolved

    def _canvas(self, request: ImageRequest) -> Canvas | None:
        """Return the sizes of an image that is made from another one; None for one made from words."""
        if request.image is None:
            return None
        return plan_canvas(
            request.image,
            request.inpaint,
            width=request.width,
            height=request.height,
            multiple=self.denoiser.downscale,
            native=self.denoiser.native_size,
        )

    def _spec(self, resolved: ImageRequest, read: ReadPrompt | None = None) -> ImageSpec:
        canvas = self._canvas(resolved)
        size = None if canvas is None else canvas.drawn
        schedule = () if read is None else read.schedule
        return resolved.to_spec(step_prompts=schedule, size=size, multiple=self.denoiser.downscale)

    def _read(self, resolved: Sequence[ImageRequest]) -> list[_Drawing]:
        """Return the images to generate, with their prompts read; equal prompts are read once."""
        inversions = self._prompt_cache.inversions
        source = replace(self.source, adapters=self.adapters)  # prompts may name those that were added, too
        read: dict[object, ReadPrompt] = {}
        drawings = []
        regions = RegionReader()
        for r in resolved:
            key = r.prompt, r.negative, r.steps, r.prompt_syntax, r.emphasis, id(r.regions)
            if key not in read:
                read[key] = read_prompts(r, self.denoiser, source, self.files, inversions)
            drawings.append(_Drawing(r, read[key], regions.added(self._spec(r, read[key]), r.regions, read[key])))
        return drawings

    def _generate(
        self, drawings: list[_Drawing], batch: int | None, preview_every: int, on_event: OnEvent
    ) -> Iterator[GeneratedImage]:
        for message in dict.fromkeys(message for drawing in drawings for message in drawing.read.warnings):
            on_event(Warned(message=message))
        whole = [
            (named(drawing.request.image.image), canvas.drawn)
            for drawing in drawings
            if drawing.request.image is not None
            and (canvas := self._canvas(drawing.request))
            and not canvas.only_masked
        ]
        warn_of_large_images(whole, self.denoiser.native_size, self.title, on_event)
        groups: list[list[_Drawing]] = []
        waiting = iter(drawings)
        for _, alike in itertools.groupby(drawings, key=lambda drawing: drawing.read.adapters_by_prompt):
            specs = [drawing.spec for drawing in alike]
            groups += [[next(waiting) for _ in group] for group in batches(specs, lambda s: batch or _default_batch(s))]
        total, done, images = sum(group[0].spec.steps_run for group in groups), 0, 0
        for group in groups:
            steps = group[0].spec.steps_run
            watch = event_watch(
                on_event, before=done, steps=steps, total=total, preview_every=preview_every, first_image=images
            )
            yield from self._generate_batch(group, watch)
            done += steps
            images += len(group)

    def _generate_batch(self, drawings: list[_Drawing], watch: Watch) -> list[GeneratedImage]:
        prepared = [self._prepared(drawing.request) for drawing in drawings]
        second = drawings[0].spec.second_pass
        region_map = RegionMap()
        with self._lock, self._placed(drawings[0].read, region_map).applied(self._prompt_cache, self.denoiser):
            images = generate_images(
                self.denoiser,
                [drawing.spec for drawing in drawings],
                images=[source.init for source in prepared if source is not None],
                enlarge=functools.partial(self._upscalers.enlarge, second.upscaler if second else ""),
                prompt_cache=self._prompt_cache,
                region_map=region_map,
                watch=watch,
            )
            return [self._finished(*made) for made in zip(images, drawings, prepared, strict=True)]

    def _placed(self, read: ReadPrompt, region_map: RegionMap) -> PlacedAdapters:
        """Return the adapters on the model and those that prompts name, with the strengths that prompts ask for."""
        own = [((a.path, None), a.adapter, strengths((a.path, None), read, a.strength)) for a in self._loaded]
        asked = [one for tags in read.adapters_by_prompt for one in tags]
        more = self._prompt_adapters.loaded([one for one in asked if one.key not in {key for key, *_ in own}])
        return PlacedAdapters([*own, *((key, a, strengths(key, read)) for key, a in more.items())], region_map)

    def _prepared(self, request: ImageRequest) -> PreparedSource | None:
        canvas = self._canvas(request)
        if request.image is None or canvas is None:
            return None
        _, height, width = self.denoiser.latent_shape(*canvas.drawn)
        return prepare(request.image, request.inpaint, canvas, (width, height))

    def _finished(self, image: Image, drawing: _Drawing, prepared: PreparedSource | None) -> GeneratedImage:
        infotext = self._infotext(drawing, prepared)
        return GeneratedImage(image if prepared is None else prepared.finish(image), drawing.request, infotext)

    def _infotext(self, drawing: _Drawing, prepared: PreparedSource | None) -> Infotext:
        return image_infotext(
            drawing.request,
            drawing.spec,
            drawing.read,
            prepared,
            adapters=[(a.path, a.strength) for a in self._loaded],
            model={"Model hash": self.model_hash, "Model": _model_name(self.source.base)},
            downscale=self.denoiser.downscale,
        )

    @property
    def model_hash(self) -> str:
        """Ten digits: a file's sha256 as in A1111; for a folder, which A1111 does not load, a hash of its weights."""
        path = Path(self.source.base)
        return (file_sha256(path) if path.is_file() else self.denoiser.fingerprint)[:10]


def pick_dtype(requested: Precision | torch.dtype, device: str, trained_in: str = "auto") -> torch.dtype:
    """Return the requested type; for `auto`, half precision on CUDA and fp32 elsewhere.

    Raises:
        UsageError: an unknown name.
    """
    if isinstance(requested, torch.dtype):
        return requested
    if requested != "auto":
        if requested not in DTYPES:
            raise UsageError(f"dtype = {requested!r}: allowed are auto, {', '.join(DTYPES)}")
        return DTYPES[requested]
    # fp16 has three bits more than bf16: the rounding of bf16 can be visible in an image.
    return DTYPES.get(trained_in, torch.float16) if device.startswith("cuda") else torch.float32


def _load(source: ModelSource, device: str, dtype: torch.dtype) -> Denoiser:
    model = load_model(source.base, device=device, dtype=dtype, vae=source.vae, prediction=source.prediction)
    if source.zero_terminal_snr:
        model.use_zero_terminal_snr()
    return model


def _default_batch(spec: ImageSpec) -> int:
    """Return how many images of a size fit into the memory of most devices at once."""
    width, height = spec.final_size
    return max(1, min(_MAX_BATCH, _BATCH_PIXELS // (width * height)))


def _model_name(base: str) -> str:
    name = base.rstrip("/").rsplit("/", 1)[-1]
    return Path(name).stem if name.endswith((".safetensors", ".ckpt")) else name
