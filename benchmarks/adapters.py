"""Time of a training step with every adapter kind, against LyCORIS and PEFT: `python -m benchmarks.adapters`.

A step is forward, backward and update of the linear layers of one transformer block: of SD 1.5 (320 wide, its
feed-forward 2560) or of crumb's middle. In each round every library takes one step, so that a machine that slows down
slows all; a ratio is the median of the rounds' ratios of bakehouse's time to the other's, so below 1 bakehouse is
faster.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn

from bakehouse.adapters import BOFT, IA3, OFT, FullDiff, GLoRA, LayerAdapter, LoHa, LoKr, LoRA, NetworkSpec
from bakehouse.adapters.target_modules import Site

Step = Callable[[], None]

SIZES: Mapping[str, tuple[int, int, int]] = {"sd1": (320, 1024, 1), "crumb": (256, 64, 8)}
"""Width, tokens and batch of a block."""

KINDS: Mapping[str, tuple[NetworkSpec, dict[str, Any], str]] = {
    "lora": (LoRA(rank=16, alpha=8), {"algo": "lora"}, "LoraConfig"),
    "dora": (
        LoRA(rank=16, alpha=8, dora=True, wd_on_output=True),
        {"algo": "lora", "dora_wd": True},
        "LoraConfig+dora",
    ),
    "loha": (LoHa(rank=16, alpha=8), {"algo": "loha"}, "LoHaConfig"),
    "lokr": (LoKr(rank=16, alpha=8, factor=8), {"algo": "lokr", "factor": 8}, "LoKrConfig"),
    "lokr-dora": (
        LoKr(rank=16, alpha=8, factor=8, dora=True, wd_on_output=True),
        {"algo": "lokr", "factor": 8, "dora_wd": True},
        "",
    ),
    "oft": (OFT(block_size=16), {"algo": "diag-oft"}, "OFTConfig"),
    "boft": (BOFT(block_size=16), {"algo": "boft"}, ""),
    "glora": (GLoRA(rank=16, alpha=8), {"algo": "glora"}, ""),
    "ia3": (IA3(include=()), {"algo": "ia3"}, ""),
    "diff": (FullDiff(), {"algo": "full"}, ""),
}
"""bakehouse's settings, LyCORIS' arguments and PEFT's configuration of each algorithm (DoRA on outputs, as in both)."""


class Block(nn.Module):
    """The linear layers of a transformer block, in order."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width, bias=i == 3) for i in range(4))
        self.up, self.down = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.to_q(x) * self.to_k(x) + self.to_v(x)
        x = x + self.to_out(mixed)
        value, gate = self.up(x).chunk(2, dim=-1)
        out: Tensor = x + self.down(value * nn.functional.gelu(gate))
        return out


def ours(block: nn.Module, spec: NetworkSpec, x: Tensor) -> Step:
    """Return a step with bakehouse's adapter on the block."""
    sites = [Site("lora_unet", name, m) for name, m in block.named_modules() if isinstance(m, nn.Linear)]
    adapter = LayerAdapter([(site, spec.build(site, torch.Generator().manual_seed(0))) for site in sites], spec=spec)
    return _step(block, list(adapter.train().parameters()), x)


def lycoris(block: nn.Module, arguments: Mapping[str, Any], x: Tensor) -> Step:
    """Return a step with LyCORIS' module on each linear layer."""
    from lycoris import modules

    classes = {
        "lora": modules.LoConModule, "loha": modules.LohaModule, "lokr": modules.LokrModule,
        "diag-oft": modules.DiagOFTModule, "boft": modules.ButterflyOFTModule, "glora": modules.GLoRAModule,
        "ia3": modules.IA3Module, "full": modules.FullModule,
    }  # fmt: skip
    options = dict(arguments)
    kind = classes[options.pop("algo")]
    options["weight_decompose"] = options.pop("dora_wd", False)
    made = [
        kind(name, m, 1.0, 16, 8.0, **options) for name, m in list(block.named_modules()) if isinstance(m, nn.Linear)
    ]
    for layer in made:
        layer.apply_to()
        layer.train()
    return _step(block, [p for layer in made for p in layer.parameters() if p.requires_grad], x)


def peft(block: nn.Module, name: str, x: Tensor) -> Step:
    """Return a step with PEFT's adapter."""
    import peft as library

    kind, _, dora = name.partition("+")
    targets = [n for n, m in block.named_modules() if isinstance(m, nn.Linear)]
    options: dict[str, Any] = {
        "LoraConfig": {"r": 16, "lora_alpha": 8, "use_dora": bool(dora)},
        "LoHaConfig": {"r": 16, "alpha": 8},
        "LoKrConfig": {"r": 16, "alpha": 8, "decompose_factor": 8},
        "OFTConfig": {"r": 0, "oft_block_size": 16},
    }[kind]
    model = library.get_peft_model(block, getattr(library, kind)(target_modules=targets, **options))
    return _step(model, [p for p in model.parameters() if p.requires_grad], x)


def _step(model: nn.Module, parameters: list[nn.Parameter], x: Tensor) -> Step:
    optimizer = torch.optim.AdamW(parameters, 1e-4, foreach=True)

    def step() -> None:
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(kind: str, size: str, rounds: int) -> dict[str, float]:
    """Return bakehouse's seconds a step, and its time as a multiple of each other's."""
    width, tokens, batch = SIZES[size]
    spec, arguments, config = KINDS[kind]
    torch.manual_seed(0)
    base = Block(width).requires_grad_(False)
    # What comes into a block inside a network needs a gradient.
    x = torch.randn(batch, tokens, width, requires_grad=True)
    steps = {"ours": ours(copy.deepcopy(base), spec, x), "lycoris": lycoris(copy.deepcopy(base), arguments, x)}
    if config:
        steps["peft"] = peft(copy.deepcopy(base), config, x)
    times: dict[str, list[float]] = {who: [] for who in steps}
    for _ in range(rounds + 1):
        for who, step in steps.items():
            began = time.perf_counter()
            step()
            times[who].append(time.perf_counter() - began)
    found = {"seconds": statistics.median(times["ours"][1:])}
    for who in ("lycoris", "peft"):
        if who in times:
            ratios = [mine / theirs for mine, theirs in zip(times["ours"][1:], times[who][1:], strict=True)]
            found[who] = statistics.median(ratios)
    return found


def main() -> None:
    """Measure and print one table for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found: dict[str, dict[str, dict[str, float]]] = {size: {} for size in options.sizes}
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=len(options.kinds) * len(options.sizes))
        for kind in options.kinds:
            for size in options.sizes:
                found[size][kind] = measure(kind, size, options.rounds)
                bar.console.print(size, kind, {who: f"{value:.3g}" for who, value in found[size][kind].items()})
                bar.advance(task)
    if options.json:
        print(json.dumps({"adapters": found, "threads": torch.get_num_threads()}))
        return
    for size, kinds in found.items():
        width, tokens, batch = SIZES[size]
        title = f"{size}: {batch} x {tokens} tokens of {width}, fp32, {torch.get_num_threads()} threads"
        table = Table("", "s / step", "x LyCORIS", "x PEFT", title=title)
        for kind, one in kinds.items():
            others = (f"{one[who]:.2f}" if who in one else "-" for who in ("lycoris", "peft"))
            table.add_row(kind, f"{one['seconds']:.4f}", *others)
        Console().print(table)


if __name__ == "__main__":
    main()
