"""The plan of a slider, which trains on prompts: without images, buckets and repeats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from bakehouse.adapters import NetworkSpec
from bakehouse.core.errors import UsageError
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.losses.slider import SliderPrompt
from bakehouse.models.samplers import find_sampler
from bakehouse.recipe.decisions import Derivation
from bakehouse.recipe.device_and_precision import pick_device, pick_precision
from bakehouse.recipe.recipe import Recipe

FP16 = (
    "sliders end in NaN in fp16: the ends are far apart, and the network overflows at strengths that its weights were "
    "not trained for"
)
_OF_IMAGES = ("captions", "triggers", "data", "prior", "noise", "evaluate")
"""Tables of a recipe about images, captions and noise that is added to them."""
_FEW = 2
"""Images in a step."""
_OF_TRAJECTORIES = (
    *("keep", "anchors", "both_ways", "vary_sizes", "trajectories", "points", "steps", "guidance", "sampler"),
)
"""Settings of a slider that is trained on prompts."""


class SliderDerivation(Derivation):
    """Decides what a slider's recipe leaves open."""

    def derive(self) -> None:
        """Decide everything."""
        self._size()
        self._slider()
        self._adapter()
        self._loss()
        self._optimizer()
        self._batch()
        self._precision()
        self._steps_and_epochs()
        self._samples()

    def _slider(self) -> None:
        side = self.recipe.buckets.resolution
        if not self.recipe.slider.sizes:
            self.decide("slider.sizes", [[side, side]], f"{self.recipe.model.base} draws {side} px best")

    def _batch(self) -> None:
        """Decide the images at a time: few, since each step has both strengths of them."""
        train = self.recipe.train
        if train.batch == "auto" and "accumulation" not in train.model_fields_set:
            self.decide("train.accumulation", _FEW, "images per step; the batch size is found by trying")
        if train.batch is None:
            images = min(_FEW, self.family.batch_size)
            self.decide("train.batch", images, "a direction needs few images: each step trains both ends on them")

    def _precision(self) -> None:
        """Avoid fp16, which is automatic on GPUs without bf16."""
        train = self.recipe.train
        if train.precision == "auto" and pick_precision("auto", pick_device(train.device)) == "fp16":
            self.decide("train.precision", "fp32", FP16)

    def _steps_and_epochs(self) -> None:
        train, preset = self.recipe.train, self.preset
        if train.steps is None:
            assert preset.train_steps
            self.decide("train.steps", preset.train_steps, f"usual for {preset.about}")
        steps = self.recipe.train.steps or 1
        if train.epochs is None:
            reason = "parts of the run; each saves weights and samples"
            self.decide("train.epochs", min(preset.epochs, steps), reason)

    def _samples(self) -> None:
        self._usual("sample", "guidance", "sampler")
        self._steps("sample")
        if "prompts" not in self.recipe.sample.model_fields_set:
            prompts = list(dict.fromkeys(p.target or p.ends[0] for p in self.recipe.slider.prompts))
            self.decide("sample.prompts", prompts, "the slider's own images, at strengths -1, 0 and 1")


def slider_errors(recipe: Recipe) -> Iterator[str]:
    """Yield every reason why this slider cannot be trained."""
    spec = recipe.slider
    if not spec.prompts:
        yield (
            "slider.prompts is empty: a slider needs its ends in words: --target person --positive 'person, smile' "
            "--negative 'person, frown'"
        )
    for number, prompt in enumerate(spec.prompts):
        yield from _of_prompt(f"slider.prompts.{number}", prompt)
    yield from _of_folders(recipe)
    if recipe.adapter.text:
        yield "adapter.text = true: a slider trains the UNet alone; its prompts keep the base's meaning: leave it out"
    if not isinstance(recipe.adapter, NetworkSpec):
        yield f"adapter.kind = {recipe.adapter.kind!r}: a slider is an adapter with a strength: set 'lora'"
    if recipe.train.precision == "fp16":
        yield f"train.precision = 'fp16': {FP16}; set 'bf16' or 'fp32'"
    if recipe.stop.when == "learned":
        yield "stop.when = 'learned' looks for a subject, and a slider has none: set 'settled' or 'done'"
    if spec.points > spec.steps:
        yield f"slider.points = {spec.points} is more than slider.steps = {spec.steps}: a step has one noisy image"
    try:
        find_sampler(spec.sampler)
    except UsageError as e:
        yield f"slider.sampler: {e.message}; {e.hint}"


def _of_prompt(key: str, prompt: SliderPrompt) -> Iterator[str]:
    positive, negative, _ = prompt.ends
    if positive.split() == negative.split():
        yield f"{key}: the positive and the negative prompt are both {positive!r}: there is no difference to learn"


def _of_folders(recipe: Recipe) -> Iterator[str]:
    """Yield errors of a slider from images, before any is read."""
    for i, concept in enumerate(recipe.concepts):
        if not concept.strength:
            yield f"concepts.{i}: a slider's folder needs the strength that it shows: strength = 1, or strength = -1"
    strengths = [c.strength for c in recipe.concepts if c.strength]
    if strengths and (min(strengths) > 0 or max(strengths) < 0 or len(set(strengths)) < len(strengths)):
        said = ", ".join(f"{s:g}" for s in strengths)
        yield f"concepts: their strengths are {said}: a slider needs different ones, on both sides of 0"


def pair_errors(recipe: Recipe, images: ImageSet) -> Iterator[str]:
    """Yield an error for each image of a slider that lacks its counterpart in another folder, or differs in size."""
    found: dict[str, dict[int, ImageRecord]] = defaultdict(dict)
    for record in images:
        found[record.path.stem][record.concept] = record
    for name, records in sorted(found.items()):
        if lacking := [c for i, c in enumerate(recipe.concepts) if i not in records]:
            yield f"{name}: this image is not in {lacking[0].folder}; each folder of a slider needs all names"
        elif len({(r.width, r.height) for r in records.values()}) > 1:
            sizes = ", ".join(f"{r.path} {r.width} x {r.height}" for r in records.values())
            yield f"{name}: images of one name must have one size: {sizes}"


def slider_warnings(recipe: Recipe) -> Iterator[str]:
    """Yield a warning for each setting that was given and has no effect on a slider."""
    for name in _OF_TRAJECTORIES if recipe.concepts else ():
        value = getattr(recipe.slider, name)
        if name in recipe.slider.model_fields_set and value != type(recipe.slider).model_fields[name].default:
            yield f"slider.{name} does nothing for a slider from images, which needs no trajectories"
    for table in _OF_IMAGES if not recipe.concepts else ("captions", "triggers", "prior"):
        given = getattr(recipe, table)
        if table == "noise":  # the schedule is the network's, whatever it denoises
            given = given.model_copy(update={"zero_terminal_snr": False})
        if table in recipe.model_fields_set and given != type(recipe).model_fields[table].get_default():
            yield f"{table} does nothing for a slider, which is trained on the target prompt alone"
