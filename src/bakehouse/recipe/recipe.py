"""A recipe: all settings of a training, frozen. The plan decides settings that are left out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)

from bakehouse.adapters import AdapterSpec, EmbeddingSpec, FullFineTune, LoRA, NetworkSpec, NoAdapter
from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.file_names import file_name_problem, to_file_name
from bakehouse.core.file_store import protocol_of
from bakehouse.core.model_catalogue.conventions import PromptForm
from bakehouse.core.setting_needs import Needs, PlanFact, above, is_on, one_of, other_than, reached_by
from bakehouse.core.settings import Spec, read_toml
from bakehouse.data.augment import AugmentSpec
from bakehouse.data.buckets import BucketSpec
from bakehouse.data.captions import CaptionOptions
from bakehouse.data.plan_fact_names import ALPHA
from bakehouse.data.triggers import Trigger, check_unique_words
from bakehouse.losses import LossSpec, NoiseSpec, SliderSpec
from bakehouse.models.samplers import SAMPLERS
from bakehouse.recipe.lr_schedule import MOST_STEPS, ScheduleSpec
from bakehouse.recipe.optimizers import OptimizerSpec
from bakehouse.recipe.presets import load_preset
from bakehouse.recipe.stop_settings import StopSpec

Kind = Literal[
    "character", "outfits", "pack", "object", "concept", "pose", "style", "dreambooth", "embedding", "slider"
]
OF_GROUPS = ("outfits", "pack")
"""Kinds whose concepts are groups of images: a character in each of its outfits, and characters together."""
Positive = Annotated[int, Field(ge=1, le=MOST_STEPS)]
Images = Annotated[int, Field(ge=1, le=65_536)]
SamplerSteps = Annotated[int, Field(ge=1, le=1000)]
Often = Annotated[int, Field(ge=0, le=MOST_STEPS)]
SamplerName = Annotated[str, Field(examples=list(SAMPLERS))]
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
    """What the UNet predicts. Default: detected from the model's files."""
    clip_skip: Annotated[int, Field(ge=1, le=12), Needs(other_than("model.family", "sdxl"), at=(2,))] = 1
    """Text encoder layer to use, as in A1111: 1 is the last layer, 2 the one before."""
    conventions: str | None = None
    """Recommended settings of the base, by a name in the table of `docs/base-models.md`: guidance, sampler, quality
    words and more, for what the recipe leaves out. `none`: no recommendations. Default: found by the model's name or
    file."""
    max_tokens: Literal[75, 150, 225] = 75
    """Maximum tokens of a caption; longer ones are cut. Each 75 tokens take one pass of the text encoder."""
    quantize: Literal["int8"] | None = None
    """Store the frozen weights of the base model in 8 bits while an adapter is trained: half the memory of fp16, a
    little slower. Default: off."""


