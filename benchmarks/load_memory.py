"""Memory needed to load a model: `python -m benchmarks.load_memory`.

A random model in the shape of SD 1.5 (narrower, some hundred MB in half precision) is loaded by a fresh process from
each layout into each type, and every weight is read once. The peak of the process, less what it held after its
imports, is set against the bytes of the weights: 1.00 is one copy. Linux only: the numbers are the kernel's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

WIDTHS = (160, 320, 640, 640)
LAYOUTS = {"folder": "fp16 folder", "file.safetensors": "fp16 .safetensors", "file.ckpt": "fp16 .ckpt"}
DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


def write_models(folder: Path, widths: tuple[int, ...] = WIDTHS) -> None:
    """Write the same random model in every file format, in half precision."""
    from safetensors.torch import load_file

    from bakehouse.models.crumb import crumb_folder
    from bakehouse.models.diffusers_networks import build_text_encoder, build_unet, build_vae, load_tokenizer
    from bakehouse.models.sd1 import SD1
    from bakehouse.models.single_file import save_single_file

    text = {"vocab_size": 1131, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
            "bos_token_id": 1129, "eos_token_id": 1130, "pad_token_id": 1130}  # fmt: skip
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    unet = build_unet(
        {"sample_size": 64, "block_out_channels": widths, "cross_attention_dim": 768, "attention_head_dim": 8}
    )
    vae = build_vae({"block_out_channels": (64, 128, 256, 256), "layers_per_block": 2, **blocks})
    tokenizer = load_tokenizer(crumb_folder() / "tokenizer")
    model = SD1(
        unet=_filled(unet),
        vae=_filled(vae),
        text_encoder=_filled(build_text_encoder(text)),
        tokenizer=tokenizer,
    )
    model.save(folder / "folder", dtype=torch.float16)
    single = save_single_file(model, folder / "file.safetensors", dtype=torch.float16)
    torch.save({"state_dict": load_file(single)}, folder / "file.ckpt")
    tokenizer.save_pretrained(str(folder / "tokenizer"))


def _filled(network: nn.Module) -> nn.Module:
    """Fill an empty network with one repeated block of random numbers; drawing all of them would take long."""
    block = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).half() * 0.02

    def drawn(like: torch.Tensor) -> torch.Tensor:
        return block.repeat(-(-like.numel() // len(block)))[: like.numel()].view(like.shape).clone()

    network.load_state_dict({k: drawn(v) for k, v in network.state_dict().items()}, assign=True)
    for path, module in network.named_modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta and path is not None:
                module.register_buffer(name, torch.arange(buffer.shape[-1]).expand(buffer.shape), persistent=False)
    return network


def children(cases: Sequence[tuple[str, str]]) -> None:
    """Load each (path, type) in a fork of this process; print peak and weights in bytes, one line each."""
    import diffusers
    import transformers
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from bakehouse.models.load import load_model

    _ = (diffusers, transformers, AutoencoderKL, UNet2DConditionModel, CLIPTextModel, CLIPTokenizer)
    load_model("crumb")  # whatever the libraries only import when first used
    for path, dtype in cases:
        if fork := os.fork():
            if os.waitpid(fork, 0)[1]:
                raise SystemExit(f"loading {path} failed")
        else:
            code = 1
            try:
                print(json.dumps(_loaded(path, dtype)), flush=True)
                code = 0
            finally:
                os._exit(code)


def _loaded(path: str, dtype: str) -> dict[str, float]:
    from bakehouse.models.load import load_model

    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _memory("VmRSS")
    model = load_model(path, dtype=DTYPES[dtype])
    loaded = _memory("VmHWM") - before
    read = sum(float(p.view(-1)[::512].float().sum()) for p in model.parameters())
    weights = sum(p.nbytes for p in model.parameters())
    touched = _memory("VmHWM") - before
    return {"loaded": loaded, "peak": touched, "weights": weights, "sum": read}


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def measure(cases: Sequence[tuple[Path, str]]) -> list[dict[str, float]]:
    """Measure one load after the other, each in a process that has only imported the libraries."""
    words = [str(word) for case in cases for word in case]
    command = [sys.executable, "-m", "benchmarks.load_memory", "children", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"loading failed:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    """Measure every file format and print the table."""
    out = Table("", "into", "weights", "peak", "peak / weights", title="memory while loading")
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        cases = [(Path(folder) / layout, dtype) for layout in LAYOUTS for dtype in DTYPES]
        for (layout, dtype), found in zip(cases, measure(cases), strict=True):
            mib = [f"{found[what] / 2**20:.0f} MiB" for what in ("weights", "peak")]
            out.add_row(LAYOUTS[layout.name], dtype, *mib, f"{found['peak'] / found['weights']:.2f}")
    Console().print(out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["children"]:
        children(list(zip(sys.argv[2::2], sys.argv[3::2], strict=True)))
    else:
        main()
