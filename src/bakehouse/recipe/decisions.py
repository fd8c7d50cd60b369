"""The settings that a plan decides where the recipe leaves them open, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bakehouse.adapters import FullFineTune, LoRA, NoAdapter
from bakehouse.adapters.lr_relative_to_lora import multipliers_for
from bakehouse.adapters.network_settings import NetworkSpec
from bakehouse.adapters.plan_fact_names import ON_TEXT, ON_UNET
from bakehouse.core.message_text import counted
from bakehouse.core.model_catalogue.conventions import with_quality
from bakehouse.data.balance_repeats import balance_repeats, fair_target
from bakehouse.data.captions import split_tags
from bakehouse.data.image_records import ImageSet
from bakehouse.models.base_conventions import conventions_of
from bakehouse.models.families import family_of
from bakehouse.models.load import ModelRef, native_size
from bakehouse.models.model_facts import ModelFacts
from bakehouse.recipe.base_validation import adapted_networks
from bakehouse.recipe.class_image_list import without_trigger
from bakehouse.recipe.compile_recipe_captions import MARK, tags_move
from bakehouse.recipe.device_and_precision import pick_device
from bakehouse.recipe.presets import Preset, load_preset
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.sharding_choice import choose_sharding
from bakehouse.recipe.words_in_captions import has_word


@dataclass(frozen=True)
class Decision:
    """A setting that the plan chose, and why."""

    key: str
    value: Any
    reason: str


class Derivation:
    """Decides the settings that a recipe leaves open, in the order in which they depend on each other."""

    def __init__(self, recipe: Recipe, images: ImageSet, model: ModelRef, facts: ModelFacts | None) -> None:
        self.recipe = recipe
        self.images = images
        self.model = model
        self.facts = facts
        self.family = family_of(model)
        self.model_name = self.family.name
        self.preset: Preset = load_preset(recipe.kind, self.model_name)
        self.usual = conventions_of(model, recipe.model.conventions)
        self.decisions: list[Decision] = []

    def decide(self, key: str, value: Any, reason: str) -> None:
        """Set a value in the recipe and record the reason."""
        self.recipe = self.recipe.with_values({key: value})
        self.decisions.append(Decision(key, value, reason))

    def derive(self) -> None:
        """Decide everything that does not depend on the number of steps."""
        self._model()
        self._size()
        self._adapter()
        self._loss()
        self._optimizer()
        self._embedding()
        self._captions()
        self._batch()
        self._repeats_and_epochs()
        self._prior()
        self._samples()
        self._shard()

    def epochs_for_steps(self, steps_per_epoch: int) -> None:
        """Decide the epochs where the recipe has a number of steps only."""
        train = self.recipe.train
        if train.epochs is None and train.steps:
            self.decide("train.epochs", -(-train.steps // steps_per_epoch), f"enough for train.steps = {train.steps}")

    def _model(self) -> None:
        usual, model = self.usual, self.recipe.model
        if usual is None or "clip_skip" in model.model_fields_set or usual.conventions.clip_skip == model.clip_skip:
            return
        self.decide("model.clip_skip", usual.conventions.clip_skip, usual.reason)

    def _size(self) -> None:
        native = native_size(self.model)
        reason = f"{self.recipe.model.base} was trained at {native} px"
        if self.usual is not None and self.model.configured_size() is None:
            native, reason = self.usual.conventions.resolution, self.usual.reason
        given = self.recipe.buckets.model_fields_set
        if "resolution" not in given:
            self.decide("buckets.resolution", native, reason)
        if "step" not in given:
            step = 32 if native < 256 else 64
            self.decide("buckets.step", step, f"bucket sides are multiples of {step} px")

    def _adapter(self) -> None:
        given = self.recipe.adapter.model_fields_set if "adapter" in self.recipe.model_fields_set else set()
        if "adapter" not in self.recipe.model_fields_set and self.preset.adapter == "full":
            self.decide("adapter", {"kind": "full"}, f"{self.recipe.kind} trains the whole network")
        if "adapter" not in self.recipe.model_fields_set and self.preset.adapter == "none":
            self.decide("adapter", {"kind": "none"}, "an embedding changes no network")
        if isinstance(self.recipe.adapter, NoAdapter):
            return
        # An adapter that is continued has its rank, alpha and modules from its file.
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
                self.decide("adapter.alpha", rank * ratio, f"{ratio:g} x rank, so that the learning rate fits any rank")
            if "targets" in free and not adapter.include:  # IA3's own patterns are its targets
                self.decide("adapter.targets", self.preset.targets, why)
        if "text" not in given:
            self._text()

    def _text(self) -> None:
        """Decide whether the text encoder is trained too."""
        learns = self.preset.text
        reason = "the text encoder learns the new trigger word" if learns else "no new word has to be learned"
        if learns:
            chosen = adapted_networks(self.recipe.with_values({"adapter.text": True}), self.facts, self.recipe)
            if chosen is not None and ON_TEXT not in chosen:
                learns, reason = False, "the adapter has no module of the text encoder"
        self.decide("adapter.text", learns, reason)

    def _optimizer(self) -> None:
        spec, row = self.recipe.optimizer, self.recipe.optimizer.row
        # With rate-finding optimizers both parts take the same multiplier: their ratio is found as well.
        multipliers = multipliers_for(self.recipe.adapter, short=self.preset.short)
        # A preset's rates are for the adapter that it chooses itself.
        usual = multipliers_for(FullFineTune() if self.preset.adapter == "full" else LoRA(), short=self.preset.short)
        faster = multipliers.lr / usual.lr
        lr = row.lr if row.finds_rate else row.rate_like(self.preset.lr * faster)
        ratio = 1.0 if row.finds_rate else self.preset.text_lr / self.preset.lr
        text_lr = float(f"{(spec.lr or lr) * ratio:.4g}")  # a rate that is given sets the pace of both
        why = f"for {spec.name} and {self.preset.about}"
        if row.finds_rate:
            why = "the optimizer finds the learning rate itself"
        if faster != 1 and not row.finds_rate:
            why += f"; {multipliers.why or 'an adapter needs a higher learning rate than whole weights'}"
        if spec.lr is None and self._unet_learns():
            self.decide("optimizer.lr", lr, why)
        if row.finds_rate and self.preset.short and not spec.relative_step and "d0" not in spec.args:
            # One rate for both parts: that of the words, which part the trigger from its class.
            begin = max(self.preset.lr, self.preset.text_lr if self.recipe.adapter.text else 0)
            begin *= faster if multipliers.initial_lr is None else multipliers.initial_lr / usual.lr
            reason = "the run is too short to find a learning rate from zero"
            self.decide("optimizer.args", {**spec.args, "d0": begin}, reason)
        if spec.text_lr is None and self.recipe.adapter.text and not spec.relative_step:
            self.decide("optimizer.text_lr", text_lr, why if row.finds_rate else _text_lr_reason(ratio))
        if "kind" in self.recipe.schedule.model_fields_set:
            return
        if spec.relative_step:
            self.decide("schedule.kind", "adafactor", "Adafactor has its own schedule")
        elif row.schedule_free:
            self.decide("schedule.kind", "constant", "the optimizer averages weights instead of lowering the rate")
        elif row.finds_rate:
            reason = "lowers the optimizer's own learning rate towards the end"
            self.decide("schedule.kind", "annealed_cosine_with_restarts", reason)

    def _embedding(self) -> None:
        """Decide the vectors of an embedding, where one trains."""
        spec = self.recipe.embedding
        alone = isinstance(self.recipe.adapter, NoAdapter)
        if spec.vectors is None and (alone or self.recipe.kind == "embedding"):
            reason = "enough for a subject; each takes the place of one token in a prompt"
            self.decide("embedding.vectors", self.preset.vectors, reason)
        if self.recipe.embedding.vectors is None:
            return
        classes = {c.class_name for c in self.recipe.concepts if c.trigger_word}
        if spec.init is None and len(classes) == 1 and (name := classes.pop()):
            self.decide("embedding.init", name, "the class word: training starts from what the base knows")
        if spec.lr is None:
            row = self.recipe.optimizer.row
            lr = row.lr if row.finds_rate else row.rate_like(self.preset.embedding_lr or 10 * self.preset.lr)
            why = "vectors need a much higher rate than a network's weights"
            self.decide("embedding.lr", lr, "the optimizer finds the learning rate itself" if row.finds_rate else why)
        if alone and "dtype" not in self.recipe.save.model_fields_set:
            self.decide("save.dtype", "fp32", "the file has a few kilobytes: nothing is saved by rounding")

    def _loss(self) -> None:
        loss = self.recipe.loss
        if "kind" not in loss.weighting.model_fields_set and loss.kind == "l2" and self.preset.weighting != "none":
            reason = "weights noisy timesteps less, so that fewer steps are needed"
            self.decide("loss.weighting.kind", self.preset.weighting, reason)

    def _unet_learns(self) -> bool:
        chosen = adapted_networks(self.recipe, self.facts, self.recipe) if self.recipe.adapter.unet else frozenset()
        return chosen is None or ON_UNET in chosen

    def _captions(self) -> None:
        if self.recipe.triggers and tags_move(self.recipe):
            self._keep_triggers()
        captioned = [r for r in self.images if any(c.strip() for c in r.captions)]
        if "prefix" in self.recipe.captions.model_fields_set or len(self.recipe.concepts) > 1:
            return
        subject = self.recipe.concepts[0].subject
        trigger = self.recipe.concepts[0].trigger_word
        without = [r for r in captioned if trigger and not any(has_word(c, trigger) for c in r.captions)]
        if subject and captioned and len(without) == len(captioned):
            reason = f"no caption has the trigger {trigger!r}, so it is added to each"
            words = subject if has_word(subject, trigger) else f"{trigger} {self.recipe.concepts[0].class_name}".strip()
            self.decide("captions.prefix", f"{words},", reason)

    def _keep_triggers(self) -> None:
        """Keep the triggers in front where other tags are shuffled or dropped."""
        captions = [c for r in self.images for c in r.captions]
        if any(MARK in c for c in captions):
            reason = "separates the triggers, whose number differs between images, from the other tags"
            self.decide("captions.keep_tokens_separator", MARK, reason)
            return
        heads = [t.head for t in self.recipe.triggers]
        number = max(sum(tag in heads for tag in split_tags(c)) for c in captions) if captions else 0
        self.decide("captions.keep_tokens", number, "triggers at the start of each caption are not shuffled or dropped")

    def _batch(self) -> None:
        train = self.recipe.train
        if train.fused_backward and "max_grad_norm" not in train.model_fields_set:
            reason = "train.fused_backward frees gradients before their norm is known"
            self.decide("train.max_grad_norm", 0.0, reason)
        given = "accumulation" in train.model_fields_set
        if train.batch == "auto" and not given:
            images = -(-self.family.images_per_step // train.devices) * train.devices
            self.decide("train.accumulation", images, "images per step; the batch size is found by trying")
        elif train.batch is not None and train.devices > 1 and not given:
            self.decide("train.accumulation", train.devices, f"a batch of {train.batch} for each device")
        if train.batch is not None:
            return
        if train.devices > 1 and not given:
            usual = self.family.batch_size
            more = f": more images in a step than {self.family.name}'s usual {usual}, so fewer steps"
            self.decide("train.batch", max(1, usual // train.devices), f"shared by {train.devices} devices")
            reason = f"a batch for each device{more if train.devices > usual else ''}"
            self.decide("train.accumulation", train.devices, reason)
        elif (usual := self.family.batch_size) > 1:
            self.decide("train.batch", usual, f"{self.family.name} is small: batches of {usual} keep a CPU busy")
        else:
            self.decide("train.batch", 1, "fits every device; raise it if memory allows")

    def _shard(self) -> None:
        device = pick_device(self.recipe.train.device)
        shard, reason = choose_sharding(self.recipe, self.model_name, device)
        if reason:
            self.decide("train.shard", shard, reason)

    def _repeats_and_epochs(self) -> None:
        """Decide repeats and epochs from the preset's number of images shown (see docs/plan.md)."""
        counts = {str(i): sum(r.concept == i for r in self.images) for i in range(len(self.recipe.concepts))}
        per_epoch, why = self._per_epoch(max(1, round(sum(counts.values()) / len(counts))))
        open_ = {i: n for i, n in counts.items() if self.recipe.concepts[int(i)].repeats is None}
        if open_:
            for i, repeats in balance_repeats(open_, fair_target(open_, per_epoch)).items():
                reason = f"{counted(counts[i], 'image')} x {repeats} = {counts[i] * repeats} per epoch: {why}"
                self.decide(f"concepts.{i}.repeats", repeats, reason)
        if self.recipe.train.epochs is not None or self.recipe.train.steps:
            return
        shown = sum(n * (self.recipe.concepts[int(i)].repeats or 1) for i, n in counts.items())
        cap = round(self.preset.cap * self._factor()[0]) * len(counts)
        epochs = max(1, min(self.preset.epochs, cap // max(1, shown)))
        reason = f"{shown} images per epoch x {epochs} = {shown * epochs}; each epoch saves a checkpoint"
        self.decide("train.epochs", epochs, reason)

    def _factor(self) -> tuple[float, list[str]]:
        """Return the factor of the number of images shown, and its reasons. `full` presets are made for AdamW."""
        factor = 1.0
        why: list[str] = []
        finds_rate = self.recipe.optimizer.row.finds_rate
        if self.preset.adapter != "full" and (self.preset.short or not finds_rate):
            reason = "x 2 as the run is too short to find a rate" if finds_rate else "x 2 with a fixed learning rate"
            factor, why = factor * 2, [*why, reason]
        multipliers = multipliers_for(self.recipe.adapter, short=self.preset.short)
        if multipliers.exposures != 1:
            factor, why = factor * multipliers.exposures, [*why, f"x {multipliers.exposures:g}: {multipliers.why}"]
        if self.recipe.loss.weighting.kind == "min_snr" or self.recipe.noise.ip_gamma:
            factor, why = factor * 0.6, [*why, "x 0.6 with min-SNR or input perturbation"]
        if self.model_name == "sdxl":
            factor, why = factor * 0.5, [*why, "x 0.5 on SDXL"]
        return factor, why

    def _per_epoch(self, images: int) -> tuple[int, str]:
        """Return the images shown per epoch for a concept with so many images, and the reason."""
        preset = self.preset
        if preset.repeats:
            return preset.repeats * images, f"{preset.about}: each image once per epoch, many epochs"
        factor, why = self._factor()
        if preset.per_image:
            shows = preset.per_image * images + (100 if images < 10 else 0)
            shows = min(shows, preset.cap)
            return max(1, shows // preset.epochs), f"{preset.per_image} per image, at most {preset.cap} in all"
        assert preset.per_epoch
        text = ", ".join([f"{preset.per_epoch} for {preset.about}", *why])
        return round(preset.per_epoch * factor), text

    def _captions_have_content(self) -> bool:
        """Whether every caption has more than its trigger, so that a class image can be made from it."""
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
            elif not named and not (source == "captions" and self._captions_have_content()):
                source, reason = "none", "there is no class word"
            elif source == "captions":
                reason = "one class image per caption, so that the class does not drift"
            elif source == "class":
                reason = "class images keep the class from drifting to the subject"
            self.decide("prior.source", source, reason)
        if self.recipe.prior.source == "none":
            return
        if self.recipe.prior.target is None:
            self._prior_target()
        share = self.preset.prior_per_image
        if share != 1 and "per_image" not in self.recipe.prior.model_fields_set:
            self.decide("prior.per_image", share, "class images per image, enough to keep the class")
        if self.preset.prior_weight != 1 and "weight" not in self.recipe.prior.model_fields_set:
            reason = "less drift of the class, and the subject is learned as fast"
            self.decide("prior.weight", self.preset.prior_weight, reason)
        if self.recipe.prior.source != "folder":
            self._usual("prior", "guidance", "sampler", "quality", "negative")
            self._steps("prior")
        if self.recipe.prior.source == "class" and self.recipe.prior.images is None:
            self.decide("prior.images", self.preset.prior_images, "many, so that none is memorised")

    def _prior_target(self) -> None:
        reasons = {
            "noise": "as published; no second copy of the weights is needed",
            "base": "the base model's own prediction: corrects only what drifts",
        }
        target = self.preset.prior_target
        if self.recipe.train.shard and self.recipe.train.devices > 1:
            target, reasons["noise"] = "noise", "devices that share the weights keep no copy of the base's"
        self.decide("prior.target", target, reasons[target])

    def _usual(self, section: Literal["prior", "sample", "evaluate"], *names: str) -> None:
        """Decide settings of images by the base's conventions.

        Those of a known base are written even where they are the recipe's default, so that a written recipe does not
        change with a later table; of a family's entry only what differs.
        """
        if self.usual is None:
            return
        conventions = self.usual.conventions
        for name in names:
            settings, value = getattr(self.recipe, section), getattr(conventions, name)
            unused = name == "negative" and settings.guidance <= 1
            matters = value != getattr(settings, name) if conventions.whole_family else bool(value)
            if name not in settings.model_fields_set and matters and not unused:
                self.decide(f"{section}.{name}", value, self.usual.reason)

    def _steps(self, section: Literal["prior", "sample"]) -> None:
        given = getattr(self.recipe, section).model_fields_set
        if self.preset.steps is not None and "steps" not in given:
            reason = f"enough for {self.model_name}: nearly the same images as with 20"
            self.decide(f"{section}.steps", self.preset.steps, reason)

    def _samples(self) -> None:
        self._usual("sample", "guidance", "sampler")
        self._steps("sample")
        self._usual("evaluate", "guidance", "sampler", "prompts", "quality", "negative")
        if "prompts" in self.recipe.sample.model_fields_set:
            return
        prompts, reason = self._sample_prompts()
        if prompts and self.usual is not None and self.usual.conventions.quality:
            prompts = [with_quality(p, self.usual.conventions.quality) for p in prompts]
            reason += f", with the quality words {self.usual.reason}"
        if prompts:
            self.decide("sample.prompts", prompts, reason)
            self._usual("sample", "negative")

    def _sample_prompts(self) -> tuple[list[str], str]:
        """Return the prompts of samples, without quality words, and the reason for them."""
        if self.recipe.kind == "style":
            return self._style_prompts(), "captions of the set in the style, and the first without it"
        named = [c for c in self.recipe.concepts if c.subject]
        prompts = [p for c in named for p in (c.subject, f"{c.subject}, at the beach", c.class_name) if p]
        if any(c.class_name for c in named):
            return prompts, "the subject, the subject in another place, and the class without the trigger"
        return prompts, "the subject, and the subject in another place"

    def _style_prompts(self) -> list[str]:
        """Return sample prompts for a style, which are captions of the set itself."""
        captions = [c for r in self.images for c in r.captions[:1]][:2]
        return [*captions, without_trigger(captions[0], self.recipe.concepts[0])] if captions else []


def _text_lr_reason(ratio: float) -> str:
    """Return why the text encoder's rate is `ratio` times the UNet's."""
    if ratio < 1:
        return "half of the UNet's: the text encoder learns fast" if ratio == 0.5 else f"{ratio:.2g} x the UNet's"
    return f"{ratio:.2g} x the UNet's: separates the new word from its class"
