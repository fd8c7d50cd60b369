"""Reproducing an image from its infotext: the request, the model, and which settings are ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.model_catalogue import read_registry
from bakehouse.generation.adapter_header import tensor_hash
from bakehouse.generation.image_infotext import EMPHASIS_NAMES
from bakehouse.generation.img2img_settings import Hires
from bakehouse.generation.infotext import Infotext, read
from bakehouse.generation.region_infotext import is_region_setting, read_regions
from bakehouse.generation.request import ImageRequest
from bakehouse.generation.sampler_infotext import SPACING

_SIZE = re.compile(r"(\d+)x(\d+)")
_VERSION = re.compile(r"v(\d+)\.(\d+)")
_SCHEDULE_SINCE = (1, 9)
"""A1111's version from which a sampler's own schedule is `Automatic`; before, samplers without one were Uniform."""
_HALF_UNTIL = (1, 7)
"""A1111's version before which noise levels were rounded to half precision."""
_WITHOUT_EFFECT = frozenset({
    "Version", "User", "Hashes", "Created Date", "Civitai resources", "Civitai metadata",
    "Template", "Template name", "Negative Template",  # the prompts in the infotext are what was drawn from them
})  # fmt: skip


@dataclass(frozen=True)
class NamedAdapter:
    """An adapter that the image was made with."""

    name: str
    strength: float
    hash: str = ""
    """A1111's 12 digits; empty if they are not known."""


@dataclass(frozen=True)
class Reproduction:
    """What an infotext asks for."""

    request: ImageRequest
    model: str
    """The model's name; empty if the infotext does not have it."""
    model_hash: str
    networks: tuple[NamedAdapter, ...]
    notes: tuple[str, ...]
    """What differs from how the image was made, one sentence each; empty: nothing known does."""


def read_reproduction(path: Path | str) -> Reproduction:
    """Read an image file's infotext.

    Raises:
        UsageError: the file has none, or a value in it is not valid.
        BakehouseError: not found, or not an image.
    """
    info = read(path)
    if info is None:
        raise UsageError(
            f"{path} has no infotext",
            hint="A1111 and bakehouse write it into PNG, JPEG and WebP; other programs may not",
        )
    try:
        return reproduce(info, folder=Path(path).parent)
    except UsageError as e:
        raise UsageError(f"{path}: {e.message}", hint=e.hint) from e


def reproduce(info: Infotext, *, folder: Path | None = None) -> Reproduction:
    """Return what an infotext asks for.

    Args:
        info: the infotext.
        folder: where masks of regions are looked for that are not where their path says.

    Raises:
        UsageError: no seed or number of steps, or a value that is not valid.
    """
    missing = [name for name in ("Steps", "Seed") if not info.get(name)]
    if missing:
        raise UsageError(
            f"the infotext has no {' and no '.join(missing)}", hint="without them no image can be repeated"
        )
    prompt, networks = info.networks()
    settings = dict(info.settings)
    hashes = _lora_hashes(settings.get("Lora hashes", ""))
    regions, changed = read_regions(settings, folder)
    if regions is not None or _HAS_MORE_STRENGTHS.search(info.prompt):
        # Tags stay in the prompts, which say where and how strongly each adapter acts; the adapters only have to be
        # found.
        texts = [info.prompt, *(region.prompt for region in (regions.regions if regions else ()))]
        prompt, networks = info.prompt, _named_in(texts)
    hires, of_hires = _hires(settings)
    fields: dict[str, Any] = {"regions": regions, "hires": hires}
    for name, setting in _FOLLOWED.items():
        if name in settings:
            fields |= setting(name, settings[name])
    notes = [*_sampler(settings, fields), *_random_source(settings, fields), *changed]
    known = {
        *_FOLLOWED,
        *of_hires,
        "Sampler",
        "Schedule type",
        SPACING,
        "RNG",
        "Model",
        "Model hash",
        "Lora hashes",
        "TI hashes",
    }
    notes += [
        f"{name}: {value} is not followed"
        for name, value in settings.items()
        if name not in known and name not in _WITHOUT_EFFECT and not is_region_setting(name)
    ]
    if "TI hashes" in settings:
        notes.append(f"embeddings in the prompt are looked for by name in --embeddings: {settings['TI hashes']}")
    try:
        request = ImageRequest(prompt=prompt, negative=info.negative, **{"clip_skip": 1, **fields})
    except Problems as e:
        raise UsageError("; ".join(e.problems)) from e
    return Reproduction(
        request,
        settings.get("Model", ""),
        settings.get("Model hash", ""),
        tuple(NamedAdapter(name, strength, hashes.get(name, "")) for name, strength in networks),
        tuple(notes),
    )


