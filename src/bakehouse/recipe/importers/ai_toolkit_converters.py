"""Converters of ai-toolkit's settings that depend on each other. Its defaults are used where a setting is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.common import library_defaults, our_optimizer, significant
from bakehouse.recipe.importers.option_table import Assignment, Outcome, Settings, converts
from bakehouse.recipe.importers.value_types import table_entry
from bakehouse.recipe.optimizers import OPTIMIZERS

DTYPES = {
    "fp16": "fp16",
    "float16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "fp32": "fp32",
    "float32": "fp32",
    "float": "fp32",
}
_KINDS = {"lora": "lora", "lierla": "lora", "c3lier": "lora", "locon": "lora", "lokr": "lokr"}
_DEFAULT_RANK = 4
_EPS = 1e-6
"""ai-toolkit's `eps` for Adam and similar optimizers, instead of 1e-8."""
_SAME_LIBRARY = ("prodigy", "lion", "lion8bit")
"""Optimizers with the same library defaults as in kohya's trainings."""


@converts(
    *("network.type", "network.rank", "network.linear", "network.alpha", "network.linear_alpha", "network.conv"),
    *("network.conv_alpha", "network.dropout", "network.lokr_factor", "network.lokr_full_rank"),
    *("network.network_kwargs", "train.train_unet", "train.train_text_encoder"),
)
def network(s: Settings) -> Iterator[Outcome]:
    """Convert the network; without one, all weights are trained.

    Raises:
        UsageError: a kind of network that is not known here.
    """
    given = any(name.startswith("network.") for name in s.values)
    kind = _KINDS.get(s["network.type"]) if given else "full"
    if kind is None:
        raise UsageError(
            f"network.type = {s['network.type']!r} is not supported", hint=f"supported are {', '.join(_KINDS)}"
        )
    yield Assignment("adapter.kind", kind, ("network.type",))
    yield s.assign("adapter.unet", "train.train_unet")
    yield s.assign("adapter.text", "train.train_text_encoder")
    if kind == "full":
        return
    conv = s["network.conv"] or s["network.type"] == "c3lier"
    if kind == "lokr" and s["network.lokr_full_rank"]:
        yield Assignment("adapter.full_matrix", True, ("network.lokr_full_rank",))
        yield Assignment("adapter.targets", "full", ("network.lokr_full_rank",))
    else:
        yield from _ranks(s)
        yield Assignment("adapter.targets", "full" if conv else "attention+mlp", ("network.conv",))
    if kind == "lokr":
        yield s.assign("adapter.factor", "network.lokr_factor")
    elif s["network.dropout"]:
        yield s.assign("adapter.dropout", "network.dropout")
    yield from _filters(s)


def _ranks(s: Settings) -> Iterator[Outcome]:
    """Convert ranks and alphas: `rank` wins over `linear`; alpha defaults to 1, for convolutions to their rank."""
    rank = next((n for n in ("network.rank", "network.linear") if s[n] is not None), None)
    yield Assignment("adapter.rank", s[rank] if rank else _DEFAULT_RANK, (rank or "network.linear",))
    alpha = "network.linear_alpha" if s["network.linear_alpha"] is not None else "network.alpha"
    yield Assignment("adapter.alpha", s[alpha], (alpha,))
    if conv := s["network.conv"]:
        yield Assignment("adapter.conv_rank", conv, ("network.conv",))
        own = s["network.conv_alpha"]
        yield Assignment("adapter.conv_alpha", conv if own is None else own, ("network.conv_alpha", "network.conv"))


def _filters(s: Settings) -> Iterator[Outcome]:
    """Convert the name filters to `include` and `exclude` patterns."""
    kwargs = s["network.network_kwargs"] or {}
    known = {"only_if_contains": "adapter.include", "ignore_if_contains": "adapter.exclude"}
    for name, key in known.items():
        if parts := table_entry(kwargs, name, "list", [], "network.network_kwargs"):
            yield Assignment(key, [f"*{part}*" for part in parts], ("network.network_kwargs",))
    if rest := sorted(set(kwargs) - set(known)):
        yield s.note("network.network_kwargs", "unsupported", f"not converted: {', '.join(rest)}")


