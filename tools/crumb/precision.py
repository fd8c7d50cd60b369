"""bfloat16 where the device multiplies it: GPUs, processors with AMX or AVX-512 BF16. About twice as fast here."""

from __future__ import annotations

import torch


def multiplies_bf16(device: torch.device | str) -> bool:
    if torch.device(device).type != "cpu":
        return True
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def autocast(device: torch.device | str) -> torch.autocast:
    """Return a context in which layers compute in bfloat16, if `device` gains by it; weights stay as they are."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=multiplies_bf16(device))