def _number(field: str, kind: type[int] | type[float]) -> Callable[[str, str], dict[str, Any]]:
    def read_number(name: str, text: str) -> dict[str, Any]:
        try:
            return {field: kind(text)}
        except ValueError as e:
            raise UsageError(f"{name}: {text} is not {'a whole number' if kind is int else 'a number'}") from e

    return read_number


_HIRES = ("Denoising strength", "Hires upscale", "Hires upscaler", "Hires steps")


def _hires(settings: Mapping[str, str]) -> tuple[Hires | None, tuple[str, ...]]:
    """Return the second pass, and the settings that describe it; none for an image that began from another one."""
    if "Hires upscale" not in settings or "Init image hash" in settings:
        return None, ()
    fields: dict[str, Any] = {"upscaler": settings.get("Hires upscaler", "Latent")}
    read_number = {
        "Hires upscale": _number("scale", float),
        "Denoising strength": _number("strength", float),
        "Hires steps": _number("steps", int),
    }
    for name, number in read_number.items():
        if name in settings:
            fields |= number(name, settings[name])
    fields["steps"] = fields.get("steps") or None  # 0 is A1111's "as many as of the first pass"
    try:
        return Hires(**fields), _HIRES
    except Problems as e:
        raise UsageError("; ".join(e.problems)) from e


def _true(field: str) -> Callable[[str, str], dict[str, Any]]:
    return lambda name, text: {field: text == "True"}


def _sides(name: str, text: str) -> tuple[int, int]:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"{name}: {text} is not a size like 512x512")
    return int(found[1]), int(found[2])


def _size(name: str, text: str) -> dict[str, Any]:
    width, height = _sides(name, text)
    return {"width": width, "height": height}


def _emphasis(name: str, text: str) -> dict[str, Any]:
    found = next((mode for mode, shown in EMPHASIS_NAMES.items() if shown == text), None)
    if found is None:
        raise UsageError(f"{name}: {text} is unknown; known are {', '.join(EMPHASIS_NAMES.values())}")
    return {"emphasis": found}


_FOLLOWED: Mapping[str, Callable[[str, str], dict[str, Any]]] = {
    "Steps": _number("steps", int),
    "CFG scale": _number("guidance", float),
    "CFG Rescale": _number("guidance_rescale", float),
    "Seed": _number("seed", int),
    "Size": _size,
    "Clip skip": _number("clip_skip", int),
    "Variation seed": _number("variation_seed", int),
    "Variation seed strength": _number("variation_strength", float),
    "Seed resize from": lambda name, text: {"seed_resize": _sides(name, text)},
    "ENSD": _number("ensd", int),
    "Eta": _number("eta", float),
    "Eta DDIM": _number("eta", float),
    "Tiling": _true("tiling"),
    "Emphasis": _emphasis,
    "Discard penultimate sigma": _true("discard_penultimate"),
}
"""How settings become fields of a request."""


def _sampler(settings: Mapping[str, str], fields: dict[str, Any]) -> list[str]:
    """Add sampler and schedule to the fields; return notes.

    A1111 before 1.9 wrote `DPM++ 2M Karras` in one, and `DPM++ 2M` meant the schedule Uniform.
    """
    from bakehouse.models.samplers import find_sampler
    from bakehouse.models.sigma_schedules import AUTOMATIC, TRAILING

    name = settings.get("Sampler", "")
    if not name:
        raise UsageError("the infotext has no Sampler", hint="without it no image can be repeated")
    schedule = settings.get("Schedule type")
    if settings.get(SPACING) == "trailing":
        schedule = TRAILING
    notes = []
    version, made_here = _webui_version(settings), _made_here(settings)
    if not made_here and version is not None and version < _HALF_UNTIL:
        notes.append(
            "A1111 before 1.7 rounded noise levels to half precision, which is not followed: details may differ"
        )
    own = find_sampler(name, schedule)
    if schedule is None and not made_here and own.label.lower() == name.strip().lower():
        older = version is None or version < _SCHEDULE_SINCE
        own = find_sampler(name, "Uniform" if older and own.label != "Restart" else AUTOMATIC)
    fields |= {"sampler": own.label, "schedule": own.schedule}
    if own.sampler.eta is None:
        fields.pop("eta", None)  # written for all samplers by some versions; it has no effect on this one
    return notes


