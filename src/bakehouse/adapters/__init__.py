"""Adapters of a base model. One module per algorithm; a new one is a module and a name in `AdapterSpec`."""

from typing import Annotated

from pydantic import Field

from bakehouse.adapters.adapter import Adapter, AdapterSpecBase, AdapterTarget, LayerAdapter, LayerSpec
from bakehouse.adapters.adapter_file import AdapterFile, metadata_for, save_adapter
from bakehouse.adapters.adapter_reader import read_adapter, read_safetensors_adapter
from bakehouse.adapters.boft import BOFT, BOFTLayer
from bakehouse.adapters.dylora import DyLoRA, DyLoRALayer
from bakehouse.adapters.embedding import EmbeddingAdapter, EmbeddingSpec
from bakehouse.adapters.full_diff import DiffLayer, FullDiff
from bakehouse.adapters.full_finetune import FullAdapter, FullFineTune
from bakehouse.adapters.glora import GLoRA, GLoRALayer
from bakehouse.adapters.ia3 import IA3, IA3Layer
from bakehouse.adapters.inject import inject
from bakehouse.adapters.layer import AdapterLayer, held_weights
from bakehouse.adapters.load_onto_model import load_adapter
from bakehouse.adapters.loha import LoHa, LoHaLayer
from bakehouse.adapters.lokr import LoKr, LoKrLayer
from bakehouse.adapters.lora import LoRA, LoRALayer
from bakehouse.adapters.network_settings import LayerDims, NetworkSpec
from bakehouse.adapters.no_adapter import NoAdapter
from bakehouse.adapters.norm_layers import NormLayer
from bakehouse.adapters.oft import OFT, OFTLayer
from bakehouse.adapters.with_embeddings import AdapterWithEmbeddings

AdapterSpec = Annotated[
    LoRA
    | LoHa
    | LoKr
    | IA3
    | DyLoRA
    | OFT
    | BOFT
    | GLoRA
    | FullDiff
    | FullFineTune
    | NoAdapter,
    Field(discriminator="kind"),
]  # fmt: skip

__all__ = [
    "BOFT",
    "IA3",
    "OFT",
    "Adapter",
    "AdapterFile",
    "AdapterLayer",
    "AdapterSpec",
    "AdapterSpecBase",
    "AdapterTarget",
    "AdapterWithEmbeddings",
    "BOFTLayer",
    "DiffLayer",
    "DyLoRA",
    "DyLoRALayer",
    "EmbeddingAdapter",
    "EmbeddingSpec",
    "FullAdapter",
    "FullDiff",
    "FullFineTune",
    "GLoRA",
    "GLoRALayer",
    "IA3Layer",
    "LayerAdapter",
    "LayerDims",
    "LayerSpec",
    "LoHa",
    "LoHaLayer",
    "LoKr",
    "LoKrLayer",
    "LoRA",
    "LoRALayer",
    "NetworkSpec",
    "NoAdapter",
    "NormLayer",
    "OFTLayer",
    "held_weights",
    "inject",
    "load_adapter",
    "metadata_for",
    "read_adapter",
    "read_safetensors_adapter",
    "save_adapter",
]
