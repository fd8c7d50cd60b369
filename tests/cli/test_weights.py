"""`bakehouse weights`: every command from the outside, on tiny files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bakehouse.adapters import LoRA, inject, save_adapter
from bakehouse.cli.main import main


@pytest.fixture
def run(capsys):
    def type_(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main(["weights", *map(str, words)])
        out, err = capsys.readouterr()
        return int(e.value.code or 0), out, err

    return type_


@pytest.fixture
def lora(tiny, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    adapter = inject(
        LoRA(rank=4, alpha=7.0, targets="attention"), tiny.trainable_modules(), generator=torch.Generator()
    )
    with torch.no_grad():
        for p in adapter.parameters():
            p.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    path = save_adapter(adapter, tmp_path / "a.safetensors", {"ss_network_args": '{"algo": "dylora", "unit": "2"}'})
    adapter.remove()
    return path


def test_info_as_text_and_json(run, lora, tiny_folder):
    code, out, _ = run("info", lora, "--keys", "--metadata")
    assert code == 0
    assert "LoRA" in out
    assert "A1111      loads it" in out
    code, out, _ = run("info", lora, "--json")
    assert json.loads(out)["algorithms"] == {"LoRA": len(json.loads(out)["modules"])}
    code, out, _ = run("info", tiny_folder, "--json")
    assert json.loads(out)["family"] == "sd1"


def test_info_says_what_each_program_was_measured_to_do(run, lora):
    state = load_file(lora)
    for axis, shape in (("input", (1, -1)), ("output", (-1, 1))):
        side = "lora_down.weight" if axis == "input" else "lora_up.weight"
        lengths = {
            k.replace(side, "dora_scale"): torch.ones(v.shape[1 if axis == "input" else 0]).view(shape)
            for k, v in state.items()
            if k.endswith(side)
        }
        save_file({**state, **lengths}, f"{axis}.safetensors", {"ss_base_model_version": "sd_v1"})
    assert "ComfyUI    loads it\n" in run("info", "input.safetensors")[1]
    out = run("info", "output.safetensors")[1]
    assert "ComfyUI    no: another change" in out and "DoRA by output in the UNet" in out
    said = json.loads(run("info", "output.safetensors", "--json")[1])["loaders"]
    assert not said["A1111"]["loads"] and said["LyCORIS"]["loads"] and said["LyCORIS"]["only_at_weight_1"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.safetensors", b""), ("x.safetensors", b"\xff" * 99), ("x.pt", b"no pickle"),
     ("x.safetensors", (2**60).to_bytes(8, "little") + b"{}")],
)  # fmt: skip
def test_info_of_a_damaged_file_fails_and_names_it(run, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    code, out, err = run("info", tmp_path / name, "--json")
    assert (code, out) == (1, "") and name in err


@pytest.mark.parametrize(
    ("name", "content"), [("x.txt", b"words"), ("x.safetensors", (2).to_bytes(8, "little") + b"{}")]
)
def test_info_of_another_file_says_that_it_is_none(run, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    code, out, _ = run("info", tmp_path / name, "--json")
    assert code == 0 and json.loads(out)["kind"] == "unknown"


def test_info_of_nothing_is_a_usage_error(run, tmp_path):
    code, _, err = run("info", tmp_path / "nothing.safetensors")
    assert code == 2
    assert "no such file" in err


def test_info_of_strange_tensors(run, tmp_path):
    save_file({"a": torch.zeros(2), "b.lora_down.weight": torch.zeros(1, 2)}, tmp_path / "x.safetensors")
    assert run("info", tmp_path / "x.safetensors", "--json")[0] == 0
    save_file(
        {"lora_unet_x.lora_down.weight": torch.zeros(2), "lora_unet_x.alpha": torch.zeros(3)},
        tmp_path / "y.safetensors",
    )
    assert run("info", tmp_path / "y.safetensors", "--json", "--keys")[0] == 0


def test_the_whole_round(run, lora, tiny_folder):
    assert run("convert", lora, "--to", "diffusers", "-o", "d.safetensors")[0] == 0
    assert run("convert", "d.safetensors", "-o", "k.safetensors")[0] == 0
    assert Path("k.safetensors").read_bytes() == lora.read_bytes()
    assert run("merge", f"{lora}=0.5", "--base", tiny_folder, "-o", "model")[0] == 0
    code, out, _ = run("extract", "model", "--base", tiny_folder, "--rank", 4, "-o", "e.safetensors", "--json")
    assert code == 0
    assert json.loads(out)["relative_error"] < 1e-3
    assert run("merge", f"{lora}=0.5", "e.safetensors", "-o", "both.safetensors", "--quiet")[0] == 0
    assert run("resize", "both.safetensors", "--by", "sv_fro=0.9", "--rank", 6, "-o", "r.safetensors")[0] == 0
    assert run("rescale", "r.safetensors", "--weight", 0.5, "--becomes", 1.1, "-o", "s.safetensors")[0] == 0
    assert run("slice", lora, "--rank", 2, "-o", "two.safetensors")[0] == 0
    assert load_file("two.safetensors")[next(k for k in load_file(lora) if "lora_down" in k)].shape[0] == 2
    assert run("edit", "s.safetensors", "--title", "Me", "--trigger", "zwx", "--overwrite")[0] == 0
    code, out, _ = run("hash", "s.safetensors", "--json")
    assert code == 0
    assert len(json.loads(out)["s.safetensors"]["sha256"]) == 64


def test_a_base_in_another_layout_and_back(run, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, out in (
        (tiny_folder, "one.safetensors"),
        ("one.safetensors", "two.ckpt"),
        ("two.ckpt", "3.safetensors"),
    ):
        assert run("convert", source, "-o", out)[0] == 0
    one, three = load_file("one.safetensors"), load_file("3.safetensors")
    assert one.keys() == three.keys()
    assert all(torch.equal(one[k], three[k]) for k in one)
    assert run("convert", "two.ckpt", "-o", "folder")[0] == 0
    for part in ("unet", "vae"):
        a, b = (load_file(Path(f) / part / "diffusion_pytorch_model.safetensors") for f in (tiny_folder, "folder"))
        assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("words", [
    ("convert", "A", "-o", "new.safetensors"), ("resize", "A", "--rank", 2, "-o", "new.safetensors"),
    ("rescale", "A", "--factor", 2, "-o", "new.safetensors"), ("edit", "A", "--title", "x", "-o", "new.safetensors"),
    ("slice", "A", "-o", "new.safetensors"), ("merge", "A", "A", "-o", "new.safetensors"),
])  # fmt: skip
def test_a_dry_run_writes_nothing(run, lora, words):
    before = sorted(Path().iterdir())
    code, _, err = run(*(lora if w == "A" else w for w in words), "--dry-run")
    assert code == 0, err
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(("words", "says"), [
    (("convert", "A", "-o", "A"), "is the source"),
    (("convert", "A", "--to", "kohja", "-o", "x.safetensors"), "did you mean 'kohya'"),
    (("convert", "A", "--dtype", "fp8", "-o", "x.safetensors"), "allowed are fp32, fp16, bf16"),
    (("merge", "A", "-o", "x.safetensors"), "at least two"),
    (("merge", "A=loud", "-o", "x.safetensors"), "is not a strength"),
    (("merge", "A", "--base", "nowhere", "-o", "x"), "no such file"),
    (("merge", "A", "--base", "crumb", "--rank", 3, "-o", "x"), "has no effect"),
    (("resize", "A", "-o", "x.safetensors"), "rank = 0"),
    (("resize", "A", "--by", "sv_frog=1", "-o", "x.safetensors"), "did you mean 'sv_fro'"),
    (("rescale", "A", "-o", "x.safetensors"), "nothing would change"),
    (("rescale", "A", "--weight", 1, "-o", "x.safetensors"), "given together"),
    (("rescale", "A", "--block", "IN04", "-o", "x.safetensors"), "no number"),
    (("edit", "A", "-o", "x.safetensors"), "nothing to change"),
    (("extract", "crumb", "--base", "crumb", "-o", "x.safetensors"), "do not differ"),
])  # fmt: skip
def test_wrong_words_are_answered(run, lora, words, says):
    code, _, err = run(*(str(w).replace("A", str(lora), 1) if str(w).startswith("A") else w for w in words))
    assert code == 2
    assert says in err
    assert not Path("x.safetensors").exists()
