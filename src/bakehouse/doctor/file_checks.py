"""A: adapter files, alone and beside their base model."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from bakehouse.core.message_text import counted, listed
from bakehouse.doctor.check import CheckFinding, Result, healthy, undecided
from bakehouse.doctor.doctor_options import Limits
from bakehouse.doctor.facts import AdapterFacts, BaseFacts, Facts

_FAMILIES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL"}


def not_finite(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """A01: tensors with NaN or infinity."""
    for adapter in facts.adapters:
        modules = adapter.info.modules
        bad = [m.name for m in modules if m.bad]
        if bad:
            why = f"{len(bad)} of {counted(len(modules), 'module')} hold NaN or infinity: {listed(bad, 2)}"
            yield _about(facts, adapter, why)
        else:
            yield healthy(f"all numbers of {counted(len(modules), 'module')} are finite", _key(facts, adapter))


def changes_nothing(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """A02: files, or networks of them, whose change is zero."""
    for adapter in facts.adapters:
        zero = {network: counts for network, counts in adapter.zero.items() if counts[0] == counts[1]}
        total = sum(known for _, known in adapter.zero.values())
        none = sum(some for some, _ in adapter.zero.values())
        if not total:
            yield undecided("whether this kind of adapter changes anything depends on the base model", "")
        elif none == total:
            cause = f"; alpha is 0 in {adapter.alpha_zero} of them" if adapter.alpha_zero else ""
            yield _about(facts, adapter, f"all {counted(total, 'module')} have a change of zero{cause}")
        elif zero:
            for network, (_, known) in zero.items():
                why = f"all {counted(known, 'module')} of the {_words(network)} have a change of zero"
                level: Result = "warning" if network == "unet" else "info"
                drop = f"--drop {shlex.quote(_PATTERNS.get(network, network))}"
                fix = f"bakehouse weights convert {{file}} {drop} -o {{smaller}}" if network != "unet" else ""
                advice = "train again with adapter.unet = true" if network == "unet" else ""
                yield _about(facts, adapter, why, network, result=level, fix=fix, advice=advice)
        else:
            few = f"; {none} are zero" if none else ""
            yield healthy(f"{total - none} of {counted(total, 'module')} change the base{few}", _key(facts, adapter))


_PATTERNS = {"text_encoder": "lora_te_*", "text_encoder_2": "lora_te2_*"}


def not_applied(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """A03: tensors and settings of a file that would be ignored."""
    for adapter in facts.adapters:
        refused = [e.name for e in adapter.info.coverage.entries if e.verdict == "refused"]
        if refused:
            keys = [name for name in refused if name in adapter.info.shapes]
            fix = f"bakehouse weights convert {{file}} {_drops(keys, adapter)} -o {{smaller}}" if keys else ""
            advice = "" if keys else "use the program that made the file; its setting is not supported here"
            yield _about(facts, adapter, "; ".join(adapter.info.coverage.refusals), fix=fix, advice=advice)
        else:
            tensors = len(adapter.info.shapes) - len(adapter.info.coverage.entries)
            yield healthy(f"{counted(tensors, 'tensor')} applied, none refused", _key(facts, adapter))


def _drops(keys: list[str], adapter: AdapterFacts) -> str:
    """Return the options that leave tensors out: one pattern if all of them, and no others, begin alike."""
    start = os.path.commonprefix(keys)  # noqa: RUF071 - of characters, as patterns are
    alike = len(keys) > 1 and start and sum(name.startswith(start) for name in adapter.info.shapes) == len(keys)
    patterns = [f"{start}*"] if alike else keys
    return " ".join(f"--drop {_literal(shlex.quote(pattern))}" for pattern in patterns)


def _literal(text: str) -> str:
    """Return a text whose braces are no placeholders of a command template."""
    return text.replace("{", "{{").replace("}", "}}")


def not_in_the_base(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """A04: modules that the base model does not have, or has in another size."""
    for adapter, base in _with_base(facts):
        modules = len(adapter.info.modules)
        named = f"; it seems to be made for {adapter.trained_for}" if adapter.trained_for else ""
        if base.missing:
            result: Result = "error" if 2 * len(base.missing) >= modules else "warning"
            why = f"{len(base.missing)} of {counted(modules, 'module')} are in no network of {base.name}"
            why += f", first {base.missing[0]}{named}"
            yield _about(facts, adapter, why, "missing", result=result)
        if base.misfits:
            why = f"{len(base.misfits)} of {counted(modules, 'module')} have another size than in {base.name}"
            yield _about(facts, adapter, f"{why}, first {base.misfits[0]}{named}", "size")
        if not base.missing and not base.misfits:
            why = f"all {counted(modules, 'module')} are in {base.name} with the same sizes"
            yield healthy(why, _key(facts, adapter))


def other_family(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """A05: files for another family of base models."""
    for adapter, base in _with_base(facts):
        own = " or ".join(_FAMILIES[f] for f in adapter.families)
        its = _FAMILIES.get(base.family, base.family)
        if not adapter.families and adapter.trained_for:
            why = f"the file is for {adapter.trained_for}, {base.name} is {its}"
            yield _about(facts, adapter, why)
        elif adapter.families and base.family not in adapter.families:
            yield _about(facts, adapter, f"the file is for {own}, {base.name} is {its}")
        else:
            yield healthy(f"the file is for {own or its}, as {base.name} is", _key(facts, adapter))


def other_prediction(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """A06: files trained for another prediction type than the base's."""
    for adapter, base in _with_base(facts):
        key = _key(facts, adapter)
        if not base.prediction:
            yield undecided(f"the settings of {base.name} name no prediction type", key)
        elif not adapter.prediction:
            yield undecided("the file's header names no prediction type", key)
        elif adapter.prediction != base.prediction:
            why = f"the file was trained for {adapter.prediction}, {base.name} predicts {base.prediction}"
            yield _about(facts, adapter, why)
        else:
            yield healthy(f"file and base both have {base.prediction}", key)


