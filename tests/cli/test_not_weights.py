"""What a failed download leaves under a name of weights is called what it is, wherever weights are opened."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bakehouse.cli.main import main

FILES = {
    "page": (b"\n<!DOCTYPE html>\n<html><body>Please log in</body></html>", "is an HTML page, not weights"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 334641164\n",
        "is a Git LFS pointer",
    ),
    "answer": (b'{"error":"Unauthorized"}', """is text, not weights: it begins with '{"error":"Unauthorized"}'"""),
    "text": (("\ufeff" + "Grüße an alle\n" * 999).encode(), "is text, not weights: it begins with 'Grüße"),
    "nothing": (b"", "is empty: it has 0 bytes"),
}
"""What is in the file, and what is said of it."""
COMMANDS = {
    "info": ("weights", "info", "FILE"),
    "convert": ("weights", "convert", "FILE", "-o", "out.safetensors"),
    "merge": ("weights", "merge", "FILE", "--base", "crumb", "-o", "out.safetensors"),
    "resize": ("weights", "resize", "FILE", "--rank", "2", "-o", "out.safetensors"),
    "extract": ("weights", "extract", "FILE", "--base", "crumb", "-o", "out.safetensors"),
}
LOADING = {
    "a base": ("generate", "FILE", "words"),
    "an adapter": ("generate", "crumb", "words", "--adapter", "FILE"),
    "an adapter as the model": ("generate", "FILE", "words", "--base", "crumb"),
    "a start": ("plan", "photos", "--subject", "zwx person", "--set", "adapter.start=FILE"),
    "a trained base": ("plan", "photos", "--subject", "zwx person", "--base", "FILE"),
    "an autoencoder": ("plan", "photos", "--subject", "zwx person", "--set", "model.vae=FILE"),
}
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.new("RGB", (128, 128), "red").save("photos/a.png")

    def type_(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as e:
            main([*words])
        return int(e.value.code or 0), " ".join("".join(capsys.readouterr()).split())

    return type_


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_called_what_it_is(run, kind, suffix, command):
    content, says = FILES[kind]
    Path(f"x{suffix}").write_bytes(content)
    code, said = run(*(f"x{suffix}" if w == "FILE" else w for w in COMMANDS[command]))
    assert code in (1, 2) and says in said and "download it again" in said, said


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("command", LOADING)
def test_it_is_called_what_it_is_where_it_would_be_loaded(run, kind, command):
    content, says = FILES[kind]
    Path("x.safetensors").write_bytes(content)
    code, said = run(*(w.replace("FILE", "x.safetensors") for w in LOADING[command]))
    assert code in (1, 2) and says in said and "download it again" in said, said


def test_upscalers_and_taggers(run):
    Path("tags.txt").write_text("hat\nred hair\n")
    for name, words in {"x.pth": "dataset upscale photos --model", "x.onnx": "captions tag photos --tagger"}.items():
        Path(name).write_bytes(FILES["page"][0])
        code, said = run(*words.split(), name)
        assert code in (1, 2) and "is an HTML page, not weights" in said, said


def test_one_format_under_the_name_of_the_other(run):
    save_file({"a": torch.zeros(2)}, "a.pt")
    code, said = run("weights", "info", "a.pt")
    assert code == 1 and "a.pt is a .safetensors file under another name" in said and "a.safetensors" in said
    torch.save({"a": torch.zeros(2)}, "b.safetensors")
    code, said = run("weights", "info", "b.safetensors")
    assert code == 1 and "b.safetensors is a pickle under the name of a .safetensors file" in said


def test_a_pickle_of_text_is_still_a_pickle(run):
    Path("a.pt").write_bytes(pickle.dumps({"x": ValueError}, protocol=0))
    code, said = run("weights", "info", "a.pt")
    assert code == 1 and "could run code" in said
