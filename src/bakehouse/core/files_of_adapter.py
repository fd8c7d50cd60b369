"""Which files an adapter consists of: one, or in PEFT's folders one for each network."""

from __future__ import annotations

from pathlib import Path

DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
"""What diffusers calls an adapter's file in a folder or Hub repository."""
PEFT_FILE = "adapter_model.safetensors"
"""The same of PEFT; its settings are beside it."""
PEFT_START = "base_model.model."
"""How keys of PEFT's own files begin; they do not say which network they are of."""
NETWORKS = ("unet", "text_encoder", "text_encoder_2")


def adapter_files(path: Path | str) -> dict[str, Path]:
    """The files of one adapter, by the network that each is of; empty for a folder that holds none.

    A file is itself, under "". So is the one in a folder that diffusers or PEFT wrote; a folder with PEFT's files in
    `unet/`, `text_encoder/`, `text_encoder_2/` is one adapter of as many files.
    """
    path = Path(path)
    if not path.is_dir():
        return {"": path}
    whole = next((path / name for name in (DIFFUSERS_FILE, PEFT_FILE) if (path / name).is_file()), None)
    if whole is not None:
        return {"": whole}
    return {part: path / part / PEFT_FILE for part in NETWORKS if (path / part / PEFT_FILE).is_file()}
