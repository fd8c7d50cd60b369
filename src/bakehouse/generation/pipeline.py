"""A studio: a loaded base model with adapters on it, that makes pictures until it is closed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal, Self

import torch
from PIL import Image

from bakehouse.adapters import Adapter, load_adapter
from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent, Progress, Warned, ignore
from bakehouse.generation.adapter_header import tensor_hash
from bakehouse.generation.infotext import Infotext, lora_hashes, with_networks
from bakehouse.generation.model_source import Source, resolve, swapped
from bakehouse.generation.request import Picture, Request
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.dtypes import DTYPES
from bakehouse.models.load import load_model
from bakehouse.models.model_hash import file_sha256
from bakehouse.models.samplers import find_sampler
from bakehouse.models.text_encoders import CHUNK_TOKENS, MOST_CHUNKS
from bakehouse.models.text_to_image import Embeddings, ImageSpec, batches, check_size, chunks_for, draw_images
from bakehouse.recipe.hardware import require_device

AdapterRef = str | Path | tuple[str | Path, float]
Precision = Literal["auto", "fp32", "fp16", "bf16"]

_ROOM = 4 * 512 * 512
"""Pixels in one batch where nothing is said: what 8 GB hold for every family in half precision."""
_MOST = 16


@dataclass
class _OnModel:
    """An adapter on the base; `own` tells the model's own adapter from those put beside it."""

    path: Path
    weight: float
    adapter: Adapter
    own: bool

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True)
class _Job:
    """One picture, every number decided."""

    request: Request
    spec: ImageSpec


