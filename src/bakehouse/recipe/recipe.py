"""A recipe: all settings of a training, frozen. The plan decides settings that are left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, StringConstraints, TypeAdapter, WrapValidator, field_validator, model_validator

from bakehouse.adapters import AdapterSpec, FullFineTune, LoRA, NetworkSpec
from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.file_names import file_name_problem, to_file_name
from bakehouse.core.setting_needs import Needs, PlanFact, above, is_on, one_of, other_than, reached_by
from bakehouse.core.settings import Spec, read_toml
from bakehouse.data.augment import AugmentSpec
from bakehouse.data.buckets import BucketSpec
from bakehouse.data.captions import CaptionOptions
from bakehouse.data.plan_facts import ALPHA
from bakehouse.data.triggers import Trigger, check_unique_words
from bakehouse.losses import LossSpec, NoiseSpec
from bakehouse.recipe.early_stopping import StopSpec
from bakehouse.recipe.lr_schedule import MOST_STEPS, ScheduleSpec
from bakehouse.recipe.optimizers import OptimizerSpec
from bakehouse.recipe.presets import load_preset

Kind = Literal["character", "object", "concept", "pose", "style", "dreambooth"]
Positive = Annotated[int, Field(ge=1, le=MOST_STEPS)]
Images = Annotated[int, Field(ge=1, le=65_536)]
SamplerSteps = Annotated[int, Field(ge=1, le=1000)]
Often = Annotated[int, Field(ge=0, le=MOST_STEPS)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""Range of seeds that PyTorch, NumPy and other trainers all accept."""

EPOCH_STEPS = PlanFact("plan.epoch_steps", "the steps of all epochs")
NEEDED_EPOCHS = PlanFact("plan.needed_epochs", "the epochs that train.steps needs")
_PRIOR = Needs(other_than("source", "none"))
_MADE = Needs(one_of("source", "class", "captions"))
_SAMPLED = Needs(is_on("prompts"))


def _positive_or_auto(value: Any, _: Any) -> Any:
    """Give one error for a wrong number, instead of one for each member of the union."""
    return value if value is None or value == "auto" else TypeAdapter(Images).validate_python(value)


class ModelSpec(Spec):
    base: str = BUNDLED_BASE
    """`crumb`, a diffusers folder, a single .safetensors or .ckpt file, or a Hub id."""
    vae: str | None = None
    """Another VAE: a folder, a file or a Hub id."""
    prediction: Literal["epsilon", "v_prediction"] | None = None
    """What the UNet predicts. Left out: as the model's own files say, which they nearly always do."""
    clip_skip: Annotated[int, Field(ge=1, le=12), Needs(other_than("model.family", "sdxl"), at=(2,))] = 1
    """As A1111 counts it: 1 is the text encoder's last layer, 2 the one before."""
    max_tokens: Literal[75, 150, 225] = 75
    """Longer captions are cut; each 75 make one more pass of the text encoder."""
    quantize: Literal["int8"] | None = None
    """Keep the frozen weights below an adapter in 8 bits: half of fp16's memory, a little slower. Left out: floats."""


class ConceptSpec(Spec):
    folder: Path
    """Images, with captions beside them where there are any. Relative to the recipe's own folder."""
    subject: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    """Trigger and class word, `zwx person`: the caption of images that have none."""
    trigger: str | None = None
    """The word that means the subject. Left out: the subject's first word."""
    class_word: str | None = None
    """What the base calls such a thing. Left out: the subject without the trigger."""
    repeats: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How often an epoch shows each image. Left out: balanced by the plan."""

    @property
    def trigger_word(self) -> str:
        """The trigger; empty where the concept has none."""
        if self.trigger is not None:
            return self.trigger
        return self.subject.split()[0] if self.subject else ""

    @property
    def class_name(self) -> str:
        """The class word; empty where the subject is a trigger alone."""
        if self.class_word is not None:
            return self.class_word
        return " ".join(w for w in self.subject.split() if w != self.trigger_word)


class PriorSpec(Spec):
    """Class images (prior preservation, Ruiz et al. 2022): what the base knew, shown beside the subject."""

    source: Literal["none", "class", "captions", "folder"] | None = None
    """`class`: made from the class prompt; `captions`: one an image, from its caption without the trigger; `folder`."""
    images: Annotated[Annotated[int, Field(ge=1, le=100_000)] | None, Needs(one_of("source", "class"))] = None
    """How many to make from the class prompt. Left out: the plan's."""
    prompt: Annotated[str | None, Needs(one_of("source", "class", "folder"))] = None
    """The class prompt: of images made from it, and of those of `folder` without a caption. Left out: the concept's
    class word, for a folder the first concept's."""
    folder: Annotated[Path | None, Needs(one_of("source", "folder"), refused=True)] = None
    """Images of the class, yours, with captions."""
    weight: Annotated[
        float,
        Field(ge=0, le=10),
        _PRIOR,
        Needs(at=(0.0,), otherwise="shows class images that teach nothing"),
    ] = 1.0
    """What a class image's loss counts beside a subject image's."""
    target: Annotated[Literal["noise", "base"] | None, _PRIOR] = None
    """What class images teach: the noise that was added (Ruiz et al.), or what the untouched base would predict, which
    holds the base's own answers, to the class word and the empty prompt too. Left out: the plan's."""
    per_image: Annotated[float, Field(gt=0, le=10), _PRIOR] = 1.0
    """Class images shown for each subject image."""
    steps: Annotated[SamplerSteps, _MADE] = 20
    """Of denoising, for class images that are made."""
    guidance: Annotated[float, Field(ge=1, le=100), _MADE] = 7.0
    """Of class images that are made."""
    sampler: Annotated[str, _MADE] = "dpm++ 2m"
    """Of class images that are made: a name of `bakehouse generate --sampler`."""