def _random_source(settings: Mapping[str, str], fields: dict[str, Any]) -> list[str]:
    source = settings.get("RNG", "GPU")
    if source not in ("CPU", "GPU", "NV"):
        raise UsageError(f"RNG: {source}: allowed are CPU, GPU and NV")
    fields["rng"] = "cpu" if source == "CPU" else "nv"
    if source != "GPU":
        return []
    return ["RNG: GPU, A1111's default, is followed as on an NVIDIA GPU: an image of another GPU will differ"]


def _made_here(settings: Mapping[str, str]) -> bool:
    return settings.get("Version", "").startswith("bakehouse")


def _webui_version(settings: Mapping[str, str]) -> tuple[int, int] | None:
    found = _VERSION.findall(settings.get("Version", ""))
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def _lora_hashes(text: str) -> dict[str, str]:
    """Return the hashes in `name: digits, ...` by name."""
    return {name.strip(): digits.strip() for name, _, digits in (part.rpartition(":") for part in text.split(","))}


_HAS_MORE_STRENGTHS = re.compile(r"<(?:lora|lyco):[^:>]+:(?:[^:>]+:[^>]+|[^:>]*=[^>]*)>")
"""A tag that says more than one strength: `<lora:NAME:0.5:0.8>` or `<lora:NAME:te=0.5>`."""


def _named_in(prompts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Return the adapters that prompts name, each once."""
    found: dict[str, float] = {}
    for prompt in prompts:
        found |= dict(Infotext(prompt).networks()[1])
    return tuple(found.items())


def find_base(wanted: Reproduction) -> str:
    """Return the base model on this machine that the image was made with: by its hash, or the bundled one by name.

    Raises:
        UsageError: it is not among the models of this machine.
    """
    if wanted.model == BUNDLED_BASE:
        return BUNDLED_BASE
    for name, digest in _installed_hashes().items():
        if wanted.model_hash and digest.startswith(wanted.model_hash.lower()):
            return name
    said = f"{wanted.model or 'its model'} ({wanted.model_hash or 'without a hash'})"
    raise UsageError(
        f"the image was made with {said}, which is not among the models of this machine",
        hint="pass it: bakehouse generate MODEL --again FILE; `bakehouse models add NAME PATH` makes it known",
    )


def _installed_hashes() -> dict[str, str]:
    """Return sha256 by name or path, of the user's base models and the downloaded ones."""
    registry = read_registry()
    own = {name: model.sha256 for name, model in registry.own.items() if model.kind == "base" and model.sha256}
    fetched = {str(m.paths[0]): m.files[0].sha256 for m in registry.fetched.values() if m.files}
    return {**fetched, **own}


def find_adapters(wanted: Reproduction, files: Sequence[Path] = ()) -> tuple[tuple[Path, float], ...]:
    """Return the files and strengths of the adapters that the image was made with.

    Args:
        wanted: the infotext.
        files: adapters to look among, before those of this machine.

    Raises:
        UsageError: one is not found.
    """
    registry = read_registry()
    own = {name: Path(model.where) for name, model in registry.own.items() if model.kind == "adapter"}
    known = [*((path.stem, path) for path in files), *own.items()]
    return tuple((_adapter(network, known), network.strength) for network in wanted.networks)


def _adapter(network: NamedAdapter, known: Sequence[tuple[str, Path]]) -> Path:
    for _, path in known:
        if network.hash and path.is_file() and tensor_hash(path) == network.hash:
            return path
    for name, path in known:
        if network.name in (name, path.stem) and path.exists():
            return path
    digits = f" ({network.hash})" if network.hash else ""
    raise UsageError(
        f"the image was made with the adapter {network.name}{digits}, which is not among those of this machine",
        hint=f"pass its file: --adapter {network.name}.safetensors; `bakehouse models add NAME PATH` makes it known",
    )


def weights_notes(wanted: Reproduction, model_hash: str, adapters: Sequence[tuple[Path, float]]) -> list[str]:
    """Return a sentence for each file that is not the one that the image was made with, as far as hashes tell."""
    notes = []
    if wanted.model_hash and wanted.model_hash.lower() != model_hash:
        theirs = f"{wanted.model} ({wanted.model_hash})".strip()
        notes.append(f"the image was made with the model {theirs}, and this one's hash is {model_hash}: it will differ")
    for network, (path, _) in zip(wanted.networks, adapters, strict=True):
        if network.hash and tensor_hash(path) != network.hash:
            notes.append(f"{path} is not the adapter {network.name} ({network.hash}): the image will differ")
    return notes
