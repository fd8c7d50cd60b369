"""E: balance. How often each concept is trained beside the others, and how often in total."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import CheckFinding, percent
from bakehouse.audit.facts import Facts, Group
from bakehouse.audit.pixel_checks import is_retro
from bakehouse.audit.trigger_checks import from_explain
from bakehouse.core.message_text import counted, listed
from bakehouse.data.balance_repeats import balance_repeats, fair_target
from bakehouse.data.captions import split_tags
from bakehouse.data.tag_groups import plain

_BUDGETS = {"sd1": (2000, 3000), "sd2": (2000, 3000), "sdxl": (1500, 2500)}
"""Total exposures with Prodigy, fewest and most; AdamW needs twice as many."""
_CRUMB_LEAST = 960
"""What the plan shows at least on crumb with Prodigy; see recipe/presets. Too many are not known to harm there."""
_SINGLE_CONCEPT_MAX = 3000
"""Most exposures of a single concept with Prodigy."""


def subjects(facts: Facts, spec: AuditSpec) -> dict[str, tuple[Group, ...]]:
    """Return the groups of each subject: folders of the recipe or `N_name` folders, else the whole dataset as one.

    Folders without repeats of their own only sort the images: they are no subjects.
    """
    found: dict[str, list[Group]] = {}
    for group in facts.train_groups:
        above = (group.name, *map(str, PurePosixPath(group.name).parents), ".")
        listed_folder = next((folder for folder in above if folder in spec.repeats), None)
        if listed_folder is not None or group.repeats is not None:
            subject = group.name if listed_folder is None else listed_folder.removeprefix(".")
            found.setdefault(subject, []).append(group)
    return {name: tuple(groups) for name, groups in found.items()} or {"": facts.train_groups}


def too_few(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """E01: too few images."""
    pack = spec.kind == "pack"
    least = spec.limits.pack_images if pack else spec.limits.images
    found = subjects(facts, spec)
    for name, groups in found.items():
        files = tuple(i.name for group in groups for i in group.images)
        if len(files) < least:
            of = "each character of a pack" if pack else "each subject or outfit"
            label = next(
                (repr(g.label) for g in groups if g.name == name and name), repr(name) if name else "the folder"
            )
            why = f"{label} has {counted(len(files), 'image')}; {of} needs at least {least}"
            yield CheckFinding(why, files, key=name)
    if len(spec.triggers) > 1 and len(found) == 1:
        yield from from_explain("E01")(facts, spec)


def unbalanced_repeats(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """E02: folders whose repeats give them unequal exposures."""
    groups = [g for g in facts.train_groups if g.repeats is not None]
    if len(groups) < 2:
        return
    mean = sum(g.exposures for g in groups) / len(groups)
    off = [g for g in groups if abs(g.exposures / mean - 1) > spec.limits.spread]
    if not off:
        return
    counts = {g.name: len(g.images) for g in groups}
    wanted = balance_repeats(counts, fair_target(counts, max(1, round(mean))))
    now = ", ".join(f"{g.label} {len(g.images)} x {g.repeats} = {g.exposures}" for g in groups)
    better = ", ".join(f"{g.label} x {wanted[g.name]} = {len(g.images) * wanted[g.name]}" for g in groups)
    notes = {i.name: f"{g.repeats} times per epoch" for g in off for i in g.images}
    exposures = max(1, round(mean))
    # A recipe has its own repeats, whatever the names of the folders.
    fix = f"bakehouse dataset repeats {{recipe}} --shows {exposures} -o {{recipe}}" if spec.recipe else None
    yield CheckFinding(
        f"{now} per epoch: concepts with fewer exposures are learned less; better: {better}",
        tuple(notes),
        notes,
        fix=fix,
    )


def total_exposures(facts: Facts, spec: AuditSpec) -> int:
    """Return the exposures of the whole training; 0 if the number of epochs is unknown."""
    return sum(g.exposures for g in facts.train_groups) * (spec.epochs or 0)


def _budget(facts: Facts, spec: AuditSpec) -> tuple[int, int, list[str]] | None:
    """Return the fewest and most exposures that suit the training, and the reasons; None if there is no rule for it."""
    if not spec.epochs or spec.kind in ("style", "dreambooth") or spec.family not in _BUDGETS:
        return None
    factor, why = _factor(facts, spec)
    reasons = [spec.optimizer, spec.family, *why]
    low, high = (round(n * factor) for n in _BUDGETS[spec.family])
    count = len(subjects(facts, spec))
    return low, max(high, round(_SINGLE_CONCEPT_MAX * factor)) if count == 1 else high * count, reasons


def _least_exposures(facts: Facts, spec: AuditSpec) -> int:
    """Return the fewest exposures that a training needs; 0 if there is no rule for it."""
    if (budget := _budget(facts, spec)) is not None:
        return budget[0]
    is_counted = spec.family == "crumb" and spec.kind != "dreambooth"
    return round(_CRUMB_LEAST * _factor(facts, spec)[0]) if is_counted else 0


def _factor(facts: Facts, spec: AuditSpec) -> tuple[float, list[str]]:
    """Return the factor on exposures, and the reasons that are not named elsewhere."""
    factor = 1.0
    reasons: list[str] = []
    for applies, by, why in (
        (spec.optimizer == "adamw", 2.0, ""),
        (spec.faster, 0.6, "min-SNR or input perturbation"),
        (is_retro(facts), 1 / 3, "a retro style"),
    ):
        if applies:
            factor *= by
            reasons += [why] if why else []
    return factor, reasons


def total_budget(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """E03: more or fewer exposures in the whole training than suit it."""
    if not spec.epochs or (budget := _budget(facts, spec)) is None:
        return
    low, high, reasons = budget
    total = total_exposures(facts, spec)
    if low <= total <= high:
        return
    effect = "too few: undertrained" if total < low else "too many: overtrained"
    epochs = counted(spec.epochs, "epoch")
    why = f"{total:,} exposures in {epochs}, {effect}; recommended for {', '.join(reasons)}: {low:,} to {high:,}"
    if not spec.recipe:
        yield CheckFinding(why)
        return
    per_epoch = total // spec.epochs
    most, fewest = high // per_epoch, -(-low // per_epoch)
    if fewest <= most:
        yield CheckFinding(why, fix=_with_epochs((fewest + most) // 2))
    else:
        advice = f"lower the repeats of the concepts in {spec.recipe}: {per_epoch:,} exposures per epoch are too many"
        yield CheckFinding(why, fix="", advice=advice)


def _with_epochs(epochs: int) -> str:
    return f"bakehouse plan {{plan}} --set train.epochs={epochs} -o {{recipe}}"


def unnumbered(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """E04: folders without a repeat number beside folders that have one."""
    if facts.unnumbered:
        files = tuple(i.name for g in facts.groups if (g.name or ".") in facts.unnumbered for i in g.images)
        why = f"{counted(len(facts.unnumbered), 'folder')} without a number ({listed(facts.unnumbered)})"
        yield CheckFinding(f"{why}: kohya's scripts skip them silently", files)


def class_images(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """E05: class images that are too many, or whose captions have a trigger."""
    train = sum(g.exposures for g in facts.train_groups)
    reg = sum(g.exposures for g in facts.groups if g.role == "reg")
    if reg > train:
        why = f"{reg:,} class images per epoch for {train:,} of the subject: {reg - train:,} are never used"
        yield CheckFinding(why, tuple(i.name for i in facts.class_images)[train:], key="many")
    words = {plain(t.word) for t in spec.triggers}
    with_trigger = {
        i.name: listed(sorted(found))
        for i in facts.class_images
        if (found := words & {w for line in i.captions for tag in split_tags(line) for w in plain(tag).split()})
    }
    if with_trigger:
        why = f"{counted(len(with_trigger), 'class image')} with a trigger in the caption: it would mean the class"
        yield CheckFinding(why, tuple(with_trigger), with_trigger, level="error", key="triggers")


def exposures_per_image(facts: Facts, spec: AuditSpec) -> Iterable[CheckFinding]:
    """E06: how many times an image is trained at most."""
    if not spec.epochs:
        return
    most = max((g.repeats or 1 for g in facts.train_groups), default=1) * spec.epochs
    often = [g for g in facts.train_groups if (g.repeats or 1) * spec.epochs > spec.limits.views]
    if often:
        files = tuple(i.name for g in often for i in g.images)
        why = f"single images are trained {most:,} times, more than {spec.limits.views}: they are memorised"
        epochs = spec.limits.views * spec.epochs // most
        least = _least_exposures(facts, spec)
        enough = total_exposures(facts, spec) * epochs >= least * spec.epochs
        fixable = bool(spec.recipe) and epochs > 0 and enough
        # Fewer epochs would contradict the plan, which shows few images more often, so that all together is enough.
        advice = "find more images, or lower the repeats, which shortens the training"
        if not enough:
            advice = f"find more images: with fewer exposures than {least:,} in all the subject would not be learned"
        fix = _with_epochs(epochs) if fixable else ""
        yield CheckFinding(why, files, level="warning", fix=fix, advice="" if fixable else advice)
    else:
        yield CheckFinding(
            f"no image is trained more than {most:,} times ({percent(most / spec.limits.views)} of the limit)", fix=""
        )