class ConceptSpec(Spec):
    folder: Path
    """Folder of images, with their captions, if any, beside them. Relative to the recipe's folder."""
    subject: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    """Trigger and class word, e.g. `zwx person`; also the caption of images without one."""
    trigger: str | None = None
    """Trigger word. Default: the subject's first word."""
    class_word: str | None = None
    """Class word, the base model's word for this kind of subject. Default: the subject without the trigger."""
    repeats: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Times that each image is shown per epoch. Default: balanced by the plan."""
    strength: Annotated[float, Field(ge=-20, le=20)] | None = None
    """Only with `kind = "slider"`: the strength of the slider that the folder shows, such as 1 and -1 for its two ends.
    Images of the same name in all folders belong together."""
    outfit: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    """Only with `kind = "outfits"` or `"pack"`: the word of the outfit that all images show. Empty: other clothes,
    which captions name."""
    over: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    """Only beside `outfit`: the word of a simpler outfit that this one has too, such as the dress under a vest."""
    characters: tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)], ...] = ()
    """Only with `kind = "pack"`: the triggers of the characters that all images show together. `subject` may then be a
    word for them together."""

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
    """Class images, trained beside the subject to keep what the base model knows (prior preservation, Ruiz et al.
    2022).
    """

    source: Literal["none", "class", "captions", "folder"] | None = None
    """`class`: generated from the class prompt; `captions`: one for each image, generated from its caption without the
    trigger; `folder`: your own images."""
    images: Annotated[Annotated[int, Field(ge=1, le=100_000)] | None, Needs(one_of("source", "class"))] = None
    """Number of class images to generate from the class prompt. Default: from the plan."""
    prompt: Annotated[str | None, Needs(one_of("source", "class", "folder"))] = None
    """Class prompt to generate class images from, and caption of images in `folder` that have none. Default: the
    concept's class word; for a folder, the first concept's."""
    folder: Annotated[Path | None, Needs(one_of("source", "folder"), refused=True)] = None
    """Folder with your own images of the class, with captions."""
    weight: Annotated[
        float,
        Field(ge=0, le=10),
        _PRIOR,
        Needs(at=(0.0,), otherwise="shows class images that teach nothing"),
    ] = 1.0
    """Loss weight of class images; subject images have 1."""
    target: Annotated[Literal["noise", "base"] | None, _PRIOR] = None
    """Training target of class images: the added noise (Ruiz et al.), or the untouched base model's prediction, also
    for the class word and the empty prompt. Default: from the plan."""
    per_image: Annotated[float, Field(gt=0, le=10), _PRIOR] = 1.0
    """Class images shown for each subject image."""
    steps: Annotated[SamplerSteps, _MADE] = 20
    """Number of denoising steps for generated class images."""
    guidance: Annotated[float, Field(ge=1, le=100), _MADE] = 7.0
    """Guidance (CFG) scale for generated class images."""
    sampler: Annotated[SamplerName, _MADE] = "dpm++ 2m"
    """Sampler for generated class images, by its name in `bakehouse generate --sampler`."""
    quality: Annotated[str, _MADE] = ""
    """Quality words of the base, put in front of the prompts of generated class images, which are also their captions;
    around them where the words have `{prompt}`. Default: from the plan."""
    negative: Annotated[str, _MADE, Needs(above("guidance", 1))] = ""
    """Negative prompt of generated class images. Default: from the plan."""


class DataSpec(Spec):
    flip: bool = False
    """Mirror images half of the time. Unsuitable for text, asymmetric faces or hair, and anything one-sided."""
    alpha_mask: Annotated[bool, Needs(is_on(ALPHA)), Needs(is_on("loss.masked"))] = False
    """Use transparency as a mask: train only on opaque pixels (mask files are used in any case)."""
    augment: AugmentSpec = AugmentSpec()
    """Other crops and colours of the same images."""
    cache: Literal["memory", "disk", "none"] = "disk"
    """Cache of encoded images. `disk`: reused by later runs; `memory`: for this run; `none`: each image is encoded each
    time it is shown, which is slow but allows a new variation each time."""
    cache_gb: Annotated[float | None, Field(ge=0, le=100_000), Needs(one_of("cache", "disk"))] = None
    """GB of encoded images that are kept in memory; the others are read from disk each time they are shown. Does not
    change results. Default: half of the memory that is free."""
    cache_shards: Annotated[bool | None, Needs(one_of("cache", "disk"))] = None
    """Write encoded images in files of many (shards), not in one file each. Does not change results, and both are read.
    Default: on from 2000 images."""
    workers: Annotated[int, Field(ge=0, le=64), Needs(other_than("cache", "none"))] = 2
    """Number of threads that read images. Does not change results."""


class TrainSpec(Spec):
    epochs: Annotated[Positive | None, Needs(reached_by(NEEDED_EPOCHS))] = None
    """Number of epochs; one epoch shows every image `repeats` times. Default: from the plan."""
    steps: Annotated[Positive | None, Needs(reached_by(EPOCH_STEPS))] = None
    """Maximum number of optimizer steps. Default: the steps of all epochs."""
    batch: Annotated[Images | Literal["auto"] | None, WrapValidator(_positive_or_auto)] = None
    """Batch size. `auto`: the largest that fits the device, found by trying."""
    accumulation: Images = 1
    """Gradient accumulation: batches per optimizer step. With `batch = "auto"`: images per optimizer step."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    """Number format of the computation; trained weights stay fp32. `auto`: bf16 or fp16 on a GPU, fp32 on a CPU."""
    device: str = "auto"
    """Device: auto, cpu, mps, cuda or cuda:1."""
    devices: Annotated[int, Field(ge=1, le=4096)] = 1
    """Number of devices that share the batches of each step, with one process each. Does not change results, and may
    differ when a run is resumed."""
    shard: Annotated[bool | None, Needs(above("devices", 1), at=(True,))] = None
    """Divide the UNet's weights in a full fine-tune, with their gradients and averages, among the devices (FSDP): less
    memory on each, more data between them. Does not change results, and may differ when a run is resumed. Default: from
    the plan, on where a whole copy on each device would need more than 20 GB."""
    max_grad_norm: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    """Gradient clipping: maximum norm of the gradients; 0: off."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: a third slower, but far less memory."""
    fused_backward: bool = False
    """Run optimizer steps during the backward pass of a full fine-tune, to free each gradient at once: a third less
    memory. Excludes gradient clipping and accumulation."""
    compile: bool = False
    """Use torch.compile for the UNet; faster on a GPU after some minutes."""
    channels_last: bool | None = None
    """Use the channels-last memory format for convolutions. Default: on for CPUs and CUDA devices, where it is
    faster."""
    attention: Literal["sdpa", "xformers"] = "sdpa"
    """Attention implementation: PyTorch's own (sdpa), or xformers, if installed."""
    offload: Annotated[bool | None, Needs(other_than("device", "cpu"), at=(True,))] = None
    """Keep the text encoder and VAE in main memory while they are not in use. Default: on for a GPU, once all images
    and captions are encoded."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an exponential moving average (EMA) of the weights, which is then saved; 0: off."""

    @property
    def batch_size(self) -> int:
        """Images at a time; 1 if it is not known yet."""
        return self.batch if isinstance(self.batch, int) else 1


