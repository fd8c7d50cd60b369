"""Reading of weights files tensor by tensor and writing as a stream, for files larger than memory.

Tensors are written in the order of the safetensors library, so that the hashes equal those of kohya's tools.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import OnEvent, Progress
from bakehouse.core.files import atomic_path, check_file_name
from bakehouse.core.finite import check_finite, count_not_finite
from bakehouse.dtypes import DTYPES, SAFETENSORS_DTYPES
from bakehouse.pickles import damaged, load_pickle, tensors_of

WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")

_DTYPE_NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}
_ORDER = {name: place for place, name in enumerate(SAFETENSORS_DTYPES)}


@dataclass(frozen=True)
class Shape:
    """Type and shape of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return torch.Size(self.shape).numel()

    @property
    def bytes(self) -> int:
        return self.count * self.dtype.itemsize


class TensorFile:
    """An open weights file: all shapes are known, tensors are read one by one."""

    def __init__(
        self, path: Path, metadata: Mapping[str, str], shapes: Mapping[str, Shape], get: Callable[[str], Tensor]
    ) -> None:
        self.path = path
        self.metadata = metadata
        self.shapes = shapes
        self._get = get

    def __getitem__(self, name: str) -> Tensor:
        """Return one tensor.

        Raises:
            BakehouseError: the file is damaged, or the tensor holds NaN or infinity.
        """
        try:
            tensor = self._get(name)
        except SafetensorError as e:
            raise damaged(self.path, e) from e
        check_finite({name: tensor}, self.path, hint="download the file again, or go back to an earlier checkpoint")
        return tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors."""
        return {name: self[name] for name in self.shapes}


@contextlib.contextmanager
def open_tensors(path: Path | str) -> Iterator[TensorFile]:
    """Open a .safetensors file, or a pickle that holds nothing but tensors.

    Raises:
        UsageError: it does not exist, or is not a weights file.
        BakehouseError: it is damaged, or a pickle that holds more than tensors.
    """
    path = Path(path)
    check_suffix(path)
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    if path.suffix != ".safetensors":
        loaded = read_pickle(path)
        yield TensorFile(path, {}, {k: Shape(v.dtype, tuple(v.shape)) for k, v in loaded.items()}, loaded.__getitem__)
        return
    with contextlib.ExitStack() as stack:
        try:
            opened: Any = stack.enter_context(safe_open(path, framework="pt", device="cpu"))
            shapes = {name: _shape(opened.get_slice(name), path, name) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as e:
            raise damaged(path, e) from e
        yield TensorFile(path, dict(opened.metadata() or {}), shapes, opened.get_tensor)


def check_suffix(path: Path) -> None:
    """Check that a file has a suffix of weights files.

    Raises:
        UsageError: it has another one.
    """
    if path.suffix not in WEIGHT_SUFFIXES:
        raise UsageError(f"{path} is not a weights file: allowed are {', '.join(WEIGHT_SUFFIXES)}")


def _shape(part: Any, path: Path, name: str) -> Shape:
    dtype = SAFETENSORS_DTYPES.get(part.get_dtype())
    if dtype is None:
        raise BakehouseError(f"{path}: {name} has the type {part.get_dtype()}, which is not supported")
    return Shape(dtype, tuple(part.get_shape()))


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .pt or .ckpt; a pickle that would run code is refused.

    Raises:
        BakehouseError: it is damaged, holds more than tensors and plain values, or holds no tensors.
    """
    return tensors_of(load_pickle(path), path)


@dataclass(frozen=True)
class Planned:
    """A tensor to be written: type and shape are known before it is made."""

    name: str
    shape: Shape
    make: Callable[[], Tensor]

    @classmethod
    def of(cls, name: str, tensor: Tensor, dtype: torch.dtype | None = None) -> Planned:
        """Return one for an existing tensor; it is cast to `dtype` when written."""
        return cls(name, Shape(dtype or tensor.dtype, tuple(tensor.shape)), lambda: tensor)


def write_tensors(
    path: Path,
    planned: Sequence[Planned],
    metadata: Mapping[str, str],
    *,
    hashed: bool = False,
    on_event: OnEvent | None = None,
) -> Path:
    """Write one .safetensors atomically, making one tensor at a time.

    Args:
        hashed: add kohya's `sshs_*` hashes and ModelSpec's to the header.

    Raises:
        BakehouseError: a value is NaN or overflows its type, or the file cannot be written.
    """
    ordered = sorted(planned, key=lambda p: (_ORDER[_DTYPE_NAMES[p.shape.dtype]], p.name))
    shapes = {p.name: p.shape for p in ordered}
    if hashed:
        metadata = {**metadata, **_hash_fields("0" * 64, "0" * 8)}
    header = header_bytes(shapes, metadata)
    # The legacy hash is that of a file with only the ss_* keys in its header.
    own = len(header_bytes(shapes, {k: v for k, v in metadata.items() if k.startswith("ss_")}))
    whole, window = hashlib.sha256(), LegacyHash()
    window.skip(own)
    with atomic_path(path) as temporary, temporary.open("rb+") as f:
        f.write(header)
        for number, item in enumerate(ordered, 1):
            content = _bytes(item, path)
            f.write(content)
            if hashed:
                whole.update(content)
                window.update(content)
            if on_event is not None:
                on_event(Progress(what=f"writing {path.name}", done=number, total=len(ordered)))
        if hashed:
            f.seek(0)
            f.write(header_bytes(shapes, {**metadata, **_hash_fields(whole.hexdigest(), window.digest())}))
        f.flush()
    return path


