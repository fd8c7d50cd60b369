"""Recognizes files that are not weights although their name says so: pages, pointers or text from a failed download."""

from __future__ import annotations

import codecs
import pickletools
from pathlib import Path

from bakehouse.core.errors import BakehouseError

_LOOKED_AT = 4096
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGES = ("<!doctype html", "<html", "<head", "<body")
_AGAIN = "download it again"
_FROM_PAGE = f"{_AGAIN}, by the file's own download link; some sites want a login or a key for it"
_FROM_REPOSITORY = f"{_AGAIN}: `git lfs pull` in its repository, or the file's download link on its page"


def not_weights(path: Path) -> BakehouseError | None:
    """The error that names what a file is in truth; None where it may be damaged weights.

    For files that could not be read: a pickle of protocol 0 is text too, and is left to who reads pickles.
    """
    try:
        with path.open("rb") as f:
            start = f.read(_LOOKED_AT)
            size = path.stat().st_size
            whole = start + f.read(1 << 20) if size <= 1 << 20 else b""
    except OSError:
        return None
    if size == 0:
        return BakehouseError(f"{path} is empty: it has 0 bytes", hint=_AGAIN)
    if start.startswith(_LFS):
        what = "is a Git LFS pointer, a few lines of text that stand for the weights"
        return BakehouseError(f"{path} {what}", hint=_FROM_REPOSITORY)
    if (other := _other_suffix(path, start, size)) is not None:
        return other
    text = _text(start)
    if text is None or _is_pickle(whole):
        return None
    if text.lstrip().lower().startswith(_PAGES):
        return BakehouseError(f"{path} is an HTML page, not weights", hint=_FROM_PAGE)
    return BakehouseError(f"{path} is text, not weights: it begins with {_first_words(text)!r}", hint=_FROM_PAGE)


def _other_suffix(path: Path, start: bytes, size: int) -> BakehouseError | None:
    """The error of weights of one format under the name of the other."""
    is_named = path.suffix.lower() == ".safetensors"
    if is_named and start.startswith((b"PK\x03\x04", b"\x80\x02}")):
        hint = f"rename it to {path.with_suffix('.ckpt').name}, or take a .safetensors version of it"
        return BakehouseError(f"{path} is a pickle under the name of a .safetensors file", hint=hint)
    if not is_named and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        hint = f"rename it to {path.with_suffix('.safetensors').name}"
        return BakehouseError(f"{path} is a .safetensors file under another name", hint=hint)
    return None


def _text(start: bytes) -> str | None:
    """The beginning of a text; None of anything else."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        # Of a longer file the last letter may be cut in two.
        text = decoder.decode(start, final=len(start) < _LOOKED_AT)
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\t\r\n\f" for c in text) else None


def _first_words(text: str, most: int = 60) -> str:
    """Return the text on one line, cut after `most` characters."""
    return " ".join(text.split())[:most]


def _is_pickle(content: bytes) -> bool:
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(content))
    except Exception:  # of what is no pickle, it raises anything
        return False
