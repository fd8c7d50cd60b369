"""Keys of adapter tensors in the files of all programs, converted to kohya's: `lora_unet_..._to_q.lora_down.weight`.

A key is a stem (the module) and a suffix (the tensor of the algorithm). Supported forms of the stem: kohya's,
CompVis block numbers (SDXL files), LyCORIS' wrapper, diffusers with PEFT, the `processor` form of diffusers 0.14,
PEFT's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from bakehouse.adapters.target_modules import Site
from bakehouse.core.errors import UsageError

_SUFFIXES = (
    (re.compile(r"\.lora_A(?:\.(?!weight$)[^.]+)?(?:\.weight)?$"), "lora_down.weight"),
    (re.compile(r"\.lora_B(?:\.(?!weight$|bias$)[^.]+)?\.bias$"), "lora_B.bias"),
    (re.compile(r"\.lora_B(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?$"), "lora_up.weight"),
    (re.compile(r"(?:\.lora_|[._]lora\.|\.lora_linear_layer\.)down\.weight$"), "lora_down.weight"),
    (re.compile(r"(?:\.lora_|[._]lora\.|\.lora_linear_layer\.)up\.weight$"), "lora_up.weight"),
    (re.compile(r"\.lora_mid\.weight$"), "lora_mid.weight"),
    (re.compile(r"\.lora_magnitude_vector(?:\.(?!weight$)[^.]+)?(?:\.weight)?$"), "dora_scale"),
    (re.compile(r"\.dora_scale$"), "dora_scale"),
    (re.compile(r"\.oft_R(?:\.(?!weight$)[^.]+)?\.weight$"), "oft_R.weight"),
    (re.compile(r"\.boft_R(?:\.[^.]+)?$"), "boft_R"),
    (re.compile(r"\.boft_s(?:\.[^.]+)?$"), "boft_s"),
    (re.compile(r"\.ia3_l(?:\.[^.]+)?$"), "ia3_l"),
    (re.compile(r"\.alpha$"), "alpha"),
)
_OTHER = re.compile(
    r"\.((?:hada|lokr)_\w+|oft_(?:blocks|diag)|rescale|diff|diff_b|w_norm|b_norm|on_input|scalar"
    r"|bias_(?:indices|values|size)|(?:[ab][12]|bm|q_layer|p_layer)\.weight|lambda_layer|weight)$"
)

Modules = TypeVar("Modules", bound=Mapping[str, Tensor])

_RANKED = ("lora_down.weight", "hada_w1_b", "lokr_w1_b", "lokr_w2_b", "a2.weight")
"""The tensors whose first axis is the rank."""

ALGORITHMS = {
    "hada_w1_a": "LoHa",
    "lokr_w1": "LoKr",
    "lokr_w1_a": "LoKr",
    "on_input": "IA3",
    "oft_blocks": "OFT",
    "oft_diag": "OFT",
    "oft_R.weight": "OFT (PEFT)",
    "boft_R": "BOFT (PEFT)",
    "ia3_l": "IA3 (PEFT)",
    "rotations": "rotation of inputs (PEFT's OFT and BOFT)",
    "a1.weight": "GLoRA",
    "q_layer.weight": "T-LoRA",
    "w_norm": "norm layers",
    "diff": "full difference",
    "lora_down.weight": "LoRA",
    "diff_b": "bias",
    "weight": "IA3",
}
"""Suffixes that identify the algorithm, the most specific first."""


def split_key(key: str) -> tuple[str, str] | None:
    """Return stem and kohya's suffix of a key in any known form; None if it is not an adapter tensor."""
    for pattern, suffix in _SUFFIXES:
        if m := pattern.search(key):
            return key[: m.start()], suffix
    m = _OTHER.search(key)
    if m is None or (m[1] == "weight" and not key.startswith((*_KOHYA, "lycoris_"))):
        # IA3's tensor is called `weight`: only kohya's stem distinguishes it from a network's own.
        return None
    return key[: m.start()], m[1]


_PARTS = (
    ("unet.", "lora_unet_"),
    ("text_encoder_2.", "lora_te2_"),
    ("text_encoder.", "lora_te_"),
    ("diffusion_model.", "lora_unet_"),
    ("text_encoders.clip_l.transformer.", "lora_te_"),
    ("text_encoders.clip_g.transformer.", "lora_te2_"),
)
_KOHYA = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")


def kohya_stem(stem: str) -> str:
    """Return kohya's stem for a stem in any known form."""
    stem = stem.removeprefix("base_model.model.")
    if stem.startswith("oft_unet_"):
        # kohya's networks.oft has a prefix of its own.
        stem = stem.replace("oft_", "lora_", 1)
    if stem.startswith(_KOHYA):
        return _from_compvis(stem)
    if stem.startswith("lycoris_"):
        return _from_compvis(_with_part(stem.removeprefix("lycoris_"), "_"))
    for dotted, prefix in _PARTS:
        if stem.startswith(dotted):
            return _from_compvis(prefix + _flat(stem.removeprefix(dotted), is_text="te" in prefix))
    return _from_compvis(_with_part(stem, "."))


