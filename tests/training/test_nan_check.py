"""Bad input and bad disks: one clear message each, and nothing is lost."""

import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.core.events import Failed, Finished
from bakehouse.core.run_folder import Run
from bakehouse.models.load import load_model
from bakehouse.recipe import make_plan, recipe_for_folder, scan_concepts
from bakehouse.training import train
from bakehouse.training.nan_check import broken_weights, diagnose


def test_odd_files_in_a_folder_are_handled(photos, recipe, tmp_path):
    whole = (photos / "0.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(photos / "scan.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 48), "red").save(photos / "turned.jpg", exif=exif)
    (photos / "turned.txt").write_bytes("zwx person, café".encode("utf-16"))
    Image.new("RGB", (64, 64), "blue").save(photos / "0.jpg")
    found = {r.path.name: r for r in scan_concepts(recipe())}
    assert (found["turned.jpg"].width, found["turned.jpg"].height) == (48, 80)
    assert found["turned.jpg"].captions == ("zwx person, café",)
    assert found["0.png"].captions == found["0.jpg"].captions
    made = make_plan(recipe(train__steps=1))
    text = "\n".join(made.warnings)
    assert "cut.png: left out" in text
    assert "0.png" in text
    events = list(train(recipe(train__steps=1), tmp_path / "run"))
    assert isinstance(events[-1], Finished)


def test_a_header_of_fifty_thousand_pixels_costs_nothing(photos, recipe):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    (photos / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    (bad,) = scan_concepts(recipe()).skipped
    assert bad.path.name == "bomb.png"
    assert "more than 250 megapixels" in bad.reason


def test_an_empty_folder(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="none"):
        recipe_for_folder(tmp_path / "none", "zwx person")


def test_an_unknown_key_and_a_wrong_value_at_once(photos):
    with pytest.raises(Problems) as e:
        recipe_for_folder(
            photos, "zwx person", settings={"adapter.rnk": 8, "train.batch": 0, "optimizer.name": "adamv"}
        )
    assert "did you mean 'rank'" in str(e.value)
    assert "train.batch = 0" in str(e.value)
    assert "did you mean 'adam'" in str(e.value)


def test_a_weights_file_of_another_architecture(tmp_path):
    keys = ["model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "model.diffusion_model.img_in.weight"]
    save_file({k: torch.zeros(2, 2) for k in keys}, tmp_path / "flux.safetensors")
    with pytest.raises(UsageError, match="FLUX"):
        load_model(tmp_path / "flux.safetensors")


def full(*args, **kwargs):
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_full_disk_loses_nothing(recipe, tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    stream = train(recipe(), run.folder)
    while len(list(run.weights.glob("*"))) < 1:
        next(stream)
    monkeypatch.setattr("bakehouse.training.training_state.save_file", full)
    with pytest.raises(BakehouseError, match="the disk is full") as e:
        list(stream)
    assert "free some space" in e.value.hint
    assert isinstance(list(run.history())[-1], Failed)
    assert load_file(run.list_weights()[0])
    assert not list(run.folder.rglob("*.part"))
    monkeypatch.undo()
    list(train(recipe(), run.folder))
    list(train(recipe(), tmp_path / "whole"))
    a, b = (load_file(f / "weights" / "zwx-person.safetensors") for f in (run.folder, tmp_path / "whole"))
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(recipe, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(BakehouseError, match="no permission"):
        list(train(recipe(train__steps=1), tmp_path / "shut" / "run"))


def test_a_read_only_disk_is_named(recipe, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("bakehouse.core.files.tempfile.mkstemp", refuse)
    with pytest.raises(BakehouseError, match="read-only"):
        list(train(recipe(train__steps=1), tmp_path / "run"))


@pytest.mark.parametrize(
    ("broken", "half", "learns", "cause"),
    [
        ("unet.up", True, True, "last gradient norms 2, 5): optimizer.lr = 0.001 is too high; try a third"),
        ("text.up", True, True, "last gradient norms 2, 5): optimizer.text_lr = 0.002 is too high; try a third"),
        ("model", False, False, "the base model's file has weights that are NaN or infinite"),
        ("latents unet.up text.up", True, True, "the VAE overflows in this precision; set train.precision = 'fp32'"),
        ("latents", False, False, "the VAE overflows even in fp32: try another file"),
        ("caption", True, True, "the text encoder overflows in this precision"),
        (
            "caption unet.up text.up",
            False,
            True,
            "caption is not a number: optimizer.text_lr = 0.002 is too high; try a third",
        ),
        ("caption", False, False, "the text encoder overflows even in fp32"),
        ("", True, True, "the network overflows in this precision: set train.precision = 'bf16' or 'fp32'"),
        ("", False, True, "the network overflows: optimizer.lr = 0.001 is too high"),
    ],
)
def test_the_likeliest_cause_of_a_loss_that_is_no_number(recipe, broken, half, learns, cause):
    def tensor(name):
        return torch.full((2,), torch.nan if name in broken.split() else 1.0)

    model = SimpleNamespace(parameters=lambda: iter([tensor("model")]))
    adapter = SimpleNamespace(
        named_parameters=lambda: iter([(name, tensor(name)) for name in ("unet.up", "text.up")]),
        is_text=lambda name: name.startswith("text."),
        trains_text=learns,
    )
    batch = SimpleNamespace(latents=tensor("latents"), cond=SimpleNamespace(hidden=tensor("caption")))
    made = recipe(optimizer__text_lr=2e-3)
    assert cause in diagnose(model, adapter, batch, [2.0, 5.0], made, half=half, broken=broken_weights(adapter))
