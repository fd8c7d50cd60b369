"""Activation memory of the real networks, counted without computing: `python -m benchmarks.activations sd15`.

Tensors have shapes and no content (FakeTensorMode), and every storage is counted from its birth to its end.
The numbers of `recipe/memory_estimate.py` are these: LoRA of rank 32, fp32 and under autocast, with and without
gradient checkpointing.
"""

from __future__ import annotations

import argparse
import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.models import unet_shape

_PEFT_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2", "proj_in", "proj_out")


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch gives it no types
    """Bytes of live storages, and their maximum."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen = {id(t.untyped_storage()) for t in known}

    def _gone(self, key: int, size: int) -> None:
        self.now -= size
        self._seen.discard(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            storage = tensor.untyped_storage() if isinstance(tensor, Tensor) else None
            if storage is not None and id(storage) not in self._seen:
                self._seen.add(id(storage))
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, id(storage), storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out


@contextlib.contextmanager
def norms_in_fp32() -> Iterator[None]:
    """Compute norms in fp32, as CUDA's autocast does and the CPU's does not."""
    before = F.group_norm, F.layer_norm

    def whole(norm: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def inner(*args: Any, **kwargs: Any) -> Tensor:
            floats = [a.float() if isinstance(a, Tensor) else a for a in args]
            named = {k: v.float() if isinstance(v, Tensor) else v for k, v in kwargs.items()}
            with torch.autocast("cpu", enabled=False):
                return norm(*floats, **named)

        return inner

    F.group_norm, F.layer_norm = whole(F.group_norm), whole(F.layer_norm)
    try:
        yield
    finally:
        F.group_norm, F.layer_norm = before


def kept(model: str, batch: int, *, half: bool, checkpointing: bool) -> tuple[int, int]:
    """Return the bytes held after the forward pass and at the peak of a step, for a LoRA of rank 32."""
    from diffusers import UNet2DConditionModel
    from peft import LoraConfig

    with FakeTensorMode():
        dtype = torch.bfloat16 if half else torch.float32
        shape = unet_shape(model)
        unet = UNet2DConditionModel(**shape)
        unet.requires_grad_(False)
        unet.add_adapter(LoraConfig(r=32, lora_alpha=16, target_modules=list(_PEFT_TARGETS)))
        _cast_frozen(unet, dtype)
        if checkpointing:
            unet.enable_gradient_checkpointing()
        inputs = _inputs(shape, batch, dtype)
        live = Live([*unet.parameters(), *unet.buffers(), *(t for t in tree_leaves(inputs) if isinstance(t, Tensor))])
        with live, norms_in_fp32() if half else contextlib.nullcontext():
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = unet(**inputs, return_dict=False)[0].float().square().mean()
            held = live.now
            loss.backward()
    return held, live.peak


def _cast_frozen(unet: nn.Module, dtype: torch.dtype) -> None:
    for module in unet.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and not parameter.requires_grad:
                empty = torch.empty_like(parameter, dtype=dtype)
                module._parameters[name] = nn.Parameter(empty, requires_grad=False)


def _inputs(shape: dict[str, Any], batch: int, dtype: torch.dtype) -> dict[str, Any]:
    side = shape["sample_size"]
    added = None
    if "addition_embed_type" in shape:
        added = {"text_embeds": torch.randn(batch, 1280, dtype=dtype), "time_ids": torch.randn(batch, 6)}
    return {
        "sample": torch.randn(batch, 4, side, side, dtype=dtype),
        "timestep": torch.zeros(batch, dtype=torch.long),
        "encoder_hidden_states": torch.randn(batch, 77, shape["cross_attention_dim"], dtype=dtype),
        "added_cond_kwargs": added,
    }


def main() -> None:
    """Print held and peak MiB for one and two images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", choices=["sd15", "sdxl", "tiny"])
    for model in parser.parse_args().models:
        for half in (False, True):
            for checkpointing in (False, True):
                found = [kept(model, batch, half=half, checkpointing=checkpointing) for batch in (1, 2)]
                cells = ", ".join(f"{held / 2**20:.0f} held {peak / 2**20:.0f} peak" for held, peak in found)
                print(f"{model} {'bf16' if half else 'fp32'}{' checkpointing' * checkpointing}: {cells} MiB")


if __name__ == "__main__":
    main()
