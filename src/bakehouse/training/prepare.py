"""What is prepared before the first step: the base model on its device, the adapter and its optimizer, the data."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from bakehouse.adapters import Adapter, AdapterWithEmbeddings, EmbeddingAdapter, NoAdapter, inject
from bakehouse.core.events import Event, Progress
from bakehouse.dtypes import DTYPES
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.load import load_model
from bakehouse.models.quantize_int8 import quantize_base
from bakehouse.recipe import Plan, Recipe
from bakehouse.recipe.device_and_precision import pick_device, pick_precision
from bakehouse.training.class_images import CaptionedImage
from bakehouse.training.loop import TrainingComponents
from bakehouse.training.objective import make_objective
from bakehouse.training.offload import OffloadedEncoders, wants_offload
from bakehouse.training.precision import Precision
from bakehouse.training.ranks import ALONE, Ranks
from bakehouse.training.sharding import OwnParts, shard
from bakehouse.training.training_state import TrainState


@dataclass(frozen=True)
class LoadedBase:
    """A base model on the device that it trains on."""

    model: Denoiser
    device: torch.device
    precision: str
    """`fp32`, `fp16` or `bf16`."""
    encoders: OffloadedEncoders | None
    """Text encoder and VAE, where they are offloaded."""


def load_base(recipe: Recipe, *, sharded: bool = False) -> Generator[Event, None, LoadedBase]:
    """Load the base model as the recipe trains it; yields progress. `sharded`: its weights are divided afterwards.

    What trains is fp32, what is frozen has the recipe's precision. A model that is quantized or offloaded is loaded on
    the CPU first.
    """
    yield Progress(what="loading the base model", done=0, total=1)
    device = torch.device(pick_device(recipe.train.device))
    precision = pick_precision(recipe.train.precision, str(device))
    dtype = torch.float32 if recipe.adapter.trains_base else DTYPES[precision]
    on_cpu = wants_offload(recipe.train.offload, device) or recipe.model.quantize
    spec = recipe.model
    place = "cpu" if on_cpu else str(device)
    model = load_model(spec.base, device=place, dtype=dtype, vae=spec.vae, prediction=spec.prediction)
    encoders = prepare_model(model, recipe, device, sharded=sharded)
    yield Progress(what="loading the base model", done=1, total=1)
    return LoadedBase(model, device, precision, encoders)


def prepare_model(
    model: Denoiser, recipe: Recipe, device: torch.device, *, sharded: bool = False
) -> OffloadedEncoders | None:
    """Quantize, checkpoint, compile and offload a loaded model as the recipe says, and move it onto its device.

    Comes before the adapter. Returns the offloaded networks, None where all of the model stays on the device.
    """
    train = recipe.train
    if recipe.model.quantize:
        quantize_base(model, text=recipe.trains_text)
    if train.gradient_checkpointing:
        model.use_gradient_checkpointing()
    # FSDP divides weights in their usual order alone.
    usual = device.type in ("cpu", "cuda") and not sharded
    if train.channels_last or (train.channels_last is None and usual):
        model.use_channels_last()
    model.use_attention(train.attention)
    if train.compile:
        model.use_compiler()
    if not wants_offload(train.offload, device):
        model.to(device)
        return None
    model.trainable_modules()["lora_unet"].to(device)
    return OffloadedEncoders(model, text_trains=recipe.trains_text)


def build_components(
    plan: Plan,
    model: Denoiser,
    class_images: Sequence[CaptionedImage] = (),
    *,
    precision: str = "fp32",
    ranks: Ranks = ALONE,
    sharded: bool = False,
) -> Generator[Event, None, tuple[TrainingComponents, TrainState]]:
    """Put the adapter on the model, make its optimizer and encode the data; yields progress.

    `sharded`: divide the weights of the denoising network among the ranks (`sharding`).

    Returns what the loop needs to train from step 0; resuming from a saved state comes afterwards. Class images have to
    be generated before: they show what the base generates with its own noise schedule.
    """
    if plan.recipe.noise.zero_terminal_snr:
        # Before all that is derived from the schedule: loss, SNR weights, samples, the settings of a saved model.
        model.use_zero_terminal_snr()
    arithmetic = Precision(precision, model.device)
    if sharded:
        shard(model, ranks.count)
    state = new_state(plan, model, arithmetic, ranks if sharded else ALONE)
    objective = make_objective(plan, model, state.adapter, class_images)
    state.carried = objective.carried
    yield from objective.prepare(ranks)
    return TrainingComponents(plan, model, objective, arithmetic, ranks), state


def new_state(plan: Plan, model: Denoiser, precision: Precision, divided_among: Ranks = ALONE) -> TrainState:
    """Return the state at step 0: a new adapter on the model, its optimizer, its average.

    `divided_among`: the ranks that have parts of the model's weights.
    """
    recipe = plan.recipe
    generator = torch.Generator().manual_seed(recipe.seed)
    adapter = _adapter(recipe, model, generator)
    adapter.to(model.device)
    if recipe.prior.target == "base" and plan.order.prior_buckets:
        adapter.keep_base()
    adapter.train()
    spec = recipe.optimizer
    groups = adapter.parameter_groups(spec.lr or spec.row.lr, spec.text_lr)
    parts = None if divided_among.count == 1 else OwnParts(groups, divided_among)
    optimizer = spec.build(groups)
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    if recipe.train.fused_backward:
        precision.enable_fused_backward(optimizer, list(adapter.parameters()))
    if parts is not None:
        precision.use_parts(parts)
    ema = [p.detach().clone() for p in adapter.parameters()] if recipe.train.ema else []
    return TrainState(0, adapter, optimizer, ema, precision, parts=parts)


def _adapter(recipe: Recipe, model: Denoiser, generator: torch.Generator) -> Adapter:
    """Return what trains, on the model: an adapter, embeddings, or both."""
    parts, tokenizers = model.trainable_modules(), model.tokenizers
    if recipe.embedding.vectors is None:
        return inject(recipe.adapter, parts, tokenizers=tokenizers, generator=generator)
    init = {c.trigger_word: recipe.embedding.init or c.class_name for c in recipe.concepts if c.trigger_word}
    embeddings = EmbeddingAdapter.create(recipe.embedding, model.words, init)
    if isinstance(recipe.adapter, NoAdapter):
        return embeddings
    network = inject(recipe.adapter, parts, tokenizers=tokenizers, generator=generator)
    return AdapterWithEmbeddings(network, embeddings)
