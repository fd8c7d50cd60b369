"""Make crumb from scratch: ``npm ci --prefix tools/crumb`` and then ``python -m tools.crumb make --out build/crumb``.

Every stage writes files and is skipped if they exist, so an interrupted command can be run again. Training takes 220
minutes on a CPU and 14 on a GPU by default.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from bakehouse.data.crumb_attributes import Vocabulary
from bakehouse.vision.taggers.crumb_tagger import CrumbTagger
from tools.crumb import pack, prompt_accuracy, samples, subjects, tagger, tokenizer, training_images, unet, vae
from tools.crumb.precision import multiplies_bf16
from tools.crumb.training_images import Picture

HERE = Path(__file__).resolve().parent
SPRITES = (("people1", "people", 13000), ("people2", "people", 13000), ("icons1", "icons", 12000))
"""File, split and number of figures of the training world."""
HELD_OUT = ("heldout", "heldout", 2000)
"""What no part of crumb ever sees: figures for tests."""
UNFINISHED_TAGGER = HERE / "weights" / "tagger-unfinished.xz"
UNFINISHED_UNET = HERE / "weights" / "unet-unfinished.xz"
"""A tagger, and a UNet with its text encoder, to go on from, as `unfinished.py` writes them."""
COPIES = 2
"""Images composed of each figure."""
PAIRS = 0.12
"""Share of images in which a second figure stands beside."""


@dataclass(frozen=True)
class Plan:
    """Folder, device and training time; the shares of the time are those of the shipped weights."""

    out: Path
    device: str
    minutes: float
    figures: float = 1.0
    fresh: bool = False
    """Train the parts of `weights/` again, too."""

    @property
    def vae_minutes(self) -> float:
        return 0.15 * self.minutes

    @property
    def unet_minutes(self) -> float:
        return 0.65 * self.minutes

    @property
    def tagger_minutes(self) -> float:
        return 0.15 * self.minutes

    @property
    def sharpen_minutes(self) -> float:
        return 0.05 * self.minutes


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def sprites(p: Plan) -> None:
    if not (HERE / "node_modules").exists():
        raise SystemExit("the figures are rendered by node: run `npm ci --prefix tools/crumb` first")
    for name, split, count in (*SPRITES, HELD_OUT):
        if not (p.out / f"{name}.rgba").exists():
            number = round(count * p.figures)
            say(f"rendering {number} figures of {split}")
            render(split, number, p.out / name)


def render(split: str, count: int, out: Path) -> None:
    """Render figures; those at which the renderer ends its process are left out.

    Raises:
        SystemExit: node fails for another reason.
    """
    left_out: list[int] = []
    while True:
        numbers = ",".join(map(str, left_out))
        command = ["node", str(HERE / "render.mjs"), split, str(count), str(out), out.name, numbers]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return
        if "panicked" not in done.stderr:
            raise SystemExit(f"rendering {split} failed:\n{done.stderr}")
        lines = out.with_suffix(".jsonl").read_text().splitlines()
        # Figures left out before have no line.
        at = len(lines) - 1
        for known in left_out:
            at += at >= known
        left_out.append(at)
        say(f"left out, since the renderer fails at it: {lines[-1]}")


def compose(p: Plan) -> None:
    if (p.out / "images.jsonl").exists():
        return
    files = [(p.out / name, split) for name, split, _ in SPRITES]
    # A person stands beside a person or a thing, a thing beside a person or a thing.
    beside = {path: [other for other, _ in files if other != path][i % 2] for i, (path, _) in enumerate(files)}
    parts = [(path, beside[path], COPIES, PAIRS, 1 + i) for i, (path, _) in enumerate(files)]
    training_images.compose_all(parts, p.out / "images", say)
    held_out = p.out / HELD_OUT[0]
    training_images.compose_all([(held_out, held_out, 1, 0.0, 90)], held_out, say)
    for name in ("images", HELD_OUT[0]):
        samples.sheet(training_images.look(p.out / f"{name}.npy", 60), 10, p.out / f"{name}.png")


def take_finished(p: Plan, part: str) -> bool:
    """Copy a finished part of `weights/`, if there is one and it may be used."""
    finished = HERE / "weights" / part
    if p.fresh or not finished.is_dir():
        return False
    shutil.copytree(finished, p.out / part)
    (p.out / part / "done").touch()
    return True


def train_vae(p: Plan) -> None:
    if not (p.out / "vae").exists() and not take_finished(p, "vae"):
        model = vae.train(p.out, vae.VAEOptions(minutes=p.vae_minutes), say, p.device)
        vae.normalise(p.out, model, p.device)
        model.save_pretrained(p.out / "vae")


def load_vae(p: Plan, name: str = "vae") -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(p.out / name).float().eval().to(p.device)


def encode(p: Plan) -> None:
    model = load_vae(p)
    images = np.load(p.out / "images.npy", mmap_mode="r")
    images = images[:: max(1, len(images) // 64)][:64].copy()
    weights = vae.channel_sensitivity(model, images, p.device)
    (p.out / "channel_weights.json").write_text(json.dumps([round(w, 4) for w in weights]) + "\n")
    vae.encode(p.out, model, say, p.device)


def make_tokenizer(p: Plan) -> None:
    if not (p.out / "tokenizer").exists():
        tokenizer.make(Picture.read(p.out / "images.jsonl"), p.out / "tokenizer")


def train_unet(p: Plan, start: Path | None = None) -> None:
    # In bfloat16 a CPU gains nothing by compiling, which takes minutes.
    compile_pays = p.device != "cpu" or not multiplies_bf16(p.device)
    options = unet.UNetOptions(minutes=p.unet_minutes, compile=compile_pays and shutil.which("g++") is not None)
    if start is not None:
        # What is learned already wants no long flight at full rate.
        options = replace(options, lr=options.lr / 2, hold=0.1, warmup=40)
    elif not p.fresh and UNFINISHED_UNET.is_file():
        start = UNFINISHED_UNET
    unet.train(p.out, Picture.read(p.out / "images.jsonl"), options, say, p.device, start)


def train_tagger(p: Plan, start: Path | None = None) -> None:
    if not (p.out / "tagger" / "done").exists() and (start is not None or not take_finished(p, "tagger")):
        options = tagger.TaggerOptions(minutes=p.tagger_minutes)
        if start is None and not p.fresh and UNFINISHED_TAGGER.is_file():
            start = UNFINISHED_TAGGER
        if start is not None:
            # At half the rate its loss rose again after a while.
            options = replace(options, lr=options.lr / 4)
        # It must know the images that the package's own decoder makes.
        vae = load_vae(p, "vae-sharp" if (p.out / "vae-sharp").exists() else "vae")
        out = tagger.train(p.out, vae, options, say, p.device, start)
        (out / "done").touch()


def sharpen(p: Plan) -> None:
    """Sharpen the decoder; keep it only if it reconstructs drawings that it has not seen better."""
    if (p.out / "vae-sharp").exists():
        return
    model = load_vae(p)
    unseen = vae.held_out_images(p.out)
    before = vae.reconstruction(model, unseen, p.device)
    vae.sharpen(p.out, model, p.sharpen_minutes, say, p.device)
    after = vae.reconstruction(model, unseen, p.device)
    say(f"drawings never seen, whole and detailed quarter: {before} -> {after}")
    better = after.whole + after.detailed > before.whole + before.detailed
    (model if better else load_vae(p)).save_pretrained(p.out / "vae-sharp")


def pack_all(p: Plan) -> None:
    final = p.out / ("vae-sharp" if (p.out / "vae-sharp").exists() else "vae")
    model = AutoencoderKL.from_pretrained(final).float()
    pipe = pack.pipeline(p.out / "unet-run", model, p.out / "tokenizer")
    seen, minutes = unet.clock(p.out / "unet-run")
    count = {
        name: sum(w.numel() for w in part.parameters())
        for name, part in pipe.components.items()
        if isinstance(part, torch.nn.Module)
    }
    weights = "epsilon with the min-SNR-5 weights of v-prediction"
    together = f"together: {weights}, Muon, moving average; {seen:,} images in {minutes:.0f} minutes"
    how = {
        "vae": "16 latent channels, one group in its norms, encoder started as principal components",
        "text_encoder": "CLIP's, 192 wide, 3 layers, own tokenizer; with the UNet",
        "unet": f"(64, 128, 192, 192), {together}",
    }
    pack.pack(pipe, p.out / "assets" / "crumb")
    pack.write_card(
        p.out / "assets" / "crumb",
        training=pack.training_table({name: (count[name], said) for name, said in how.items()}),
        credits=pack.credits_table(),
    )
    pack.pack_tagger(p.out / "tagger", p.out / "assets" / "crumb-tagger")


def evaluate(p: Plan, count: int = 1000, guidance: float = prompt_accuracy.GUIDANCE) -> None:
    assets = p.out / "assets"
    pipe = prompt_accuracy.load(assets / "crumb", p.device)
    prompts = prompt_accuracy.random_prompts(Picture.read(p.out / "images.jsonl"), count, seed=1)
    found, _ = prompt_accuracy.measure(
        pipe, CrumbTagger.load(assets / "crumb-tagger"), prompts, guidance=guidance, say=say
    )
    (p.out / "accuracy.json").write_text(json.dumps(asdict(found), indent=1) + "\n")
    pack.write_card(assets / "crumb", measured=prompt_accuracy.table(found))
    config = json.loads((assets / "crumb-tagger" / "config.json").read_text())
    words = Vocabulary.load(assets / "crumb-tagger" / "vocabulary.json")
    pack.write_card(assets / "crumb-tagger", measured=tagger.table(config["accuracy"], words))
    print(prompt_accuracy.table(found))


def draw_samples(p: Plan) -> None:
    pipe = prompt_accuracy.load(p.out / "assets" / "crumb", p.device)
    images: list[Image.Image] = []
    for text in samples.PROMPTS:
        images += prompt_accuracy.generate(pipe, [text, text], seed=random.Random(text).randrange(1000))
    samples.sheet(images, 8, p.out / "samples.png")


def make_examples(p: Plan) -> None:
    subjects.make(p.out / "assets" / "examples", p.out / "examples-work")


STAGES: dict[str, Callable[[Plan], None]] = {
    "sprites": sprites,
    "compose": compose,
    "vae": train_vae,
    "encode": encode,
    "tokenizer": make_tokenizer,
    "unet": train_unet,
    "sharpen": sharpen,
    "tagger": train_tagger,
    "pack": pack_all,
    "samples": draw_samples,
    "examples": make_examples,
    "evaluate": evaluate,
}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.crumb", description=__doc__)
    parser.add_argument("stage", choices=["make", *STAGES], help="make: all stages in order")
    parser.add_argument("--out", type=Path, default=Path("build/crumb"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, help="total training time; default: 220 on a CPU, 14 on a GPU")
    parser.add_argument("--figures", type=float, default=1.0, help="share of the figures; 0.01 for a quick test")
    parser.add_argument("--fresh", action="store_true", help="train the finished parts of tools/crumb/weights again")
    parser.add_argument("--start", type=Path, help="unet, tagger: pipeline or tagger to start from")
    parser.add_argument("--count", type=int, default=1000, help="evaluate: images")
    parser.add_argument(
        "--guidance", type=float, default=prompt_accuracy.GUIDANCE, help="evaluate: classifier-free guidance"
    )
    return parser


def main() -> None:
    a = arguments().parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    plan = Plan(a.out, a.device, a.minutes or (14.0 if a.device.startswith("cuda") else 220.0), a.figures, a.fresh)
    plan.out.mkdir(parents=True, exist_ok=True)
    for name, stage in STAGES.items():
        if a.stage not in {"make", name}:
            continue
        say(f"-- {name}")
        if name == "evaluate":
            evaluate(plan, a.count, a.guidance)
        elif name == "unet":
            train_unet(plan, a.start)
        elif name == "tagger":
            train_tagger(plan, a.start)
        else:
            stage(plan)


if __name__ == "__main__":
    main()