class DataSpec(Spec):
    flip: bool = False
    """Show images mirrored half of the time. Not for faces with a parting, text or anything one-sided."""
    alpha_mask: Annotated[bool, Needs(is_on(ALPHA)), Needs(is_on("loss.masked"))] = False
    """Learn only what is opaque in images with transparency (mask files are used in any case)."""
    augment: AugmentSpec = AugmentSpec()
    """Other crops and colours of the same images."""
    cache: Literal["memory", "disk", "none"] = "disk"
    """Where encoded images are kept: the disk's are found again by content; memory leaves nothing behind; none encodes
    each image anew whenever it is shown, which is slow and lets every show be another variation."""
    workers: Annotated[int, Field(ge=0, le=64), Needs(other_than("cache", "none"))] = 2
    """Threads that open images while others are encoded. Results do not depend on it."""


class TrainSpec(Spec):
    epochs: Annotated[Positive | None, Needs(reached_by(NEEDED_EPOCHS))] = None
    """Times that every image is shown as often as it repeats. Left out: the plan's."""
    steps: Annotated[Positive | None, Needs(reached_by(EPOCH_STEPS))] = None
    """Stop at this many optimizer steps. Left out: the epochs'."""
    batch: Annotated[Images | Literal["auto"] | None, WrapValidator(_positive_or_auto)] = None
    """Images at a time. `auto`: as many of a step's images as fit the device, found by trying."""
    accumulation: Images = 1
    """Batches whose gradients are added up before a step. With `batch = "auto"`: the images of a step."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    """Of the arithmetic; weights that learn stay fp32. `auto`: bf16 or fp16 on a GPU, fp32 on a CPU."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps or auto."""
    max_grad_norm: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    """Gradients longer than this are shortened; 0 is off."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: a third slower, far less memory."""
    fused_backward: bool = False
    """Use and free gradients on the way back, in a full fine-tune: a third less memory. They cannot be clipped or
    accumulated then."""
    compile: bool = False
    """torch.compile the UNet; pays on a GPU after some minutes."""
    channels_last: bool | None = None
    """Keep convolutions' numbers pixel by pixel. Left out: on CPUs and CUDA devices, where it is faster."""
    attention: Literal["sdpa", "xformers"] = "sdpa"
    """Whose attention kernel: PyTorch's own, or xformers' where it is installed."""
    offload: Annotated[bool | None, Needs(other_than("device", "cpu"), at=(True,))] = None
    """Keep text encoder and VAE in main memory while nobody needs them. Left out: on a GPU, once all is encoded."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the averaged weights that are saved; 0 is off."""

    @property
    def batch_size(self) -> int:
        """Images at a time; 1 if it is not known yet."""
        return self.batch if isinstance(self.batch, int) else 1


class SampleSpec(Spec):
    prompts: tuple[str, ...] = ()
    """Pictures made while training, with fixed seeds; kohya's --n --w --h --d --l --s --ss may stand behind a prompt
    and mean what they mean there: sides are rounded down to a multiple of 8."""
    negative: Annotated[str, _SAMPLED, Needs(above("guidance", 1))] = ""
    """What the pictures are steered away from."""
    every_epochs: Annotated[Often, _SAMPLED] = 1
    """0 is off."""
    every_steps: Annotated[Often, _SAMPLED] = 0
    """0 is off."""
    at_start: Annotated[bool, _SAMPLED] = True
    """Also before the first step."""
    steps: SamplerSteps = 20
    """Of denoising."""
    guidance: Annotated[float, Field(ge=1, le=100)] = 7.0
    """1 is none."""
    sampler: str = "dpm++ 2m"
    """A name of `bakehouse generate --sampler`."""
    seed: Annotated[Seed, _SAMPLED] = 1
    """The first picture's; the same each time."""


class SaveSpec(Spec):
    every_epochs: Often = 1
    """0 is off; the last weights are always saved."""
    every_steps: Often = 0
    """0 is off."""
    keep_last: Annotated[Positive | None, Needs(is_on("every_epochs"), is_on("every_steps"))] = None
    """Of the weights saved on the way; left out, all."""
    dtype: Literal["fp16", "bf16", "fp32"] = "fp16"
    """Of the saved weights."""
    state_every_seconds: Annotated[float, Field(gt=0, le=10_000_000)] = 120.0
    """How much work a kill can cost at most."""
    tensorboard: bool = False
    """Write losses, rate, speed and samples for TensorBoard too, into the run's tensorboard/ folder."""


