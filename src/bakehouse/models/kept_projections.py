"""What a prompt is to each cross-attention, computed once for all steps.

Keys and values of cross-attention depend on the prompt alone, which most images keep from the first step to the last.
In a small network they are a tenth of all products: a prompt has 77 tokens, and the image of crumb 4 to 256.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn

from bakehouse.models.regional_attention import cross_attentions


@contextlib.contextmanager
def kept_projections(network: nn.Module, on: bool = True) -> Iterator[None]:
    """Keep the keys and values of the last prompt inside a `with` block; weights and adapters must not change in it.

    Args:
        network: the denoising network.
        on: False does nothing: with regions, several prompts take turns in one step.
    """
    with contextlib.ExitStack() as stack:
        for attention in cross_attentions(network) if on else ():
            for name in ("to_k", "to_v"):
                projection = attention._modules.get(name)
                if projection is not None:
                    attention._modules[name] = _KeptProjection(projection)
                    stack.callback(attention._modules.__setitem__, name, projection)
        yield


class _KeptProjection(nn.Module):
    """Stands for a projection and returns its last output when it is given the same tensor again."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.projection = projection
        self._input: Tensor | None = None
        self._output: Tensor | None = None

    def forward(self, prompt: Tensor) -> Tensor:
        """Return the projection of a prompt [N, L, D]."""
        if self._output is None or self._input is not prompt:
            self._input, self._output = prompt, self.projection(prompt)
        return self._output
