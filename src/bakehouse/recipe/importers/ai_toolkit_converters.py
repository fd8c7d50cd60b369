"""ai-toolkit's settings that hang together, as values of a recipe; its defaults count where nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.kohya_converters import found, our_optimizer
from bakehouse.recipe.importers.option_table import Outcome, Settings, Taken, entry_of
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
_KINDS = {"lora": "lora", "locon": "lora", "lokr": "lokr"}
_DEFAULT_RANK = 4
_EPS = 1e-6
"""What ai-toolkit gives Adam and its like in place of 1e-8."""
_LIBRARY: Mapping[str, Mapping[str, Any]] = {
    "prodigy": {
        "weight_decay": 0.0,
        "decouple": True,
        "use_bias_correction": False,
        "safeguard_warmup": False,
        "d_coef": 1.0,
    },
    "lion": {"weight_decay": 0.0},
    "lion8bit": {"weight_decay": 0.0},
}
"""What its libraries take where nothing is said, for what our table sets otherwise."""


def base_model(s: Settings) -> Iterator[Outcome]:
    """A Hub id, a folder or a file; it predicts epsilon unless the settings say v."""
    if s["model.name_or_path"]:
        yield Taken("model.base", found(s, "model.name_or_path")[0], ("model.name_or_path",))
    yield Taken("model.prediction", "v_prediction" if s["model.is_v_pred"] else "epsilon", ("model.is_v_pred",))


def network(s: Settings) -> Iterator[Outcome]:
    """Without a network whole weights train.

    Raises:
        UsageError: a kind of network that is not known here.
    """
    given = any(name.startswith("network.") for name in s.values)
    kind = _KINDS.get(s["network.type"]) if given else "full"
    if kind is None:
        raise UsageError(
            f"network.type = {s['network.type']!r} trains what bakehouse does not know",
            hint=f"known are {', '.join(_KINDS)}; set one of them in the file",
        )
    yield Taken("adapter.kind", kind, ("network.type",))
    yield Taken("adapter.unet", s["train.train_unet"], ("train.train_unet",))
    yield Taken("adapter.text", s["train.train_text_encoder"], ("train.train_text_encoder",))
    if kind == "full":
        return
    conv = s["network.conv"]
    if kind == "lokr" and s["network.lokr_full_rank"]:
        yield Taken("adapter.full_matrix", True, ("network.lokr_full_rank",))
        yield Taken("adapter.targets", "full", ("network.lokr_full_rank",))
    else:
        yield from _ranks(s)
        yield Taken("adapter.targets", "full" if conv else "attention+mlp", ("network.conv",))
    if kind == "lokr":
        yield Taken("adapter.factor", s["network.lokr_factor"], ("network.lokr_factor",))
    elif s["network.dropout"]:
        yield Taken("adapter.dropout", s["network.dropout"], ("network.dropout",))
    yield from _filters(s)


def _ranks(s: Settings) -> Iterator[Outcome]:
    """`rank` wins over `linear`; without an alpha it is 1, and that of convolutions is their rank."""
    rank = next((n for n in ("network.rank", "network.linear") if s[n] is not None), None)
    yield Taken("adapter.rank", s[rank] if rank else _DEFAULT_RANK, (rank or "network.linear",))
    alpha = "network.linear_alpha" if s["network.linear_alpha"] is not None else "network.alpha"
    yield Taken("adapter.alpha", s[alpha], (alpha,))
    if conv := s["network.conv"]:
        yield Taken("adapter.conv_rank", conv, ("network.conv",))
        own = s["network.conv_alpha"]
        yield Taken("adapter.conv_alpha", conv if own is None else own, ("network.conv_alpha", "network.conv"))


def _filters(s: Settings) -> Iterator[Outcome]:
    """Parts of modules' names."""
    kwargs = s["network.network_kwargs"] or {}
    known = {"only_if_contains": "adapter.include", "ignore_if_contains": "adapter.exclude"}
    for name, key in known.items():
        if parts := entry_of(kwargs, name, "list", [], "network.network_kwargs"):
            yield Taken(key, [f"*{part}*" for part in parts], ("network.network_kwargs",))
    if rest := sorted(set(kwargs) - set(known)):
        yield s.note("network.network_kwargs", "missing", f"not taken: {', '.join(rest)}")


