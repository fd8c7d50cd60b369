"""Puts an adapter on a model: a new one, or one that goes on from a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from bakehouse.adapters.adapter import Adapter, AdapterSpecBase, AdapterTarget, LayerAdapter
from bakehouse.adapters.adapter_facts import EXCLUDED, ON_KERNELS, ON_NORMS, ON_TEXT, ON_UNET, SIZED
from bakehouse.adapters.adapter_reader import open_adapter
from bakehouse.adapters.file_coverage import account_of_keys
from bakehouse.adapters.layer import AdapterLayer
from bakehouse.adapters.loading import load_adapter
from bakehouse.adapters.network_settings import Dim, NetworkSpec
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
    """Puts an adapter on a model's networks and freezes the rest.

    A new one changes no output until it learns; with `start` it is the file's.

    Args:
        parts: the networks by kohya's prefix, as `Denoiser.trainable_modules()` gives them.
        tokenizers: those of the text encoders, for adapters that add tokens.
        generator: a CPU generator for the start values: same seed, same adapter, on every device.

    Raises:
        UsageError: the settings match no module, or the file to start from is of another kind, rank or base.
    """
    if isinstance(spec, NetworkSpec) and spec.start is not None:
        return _started(spec, parts)
    return spec.inject(AdapterTarget(parts, tokenizers or {}), generator)


def try_on(spec: NetworkSpec, parts: Mapping[str, nn.Module]) -> frozenset[PlanFact]:
    """What `inject` would put something on: facts of `adapters/adapter_facts.py`.

    The networks may be without weights, on the meta device; they are used up.

    Raises:
        UsageError: as `inject`.
    """
    if spec.start is not None:
        return _facts_of(_started(spec, parts).sites.values())
    sites = spec.select(parts)
    # What an algorithm refuses is a shape: one layer of each is made and let go.
    for site in {(type(s.module), s.module.weight.shape): s for s in sites}.values():
        spec.build(site, None)
    whole = spec.model_copy(update={"exclude": (), "dims": {}}).select(parts)
    named = ((EXCLUDED, spec.exclude), (SIZED, tuple(spec.dims)))
    return _facts_of(sites) | {fact for fact, patterns in named if any(matches(s, patterns) for s in whole)}


def _facts_of(sites: Iterable[Site]) -> frozenset[PlanFact]:
    holds = ((ON_TEXT if s.is_text else ON_UNET, s.is_kernel and ON_KERNELS, s.is_norm and ON_NORMS) for s in sites)
    return frozenset(fact for facts in holds for fact in facts if fact)


def _started(spec: NetworkSpec, parts: Mapping[str, nn.Module]) -> LayerAdapter:
    """Modules, rank and alpha are the file's; dropouts, rates and what trains are the settings'."""
    assert spec.start is not None
    file = open_adapter(spec.start)
    for name, of_file in (("rank", file.rank), ("alpha", file.alpha)):
        asked = getattr(spec, name)
        if name in spec.model_fields_set and of_file and asked != of_file:
            raise UsageError(
                f"adapter.{name} = {asked:g}, but {spec.start} has {of_file:g}",
                hint=f"leave adapter.{name} out: it is the file's, or begin a new adapter without adapter.start",
            )
    if file.extras:
        raise UsageError(
            f"{spec.start} holds what a training cannot take along: {'; '.join(account_of_keys(file.extras).notes)}",
            hint="leave tensors out first: `bakehouse weights convert FILE --drop PATTERN -o PLACE`",
        )
    adapter = load_adapter(file, parts, reader=spec.reader)
    seen: set[type[AdapterLayer]] = set()
    for stem, layer in adapter.layers.items():
        if type(layer) not in seen:
            _check_kind(spec, adapter.sites[stem], layer)
            seen.add(type(layer))
    dim = Dim(max(1, file.rank), file.alpha or 1.0, spec.dropout, spec.rank_dropout, spec.module_dropout)
    for stem, layer in adapter.layers.items():
        _settle(spec, adapter.sites[stem], layer, dim)
    if not any(True for _ in adapter.named_parameters()):
        raise UsageError(f"{spec.start} holds nothing of what shall learn: adapter.unet, adapter.text")
    adapter.spec = spec.model_copy(update={"rank": dim.rank, "alpha": dim.alpha})
    return adapter


def _check_kind(spec: NetworkSpec, site: Site, layer: AdapterLayer) -> None:
    wanted = spec.build(site, torch.Generator())
    if type(layer) is not type(wanted):
        raise UsageError(
            f"{spec.start} is a {layer.algorithm} adapter, adapter.kind is {getattr(spec, 'kind', spec.algo)!r}",
            hint=f"set adapter.kind to the file's (module {site.stem})",
        )
    if "bias_factors" in layer.state_dict():
        raise UsageError(f"{spec.start} is PEFT's IA3, whose factors scale biases too: it cannot be trained on here")
    of_file, asked = ("dora_scale" in made.state_dict() for made in (layer, wanted))
    if of_file != asked:
        raise UsageError(f"{spec.start} is made with dora = {of_file}, adapter.dora is {asked}")


def _settle(spec: NetworkSpec, site: Site, layer: AdapterLayer, dim: Dim) -> None:
    """Gives a read layer the settings that files do not hold."""
    for name in ("dropout", "rank_dropout", "module_dropout"):
        setattr(layer, name, getattr(dim, name))
    layer.requires_grad_(spec.text if site.is_text else spec.unet)
    for name, parameter in layer.named_parameters():
        if name in spec.frozen:
            parameter.requires_grad_(False)
    spec.settle(layer)
