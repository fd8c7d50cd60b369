"""The overlap of two adapters in the modules that both change.

For each network, with the changes A and B of all shared modules as one vector each: cosine = <A, B> / (|A| |B|), and
A keeps 1 + <A, B> / <A, A> of its own change beside B at strength 1, the projection of A + B on A. For LoRA the inner
product follows from small matrices: <B1 A1, B2 A2> = sum of (B1^T B2) * (A1 A2^T).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.module_names import same_module
from bakehouse.core.errors import BakehouseError
from bakehouse.doctor.adapter_facts import module_name
from bakehouse.doctor.facts import AdapterFacts, NetworkOverlap, PairFacts
from bakehouse.models.load import resolve_model
from bakehouse.weights.base_modules import BaseModel, open_base
from bakehouse.weights.dense_delta import delta_of, is_plain, matrices, scale_of

_Products = tuple[float, float, float]
"""<A, A>, <A, B> and <B, B> of one module."""


def compare(first: tuple[AdapterFacts, AdapterFile], second: tuple[AdapterFacts, AdapterFile]) -> PairFacts:
    """Compare two adapters; modules of other kinds than LoRA are compared if the base model is known.

    Raises:
        BakehouseError: the base model is damaged.
    """
    files = first[1], second[1]
    stems = [{same_module(stem): stem for stem in file.modules} for file in files]
    shared = [(stems[0][m], stems[1][m]) for m in stems[0] if m in stems[1]]
    facts = first[0], second[0]
    base = next((f.base.name for f in facts if f.base is not None), None)
    where = resolve_model(base).path if base else None
    if where is None:
        return PairFacts(*facts, _overlaps(files, shared, None))
    with open_base(where) as opened:
        return PairFacts(*facts, _overlaps(files, shared, opened))


def _overlaps(
    files: tuple[AdapterFile, AdapterFile], shared: list[tuple[str, str]], base: BaseModel | None
) -> tuple[NetworkOverlap, ...]:
    found: dict[str, dict[str, _Products]] = {}
    skipped: dict[str, int] = {}
    for stems in shared:
        name = module_name(stems[0])
        network = name.partition(".")[0]
        products = _products(files, stems, base)
        if products is None or not all(map(math.isfinite, products)):
            skipped[network] = skipped.get(network, 0) + 1
        else:
            found.setdefault(network, {})[name] = products
    return tuple(
        overlap
        for network, modules in found.items()
        if (overlap := _overlap(network, modules, skipped.get(network, 0))) is not None
    )


def _overlap(network: str, modules: Mapping[str, _Products], skipped: int) -> NetworkOverlap | None:
    """Return the figures of one network; None if one of the adapters changes nothing in it."""
    aa, ab, bb = (math.fsum(p[i] for p in modules.values()) for i in range(3))
    if aa <= 0 or bb <= 0:
        return None
    cosines = {name: p[1] / math.sqrt(p[0] * p[2]) for name, p in modules.items() if p[0] > 0 and p[2] > 0}
    lowest = min(cosines, key=lambda name: cosines[name])
    return NetworkOverlap(
        network=network,
        modules=len(modules),
        skipped=skipped,
        cosine=ab / math.sqrt(aa * bb),
        kept=(1 + ab / aa, 1 + ab / bb),
        most_opposed=(lowest, cosines[lowest]),
    )


@torch.no_grad()
def _products(
    files: tuple[AdapterFile, AdapterFile], stems: tuple[str, str], base: BaseModel | None
) -> _Products | None:
    """Return the inner products of two adapters in one module; None if that needs the base, or shapes differ."""
    a, b = (file.modules[stem] for file, stem in zip(files, stems, strict=True))
    if any("alpha" in tensors and tensors["alpha"].numel() != 1 for tensors in (a, b)):
        return None  # A03 names it
    if is_plain(a) and is_plain(b):
        factors = _scaled(a), _scaled(b)
        if factors[0][0].shape[0] != factors[1][0].shape[0] or factors[0][1].shape[1] != factors[1][1].shape[1]:
            return None
        return tuple(_inner(x, y) for x, y in ((factors[0], factors[0]), factors, (factors[1], factors[1])))  # type: ignore[return-value]
    place = base.find(stems[0]) if base is not None else None
    if base is None or place is None:
        return None
    weight = base.read(place).float()
    try:
        x, y = (delta_of(file, stem, weight)[0].double() for file, stem in zip(files, stems, strict=True))
    except BakehouseError:
        return None
    return float((x * x).sum()), float((x * y).sum()), float((y * y).sum())


def _scaled(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    B, A = matrices(tensors)
    return B.double() * scale_of(tensors), A.double()


def _inner(x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor]) -> float:
    """Return <B1 A1, B2 A2> without making the products."""
    return float(((x[0].T @ y[0]) * (x[1] @ y[1].T)).sum())
