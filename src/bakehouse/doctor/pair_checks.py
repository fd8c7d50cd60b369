"""B: two adapters that are used together."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from bakehouse.core.message_text import counted, listed
from bakehouse.doctor.check import CheckFinding, healthy, undecided
from bakehouse.doctor.doctor_options import Limits
from bakehouse.doctor.facts import Facts, NetworkOverlap, PairFacts

_NETWORKS = {"unet": "UNet", "text_encoder": "text encoder", "text_encoder_2": "second text encoder"}


def different_bases(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """B01: adapters for different families of base models."""
    for pair in facts.pairs:
        families = [set(a.families) for a in (pair.first, pair.second)]
        said = [a.trained_for or " or ".join(a.families) or "another base" for a in (pair.first, pair.second)]
        if not all(families) or not families[0] & families[1]:
            yield CheckFinding(f"one is for {said[0]}, the other for {said[1]}", None, _key(pair))
        else:
            yield healthy(f"both may be for {' or '.join(sorted(families[0] & families[1]))}", _key(pair))


def same_trigger(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """B02: adapters that share a trigger."""
    for pair in facts.pairs:
        triggers = [{t.casefold() for t in a.info.triggers} for a in (pair.first, pair.second)]
        both = sorted(triggers[0] & triggers[1])
        if both:
            yield CheckFinding(f"both have the trigger {listed([repr(t) for t in both])}", None, _key(pair))
        elif not all(triggers):
            yield undecided("a header names no trigger", _key(pair))
        else:
            yield healthy(f"{' and '.join(listed(sorted(t)) for t in triggers)} differ", _key(pair))


def opposed(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """B03: adapters that undo a part of each other's change."""
    for pair, overlap in _overlaps(facts):
        key = f"{overlap.network} {_key(pair)}"
        lost = [1 - kept for kept in overlap.kept]
        if max(lost) > limits.interference:
            names = [Path(a.path).name for a in (pair.first, pair.second)]
            parts = [f"{n} loses {100 * x:.0f} %" for n, x in zip(names, lost, strict=True) if x > limits.interference]
            worst = f"the most opposed is {overlap.most_opposed[0]} ({overlap.most_opposed[1]:.2f})"
            yield CheckFinding(f"{_figures(overlap)}: {' and '.join(parts)} of its change; {worst}", None, key)
        else:
            yield healthy(f"{_figures(overlap)}: none loses more than {max(0.0, 100 * max(lost)):.0f} %", key)
    yield from _apart(facts)


def overlapping(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """B04: adapters that make the same change twice."""
    for pair, overlap in _overlaps(facts):
        key = f"{overlap.network} {_key(pair)}"
        more = [kept - 1 for kept in overlap.kept]
        if max(more) > limits.interference:
            # Along its own direction each change then has strength 1 again, for two of the same size.
            strength = 1 / (1 + max(more))
            values = {
                "merged": " ".join(shlex.quote(f"{a.path}={strength:.2f}") for a in (pair.first, pair.second)),
                "out": shlex.quote(str(Path(pair.first.path).with_name("both.safetensors"))),
            }
            names = [Path(a.path).name for a in (pair.first, pair.second)]
            parts = [f"{100 * x:.0f} % to {n}" for n, x in zip(names, more, strict=True) if x > limits.interference]
            yield CheckFinding(f"{_figures(overlap)}: the other adds {' and '.join(parts)}", None, key, values)
        else:
            yield healthy(f"{_figures(overlap)}: none gains more than {max(0.0, 100 * max(more)):.0f} %", key)
    yield from _apart(facts)


def _overlaps(facts: Facts) -> Iterable[tuple[PairFacts, NetworkOverlap]]:
    return ((pair, overlap) for pair in facts.pairs for overlap in pair.overlaps)


def _apart(facts: Facts) -> Iterable[CheckFinding]:
    """Yield the pairs of which no module can be compared."""
    for pair in facts.pairs:
        names = [{m.name for m in a.info.modules} for a in (pair.first, pair.second)]
        shared = len(names[0] & names[1])
        if pair.overlaps:
            continue
        if shared:
            why = f"{counted(shared, 'module')} of both cannot be compared without the base model: --base MODEL"
            yield undecided(why, _key(pair))
        else:
            yield healthy("they change no module in common", _key(pair))


def _figures(overlap: NetworkOverlap) -> str:
    where = f"{counted(overlap.modules, 'module')} of the {_NETWORKS.get(overlap.network, overlap.network)}"
    left_out = f" ({overlap.skipped} not compared)" if overlap.skipped else ""
    return f"cosine {overlap.cosine:.2f} of the changes in {where}{left_out}"


def _key(pair: PairFacts) -> str:
    return f"{Path(pair.first.path).name} {Path(pair.second.path).name}"
