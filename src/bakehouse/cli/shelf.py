"""The models on this machine: what is part of the package, and what lies in the Hub's cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def shelf() -> list[dict[str, Any]]:
    """One row a model: name, what, bytes, licence, version, path. Nothing is fetched."""
    return [*_embedded(), *_from_hub()]


def _embedded() -> list[dict[str, Any]]:
    from bakehouse.core.files import key_of, sha256_file
    from bakehouse.families.crumb import crumb_folder

    rows = []
    for folder, what in ((crumb_folder(), "base, sd1"), (crumb_folder().with_name("crumb-tagger"), "tagger")):
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        hashes = [sha256_file(p) for p in files if p.suffix == ".safetensors"]
        if hashes:
            version = hashes[0] if len(hashes) == 1 else key_of(*hashes)
            rows.append(_row(folder.name, what, sum(p.stat().st_size for p in files), "Apache-2.0", version, folder))
    return rows


def _from_hub() -> list[dict[str, Any]]:
    """Stable Diffusion pipelines in the Hub's cache."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    from bakehouse.core.errors import BakehouseError
    from bakehouse.families.load import resolve_model

    rows = []
    try:
        repos = sorted(scan_cache_dir().repos, key=lambda r: r.repo_id)
    except CacheNotFound:
        return []
    for repo in (r for r in repos if r.repo_type == "model"):
        try:
            found = resolve_model(repo.repo_id)
        except BakehouseError:
            continue  # some other kind of model
        if found.path and found.family:
            what, licence = f"base, {found.family}", "see its page on the Hub"
            rows.append(_row(repo.repo_id, what, repo.size_on_disk, licence, found.path.name, found.path))
    return rows


def _row(name: str, what: str, size: int, licence: str, version: str, path: Path) -> dict[str, Any]:
    return {"name": name, "what": what, "bytes": size, "licence": licence, "version": version, "path": str(path)}
