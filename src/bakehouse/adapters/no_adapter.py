"""No adapter: no network changes, and only the vectors of `[embedding]` train (textual inversion)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from bakehouse.adapters.adapter import Adapter, AdapterSpecBase, AdapterTarget
from bakehouse.core.errors import UsageError


class NoAdapter(AdapterSpecBase):
    """No network is changed; the vectors of `[embedding]` train alone."""

    unet: ClassVar[bool] = False
    text: ClassVar[bool] = False

    kind: Literal["none"] = "none"

    def inject(self, target: AdapterTarget, generator: torch.Generator | None) -> Adapter:
        raise UsageError(
            "adapter.kind = 'none' and no [embedding]: nothing would be trained",
            hint="set embedding.vectors, or adapter.kind = 'lora'",
        )
