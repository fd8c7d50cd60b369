"""The text-to-image pipeline: a loaded base model with adapters on it, which generates images until it is closed."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import torch

from bakehouse.adapters import Adapter, load_adapter
from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent, Progress, Warned, ignore
from bakehouse.dtypes import DTYPES
from bakehouse.generation.adapter_header import tensor_hash
from bakehouse.generation.infotext import Infotext, lora_hashes, with_networks
from bakehouse.generation.model_source import ModelSource, replace_weights, resolve
from bakehouse.generation.request import GeneratedImage, ImageRequest
from bakehouse.generation.sampler_infotext import noise_settings, sampler_settings, schedule_settings
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.denoising_error import denoising_errors
from bakehouse.models.load import load_model
from bakehouse.models.samplers import find_sampler
from bakehouse.models.sampling_options import check_options
from bakehouse.models.text_encoders import CHUNK_TOKENS, MAX_CHUNKS
from bakehouse.models.text_to_image import ImageSpec, PromptCache, batches, check_size, chunks_for, generate_images
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
    adapter: Adapter
    own: bool
    """Whether it is the model's own (a run's or a file's), not one that was added to it."""

    @property
    def name(self) -> str:
        return self.path.stem


class Pipeline:
    """Open one with `Pipeline.open`. An image depends on its request alone, never on its batch or its place in it.

    Threads may share a pipeline: each batch, and each `with` block of `adapter_strengths` or `restoring`, runs alone.
    What a thread changes outside such a block (`swap`, `close`) holds for all of them.
    """

    def __init__(self, denoiser: Denoiser, source: ModelSource, *, title: str | None = None) -> None:
        """Wrap a loaded base model and apply `source.adapters` to it."""
        self.denoiser = denoiser
        self.source = source
        self.title = title or source.title or denoiser.name
        self._lock = threading.RLock()
        self._loaded: list[_LoadedAdapter] = []
        self._prompt_cache = PromptCache()
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
    ) -> Self:
        """Load a model and its adapters.

        Args:
            ref: MODEL: crumb, a path, a Hub id, a run folder, an adapter's file; or a resolved source.
            base: the base model of an adapter that does not name one, or another than it names.
            adapters: more adapters beside the model's own: files, or (file, strength).
            device: auto, cpu, cuda, cuda:1, mps.
            dtype: auto: on CUDA the training's half precision if known, else fp16; fp32 on other devices.

        Raises:
            UsageError: no such model or adapter, or a device that is not available.
            BakehouseError: a file is damaged.
        """
        source = ref if isinstance(ref, ModelSource) else resolve(ref, base=base)
        more = [(Path(a), 1.0) if isinstance(a, str | Path) else (Path(a[0]), float(a[1])) for a in adapters]
        place = require_device(device)
        pipeline = cls(_load(source, place, pick_dtype(dtype, place, source.precision)), source)
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
        """Generate `request.count` images; see `generate`."""
        return self.generate([request], batch=batch, on_event=on_event)

    def generate(
        self, requests: Sequence[ImageRequest], *, batch: int | None = None, on_event: OnEvent | None = None
    ) -> Iterator[GeneratedImage]:
        """Generate the images of all requests, in order.

        Neighbours with the same size, steps, guidance, sampler and number of text chunks share a batch. All requests
        are checked before the first image is generated. When memory runs out the batch is halved, with a `Warned`
        event.

        Args:
            requests: what to generate.
            batch: images at once. Default: as many as have the pixels of four images of 512x512, 16 at most.
            on_event: receives `Progress("denoising", steps done, steps in all)`. It may raise
                `models.sampling.SamplingCancelledError`, which stops and leaves the pipeline ready for the next call.

        Raises:
            UsageError: a size, sampler, clip skip or prompt that this model does not support; a batch below 1.
            BakehouseError: a single image does not fit into memory.
        """
        if batch is not None and batch < 1:
            raise UsageError(f"batch = {batch}: must be at least 1")
        resolved = [self._resolved(one) for request in requests for one in request.each()]
        return self._generate(resolved, batch, on_event or ignore)

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
            self._use(replace_weights(replace(self.source, adapters=self._own), ref))

    @contextlib.contextmanager
    def restoring(self) -> Iterator[Pipeline]:
        """Undo swaps at the end of a `with` block."""
        with self._lock:
            before = replace(self.source, adapters=self._own)
            try:
                yield self
            finally:
                self._use(before)

    def _use(self, source: ModelSource) -> None:
        same_base = source.base_settings == self.source.base_settings
        if same_base and source.adapters == self._own:
            self.source = source
            return
        added = self.adapters[len(self._own) :]
        if not same_base:
            place, dtype = str(self.denoiser.device), self.denoiser.dtype
            self.close()
            self.denoiser = _load(source, place, dtype)
        else:
            self._remove_adapters()
        self.source = source
        for path, strength in source.adapters:
            self._apply(path, strength, own=True)
        for path, strength in added:
            self._apply(path, strength, own=False)

    @property
    def _own(self) -> tuple[tuple[Path, float], ...]:
        return tuple((a.path, a.strength) for a in self._loaded if a.own)

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
        adapter = load_adapter(path, self.denoiser.trainable_modules()).eval()
        self._loaded.append(_LoadedAdapter(path, strength, adapter, own))

    def _remove_adapters(self) -> None:
        while self._loaded:
            self._loaded.pop().adapter.remove()

    def _resolved(self, request: ImageRequest) -> ImageRequest:
        """Return the request with every default filled in and checked against the model.

        Raises:
            UsageError: see `generate`.
        """
        model, native = self.denoiser, self.denoiser.native_size
        width, height = request.width or native, request.height or native
        check_size(model, width, height)
        choice = find_sampler(request.sampler, request.schedule)
        check_options(choice, request.sampling_options(downscale=model.downscale))
        tokens, limit = model.token_count([request.prompt, request.negative]), CHUNK_TOKENS * MAX_CHUNKS
        if max(tokens) > limit:
            which = "prompt" if tokens[0] == max(tokens) else "negative prompt"
            raise UsageError(
                f"the {which} has {max(tokens)} tokens: at most {limit} are allowed",
                hint=f"shorten it: {request.prompt[:60]!r}...",
            )
        clip_skip = request.clip_skip or self.source.clip_skip
        guidance = self.source.guidance if request.guidance is None else request.guidance
        return replace(
            request,
            width=width,
            height=height,
            clip_skip=clip_skip,
            guidance=guidance,
            sampler=choice.label,
            schedule=choice.schedule,
        )

    def _generate(self, resolved: list[ImageRequest], batch: int | None, on_event: OnEvent) -> Iterator[GeneratedImage]:
        downscale = self.denoiser.downscale
        specs = [
            r.to_spec(chunks=chunks_for(self.denoiser, r.prompt, r.negative), downscale=downscale) for r in resolved
        ]
        groups = list(batches(specs, lambda spec: batch or _default_batch(spec)))
        total, done, waiting = sum(group[0].steps for group in groups), 0, iter(resolved)
        for group in groups:
            report = functools.partial(_report, on_event, done, group[0].steps, total)
            yield from self._generate_batch(group, [next(waiting) for _ in group], report, on_event)
            done += group[0].steps

    def _generate_batch(
        self,
        specs: list[ImageSpec],
        requests: list[ImageRequest],
        report: Callable[[int, int], None],
        on_event: OnEvent,
    ) -> list[GeneratedImage]:
        def warn_halved(tried: int, half: int) -> None:
            message = f"a batch of {tried} images does not fit into memory; continuing with batches of {half}"
            on_event(Warned(message=message))

        with self._lock, contextlib.ExitStack() as stack:
            self._prompt_cache.state = self.adapters
            for a in self._loaded:
                stack.enter_context(a.adapter.scaled(a.strength))
            images = generate_images(
                self.denoiser,
                specs,
                prompt_cache=self._prompt_cache,
                on_progress=report,
                on_halved=warn_halved,
            )
            made = zip(images, requests, specs, strict=True)
            return [GeneratedImage(image, request, self._infotext(spec)) for image, request, spec in made]

    def _infotext(self, spec: ImageSpec) -> Infotext:
        settings = {
            "Steps": spec.steps,
            **schedule_settings(spec),
            "CFG scale": spec.guidance,
            "CFG Rescale": spec.guidance_rescale or None,
            "Seed": spec.seed,
            "Size": f"{spec.width}x{spec.height}",
            "Model hash": self.model_hash,
            "Model": _model_name(self.source.base),
            **noise_settings(spec, downscale=self.denoiser.downscale),
            **sampler_settings(spec),
            "Lora hashes": lora_hashes([(a.name, tensor_hash(a.path)) for a in self._loaded]),
            "Version": f"bakehouse {metadata.version('bakehouse')}",
        }
        networks = [(a.name, a.strength) for a in self._loaded]
        return Infotext.make(with_networks(spec.prompt, networks), spec.negative, settings)

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
    return max(1, min(_MAX_BATCH, _BATCH_PIXELS // (spec.width * spec.height)))


def _report(on_event: OnEvent, before: int, share: int, total: int, done: int, of: int) -> None:
    # Some samplers call the network twice a step: progress counts the user's steps.
    on_event(Progress(what="denoising", done=before + share * done // of, total=total))


def _model_name(base: str) -> str:
    name = base.rstrip("/").rsplit("/", 1)[-1]
    return Path(name).stem if name.endswith((".safetensors", ".ckpt")) else name