@converts("train.optimizer", "train.optimizer_params")
def optimizer(s: Settings) -> Iterator[Outcome]:
    """Convert the optimizer's name and arguments, with ai-toolkit's own defaults."""
    word = s["train.optimizer"]
    name = our_optimizer(word)
    if name is None:
        yield s.note("train.optimizer", "unsupported", "not available; the plan chooses an optimizer")
        return
    yield Assignment("optimizer.name", name, ("train.optimizer",))
    given = dict(s["train.optimizer_params"] or {})
    own = library_defaults(name) if name in _SAME_LIBRARY else {}
    if name.startswith(("adam", "ademamix", "prodigy")):
        own["eps"] = _EPS
    if own or given:
        yield Assignment("optimizer.args", {**own, **given}, ("train.optimizer_params", "train.optimizer"))


@converts("train.lr", "train.unet_lr", "train.text_encoder_lr")
def rates(s: Settings) -> Iterator[Outcome]:
    """Convert the learning rates. Optimizers that find their rate themselves get 1 if less than 0.1 is given."""
    name = our_optimizer(s["train.optimizer"])
    finds = name is not None and OPTIMIZERS[name].finds_rate
    for key, own in (("optimizer.lr", "train.unet_lr"), ("optimizer.text_lr", "train.text_encoder_lr")):
        source = own if s[own] is not None else "train.lr"
        raised = finds and s[source] < 0.1
        yield Assignment(key, 1.0 if raised else s[source], (source, "train.optimizer") if raised else (source,))


@converts("train.lr_scheduler", "train.lr_scheduler_params")
def schedule(s: Settings) -> Iterator[Outcome]:
    """Convert the schedule: short names are PyTorch's classes, other names are diffusers'."""
    kind = s["train.lr_scheduler"]
    params = dict(s["train.lr_scheduler_params"] or {})
    of = ("train.lr_scheduler_params",)
    warmup = params.get("num_warmup_steps", 1000 if kind == "constant_with_warmup" else 0)
    match kind:
        case "constant" | "constant_with_warmup":
            yield Assignment("schedule.kind", "constant", ("train.lr_scheduler",))
            if kind == "constant_with_warmup":
                yield Assignment("schedule.warmup", warmup, of)
                yield Assignment("schedule.warmup_from_zero", True, of)
            elif params.get("factor", 1) != 1:
                yield s.note("train.lr_scheduler_params", "unsupported", "factor: multiply the learning rate by it")
        case "cosine":
            yield Assignment("schedule.kind", "cosine", ("train.lr_scheduler",))
            if params.get("T_max", s["train.steps"]) != s["train.steps"]:
                yield Assignment("schedule.half_period", params["T_max"], of)
        case "cosine_with_restarts":
            yield Assignment("schedule.kind", "cosine_with_restarts", ("train.lr_scheduler",))
            yield Assignment("schedule.cycle_steps", params.get("T_0", s["train.steps"]), of)
            if params.get("T_mult", 1) != 1:
                yield Assignment("schedule.cycle_growth", params["T_mult"], of)
        case "linear":
            # PyTorch's LinearLR begins at a third of the rate and rises to all of it.
            why = "ai-toolkit's linear rises from a third of the rate to all of it; the plan chooses a schedule"
            yield s.note("train.lr_scheduler", "unsupported", why)
            return
        case _:
            yield s.note("train.lr_scheduler", "unsupported", "this schedule is not available; the plan chooses one")
            return
    if params.get("eta_min"):
        yield Assignment("schedule.floor", significant(params["eta_min"] / s["train.lr"]), of)
    known = {"num_warmup_steps", "factor", "T_max", "T_0", "T_mult", "eta_min", "total_iters", "max_iterations"}
    if rest := sorted(set(params) - known):
        yield s.note("train.lr_scheduler_params", "unsupported", f"not converted: {', '.join(rest)}")


@converts("train.gradient_accumulation_steps", "train.gradient_accumulation")
def accumulation(s: Settings) -> Iterator[Outcome]:
    """Convert gradient accumulation, which has two names; a negative number is a whole epoch."""
    names = ("train.gradient_accumulation", "train.gradient_accumulation_steps")
    name = next((n for n in names if s[n] != 1), names[0])
    if s[name] < 1:
        yield s.note(name, "unsupported", "accumulating a whole epoch is not supported: give a number")
        return
    yield Assignment("train.accumulation", s[name], (name,))


