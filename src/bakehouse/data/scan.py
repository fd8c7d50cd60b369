"""Scanning a folder for images, captions and masks, in the same order on every machine."""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.files import sha256_file
from bakehouse.core.message_text import counted, listed
from bakehouse.data.captions import CAPTION_EXTENSIONS, read_caption
from bakehouse.data.image_records import ImageRecord, ImageSet, Skipped
from bakehouse.data.open_image import EXTENSIONS, FOREIGN, ImageError, ImageInfo, probe, sniff

NO_FILE = "it is a pipe, a socket or a device, not a file"
MASK_FOLDERS = ("mask", "masks")
MASK_ENDINGS = ("-masklabel", ".mask")

_IGNORED = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_NOT_SNIFFED = frozenset(
    (*CAPTION_EXTENSIONS, ".jsonl", ".csv", ".toml", ".yaml", ".yml", ".md", ".npz", ".npy", ".safetensors", ".zip")
)
_WORKERS = min(4, os.cpu_count() or 1)


def scan(
    folder: Path | str,
    *,
    recursive: bool = True,
    concept: int = 0,
    strict: bool = False,
    caption_extension: str | None = None,
    whole: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Return all usable images of a folder in natural order, with their captions and masks.

    Each image is decoded once to check that it is complete. Images are recognised by content; files that are named like
    images and cannot be used are in `skipped`.

    Args:
        folder: the folder.
        recursive: include subfolders; links are followed, and each folder is visited once.
        concept: for `ImageRecord.concept`.
        strict: raise if images cannot be used.
        caption_extension: preferred extension of caption files, such as `.caption`.
        whole: False reads only headers, for callers that decode each image anyway and notice incomplete ones.
        progress: called with (done, total) after each image.

    Raises:
        UsageError: the folder is missing, is a file, or holds no image.
        Problems: `strict` is set and some images cannot be used.
    """
    root = Path(folder)
    check_image_folder(root)
    found = list_files(root, recursive)
    infos = _probe_all([*found.images, *found.unnamed], whole, progress)
    extensions = _extensions(caption_extension)
    records, skipped = [], [Skipped(path, "the link is broken") for path in found.broken]
    skipped += [Skipped(path, FOREIGN[path.suffix.lower()]) for path in found.foreign]
    named = (*EXTENSIONS, *CAPTION_EXTENSIONS)
    skipped += [Skipped(path, NO_FILE) for path in found.special if path.suffix.lower() in named]
    claimed = set(found.images)
    for path in [*found.images, *found.unnamed]:
        info = infos[path]
        if isinstance(info, _Probed):
            records.append(_record(path, info, found, concept, extensions))
        elif path in claimed:
            skipped.append(Skipped(path, info))
    records.sort(key=lambda r: natural_key(r.path, root))
    skipped.sort(key=lambda s: natural_key(s.path, root))
    if not records:
        raise _nothing_found(root, found, skipped, recursive)
    if strict and skipped:
        problems = [f"{s.path}: {s.reason}" for s in skipped]
        raise Problems(f"{root} has images that cannot be used:", problems, hint="remove or replace them")
    notes = _notes(records, infos, found, root, extensions)
    return ImageSet(tuple(records), tuple(skipped), tuple(notes), root)


def natural_key(path: Path, root: Path | None = None) -> tuple[object, ...]:
    """Sort key: `a2` before `a10`, ignoring case and how accents are encoded; ties by the exact name."""
    names = path.parts[len(root.parts) :] if root is not None else path.parts
    return (tuple(map(_natural, names)), names)


@functools.lru_cache(maxsize=1 << 16)
def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    pieces = re.split(r"([0-9]+)", nfc(name).casefold())
    return tuple((0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in pieces if p)


def nfc(text: str) -> str:
    """Return a name in the form in which names are compared: macOS writes `é` as two characters."""
    return unicodedata.normalize("NFC", text)


def name_key(name: object) -> str:
    """Return what is the same for two names that some file systems take for one: `É.png` and `é.png`."""
    return nfc(str(name)).casefold()


# --- finding ----------------------------------------------------------------------------------------------------------


@dataclass
class FileTree:
    """The files below a folder by kind, before any is decoded."""

    images: list[Path] = field(default_factory=list)
    unnamed: list[Path] = field(default_factory=list)
    """Images by their first bytes, without the extension of an image."""
    masks: dict[tuple[Path, str], Path] = field(default_factory=dict)
    """By folder and stem of the image."""
    captions: dict[tuple[Path, str], Path] = field(default_factory=dict)
    """By folder and name (lower case, NFC)."""
    broken: list[Path] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)
    """Images in formats that cannot be read."""
    special: list[Path] = field(default_factory=list)
    """Pipes, sockets and devices; reading one may never end."""
    others: list[Path] = field(default_factory=list)
    stray_masks: list[Path] = field(default_factory=list)
    caption_notes: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Notes of `read_caption`, with their files."""


def check_image_folder(root: Path) -> None:
    """Raise UsageError if there is no such folder; names the folders beside it."""
    if not root.exists():
        near = root.parent if root.parent.is_dir() else None
        siblings = sorted(p.name for p in near.iterdir() if p.is_dir() and not p.name.startswith(".")) if near else []
        hint = f"folders in {near}: {', '.join(siblings[:8])}" if siblings else "name the folder that holds the images"
        raise UsageError(f"{root} does not exist", hint=hint)
    if not root.is_dir():
        raise UsageError(f"{root} is a file, not a folder", hint=f"name the folder: {root.parent}")


def list_files(root: Path, recursive: bool = True) -> FileTree:
    """Return the files below a folder by kind; files without a known extension are recognised by their first bytes."""
    found = FileTree()
    masks: list[Path] = []
    for home, path in _walk(root, recursive):
        ending = path.suffix.lower()
        exists = path.exists()
        if exists and not path.is_file():
            found.special.append(path)
        elif ending in CAPTION_EXTENSIONS:
            found.captions[home, nfc(path.name).lower()] = path
        elif not exists:
            if ending in EXTENSIONS:
                found.broken.append(path)
        elif ending in FOREIGN:
            found.foreign.append(path)
        elif ending not in EXTENSIONS:
            known = ending in _NOT_SNIFFED or not sniff(path)
            (found.others if known else found.unnamed).append(path)
        elif _is_mask(path, root):
            masks.append(path)
        else:
            found.images.append(path)
    if not recursive:
        inside = sorted(p for p in root.iterdir() if p.name.lower() in MASK_FOLDERS and p.is_dir())
        masks += [path for folder in inside for _, path in _walk(folder, recursive=False) if path.is_file()]
    _match_masks(found, masks, root)
    return found


def _walk(root: Path, recursive: bool) -> Iterable[tuple[Path, Path]]:
    """Yield (folder, file) in natural order; linked folders come last, so that files are found under their own path."""
    waiting, entered = [root], set()
    while waiting:
        top = waiting.pop(0)
        for folder, names, files in os.walk(top, onerror=_unreadable):
            here = Path(folder)
            real = os.path.realpath(folder)
            if real in entered:
                names.clear()
                continue
            entered.add(real)
            names[:] = sorted((n for n in names if not _ignored(n)), key=_natural) if recursive else []
            waiting += [here / n for n in names if (here / n).is_symlink()]
            names[:] = [n for n in names if not (here / n).is_symlink()]
            yield from ((here, here / n) for n in sorted(files, key=lambda n: (_natural(n), n)) if not _ignored(n))


def _unreadable(error: OSError) -> None:
    raise UsageError(
        f"cannot read the folder {error.filename}: {error.strerror}", hint="change its permissions"
    ) from error


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _IGNORED


def _is_mask(path: Path, root: Path) -> bool:
    """Whether name or folder mark a mask. The folder that the user named may be called `masks` and hold images."""
    if path.suffix.lower() not in EXTENSIONS:
        return False
    folders = path.parts[len(root.parts) : -1]
    in_folder = bool(folders) and folders[-1].lower() in MASK_FOLDERS
    return in_folder or path.stem.lower().endswith(MASK_ENDINGS)


def _match_masks(found: FileTree, masks: Sequence[Path], root: Path) -> None:
    """Fill `found.masks`. A mask beside its image wins over one in `masks/`, which serves the folders around it."""
    borrowed = list(_masks_beside(root))
    if not masks and not borrowed:
        return
    stems = {(p.parent, stem_of(p)) for p in [*found.images, *found.unnamed]}
    folders = {folder for folder, _ in stems}
    for path in masks:
        stem, beside = stem_of(path), False
        for ending in MASK_ENDINGS:
            if stem.endswith(ending):
                stem, beside = stem.removesuffix(ending), True
        here = path.parent
        around = here.parent
        near = [here] if beside else [around, *sorted(f for f in folders if f.parent == around)]
        homes = [(folder, stem) for folder in near if (folder, stem) in stems]
        for home in homes:
            if beside or home not in found.masks:
                found.masks[home] = path
        if not homes:
            found.stray_masks.append(path)
    for path in borrowed:
        home = (root, stem_of(path))
        if home in stems:
            found.masks.setdefault(home, path)


def _masks_beside(root: Path) -> Iterable[Path]:
    """Yield masks in a folder beside the scanned one: `dataset/images` and `dataset/masks`."""
    for name in MASK_FOLDERS:
        folder = root.absolute().parent / name
        if root.name.lower() not in MASK_FOLDERS and folder.is_dir():
            yield from (
                path
                for _, path in _walk(folder, recursive=False)
                if path.suffix.lower() in EXTENSIONS and path.is_file()
            )


def stem_of(path: Path) -> str:
    """Return the name without extension in the form by which images, captions and masks are matched."""
    return nfc(path.stem).lower()


# --- probing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Probed:
    info: ImageInfo
    sha256: str


def _probe_all(
    paths: Sequence[Path], whole: bool, progress: Callable[[int, int], None] | None
) -> dict[Path, _Probed | str]:
    """Each file's properties, or why it cannot be used. Pillow releases the GIL while decoding, so threads help."""

    def probe_one(path: Path) -> _Probed | str:
        try:
            return _Probed(probe(path, whole=whole), sha256_file(path))
        except ImageError as e:
            return e.reason
        except OSError as e:
            return f"it cannot be read ({e.strerror or e})"

    seen: dict[Path, _Probed | str] = {}
    with ThreadPoolExecutor(_WORKERS) as pool:
        for path, result in zip(paths, pool.map(probe_one, paths), strict=True):
            seen[path] = result
            if progress is not None:
                progress(len(seen), len(paths))
    return seen


def _extensions(first: str | None) -> tuple[str, ...]:
    if first is None:
        return CAPTION_EXTENSIONS
    first = first if first.startswith(".") else f".{first}"
    return tuple(dict.fromkeys((first.lower(), *CAPTION_EXTENSIONS)))


def caption_files(path: Path, found: FileTree, extensions: Sequence[str] = CAPTION_EXTENSIONS) -> list[Path]:
    """Return the caption files of an image; the first is used: `a.png.txt`, which is unambiguous, then `a.txt`."""
    home, whole, stem = path.parent, nfc(path.name).lower(), stem_of(path)
    places = [(home, name + ext) for name in (whole, stem) for ext in extensions]
    return [found.captions[place] for place in places if place in found.captions]


def _record(path: Path, seen: _Probed, found: FileTree, concept: int, extensions: Sequence[str]) -> ImageRecord:
    files = caption_files(path, found, extensions)
    captions: tuple[str, ...] = ()
    if files:
        caption = read_caption(files[0])
        captions = caption.lines
        for note in caption.notes:
            found.caption_notes[note].append(files[0])
    return ImageRecord(
        path=path,
        width=seen.info.width,
        height=seen.info.height,
        sha256=seen.sha256,
        captions=captions,
        caption_path=files[0] if files else None,
        concept=concept,
        mask=found.masks.get((path.parent, stem_of(path))),
        has_alpha=seen.info.has_alpha,
        frames=seen.info.frames,
    )


# --- notes ------------------------------------------------------------------------------------------------------------


def _notes(
    records: Sequence[ImageRecord],
    infos: dict[Path, _Probed | str],
    found: FileTree,
    root: Path,
    extensions: Sequence[str],
) -> list[str]:
    """Notes for the user about the images, their names and their captions."""
    seen = {r.path: info.info for r in records if isinstance(info := infos[r.path], _Probed)}
    # A caption whose image cannot be used still has an image.
    used = {f for path in [*found.images, *found.unnamed] for f in caption_files(path, found, extensions)}
    lists = {
        ("image", "with a wrong extension"): [
            p for p, info in seen.items() if not has_matching_extension(p, info.format)
        ],
        ("animated image", "of which only the first frame is used"): [p for p, info in seen.items() if info.frames > 1],
        ("caption", "without an image"): [
            p for p in found.captions.values() if p not in used and p.suffix.lower() != ".json"
        ],
        ("mask", "without an image"): found.stray_masks,
    }
    notes = [*_name_notes(records, found, extensions)]
    notes += [
        f"{counted(len(paths), noun)} {what}: {_listed_files(paths, root)}"
        for (noun, what), paths in lists.items()
        if paths
    ]
    for remark, files in found.caption_notes.items():
        paths = list(dict.fromkeys(files))
        several = f"{counted(len(paths), 'caption')} with this note: {remark}: {_listed_files(paths, root)}"
        notes.append(several if len(paths) > 1 else f"{paths[0].name}: {remark}")
    return notes


def _name_notes(records: Sequence[ImageRecord], found: FileTree, extensions: Sequence[str]) -> Iterable[str]:
    """Notes on images that share a caption, and on images with several captions."""
    same_stem: dict[tuple[Path, str], list[str]] = defaultdict(list)
    for record in records:
        same_stem[record.path.parent, stem_of(record.path)].append(record.path.name)
        files = caption_files(record.path, found, extensions)
        if len(files) > 1 and len({read_caption(f).lines for f in files}) > 1:
            rest = ", ".join(f.name for f in files[1:])
            yield f"{record.path.name} has several captions that differ: {files[0].name} is used, not {rest}"
    for names in same_stem.values():
        if len(names) > 1:
            yield f"{' and '.join(names)} share one caption file, since their names differ only in the extension"


_NAMES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "PNG": {".png", ".apng"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "AVIF": {".avif", ".avifs"},
    "HEIF": {".heic", ".heif", ".hif", ".avif"},
    "TIFF": {".tif", ".tiff"},
    "BMP": {".bmp", ".dib"},
}


def has_matching_extension(path: Path, kind: str) -> bool:
    """Whether the extension is one of the format's; `kind` is Pillow's name of the format."""
    return path.suffix.lower() in _NAMES.get(kind, EXTENSIONS)


def _listed_files(paths: Sequence[Path], root: Path) -> str:
    return listed([path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path) for path in paths], 5)


def _nothing_found(root: Path, found: FileTree, skipped: Sequence[Skipped], recursive: bool) -> UsageError:
    """The error for a folder without usable images, which names what it holds."""
    if skipped:
        lines = [f"{s.path.name}: {s.reason}" for s in skipped[:8]]
        return Problems(f"{root} has no usable images; {len(skipped)} cannot be used:", lines, hint="replace them")
    kinds: dict[str, int] = defaultdict(int)
    for path in [*found.others, *found.captions.values(), *found.masks.values()]:
        kinds[path.suffix.lower() or "(no extension)"] += 1
    there = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())) or "nothing"
    hint = "formats: png, jpg, webp, gif, avif, heic, bmp, tiff"
    folders = [p.name for p in sorted(root.iterdir()) if p.is_dir() and not _ignored(p.name)]
    if folders and not recursive:
        hint = f"it has subfolders: {', '.join(folders[:8])}; name one of them"
    return UsageError(f"{root} has no images; it holds {there}", hint=hint)
