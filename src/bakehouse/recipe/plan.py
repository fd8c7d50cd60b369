"""A plan: what a recipe and its images come to. Every derived number has its reason; no weights are loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakehouse.adapters import FullFineTune, LoRA
from bakehouse.adapters.adapter_facts import ON_TEXT, ON_UNET
from bakehouse.adapters.lr_multipliers import pace_of
from bakehouse.adapters.network_settings import NetworkSpec
from bakehouse.core.setting_needs import without_effect
from bakehouse.data.buckets import BucketRow, Placement, assign, bucket_table, bucket_warnings
from bakehouse.data.captions import split_tags
from bakehouse.data.dataset_formats import METADATA_FILES, read_dataset
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.repeats import balance_repeats, fair_target
from bakehouse.data.scan import scan
from bakehouse.models.damaged_files import check_model
from bakehouse.models.families import family_of
from bakehouse.models.load import ModelRef, native_size, resolve_model
from bakehouse.models.model_facts import ModelFacts, model_facts
from bakehouse.recipe.base_validation import sits_on, unfit_for_model
from bakehouse.recipe.class_images import ClassImage, class_images, without_trigger
from bakehouse.recipe.cost_estimate import Estimate, estimate
from bakehouse.recipe.epoch_order import EpochOrder
from bakehouse.recipe.plan_facts import lookup_for
from bakehouse.recipe.presets import Preset, load_preset
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.text_match import has_word
from bakehouse.recipe.trigger_captions import MARK, compiled_images, moves, not_apart
from bakehouse.recipe.validation import impossibilities, refuse, settings_against, too_long, warnings_for


@dataclass(frozen=True)
class Decision:
    """A number that the plan chose, and why."""

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class PlannedImage:
    """One image, where it is placed and how often an epoch shows it (0 for class images: the order draws them)."""

    record: ImageRecord
    placement: Placement
    repeats: int
    prior: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything that a training needs to know before it begins."""

    recipe: Recipe
    """With nothing left open."""
    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...]
    images: tuple[PlannedImage, ...]
    """Subject images, then class images of the user's own folder."""
    class_images: tuple[ClassImage, ...]
    """To be made with the base model, or found again."""
    epochs: int
    steps_per_epoch: int
    steps: int
    estimate: Estimate

    @property
    def subject_images(self) -> tuple[PlannedImage, ...]:
        return tuple(i for i in self.images if not i.prior)

    @property
    def order(self) -> EpochOrder:
        """The order of every epoch."""
        subject = self.subject_images
        own = [i.placement.bucket for i in self.images if i.prior]
        return EpochOrder(
            buckets=[i.placement.bucket for i in subject],
            repeats=[i.repeats for i in subject],
            prior_buckets=own + [(c.width, c.height) for c in self.class_images],
            prior_per_image=self.recipe.prior.per_image,
            batch=self.recipe.train.batch_size,
        )

    @property
    def buckets(self) -> list[BucketRow]:
        """One row a bucket, with its partial batch; subject images alone."""
        subject = self.subject_images
        repeats = [i.repeats for i in subject]
        return bucket_table([i.placement for i in subject], self.recipe.train.batch_size, repeats=repeats)

    def with_batch(self, batch: int, accumulation: int, reason: str) -> Plan:
        """The same plan with other batches: what follows from them is counted again."""
        recipe = self.recipe.with_values({"train.batch": batch, "train.accumulation": accumulation})
        moved = dataclasses.replace(self, recipe=recipe)
        per_epoch, steps = moved.count_steps()
        kept = [d for d in self.decisions if d.key not in ("train.batch", "train.accumulation")]
        chosen = [Decision("train.batch", batch, reason), Decision("train.accumulation", accumulation, reason)]
        return dataclasses.replace(moved, decisions=(*kept, *chosen), steps_per_epoch=per_epoch, steps=steps)

    def count_steps(self) -> tuple[int, int]:
        """Optimizer steps of an epoch, and of all of them or as many as train.steps allows."""
        train = self.recipe.train
        per_epoch = -(-self.order.batches_per_epoch // train.accumulation)
        steps = per_epoch * self.epochs
        return per_epoch, min(train.steps or steps, steps)

    def to_json(self) -> dict[str, Any]:
        """For plan.json and `--json`."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "decisions": [dataclasses.asdict(d) for d in self.decisions],
            "warnings": list(self.warnings),
            "images": [
                {
                    "path": str(i.record.path),
                    "sha256": i.record.sha256,
                    "bucket": list(i.placement.bucket),
                    "repeats": i.repeats,
                    "prior": i.prior,
                }
                for i in self.images
            ],
            "class_images": len(self.class_images),
            "buckets": [dataclasses.asdict(row) for row in self.buckets],
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "steps": self.steps,
            "estimate": dataclasses.asdict(self.estimate),
        }


def scan_concepts(recipe: Recipe) -> ImageSet:
    """The images of all concepts, each marked with its concept's number.

    Raises:
        UsageError: a folder is missing, or holds no image.
    """
    sets = [_images_of(c.folder, i) for i, c in enumerate(recipe.concepts)]
    return ImageSet(
        records=tuple(r for s in sets for r in s.records),
        skipped=tuple(x for s in sets for x in s.skipped),
        notes=tuple(n for s in sets for n in s.notes),
    )


def _images_of(folder: Path, concept: int) -> ImageSet:
    """A folder's images; captions come from its metadata file where it has one."""
    if not any((folder / name).is_file() for name in METADATA_FILES):
        return scan(folder, concept=concept)
    (found,) = read_dataset(folder)
    records = tuple(dataclasses.replace(r, concept=concept) for r in found.records)
    return dataclasses.replace(found.images, records=records)


def make_plan(recipe: Recipe, images: ImageSet | None = None) -> Plan:
    """Derives what the recipe leaves open and refuses what cannot work.

    Raises:
        UsageError: the model or a folder is not there.
        BakehouseError: a file of the model is missing or broken.
        Problems: settings that cannot work together, all at once.
    """
    images = images if images is not None else scan_concepts(recipe)
    model = resolve_model(recipe.model.base)
    if model.kind != "hub":  # what its copy here lacks is fetched when it is loaded
        check_model(model, recipe.model.vae)
    own_prior = scan(recipe.prior.folder) if recipe.prior.folder else ImageSet(())
    problems = not_apart(recipe, images)
    images = compiled_images(recipe, images)
    facts = model_facts(model, recipe.model.prediction)
    refuse([*problems, *impossibilities(recipe, images, own_prior), *unfit_for_model(recipe, facts)])
    plan = _Derivation(recipe, images, own_prior, model, facts).plan()
    refuse([*settings_against(plan.recipe), *too_long(plan.recipe.schedule, plan.steps)])
    chosen = sits_on(plan.recipe, facts, recipe)
    lookup = lookup_for(plan.recipe, recipe, images, facts, chosen, steps=plan.steps, per_epoch=plan.steps_per_epoch)
    return dataclasses.replace(plan, warnings=(*plan.warnings, *without_effect(plan.recipe, lookup)))


class _Derivation:
    """Walks through the open numbers in the order in which they hang on each other."""

    def __init__(
        self, recipe: Recipe, images: ImageSet, own_prior: ImageSet, model: ModelRef, facts: ModelFacts | None
    ) -> None:
        self.recipe = recipe
        self.images = images
        self.own_prior = own_prior
        self.model = model
        self.facts = facts
        self.family = family_of(model)
        self.model_name = self.family.name
        self.preset: Preset = load_preset(recipe.kind, self.model_name)
        self.decisions: list[Decision] = []

    def decide(self, key: str, value: Any, reason: str) -> None:
        """Takes a value into the recipe and notes why."""
        self.recipe = self.recipe.with_values({key: value})
        self.decisions.append(Decision(key, value, reason))

    def plan(self) -> Plan:
        self._size()
        self._adapter()
        self._loss()
        self._optimizer()
        self._captions()
        self._batch()
        self._shows()
        self._prior()
        self._samples()
        placements = self._placements(self.images.records)
        repeats = [self.recipe.concepts[r.concept].repeats or 1 for r in self.images]
        own = self._placements(self.own_prior.records)
        planned = [PlannedImage(r, p, n) for r, p, n in zip(self.images, placements, repeats, strict=True)]
        planned += [PlannedImage(r, p, 0, prior=True) for r, p in zip(self.own_prior, own, strict=True)]
        made = class_images(self.recipe, self.images, placements, repeats)
        draft = Plan(self.recipe, (), (), tuple(planned), made, 1, 0, 0, Estimate(0, 0, 0, ""))
        return self._counted(draft, placements)

    def _counted(self, draft: Plan, placements: Sequence[Placement]) -> Plan:
        """Fills in what follows from the order: steps, estimate, warnings."""
        train = self.recipe.train
        per_epoch, _ = draft.count_steps()
        if train.epochs is None and train.steps:
            self.decide("train.epochs", -(-train.steps // per_epoch), f"as many as train.steps = {train.steps} need")
        draft = dataclasses.replace(draft, recipe=self.recipe, epochs=self.recipe.train.epochs or 1)
        _, steps = draft.count_steps()
        reason = f"{per_epoch} steps an epoch x {draft.epochs} epochs"
        if train.steps:
            reason += f", held to train.steps = {train.steps}"
        self.decisions.append(Decision("steps", steps, reason))
        batch = train.batch_size
        warnings = [*self.images.notes, *(f"{s.path}: left out, {s.reason}" for s in self.images.skipped)]
        names = [r.path.name for r in self.images]
        warnings += bucket_warnings(placements, batch, names=names, repeats=[i.repeats for i in draft.subject_images])
        warnings += warnings_for(self.recipe, self.images, self.own_prior, self.preset)
        return dataclasses.replace(
            draft,
            decisions=tuple(self.decisions),
            warnings=tuple(warnings),
            steps_per_epoch=per_epoch,
            steps=steps,
            estimate=estimate(self.recipe, self.model_name, steps, len(draft.class_images)),
        )

    def _size(self) -> None:
        native = native_size(self.model)
        given = self.recipe.buckets.model_fields_set
        if "resolution" not in given:
            self.decide("buckets.resolution", native, f"{self.recipe.model.base} was trained at {native} px")
        if "step" not in given:
            step = 32 if native < 256 else 64
            self.decide("buckets.step", step, f"sides in multiples of {step} px")

    def _placements(self, records: Sequence[ImageRecord]) -> list[Placement]:
        return assign([(r.width, r.height) for r in records], self.recipe.buckets)

    def _adapter(self) -> None:
        given = self.recipe.adapter.model_fields_set if "adapter" in self.recipe.model_fields_set else set()
        if "adapter" not in self.recipe.model_fields_set and self.preset.adapter == "full":
            self.decide("adapter", {"kind": "full"}, f"{self.recipe.kind}: the whole network learns")
        # What an adapter goes on from says its rank, alpha and modules itself.
        adapter = self.recipe.adapter
        if isinstance(adapter, NetworkSpec) and adapter.start is None:
            usual_for = self.preset.about if self.preset.adapter == "lora" else f"adapter.kind = {adapter.kind!r}"
            why = f"usual for {usual_for}" + (f" on {self.family.name}" if self.family.bundled else "")
            free = adapter.settable - given
            for name, usual in self.preset.sizes():
                if name in free:
                    self.decide(f"adapter.{name}", usual, why)
            if "alpha" in free:
                ratio = self.preset.alpha / self.preset.rank
                rank = self.preset.rank if "rank" in free else adapter.rank
                self.decide("adapter.alpha", rank * ratio, f"{ratio:g} x rank: the rate then fits any rank")
            if "targets" in free and not adapter.include:  # IA3's own patterns are its targets
                self.decide("adapter.targets", self.preset.targets, why)
        if "text" not in given:
            self._text()

    def _text(self) -> None:
        """Whether the text encoder learns too."""
        learns = self.preset.text
        reason = "a new word has to be learned too" if learns else "the words exist; only the look changes"
        if learns:
            chosen = sits_on(self.recipe.with_values({"adapter.text": True}), self.facts, self.recipe)
            if chosen is not None and ON_TEXT not in chosen:
                learns, reason = False, "no module of it is among those that the adapter chooses"
        self.decide("adapter.text", learns, reason)

    def _optimizer(self) -> None:
        spec, row = self.recipe.optimizer, self.recipe.optimizer.row
        # With rate-finding optimizers both parts take the same multiplier: their ratio is found as well.
        pace = pace_of(self.recipe.adapter, short=self.preset.short)
        # A preset's rates are for the adapter that it chooses itself.
        usual = pace_of(FullFineTune() if self.preset.adapter == "full" else LoRA(), short=self.preset.short)
        faster = pace.rate / usual.rate
        lr = row.lr if row.finds_rate else row.rate_like(self.preset.lr * faster)
        ratio = 1.0 if row.finds_rate else self.preset.text_lr / self.preset.lr
        text_lr = float(f"{(spec.lr or lr) * ratio:.4g}")  # a rate that is given sets the pace of both
        why = "the optimizer finds the rate itself" if row.finds_rate else f"{spec.name} on {self.preset.about}"
        if faster != 1 and not row.finds_rate:
            why += f"; {pace.why or 'weights beside the base learn faster than its own'}"
        if spec.lr is None and self._unet_learns():
            self.decide("optimizer.lr", lr, why)
        if row.finds_rate and self.preset.short and not spec.relative_step and "d0" not in spec.args:
            # One rate for both parts: that of the words, which part the trigger from its class.
            begin = max(self.preset.lr, self.preset.text_lr if self.recipe.adapter.text else 0)
            begin *= faster if pace.begin is None else pace.begin / usual.rate
            self.decide("optimizer.args", {**spec.args, "d0": begin}, "it has no time to find its rate from nothing")
        if spec.text_lr is None and self.recipe.adapter.text and not spec.relative_step:
            self.decide("optimizer.text_lr", text_lr, why if row.finds_rate else _pace_of_words(ratio))
        if "kind" in self.recipe.schedule.model_fields_set:
            return
        if spec.relative_step:
            self.decide("schedule.kind", "adafactor", "Adafactor lowers the rate itself")
        elif row.schedule_free:
            self.decide("schedule.kind", "constant", "the optimizer averages instead of lowering the rate")
        elif row.finds_rate:
            reason = "the optimizer's own estimate, brought down at the end"
            self.decide("schedule.kind", "annealed_cosine_with_restarts", reason)

    def _loss(self) -> None:
        loss = self.recipe.loss
        if "kind" not in loss.weighting.model_fields_set and loss.kind == "l2" and self.preset.weighting != "none":
            reason = "steps that are all but noise count less: fewer shows are needed"
            self.decide("loss.weighting.kind", self.preset.weighting, reason)

    def _unet_learns(self) -> bool:
        chosen = sits_on(self.recipe, self.facts, self.recipe) if self.recipe.adapter.unet else frozenset()
        return chosen is None or ON_UNET in chosen

    def _captions(self) -> None:
        if self.recipe.triggers and moves(self.recipe):
            self._hold_triggers()
        captioned = [r for r in self.images if any(c.strip() for c in r.captions)]
        if "prefix" in self.recipe.captions.model_fields_set or len(self.recipe.concepts) > 1:
            return
        subject = self.recipe.concepts[0].subject
        trigger = self.recipe.concepts[0].trigger_word
        without = [r for r in captioned if trigger and not any(has_word(c, trigger) for c in r.captions)]
        if subject and captioned and len(without) == len(captioned):
            reason = f"no caption holds the trigger {trigger!r}, so it is put in front of each"
            self.decide("captions.prefix", f"{subject},", reason)

    def _hold_triggers(self) -> None:
        """Keeps the triggers in front where other tags are moved or dropped."""
        captions = [c for r in self.images for c in r.captions]
        if any(MARK in c for c in captions):
            reason = "images have different numbers of triggers, so a mark stands behind them"
            self.decide("captions.keep_tokens_separator", MARK, reason)
            return
        heads = [t.head for t in self.recipe.triggers]
        number = max(sum(tag in heads for tag in split_tags(c)) for c in captions) if captions else 0
        self.decide("captions.keep_tokens", number, "each caption begins with so many triggers: they stay in front")

    def _batch(self) -> None:
        train = self.recipe.train
        if train.fused_backward and "max_grad_norm" not in train.model_fields_set:
            reason = "train.fused_backward frees gradients before their length is known"
            self.decide("train.max_grad_norm", 0.0, reason)
        if train.batch == "auto" and "accumulation" not in train.model_fields_set:
            images = self.family.images_per_step
            self.decide("train.accumulation", images, "images a step; how many of them at a time is found by trying")
        if train.batch is not None:
            return
        if (usual := self.family.batch_size) > 1:
            self.decide("train.batch", usual, f"{self.family.name} is small: {usual} images fill a processor")
        else:
            self.decide(
                "train.batch", 1, "fits everywhere and learns most from few images; raise it with memory to spare"
            )

    def _shows(self) -> None:
        """Repeats and epochs from the budget of shows (see docs/plan.md)."""
        counts = {str(i): sum(r.concept == i for r in self.images) for i in range(len(self.recipe.concepts))}
        per_epoch, why = self._per_epoch(max(1, round(sum(counts.values()) / len(counts))))
        open_ = {i: n for i, n in counts.items() if self.recipe.concepts[int(i)].repeats is None}
        if open_:
            for i, repeats in balance_repeats(open_, fair_target(open_, per_epoch)).items():
                reason = f"{counts[i]} images x {repeats} = {counts[i] * repeats} shows an epoch: {why}"
                self.decide(f"concepts.{i}.repeats", repeats, reason)
        if self.recipe.train.epochs is not None or self.recipe.train.steps:
            return
        shown = sum(n * (self.recipe.concepts[int(i)].repeats or 1) for i, n in counts.items())
        cap = round(self.preset.cap * self._factor()[0]) * len(counts)
        epochs = max(1, min(self.preset.epochs, cap // max(1, shown)))
        reason = f"{shown} shows an epoch x {epochs} = {shown * epochs}; checkpoints to choose among"
        self.decide("train.epochs", epochs, reason)

    def _factor(self) -> tuple[float, list[str]]:
        """What the budget of shows is multiplied by, and why. `full` budgets are AdamW's own."""
        factor = 1.0
        why: list[str] = []
        finds_rate = self.recipe.optimizer.row.finds_rate
        if self.preset.adapter == "lora" and (self.preset.short or not finds_rate):
            reason = "x 2 where there is no time to find a rate" if finds_rate else "x 2 with a fixed rate"
            factor, why = factor * 2, [*why, reason]
        pace = pace_of(self.recipe.adapter, short=self.preset.short)
        if pace.shows != 1:
            factor, why = factor * pace.shows, [*why, f"x {pace.shows:g}: {pace.why}"]
        if self.recipe.loss.weighting.kind == "min_snr" or self.recipe.noise.ip_gamma:
            factor, why = factor * 0.6, [*why, "x 3/5 with min-SNR or IP noise"]
        if self.model_name == "sdxl":
            factor, why = factor * 0.5, [*why, "x 1/2 on SDXL"]
        return factor, why

    def _per_epoch(self, images: int) -> tuple[int, str]:
        """Shows an epoch of one concept with so many images, and their reason."""
        preset = self.preset
        if preset.repeats:
            return preset.repeats * images, f"{preset.about}: each image once an epoch, many epochs"
        factor, why = self._factor()
        if preset.per_image:
            shows = preset.per_image * images + (100 if images < 10 else 0)
            shows = min(shows, preset.cap)
            return max(1, shows // preset.epochs), f"{preset.per_image} shows an image, below {preset.cap}"
        assert preset.per_epoch
        text = ", ".join([f"{preset.per_epoch} for {preset.about}", *why])
        return round(preset.per_epoch * factor), text

    def _captions_say_more(self) -> bool:
        """Whether something is left of every caption without its trigger: there is a class image to make of it."""
        concepts, words = self.recipe.concepts, [t.word for t in self.recipe.triggers]
        return all(
            r.captions and without_trigger(r.captions[0], concepts[r.concept], words)
            for r in self.images
            if not concepts[r.concept].class_name
        )

    def _prior(self) -> None:
        prior = self.recipe.prior
        if prior.source is None:
            named = all(c.class_name for c in self.recipe.concepts)
            source: str = self.preset.prior
            reason = f"usual for {self.preset.about}"
            if prior.folder:
                source, reason = "folder", "prior.folder is given"
            elif not named and not (source == "captions" and self._captions_say_more()):
                source, reason = "none", "no class word is known"
            elif source == "captions":
                reason = "one class image for each caption, so that the class keeps its looks"
            elif source == "class":
                reason = "class images keep the class from becoming the subject"
            self.decide("prior.source", source, reason)
        if self.recipe.prior.source == "none":
            return
        if self.recipe.prior.target is None:
            reasons = {
                "noise": "as in the paper; it needs no second copy of the weights",
                "base": "pulls back only what drifts",
            }
            self.decide("prior.target", self.preset.prior_target, reasons[self.preset.prior_target])
        share = self.preset.prior_per_image
        if share != 1 and "per_image" not in self.recipe.prior.model_fields_set:
            self.decide("prior.per_image", share, "class images shown for each image: enough to hold the class")
        if self.preset.prior_weight != 1 and "weight" not in self.recipe.prior.model_fields_set:
            self.decide("prior.weight", self.preset.prior_weight, "the class moves less for it, the subject no slower")
        if self.recipe.prior.source != "folder":
            self._guidance("prior")
            self._steps("prior")
        if self.recipe.prior.source == "class" and self.recipe.prior.images is None:
            self.decide("prior.images", self.preset.prior_images, "many, so that none is learned by heart")

    def _guidance(self, section: Literal["prior", "sample", "evaluate"]) -> None:
        given = getattr(self.recipe, section).model_fields_set
        if self.preset.guidance is not None and "guidance" not in given:
            self.decide(f"{section}.guidance", self.preset.guidance, f"{self.model_name} draws best with it")

    def _steps(self, section: Literal["prior", "sample"]) -> None:
        given = getattr(self.recipe, section).model_fields_set
        if self.preset.steps is not None and "steps" not in given:
            reason = f"{self.model_name}'s pictures are all but those of 20 steps by then"
            self.decide(f"{section}.steps", self.preset.steps, reason)

    def _samples(self) -> None:
        self._guidance("sample")
        self._steps("sample")
        self._guidance("evaluate")
        if "prompts" in self.recipe.sample.model_fields_set:
            return
        if self.recipe.kind == "style":
            prompts, reason = self._style_prompts(), "pictures of the set in the style, and the first without it"
        else:
            named = [c for c in self.recipe.concepts if c.subject]
            prompts = [p for c in named for p in (c.subject, f"{c.subject}, at the beach", c.class_name) if p]
            reason = "the subject, the subject elsewhere, and the class without the trigger"
        if prompts:
            self.decide("sample.prompts", prompts, reason)

    def _style_prompts(self) -> list[str]:
        """A style has no looks of its own: it is seen on the set's own captions."""
        captions = [c for r in self.images for c in r.captions[:1]][:2]
        return [*captions, without_trigger(captions[0], self.recipe.concepts[0])] if captions else []


def _pace_of_words(ratio: float) -> str:
    """Why the text encoder's rate is `ratio` times the UNet's."""
    if ratio < 1:
        return "half of the UNet's: words are learned fast" if ratio == 0.5 else f"{ratio:.2g} x the UNet's"
    return f"{ratio:.2g} x the UNet's: the new word has to part from its class"
