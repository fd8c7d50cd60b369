"""The form of a module's tensors in a file: the algorithm with the options that change the meaning of its tensors.

Programs differ in the forms that they read; `program_support.json` has the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping

from bakehouse.adapters.tensor_files import Shape
from bakehouse.adapters.tensor_names import algorithm_of

_TUCKER = frozenset({"lora_mid.weight", "hada_t1", "lokr_t2", "bm.weight"})
PEFT_LENGTHS = "lora_magnitude_vector"
"""PEFT's name for DoRA's magnitudes, always one for each output."""
_BIASED = frozenset({"full difference", "unknown"})
"""Forms to which `diff_b` belongs anyway."""


def form_of(tensors: Mapping[str, Shape], alpha: float | None = None) -> str:
    """Return a module's form: `LoRA`, `LoKr, Tucker`, `LoHa, DoRA by input`, `OFT, constrained`.

    Args:
        tensors: by their names within the module (`lora_up.weight`).
        alpha: its value, which is the constraint of OFT and BOFT.
    """
    magnitudes = tensors.get("dora_scale")
    kind = algorithm_of(name for name in tensors if name != "dora_scale")
    if kind == "unknown":
        kind = "IA3" if "weight" in tensors else "bias" if "diff_b" in tensors else kind
    options = []
    if kind == "OFT" and "oft_blocks" in tensors:
        kind = "BOFT" if len(tensors["oft_blocks"].shape) == 4 else "OFT"
        options += ["constrained"] if alpha else []
        options += ["rescaled"] if "rescale" in tensors else []
    if kind == "LoKr":
        options += ["both factors of low rank"] if {"lokr_w1_a", "lokr_w2_a"} <= tensors.keys() else []
        options += ["both factors whole"] if {"lokr_w1", "lokr_w2"} <= tensors.keys() else []
    options += ["Tucker"] if _TUCKER & tensors.keys() else []
    if magnitudes is not None:
        options.append("DoRA by input" if magnitudes.shape[:1] == (1,) else "DoRA by output")
    options += ["DoRA of PEFT"] if PEFT_LENGTHS in tensors else []
    options += ["with a scalar"] if "scalar" in tensors else []
    options += ["with a bias"] if "diff_b" in tensors and kind not in (*_BIASED, "bias") else []
    return ", ".join([kind, *options])
