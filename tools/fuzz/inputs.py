"""One valid input of each kind, and the commands that take them."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOT_TRIED = frozenset({"demo", "queue run", "models fetch", "serve"})
"""These train for minutes, train the queue, use the network, or run until they are stopped."""


@dataclass
class Inputs:
    """Valid inputs, and the commands that take them."""

    folder: Path
    commands: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import typer

        from bakehouse.cli.commands import app

        self.commands = {n: c for n, c in _leaves(typer.main.get_command(app), ()) if n not in NOT_TRIED}

    def names(self) -> list[str]:
        """Return the names of the files and folders."""
        return sorted(p.name for p in self.folder.iterdir())


def _leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield " ".join(path), command


def make_inputs(folder: Path, run: Path | None = None, film: Path | None = None) -> Path:
    """Make one valid input of each kind.

    Args:
        folder: the new folder.
        run: a run folder to copy; left out, there is none.
    """
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    photos = folder / "photos"
    for name in ("photos", "hf", "films", "empty", "photos/2_hat"):
        (folder / name).mkdir()
    noise = random.Random(0)
    for i, ending in enumerate(("jpg", "png", "webp", "png", "gif")):
        image = Image.frombytes("RGB", (96, 64 + 16 * i), noise.randbytes(96 * (64 + 16 * i) * 3))
        image.save(photos / f"{i}.{ending}")
        (photos / f"{i}.txt").write_text(f"zwx person, hat {i}, smile, blue_hair, (a), 1girl")
    image.save(photos / "2_hat/5.png")
    (photos / "2_hat/5.json").write_text(json.dumps({"caption": "zwx person", "tags": ["a", "b"]}))
    (folder / "audit.json").write_text(json.dumps({"folder": "photos", "findings": []}))
    (photos / "1.tags").write_text("zwx, hat, smile")
    image.save(folder / "hf/a.png")
    (folder / "hf/metadata.jsonl").write_text('{"file_name": "a.png", "text": "zwx person"}\n')
    for name, text in _texts().items():
        (folder / name).write_text(text)
    for name, method in (("archive.zip", 8), ("bz2.zip", 12), ("lzma.zip", 14)):
        with zipfile.ZipFile(folder / name, "w", method) as archive:
            for path in sorted(photos.iterdir()):
                if path.is_file():
                    archive.write(path, path.name)
    shape = {"lora_down.weight": (4, 64), "lora_up.weight": (64, 4)}
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {f"{stem}.{k}": torch.ones(*v) / 9 for k, v in shape.items()} | {f"{stem}.alpha": torch.tensor(4.0)}
    if run is not None:
        from safetensors.torch import load_file

        shutil.copytree(run, folder / "run")
        tensors = load_file(next((run / "weights").glob("*.safetensors")))
        shutil.copy(next((run / "weights").glob("*.safetensors")), folder / "lora.safetensors")
    else:
        save_file(tensors, folder / "lora.safetensors", {"ss_network_dim": "4"})
    save_file({k: v.to(torch.float8_e4m3fn) for k, v in tensors.items()}, folder / "f8.safetensors")
    save_file({k: v.bfloat16() for k, v in tensors.items()}, folder / "bf16.safetensors")
    torch.save(tensors, folder / "lora.pt")
    (folder / "peft").mkdir()
    prefix = "base_model.model.unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file(
        {f"{prefix}.lora_A.weight": torch.ones(4, 64), f"{prefix}.lora_B.weight": torch.ones(64, 4)},
        folder / "peft/adapter_model.safetensors",
    )
    (folder / "peft/adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["to_q"]})
    )
    shutil.copytree(_crumb(), folder / "model")
    if film is not None:
        shutil.copy(film, folder / "film.avi")
        shutil.copy(film, folder / "films/a.avi")
    (folder / "films/b.mp4").write_bytes(b"no film")
    return folder


def _texts() -> dict[str, str]:
    kohya = {"network_module": "networks.lora", "network_dim": 8, "train_data_dir": "photos", "learning_rate": 1e-4}
    flags = " ".join(f"--{key}={value}" for key, value in kohya.items())
    gui = {"LoRA_type": "Standard", "epoch": 2, "max_resolution": "512,512", "pretrained_model_name_or_path": "x"}
    one = {"training_method": "LORA", "base_model_name": "x", "model_type": "STABLE_DIFFUSION_15", "lora_rank": 8}
    datasets = {"folder_path": "photos"}
    process = {"type": "sd_trainer", "network": {"type": "lora", "linear": 8}, "datasets": [datasets]}
    toolkit = {"name": "x", "process": [process | {"train": {"steps": 10}, "model": {"name_or_path": "x"}}]}
    concept = {"instance_prompt": "zwx person", "class_prompt": "person", "instance_data_dir": "photos"}
    return {
        "recipe.toml": 'kind = "character"\nseed = 1\n[train]\nsteps = 4\n[adapter]\nkind = "lora"\nrank = 4\n'
        '[[concepts]]\nfolder = "photos"\nsubject = "zwx person"\n',
        "triggers.toml": '[[triggers]]\nword = "zwx"\nabsorbs = ["hat"]\n',
        "rules.toml": '[[rules]]\nkind = "tidy"\n',
        "tags.csv": "name,category,count\nsmile,0,100\nhat,0,50\n",
        "concepts.json": json.dumps([concept]),
        "kohya.toml": "".join(f"{key} = {json.dumps(value)}\n" for key, value in kohya.items()),
        "gui.json": json.dumps(kohya | gui),
        "run.sh": f"accelerate launch train_network.py {flags}\n",
        "run.ps1": f"accelerate launch train_network.py `\n {flags}\n",
        "one.json": json.dumps(one | {"concepts": [], "learning_rate": 1e-4, "epochs": 2}),
        "toolkit.yaml": json.dumps({"job": "extension", "config": toolkit}, indent=1),  # which is YAML too
    }


def _crumb() -> Path:
    import bakehouse

    return Path(bakehouse.__file__).parent / "assets" / "crumb"
