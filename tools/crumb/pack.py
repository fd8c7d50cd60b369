"""Pack the results for the package: a diffusers pipeline and a tagger, in half precision, with checksums.

Matrices of the UNet and the text encoder are rounded to 6 of half precision's 10 bits after the binary point: an error
of 0.3 %, which raises the UNet's loss by a thousandth of it. The repository and the wheel, which are compressed, need
a fifth less for them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from tools.crumb.words import CONCEPTS, PEOPLE, STYLE_WORDS

LIMIT = 43 * 1024 * 1024
"""Most bytes of the pipeline; with the tagger it may have 48 MB."""
MANTISSA_BITS = 6
PARTS = ("model_index.json", "scheduler", "text_encoder", "tokenizer", "unet", "vae")


def scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="trailing",
    )


def pipeline(unet_run: Path, vae: AutoencoderKL, tokenizer: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel.from_pretrained(unet_run / "text_encoder").float(),
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer),
        unet=UNet2DConditionModel.from_pretrained(unet_run / "unet").float(),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def pack(pipe: StableDiffusionPipeline, out: Path) -> None:
    """Write the pipeline in fp16, with its card."""
    for name in PARTS:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    pipe.to(torch.float16)
    for network in (pipe.unet, pipe.text_encoder):
        for weights in network.parameters():
            if weights.ndim > 1:
                weights.data = round_mantissa(weights.data, MANTISSA_BITS)
    pipe.save_pretrained(out)
    for config in out.rglob("config.json"):
        forget_place(config)
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    if size > LIMIT:
        raise ValueError(f"{out} has {size / 2**20:.1f} MiB, more than {LIMIT / 2**20:.0f}: make the UNet narrower")
    write_sums(out)


def round_mantissa(weights: torch.Tensor, bits: int) -> torch.Tensor:
    """Return half-precision numbers rounded to so many bits after the binary point; the others are zero."""
    fraction, exponent = torch.frexp(weights.float())  # 0.5 <= |fraction| < 1
    steps = 2.0 ** (bits + 1)
    return torch.ldexp((fraction * steps).round() / steps, exponent).to(weights.dtype)


def forget_place(config: Path) -> None:
    """Remove the source path that diffusers stores in the settings of each part."""
    values = json.loads(config.read_text("utf-8"))
    if values.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")


def pack_tagger(tagger: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "vocabulary.json", "model.safetensors"):
        shutil.copyfile(tagger / name, out / name)
    write_sums(out)


CARDS = Path(__file__).resolve().parent / "cards"
END = "<!-- end -->"


def write_card(folder: Path, **parts: str) -> None:
    """Write the model card with these parts, each between its own mark, `<!-- measured -->`, and the end mark.

    A part that is not given stays as it is in the card that is already there.
    """
    card = folder / "README.md"
    text = card.read_text("utf-8") if card.is_file() else (CARDS / f"{folder.name}.md").read_text("utf-8")
    for name, value in parts.items():
        head, rest = text.split(f"<!-- {name} -->")
        text = f"{head}<!-- {name} -->\n\n{value}\n\n{END}{rest.split(END, 1)[1]}"
    card.write_text(text, "utf-8")
    write_sums(folder)


def credits_table() -> str:
    """Return the designers and licences of all drawings of the training world as a Markdown table."""
    people = json.loads((CARDS / "designers.json").read_text("utf-8"))
    icons = [entry for entry in CONCEPTS["styles"].values() if not entry["heldout"]]
    own = ", ".join(STYLE_WORDS[name][0] for name in PEOPLE["themes"])
    rows = [f"| [{c['title']}]({c['source']}) | {c['designer']} | {c['licence']} |" for c in (*people, *icons)]
    return "\n".join(
        [
            "| drawings | designer | licence |",
            "| --- | --- | --- |",
            *rows,
            f"| {own} | the authors of bakehouse | that of this package |",
        ]
    )


def training_table(parts: Mapping[str, tuple[int, str]]) -> str:
    """Return parameters and training of each part as a Markdown table."""
    rows = [f"| {name} | {count / 1e6:.1f} M | {how} |" for name, (count, how) in parts.items()]
    return "\n".join(["| part | parameters | training |", "| --- | --- | --- |", *rows])


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS of all other files, for `sha256sum -c`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    for path in files:
        path.chmod(0o644)  # safetensors writes files that only their owner may read
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}" for p in files]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")
