"""Sharding: the denoising network's weights, gradients and averages are divided among the ranks (FSDP2).

Each rank has a part of every weight, and the optimizer steps on it alone. The weights of one block are gathered before
it computes, forwards and backwards, and freed after it; gradients are added and divided as they are computed. So the
network is computed by all ranks at once, and what is read of it whole is read by all of them: what rank 0 does alone
without sharding goes through `Ranks.together`. Text encoders, also where they train, are whole on each rank.

FSDP: Zhao et al. 2023, arXiv:2304.11277; this is PyTorch's second one, `fully_shard`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from bakehouse.core.errors import UsageError
from bakehouse.models.denoiser import Denoiser

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def shard(model: Denoiser, ranks: int) -> None:
    """Divide the weights of a model's denoising network among so many ranks, which all call this.

    Comes before the adapter: it puts other parameters (DTensor) in the place of the weights.

    Raises:
        UsageError: this PyTorch cannot.
    """
    from torch.distributed.device_mesh import init_device_mesh

    try:
        from torch.distributed.fsdp import FSDPModule, fully_shard
    except ImportError:
        raise _too_old() from None
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise _too_old()
    network = model.trainable_modules()["lora_unet"]
    mesh = init_device_mesh(model.device.type, (ranks,))
    for part in [*model.blocks(), network]:
        # What is left outside of the blocks is small, and used at both ends of a pass.
        divided = fully_shard(part, mesh=mesh, reshard_after_forward=part is not network)
        # The loss is divided by the samples of all ranks already. Plain sums are what gloo and NCCL both have.
        divided.set_gradient_divide_factor(1.0)
        divided.set_force_sum_reduction_for_comms(True)


def _too_old() -> UsageError:
    return UsageError(
        f"train.shard = true needs PyTorch 2.9 or newer, this is {torch.__version__}",
        hint="upgrade torch, or set train.shard = false: then each device has a whole copy of the weights",
    )


def is_divided(tensor: Tensor) -> bool:
    """Return whether a tensor is divided among ranks: a DTensor, asked without the second that its import takes."""
    return hasattr(tensor, "device_mesh")


def own_part(tensor: Tensor) -> Tensor:
    """Return this rank's part of a tensor, in the same memory; the tensor itself if it is not divided."""
    return cast("DTensor", tensor).to_local() if is_divided(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor whole, on its device; all ranks have to call this where it is divided."""
    return cast("DTensor", tensor).full_tensor() if is_divided(tensor) else tensor


def divided_like(tensor: Tensor, other: Tensor) -> Tensor:
    """Return a whole tensor as `other` is: divided, of which this rank keeps its part, or as it is."""
    if not is_divided(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    like = cast("DTensor", other)
    # Every rank has the whole tensor, so that none has to send it.
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def whole_states(optimizer: torch.optim.Optimizer, *, keep: bool) -> dict[str, Any]:
    """Return an optimizer's `state_dict` with whole tensors on the CPU; without `keep`, only take part in it."""
    states = optimizer.state_dict()
    found = {
        number: {
            name: _gathered(value, keep=keep) if isinstance(value, Tensor) else value for name, value in of.items()
        }
        for number, of in states["state"].items()
    }
    return {**states, "state": found} if keep else {}


def divided_states(states: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return a `state_dict` of whole tensors as `optimizer` has them: those of divided weights divided like these."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(map(is_divided, parameters)):
        return states
    found = {}
    for number, of in states["state"].items():
        like = parameters[number]
        found[number] = {
            name: divided_like(value, like) if isinstance(value, Tensor) and value.shape == like.shape else value
            for name, value in of.items()
        }
    return {**states, "state": found}


def whole_tensors(tensors: Sequence[Tensor], *, keep: bool) -> list[Tensor]:
    """Return tensors whole, on the CPU, one after the other; without `keep`, only take part in it."""
    found = [_gathered(tensor.detach(), keep=keep) for tensor in tensors]
    return [tensor for tensor in found if tensor is not None]


def _gathered(tensor: Tensor, *, keep: bool) -> Tensor | None:
    found = whole(tensor)
    return found.cpu().contiguous() if keep else None


def clip_gradients(parameters: Sequence[Tensor], most: float) -> Tensor:
    """Scale the gradients down to a norm of at most `most` over all of them, and return their norm before.

    Like torch's `clip_grad_norm_`, for parameters of which some are divided among ranks.
    """
    kinds = [[p for p in parameters if is_divided(p) is divided] for divided in (True, False)]
    gradients = [[p.grad for p in kind if p.grad is not None] for kind in kinds]
    norms = [whole(torch.nn.utils.get_total_norm(kind)) for kind in gradients if kind]
    if not norms:
        return torch.zeros(())
    norm = torch.linalg.vector_norm(torch.stack(norms))
    factor = torch.clamp(most / (norm + 1e-6), max=1.0)
    parts = [own_part(gradient) for gradient in functools.reduce(list.__add__, gradients)]
    torch._foreach_mul_(parts, factor)
    return norm