class SampleSpec(Spec):
    prompts: tuple[str, ...] = ()
    """Prompts of sample images, generated during training with fixed seeds. kohya's --n --w --h --d --l --s --ss may
    follow a prompt, with kohya's meaning: sides are rounded down to a multiple of 8."""
    negative: Annotated[str, _SAMPLED, Needs(above("guidance", 1))] = ""
    """Negative prompt."""
    every_epochs: Annotated[Often, _SAMPLED] = 1
    """Epochs between sample images; 0: off."""
    every_steps: Annotated[Often, _SAMPLED] = 0
    """Steps between sample images; 0: off."""
    at_start: Annotated[bool, _SAMPLED] = True
    """Also generate samples before the first step."""
    steps: SamplerSteps = 20
    """Number of denoising steps."""
    guidance: Annotated[float, Field(ge=1, le=100)] = 7.0
    """Guidance (CFG) scale; 1: none."""
    sampler: SamplerName = "dpm++ 2m"
    """Sampler, by its name in `bakehouse generate --sampler`."""
    seed: Annotated[Seed, _SAMPLED] = 1
    """Seed of the first image; the same each time."""


class SaveSpec(Spec):
    every_epochs: Often = 1
    """Epochs between saved weights; 0: off. The last weights are always saved."""
    every_steps: Often = 0
    """Steps between saved weights; 0: off."""
    keep_last: Annotated[Positive | None, Needs(is_on("every_epochs"), is_on("every_steps"))] = None
    """Number of saved weights to keep, the latest ones. Default: all."""
    dtype: Literal["fp16", "bf16", "fp32"] = "fp16"
    """Number format of the saved weights."""
    state_every_seconds: Annotated[float, Field(gt=0, le=10_000_000)] = 120.0
    """Save the state for resuming at this interval: the most work that can be lost if the process is killed."""
    tensorboard: bool = False
    """Also write losses, learning rate, speed and samples for TensorBoard, to the run's tensorboard/ folder."""
    mirror: str | None = None
    """Folder or URL (`s3://bucket/runs`) to which the run is copied while it trains, below the run's name. Default:
    none."""