def program_cannot_load(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """A07: programs that do not load a file, by their own loaders as measured."""
    from bakehouse.doctor.adapter_facts import fails

    for adapter in facts.adapters:
        verdicts = [v for v in adapter.info.loaders if not facts.programs or v.program in facts.programs]
        some_load = any(v.loads for v in adapter.info.loaders)
        for verdict in verdicts:
            key = " ".join(filter(None, (verdict.program, _key(facts, adapter))))
            if verdict.loads:
                note = f"; {verdict.why}" if verdict.limits else ""
                yield healthy(f"{verdict.program} loads it{note}", key)
            elif not fails(verdict):
                yield undecided(f"{verdict.program}: {verdict.why}", key)
            else:
                result: Result = "error" if facts.programs else "info" if some_load else "warning"
                fix = adapter.conversions.get(verdict.program, "")
                advice = "" if fix else f"no conversion is known that {verdict.program} loads"
                why = f"{verdict.program} does not load it: {verdict.why}"
                yield CheckFinding(why, result, key, fix=_literal(fix), advice=advice)


def size_of_change(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """A08: a change that is lost in rounding, or so large that it replaces the base."""
    for adapter, base in _with_base(facts):
        key = _key(facts, adapter)
        if base.change is None:
            yield undecided(f"no module could be compared with {base.name}", key)
        elif base.change == 0:
            continue  # A02 tells it
        elif base.change < limits.change_small:
            why = f"the change has {100 * base.change:.2g} % of the norm of the base's weights"
            fix = (
                f"bakehouse weights rescale {{file}} --factor {2 * limits.change_small / base.change:.3g} -o {{scaled}}"
            )
            yield _about(facts, adapter, f"{why}: half precision rounds it away", "small", fix=fix)
        elif base.change > limits.change_large:
            why = f"the change has {100 * base.change:.0f} % of the norm of the base's weights"
            yield _about(facts, adapter, f"{why}: it replaces more than it adapts", "large")
        else:
            yield healthy(f"the change has {100 * base.change:.2g} % of the norm of the base's weights", key)


def no_trigger(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """A09: triggers of the header that are in none of the captions that it counts, or no trigger at all."""
    from bakehouse.recipe.words_in_captions import has_word

    for adapter in facts.adapters:
        key = _key(facts, adapter)
        top = next(iter(adapter.tags), "")
        values = _values(adapter) | {"words": shlex.quote(top or "WORDS")}
        fix = "bakehouse weights edit {file} --trigger {words} --overwrite" if top else ""
        advice = "" if top else "try the words of its description; the file has no counts of its captions' tags"
        if not adapter.info.triggers:
            often = f"; the most frequent tag of its captions is {top!r} ({adapter.tags[top]})" if top else ""
            why = f"the header names no trigger{often}"
            yield CheckFinding(why, "info", key, values, fix=fix, advice=advice)
            continue
        if not adapter.tags:
            yield undecided("the header does not count the tags of its captions", key)
            continue
        for trigger in adapter.info.triggers:
            uses = sum(count for tag, count in adapter.tags.items() if has_word(tag, trigger))
            if uses:
                yield healthy(f"{trigger!r} is in the captions {uses} times", f"{trigger} {key}".strip())
            elif has_word(adapter.prefix, trigger):
                yield healthy(f"{trigger!r} was put in front of every caption", f"{trigger} {key}".strip())
            else:
                why = f"the trigger {trigger!r} is in none of the captions ({counted(len(adapter.tags), 'tag')})"
                why += f"; the most frequent tag is {top!r} ({adapter.tags[top]})"
                yield CheckFinding(why, None, f"{trigger} {key}".strip(), values, fix=fix, advice=advice)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _with_base(facts: Facts) -> Iterable[tuple[AdapterFacts, BaseFacts]]:
    return ((a, a.base) for a in facts.adapters if a.base is not None)


def _key(facts: Facts, adapter: AdapterFacts) -> str:
    """The name of a file, where there are several."""
    return Path(adapter.path).name if len(facts.adapters) > 1 else ""


def _about(
    facts: Facts,
    adapter: AdapterFacts,
    why: str,
    part: str = "",
    *,
    result: Result | None = None,
    fix: str | None = None,
    advice: str | None = None,
) -> CheckFinding:
    key = " ".join(filter(None, (part, _key(facts, adapter))))
    return CheckFinding(why, result, key, _values(adapter), fix, advice)


def _values(adapter: AdapterFacts) -> dict[str, str]:
    """Return the placeholders of commands about a file."""
    path = Path(adapter.path)
    stem = path.with_suffix("") if path.is_file() else path
    return {
        "file": shlex.quote(adapter.path),
        "smaller": shlex.quote(f"{stem}-smaller.safetensors"),
        "scaled": shlex.quote(f"{stem}-scaled.safetensors"),
    }


def _words(network: str) -> str:
    return {"unet": "UNet", "text_encoder": "text encoder", "text_encoder_2": "second text encoder"}.get(
        network, network
    )
