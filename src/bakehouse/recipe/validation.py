"""All errors and warnings of a plan: recipe, images and files, before any weight is loaded.

`setting_conflicts`, `base_validation` and `device_and_precision` have the checks that need the recipe alone, the base
model, and this machine.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from bakehouse.adapters import NetworkSpec
from bakehouse.adapters.adapter_reader import adapter_coverage
from bakehouse.adapters.file_coverage import BUNDLED
from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.core.message_text import counted, listed
from bakehouse.data.augment import images_without_face
from bakehouse.data.compile_captions import raw_path
from bakehouse.data.image_records import ImageSet
from bakehouse.data.triggers import TRIGGER_FILE
from bakehouse.models.samplers import find_sampler
from bakehouse.recipe.base_validation import NO_TRAINING
from bakehouse.recipe.device_and_precision import missing_here
from bakehouse.recipe.image_groups import is_grouped
from bakehouse.recipe.lr_schedule import ScheduleSpec
from bakehouse.recipe.optimizers import OptimizerSpec
from bakehouse.recipe.presets import Preset
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.sample_prompt import parse_sample_prompt, rounded, sample_defaults
from bakehouse.recipe.setting_conflicts import conflicts, questionable
from bakehouse.recipe.slider_plan import pair_errors, slider_errors, slider_warnings
from bakehouse.recipe.words_in_captions import has_word, mostly_not_first


def errors_for(recipe: Recipe, images: ImageSet, own_prior: ImageSet) -> list[str]:
    """Return every reason why this recipe cannot be trained on these images."""
    of_images = pair_errors(recipe, images) if recipe.kind == "slider" else _of_images(recipe, images)
    found = [*of_images, *_of_prior(recipe, own_prior), *setting_errors(recipe)]
    return [*found, *_of_augmentation(recipe, images)]


def refuse(problems: Sequence[str]) -> None:
    """Raise all problems at once, if there are any."""
    if problems:
        raise Problems(NO_TRAINING, problems)


def too_long(schedule: ScheduleSpec, steps: int) -> Iterator[str]:
    """Yield an error if a run of so many steps is too short for the schedule's warm-up."""
    warmup = schedule.warmup_steps(steps)
    if warmup and warmup >= steps:
        yield f"schedule.warmup = {schedule.warmup:g} is {warmup:,} steps, but the run has {steps:,}: shorten it"


def setting_errors(recipe: Recipe) -> list[str]:
    """Return errors of the settings themselves: contradictions, missing files, what this machine lacks."""
    of_kind = slider_errors(recipe) if recipe.kind == "slider" else ()
    return [*_of_settings(recipe), *of_kind, *conflicts(recipe), *missing_here(recipe)]


def _of_images(recipe: Recipe, images: ImageSet) -> Iterator[str]:
    for i, concept in enumerate(recipe.concepts):
        if not any(r.concept == i for r in images):
            yield f"concepts.{i}.folder = {str(concept.folder)!r}: has no readable image"
    triggers = [c.trigger_word for c in recipe.concepts if c.trigger_word]
    declared = {t.word for t in recipe.triggers}  # such a word may stand over several folders: a character's outfits
    for word in sorted({t for t in triggers if triggers.count(t) > 1} - declared):
        yield f"trigger {word!r} is used by several concepts: give each its own trigger, or merge their folders"
    silent = [i for i, c in enumerate(recipe.concepts) if not c.subject and not _all_captioned(images, i)]
    for i in silent:
        yield f"concepts.{i}: images without a caption, and no subject to use instead: add subject = 'zwx person'"


def _all_captioned(images: ImageSet, concept: int) -> bool:
    return all(any(c.strip() for c in r.captions) for r in images if r.concept == concept)


def _of_prior(recipe: Recipe, own: ImageSet) -> Iterator[str]:
    prior = recipe.prior
    if prior.source == "folder" and prior.folder is None:
        yield "prior.source = 'folder' needs prior.folder"
    if prior.folder is not None and not len(own):
        yield f"prior.folder = {str(prior.folder)!r}: has no readable image"
    if prior.source == "class" and not prior.prompt and not all(c.class_name for c in recipe.concepts):
        yield "prior.source = 'class' needs a class word: set subject = 'zwx person', or prior.prompt"
    for concept in recipe.concepts:
        trigger = concept.trigger_word
        if prior.prompt and trigger and has_word(prior.prompt, trigger):
            yield f"prior.prompt = {prior.prompt!r} has the trigger {trigger!r}: class images must not be the subject"
        for record in own:
            if trigger and any(has_word(c, trigger) for c in record.captions):
                yield f"{record.path}: the caption of a class image contains the trigger {trigger!r}"


