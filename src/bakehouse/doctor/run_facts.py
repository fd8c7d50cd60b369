"""Facts of a run: its events, the captions that it was trained on, and what a plan of the same images would choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Failed, Finished, Started, Step, Stopped
from bakehouse.core.run_folder import Run
from bakehouse.data.captions import all_texts, split_tags
from bakehouse.doctor.facts import Input, InputFacts, PlanFacts, RunFacts, TriggerCaptions
from bakehouse.models.families import family_of
from bakehouse.recipe import Plan, Recipe, make_plan
from bakehouse.recipe.plan import PlannedImage
from bakehouse.recipe.presets import load_preset
from bakehouse.recipe.words_in_captions import has_word
from bakehouse.training.run_inputs import RunInputs


def read_run_facts(run: Run) -> tuple[RunFacts, dict[Input, str]]:
    """Read a run.

    Returns:
        The facts, and why parts of them are not known, by the name of the input (`inputs`, `plan`).

    Raises:
        UsageError: the recipe cannot be read.
        BakehouseError: the events cannot be read.
    """
    recipe = Recipe.load(run.recipe)
    events = list(run.history())
    steps = tuple(e for e in events if isinstance(e, Step))
    started = [e for e in events if isinstance(e, Started)]
    ends = [e for e in events if isinstance(e, (Started, Finished, Stopped, Failed))]
    last = ends[-1] if ends else None
    facts = RunFacts(
        folder=str(run.folder),
        recipe=recipe,
        started=bool(steps or started),
        finished=isinstance(last, Finished),
        planned_steps=started[-1].steps if started else 0,
        steps=steps,
        failed=last if isinstance(last, Failed) else None,
    )
    if recipe.kind == "slider":
        reason = "the run is a slider: it has no images"
        return facts, {"inputs": reason, "plan": reason}
    return _with_inputs(run, facts)


def _with_inputs(run: Run, facts: RunFacts) -> tuple[RunFacts, dict[Input, str]]:
    """Add what inputs.json tells, and the plan of the same images."""
    try:
        inputs = RunInputs.load(run)
    except BakehouseError as e:
        return facts, {"inputs": e.message, "plan": e.message}
    facts = replace(facts, inputs=_input_facts(inputs.resolved_plan, facts))
    try:
        plan = _usual_plan(inputs)
    except BakehouseError as e:
        return facts, {"plan": f"the same images cannot be planned again: {e.message}"}
    preset = load_preset(facts.recipe.kind, family_of(facts.recipe.model.base).name)
    shown = sum(i.repeats for i in plan.subject_images) * plan.epochs
    return replace(facts, plan=PlanFacts(plan.recipe.optimizer.lr, shown, preset.prior)), {}


def _usual_plan(inputs: RunInputs) -> Plan:
    """Return what a plan chooses for the run's images where learning rates and the length are left open.

    Raises:
        BakehouseError: the base model or a folder is gone.
    """
    values = inputs.plan.recipe.settings(mode="json")
    for table, names in {"train": ("epochs", "steps"), "optimizer": ("lr", "text_lr")}.items():
        values[table] = {k: v for k, v in values.get(table, {}).items() if k not in names}
    values["concepts"] = [{k: v for k, v in c.items() if k != "repeats"} for c in values["concepts"]]
    return make_plan(Recipe.parse(values, source="the run's recipe"), inputs.raw_images())


def _input_facts(plan: Plan, facts: RunFacts) -> InputFacts:
    recipe, subject = plan.recipe, plan.subject_images
    epochs = len(facts.steps) / max(1, plan.steps_per_epoch)
    texts = [all_texts(i.record.captions, recipe.captions, recipe.concepts[i.record.concept].subject) for i in subject]
    return InputFacts(
        images=len(subject),
        captions=dict(Counter(_without_subjects(lines[0], recipe) for lines in texts)),
        triggers=tuple(_trigger_captions(recipe, subject, texts)),
        exposures=round(sum(i.repeats for i in subject) * epochs),
    )


def _without_subjects(caption: str, recipe: Recipe) -> str:
    """Return a caption's tags without triggers and subjects, sorted: those that describe the single image."""
    words = {w for c in recipe.concepts for w in (c.subject, c.trigger_word)}
    words |= {w for t in recipe.triggers for w in (t.word, t.head)}
    left_out = {w.casefold() for w in words}
    return ", ".join(sorted(t for t in split_tags(caption.replace("|||", ",")) if t.casefold() not in left_out))


def _trigger_captions(
    recipe: Recipe, images: Sequence[PlannedImage], texts: Sequence[Sequence[str]]
) -> Iterator[TriggerCaptions]:
    """Yield how often each trigger is in captions: a concept's in those of its images, a declared one's in any."""
    declared = {t.word for t in recipe.triggers}
    for number, concept in enumerate(recipe.concepts):
        if (word := concept.trigger_word) and word not in declared:
            own = [t for i, t in zip(images, texts, strict=True) if i.record.concept == number]
            without = [t[0] for t in own if not any(has_word(line, word) for line in t)]
            example = without[0] if without else ""
            yield TriggerCaptions(
                word, concept.subject, str(concept.folder), len(own), len(own) - len(without), example
            )
    for trigger in recipe.triggers:
        having = sum(any(has_word(line, trigger.word) for line in t) for t in texts)
        folder = str(recipe.concepts[0].folder)
        yield TriggerCaptions(trigger.word, trigger.head, folder, having or len(texts), having, "")