def optimizer(s: Settings) -> Iterator[Outcome]:
    """Its name and arguments, ai-toolkit's own defaults among them."""
    word = s["train.optimizer"]
    name = our_optimizer(word)
    if name is None:
        yield s.note("train.optimizer", "missing", "not among the optimizers: the plan's is taken")
        return
    yield Taken("optimizer.name", name, ("train.optimizer",))
    given = dict(s["train.optimizer_params"] or {})
    ours = OPTIMIZERS[name].defaults
    own = {k: v for k, v in _LIBRARY.get(name, {}).items() if ours.get(k) != v}
    if name.startswith(("adam", "ademamix", "prodigy")):
        own["eps"] = _EPS
    if own or given:
        yield Taken("optimizer.args", {**own, **given}, ("train.optimizer_params", "train.optimizer"))


def rates(s: Settings) -> Iterator[Outcome]:
    """Of a part, or the general one; what finds its rate itself begins at 1 where less than 0.1 is asked for."""
    name = our_optimizer(s["train.optimizer"])
    finds = name is not None and OPTIMIZERS[name].finds_rate
    for key, own in (("optimizer.lr", "train.unet_lr"), ("optimizer.text_lr", "train.text_encoder_lr")):
        source = own if s[own] is not None else "train.lr"
        raised = finds and s[source] < 0.1
        yield Taken(key, 1.0 if raised else s[source], (source, "train.optimizer") if raised else (source,))


def schedule(s: Settings) -> Iterator[Outcome]:
    """PyTorch's classes under short names; other names are diffusers'."""
    kind = s["train.lr_scheduler"]
    params = dict(s["train.lr_scheduler_params"] or {})
    of = ("train.lr_scheduler_params",)
    warmup = params.get("num_warmup_steps", 1000 if kind == "constant_with_warmup" else 0)
    match kind:
        case "constant" | "constant_with_warmup":
            yield Taken("schedule.kind", "constant", ("train.lr_scheduler",))
            if kind == "constant_with_warmup":
                yield Taken("schedule.warmup", warmup, of)
                yield Taken("schedule.warmup_from_zero", True, of)
            elif params.get("factor", 1) != 1:
                yield s.note("train.lr_scheduler_params", "missing", "factor: write it into the rate")
        case "cosine":
            yield Taken("schedule.kind", "cosine", ("train.lr_scheduler",))
            if params.get("T_max", s["train.steps"]) != s["train.steps"]:
                yield Taken("schedule.half_period", params["T_max"], of)
        case "cosine_with_restarts":
            yield Taken("schedule.kind", "cosine_with_restarts", ("train.lr_scheduler",))
            yield Taken("schedule.cycle_steps", params.get("T_0", s["train.steps"]), of)
            if params.get("T_mult", 1) != 1:
                yield Taken("schedule.cycle_growth", params["T_mult"], of)
        case "linear":
            # PyTorch's LinearLR begins at a third of the rate and rises to all of it.
            why = "there it rises from a third of the rate to all of it: the plan's schedule is taken"
            yield s.note("train.lr_scheduler", "missing", why)
            return
        case _:
            yield s.note("train.lr_scheduler", "missing", "no such schedule: the plan's is taken")
            return
    if params.get("eta_min"):
        yield Taken("schedule.floor", float(f"{params['eta_min'] / s['train.lr']:.6g}"), of)
    known = {"num_warmup_steps", "factor", "T_max", "T_0", "T_mult", "eta_min", "total_iters", "max_iterations"}
    if rest := sorted(set(params) - known):
        yield s.note("train.lr_scheduler_params", "missing", f"not taken: {', '.join(rest)}")


def accumulation(s: Settings) -> Iterator[Outcome]:
    """Two names for one number; a negative one is a whole epoch."""
    names = ("train.gradient_accumulation", "train.gradient_accumulation_steps")
    name = next((n for n in names if s[n] != 1), names[0])
    if s[name] < 1:
        yield s.note(name, "missing", "gradients of a whole epoch: give a number")
        return
    yield Taken("train.accumulation", s[name], (name,))


