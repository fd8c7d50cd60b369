"""Editing of a file's header: title, triggers, thumbnail, any key. Tensors are copied byte for byte."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from bakehouse.adapters.tensor_files import check_output_path
from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.files import atomic_path
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.settings import Spec
from bakehouse.pickles import damaged
from bakehouse.weights.file_hashes import legacy_hash

THUMBNAIL_SIDE = 256
"""Pixels, as ModelSpec recommends."""
_KEYS = {
    "title": "modelspec.title",
    "author": "modelspec.author",
    "description": "modelspec.description",
    "license": "modelspec.license",
    "usage_hint": "modelspec.usage_hint",
}
_DERIVED = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")


class Edit(Spec):
    """Changes of a header; unset fields stay as they are."""

    title: str | None = None
    """Title that programs list."""
    author: str | None = None
    """Author."""
    description: str | None = None
    """Description."""
    license: str | None = None
    """License."""
    usage_hint: str | None = None
    """Usage hint, such as `strength 0.6 to 1`."""
    triggers: tuple[str, ...] | None = None
    """Trigger words."""
    tags: tuple[str, ...] | None = None
    """Tags for search."""
    thumbnail: Path | None = None
    """Image file; scaled to 256 pixels and embedded in the header as a JPEG."""
    put: dict[str, str] = Field(default_factory=dict)
    """Other header keys and their values."""
    remove: tuple[str, ...] = ()
    """Keys to remove; `ss_*` removes all that begin with ss_."""

    def changes(self) -> dict[str, str]:
        """Return the keys to set and their values."""
        found = {key: getattr(self, name) for name, key in _KEYS.items() if getattr(self, name) is not None}
        if self.triggers is not None:
            found["modelspec.trigger_phrase"] = ", ".join(self.triggers)
        if self.tags is not None:
            found["modelspec.tags"] = ", ".join(self.tags)
        if self.thumbnail is not None:
            found["modelspec.thumbnail"] = thumbnail_url(self.thumbnail)
        return {**found, **self.put}


def edit(
    source: Path | str, out: Path | str, settings: Edit, *, dry_run: bool = False, overwrite: bool = False
) -> dict[str, tuple[str | None, str | None]]:
    """Write the file with a changed header; return each changed key's old and new value.

    Hashes of the numbers stay what they are; `sshs_legacy_hash`, where the file has one, follows the `ss_*` keys.

    Raises:
        UsageError: no .safetensors file, or a key to remove is not there.
        BakehouseError: broken.
    """
    source, out = Path(source), Path(out)
    if source.suffix != ".safetensors":
        raise UsageError(f"{source} has no header: only .safetensors files do", hint="`weights convert` makes one")
    check_output_path(out, [source], overwrite=overwrite)
    content, start = _read(source)
    before: dict[str, str] = dict(content.pop("__metadata__", None) or {})
    after = {**_without(before, settings.remove, source), **settings.changes()}
    forbidden = [key for key in settings.changes() if key in _DERIVED]
    if forbidden:
        raise UsageError(f"{forbidden[0]} is a hash of the file's numbers and cannot be set")
    if "sshs_legacy_hash" in after:
        after["sshs_legacy_hash"] = legacy_hash(source, after)
    if not dry_run:
        _write(source, out, start, content, after)
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return {key: (before.get(key), after.get(key)) for key in changed}


def _read(path: Path) -> tuple[dict[str, Any], int]:
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    with path.open("rb") as f:
        length = int.from_bytes(f.read(8), "little")
        try:
            if length > path.stat().st_size - 8:
                raise ValueError("cut off")
            content = parse_json(f.read(length))
            if not isinstance(content, dict):
                raise ValueError("no table")
        except ValueError as e:
            raise damaged(path, e) from e
    return content, 8 + length


def _without(metadata: Mapping[str, str], remove: tuple[str, ...], source: Path) -> dict[str, str]:
    kept = dict(metadata)
    for pattern in remove:
        gone = [k for k in metadata if k == pattern or (pattern.endswith("*") and k.startswith(pattern[:-1]))]
        if not gone:
            raise UsageError(f"{source} has no key {pattern!r}{did_you_mean(pattern, metadata)}")
        for key in gone:
            kept.pop(key, None)
    return kept


def _write(source: Path, out: Path, start: int, content: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    header = {"__metadata__": dict(sorted(metadata.items())), **content} if metadata else dict(content)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text.ljust(-(-len(text) // 8) * 8)
    with atomic_path(out) as temporary, temporary.open("wb") as target, source.open("rb") as origin:
        target.write(len(padded).to_bytes(8, "little") + padded)
        origin.seek(start)
        shutil.copyfileobj(origin, target, 1 << 22)


def thumbnail_url(path: Path) -> str:
    """Return an image as ModelSpec's thumbnail: a `data:image/jpeg` URL, no side longer than 256 pixels.

    Raises:
        UsageError: the file cannot be opened.
    """
    from bakehouse.data import open_image

    image = open_image(path).convert("RGB")
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def edit_of(named: Mapping[str, Any], put: Sequence[str], remove: Sequence[str]) -> Edit:
    """Make an `Edit` from options: named fields that are not None, `KEY=TEXT` to set, keys to remove.

    Raises:
        UsageError: an entry has no `=`, or nothing changes.
    """
    wrong = next((word for word in put if "=" not in word), None)
    if wrong is not None:
        raise UsageError(f"--set {wrong!r} has no '='", hint="write --set modelspec.author=me")
    values: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if put:
        values["put"] = dict(word.split("=", 1) for word in put)
    if remove:
        values["remove"] = tuple(remove)
    if not values:
        raise UsageError("nothing to change", hint="pass --title, --trigger, --set KEY=TEXT, --remove KEY, ...")
    return Edit.parse(values, source="edit")
