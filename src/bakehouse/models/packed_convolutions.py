"""Convolutions whose weights keep the order in memory that oneDNN computes in, while images are sampled on a CPU.

PyTorch stores a weight as [out, in, h, w]; oneDNN computes with blocks of it, and sorts the weight into blocks anew at
each call. With small images that takes longer than the convolution itself: half of the time of an SD 1.5 UNet at
128 px. Here a weight is sorted once for all steps. The results differ in the last digits: another kernel may be chosen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bakehouse.core.system_memory import available_memory

_SPARE = 2
"""Sorted weights are kept if as many times their bytes are free: the copies live beside them."""


@contextlib.contextmanager
def packed_convolutions(network: nn.Module, on: bool = True) -> Iterator[None]:
    """Compute a network's convolutions with packed weights inside a `with` block; weights must not change in it.

    Does nothing where it would not help: on other devices than CPUs, and in other types than fp32. Without memory for a
    second copy of the convolutions, each weight is packed anew at each call: slower, with the same bits, so that an
    image does not depend on what else the machine does. Gradients are not computed through packed weights.

    Args:
        network: the denoising network.
        on: False does nothing.
    """
    convolutions = [m for m in network.modules() if on and type(m) is nn.Conv2d and _can_be_packed(m)]
    size = sum(conv.weight.nbytes for conv in convolutions)
    if not _is_supported():
        yield
        return
    available = available_memory()
    keep = available is None or available >= _SPARE * size
    with contextlib.ExitStack() as stack:
        for conv in convolutions:
            object.__setattr__(conv, "_conv_forward", _PackedConvolution(conv, keep=keep))
            stack.callback(object.__delattr__, conv, "_conv_forward")
        yield


def _is_supported() -> bool:
    """Return whether this PyTorch has oneDNN and the operators that its compiler packs weights with."""
    names = "_reorder_convolution_weight", "_convolution_pointwise"
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_onednn and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _can_be_packed(conv: nn.Conv2d) -> bool:
    weight = conv._parameters.get("weight")
    is_plain = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return weight is not None and weight.device.type == "cpu" and weight.dtype is torch.float32 and is_plain


class _PackedConvolution:
    """Replaces `_conv_forward` of one convolution, which its `forward` and adapters on it call with their weight."""

    def __init__(self, conv: nn.Conv2d, *, keep: bool) -> None:
        self._conv, self._keep = conv, keep
        self._first_sizes: list[int] | None = None
        self._packed_of: Tensor | None = None
        self._packed: Tensor | None = None

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution of x [N, C, h, w] with a weight, which is packed when it is first seen."""
        conv = self._conv
        assert not isinstance(conv.padding, str)
        how = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        packed = self._packed if self._packed_of is weight else None
        if packed is None:
            # Sizes are a hint only: the packed weight knows its own order, and fits inputs of every size. The order
            # decides the last digits, so it is that of the first input whether the packed weight is kept or not.
            self._first_sizes = self._first_sizes or list(x.shape)
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *how, self._first_sizes)
            if self._keep:
                self._packed, self._packed_of = packed, weight
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *how, "none", [], "")
        return out
