"""Infotext: the settings of a generated image as text inside its file, as A1111's webui writes and reads it.

a cat <lora:zwx:0.8>
Negative prompt: blurry
Steps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: 6ce0161689, Model: sd15, Version: ...

Parsing follows `parse_generation_parameters` of A1111 1.10 (modules/infotext_utils.py), and also finds settings that it
loses: before lines of extensions, and around unescaped line breaks. A prompt that this format cannot hold (it has a
line `Negative prompt: ...`, or spaces at its ends) is also written as a setting, `Prompt: "..."`: settings are read
last, so A1111 takes the prompt from there.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from bakehouse.core.errors import BakehouseError, UsageError, did_you_mean
from bakehouse.core.files import atomic_path
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.generation.digital_source_type import with_source_type

CHUNK = "parameters"
"""The PNG text chunk that webuis read."""

_PROMPT, _NEGATIVE = "Prompt", "Negative prompt"
_MIN_PAIRS = 3
"""Pairs that a line of settings has at least."""
_PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_PAIR_OVER_LINES = re.compile(r'\s*(\w[\w \-/]+):[^\S\n]*("(?:\\.|[^\\"])+"|[^,\n]*)(,|\n|$)', re.DOTALL)
_FIRST_SETTING = re.compile(r"\s*Steps: *\d")
_LINE_PAIR = re.compile(r"\s*(\w[\w \-/]+):\s*(.*)")
_SIZE = re.compile(r"\d+x\d+\n?")
_NETWORK = re.compile(r"\s*<(?:lora|lyco):([^:>]+)(?::([^>]*))?>")
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 92, "method": 4}),
}


@dataclass(frozen=True)
class Infotext:
    """A prompt, a negative prompt and settings in the order in which they are written."""

    prompt: str
    negative: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def make(cls, prompt: str, negative: str = "", settings: Mapping[str, object] | None = None) -> Infotext:
        """Build from values: None is left out, and whole floats lose their `.0`, as in A1111."""
        pairs = ((name, _format_value(value)) for name, value in (settings or {}).items() if value is not None)
        return cls(prompt, negative, tuple(pairs))

    @classmethod
    def parse(cls, text: str) -> Infotext:
        """Parse any text; one without settings is all prompt."""
        lines, pairs = _split_settings(text.rstrip("\0").strip().split("\n"))
        prompts = _split_prompts(lines)
        settings = []
        for name, raw in pairs:
            value = _unquote(raw.strip())
            if name not in (_PROMPT, _NEGATIVE):
                settings.append((name, value))
            elif not _SIZE.fullmatch(value):  # A1111 reads such a value as a width and a height
                prompts[name] = value
        return cls(prompts[_PROMPT], prompts[_NEGATIVE], tuple(settings))

    def __str__(self) -> str:
        plain = self._written(self.settings)
        if Infotext.parse(plain) == self:
            return plain
        # Text like 512x768 would be read as a size there; it needs no such setting.
        both = (_PROMPT, self.prompt), (_NEGATIVE, self.negative)
        again = tuple((name, text) for name, text in both if not _SIZE.fullmatch(text))
        exact = self.with_settings(dict(again)).settings
        return self._written((*exact, *(again * _MIN_PAIRS)[: max(0, _MIN_PAIRS - len(exact))]))

    def _written(self, settings: Iterable[tuple[str, str]]) -> str:
        lines = [self.prompt]
        if self.negative:
            lines.append(f"{_NEGATIVE}: {self.negative}")
        if settings:
            lines.append(", ".join(f"{name}: {_quote(value)}" for name, value in settings))
        return "\n".join(lines)

    def get(self, name: str, default: str = "") -> str:
        """Return a setting by A1111's name (`CFG scale`), or `default`."""
        return dict(self.settings).get(name, default)

    def with_settings(self, more: Mapping[str, object]) -> Infotext:
        """Return a copy with more settings, placed before `Version`, which stays last."""
        added = Infotext.make("", "", more).settings
        names = {name for name, _ in added}
        kept = [pair for pair in self.settings if pair[0] not in names]
        at = next((i for i, (name, _) in enumerate(kept) if name == "Version"), len(kept))
        return Infotext(self.prompt, self.negative, (*kept[:at], *added, *kept[at:]))

    def networks(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """Return the prompt without its `<lora:name:weight>` tags, and the names and strengths in them.

        The strength is 1 where a tag has none, or one that is not a number.
        """
        found = tuple((m[1], _number(m[2])) for m in _NETWORK.finditer(self.prompt))
        return _NETWORK.sub("", self.prompt), found


def with_networks(prompt: str, networks: Iterable[tuple[str, float]]) -> str:
    """Return the prompt followed by ` <lora:name:weight>` for each adapter, as A1111 applies them."""
    tags = " ".join(f"<lora:{name}:{_format_value(float(weight))}>" for name, weight in networks)
    # In a line with `#` the tags would be part of a comment.
    separator = "\n" if "#" in prompt.rpartition("\n")[2] else " "
    return f"{prompt}{separator}{tags}" if tags and prompt else prompt + tags


def write(
    image: Image.Image, info: Infotext | str, path: Path | str, *, chunks: Mapping[str, str] | None = None
) -> Path:
    """Save an image with its infotext (a PNG text chunk; EXIF UserComment in JPEG and WebP), atomically.

    Args:
        image: the image; JPEG has no alpha channel, so it is dropped there.
        info: the infotext; in PNG the chunk `parameters`.
        path: its ending selects the format.
        chunks: more text chunks, PNG only.

    Raises:
        UsageError: an ending other than png, jpg, jpeg or webp; `chunks` for a format other than PNG.
        BakehouseError: the file cannot be written, or the text is too long for JPEG (about 32,000 characters).
    """
    path = Path(path)
    kind, options = _save_options(path, info, chunks or {})
    with atomic_path(path) as temporary:
        _save(image, kind, options, temporary, name=str(path))
    return path


def encode(
    image: Image.Image,
    info: Infotext | str | None,
    ending: str,
    *,
    quality: int | None = None,
    provenance: bool = False,
) -> bytes:
    """Return an image as the bytes of a file with its infotext, as `write` writes it.

    Args:
        image: the image; JPEG has no alpha channel, so it is dropped there.
        info: the infotext; None: none.
        ending: `.png`, `.jpg`, `.jpeg` or `.webp`.
        quality: 1 to 100, JPEG and WebP only; None: as `write`.
        provenance: add the note that a model has made it, see `generation.digital_source_type`.

    Raises:
        UsageError: another ending.
        BakehouseError: the text is too long for JPEG (about 32,000 characters).
    """
    kind, options = _save_options(Path(f"image{ending}"), info or "", {})
    if info is None:
        options = {name: value for name, value in options.items() if name not in ("pnginfo", "exif")}
    if quality is not None and kind != "PNG":
        options["quality"] = quality
    if provenance:
        options = with_source_type(kind, options)
    buffer = io.BytesIO()
    _save(image, kind, options, buffer, name=f"the image as {ending}")
    return buffer.getvalue()


def _save_options(path: Path, info: Infotext | str, chunks: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Return Pillow's name of the format that a path's ending selects, and its options with the infotext."""
    known = _FORMATS.get(path.suffix.lower())
    if known is None:
        allowed = ", ".join(_FORMATS)
        raise UsageError(f"{path}: images are saved as {allowed}{did_you_mean(path.suffix.lower(), _FORMATS)}")
    kind, options = known
    if kind == "PNG":
        return kind, {"pnginfo": _png_chunks({CHUNK: str(info), **chunks})}
    if chunks:
        raise UsageError(f"{path}: text chunks ({', '.join(chunks)}) can only be saved in .png")
    return kind, {**options, "exif": _exif(str(info))}


def _save(image: Image.Image, kind: str, options: dict[str, Any], target: Path | io.BytesIO, *, name: str) -> None:
    try:
        _without_alpha(image, kind).save(target, kind, **options)
    except ValueError as e:
        raise BakehouseError(f"cannot write {name}: {e}", hint="long prompts fit into .png and .webp") from e


def read(path: Path | str) -> Infotext | None:
    """Return the infotext of an image file; None if it has none.

    Raises:
        BakehouseError: not found, or not an image.
    """
    text = read_text(path)
    return None if text is None else Infotext.parse(text)


def read_text(path: Path | str, chunk: str = CHUNK) -> str | None:
    """Return a text chunk of a PNG; of other formats the EXIF UserComment (or a GIF's comment), whatever `chunk` is.

    Raises:
        BakehouseError: not found, or not an image.
    """
    try:
        with Image.open(path) as image:
            if isinstance(image, PngImagePlugin.PngImageFile):
                # Chunks after the pixels are read only when the pixels are.
                value = image.info.get(chunk) or image.text.get(chunk)
                if value is not None or chunk != CHUNK:
                    return None if value is None else str(value)
            comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
            if comment is None:
                comment = image.info.get("comment") if image.format == "GIF" else None
    except (OSError, UnidentifiedImageError, SyntaxError) as e:
        raise BakehouseError(f"cannot read {path}: {e}") from e
    if isinstance(comment, bytes):
        return _decoded(comment)
    return str(comment) if comment else None


def _without_alpha(image: Image.Image, kind: str) -> Image.Image:
    return image.convert("RGB") if kind == "JPEG" and image.mode != "RGB" else image


def _png_chunks(texts: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        # Pillow uses iTXt where Latin-1 is not enough. A NUL would end the chunk's text.
        info.add_text(name, text.replace("\0", ""))
    return info


def _exif(text: str) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\0" + text.encode("utf-16-be", "surrogatepass")
    return exif.tobytes()


def _decoded(comment: bytes) -> str:
    """Decode an EXIF UserComment: eight bytes that name the encoding, then the text."""
    code, body = comment[:8], comment[8:]
    if code != b"UNICODE\0":
        known = code in (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * 8)
        return (body if known else comment).decode("utf-8", "replace")
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    # The standard does not fix the byte order and tools differ. Prompts are mostly Latin, whose high bytes are 0.
    little = body[1::2].count(0) > body[::2].count(0)
    return body.decode("utf-16-le" if little else "utf-16-be", "surrogatepass" if len(body) % 2 == 0 else "replace")


_Pairs = list[tuple[str, str]]


def _split_settings(lines: list[str]) -> tuple[list[str], _Pairs]:
    """Return the lines before the settings, and the settings as name and raw value."""
    *before, last = lines
    pairs = _PAIR.findall(last)
    if len(pairs) >= _MIN_PAIRS:
        return before, [(name, value) for name, value in pairs if value]
    for at in reversed(range(len(before))):
        if _FIRST_SETTING.match(lines[at]):
            pairs = _pairs_over_lines("\n".join(lines[at:]))
            if len(pairs) >= _MIN_PAIRS:
                return lines[:at], pairs
    return lines, []


def _pairs_over_lines(text: str) -> _Pairs:
    """Return settings whose values may contain line breaks, and `Template: ...` and the like on lines after them."""
    pairs: _Pairs = []
    at = 0
    while found := _PAIR_OVER_LINES.match(text, at):
        pairs.append((found[1], found[2]))
        at = found.end()
        if found[3] != ",":
            break
    if len(pairs) < _MIN_PAIRS:
        return []
    after: _Pairs = []
    for line in text[at:].split("\n"):
        if named := _LINE_PAIR.match(line):
            after.append((named[1], named[2]))
        elif after:
            after[-1] = after[-1][0], f"{after[-1][1]}\n{line}"
    return [(name, value) for name, value in (*pairs, *after) if value]


def _split_prompts(lines: Iterable[str]) -> dict[str, str]:
    """Return the prompt, and all from the first line with `Negative prompt:` on, joined as in A1111."""
    found = {_PROMPT: "", _NEGATIVE: ""}
    which = _PROMPT
    for line in map(str.strip, lines):
        if line.startswith(f"{_NEGATIVE}:"):
            which, line = _NEGATIVE, line.removeprefix(f"{_NEGATIVE}:").strip()
        found[which] += f"\n{line}" if found[which] else line
    return found


def _format_value(value: object) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(round(value, 8))
    return str(value)


def _quote(value: str) -> str:
    # The webui quotes for the first reason alone; the others are needed to read such values back unchanged.
    needed = any(c in value for c in ",\n:") or value != value.strip() or value.startswith('"') or not value
    return json.dumps(value, ensure_ascii=False) if needed else value


def _unquote(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        plain = parse_json(value, strict=False)
    except json.JSONDecodeError:
        return value
    return plain if isinstance(plain, str) else value


def _number(text: str | None) -> float:
    """Return the strength in `0.8`, `0.8:0.5` (text encoder, then UNet) or `te=0.8`."""
    first = (text or "").split(":")[0].rpartition("=")[2]
    try:
        return float(first)
    except ValueError:
        return 1.0


def lora_hashes(hashes: Sequence[tuple[str, str]]) -> str | None:
    """Return the value of `Lora hashes`: `name: 12 hex digits, ...`; None without adapters."""
    return ", ".join(f"{name}: {short}" for name, short in hashes) or None