class EvaluateSpec(Spec):
    weights: tuple[Annotated[float, Field(gt=0, le=3)], ...] = (0.6, 0.8, 1.0)
    """The adapter's weights that are judged."""
    checkpoints: Annotated[int, Field(ge=1, le=10_000)] = 5
    """At most so many checkpoints are judged, spread over the run."""
    images: Annotated[int, Field(ge=1, le=10_000)] = 24
    """Pictures for each checkpoint and weight."""
    holdout: Path | None = None
    """Images of the subject that were not trained on."""
    steps: SamplerSteps = 20
    """Of denoising."""
    guidance: Annotated[float, Field(ge=1, le=100)] = 7.0
    """Of the pictures that are judged."""
    seed: Seed = 1000
    """The first picture's."""


class Recipe(Spec):
    """Settings of a training: `bakehouse plan` writes one, `bakehouse train` runs it."""

    version: Literal[1] = 1
    name: str = ""
    """Of the run and its files: a plain file name. Left out: from the subject."""
    kind: Kind = "character"
    """What is taught: chooses the plan's numbers."""
    seed: Seed = 0
    """Of everything that is left to chance: the same seed, the same training."""
    model: ModelSpec = ModelSpec()
    concepts: Annotated[tuple[ConceptSpec, ...], Field(min_length=1)]
    triggers: tuple[Trigger, ...] = ()
    """Words with what each takes into itself: captions are compiled from raw tags when the recipe is used, no file is
    changed. Left out: captions are taken as they are."""
    captions: CaptionOptions = CaptionOptions()
    buckets: BucketSpec = BucketSpec()
    """Resolution and shapes. What is left out, the plan takes from the model."""
    data: DataSpec = DataSpec()
    prior: PriorSpec = PriorSpec()
    adapter: AdapterSpec = LoRA()
    loss: LossSpec = LossSpec()
    noise: NoiseSpec = NoiseSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    train: TrainSpec = TrainSpec()
    stop: StopSpec = StopSpec()
    sample: SampleSpec = SampleSpec()
    save: SaveSpec = SaveSpec()
    evaluate: EvaluateSpec = EvaluateSpec()

    @model_validator(mode="before")
    @classmethod
    def _adapter_kind(cls, values: Any) -> Any:
        """Choose the kind of an `[adapter]` without one: the preset's if it has all of its keys, else LoRA."""
        adapter = values.get("adapter") if isinstance(values, Mapping) else None
        if not isinstance(adapter, Mapping) or "kind" in adapter:
            return values
        taught = values.get("kind", cls.model_fields["kind"].default)
        whole = taught in get_args(Kind) and load_preset(taught).adapter == "full"
        kind = "full" if whole and adapter.keys() <= FullFineTune.model_fields.keys() else "lora"
        return {**values, "adapter": {"kind": kind, **adapter}}

    @field_validator("name")
    @classmethod
    def _names_a_file(cls, name: str) -> str:
        if why := file_name_problem(name):
            raise ValueError(f"{name!r} cannot name a file: {why}")
        return name

    @model_validator(mode="after")
    def _triggers_differ(self) -> Self:
        check_unique_words(self.triggers)
        return self

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a recipe; relative paths start from its own folder.

        Raises:
            UsageError: not there, not TOML.
            Problems: wrong keys or values, all at once.
        """
        path = Path(path)
        try:
            return super().load(path).resolved_from(path.parent)
        except UsageError as e:
            if isinstance(e, Problems) and "concepts" not in read_toml(path):
                e.hint = f"settings of another trainer become a recipe with: bakehouse import {path}"
            if (path.parent / "inputs.json").is_file():
                e.hint = "it is a run's recipe: restore it, or move it away and use the command that began the run, "
                e.hint += "with its own recipe or images, which writes it again"
            raise

    def resolved_from(self, folder: Path) -> Self:
        """Return a copy whose relative paths start from `folder`; open settings stay open."""
        paths: dict[str, Path | None] = {
            **{f"concepts.{i}.folder": concept.folder for i, concept in enumerate(self.concepts)},
            "prior.folder": self.prior.folder,
            "evaluate.holdout": self.evaluate.holdout,
            "adapter.start": self.adapter.start if isinstance(self.adapter, NetworkSpec) else None,
        }
        changes = {key: str((folder / p.expanduser()).resolve()) for key, p in paths.items() if p is not None}
        for key, ref in {"model.base": self.model.base, "model.vae": self.model.vae}.items():
            if ref is not None and ref != BUNDLED_BASE and (folder / ref).exists():
                changes[key] = str((folder / ref).resolve())
        return self.with_values(changes)

    @property
    def title(self) -> str:
        """The name, or one made from the first subject: `zwx-person`."""
        words = self.name or self.concepts[0].subject or self.concepts[0].folder.name
        return to_file_name(words, "subject")
