"""Checks that a model's files are complete, before anything long is started.

Of weights only headers, lengths and shard indices are read; tokenizers, a few megabytes, are read entirely.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import read_table
from bakehouse.core.model_catalogue import locate_model
from bakehouse.core.not_weights import not_weights
from bakehouse.models.diffusers_networks import weight_files
from bakehouse.models.mmap_weights import safetensors_header
from bakehouse.models.model_reference import ModelRef

_AGAIN = "download the model again, or copy the file again"
_TEXT = {"sdxl": ("text_encoder", "text_encoder_2")}
_TOKENIZERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}


def check_model(where: ModelRef, vae: str | None = None) -> None:
    """Check that no file of a model is missing, truncated or of another format than its name says.

    Raises:
        BakehouseError: names all such files.
    """
    found = list(damages(where, vae))
    if len(found) == 1:
        raise found[0]
    if found:
        lines = "\n".join(f"  - {sentence(e)}" for e in found)
        raise BakehouseError(f"{where.name} cannot be loaded:\n{lines}")


def damages(where: ModelRef, vae: str | None = None) -> Iterator[BakehouseError]:
    """Yield an error for each damaged file of a model. Needs no network; what was not downloaded yet is skipped.

    Args:
        vae: another autoencoder than the model's own.
    """
    if where.path is not None and where.path.is_dir():
        networks = _TEXT.get(where.family or "", ("text_encoder",))
        for part in ("unet", *(["vae"] if vae is None else []), *networks):
            yield from _of_network(where.path / part)
        for part in networks:
            yield from _error_of(_check_tokenizer, where.path / _TOKENIZERS[part])
        yield from _error_of(_check_table, where.path / "scheduler" / "scheduler_config.json")
    elif where.path is not None:
        yield from _error_of(check_weights, where.path)
        yield from _of_tokenizer_beside(where.path)
    if vae is not None:
        yield from _of_vae(vae)


def sentence(e: BakehouseError) -> str:
    """Return an error and its hint in one line."""
    return f"{e.message}; {e.hint}" if e.hint else e.message


def check_weights(path: Path) -> None:
    """Check a weights file's length by its header, or the directory at the end of a pickle's archive.

    Raises:
        BakehouseError: it is missing, truncated, or not a weights file.
    """
    if path.is_dir():
        raise BakehouseError(f"{path} is a folder; it must be a weights file", hint=_AGAIN)
    if not path.is_file():
        raise BakehouseError(f"{path} is missing", hint=_AGAIN)
    if path.suffix == ".safetensors":
        safetensors_header(path)
        return
    with path.open("rb") as f:
        is_archive = f.read(2) == b"PK"
    if is_archive and not zipfile.is_zipfile(path):
        raise BakehouseError(f"{path} is cut off: it has {path.stat().st_size} bytes", hint=_AGAIN)
    if not is_archive and (other := not_weights(path)) is not None:
        raise other


def _of_network(folder: Path) -> Iterator[BakehouseError]:
    """Check a network's diffusers folder: its settings, and each of its weight files."""
    if not folder.is_dir():
        yield BakehouseError(f"{folder} is missing or not a folder", hint=_AGAIN)
        return
    yield from _error_of(_check_table, folder / "config.json")
    try:
        files = weight_files(folder)
    except BakehouseError as e:
        in_place = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.suffix in (".safetensors", ".bin")]
        # An error of the file (BakehouseError), not of usage (UsageError), which `weight_files` raises.
        yield from _error_of(check_weights, in_place[0]) if in_place else [BakehouseError(e.message, hint=e.hint)]
        return
    for file in files:
        yield from _error_of(check_weights, file)


def _of_vae(ref: str) -> Iterator[BakehouseError]:
    path = Path(ref).expanduser()
    if not path.exists():
        path = Path(locate_model(ref, "vae", "base") or ref)
    if path.is_file():
        yield from _error_of(check_weights, path)
    elif path.is_dir():
        yield from _of_network(path / "vae" if (path / "vae" / "config.json").is_file() else path)


def _of_tokenizer_beside(path: Path) -> Iterator[BakehouseError]:
    """Check the tokenizer beside a single file, in the folders where the loader looks for one."""
    for folder in (path.parent / "tokenizer", path.with_suffix(""), path.parent):
        if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            yield from _error_of(_check_tokenizer, folder)
            return


def _check_tokenizer(folder: Path) -> None:
    """Check that a tokenizer can be read.

    Raises:
        BakehouseError: its files are missing or damaged.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    whole, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if whole.is_file():
        with _reading(whole):
            Tokenizer.from_file(str(whole))
    elif vocabulary.is_file():
        if not merges.is_file():
            raise BakehouseError(f"{merges} is missing: a tokenizer needs it beside vocab.json", hint=_AGAIN)
        with _reading(vocabulary, " with merges.txt beside it"):
            BPE.from_file(str(vocabulary), str(merges))
    else:
        what = "it has neither tokenizer.json nor vocab.json"
        raise BakehouseError(f"{folder} holds no CLIP tokenizer: {what}", hint=_AGAIN)
    for settings in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / settings).exists():
            _check_table(folder / settings)


@contextlib.contextmanager
def _reading(path: Path, beside: str = "") -> Iterator[None]:
    try:
        yield
    except Exception as e:  # the tokenizers library raises plain exceptions
        raise BakehouseError(f"{path}{beside} is not a readable tokenizer: {e}", hint=_AGAIN) from e


def _check_table(path: Path) -> None:
    if not path.is_file():
        raise BakehouseError(f"{path} is missing", hint=_AGAIN)
    read_table(path)


def _error_of(check: Callable[[Path], None], path: Path) -> Iterator[BakehouseError]:
    """Yield the error of a check, if there is one."""
    try:
        check(path)
    except BakehouseError as e:
        yield e