def _with_part(stem: str, joint: str) -> str:
    """Return kohya's stem for one without a network: the text encoder is recognized by its first word."""
    is_text = stem.startswith((f"text_model{joint}", f"encoder{joint}layers"))
    return ("lora_te_" if is_text else "lora_unet_") + _flat(stem, is_text=is_text)


def _flat(path: str, *, is_text: bool) -> str:
    path = path.replace(".processor.", ".")
    if re.search(r"attn[12]\.to_out$", path):
        path += ".0"
    if is_text and not path.startswith("text_model"):
        path = f"text_model.{path}"
    return path.replace(".", "_")


_ENDS = {
    "lora_unet_input_blocks_0_0": "lora_unet_conv_in",
    "lora_unet_time_embed_0": "lora_unet_time_embedding_linear_1",
    "lora_unet_time_embed_2": "lora_unet_time_embedding_linear_2",
    "lora_unet_label_emb_0_0": "lora_unet_add_embedding_linear_1",
    "lora_unet_label_emb_0_2": "lora_unet_add_embedding_linear_2",
    "lora_unet_out_0": "lora_unet_conv_norm_out",
    "lora_unet_out_2": "lora_unet_conv_out",
}
"""CompVis' names of modules outside of blocks."""

_RESNET = (
    ("in_layers_0", "norm1"),
    ("out_layers_0", "norm2"),
    ("in_layers_2", "conv1"),
    ("out_layers_3", "conv2"),
    ("emb_layers_1", "time_emb_proj"),
    ("skip_connection", "conv_shortcut"),
)


def _from_compvis(stem: str) -> str:
    """Convert `input_blocks_4_1_proj_in` to `down_blocks_1_attentions_0_proj_in`: all SD have two resnets per level."""
    if stem in _ENDS:
        return _ENDS[stem]
    m = re.fullmatch(r"lora_unet_(input_blocks|output_blocks)_(\d+)_(\d+)_(.+)", stem)
    if m:
        number, slot, rest = int(m[2]), int(m[3]), m[4]
        if m[1] == "input_blocks":
            level, place = divmod(number - 1, 3)
            if rest == "op":
                return f"lora_unet_down_blocks_{level}_downsamplers_0_conv"
            return f"lora_unet_down_blocks_{level}_{_block(slot, place, rest)}"
        level, place = divmod(number, 3)
        if rest == "conv":
            return f"lora_unet_up_blocks_{level}_upsamplers_0_conv"
        return f"lora_unet_up_blocks_{level}_{_block(slot, place, rest)}"
    if m := re.fullmatch(r"lora_unet_middle_block_([012])_(.+)", stem):
        slot = int(m[1])
        return f"lora_unet_mid_block_{_block(slot % 2, slot // 2, m[2])}"
    return stem


def _block(slot: int, place: int, rest: str) -> str:
    if slot == 1:
        return f"attentions_{place}_{rest}"
    for there, here in _RESNET:
        if rest == there:
            return f"resnets_{place}_{here}"
    return f"resnets_{place}_{rest}"


@dataclass(frozen=True)
class SortedTensors:
    """A file's tensors by module."""

    modules: dict[str, dict[str, Tensor]]
    """`{stem: {suffix: tensor}}` by kohya's names."""
    paths: Mapping[str, str]
    """Each module's dotted path in its network, to which PEFT's patterns apply; the stem if keys have no dots."""
    keys: Mapping[tuple[str, str], str]
    """The file's own key of each stem and suffix."""
    unknown: tuple[str, ...]
    """Keys that are not adapter tensors."""


def group_by_module(
    state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, *, source: str = "the file"
) -> SortedTensors:
    """Group a file's tensors by module.

    Raises:
        UsageError: two keys are two spellings of the same tensor of the same module.
    """
    modules: dict[str, dict[str, Tensor]] = {}
    paths: dict[str, str] = {}
    unknown = []
    origin: dict[tuple[str, str], str] = {}
    first: dict[str, str] = {}
    for key, tensor in state.items():
        found = split_key(key)
        if found is None:
            unknown.append(key)
            continue
        spelling, suffix = found
        stem = kohya_stem(spelling)
        stem = first.setdefault(stem.replace("lora_te1_", "lora_te_", 1), stem)
        other = origin.setdefault((stem, suffix), key)
        if other != key:
            raise UsageError(
                f"{source} holds one tensor twice: {other} and {key}",
                hint="it may be two adapters in one file; keep one: `weights convert FILE --drop PATTERN -o PATH`",
            )
        if "lora_magnitude_vector" in key:
            # PEFT's magnitudes are for outputs, but of a convolution have the shape of LyCORIS' for inputs.
            tensor = tensor.reshape(-1, 1)
        modules.setdefault(stem, {})[suffix] = tensor
        paths[stem] = _path(spelling)
    renamed = number_text_encoders(modules, metadata or {})
    names = dict(zip(modules, renamed, strict=True))
    return SortedTensors(
        renamed,
        {names[stem]: path for stem, path in paths.items()},
        {(names[stem], suffix): key for (stem, suffix), key in origin.items()},
        tuple(unknown),
    )