def _of_settings(recipe: Recipe) -> Iterator[str]:
    adapter, optimizer = recipe.adapter, recipe.optimizer
    if recipe.model.quantize and adapter.kind == "full":
        yield (
            f"model.quantize = {recipe.model.quantize!r} freezes weights, but adapter.kind = 'full' "
            "trains them: leave model.quantize out, or set adapter.kind = 'lora'"
        )
    if not adapter.unet and not adapter.text and adapter.kind != "none":
        yield "adapter.unet and adapter.text are both false: nothing would be trained"
    if isinstance(adapter, NetworkSpec):
        yield from _of_network(adapter, optimizer)
    yield from _of_stop(recipe)
    holdout = recipe.evaluate.holdout
    if holdout is not None and not holdout.is_dir():
        yield f"evaluate.holdout = {str(holdout)!r}: the folder does not exist"
    yield from _of_generation(recipe)


def _of_generation(recipe: Recipe) -> Iterator[str]:
    """Yield errors of samples and class images that cannot be generated."""
    named = {"sample.sampler": recipe.sample.sampler if recipe.sample.prompts else ""}
    named["evaluate.sampler"] = recipe.evaluate.sampler
    named["prior.sampler"] = recipe.prior.sampler if recipe.prior.source not in ("none", "folder") else ""
    for setting, sampler in named.items():
        try:
            if sampler:
                find_sampler(sampler)
        except UsageError as e:
            yield f"{setting}: {e.message}; {e.hint}"
    for line in recipe.sample.prompts:
        try:
            parse_sample_prompt(line, sample_defaults(recipe.sample, 512))
        except UsageError as e:
            yield str(e)


def _of_stop(recipe: Recipe) -> Iterator[str]:
    stop, save = recipe.stop, recipe.save
    if stop.when == "settled" and recipe.kind != "slider":
        yield "stop.when = 'settled' compares the ends of a slider (kind = 'slider'): set 'learned' or 'done'"
    if stop.when != "learned":
        return
    if not save.every_epochs and not save.every_steps:
        yield "stop.when = 'learned' scores saved weights, but none are saved while training: set save.every_epochs = 1"
    if save.keep_last is not None and save.keep_last <= stop.patience:
        yield (
            f"save.keep_last = {save.keep_last} would delete the best weights before stop.patience = {stop.patience} "
            f"is reached: keep at least {stop.patience + 1}"
        )


def _of_network(adapter: NetworkSpec, optimizer: OptimizerSpec) -> Iterator[str]:
    if adapter.start is not None and not adapter.start.exists():
        yield f"adapter.start = {str(adapter.start)!r} does not exist"
    elif adapter.start is not None:
        yield from _of_start(adapter.start)
    if not optimizer.row.finds_rate:
        return
    if adapter.max_norm is not None:
        yield f"adapter.max_norm = {adapter.max_norm:g} disturbs {optimizer.name}'s estimate: leave one of them out"
    if adapter.has_several_lrs:
        yield f"adapter.blocks and adapter.lora_plus_ratio set several rates, but {optimizer.name} has one: use adamw"


def _of_start(path: Path) -> Iterator[str]:
    """Yield errors of an adapter file to continue from, by its header."""
    try:
        account = adapter_coverage(path)
    except BakehouseError as e:
        yield f"adapter.start: {e.message}" + (f"; {e.hint}" if e.hint else "")
        return
    bundled = [e.name for e in account.entries if e.name.startswith(BUNDLED)]
    taken = ["embeddings, whose training cannot go on: " + ", ".join(bundled)] if bundled else []
    for reason in (*account.refusals, *taken):
        yield f"adapter.start = {str(path)!r} cannot be continued: {reason}"


