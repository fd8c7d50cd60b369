"""Adding a saved adapter to a model's networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from bakehouse.adapters.adapter import LayerAdapter
from bakehouse.adapters.adapter_file import READERS, AdapterFile, Readers, from_state, read_layer
from bakehouse.adapters.adapter_reader import read_adapter
from bakehouse.adapters.layer import AdapterLayer, freeze
from bakehouse.adapters.target_modules import Site, all_sites
from bakehouse.adapters.tensor_names import guess_base
from bakehouse.core.errors import UsageError
from bakehouse.core.message_text import listed


def load_adapter(
    source: Path | str | AdapterFile | Mapping[str, Tensor],
    parts: Mapping[str, nn.Module],
    weight: float = 1.0,
    *,
    reader: type[AdapterLayer] | None = None,
) -> LayerAdapter:
    """Add a saved adapter to a model's networks; rank and alpha are the file's.

    Args:
        source: a file, a folder of diffusers or PEFT, or the content of one.
        parts: the networks by kohya's prefix, as `Denoiser.trainable_modules()` gives them.
        weight: the strength, 1 as trained; may be negative (sliders).
        reader: the layer class for tensors that several classes recognize; None: the first of `READERS`.

    Raises:
        UsageError: it is made for another base, has modules that the model does not have, or an unsupported algorithm.
    """
    if isinstance(source, AdapterFile):
        file = source
    elif isinstance(source, str | Path):
        file = read_adapter(source)
    else:
        file = from_state(source)
    file.coverage.check(file.source)
    layers = _fit(file, parts, READERS if reader is None else (reader, *READERS))
    freeze(parts.values())
    adapter = LayerAdapter(layers)
    adapter.set_multiplier(weight)
    return adapter.eval()


def _fit(file: AdapterFile, parts: Mapping[str, nn.Module], readers: Readers) -> list[tuple[Site, AdapterLayer]]:
    sites = {site.stem: site for site in all_sites(parts, norms=True)}
    # SDXL numbers its text encoders, SD 1.x does not; some trainers mix the two.
    sites.update({s.stem.replace("lora_te_", "lora_te1_", 1): s for s in sites.values() if s.prefix == "lora_te"})
    sites.update(
        {s.stem.replace("lora_te1_", "lora_te_", 1): s for s in list(sites.values()) if s.prefix == "lora_te1"}
    )
    has_text = any(prefix != "lora_unet" for prefix in parts)
    wanted = {stem: t for stem, t in file.modules.items() if has_text or not stem.startswith("lora_te")}
    missing = [stem for stem in wanted if stem not in sites]
    guess = guess_base(file.modules)
    made_for = f": it seems to be made for {guess}" if guess else ""
    if len(missing) == len(wanted):
        raise UsageError(f"{file.source} has no module of this model{made_for}", hint=f"its modules: {listed(missing)}")
    if missing:
        raise UsageError(
            f"{file.source}: {len(missing)} of {len(wanted)} modules are not in this model{made_for}",
            hint=listed(missing),
        )
    return [(sites[stem], read_layer(file, stem, sites[stem].module, readers)) for stem in wanted]
