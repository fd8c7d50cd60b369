"""E: balance. How often each thing is shown beside the others, and how often altogether."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import Hit, percent
from bakehouse.audit.image_facts import Facts, Group
from bakehouse.audit.pixel_checks import old_style
from bakehouse.audit.trigger_checks import explained
from bakehouse.core.pluralize import counted, listed
from bakehouse.data.captions import split_tags
from bakehouse.data.repeats import balance_repeats, fair_target
from bakehouse.data.tag_groups import plain

_BUDGETS = {"sd1": (2000, 3000), "sd2": (2000, 3000), "sdxl": (1500, 2500)}
"""Images shown in all, with Prodigy; AdamW wants twice as many."""
_CAP = 3000
"""Of one concept with Prodigy."""


def subjects(facts: Facts, spec: AuditSpec) -> dict[str, tuple[Group, ...]]:
    """What is taught, each with its folders: those of the recipe or of `N_name` folders, else the whole as one.

    A heap may lie in any folders: one that nobody gave repeats is no subject of its own.
    """
    found: dict[str, list[Group]] = {}
    for group in facts.taught_groups:
        above = (group.name, *map(str, PurePosixPath(group.name).parents), ".")
        told = next((folder for folder in above if folder in spec.repeats), None)
        if told is not None or group.repeats is not None:
            found.setdefault(group.name if told is None else told.removeprefix("."), []).append(group)
    return {name: tuple(groups) for name, groups in found.items()} or {"": facts.taught_groups}


def few(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """E01."""
    pack = spec.kind == "pack"
    least = spec.limits.pack_images if pack else spec.limits.images
    taught = subjects(facts, spec)
    for name, groups in taught.items():
        files = tuple(i.name for group in groups for i in group.images)
        if len(files) < least:
            of = "each character of a pack" if pack else "each subject or outfit"
            where = next(
                (repr(g.label) for g in groups if g.name == name and name), repr(name) if name else "the folder"
            )
            why = f"{where} has {counted(len(files), 'image')}; {least} are the least for {of}"
            yield Hit(why, files, key=name)
    if len(spec.triggers) > 1 and len(taught) == 1:
        yield from explained("E01")(facts, spec)


def unequal(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """E02."""
    groups = [g for g in facts.taught_groups if g.repeats is not None]
    if len(groups) < 2:
        return
    mean = sum(g.shown for g in groups) / len(groups)
    off = [g for g in groups if abs(g.shown / mean - 1) > spec.limits.spread]
    if not off:
        return
    counts = {g.name: len(g.images) for g in groups}
    wanted = balance_repeats(counts, fair_target(counts, max(1, round(mean))))
    now = ", ".join(f"{g.label} {len(g.images)} x {g.repeats} = {g.shown}" for g in groups)
    better = ", ".join(f"{g.label} x {wanted[g.name]} = {len(g.images) * wanted[g.name]}" for g in groups)
    notes = {i.name: f"shown {g.repeats} times an epoch" for g in off for i in g.images}
    shows = max(1, round(mean))
    # The repeats of a recipe stand in it, whatever the folders are called.
    mend = f"bakehouse dataset repeats {{recipe}} --shows {shows} -o {{recipe}}" if spec.recipe else None
    yield Hit(f"{now}: what is shown less is learned less; better {better}", tuple(notes), notes, mend=mend)


def total_shown(facts: Facts, spec: AuditSpec) -> int:
    """Images shown in the whole training; 0 where nobody said for how long."""
    return sum(g.shown for g in facts.taught_groups) * (spec.epochs or 0)


def _budget(facts: Facts, spec: AuditSpec) -> tuple[int, int, list[str]] | None:
    """The fewest and the most images to show in all, and why; None where nothing is known."""
    if not spec.epochs or spec.kind in ("style", "dreambooth") or spec.family not in _BUDGETS:
        return None
    factor = 1.0
    reasons: list[str] = [spec.optimizer, spec.family]
    for holds, by, why in (
        (spec.optimizer == "adamw", 2.0, ""),
        (spec.faster, 0.6, "min-SNR or input perturbation"),
        (old_style(facts), 1 / 3, "an old style"),
    ):
        if holds:
            factor *= by
            reasons += [why] if why else []
    low, high = (round(n * factor) for n in _BUDGETS[spec.family])
    count = len(subjects(facts, spec))
    return low, max(high, round(_CAP * factor)) if count == 1 else high * count, reasons


def steps(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """E03."""
    if not spec.epochs or (budget := _budget(facts, spec)) is None:
        return
    low, high, reasons = budget
    shown = total_shown(facts, spec)
    if low <= shown <= high:
        return
    what = "too few: the subject is learned in part" if shown < low else "too many: it will look burnt"
    epochs = counted(spec.epochs, "epoch")
    why = f"{shown:,} images shown in {epochs}, {what}; {low:,} to {high:,} suit {', '.join(reasons)}"
    if not spec.recipe:
        yield Hit(why)
        return
    one = shown // spec.epochs
    most, fewest = high // one, -(-low // one)
    if fewest <= most:
        yield Hit(why, mend=_with_epochs((fewest + most) // 2))
    else:
        advice = f"lower the repeats of the concepts in {spec.recipe}: {one:,} images an epoch are too many"
        yield Hit(why, mend="", advice=advice)


def _with_epochs(epochs: int) -> str:
    return f"bakehouse plan {{plan}} --set train.epochs={epochs} -o {{recipe}}"


def unnumbered(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """E04."""
    if facts.unnumbered:
        files = tuple(i.name for g in facts.groups if (g.name or ".") in facts.unnumbered for i in g.images)
        why = f"{counted(len(facts.unnumbered), 'folder')} without a number ({listed(facts.unnumbered)})"
        yield Hit(f"{why}: kohya's scripts pass over them without a word", files)


def reg_images(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """E05."""
    shown = sum(g.shown for g in facts.taught_groups)
    reg = sum(g.shown for g in facts.groups if g.role == "reg")
    if reg > shown:
        why = f"{reg:,} regularization images an epoch for {shown:,} of the subject: {reg - shown:,} are never shown"
        yield Hit(why, tuple(i.name for i in facts.reg)[shown:], key="many")
    words = {plain(t.word) for t in spec.triggers}
    holding = {
        i.name: listed(sorted(found))
        for i in facts.reg
        if (found := words & {w for line in i.captions for tag in split_tags(line) for w in plain(tag).split()})
    }
    if holding:
        why = f"{counted(len(holding), 'regularization image')} whose caption holds a trigger"
        yield Hit(f"{why}: the class becomes the subject", tuple(holding), holding, level="error", key="triggers")


def views(facts: Facts, spec: AuditSpec) -> Iterable[Hit]:
    """E06."""
    if not spec.epochs:
        return
    most = max((g.repeats or 1 for g in facts.taught_groups), default=1) * spec.epochs
    often = [g for g in facts.taught_groups if (g.repeats or 1) * spec.epochs > spec.limits.views]
    if often:
        files = tuple(i.name for g in often for i in g.images)
        why = f"single images are shown {most:,} times, more than {spec.limits.views}: they are learned by heart"
        epochs = spec.limits.views * spec.epochs // most
        budget = _budget(facts, spec)
        enough = budget is None or total_shown(facts, spec) * epochs >= budget[0] * spec.epochs
        lasting = bool(spec.recipe) and epochs > 0 and enough
        advice = "find more images, or lower the repeats and give up a part of what is shown in all"
        mend = _with_epochs(epochs) if lasting else ""
        yield Hit(why, files, level="warning", mend=mend, advice="" if lasting else advice)
    else:
        yield Hit(
            f"no image is shown more than {most:,} times ({percent(most / spec.limits.views)} of the most)", mend=""
        )
