"""Adapters: what trains on a base model. One file per algorithm; a new one is a file and a name in `AdapterSpec`."""

from typing import Annotated

from pydantic import Field

from bakehouse.adapters.adapter import Adapter, AdapterSpecBase, LayerAdapter, LayerSpec, inject
from bakehouse.adapters.formats import AdapterFile, load_adapter, metadata_for, read_adapter, save_adapter
from bakehouse.adapters.full import FullAdapter, FullFineTune
from bakehouse.adapters.layer import AdapterLayer
from bakehouse.adapters.loha import LoHa, LoHaLayer
from bakehouse.adapters.lokr import LoKr, LoKrLayer
from bakehouse.adapters.lora import LoRA, LoRALayer
from bakehouse.adapters.network import Dim, NetworkSpec

AdapterSpec = Annotated[
    LoRA
    | LoHa
    | LoKr
    | FullFineTune,
    Field(discriminator="kind"),
]  # fmt: skip

__all__ = [
    "Adapter",
    "AdapterFile",
    "AdapterLayer",
    "AdapterSpec",
    "AdapterSpecBase",
    "Dim",
    "FullAdapter",
    "FullFineTune",
    "LayerAdapter",
    "LayerSpec",
    "LoHa",
    "LoHaLayer",
    "LoKr",
    "LoKrLayer",
    "LoRA",
    "LoRALayer",
    "NetworkSpec",
    "inject",
    "load_adapter",
    "metadata_for",
    "read_adapter",
    "save_adapter",
]
