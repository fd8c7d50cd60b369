"""Tileable images: convolutions with circular padding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad


@contextlib.contextmanager
def tiled(model: nn.Module, on: bool = True) -> Iterator[None]:
    """Pad the inputs of all convolutions of a model circularly inside a `with` block, in place of zeros.

    Done before a module's `forward`, so that an adapter on it sees the padded input too.
    """
    with contextlib.ExitStack() as stack:
        for module in model.modules() if on else ():
            if isinstance(module, nn.Conv2d) and isinstance(module.padding, tuple) and any(module.padding):
                stack.enter_context(_circular(module))
        yield


@contextlib.contextmanager
def _circular(conv: nn.Conv2d) -> Iterator[None]:
    own: Any = conv.padding
    rows, columns = own

    def pad_input(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return pad(args[0], (columns, columns, rows, rows), mode="circular"), *args[1:]

    handle = conv.register_forward_pre_hook(pad_input)
    conv.padding = (0, 0)
    try:
        yield
    finally:
        handle.remove()
        conv.padding = own
