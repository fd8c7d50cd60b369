"""ONNX networks: opened once, run one call at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bakehouse.core.errors import UsageError
from bakehouse.core.failed_downloads import not_weights
from bakehouse.core.optional_imports import import_optional

_ERRORS_ONLY = 3


class OnnxNet:
    """A network in an ONNX file, on the GPU where onnxruntime has one."""

    def __init__(self, path: Path, purpose: str) -> None:
        """Opens the file.

        Args:
            path: of the `.onnx`.
            purpose: what it is for, to be read before "needs": "making masks".

        Raises:
            UsageError: onnxruntime is missing, or the file is no ONNX network.
        """
        ort = import_optional("onnxruntime", purpose)
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
            options.intra_op_num_threads = int(threads)  # onnxruntime alone would not ask
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [name for name in wanted if name in ort.get_available_providers()]
        try:
            self._session: Any = ort.InferenceSession(str(path), options, providers=providers)
        except _failures() as e:
            if (other := not_weights(path)) is not None:
                raise UsageError(other.message, hint=other.hint) from e
            raise UsageError(f"{path} is no ONNX network that can be run: {str(e).splitlines()[0]}") from e
        self.path = path
        # Several at once would be no faster: one call takes all cores, and a large network's memory each.
        self._lock = threading.Lock()

    @property
    def inputs(self) -> list[str]:
        """Names of what it takes."""
        return [i.name for i in self._session.get_inputs()]

    @property
    def input_shapes(self) -> list[list[int | str | None]]:
        """Of what it takes; a name or None where any length does."""
        return [i.shape for i in self._session.get_inputs()]

    @property
    def output_shapes(self) -> dict[str, list[int | str | None]]:
        """Of what it gives, by name, in the order of its outputs."""
        return {o.name: o.shape for o in self._session.get_outputs()}

    def size(self, number: int = 0) -> tuple[int, int] | None:
        """Width and height that an input [n, c, h, w] asks for; None where it takes any."""
        shape = self._session.get_inputs()[number].shape
        if len(shape) != 4 or not all(isinstance(side, int) for side in shape[2:]):
            return None
        return shape[3], shape[2]

    def __call__(self, *values: npt.NDArray[Any]) -> Sequence[npt.NDArray[np.float32]]:
        """Its outputs, as float32, for its inputs in their order."""
        feed: dict[str, npt.NDArray[Any]] = {
            spec.name: np.ascontiguousarray(value, dtype=_TYPES.get(spec.type, "float32"))
            for spec, value in zip(self._session.get_inputs(), values, strict=True)
        }
        with self._lock:
            try:
                found = self._session.run(None, feed)
            except _failures() as e:
                raise UsageError(f"{self.path} cannot be run on this image: {str(e).splitlines()[0]}") from e
        return [np.asarray(value, dtype=np.float32) for value in found]


_TYPES = {"tensor(float16)": "float16", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}


def _failures() -> tuple[type[BaseException], ...]:
    """What onnxruntime raises on files and inputs that do not fit; its own class of error has no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidProtobuf", "InvalidArgument", "NoSuchFile", "InvalidGraph", "RuntimeException")
    more = ("NotImplemented", "EPFail", "NoModel")
    own = tuple(getattr(state, name) for name in (*names, *more) if hasattr(state, name))
    return (*own, RuntimeError, ValueError)
