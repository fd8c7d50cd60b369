"""What cannot work is refused before anything is loaded; what may disappoint is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bakehouse.adapters import NetworkSpec
from bakehouse.adapters.adapter_reader import account_of
from bakehouse.adapters.file_coverage import BUNDLED
from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.core.pluralize import counted, listed
from bakehouse.data.augment import images_without_face
from bakehouse.data.image_records import ImageSet
from bakehouse.data.triggers import TRIGGER_FILE, raw_path
from bakehouse.models.samplers import find_sampler
from bakehouse.recipe.base_validation import NO_TRAINING
from bakehouse.recipe.hardware import missing_here
from bakehouse.recipe.lr_schedule import ScheduleSpec
from bakehouse.recipe.optimizers import OptimizerSpec
from bakehouse.recipe.presets import Preset
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.sample_prompt import parse_sample_prompt, rounded, sample_defaults
from bakehouse.recipe.setting_conflicts import doubtful, refused
from bakehouse.recipe.text_match import has_word, mostly_behind


def impossibilities(recipe: Recipe, images: ImageSet, own_prior: ImageSet) -> list[str]:
    """Every reason for which this recipe cannot be trained; empty where it can."""
    found = [*_of_images(recipe, images), *_of_prior(recipe, own_prior), *settings_against(recipe)]
    return [*found, *_of_augmentation(recipe, images)]


def refuse(problems: Sequence[str]) -> None:
    """Raises Problems where there are any."""
    if problems:
        raise Problems(NO_TRAINING, problems)


def too_long(schedule: ScheduleSpec, steps: int) -> Iterator[str]:
    """Parts of a schedule that a run of so many steps has no room for."""
    warmup = schedule.warmup_steps(steps)
    if warmup and warmup >= steps:
        yield f"schedule.warmup = {schedule.warmup:g} comes to {warmup:,} steps, and the run has {steps:,}: take fewer"


def settings_against(recipe: Recipe) -> list[str]:
    """Settings that cannot work together, or not on this machine: of the recipe as given, and of what it comes to."""
    return [*_of_settings(recipe), *refused(recipe), *missing_here(recipe)]


def _of_images(recipe: Recipe, images: ImageSet) -> Iterator[str]:
    for i, concept in enumerate(recipe.concepts):
        if not any(r.concept == i for r in images):
            yield f"concepts.{i}.folder = {str(concept.folder)!r}: holds no image that can be read"
    triggers = [c.trigger_word for c in recipe.concepts if c.trigger_word]
    declared = {t.word for t in recipe.triggers}  # such a word may stand over several folders: a character's outfits
    for word in sorted({t for t in triggers if triggers.count(t) > 1} - declared):
        yield f"trigger {word!r} stands for several concepts: give each its own word, or join their folders"
    silent = [i for i, c in enumerate(recipe.concepts) if not c.subject and not _all_captioned(images, i)]
    for i in silent:
        yield f"concepts.{i}: images without a caption and no subject to call them; add subject = 'zwx person'"


def _all_captioned(images: ImageSet, concept: int) -> bool:
    return all(any(c.strip() for c in r.captions) for r in images if r.concept == concept)


def _of_prior(recipe: Recipe, own: ImageSet) -> Iterator[str]:
    prior = recipe.prior
    if prior.source == "folder" and prior.folder is None:
        yield "prior.source = 'folder' needs prior.folder"
    if prior.folder is not None and not len(own):
        yield f"prior.folder = {str(prior.folder)!r}: holds no image that can be read"
    if prior.source == "class" and not prior.prompt and not all(c.class_name for c in recipe.concepts):
        yield "prior.source = 'class' needs a class word: write the subject as 'zwx person', or set prior.prompt"
    for concept in recipe.concepts:
        trigger = concept.trigger_word
        if prior.prompt and trigger and has_word(prior.prompt, trigger):
            yield f"prior.prompt = {prior.prompt!r} holds the trigger {trigger!r}: class images must not be the subject"
        for record in own:
            if trigger and any(has_word(c, trigger) for c in record.captions):
                yield f"{record.path}: a class image whose caption holds the trigger {trigger!r}"


def _of_settings(recipe: Recipe) -> Iterator[str]:
    adapter, optimizer = recipe.adapter, recipe.optimizer
    if recipe.model.quantize and adapter.kind == "full":
        yield (
            f"model.quantize = {recipe.model.quantize!r} keeps weights that cannot learn, but adapter.kind = 'full' "
            "trains them: leave model.quantize out, or set adapter.kind = 'lora'"
        )
    if not adapter.unet and not adapter.text:
        yield "adapter.unet and adapter.text are both off: nothing would learn"
    if isinstance(adapter, NetworkSpec):
        yield from _of_network(adapter, optimizer)
    yield from _of_stop(recipe)
    holdout = recipe.evaluate.holdout
    if holdout is not None and not holdout.is_dir():
        yield f"evaluate.holdout = {str(holdout)!r}: there is no such folder"
    yield from _of_drawing(recipe)


def _of_drawing(recipe: Recipe) -> Iterator[str]:
    """Samples and class images that no model could draw."""
    named = {"sample.sampler": recipe.sample.sampler if recipe.sample.prompts else ""}
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
    if stop.when != "learned":
        return
    if not save.every_epochs and not save.every_steps:
        yield "stop.when = 'learned' judges what is saved on the way, and nothing is: set save.every_epochs = 1"
    if save.keep_last is not None and save.keep_last <= stop.patience:
        yield (
            f"save.keep_last = {save.keep_last} would remove the best weights before stop.patience = {stop.patience} "
            f"is over: keep at least {stop.patience + 1}"
        )


def _of_network(adapter: NetworkSpec, optimizer: OptimizerSpec) -> Iterator[str]:
    if adapter.start is not None and not adapter.start.exists():
        yield f"adapter.start = {str(adapter.start)!r} does not exist"
    elif adapter.start is not None:
        yield from _of_start(adapter.start)
    if not optimizer.row.finds_rate:
        return
    if adapter.max_norm is not None:
        yield f"adapter.max_norm = {adapter.max_norm:g} breaks what {optimizer.name} estimates: leave one of them out"
    if adapter.several_rates:
        yield f"adapter.blocks and adapter.lora_plus_ratio set several rates, {optimizer.name} has one: use adamw"


def _of_start(path: Path) -> Iterator[str]:
    """What the header of a file to go on from tells against it."""
    try:
        account = account_of(path)
    except BakehouseError as e:
        yield f"adapter.start: {e.message}" + (f"; {e.hint}" if e.hint else "")
        return
    bundled = [e.name for e in account.entries if e.name.startswith(BUNDLED)]
    taken = ["embeddings, which a training does not take along: " + ", ".join(bundled)] if bundled else []
    for said in (*account.refusals, *taken):
        yield f"adapter.start = {str(path)!r} holds what cannot be trained on: {said}"


def warnings_for(recipe: Recipe, images: ImageSet, own_prior: ImageSet, preset: Preset) -> list[str]:
    """What a person should know before waiting for the result."""
    said = []
    for i, concept in enumerate(recipe.concepts):
        mine = [r for r in images if r.concept == i]
        if len(mine) < preset.min_images:
            said.append(
                f"{concept.folder}: {counted(len(mine), 'image')}; "
                f"{preset.about} wants {preset.min_images}, better {preset.good_images}"
            )
        bare = sum(not any(c.strip() for c in r.captions) for r in mine)
        if 0 < bare < len(mine):
            said.append(
                f"{concept.folder}: {bare} of {counted(len(mine), 'image')} without a caption: "
                f"{concept.subject!r} takes its place"
            )
        trigger = concept.trigger_word
        lost = [r for r in mine if r.captions and trigger and not any(has_word(c, trigger) for c in r.captions)]
        if 0 < len(lost) < len(mine) - bare:
            said.append(
                f"{counted(len(lost), 'caption')} without the trigger {trigger!r}, the first is {lost[0].caption_path}"
            )
        if recipe.kind == "style" and mostly_behind([c for r in mine for c in r.captions], trigger):
            said.append(
                f"{concept.folder}: most captions say {trigger!r} behind the content: a text encoder reads from left "
                f"to right, so the words before it never hear of the style. Put it in front: "
                f"bakehouse captions edit {concept.folder} --add {trigger!r}"
            )
    said += [*_of_class_captions(recipe, own_prior), *_of_trigger_files(recipe, images)]
    said += [f"sample prompt {line!r}: {note}" for line in recipe.sample.prompts for note in rounded(line)]
    return [*said, *doubtful(recipe)]


def _of_class_captions(recipe: Recipe, own_prior: ImageSet) -> Iterator[str]:
    """Class images without a caption share the class prompt: that is plain where there is one class."""
    bare = sum(not any(c.strip() for c in r.captions) for r in own_prior)
    words = list(dict.fromkeys(c.class_name for c in recipe.concepts if c.class_name))
    if not bare or recipe.prior.prompt or len(words) == 1:
        return
    taken = f"{words[0]!r}, the first concept's class word" if words else "the empty prompt, for no class word is known"
    yield (
        f"{recipe.prior.folder}: {bare} of {counted(len(own_prior), 'class image')} without a caption: they are taught "
        f"as {taken}. Set prior.prompt, or write captions"
    )


def _of_trigger_files(recipe: Recipe, images: ImageSet) -> Iterator[str]:
    """A training reads the recipe's triggers alone."""
    if recipe.triggers:
        return
    for i, concept in enumerate(recipe.concepts):
        found = [p / TRIGGER_FILE for p in (concept.folder, concept.folder.parent) if (p / TRIGGER_FILE).is_file()]
        if found and not any(raw_path(r).is_file() for r in images if r.concept == i):
            yield (
                f"{found[0]} is not part of the recipe, and captions are not compiled from it: put its [[triggers]] "
                f"into the recipe, or run: bakehouse captions compile {concept.folder}"
            )


def _of_augmentation(recipe: Recipe, images: ImageSet) -> Iterator[str]:
    data, augment = recipe.data, recipe.data.augment
    if augment.on and data.cache != "none" and (augment.variants or 1) < 2:
        given = [f"{name} = {getattr(augment, name)}" for name in ("random_crop", "face_crop", "color")]
        named = ", ".join(f"data.augment.{g}" for g in given if not g.endswith(("False", "None", "0.0")))
        yield (
            f"{named} with one encoded copy of each image: it would be one crop and colour for ever; set "
            "data.augment.variants = 4 to keep four of each, or data.cache = 'none' to encode anew at every show (slow)"
        )
    if augment.face_crop:
        lost = [r.path.name for r in images_without_face(images)]
        if lost:
            yield (
                f"data.augment.face_crop: no face is known in {listed(lost, 3)}; give `face` boxes "
                "[left, top, width, height] in metadata.jsonl, names that end in _cx_cy_w_h, or masks; or random_crop"
            )