def _path(spelling: str) -> str:
    path = spelling.removeprefix("base_model.model.")
    return next((path.removeprefix(dotted) for dotted, _ in _PARTS if path.startswith(dotted)), path)


def to_kohya(
    state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Return a file's tensors as `{stem: {suffix: tensor}}` by kohya's names, and the keys of other tensors."""
    found = group_by_module(state, metadata)
    return found.modules, list(found.unknown)


def number_text_encoders(modules: Mapping[str, Modules], metadata: Mapping[str, str]) -> dict[str, Modules]:
    """Return the modules with SDXL's first text encoder named `lora_te1_`, as in kohya's files.

    Dotted names, ComfyUI's `clip_l` and LyCORIS' wrapper do not number it.
    """
    if not seems_sdxl(modules, metadata):
        return dict(modules)
    return {re.sub("^lora_te_", "lora_te1_", stem): tensors for stem, tensors in modules.items()}


def seems_sdxl(modules: Mapping[str, Mapping[str, Tensor]], metadata: Mapping[str, str]) -> bool:
    """Return whether modules are SDXL's: by the header, a numbered text encoder, or depth or width of the attention.

    Modules of the first text encoder alone, without number, tell nothing: SD 1.x has the same.
    """
    said = metadata.get("ss_base_model_version", "") + metadata.get("modelspec.architecture", "")
    if "xl" in said.lower():
        return True
    if any(stem.startswith(("lora_te1_", "lora_te2_")) or _DEEP.search(stem) for stem in modules):
        return True
    return any(_context(tensors) == 2048 for stem, tensors in modules.items() if stem.endswith("attn2_to_k"))


def families_of(modules: Mapping[str, Mapping[str, Tensor]], metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the families that an adapter may be for: `sd1`, `sd2`, `sdxl`; empty if the header names another."""
    if seems_sdxl(modules, metadata):
        return ("sdxl",)
    said = metadata.get("ss_base_model_version", "") + metadata.get("modelspec.architecture", "")
    widths = {_context(tensors) for stem, tensors in modules.items() if stem.endswith("attn2_to_k")}
    if re.search(r"sd_v2|diffusion-v2", said) or metadata.get("ss_v2") == "True" or 1024 in widths:
        return ("sd2",)
    if re.search(r"sd_v1|diffusion-v1", said) or 768 in widths:
        return ("sd1",)
    return () if said else ("sd1", "sd2")


_DEEP = re.compile(r"attentions_\d+_transformer_blocks_[1-9]")


def _context(tensors: Mapping[str, Tensor]) -> int:
    """Return the width of the prompt's embeddings from LoRA's A; 0 if unknown."""
    down = tensors.get("lora_down.weight")
    return int(down.shape[1]) if down is not None and down.ndim > 1 else 0


def to_diffusers(state: Mapping[str, Tensor], sites: Iterable[Site]) -> dict[str, Tensor]:
    """Return a kohya LoRA state by diffusers' PEFT names, which have no alpha: `lora_B` is multiplied by alpha / rank.

    `sites` are the model's modules, since kohya's underscores are ambiguous.
    """
    names = {site.stem: site.name for site in sites}
    converted = {}
    for stem, tensors in to_kohya(state)[0].items():
        down, up = tensors["lora_down.weight"], tensors["lora_up.weight"]
        scale = float(tensors["alpha"]) / down.shape[0] if "alpha" in tensors else 1.0
        converted[f"{names[stem]}.lora_A.weight"] = down
        converted[f"{names[stem]}.lora_B.weight"] = up * scale
    return converted


def algorithm_of(suffixes: Iterable[str]) -> str:
    """Return the algorithm's usual name from the suffixes of a module."""
    present = set(suffixes)
    name = next((name for mark, name in ALGORITHMS.items() if mark in present), "unknown")
    if "dora_scale" not in present:
        return name
    return "DoRA" if name == "LoRA" else f"{name} with DoRA"


def rank_of(tensors: Mapping[str, Tensor]) -> int:
    """Return the rank of one module; 0 for algorithms without one."""
    return max((int(tensors[name].shape[0]) for name in _RANKED if name in tensors and tensors[name].ndim), default=0)


def guess_base(modules: Mapping[str, Mapping[str, Tensor]]) -> str:
    """Return the base that an adapter seems to be made for, with the evidence; empty if unknown."""
    for mark, name in (("double_blocks", "FLUX"), ("joint_blocks", "SD 3"), ("lora_te2_", "SDXL")):
        if any(mark in stem for stem in modules):
            return f"{name} (modules {mark}...)"
    for stem, tensors in modules.items():
        down = tensors.get("lora_down.weight")
        if "attn2_to_k" in stem and down is not None:
            width = int(down.shape[1])
            name = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}.get(width, "a base")
            return f"{name} with cross-attention of {width} channels"
    if any(_DEEP.search(stem) for stem in modules):
        return "SDXL (several transformer blocks in one attention)"
    return ""