def warnings_for(recipe: Recipe, images: ImageSet, own_prior: ImageSet, preset: Preset) -> list[str]:
    """Return warnings, the most important first: too few images, captions, class images, settings."""
    warnings: list[str] = []
    for i, concept in enumerate(recipe.concepts if recipe.kind != "slider" else ()):
        mine = [r for r in images if r.concept == i]
        if len(mine) < preset.min_images and not is_grouped(recipe):
            warnings.append(
                f"{concept.folder}: {counted(len(mine), 'image')}; "
                f"{preset.about} needs at least {preset.min_images}, better {preset.good_images}"
            )
        bare = sum(not any(c.strip() for c in r.captions) for r in mine)
        if 0 < bare < len(mine):
            warnings.append(
                f"{concept.folder}: {bare} of {counted(len(mine), 'image')} without a caption: "
                f"{concept.subject!r} is used instead"
            )
        trigger = concept.trigger_word
        lost = [r for r in mine if r.captions and trigger and not any(has_word(c, trigger) for c in r.captions)]
        if 0 < len(lost) < len(mine) - bare:
            warnings.append(
                f"{counted(len(lost), 'caption')} without the trigger {trigger!r}, such as {lost[0].caption_path}"
            )
        if recipe.kind == "style" and mostly_not_first([c for r in mine for c in r.captions], trigger):
            warnings.append(
                f"{concept.folder}: most captions have {trigger!r} last, but the text encoder reads from left "
                f"to right. Put it first: "
                f"bakehouse captions edit {shlex.quote(str(concept.folder))} --add {shlex.quote(trigger)}"
            )
    warnings += [*_of_class_captions(recipe, own_prior), *_of_trigger_files(recipe, images)]
    warnings += [f"sample prompt {line!r}: {note}" for line in recipe.sample.prompts for note in rounded(line)]
    if recipe.kind == "slider":
        warnings += slider_warnings(recipe)
    return [*warnings, *questionable(recipe)]


def _of_class_captions(recipe: Recipe, own_prior: ImageSet) -> Iterator[str]:
    """Yield a warning if class images without a caption share a prompt although there are several classes, or none."""
    bare = sum(not any(c.strip() for c in r.captions) for r in own_prior)
    words = list(dict.fromkeys(c.class_name for c in recipe.concepts if c.class_name))
    if not bare or recipe.prior.prompt or len(words) == 1:
        return
    taken = f"{words[0]!r}, the first concept's class word" if words else "an empty prompt, as there is no class word"
    yield (
        f"{recipe.prior.folder}: {bare} of {counted(len(own_prior), 'class image')} without a caption: they are "
        f"trained with {taken}. Set prior.prompt, or write captions"
    )


def _of_trigger_files(recipe: Recipe, images: ImageSet) -> Iterator[str]:
    """Yield a warning for a triggers.toml beside images: only the recipe's triggers are used."""
    if recipe.triggers:
        return
    for i, concept in enumerate(recipe.concepts):
        found = [p / TRIGGER_FILE for p in (concept.folder, concept.folder.parent) if (p / TRIGGER_FILE).is_file()]
        if found and not any(raw_path(r).is_file() for r in images if r.concept == i):
            yield (
                f"{found[0]} is not used: copy its [[triggers]] "
                f"into the recipe, or run: bakehouse captions compile {shlex.quote(str(concept.folder))}"
            )


def _of_augmentation(recipe: Recipe, images: ImageSet) -> Iterator[str]:
    data, augment = recipe.data, recipe.data.augment
    if augment.on and data.cache != "none" and (augment.variants or 1) < 2:
        given = [f"{name} = {getattr(augment, name)}" for name in ("random_crop", "face_crop", "color")]
        named = ", ".join(f"data.augment.{g}" for g in given if not g.endswith(("False", "None", "0.0")))
        yield (
            f"{named} would be the same at every step, as one latent per image is cached: set "
            "data.augment.variants = 4 to cache four, or data.cache = 'none' to encode at every step (slow)"
        )
    if augment.face_crop:
        lost = [r.path.name for r in images_without_face(images)]
        if lost:
            yield (
                f"data.augment.face_crop: no face is marked in {listed(lost, 3)}; give `face` boxes "
                "[left, top, width, height] in metadata.jsonl, names that end in _cx_cy_w_h, or masks; or random_crop"
            )