def _hash_fields(whole: str, legacy: str) -> dict[str, str]:
    return {"sshs_model_hash": whole, "sshs_legacy_hash": legacy, "modelspec.hash_sha256": f"0x{whole}"}


class LegacyHash:
    """sha256 of bytes 0x100000 to 0x110000 of a stream: the model hash of the first web interfaces."""

    START, END = 0x100000, 0x110000

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._at = 0

    def skip(self, count: int) -> None:
        """Skip bytes of a header, which usually ends before the window."""
        self._at += count

    def update(self, content: Any) -> None:
        low, high = max(self.START - self._at, 0), min(self.END - self._at, len(content))
        if low < high:
            self._sha.update(content[low:high])
        self._at += len(content)

    def digest(self) -> str:
        return self._sha.hexdigest()[:8]


def header_bytes(shapes: Mapping[str, Shape], metadata: Mapping[str, str]) -> bytes:
    """Return length and JSON of a file with these tensors in this order; keys are sorted, padded to 8 bytes."""
    content: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        content[name] = {
            "dtype": _DTYPE_NAMES[shape.dtype],
            "shape": list(shape.shape),
            "data_offsets": [at, at + shape.bytes],
        }
        at += shape.bytes
    if metadata:
        content["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(dict(sorted(content.items())), separators=(",", ":"), ensure_ascii=False).encode()
    padded = text.ljust(-(-len(text) // 8) * 8)
    return len(padded).to_bytes(8, "little") + padded


def _bytes(item: Planned, path: Path) -> memoryview:
    made = item.make().detach().to("cpu")
    if tuple(made.shape) != item.shape.shape:
        raise ValueError(f"{item.name} was planned as {item.shape.shape} and made as {tuple(made.shape)}")
    tensor = made.to(item.shape.dtype).contiguous()
    if made.dtype != tensor.dtype and tensor.is_floating_point() and count_not_finite(tensor):
        why = "holds NaN or infinity" if count_not_finite(made) else f"overflows {tensor.dtype}"
        raise BakehouseError(f"{item.name} {why}: {path} was not written", hint="write it as bf16 or fp32")
    view: memoryview = tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else memoryview(b"")
    return view


def dtype_of(name: str | None) -> torch.dtype | None:
    """Return torch's type for `fp32`, `fp16` or `bf16`; None for None.

    Raises:
        UsageError: an unknown type.
    """
    if name is None:
        return None
    if name not in DTYPES:
        raise UsageError(f"dtype = {name!r}: allowed are {', '.join(DTYPES)}")
    return DTYPES[name]


def float_types(shapes: Iterable[Shape]) -> list[str]:
    """Return the short names of the floating-point types of these tensors, the one with most values first."""
    counts: dict[torch.dtype, int] = {}
    for shape in shapes:
        if shape.dtype.is_floating_point:
            counts[shape.dtype] = counts.get(shape.dtype, 0) + shape.count
    everyday = {dtype: name for name, dtype in DTYPES.items()}
    ordered = sorted(counts, key=lambda d: -counts[d])
    return [everyday.get(d, str(d).removeprefix("torch.")) for d in ordered]


def check_output_path(
    out: Path, sources: Iterable[Path], *, overwrite: bool, makes: Literal["file", "folder", "either"] = "file"
) -> None:
    """Check the path of an output: its name must fit a .safetensors or a folder, and it must not exist yet.

    Raises:
        UsageError: the name is for another kind of output; or without `overwrite` it is a source or exists.
    """
    check_file_name(out)
    if makes == "file" and out.suffix != ".safetensors":
        better = out / "NAME.safetensors" if out.is_dir() else f"{out}.safetensors"
        raise UsageError(f"{out}: the output is one .safetensors file", hint=f"for example -o {better}")
    if makes == "folder" and out.suffix in WEIGHT_SUFFIXES:
        raise UsageError(
            f"{out} is a file name, but the output is a folder", hint=f"for example -o {out.with_suffix('')}"
        )
    if overwrite or not out.exists():
        return
    same = [s for s in sources if s.exists() and s.samefile(out)]
    problem = "is the source" if same else "exists already"
    raise UsageError(f"{out} {problem}", hint="choose another path, or pass --overwrite")