def weighting(s: Settings) -> Iterator[Outcome]:
    """min-SNR; or snr_gamma, which has no limit and wins there."""
    if s["train.snr_gamma"]:
        yield Taken("loss.weighting.kind", "x0", ("train.snr_gamma",))
        why = "snr_gamma / snr without a limit there: x0 is that without the factor snr_gamma"
        yield s.note("train.snr_gamma", "taken", why, to=("loss.weighting.kind",))
        return
    gamma = s["train.min_snr_gamma"]
    yield Taken("loss.weighting.kind", "min_snr" if gamma else "none", ("train.min_snr_gamma",))
    if gamma:
        yield Taken("loss.weighting.gamma", gamma, ("train.min_snr_gamma",))
    if gamma and s["model.is_v_pred"]:
        yield s.note(
            "train.min_snr_gamma", "missing", "there v-prediction is weighted as epsilon is; here as published"
        )


def loss(s: Settings) -> Iterator[Outcome]:
    """Squared, absolute, or a pseudo-Huber of a fixed width, half of ours."""
    kinds = {"mse": "l2", "mae": "l1", "pseudo_huber": "smooth_l1"}
    kind = kinds.get(s["train.loss_type"])
    if kind is None:
        yield s.note("train.loss_type", "missing", f"squared error is used; known are {', '.join(kinds)}")
        return
    yield Taken("loss.kind", kind, ("train.loss_type",))
    if kind == "smooth_l1":
        yield Taken("loss.huber_c", 0.01, ("train.loss_type",))
        yield Taken("loss.huber_schedule", "constant", ("train.loss_type",))


def timesteps(s: Settings) -> Iterator[Outcome]:
    """Counted from the noisiest, and the ends are left out there."""
    least, most = s["train.min_denoising_steps"], s["train.max_denoising_steps"]
    word = s["train.content_or_style"]
    of = ("train.min_denoising_steps", "train.max_denoising_steps", "train.content_or_style")
    ends = (1001 - most, 999 - least) if word == "balanced" else (999 - most, 1000 - least)
    yield Taken("noise.min_timestep", max(0, ends[0]), of)
    yield Taken("noise.max_timestep", max(1, ends[1]), of)
    if word in ("style", "content"):
        yield Taken("noise.timesteps.density", "power", ("train.content_or_style",))
        yield Taken("noise.timesteps.power", 3.0, ("train.content_or_style",))
        yield Taken("noise.timesteps.mirrored", word == "content", ("train.content_or_style",))
    elif word != "balanced":
        yield s.note("train.content_or_style", "unknown", "known are balanced, content, style")


def average(s: Settings) -> Iterator[Outcome]:
    """Averaged weights."""
    if s["train.ema_config.use_ema"]:
        yield Taken("train.ema", s["train.ema_config.ema_decay"], ("train.ema_config.ema_decay",))


def samples(s: Settings) -> Iterator[Outcome]:
    """Prompts with their one size and seed."""
    entries = s["sample.samples"] or [{"prompt": p} for p in s["sample.prompts"] or []]
    entries = [e for e in entries if e.get("prompt")]
    if not entries or s["train.disable_sampling"]:
        yield Taken("sample.every_epochs", 0, ("sample.prompts",))
        return
    lines = [_sample(s, entry, i) for i, entry in enumerate(entries)]
    yield Taken("sample.prompts", lines, ("sample.prompts", "sample.width", "sample.height", "sample.seed"))
    yield Taken("sample.every_epochs", 0, ("sample.sample_every",))
    yield Taken("sample.every_steps", s["sample.sample_every"], ("sample.sample_every",))
    yield Taken("sample.at_start", not s["train.skip_first_sample"], ("train.skip_first_sample",))
    yield Taken("sample.steps", s["sample.sample_steps"], ("sample.sample_steps",))
    yield Taken("sample.guidance", s["sample.guidance_scale"], ("sample.guidance_scale",))
    if s["sample.neg"]:
        yield Taken("sample.negative", s["sample.neg"], ("sample.neg",))


def _sample(s: Settings, entry: Mapping[str, Any], i: int) -> str:
    seed = entry.get("seed", s["sample.seed"] + (i if s["sample.walk_seed"] else 0))
    width, height = entry.get("width", s["sample.width"]), entry.get("height", s["sample.height"])
    prompt = str(entry["prompt"]).replace("[trigger]", s["trigger_word"] or "")
    negative = f" --n {entry['neg']}" if entry.get("neg") else ""
    return f"{prompt}{negative} --w {width} --h {height} --d {seed}"
