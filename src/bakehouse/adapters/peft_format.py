"""Reading of PEFT's adapters: settings are parsed, tensors converted to kohya's and LyCORIS' forms.

PEFT stores some things beside the tensors: alpha, patterns of names with other alphas, how a rotation is computed. Each
setting is applied here, has no effect after training, or is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bakehouse.adapters.file_coverage import Coverage, UnappliedItem
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import read_json
from bakehouse.core.parse_json_toml_yaml import parse_json

HEADER = "lora_adapter_metadata"
"""Header key in which diffusers stores PEFT's settings, as JSON with keys such as `unet.lora_alpha`."""
CONFIG = "adapter_config.json"
"""File beside the tensors in which PEFT itself stores them."""

_KINDS = ("LORA", "LOHA", "LOKR", "OFT", "BOFT", "IA3")
_PARTS = {"lora_unet_": "unet", "lora_te2_": "text_encoder_2", "lora_te1_": "text_encoder", "lora_te_": "text_encoder"}

_APPLIED = frozenset(
    {"peft_type", "r", "lora_alpha", "alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "lora_bias",
     "coft", "eps", "block_share", "use_cayley_neumann", "num_cayley_neumann_terms", "feedforward_modules"}
)  # fmt: skip
_TOLD_BY_TENSORS = frozenset(
    {"oft_block_size", "boft_block_size", "boft_block_num", "boft_n_butterfly_factor", "use_effective_conv2d",
     "decompose_both", "decompose_factor", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
)  # fmt: skip
_OF_TRAINING = frozenset(
    {"lora_dropout", "dropout", "module_dropout", "rank_dropout", "rank_dropout_scale", "boft_dropout",
     "init_lora_weights", "init_weights", "init_ia3_weights", "loftq_config", "eva_config", "corda_config",
     "lora_ga_config", "velora_config", "runtime_config", "ensure_weight_tying", "inference_mode", "task_type",
     "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "megatron_config", "megatron_core"}
)  # fmt: skip
_IDLE = frozenset({"fan_in_fan_out", "qalora_group_size"})
"""PEFT itself ignores the first for the layers of these networks; the other is QALoRA's."""
_OTHER_ARITHMETIC = {
    "modules_to_save": "whole modules trained beside the adapter",
    "target_parameters": "an adapter on parameters instead of modules",
    "trainable_token_indices": "tokens of the text encoder trained beside the adapter",
    "layer_replication": "layers of the base put in twice",
    "alora_invocation_tokens": "an adapter that acts behind certain tokens alone",
    "use_qalora": "QALoRA's pooled inputs",
    "use_bdlora": "block-diagonal factors",
    "arrow_config": "Arrow's routing between adapters",
    "kasa_config": "KaSA's singular values",
    "monteclora_config": "MonteCLoRA's sampled weights",
}


@dataclass(frozen=True)
class Settings:
    """PEFT's settings of one network's adapter; may be empty."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        found = self.values.get(name)
        return default if found is None else found

    def by_pattern(self, name: str, path: str) -> Any:
        """Return a module's value in `alpha_pattern` or `rank_pattern`: the first pattern matching the name's end.

        Raises:
            UsageError: a pattern is not a regular expression.
        """
        for pattern, value in self.get(name, {}).items():
            try:
                if re.match(rf"(.*\.)?({pattern})$", path):
                    return value
            except re.error as e:
                raise UsageError(f"{name} holds {pattern!r}, which is not a regular expression: {e}") from e
        return None

    def scale(self, path: str, rank: int) -> float | None:
        """Return the scale of a module's update: alpha / rank, with rsLoRA alpha / sqrt(rank); None without alpha.

        Raises:
            UsageError: the settings' rank is not the tensors', or alpha is not a number.
        """
        expected = self.by_pattern("rank_pattern", path) or self.get("r")
        if expected is not None and expected != rank:
            raise UsageError(f"PEFT's settings have rank {expected} for {path}, but its tensors have rank {rank}")
        alpha = self.by_pattern("alpha_pattern", path)
        alpha = self.get("lora_alpha", self.get("alpha")) if alpha is None else alpha
        if alpha is None:
            return None
        if not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise UsageError(f"PEFT's settings of {path}: alpha {alpha!r} is not a number")
        return float(alpha) / (math.sqrt(rank) if self.get("use_rslora") else rank)

    def is_feedforward(self, path: str) -> bool:
        """Return whether IA3 scales a module's inputs: PEFT has a list of name ends, or one regular expression."""
        modules = self.get("feedforward_modules", [])
        if isinstance(modules, str):
            return re.fullmatch(modules, path) is not None
        return any(path.endswith(end) for end in modules)


@dataclass(frozen=True)
class PeftSettings:
    """PEFT's settings of a file: one set for all of it, or one for each network."""

    whole: Mapping[str, Any] = field(default_factory=dict)

    def of(self, stem: str) -> Settings:
        """Return the settings of the network that a module is in."""
        part = next((name for prefix, name in _PARTS.items() if stem.startswith(prefix)), "unet")
        start = f"{part}."
        own = {k.removeprefix(start): v for k, v in self.whole.items() if k.startswith(start)}
        return Settings(own or {k: v for k, v in self.whole.items() if "." not in k})

    @property
    def each(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The settings of each network with the prefix of their keys."""
        parts = sorted({k.partition(".")[0] for k in self.whole if "." in k})
        sets = [(f"{p}.", {k.removeprefix(f"{p}."): v for k, v in self.whole.items() if k.startswith(f"{p}.")})
                for p in parts]  # fmt: skip
        plain = {k: v for k, v in self.whole.items() if "." not in k}
        return [*sets, *([("", plain)] if plain else [])]

    def coverage(self) -> Coverage:
        """Return every setting that is not applied, and why."""
        return Coverage(tuple(e for start, values in self.each for e in _entries(start, values)))


def _entries(start: str, values: Mapping[str, Any]) -> list[UnappliedItem]:
    found = []
    kind = str(values.get("peft_type") or "LORA").rpartition(".")[2].upper()
    if kind not in _KINDS:
        found.append(
            UnappliedItem(f"{start}peft_type = {kind}", "refused", f"unsupported; supported are {', '.join(_KINDS)}")
        )
    for name, value in values.items():
        if name in _APPLIED | _TOLD_BY_TENSORS | _OF_TRAINING | _IDLE or value in (None, False, [], {}, ""):
            continue
        said = f"{start}{name} = {value!r}"
        if name == "bias":
            # It concerns biases of the base, which would be tensors of the file under their own names.
            continue
        if name in _OTHER_ARITHMETIC:
            found.append(UnappliedItem(said, "refused", _OTHER_ARITHMETIC[name]))
        elif not name.startswith(("loftq_", "megatron_")):
            found.append(UnappliedItem(said, "carried", "an unknown setting of PEFT"))
    return found


def read_settings(path: Path, metadata: Mapping[str, str]) -> PeftSettings:
    """Read PEFT's settings of a file from its header or from the `adapter_config.json` beside it.

    Raises:
        BakehouseError: they are damaged.
    """
    beside = path.parent / CONFIG
    try:
        if HEADER in metadata:
            found, where = parse_json(metadata[HEADER]), f"{HEADER} in the header of {path}"
        elif path.name.startswith("adapter_model") and beside.is_file():
            found, where = read_json(beside), str(beside)
        else:
            return PeftSettings()
    except ValueError as e:
        raise BakehouseError(f"PEFT's settings of {path} cannot be read: {e}", hint="download the adapter again") from e
    if not isinstance(found, dict):
        raise BakehouseError(f"{where} holds {type(found).__name__}, not a table of settings")
    return PeftSettings(found)


STANDARD_NAMES: Mapping[str, str] = {
    "lora_B.bias": "diff_b", "oft_R.weight": "rotations", "boft_R": "rotations", "boft_s": "out_factors",
    "ia3_l": "weight",
}  # fmt: skip
"""PEFT's own tensors and the names that `standardize` gives them."""


def standardize(tensors: Mapping[str, Tensor], stem: str, path: str, peft: PeftSettings) -> dict[str, Tensor]:
    """Return one module's tensors in kohya's and LyCORIS' forms, with alpha from PEFT's settings.

    Raises:
        UsageError: settings and tensors contradict each other, or the computation is not determined.
    """
    settings, made = peft.of(stem), dict(tensors)
    if "lora_down.weight" in made:
        return _lora(made, path, settings)
    if settings.values and "alpha" not in made and ("hada_w1_b" in made or "lokr_w1" in made or "lokr_w1_a" in made):
        return _lycoris(made, path, settings)
    if "oft_R.weight" in made and "use_cayley_neumann" not in settings.values:
        raise UsageError(
            f"{path} is PEFT's OFT, but the settings do not tell how rotations are computed (use_cayley_neumann)",
            hint=f"keep PEFT's {CONFIG} beside adapter_model.safetensors",
        )
    if "oft_R.weight" in made:
        return {**_without(made, "oft_R.weight"), "rotations": _oft_turns(made["oft_R.weight"].float(), settings)[None]}
    if "boft_R" in made:
        return _boft(made)
    if "ia3_l" in made:
        return _ia3(made, stem, path, settings)
    return made


def _without(tensors: Mapping[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def _lora(made: dict[str, Tensor], path: str, settings: Settings) -> dict[str, Tensor]:
    rank = int(made["lora_down.weight"].shape[0])
    if "alpha" not in made:
        scale = settings.scale(path, rank)
        # A file that says nothing means alpha = rank.
        made["alpha"] = torch.tensor(float(rank) if scale is None else scale * rank)
    lengths = made.get("dora_scale")
    if lengths is not None and lengths.shape[1:] == (1,) and made["lora_down.weight"].ndim == 4:
        # ComfyUI divides by norms of this shape: [out, 1] beside a convolution's would spread over its kernel.
        made["dora_scale"] = lengths.reshape(-1, 1, 1, 1)
    if "lora_B.bias" in made:
        # PEFT counts B's bias like the rest of the update; `diff_b` counts once.
        bias = made.pop("lora_B.bias")
        factor = float(made["alpha"].flatten()[0]) / rank
        made["diff_b"] = bias if factor == 1.0 else bias.float() * factor
    return made


def _lycoris(made: dict[str, Tensor], path: str, settings: Settings) -> dict[str, Tensor]:
    pair = next((n for n in ("hada_w1_b", "lokr_w1_b", "lokr_w2_b") if n in made), None)
    configured = settings.by_pattern("rank_pattern", path) or settings.get("r", 1)
    if not isinstance(configured, int):
        raise UsageError(f"PEFT's settings of {path}: rank {configured!r} is not a whole number")
    rank = int(made[pair].shape[0]) if pair else configured
    scale = settings.scale(path, rank)
    if scale is None:
        return made
    if pair is None:
        # LyCORIS counts two whole factors once, PEFT alpha / rank times.
        first = made["lokr_w1"] if scale == 1.0 else made["lokr_w1"].float() * scale
        return {**made, "lokr_w1": first, "alpha": torch.tensor(float(rank))}
    return {**made, "alpha": torch.tensor(scale * rank)}


def _oft_turns(upper: Tensor, settings: Settings) -> Tensor:
    """Rotations [count, n, n] from the numbers above the diagonals of their skew matrices, [count, n (n - 1) / 2]."""
    size = (1 + math.isqrt(1 + 8 * upper.shape[1])) // 2
    rows, columns = torch.triu_indices(size, size, 1)
    skew = upper.new_zeros(len(upper), size, size)
    skew[:, rows, columns] = upper
    skew = skew - skew.mT
    if settings.get("coft"):
        most = float(settings.get("eps", 6e-5)) / math.sqrt(len(skew))
        norms = torch.linalg.matrix_norm(skew, keepdim=True)
        skew = torch.where(norms <= most, skew, skew * (most / norms))
    if not settings.get("use_cayley_neumann"):
        return _cayley(skew)
    return _neumann(skew, int(settings.get("num_cayley_neumann_terms", 5)))


def _cayley(skew: Tensor) -> Tensor:
    """(I - S) (I + S)^-1."""
    eye = torch.eye(skew.shape[-1])
    turn: Tensor = torch.linalg.solve(eye + skew, eye - skew, left=False)
    return turn


def _neumann(skew: Tensor, terms: int) -> Tensor:
    """I + 2 S + 2 S^2 + ... with the last term once: PEFT's series for (I + S) (I - S)^-1."""
    turn = torch.eye(skew.shape[-1]).repeat(len(skew), 1, 1)
    if terms > 1:
        turn = turn + 2 * skew
    if terms > 2:
        power = skew @ skew
        turn = turn + 2 * power
        for _ in range(3, terms - 1):
            power = power @ skew
            turn = turn + 2 * power
        turn = turn + power @ skew
    return turn


def _boft(made: dict[str, Tensor]) -> dict[str, Tensor]:
    blocks = made["boft_R"].float()
    turns = _cayley((blocks - blocks.mT) / 2)
    scale = {"out_factors": made["boft_s"].float().flatten()} if "boft_s" in made else {}
    return {**_without(made, "boft_R", "boft_s"), "rotations": turns, **scale}


_NO_BIAS = ("_to_q", "_to_k", "_to_v")


def _ia3(made: dict[str, Tensor], stem: str, path: str, settings: Settings) -> dict[str, Tensor]:
    factors = made["ia3_l"].float()
    shaped = factors.ndim == 2 and 1 in factors.shape and factors.shape[0] != factors.shape[1]
    if not shaped and not settings.values:
        raise UsageError(
            f"{path} is PEFT's IA3, but the settings do not tell whether it scales inputs (feedforward_modules)",
            hint=f"keep PEFT's {CONFIG} beside adapter_model.safetensors",
        )
    on_input = factors.shape[0] == 1 if shaped else settings.is_feedforward(path)
    changed = (factors - 1).flatten()
    own = {"weight": changed, "on_input": torch.tensor(int(on_input))}
    if not on_input and not (stem.startswith("lora_unet_") and stem.endswith(_NO_BIAS)):
        # PEFT scales what comes out, bias and all; LyCORIS the weight alone.
        own["bias_factors"] = changed.clone()
    return {**_without(made, "ia3_l"), **own}
