"""A studio: a loaded base model with adapters on it, that makes pictures until it is closed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal, Self

import torch

from bakehouse.adapters import Adapter, load_adapter
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Progress, Warned
from bakehouse.families.denoiser import Conditioning, Denoiser
from bakehouse.families.fingerprint import file_sha256
from bakehouse.families.load import load_model
from bakehouse.families.sampling import find_sampler, initial_noise, sample, to_images
from bakehouse.generate.infotext import Infotext, lora_hashes, with_networks
from bakehouse.generate.request import Picture, Request
from bakehouse.generate.source import Source, resolve, swapped, tensor_hash

OnEvent = Callable[[Event], None]
AdapterRef = str | Path | tuple[str | Path, float]
Precision = Literal["auto", "fp32", "fp16", "bf16"]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_ROOM = 4 * 512 * 512
"""Pixels in one batch where nothing is said: what 8 GB hold for every family in half precision."""
_MOST = 16
_REMEMBERED = 512
"""Prompt embeddings kept, some 240 KB each for SD 1.x."""
_CHUNK_TOKENS, _MOST_CHUNKS = 75, 3


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
    width: int
    height: int
    guidance: float
    clip_skip: int
    chunks: int

    @property
    def kind(self) -> tuple[object, ...]:
        """Pictures of one kind can share a batch and come out as they would alone.

        The length of the prompt belongs to it: padding a short one would change what it attends to.
        """
        r = self.request
        return self.width, self.height, self.chunks, r.steps, self.guidance, r.guidance_rescale, r.sampler


class Studio:
    """Open one with `Studio.open`. Pictures depend on the request alone, never on batch or order."""

    def __init__(self, denoiser: Denoiser, source: Source, *, title: str | None = None) -> None:
        """Takes a loaded base; `source.adapters` are put on it."""
        self.denoiser = denoiser
        self.source = source
        self.title = title or source.title or denoiser.name
        self._on: list[_OnModel] = []
        self._encoded: dict[object, Conditioning] = {}
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
        place = pick_device(device)
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
        return self._make(list(_batches(jobs, batch)), on_event or _nobody)

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
        self._encoded.clear()

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
        native, grain = self.denoiser.native_size, self.denoiser.downscale
        width, height = request.width or native, request.height or native
        for name, pixels in (("width", width), ("height", height)):
            if pixels % grain:
                near = max(grain, round(pixels / grain) * grain)
                raise UsageError(f"{name} = {pixels}: must be a multiple of {grain}; the nearest is {near}")
        sampler = find_sampler(request.sampler).label
        tokens = self.denoiser.token_count([request.prompt, request.negative])
        chunks = max(1, -(-max(tokens) // _CHUNK_TOKENS))
        if chunks > _MOST_CHUNKS:
            which = "prompt" if tokens[0] == max(tokens) else "negative prompt"
            raise UsageError(
                f"the {which} has {max(tokens)} tokens: at most {_CHUNK_TOKENS * _MOST_CHUNKS} can be read",
                hint=f"shorten it: {request.prompt[:60]!r}...",
            )
        clip_skip = request.clip_skip or self.source.clip_skip
        guidance = self.source.guidance if request.guidance is None else request.guidance
        decided = replace(request, width=width, height=height, sampler=sampler, clip_skip=clip_skip, guidance=guidance)
        return _Job(decided, width, height, guidance, clip_skip, chunks)

    def _make(self, groups: list[list[_Job]], on_event: OnEvent) -> Iterator[Picture]:
        total = sum(group[0].request.steps for group in groups)
        done = 0
        for group in groups:
            meter = functools.partial(_report, on_event, done, group[0].request.steps, total)
            yield from self._paint(group, meter, on_event)
            done += group[0].request.steps

    def _paint(self, group: list[_Job], meter: Callable[[int, int], None], on_event: OnEvent) -> list[Picture]:
        """Makes one batch, in halves where memory is short."""
        try:
            return self._paint_at_once(group, meter)
        except torch.OutOfMemoryError as e:
            one = group[0]
            if len(group) == 1:
                raise BakehouseError(
                    f"one picture of {one.width}x{one.height} does not fit into the memory of {self.denoiser.device}",
                    hint="make it smaller, or open the model with dtype fp16",
                ) from e
        half = len(group) // 2
        torch.cuda.empty_cache()
        on_event(Warned(message=f"{len(group)} pictures at once do not fit into memory; {half} are made at a time"))
        return self._paint(group[:half], meter, on_event) + self._paint(group[half:], meter, on_event)

    @torch.no_grad()
    def _paint_at_once(self, group: list[_Job], meter: Callable[[int, int], None]) -> list[Picture]:
        model, first = self.denoiser, group[0]
        shape = (model.latent_channels, first.height // model.downscale, first.width // model.downscale)
        seeds = [job.request.seed for job in group]
        guided = first.guidance != 1
        with contextlib.ExitStack() as stack:
            for a in self._on:
                stack.enter_context(a.adapter.scaled(a.weight))
            latents = sample(
                model,
                Conditioning.cat([self._encode(job.request.prompt, job) for job in group]),
                Conditioning.cat([self._encode_negative(job) for job in group]) if guided else None,
                noise=initial_noise(seeds, shape),
                steps=first.request.steps,
                guidance=first.guidance,
                guidance_rescale=first.request.guidance_rescale,
                sampler=first.request.sampler,
                seeds=seeds,
                on_step=lambda done, of, _: meter(done, of),
            )
        images = to_images(model.decode(latents))
        return [Picture(image, job.request, self._infotext(job)) for image, job in zip(images, group, strict=True)]

    def _encode(self, prompt: str, job: _Job) -> Conditioning:
        """One prompt's embedding; made alone, so that no neighbour in the batch can change a bit of it."""
        key = (prompt, job.clip_skip, job.chunks, self.adapters)
        if key not in self._encoded:
            while len(self._encoded) >= _REMEMBERED:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[key] = self.denoiser.encode_prompt([prompt], clip_skip=job.clip_skip, chunks=job.chunks)
        return self._encoded[key]

    def _encode_negative(self, job: _Job) -> Conditioning:
        """What guidance steers away from; an empty one is told apart by the families that learned it otherwise."""
        if job.request.negative.strip():
            return self._encode(job.request.negative, job)
        key = (None, job.clip_skip, job.chunks, self.adapters)
        if key not in self._encoded:
            self._encoded[key] = self.denoiser.encode_negative([""], clip_skip=job.clip_skip, chunks=job.chunks)
        return self._encoded[key]

    def _infotext(self, job: _Job) -> Infotext:
        r = job.request
        sampler, schedule = webui_sampler(r.sampler)
        settings = {
            "Steps": r.steps,
            "Sampler": sampler,
            "Schedule type": schedule,
            "CFG scale": job.guidance,
            "CFG Rescale": r.guidance_rescale or None,
            "Seed": r.seed,
            "Size": f"{job.width}x{job.height}",
            "Model hash": self._model_hash,
            "Model": _model_name(self.source.base),
            "Clip skip": job.clip_skip if job.clip_skip > 1 else None,
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


def pick_device(wanted: str = "auto") -> str:
    """`auto` as the best device there is.

    Raises:
        UsageError: a device that is not there.
    """
    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        there.append("mps")
    if wanted == "auto":
        return "cuda" if "cuda" in there else there[-1]
    if wanted not in there:
        raise UsageError(f"device = {wanted!r}: here are auto, {', '.join(there)}")
    return wanted


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


def _batches(jobs: list[_Job], batch: int | None) -> Iterator[list[_Job]]:
    """Neighbours of one kind, at most `batch` together."""
    group: list[_Job] = []
    for job in jobs:
        most = batch or max(1, min(_MOST, _ROOM // (job.width * job.height)))
        if group and (group[0].kind != job.kind or len(group) >= most):
            yield group
            group = []
        group.append(job)
    if group:
        yield group


def _report(on_event: OnEvent, before: int, share: int, total: int, done: int, of: int) -> None:
    # Some samplers call the network twice a step: progress counts the user's steps.
    on_event(Progress(what="denoising", done=before + share * done // of, total=total))


def _nobody(event: Event) -> None:
    """Hears events that nobody asked for."""


def _model_name(base: str) -> str:
    name = base.rstrip("/").rsplit("/", 1)[-1]
    return Path(name).stem if name.endswith((".safetensors", ".ckpt")) else name
