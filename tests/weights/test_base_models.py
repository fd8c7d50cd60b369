"""Adapters into bases, and out of them again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bakehouse.adapters import AdapterSpec, LoRA, inject, load_adapter, save_adapter
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.models.load import load_model
from bakehouse.models.single_file import save_single_file
from bakehouse.weights.base_modules import open_base
from bakehouse.weights.extract_lora import Extract, extract
from bakehouse.weights.merge_into_base import merge_into_base, weighted
from bakehouse.weights.rank_selection import RankRule

SPEC = LoRA(rank=4, alpha=7.0, text=True)
LOCON = LoRA(rank=4, alpha=3.0, targets="full", conv_rank=3, conv_alpha=5.0, text=True)


@pytest.fixture
def tiny_file(tiny, tmp_path):
    return save_single_file(tiny, tmp_path / "tiny.safetensors", dtype=torch.float32)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("layout", ["folder", "file"])
@pytest.mark.parametrize("spec", [SPEC, LOCON], ids=["lora", "locon"])
def test_a_merged_model_says_what_the_adapter_says(
    layout, spec, tiny, tiny_folder, tiny_file, adapter_file, output, tmp_path
):
    base = tiny_folder if layout == "folder" else tiny_file
    path = adapter_file(spec)
    before = bytes_of(tiny_folder)
    adapter = load_adapter(path, tiny.trainable_modules(), weight=0.7)
    wanted = output(tiny)
    adapter.remove()
    out = tmp_path / ("out" if layout == "folder" else "out.safetensors")
    result = merge_into_base(base, [weighted(path, 0.7)], out)
    assert torch.allclose(output(load_model(out)), wanted, atol=1e-4)
    assert not torch.allclose(output(load_model(base)), wanted, atol=1e-3)
    assert bytes_of(tiny_folder) == before
    assert len(result.modules) == len(adapter.sites)


def kinds() -> list[str]:
    from pydantic import TypeAdapter

    schema = TypeAdapter(AdapterSpec).json_schema()
    return sorted(k for k in schema["discriminator"]["mapping"] if k not in ("full", "none"))


@pytest.mark.parametrize("kind", kinds())
def test_every_algorithm_merges_as_its_layers_do(kind, tiny, tiny_folder, tmp_path):
    from pydantic import TypeAdapter

    spec = TypeAdapter(AdapterSpec).validate_python({"kind": kind})
    generator = torch.Generator().manual_seed(3)
    adapter = inject(spec, tiny.trainable_modules(), generator=generator)
    with torch.no_grad():
        for p in adapter.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    path = save_adapter(adapter, tmp_path / "a.safetensors", dtype=torch.float32)
    adapter.eval().merge_into()
    wanted = {f"unet.{n}": p.detach().clone() for n, p in tiny.trainable_modules()["lora_unet"].named_parameters()}
    adapter.unmerge()
    adapter.remove()
    merge_into_base(tiny_folder, [weighted(path)], tmp_path / "out")
    merged = load_file(tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors")
    before = load_file(tiny_folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.allclose(merged[n], wanted[f"unet.{n}"], atol=1e-5) for n in merged)
    assert any(not torch.equal(merged[n], before[n]) for n in merged)


def test_nothing_merged_is_the_base_to_the_bit(tiny_folder, tiny_file, tmp_path):
    merge_into_base(tiny_folder, [], tmp_path / "out")
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        a, b = (load_file(f / part / f"{name}.safetensors") for f in (tiny_folder, tmp_path / "out"))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)
    merge_into_base(tiny_file, [], tmp_path / "out.safetensors")
    a, b = load_file(tiny_file), load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_the_order_of_adapters_does_not_count(tiny_folder, adapter_file, tmp_path):
    files = [weighted(adapter_file(name="a"), 0.5), weighted(adapter_file(name="b", seed=1), -1.5, 0.2)]
    merge_into_base(tiny_folder, files, tmp_path / "one")
    merge_into_base(tiny_folder, files[::-1], tmp_path / "two")
    a, b = (load_file(tmp_path / n / "unet" / "diffusion_pytorch_model.safetensors") for n in ("one", "two"))
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


def test_half_precision_is_rounded_once(tiny_folder, adapter_file, tmp_path):
    path = adapter_file()
    merge_into_base(tiny_folder, [weighted(path)], tmp_path / "whole")
    merge_into_base(tiny_folder, [weighted(path)], tmp_path / "half", dtype="fp16")
    a, b = (load_file(tmp_path / n / "unet" / "diffusion_pytorch_model.safetensors") for n in ("whole", "half"))
    assert all(torch.equal(a[k].half(), b[k]) for k in a)


def test_what_does_not_fit_is_refused_before_anything_is_written(tiny_folder, adapter_file, tmp_path):
    path = adapter_file()
    state = load_file(path)
    strange = {k.replace("down_blocks_0", "down_blocks_7"): v for k, v in state.items()}
    save_file(strange, tmp_path / "strange.safetensors")
    with pytest.raises(UsageError, match="are not in"):
        merge_into_base(tiny_folder, [weighted(tmp_path / "strange.safetensors")], tmp_path / "out")
    large = {k: torch.cat([v, v]) if k.endswith("lora_up.weight") else v for k, v in state.items()}
    save_file(large, tmp_path / "large.safetensors")
    with pytest.raises(UsageError, match="does not fit the base"):
        merge_into_base(tiny_folder, [weighted(tmp_path / "large.safetensors")], tmp_path / "out")
    huge = {k: v * 1e6 if k.endswith("lora_up.weight") else v for k, v in state.items()}
    save_file(huge, tmp_path / "huge.safetensors")
    with pytest.raises(BakehouseError, match=r"overflows torch\.float16"):
        merge_into_base(tiny_folder, [weighted(tmp_path / "huge.safetensors")], tmp_path / "out", dtype="fp16")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_source_is_never_written_over(tiny_file, adapter_file):
    with pytest.raises(UsageError, match="is the source"):
        merge_into_base(tiny_file, [weighted(adapter_file())], tiny_file)


@pytest.mark.parametrize("layout", ["folder", "file"])
def test_extract_takes_out_what_merge_put_in(layout, tiny_folder, tiny_file, adapter_file, deltas, same, tmp_path):
    base = tiny_folder if layout == "folder" else tiny_file
    path = adapter_file(LOCON)
    merged = tmp_path / ("merged" if layout == "folder" else "merged.safetensors")
    merge_into_base(base, [weighted(path)], merged)
    settings = Extract(linear=RankRule(rank=4), conv=RankRule(rank=3), dtype="fp32")
    result = extract(merged, base, tmp_path / "out.safetensors", settings)
    assert same(deltas(tmp_path / "out.safetensors"), deltas(path))
    assert result.error < 1e-4
    assert not result.notes


def test_extract_across_layouts(tiny_folder, tiny_file, adapter_file, deltas, same, tmp_path):
    path = adapter_file()
    merge_into_base(tiny_file, [weighted(path)], tmp_path / "merged.safetensors")
    settings = Extract(linear=RankRule(rank=4), dtype="fp32")
    extract(tmp_path / "merged.safetensors", tiny_folder, tmp_path / "out.safetensors", settings)
    assert same(deltas(tmp_path / "out.safetensors"), deltas(path))


def test_extract_says_its_error_and_what_it_leaves_out(tiny_folder, adapter_file, deltas, tmp_path):
    path = adapter_file(LOCON)
    merge_into_base(tiny_folder, [weighted(path)], tmp_path / "merged")
    result = extract(
        tmp_path / "merged", tiny_folder, tmp_path / "o.safetensors", Extract(linear=RankRule(rank=2), dtype="fp32")
    )
    whole, found = deltas(path), deltas(tmp_path / "o.safetensors")
    wrong = sum(float((whole[k] - found[k]).square().sum()) for k in found) ** 0.5
    norm = sum(float(whole[k].square().sum()) for k in found) ** 0.5
    assert result.error == pytest.approx(wrong / norm, rel=1e-3)
    assert "cannot hold" in result.notes[0]
    assert not any("resnets" in stem for stem in found)


@pytest.mark.parametrize(
    ("of_base", "of_tuned"), [("fp32", "fp16"), ("fp16", "bf16"), ("bf16", "fp16"), ("bf16", "bf16")]
)
def test_rounding_is_not_taken_for_training(of_base, of_tuned, tiny_folder, adapter_file, tmp_path):
    """Nor said to be lost: both models come from one in single precision, and only attention learned."""
    path = adapter_file(LoRA(rank=4, alpha=7.0))
    merge_into_base(tiny_folder, [], tmp_path / "base", dtype=of_base)
    merge_into_base(tiny_folder, [weighted(path)], tmp_path / "tuned", dtype=of_tuned)
    settings = Extract(linear=RankRule(rank=4))
    result = extract(tmp_path / "tuned", tmp_path / "base", tmp_path / "out.safetensors", settings)
    assert not [m for m in result.modules if m.name.startswith("text_encoder")]
    assert not result.extra["left_out"] and not result.notes


def test_equal_models_have_no_difference(tiny_folder, tmp_path):
    with pytest.raises(UsageError, match="do not differ"):
        extract(tiny_folder, tiny_folder, tmp_path / "out.safetensors")


def test_min_diff_leaves_a_quiet_network_out(tiny_folder, adapter_file, tmp_path):
    merge_into_base(tiny_folder, [weighted(adapter_file(), 1.0, 1e-6)], tmp_path / "merged")
    settings = Extract(linear=RankRule(rank=4), min_diff=0.001)
    result = extract(tmp_path / "merged", tiny_folder, tmp_path / "out.safetensors", settings)
    assert {m.name.split(".")[0] for m in result.modules} == {"unet"}


def test_a_folder_that_is_no_model_is_said_to_be_none(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(UsageError, match="not a diffusers model"), open_base(tmp_path / "x"):
        pass


def test_openclip_holds_three_in_one(tmp_path):
    d = 4
    block = "conditioner.embedders.1.model.transformer.resblocks.0."
    state = {
        "model.diffusion_model.input_blocks.0.0.weight": torch.randn(8, 4, 3, 3),
        f"{block}attn.in_proj_weight": torch.randn(3 * d, d),
        f"{block}mlp.c_fc.weight": torch.randn(4 * d, d),
    }
    save_file(state, tmp_path / "x.safetensors")
    stem = "lora_te2_text_model_encoder_layers_0_self_attn_k_proj"
    down, up = torch.randn(2, d), torch.randn(d, 2)
    save_file(
        {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(1.0)},
        tmp_path / "a.safetensors",
    )
    merge_into_base(tmp_path / "x.safetensors", [weighted(tmp_path / "a.safetensors", 2.0)], tmp_path / "o.safetensors")
    merged = load_file(tmp_path / "o.safetensors")
    whole = state[f"{block}attn.in_proj_weight"]
    wanted = whole.clone()
    wanted[d : 2 * d] += 2.0 * 0.5 * up @ down
    assert torch.allclose(merged[f"{block}attn.in_proj_weight"], wanted, atol=1e-6)
    assert torch.equal(merged[f"{block}mlp.c_fc.weight"], state[f"{block}mlp.c_fc.weight"])


def test_a_sharded_pickled_or_half_folder_is_read(tiny_folder, tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(unet)
    unet.unlink()
    names = sorted(state)
    stem = "diffusion_pytorch_model-0000{}-of-00002.safetensors"
    parts = {stem.format(1): names[::2], stem.format(2): names[1::2]}
    for file, keys in parts.items():
        save_file({k: state[k] for k in keys}, unet.with_name(file))
    index = {"weight_map": {k: file for file, keys in parts.items() for k in keys}}
    unet.with_name("diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    text = folder / "text_encoder" / "model.safetensors"
    torch.save(load_file(text), text.with_name("pytorch_model.bin"))
    text.unlink()
    merge_into_base(folder, [], tmp_path / "out")
    assert all(torch.equal(t, state[k]) for k, t in load_file(tmp_path / "out" / "unet" / unet.name).items())
    assert (tmp_path / "out" / "text_encoder" / "model.safetensors").is_file()
