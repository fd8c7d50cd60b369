"""Export of trained weights: adapter files and model folders, with kohya's metadata and the recipe inside."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bakehouse.adapters import EmbeddingAdapter, metadata_for, save_adapter
from bakehouse.adapters.file_metadata import sort_header, with_hashes
from bakehouse.adapters.target_modules import PART_NAMES
from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Saved
from bakehouse.core.files import sha256_file
from bakehouse.core.run_folder import Run
from bakehouse.data.buckets import BucketRow
from bakehouse.data.captions import split_tags
from bakehouse.dtypes import DTYPES
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.textual_inversion import TextualInversion
from bakehouse.models.write_textual_inversion import named_tensors, write_textual_inversion
from bakehouse.recipe import Plan, Recipe, recipe_to_toml
from bakehouse.training.ema import averaged_weights
from bakehouse.training.training_state import TrainState


@dataclass(frozen=True)
class WeightsWriter:
    """Writes a run's weights/NAME-000001.safetensors, or diffusers folders where the whole model is saved."""

    plan: Plan
    model: Denoiser
    run: Run
    started_at: float
    """Seconds since the epoch."""

    def save(self, state: TrainState, name: str, facts: Mapping[str, Any] | None = None) -> Iterator[Event]:
        """Save the averaged weights if there is an average, else the current ones.

        `facts` are added to the metadata of an adapter's file, by their names in `adapters.file_metadata.FACTS`.

        Raises:
            BakehouseError: the weights are NaN or infinite, or the disk is full.
        """
        whole = state.read_tensors(False) if state.is_divided else state.parameters()
        if not all(bool(torch.isfinite(p).all()) for p in whole):
            lr = self.plan.recipe.optimizer.lr
            raise BakehouseError(
                f"step {state.step}: the weights are NaN or infinite, so they are not saved",
                hint=f"optimizer.lr = {lr:g} is too high: try a third of it" if lr else "",
            )
        recipe = self.plan.recipe
        dtype = DTYPES[recipe.save.dtype]
        path = self.path(name)
        with averaged_weights(state):
            if recipe.adapter.saves_whole_model:
                self.model.save(path, dtype=dtype, unet=_unet(state, whole) if state.is_divided else None)
            elif isinstance(state.adapter, EmbeddingAdapter):
                _save_embedding(state.adapter, path, self._metadata(state, name, facts or {}), dtype)
            else:
                save_adapter(state.adapter, path, self._metadata(state, name, facts or {}), dtype=dtype)
        if path.is_file() or name == recipe.title:
            state.weights_sha256 |= hash_weights(path)
        epoch = -(-state.step // self.plan.steps_per_epoch)
        yield Saved(step=state.step, epoch=epoch, path=str(path.relative_to(self.run.folder)))

    def path(self, name: str) -> Path:
        """Return where the weights called `name` are saved."""
        return weights_path(self.plan.recipe, self.run, name)

    def prune(self) -> None:
        """Remove all but the last `save.keep_last` checkpoints."""
        keep = self.plan.recipe.save.keep_last
        if keep is None:
            return
        last = self.plan.recipe.title
        checkpoints = sorted(
            (p for p in self.run.list_weights() if p.stem != last and p.name != last),
            key=lambda p: p.stat().st_mtime_ns,
        )
        for old in checkpoints[:-keep]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()

    def _metadata(self, state: TrainState, name: str, facts: Mapping[str, Any]) -> dict[str, str]:
        plan, recipe, model = self.plan, self.plan.recipe, self.model
        return metadata_for(
            state.adapter.spec or recipe.adapter,
            name=name,
            base_model=model.name,
            base_hash=model.fingerprint,
            family=model.family,
            prediction=model.schedule.prediction,
            resolution=recipe.buckets.resolution,
            epoch=-(-state.step // plan.steps_per_epoch),
            epochs=plan.epochs,
            steps=state.step,
            max_steps=plan.steps,
            batches_per_epoch=plan.order.batches_per_epoch or plan.steps_per_epoch,
            started_at=self.started_at,
            finished_at=time.time(),
            tag_frequency=tag_frequency(plan),
            bucket_info={"buckets": {str(i): _bucket(row) for i, row in enumerate(plan.buckets)}},
            recipe=recipe_to_toml(_without_mirror(recipe)),
            **_data_facts(plan),
            zero_terminal_snr=model.schedule.is_zero_terminal,
            **_setting_facts(recipe),
            **facts,
        )


def _unet(state: TrainState, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the whole weights of a denoising network that is divided among ranks: the average if there is one."""
    saved = state.read_tensors(True) if state.ema else parameters
    named = zip((name for name, _ in state.adapter.named_parameters()), saved, strict=True)
    prefix = f"{PART_NAMES['lora_unet']}."
    return {name.removeprefix(prefix): tensor for name, tensor in named if name.startswith(prefix)}


def _without_mirror(recipe: Recipe) -> Recipe:
    """Leave out where copies are kept: the file may be given to others."""
    return recipe if recipe.save.mirror is None else recipe.with_values({"save.mirror": None})


def _save_embedding(adapter: EmbeddingAdapter, path: Path, metadata: dict[str, str], dtype: torch.dtype) -> None:
    """Write the vectors of a word as one .safetensors in A1111's layout."""
    ((word, vectors),) = adapter.vectors.items()
    inversion = TextualInversion(word, path, vectors)
    metadata = {**metadata, "modelspec.architecture": f"{metadata['modelspec.architecture']}/textual-inversion"}
    header = with_hashes(named_tensors(inversion, "a1111", dtype), metadata)
    write_textual_inversion(inversion, path, metadata=header, dtype=dtype)
    sort_header(path)


def weights_path(recipe: Recipe, run: Run, name: str) -> Path:
    """Return the path of weights in a run: a folder where the whole model is saved, else a file."""
    return run.weights / (name if recipe.adapter.saves_whole_model else f"{name}.safetensors")


def hash_weights(path: Path) -> dict[str, str]:
    """Return the sha256 of one file, or of all files of a model's folder, by their names below weights/."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {p.relative_to(path.parent).as_posix(): sha256_file(p) for p in files}


def _bucket(row: BucketRow) -> dict[str, Any]:
    return {"resolution": list(row.bucket), "count": row.images}


def _data_facts(plan: Plan) -> dict[str, Any]:
    """Return the metadata of the images and the subject."""
    recipe = plan.recipe
    names = [c.folder.name for c in recipe.concepts]
    counts = [sum(i.record.concept == n for i in plan.subject_images) for n in range(len(names))]
    folders = {
        name: {"n_repeats": c.repeats, "img_count": count}
        for name, c, count in zip(names, recipe.concepts, counts, strict=True)
    }
    triggers = [c.trigger_word for c in recipe.concepts if c.trigger_word]
    return {
        "images": sum(i.repeats for i in plan.subject_images),
        "reg_images": sum(prior for _, prior in plan.order.shows().values()),
        "dataset_dirs": folders,
        "trigger_phrase": ", ".join(c.subject for c in recipe.concepts if c.subject) or None,
        "triggers": {c.trigger_word: c.class_name for c in recipe.concepts if c.trigger_word} if triggers else None,
    }


def _embedding_facts(recipe: Recipe) -> dict[str, Any] | None:
    """Return the settings of each word that has vectors, by word."""
    spec = recipe.embedding
    if spec.vectors is None:
        return None
    named = [c for c in recipe.concepts if c.trigger_word]
    return {c.trigger_word: {"vectors": spec.vectors, "init": spec.init or c.class_name} for c in named}


def _setting_facts(recipe: Recipe) -> dict[str, Any]:
    """Return the metadata of the training settings."""
    train, noise, captions, loss = recipe.train, recipe.noise, recipe.captions, recipe.loss
    batch = train.batch_size
    return {
        "batch_size": batch,
        "total_batch_size": batch * train.accumulation,
        "gradient_accumulation": train.accumulation,
        "gradient_checkpointing": train.gradient_checkpointing,
        "learning_rate": recipe.optimizer.lr,
        "unet_lr": recipe.optimizer.lr if recipe.adapter.unet else None,
        "text_lr": recipe.optimizer.text_lr if recipe.adapter.text else None,
        "optimizer": f"{recipe.optimizer.row.module}.{recipe.optimizer.row.cls}",
        "lr_scheduler": recipe.schedule.kind,
        "seed": recipe.seed,
        "clip_skip": recipe.model.clip_skip,
        "max_token_length": recipe.model.max_tokens,
        "keep_tokens": captions.keep_tokens,
        "shuffle_caption": captions.shuffle,
        "caption_dropout": captions.caption_dropout,
        "tag_dropout": captions.tag_dropout,
        "flip": recipe.data.flip,
        "cache_latents": recipe.data.cache != "none",
        "min_snr_gamma": loss.weighting.gamma if loss.weighting.kind == "min_snr" else None,
        "noise_offset": noise.offset or None,
        "ip_noise_gamma": noise.ip_gamma or None,
        "prior_loss_weight": recipe.prior.weight,
        "max_grad_norm": train.max_grad_norm,
        "loss_type": loss.kind,
        "embedding": _embedding_facts(recipe),
    }


def tag_frequency(plan: Plan) -> dict[str, dict[str, int]]:
    """Return the number of each tag in the captions of each folder, as kohya's ss_tag_frequency counts."""
    counts: dict[str, Counter[str]] = {}
    for image in plan.subject_images:
        folder = image.record.path.parent.name
        tags = [t for caption in image.record.captions for t in split_tags(caption)]
        counts.setdefault(folder, Counter()).update(tags)
    return {folder: dict(c.most_common()) for folder, c in counts.items()}
