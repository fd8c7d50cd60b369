"""Offloading: text encoder and VAE are on the device only while they are used."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from bakehouse.core.events import Noted
from bakehouse.recipe import make_plan
from bakehouse.training import prepare, train
from bakehouse.training.offload import OffloadedEncoders, wants_offload


def test_encoders_are_loaded_by_the_methods_that_use_them(make_tiny):
    model = make_tiny()
    meta = torch.device("meta")
    # The UNet's device is stood in for by one that computes nothing and shows where tensors are.
    model.unet.to(meta)
    encoders = OffloadedEncoders(model, text_trains=False)
    assert not encoders.on_device
    cond = model.encode_prompt(["zwx person"])
    assert encoders.on_device == {"text_encoder"}
    assert cond.hidden.device == meta
    assert next(model.text_encoder.parameters()).device == meta
    assert next(model.vae.parameters()).device.type == "cpu"


def test_encoders_are_offloaded_unchanged_unless_every_step_uses_them(make_tiny):
    model = make_tiny()
    before = {n: p.clone() for n, p in model.named_parameters()}
    encoders = OffloadedEncoders(model, text_trains=False)
    assert encoders.on_device == {"text_encoder", "vae"}, "on the UNet's device from the start"
    assert encoders.offload() > 0 and not encoders.on_device
    model.decode(model.encode_image(torch.zeros(1, 3, 64, 64)).mean)
    assert encoders.on_device == {"vae"}
    encoders.offload()
    for _ in range(2):
        model.encode_prompt(["zwx person"])
        encoders.after_step()
        assert not encoders.on_device
    encoders.after_step()
    for step in range(4):
        model.encode_prompt(["zwx person"])
        encoders.after_step()
        assert bool(encoders.on_device) == (step >= 2)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_what_trains_is_not_offloaded(make_tiny):
    model = make_tiny()
    encoders = OffloadedEncoders(model, text_trains=True)
    assert encoders.on_device == {"vae"}


def test_offload_is_for_devices_with_a_memory_of_their_own():
    cuda, cpu, mps = (torch.device(d) for d in ("cuda", "cpu", "mps"))
    assert wants_offload(None, cuda) and not wants_offload(None, cpu) and not wants_offload(None, mps)
    assert not wants_offload(False, cuda) and not wants_offload(True, cpu) and wants_offload(True, mps)


def test_captions_are_encoded_ahead_of_their_epoch(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "wants_offload", lambda wanted, device: True)
    told = []
    real = OffloadedEncoders.offload
    monkeypatch.setattr(OffloadedEncoders, "offload", lambda self: told.append(self.on_device) or real(self))
    shuffled = recipe(adapter__text=False, captions__shuffle=True, captions__caption_dropout=0.3, save__every_epochs=0)
    events = list(train(shuffled, tmp_path / "away"))
    assert any(isinstance(e, Noted) and "wait in main memory" in e.message for e in events)
    steps_per_epoch = make_plan(shuffled).steps_per_epoch
    assert told[0] == {"text_encoder", "vae"}
    within = told[1:steps_per_epoch]
    assert within and not any(within), "no step of the first epoch used them"
    monkeypatch.undo()
    list(train(shuffled, tmp_path / "here"))
    a, b = (load_file(tmp_path / run / "weights" / "zwx-person.safetensors") for run in ("away", "here"))
    assert all(torch.equal(a[k], b[k]) for k in a)