class Studio:
    """Open one with `Studio.open`. Pictures depend on the request alone, never on batch or order."""

    def __init__(self, denoiser: Denoiser, source: Source, *, title: str | None = None) -> None:
        """Takes a loaded base; `source.adapters` are put on it."""
        self.denoiser = denoiser
        self.source = source
        self.title = title or source.title or denoiser.name
        self._on: list[_OnModel] = []
        self._embeddings = Embeddings()
        for path, weight in source.adapters:
            self._put(path, weight, own=True)

    @classmethod
    def open(
        cls,
        ref: str | Path | Source,
        *,
        base: str | Path | None = None,
        adapters: Sequence[AdapterRef] = (),
        device: str = "auto",
        dtype: Precision | torch.dtype = "auto",
    ) -> Self:
        """Loads a model and what goes on it.

        Args:
            ref: MODEL: crumb, a path, a Hub id, a run folder, an adapter's file; or a resolved source.
            base: the model under an adapter that does not name it, or another than it names.
            adapters: more adapters beside the model's own: files, or (file, weight).
            device: auto, cpu, cuda, cuda:1, mps.
            dtype: auto is half precision on CUDA (the training's where it is known), fp32 elsewhere.

        Raises:
            UsageError: no such model or adapter, or a device that is not there.
            BakehouseError: a file is damaged.
        """
        source = ref if isinstance(ref, Source) else resolve(ref, base=base)
        more = [(Path(a), 1.0) if isinstance(a, str | Path) else (Path(a[0]), float(a[1])) for a in adapters]
        place = require_device(device)
        studio = cls(_load(source, place, pick_dtype(dtype, place, source.precision)), source)
        for path, weight in more:
            studio._put(path, weight, own=False)
        return studio

    @property
    def adapters(self) -> tuple[tuple[Path, float], ...]:
        """The adapters on the model and their weights, in the order they were put on."""
        return tuple((a.path, a.weight) for a in self._on)

    def txt2img(
        self, request: Request, *, batch: int | None = None, on_event: OnEvent | None = None
    ) -> Iterator[Picture]:
        """Makes `request.count` pictures; see `pictures`."""
        return self.pictures([request], batch=batch, on_event=on_event)

    def pictures(
        self, requests: Sequence[Request], *, batch: int | None = None, on_event: OnEvent | None = None
    ) -> Iterator[Picture]:
        """Makes the pictures of all requests, in order.

        Neighbours of the same size, steps, guidance, sampler and prompt length share a batch. Sizes, samplers and
        lengths are checked before the first picture is begun. Where memory runs out the batch is halved, and a
        `Warned` says so.

        Args:
            requests: what to make.
            batch: pictures at once. Left out: as many as four pictures of 512x512 have pixels, 16 at most.
            on_event: hears `Progress("denoising", steps done, steps in all)`.

        Raises:
            UsageError: a size, sampler, clip skip or prompt that this model cannot make; a batch below 1.
            BakehouseError: one picture alone does not fit into memory.
        """
        if batch is not None and batch < 1:
            raise UsageError(f"batch = {batch}: at least 1")
        jobs = [self._job(one) for request in requests for one in request.each()]
        return self._make(jobs, batch, on_event or ignore)

    @contextlib.contextmanager
    def adapters_at(self, *weights: float) -> Iterator[Studio]:
        """Inside the block the first adapters count so much; costs nothing, restores on the way out.

        Raises:
            UsageError: more weights than there are adapters.
        """
        if len(weights) > len(self._on):
            there = ", ".join(a.name for a in self._on) or "none"
            raise UsageError(f"{len(weights)} weights, but {self.title} has {len(self._on)} adapters ({there})")
        before = [a.weight for a in self._on]
        try:
            for a, weight in zip(self._on, weights, strict=False):
                a.weight = float(weight)
            yield self
        finally:
            for a, weight in zip(self._on, before, strict=False):
                a.weight = weight

    def swap(self, ref: str | Path) -> None:
        """Exchanges the model's own weights: an adapter for another at the same weight, or the whole base.

        Adapters given beside the model stay. An adapter's file costs as much as reading it; a whole model is loaded
        only if it is another than the present one.

        Raises:
            UsageError: no such thing.
            BakehouseError: a file is damaged; an adapter does not fit the base.
        """
        self._use(swapped(replace(self.source, adapters=self._own), ref))

    @contextlib.contextmanager
    def restoring(self) -> Iterator[Studio]:
        """Swaps inside the block are undone on the way out."""
        before = replace(self.source, adapters=self._own)
        try:
            yield self
        finally:
            self._use(before)

    def _use(self, source: Source) -> None:
        same = source.loads == self.source.loads
        if same and source.adapters == self._own:
            self.source = source
            return
        beside = self.adapters[len(self._own) :]
        if not same:
            place, dtype = str(self.denoiser.device), self.denoiser.dtype
            self.close()
            self.denoiser = _load(source, place, dtype)
        else:
            self._take_off()
        self.source = source
        for path, weight in source.adapters:
            self._put(path, weight, own=True)
        for path, weight in beside:
            self._put(path, weight, own=False)

    @property
    def _own(self) -> tuple[tuple[Path, float], ...]:
        return tuple((a.path, a.weight) for a in self._on if a.own)

    def close(self) -> None:
        """Takes the adapters off and forgets the embeddings; the base is what it was."""
        self._take_off()
        self._embeddings.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, path: Path, weight: float, *, own: bool) -> None:
        adapter = load_adapter(path, self.denoiser.parts()).eval()
        self._on.append(_OnModel(path, weight, adapter, own))

    def _take_off(self) -> None:
        while self._on:
            self._on.pop().adapter.remove()

    def _job(self, request: Request) -> _Job:
        """Every number decided and checked against the model.

        Raises:
            UsageError: see `pictures`.
        """
        model, native = self.denoiser, self.denoiser.native_size
        width, height = request.width or native, request.height or native
        check_size(model, width, height)
        sampler = find_sampler(request.sampler).label
        tokens, most = model.token_count([request.prompt, request.negative]), CHUNK_TOKENS * MOST_CHUNKS
        if max(tokens) > most:
            which = "prompt" if tokens[0] == max(tokens) else "negative prompt"
            raise UsageError(
                f"the {which} has {max(tokens)} tokens: at most {most} can be read",
                hint=f"shorten it: {request.prompt[:60]!r}...",
            )
        clip_skip = request.clip_skip or self.source.clip_skip
        guidance = self.source.guidance if request.guidance is None else request.guidance
        decided = replace(request, width=width, height=height, sampler=sampler, clip_skip=clip_skip, guidance=guidance)
        spec = ImageSpec(
            prompt=request.prompt,
            negative=request.negative,
            width=width,
            height=height,
            seed=request.seed,
            steps=request.steps,
            guidance=guidance,
            guidance_rescale=request.guidance_rescale,
            sampler=sampler,
            clip_skip=clip_skip,
            chunks=chunks_for(model, request.prompt, request.negative),
        )
        return _Job(decided, spec)

    def _make(self, jobs: list[_Job], batch: int | None, on_event: OnEvent) -> Iterator[Picture]:
        groups = list(batches([job.spec for job in jobs], lambda spec: batch or _fitting(spec)))
        total, done, waiting = sum(group[0].steps for group in groups), 0, iter(jobs)
        for group in groups:
            for image, job in zip(self._draw(group, done, total, on_event), waiting, strict=False):
                yield Picture(image, job.request, self._infotext(job))
            done += group[0].steps

    def _draw(self, group: list[ImageSpec], done: int, total: int, on_event: OnEvent) -> list[Image.Image]:
        def halved(tried: int, half: int) -> None:
            on_event(Warned(message=f"{tried} pictures at once do not fit into memory; {half} are made at a time"))

        self._embeddings.state = self.adapters
        with contextlib.ExitStack() as stack:
            for a in self._on:
                stack.enter_context(a.adapter.scaled(a.weight))
            return draw_images(
                self.denoiser,
                group,
                embeddings=self._embeddings,
                on_progress=functools.partial(_report, on_event, done, group[0].steps, total),
                on_halved=halved,
            )

    def _infotext(self, job: _Job) -> Infotext:
        r = job.request
        sampler, schedule = webui_sampler(r.sampler)
        settings = {
            "Steps": r.steps,
            "Sampler": sampler,
            "Schedule type": schedule,
            "CFG scale": job.spec.guidance,
            "CFG Rescale": r.guidance_rescale or None,
            "Seed": r.seed,
            "Size": f"{job.spec.width}x{job.spec.height}",
            "Model hash": self._model_hash,
            "Model": _model_name(self.source.base),
            "Clip skip": job.spec.clip_skip if job.spec.clip_skip > 1 else None,
            "RNG": "CPU",
            "Lora hashes": lora_hashes([(a.name, tensor_hash(a.path)) for a in self._on]),
            "Version": f"bakehouse {metadata.version('bakehouse')}",
        }
        return Infotext.make(with_networks(r.prompt, [(a.name, a.weight) for a in self._on]), r.negative, settings)

    @property
    def _model_hash(self) -> str:
        """Ten digits: of the file as A1111 counts them; of a folder's weights, where A1111 has no rule."""
        path = Path(self.source.base)
        return (file_sha256(path) if path.is_file() else self.denoiser.fingerprint)[:10]


