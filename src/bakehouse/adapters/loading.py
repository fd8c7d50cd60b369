"""Adapters read from files, put on a model's networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from bakehouse.adapters.adapter import LayerAdapter
from bakehouse.adapters.adapter_files import READERS, AdapterFile, Readers, from_state, read_layer
from bakehouse.adapters.adapter_reader import open_adapter
from bakehouse.adapters.layer import AdapterLayer, freeze
from bakehouse.adapters.target_modules import Site, all_sites
from bakehouse.adapters.tensor_names import meant_for
from bakehouse.core.errors import UsageError
from bakehouse.core.pluralize import listed


def load_adapter(
    source: Path | str | AdapterFile | Mapping[str, Tensor],
    parts: Mapping[str, nn.Module],
    weight: float = 1.0,
    *,
    reader: type[AdapterLayer] | None = None,
) -> LayerAdapter:
    """Puts an adapter on a model's networks; rank and alpha come from the file.

    Args:
        source: a file, a folder that diffusers or PEFT wrote, or what was read of one.
        parts: the networks by kohya's prefix, as `Denoiser.trainable_modules()` gives them.
        weight: how strong, 1 as trained; negative is allowed (sliders).
        reader: the layer to make of tensors that several could read; none: the first of `READERS`.

    Raises:
        UsageError: made for another base, for modules that are not here, or by an algorithm that is not known here.
    """
    if isinstance(source, AdapterFile):
        file = source
    elif isinstance(source, str | Path):
        file = open_adapter(source)
    else:
        file = from_state(source)
    file.account.check(file.source)
    layers = _fit(file, parts, READERS if reader is None else (reader, *READERS))
    freeze(parts.values())
    adapter = LayerAdapter(layers)
    adapter.set_multiplier(weight)
    return adapter.eval()


def _fit(file: AdapterFile, parts: Mapping[str, nn.Module], readers: Readers) -> list[tuple[Site, AdapterLayer]]:
    sites = {site.stem: site for site in all_sites(parts, norms=True)}
    # SDXL counts its text encoders, SD 1.x does not; trainers mix the two up.
    sites.update({s.stem.replace("lora_te_", "lora_te1_", 1): s for s in sites.values() if s.prefix == "lora_te"})
    sites.update(
        {s.stem.replace("lora_te1_", "lora_te_", 1): s for s in list(sites.values()) if s.prefix == "lora_te1"}
    )
    has_text = any(prefix != "lora_unet" for prefix in parts)
    wanted = {stem: t for stem, t in file.modules.items() if has_text or not stem.startswith("lora_te")}
    missing = [stem for stem in wanted if stem not in sites]
    seems = meant_for(file.modules)
    made_for = f": it seems to be made for {seems}" if seems else ""
    if len(missing) == len(wanted):
        raise UsageError(
            f"{file.source} fits none of this model's modules{made_for}", hint=f"its modules: {listed(missing)}"
        )
    if missing:
        raise UsageError(
            f"{file.source}: {len(missing)} of {len(wanted)} modules are not in this model{made_for}",
            hint=listed(missing),
        )
    return [(sites[stem], read_layer(file, stem, sites[stem].module, readers)) for stem in wanted]