@converts("train.min_snr_gamma", "train.snr_gamma")
def weighting(s: Settings) -> Iterator[Outcome]:
    """Convert min_snr_gamma, or snr_gamma, which has no limit and wins in ai-toolkit."""
    if s["train.snr_gamma"]:
        yield Assignment("loss.weighting.kind", "x0", ("train.snr_gamma",))
        why = "ai-toolkit weights by snr_gamma / snr without a limit; x0 is 1 / snr"
        yield s.note("train.snr_gamma", "set", why, sets=("loss.weighting.kind",))
        return
    gamma = s["train.min_snr_gamma"]
    yield Assignment("loss.weighting.kind", "min_snr" if gamma else "none", ("train.min_snr_gamma",))
    if gamma:
        yield Assignment("loss.weighting.gamma", gamma, ("train.min_snr_gamma",))
    if gamma and s["model.is_v_pred"]:
        yield s.note(
            "train.min_snr_gamma", "unsupported", "ai-toolkit weights v-prediction as epsilon; bakehouse as published"
        )


@converts("train.loss_type")
def loss(s: Settings) -> Iterator[Outcome]:
    """Convert the loss: squared, absolute, or pseudo-Huber with a fixed width that is half of ours."""
    kinds = {"mse": "l2", "mae": "l1", "pseudo_huber": "smooth_l1"}
    kind = kinds.get(s["train.loss_type"])
    if kind is None:
        yield s.note(
            "train.loss_type", "unsupported", f"squared error is used instead; supported are {', '.join(kinds)}"
        )
        return
    yield Assignment("loss.kind", kind, ("train.loss_type",))
    if kind == "smooth_l1":
        yield Assignment("loss.huber_c", 0.01, ("train.loss_type",))
        yield Assignment("loss.huber_schedule", "constant", ("train.loss_type",))


@converts("train.content_or_style", "train.min_denoising_steps", "train.max_denoising_steps")
def timesteps(s: Settings) -> Iterator[Outcome]:
    """Convert timesteps, which ai-toolkit counts from the noisiest and without the ends."""
    least, most = s["train.min_denoising_steps"], s["train.max_denoising_steps"]
    word = s["train.content_or_style"]
    of = ("train.min_denoising_steps", "train.max_denoising_steps", "train.content_or_style")
    ends = (1001 - most, 999 - least) if word == "balanced" else (999 - most, 1000 - least)
    yield Assignment("noise.min_timestep", max(0, ends[0]), of)
    yield Assignment("noise.max_timestep", max(1, ends[1]), of)
    if word in ("style", "content"):
        yield Assignment("noise.timesteps.density", "power", ("train.content_or_style",))
        yield Assignment("noise.timesteps.power", 3.0, ("train.content_or_style",))
        yield Assignment("noise.timesteps.mirrored", word == "content", ("train.content_or_style",))
    elif word != "balanced":
        yield s.note("train.content_or_style", "unknown", "supported are balanced, content, style")


@converts(
    *("train.skip_first_sample", "train.disable_sampling", "sample.sample_every", "sample.width", "sample.height"),
    *("sample.prompts", "sample.samples", "sample.neg", "sample.seed", "sample.walk_seed", "sample.guidance_scale"),
    "sample.sample_steps",
)
def samples(s: Settings) -> Iterator[Outcome]:
    """Convert sample prompts with their common size and seed."""
    entries = s["sample.samples"] or [{"prompt": p} for p in s["sample.prompts"] or []]
    entries = [e for e in entries if e.get("prompt")]
    if not entries or s["train.disable_sampling"]:
        yield Assignment("sample.every_epochs", 0, ("sample.prompts",))
        return
    lines = [_sample(s, entry, i) for i, entry in enumerate(entries)]
    yield Assignment("sample.prompts", lines, ("sample.prompts", "sample.width", "sample.height", "sample.seed"))
    yield Assignment("sample.every_epochs", 0, ("sample.sample_every",))
    yield s.assign("sample.every_steps", "sample.sample_every")
    yield Assignment("sample.at_start", not s["train.skip_first_sample"], ("train.skip_first_sample",))
    yield s.assign("sample.steps", "sample.sample_steps")
    yield s.assign("sample.guidance", "sample.guidance_scale")
    if s["sample.neg"]:
        yield s.assign("sample.negative", "sample.neg")


def _sample(s: Settings, entry: Mapping[str, Any], i: int) -> str:
    seed = entry.get("seed", s["sample.seed"] + (i if s["sample.walk_seed"] else 0))
    width, height = entry.get("width", s["sample.width"]), entry.get("height", s["sample.height"])
    prompt = str(entry["prompt"]).replace("[trigger]", s["trigger_word"] or "")
    negative = f" --n {entry['neg']}" if entry.get("neg") else ""
    return f"{prompt}{negative} --w {width} --h {height} --d {seed}"


CONVERTERS = (network, optimizer, rates, schedule, accumulation, weighting, loss, timesteps, samples)