def pick_dtype(wanted: Precision | torch.dtype, device: str, trained_in: str = "auto") -> torch.dtype:
    """`auto` as half precision on CUDA and fp32 elsewhere.

    Raises:
        UsageError: a name that is none.
    """
    if isinstance(wanted, torch.dtype):
        return wanted
    if wanted != "auto":
        if wanted not in DTYPES:
            raise UsageError(f"dtype = {wanted!r}: allowed are auto, {', '.join(DTYPES)}")
        return DTYPES[wanted]
    # fp16 has three bits more than bf16, which in a picture are the difference between seen and unseen rounding.
    return DTYPES.get(trained_in, torch.float16) if device.startswith("cuda") else torch.float32


def webui_sampler(label: str) -> tuple[str, str | None]:
    """A sampler of ours as A1111's `Sampler` and `Schedule type`.

    Our steps begin at the last timestep and are evenly spaced, which A1111 calls SGM Uniform.
    """
    if label.endswith(" Karras"):
        return label.removesuffix(" Karras"), "Karras"
    of_k_diffusion = label.startswith(("Euler", "DPM", "Heun", "LMS"))
    return label, "SGM Uniform" if of_k_diffusion else None


def _load(source: Source, device: str, dtype: torch.dtype) -> Denoiser:
    model = load_model(source.base, device=device, dtype=dtype, vae=source.vae, prediction=source.prediction)
    if source.zero_terminal_snr:
        model.use_zero_terminal_snr()
    return model


def _fitting(spec: ImageSpec) -> int:
    """As many pictures of a size as fit into most memories at once."""
    return max(1, min(_MOST, _ROOM // (spec.width * spec.height)))


def _report(on_event: OnEvent, before: int, share: int, total: int, done: int, of: int) -> None:
    # Some samplers call the network twice a step: progress counts the user's steps.
    on_event(Progress(what="denoising", done=before + share * done // of, total=total))


def _model_name(base: str) -> str:
    name = base.rstrip("/").rsplit("/", 1)[-1]
    return Path(name).stem if name.endswith((".safetensors", ".ckpt")) else name
