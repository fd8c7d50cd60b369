"""Sharding: the denoising network's weights, gradients and averages are divided among the ranks (FSDP2).

Each rank has a part of every weight, and the optimizer steps on it alone. The weights of one block are gathered before
it computes, forwards and backwards, and freed after it; gradients are added and divided as they are computed. So the
network is computed by all ranks at once, and what is read of it whole is read by all of them: what rank 0 does alone
without sharding goes through `Ranks.together`. Text encoders, also where they train, are whole on each rank.

FSDP: Zhao et al. 2023, arXiv:2304.11277; this is PyTorch's second one, `fully_shard`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from bakehouse.core.errors import UsageError
from bakehouse.models.denoiser import Denoiser
from bakehouse.training.ranks import Ranks

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
        # Also what is outside of the blocks: weights that stayed whole after a sample would be those of the average.
        divided = fully_shard(part, mesh=mesh, reshard_after_forward=True)
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
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    factor = torch.clamp(most / (norm + 1e-6), max=1.0)
    parts = [own_part(gradient) for gradient in functools.reduce(list.__add__, gradients)]
    torch._foreach_mul_(parts, factor)
    return norm


class OwnParts:
    """A rank's parts of the parameters that train, as plain parameters in the same memory, for the optimizer.

    Any optimizer that updates each number by itself steps on them: none has to know of DTensor.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], ranks: Ranks) -> None:
        """Put the parts into an optimizer's groups, in the place of the parameters."""
        self.ranks = ranks
        self._parameters: list[Tensor] = [p for group in groups for p in group["params"]]
        """In the optimizer's order."""
        self._parts: dict[int, nn.Parameter] = {}
        """Of divided parameters, by their places."""
        place = 0
        for group in groups:
            for n, parameter in enumerate(group["params"]):
                if is_divided(parameter):
                    self._parts[place] = group["params"][n] = nn.Parameter(own_part(parameter.detach()))
                place += 1

    def take_gradients(self) -> None:
        """Move the gradients of divided parameters to their parts."""
        for place, part in self._parts.items():
            parameter = self._parameters[place]
            part.grad = None if parameter.grad is None else own_part(parameter.grad)
            parameter.grad = None

    def whole_states(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return in rank 0 the optimizer's `state_dict` as one process has it, on the CPU; all have to call this."""

        def gathered(place: int, value: Any) -> Any:
            part = self._parts.get(place)
            if not isinstance(value, Tensor):
                return value
            divided = part is not None and value.shape == part.shape
            return _gathered(
                self._joined(value, self._parameters[place]) if divided else value, keep=self.ranks.is_main
            )

        return self._changed(optimizer.state_dict(), gathered)

    def own_states(self, states: dict[str, Any]) -> dict[str, Any]:
        """Return this rank's part of a `state_dict` of one process."""

        def part_of(place: int, value: Any) -> Any:
            parameter = self._parameters[place]
            divided = place in self._parts and isinstance(value, Tensor) and value.shape == parameter.shape
            # Copied: it may be a view of a mapped file.
            return own_part(divided_like(value, parameter)).clone() if divided else value

        return self._changed(states, part_of)

    @staticmethod
    def _joined(part: Tensor, like: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        other = cast(DTensor, like)
        return DTensor.from_local(
            part, other.device_mesh, other.placements, run_check=False, shape=other.shape, stride=other.stride()
        )

    @staticmethod
    def _changed(states: dict[str, Any], change: Callable[[int, Any], Any]) -> dict[str, Any]:
        state = {n: {name: change(n, value) for name, value in of.items()} for n, of in states["state"].items()}
        return {**states, "state": state}
