"""Load and run ONNX networks; thread-safe."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bakehouse.core.errors import UsageError
from bakehouse.core.not_weights import not_weights
from bakehouse.core.optional_imports import import_optional

_ERRORS_ONLY = 3


class OnnxNetwork:
    """A network in an ONNX file, run on the GPU if onnxruntime supports it."""

    def __init__(self, path: Path, purpose: str) -> None:
        """Load the file.

        Args:
            path: of the `.onnx` file.
            purpose: what needs the network, for the message if onnxruntime is missing: "making masks".

        Raises:
            UsageError: onnxruntime is missing, or the file is not an ONNX network.
        """
        ort = import_optional("onnxruntime", purpose)
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
            options.intra_op_num_threads = int(threads)  # onnxruntime ignores the variable itself
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [name for name in wanted if name in ort.get_available_providers()]
        try:
            self._session: Any = ort.InferenceSession(str(path), options, providers=providers)
        except _onnxruntime_errors() as e:
            if (other := not_weights(path)) is not None:
                raise UsageError(other.message, hint=other.hint) from e
            raise UsageError(f"cannot load ONNX network {path}: {str(e).splitlines()[0]}") from e
        self.path = path
        # Concurrent calls would not be faster (one call uses all cores) and would multiply the memory.
        self._lock = threading.Lock()

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return [i.name for i in self._session.get_inputs()]

    @property
    def input_shapes(self) -> list[list[int | str | None]]:
        """Shapes of the inputs; a name or None for a variable length."""
        return [i.shape for i in self._session.get_inputs()]

    @property
    def output_shapes(self) -> dict[str, list[int | str | None]]:
        """Shapes of the outputs by name, in order."""
        return {o.name: o.shape for o in self._session.get_outputs()}

    def size(self, number: int = 0) -> tuple[int, int] | None:
        """Return the fixed width and height of an input [n, c, h, w], or None if they are variable."""
        shape = self._session.get_inputs()[number].shape
        if len(shape) != 4 or not all(isinstance(side, int) for side in shape[2:]):
            return None
        return shape[3], shape[2]

    def __call__(self, *values: npt.NDArray[Any]) -> Sequence[npt.NDArray[np.float32]]:
        """Run the network on its inputs, in order; return its outputs as float32."""
        feed: dict[str, npt.NDArray[Any]] = {
            spec.name: np.ascontiguousarray(value, dtype=_TYPES.get(spec.type, "float32"))
            for spec, value in zip(self._session.get_inputs(), values, strict=True)
        }
        with self._lock:
            try:
                found = self._session.run(None, feed)
            except _onnxruntime_errors() as e:
                raise UsageError(f"{self.path} failed on an image: {str(e).splitlines()[0]}") from e
        return [np.asarray(value, dtype=np.float32) for value in found]


_TYPES = {"tensor(float16)": "float16", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}


def _onnxruntime_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions that onnxruntime raises for wrong files and inputs; they have no common base class."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidProtobuf", "InvalidArgument", "NoSuchFile", "InvalidGraph", "RuntimeException")
    more = ("NotImplemented", "EPFail", "NoModel")
    own = tuple(getattr(state, name) for name in (*names, *more) if hasattr(state, name))
    return (*own, RuntimeError, ValueError)