class EvaluateSpec(Spec):
    weights: tuple[Annotated[float, Field(gt=0, le=3)], ...] = (0.6, 0.8, 1.0)
    """Strengths of the adapter to evaluate."""
    checkpoints: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Maximum number of checkpoints to evaluate, spread over the run."""
    images: Annotated[int, Field(ge=1, le=10_000)] = 24
    """Images for each checkpoint and strength."""
    holdout: Path | None = None
    """Folder of images of the subject that are not used for training."""
    description: str | None = None
    """The subject in the words of prompts, without its trigger: `lavender hair, eyepatch`. The untouched base is asked
    for it, and subject fidelity counts from there. Default: what captions and the scorer say of the training images."""
    steps: SamplerSteps = 20
    """Number of denoising steps."""
    guidance: Annotated[float, Field(ge=1, le=100)] = 7.0
    """Guidance (CFG) scale."""
    sampler: SamplerName = "dpm++ 2m"
    """Sampler, by its name in `bakehouse generate --sampler`."""
    prompts: PromptForm = "sentences"
    """Whether prompts are sentences, or tags as anime models were captioned with; `crumb` always gets its own tags.
    Default: from the plan."""
    quality: str = ""
    """Quality words of the base, put in front of each prompt, or around it where they have `{prompt}`. What scores the
    images does not read them. Default: from the plan."""
    negative: Annotated[str, Needs(above("guidance", 1))] = ""
    """Negative prompt. Default: from the plan."""
    seed: Seed = 1000
    """Seed of the first image."""


class Recipe(Spec):
    """Settings of a training: `bakehouse plan` writes one, `bakehouse train` runs it."""

    version: Literal[1] = 1
    name: str = ""
    """Name of the run and its files, without folders. Default: from the subject."""
    kind: Kind = "character"
    """Kind of subject; selects the preset of the plan's numbers."""
    seed: Seed = 0
    """Random seed: the same seed gives the same training."""
    model: ModelSpec = ModelSpec()
    concepts: tuple[ConceptSpec, ...] = ()
    """The subjects' images. At least one, except for a slider from prompts, which needs none."""
    slider: SliderSpec = SliderSpec()
    triggers: tuple[Trigger, ...] = ()
    """Trigger words with the tags that each absorbs: captions are compiled from raw tags when the recipe is used, and
    no file is changed. Default: captions are used as they are."""
    captions: CaptionOptions = CaptionOptions()
    buckets: BucketSpec = BucketSpec()
    """Resolution and shapes. Default: from the base model."""
    data: DataSpec = DataSpec()
    prior: PriorSpec = PriorSpec()
    adapter: AdapterSpec = LoRA()
    embedding: EmbeddingSpec = EmbeddingSpec()
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
        usual = load_preset(taught).adapter if taught in get_args(Kind) else "lora"
        keys = {"full": FullFineTune.model_fields, "none": NoAdapter.model_fields}.get(usual, {})
        return {**values, "adapter": {"kind": usual if adapter.keys() <= keys.keys() else "lora", **adapter}}

    @field_validator("name")
    @classmethod
    def _names_a_file(cls, name: str) -> str:
        if why := file_name_problem(name):
            raise ValueError(f"{name!r} cannot name a file: {why}")
        return name

    @field_validator("concepts")
    @classmethod
    def _concepts_of_kind(cls, concepts: tuple[ConceptSpec, ...], info: ValidationInfo) -> tuple[ConceptSpec, ...]:
        kind = info.data.get("kind", "slider")  # missing: its own error is reported
        if kind != "slider" and not concepts:
            raise ValueError("is required: [[concepts]] with the folder of its images")
        if kind != "slider" and any(concept.strength is not None for concept in concepts):
            raise ValueError(f"a strength is only for kind = 'slider', and this recipe has kind = {kind!r}")
        of_group = [name for name in ("outfit", "over", "characters") if any(getattr(c, name) for c in concepts)]
        if of_group and kind not in OF_GROUPS:
            raise ValueError(
                f"{of_group[0]} is only for kind = 'outfits' or 'pack', and this recipe has kind = {kind!r}"
            )
        return concepts

    @field_validator("slider")
    @classmethod
    def _slider_of_kind(cls, slider: SliderSpec, info: ValidationInfo) -> SliderSpec:
        kind = info.data.get("kind", "slider")
        if kind != "slider" and slider.model_fields_set:
            raise ValueError(f"is only for kind = 'slider', and this recipe has kind = {kind!r}")
        return slider

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
                e.hint = f"settings of another trainer become a recipe with: bakehouse import {shlex.quote(str(path))}"
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
            "save.mirror": Path(self.save.mirror) if self.save.mirror and not protocol_of(self.save.mirror) else None,
        }
        changes = {key: str((folder / p.expanduser()).resolve()) for key, p in paths.items() if p is not None}
        for key, ref in {"model.base": self.model.base, "model.vae": self.model.vae}.items():
            if ref is not None and ref != BUNDLED_BASE and (folder / ref).exists():
                changes[key] = str((folder / ref).resolve())
        return self.with_values(changes)

    @property
    def trains_text(self) -> bool:
        """Whether captions are encoded anew at each step: the text encoder trains, or the vectors of a word."""
        return self.adapter.text or self.embedding.vectors is not None

    @property
    def title(self) -> str:
        """The name, or one made from the first subject or the slider's positive prompt: `zwx-person`.

        Of an embedding alone the trigger word, since A1111 and ComfyUI take the file's name as the word: `zwx`.
        """
        if self.name or self.kind == "slider":
            words = next(((p.ends[0] or p.target) for p in self.slider.prompts), "")
            return to_file_name(self.name or "-".join(words.replace(",", " ").split()), "slider")
        first = self.concepts[0]
        if self.adapter.kind == "none" and first.trigger_word:
            return to_file_name(first.trigger_word, "embedding")
        return to_file_name(first.subject or first.folder.name, "subject")
