"""Adding an adapter to a model for training: a new one, or one that starts from a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from bakehouse.adapters.adapter import Adapter, AdapterSpecBase, AdapterTarget, LayerAdapter
from bakehouse.adapters.adapter_reader import read_adapter
from bakehouse.adapters.file_coverage import coverage_of_keys
from bakehouse.adapters.layer import AdapterLayer
from bakehouse.adapters.load_onto_model import load_adapter
from bakehouse.adapters.network_settings import LayerDims, NetworkSpec
from bakehouse.adapters.plan_fact_names import DIMS_MATCH, EXCLUDE_MATCHES, ON_KERNELS, ON_NORMS, ON_TEXT, ON_UNET
from bakehouse.adapters.target_modules import Site, matches
from bakehouse.core.errors import UsageError
from bakehouse.core.setting_needs import PlanFact


def inject(
    spec: AdapterSpecBase,
    parts: Mapping[str, nn.Module],
    *,
    tokenizers: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
) -> Adapter:
    """Add an adapter to a model's networks and freeze everything else.

    A new one does not change outputs until it is trained; with `start` it is the file's.

    Args:
        parts: the networks by kohya's prefix, as `Denoiser.trainable_modules()` gives them.
        tokenizers: those of the text encoders, for adapters that add tokens.
        generator: a CPU generator for the start values: same seed, same adapter, on every device.

    Raises:
        UsageError: the settings match no module, or the file to start from has another kind, rank or base.
    """
    if isinstance(spec, NetworkSpec) and spec.start is not None:
        return _started(spec, parts)
    return spec.inject(AdapterTarget(parts, tokenizers or {}), generator)


def adapted_module_facts(spec: NetworkSpec, parts: Mapping[str, nn.Module]) -> frozenset[PlanFact]:
    """Return facts of `adapters/plan_fact_names.py` on what `inject` would adapt.

    The networks may be on the meta device. A file to start from is loaded onto them: they must not be used afterwards.

    Raises:
        UsageError: as `inject`.
    """
    if spec.start is not None:
        return _facts_of(_started(spec, parts).sites.values())
    sites = spec.select(parts)
    # An algorithm may refuse shapes: one layer of each shape is made and discarded.
    for site in {(type(s.module), s.module.weight.shape): s for s in sites}.values():
        spec.build(site, None)
    whole = spec.model_copy(update={"exclude": (), "dims": {}}).select(parts)
    named = ((EXCLUDE_MATCHES, spec.exclude), (DIMS_MATCH, tuple(spec.dims)))
    return _facts_of(sites) | {fact for fact, patterns in named if any(matches(s, patterns) for s in whole)}


def _facts_of(sites: Iterable[Site]) -> frozenset[PlanFact]:
    holds = ((ON_TEXT if s.is_text else ON_UNET, s.is_kernel and ON_KERNELS, s.is_norm and ON_NORMS) for s in sites)
    return frozenset(fact for facts in holds for fact in facts if fact)


def _started(spec: NetworkSpec, parts: Mapping[str, nn.Module]) -> LayerAdapter:
    """Load a file: modules, rank and alpha are the file's; everything else is as the settings say."""
    assert spec.start is not None
    file = read_adapter(spec.start)
    for name, of_file in (("rank", file.rank), ("alpha", file.alpha)):
        wanted = getattr(spec, name)
        if name in spec.model_fields_set and of_file and wanted != of_file:
            raise UsageError(
                f"adapter.{name} = {wanted:g}, but {spec.start} has {of_file:g}",
                hint=f"remove adapter.{name} to use the file's, or adapter.start to train a new adapter",
            )
    if file.extras:
        raise UsageError(
            f"{spec.start} holds tensors that training cannot keep: {'; '.join(coverage_of_keys(file.extras).notes)}",
            hint="remove them first: `bakehouse weights convert FILE --drop PATTERN -o PATH`",
        )
    adapter = load_adapter(file, parts, reader=spec.reader)
    seen: set[type[AdapterLayer]] = set()
    for stem, layer in adapter.layers.items():
        if type(layer) not in seen:
            _check_kind(spec, adapter.sites[stem], layer)
            seen.add(type(layer))
    dim = LayerDims(max(1, file.rank), file.alpha or 1.0, spec.dropout, spec.rank_dropout, spec.module_dropout)
    for stem, layer in adapter.layers.items():
        _configure_loaded_layer(spec, adapter.sites[stem], layer, dim)
    if not any(True for _ in adapter.named_parameters()):
        raise UsageError(f"{spec.start} has no module of the networks to train (adapter.unet, adapter.text)")
    adapter.spec = spec.model_copy(update={"rank": dim.rank, "alpha": dim.alpha})
    return adapter


def _check_kind(spec: NetworkSpec, site: Site, layer: AdapterLayer) -> None:
    wanted = spec.build(site, torch.Generator())
    if type(layer) is not type(wanted):
        raise UsageError(
            f"{spec.start}: {site.stem} is {layer.algorithm}, but adapter.kind is {getattr(spec, 'kind', spec.algo)!r}",
            hint="set adapter.kind to the file's algorithm",
        )
    if "bias_factors" in layer.state_dict():
        raise UsageError(f"{spec.start} is PEFT's IA3, which also scales biases and cannot be trained here")
    of_file, asked = ("dora_scale" in made.state_dict() for made in (layer, wanted))
    if of_file != asked:
        raise UsageError(f"{spec.start} was trained with dora = {of_file}, but adapter.dora = {asked}")


def _configure_loaded_layer(spec: NetworkSpec, site: Site, layer: AdapterLayer, dim: LayerDims) -> None:
    """Set dropouts and trained parameters of a layer loaded from a file, which does not contain them."""
    for name in ("dropout", "rank_dropout", "module_dropout"):
        setattr(layer, name, getattr(dim, name))
    layer.requires_grad_(spec.text if site.is_text else spec.unet)
    for name, parameter in layer.named_parameters():
        if name in spec.frozen:
            parameter.requires_grad_(False)
    spec.configure_loaded(layer)
