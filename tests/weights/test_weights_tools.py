"""What is done to adapter files alone: forms, ranks, strength, slices, headers, hashes."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bakehouse.adapters import LoRA
from bakehouse.adapters.module_names import dotted, sgm_stem, to_compvis
from bakehouse.adapters.tensor_files import Planned, open_tensors, write_tensors
from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.weights.adapter_info import adapter_info
from bakehouse.weights.convert_adapter import Convert, convert
from bakehouse.weights.dylora_slices import slice_ranks
from bakehouse.weights.edit_metadata import Edit, edit, edit_of
from bakehouse.weights.file_hashes import hash_file
from bakehouse.weights.merge_adapters import Merge, merge_adapters
from bakehouse.weights.merge_into_base import weighted
from bakehouse.weights.rank_selection import RankRule
from bakehouse.weights.rescale import Rescale, block_name, rescale, rescale_of
from bakehouse.weights.resize import Resize, resize

SPEC = LoRA(rank=4, alpha=7.0, text=True)
LOCON = LoRA(rank=4, alpha=3.0, targets="full", conv_rank=3, conv_alpha=5.0, text=True)
ATTENTION = LoRA(rank=4, alpha=7.0, text=True, targets="attention")


def header(path):
    with safe_open(path, "pt") as f:
        return f.metadata()


def lora_layer(stem, rank, outs, ins, alpha, kernel=()):
    ones = [1] * len(kernel)
    return {
        f"{stem}.lora_down.weight": torch.randn(rank, ins, *kernel),
        f"{stem}.lora_up.weight": torch.randn(outs, rank, *ones),
        f"{stem}.alpha": torch.tensor(alpha),
    }


@pytest.fixture
def sdxl_file(tmp_path):
    """As kohya writes SDXL: block numbers, two text encoders, half precision, alpha too."""
    state = {}
    for n, stem in enumerate(
        (
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k",
            "lora_unet_middle_block_1_transformer_blocks_9_ff_net_0_proj",
            "lora_unet_output_blocks_2_1_transformer_blocks_1_attn1_to_out_0",
            "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
            "lora_te2_text_model_encoder_layers_3_mlp_fc1",
        )
    ):
        state |= lora_layer(stem, 2 + n % 2, 8, 2048 if "attn2" in stem else 8, 1.5)
    state |= lora_layer("lora_unet_input_blocks_3_0_op", 2, 8, 8, 3.0, (3, 3))
    path = tmp_path / "xl.safetensors"
    save_file({k: v.half() for k, v in state.items()}, path, {"ss_base_model_version": "sdxl_base_v1-0", "x": "y"})
    return path


@pytest.mark.parametrize("form", ["diffusers", "peft"])
@pytest.mark.parametrize("which", ["sd1", "sdxl"])
def test_there_and_back_is_the_same_file(form, which, adapter_file, sdxl_file, tmp_path):
    path = sdxl_file if which == "sdxl" else adapter_file(LOCON, dtype=torch.float16)
    between = tmp_path / ("between" if form == "peft" else "between.safetensors")
    convert(path, between, Convert(to=form))
    convert(between, tmp_path / "back.safetensors")
    a, b = load_file(path), load_file(tmp_path / "back.safetensors")
    assert a.keys() == b.keys()
    assert all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)
    assert header(path) == header(tmp_path / "back.safetensors")
    if which == "sd1":
        assert path.read_bytes() == (tmp_path / "back.safetensors").read_bytes()


@pytest.mark.parametrize(("form", "alpha"), [("diffusers", "keep"), ("diffusers", "bake"), ("diffusers-old", "keep"),
                                             ("peft", "keep"), ("peft", "bake"), ("kohya", "bake")])  # fmt: skip
def test_every_form_means_the_same(form, alpha, adapter_file, deltas, same, tmp_path):
    path = adapter_file(ATTENTION)
    out = tmp_path / ("out" if form == "peft" else "out.safetensors")
    convert(path, out, Convert(to=form, alpha=alpha))
    assert same(deltas(out), deltas(path))


def test_diffusers_says_the_same(tiny, adapter_file, output, tmp_path):
    """Its own loader is the oracle: keys, and alpha from the header."""
    from diffusers import StableDiffusionPipeline

    from bakehouse.adapters import load_adapter

    path = adapter_file(LoRA(rank=4, alpha=7.0))
    convert(path, tmp_path / "out.safetensors", Convert(to="diffusers"))
    adapter = load_adapter(path, tiny.trainable_modules())
    wanted = output(tiny)
    adapter.remove()
    state, config = StableDiffusionPipeline.lora_state_dict(
        str(tmp_path), weight_name="out.safetensors", return_lora_metadata=True
    )[::2]
    alphas = {k: v for k, v in config.items() if k.endswith("lora_alpha")}
    assert alphas == {"unet.lora_alpha": 7.0}
    assert set(state) == set(load_file(tmp_path / "out.safetensors"))
    assert not torch.allclose(output(tiny), wanted, atol=1e-3)


def test_peft_reads_its_folder(make_tiny, adapter_file, deltas, tmp_path):
    from peft import PeftModel

    path = adapter_file(LOCON)
    convert(path, tmp_path / "out", Convert(to="peft"))
    unet = make_tiny().trainable_modules()["lora_unet"]
    before = {n: p.detach().clone() for n, p in unet.named_parameters()}
    merged = PeftModel.from_pretrained(unet, str(tmp_path / "out" / "unet")).merge_and_unload()
    after = dict(merged.named_parameters())
    for stem, delta in deltas(path).items():
        if stem.startswith("lora_unet_"):
            name = f"{dotted(stem)}.weight"
            assert torch.allclose(after[name] - before[name], delta, atol=1e-5), name


def test_what_a_form_cannot_hold_is_listed(adapter_file, tmp_path):
    with pytest.raises(Problems, match="only attention projections") as e:
        convert(adapter_file(SPEC), tmp_path / "o.safetensors", Convert(to="diffusers-old"))
    assert "_proj_in: only" in str(e.value)
    assert "more" in str(e.value)
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    loha = {f"{stem}.hada_{n}": torch.randn(2, 2) for n in ("w1_a", "w1_b", "w2_a", "w2_b")}
    save_file(loha, tmp_path / "loha.safetensors")
    for form in ("diffusers", "peft", "diffusers-old"):
        with pytest.raises(Problems, match="hada_w1_a"):
            out = tmp_path / ("o" if form == "peft" else "o.safetensors")
            convert(tmp_path / "loha.safetensors", out, Convert(to=form))
    assert not (tmp_path / "o.safetensors").exists() and not (tmp_path / "o").exists()


def test_pickles_of_tensors_are_read_and_others_refused(adapter_file, deltas, same, tmp_path):
    path = adapter_file()
    torch.save(load_file(path), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "b.safetensors")
    assert same(deltas(tmp_path / "b.safetensors"), deltas(path))
    torch.save({"x": UsageError}, tmp_path / "evil.pt")
    with pytest.raises(BakehouseError, match="could run code"):
        convert(tmp_path / "evil.pt", tmp_path / "c.safetensors")


def test_names_and_their_inverses():
    assert sgm_stem("lora_unet_down_blocks_1_attentions_0_proj_in") == "lora_unet_input_blocks_4_1_proj_in"
    assert to_compvis("up_blocks.0.upsamplers.0.conv") == "output_blocks.2.2.conv"
    with pytest.raises(UsageError, match="not a module of an SD network"):
        dotted("lora_unet_double_blocks_0_img_attn_qkv")


def test_resize_to_full_rank_changes_nothing(adapter_file, deltas, same, tmp_path):
    path = adapter_file(LOCON)
    result = resize(path, tmp_path / "o.safetensors", Resize(linear=RankRule(rank=64)))
    assert same(deltas(tmp_path / "o.safetensors"), deltas(path))
    assert result.error < 1e-5


def test_resize_is_the_best_there_is_and_keeps_the_scale(adapter_file, deltas, tmp_path):
    path = adapter_file(LOCON)
    result = resize(path, tmp_path / "o.safetensors", Resize(linear=RankRule(rank=2), conv=RankRule(rank=1)))
    whole, less = deltas(path), deltas(tmp_path / "o.safetensors")
    modules = {m.name.replace(".", "_"): m for m in result.modules}
    state = load_file(tmp_path / "o.safetensors")
    for stem, delta in whole.items():
        rank = state[f"{stem}.lora_down.weight"].shape[0]
        S = torch.linalg.svdvals(delta.flatten(1))
        wrong = float((delta - less[stem]).norm())
        assert wrong == pytest.approx(float(S[rank:].norm()), rel=1e-3, abs=1e-5)
        name = stem.replace("lora_te_", "text_encoder_").replace("lora_unet_", "unet_")
        assert modules[name].error == pytest.approx(wrong, rel=1e-3, abs=1e-5)
        assert float(state[f"{stem}.alpha"]) / rank == pytest.approx(5 / 3 if rank == 1 else 3 / 4)
    assert header(tmp_path / "o.safetensors")["ss_network_dim"] == "2"


def test_resize_makes_a_lora_of_others_with_the_base(tiny, tiny_folder, deltas, same, tmp_path):
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    loha = {f"{stem}.hada_w{i}_{s}": torch.randn(16, 2) if s == "a" else torch.randn(2, 16) for i in "12" for s in "ab"}
    save_file(loha | {f"{stem}.alpha": torch.tensor(3.0)}, tmp_path / "loha.safetensors")
    settings = Resize(linear=RankRule(rank=16), to_lora=True)
    with pytest.raises(UsageError, match="; only LoRA can be resized"):
        resize(tmp_path / "loha.safetensors", tmp_path / "o.safetensors", Resize(linear=RankRule(rank=4)))
    with pytest.raises(UsageError, match="needs the base"):
        resize(tmp_path / "loha.safetensors", tmp_path / "o.safetensors", settings)
    resize(tmp_path / "loha.safetensors", tmp_path / "o.safetensors", settings, base=tiny_folder)
    assert same(deltas(tmp_path / "o.safetensors"), deltas(tmp_path / "loha.safetensors"), 1e-4)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.4, -1.5)])
def test_joined_adapters_are_the_sum(weights, adapter_file, deltas, same, tmp_path):
    files = [adapter_file(SPEC, "a"), adapter_file(LOCON, "b", seed=1)]
    merged = [weighted(f, w) for f, w in zip(files, weights, strict=True)]
    merge_adapters(merged, tmp_path / "o.safetensors", Merge(dtype="fp32"))
    a, b, c = (deltas(f) for f in (*files, tmp_path / "o.safetensors"))
    wanted = {k: weights[0] * a.get(k, 0) + weights[1] * b.get(k, 0) for k in a | b}
    assert same(wanted, c, 1e-4)
    svd = Merge(method="svd", linear=RankRule(rank=8), conv=RankRule(rank=3), dtype="fp32")
    assert merge_adapters(merged, tmp_path / "s.safetensors", svd).error < 1e-4
    assert same(wanted, deltas(tmp_path / "s.safetensors"), 1e-4)


def test_the_error_of_a_merge_is_said(adapter_file, deltas, tmp_path):
    files = [adapter_file(SPEC, "a"), adapter_file(SPEC, "b", seed=1)]
    both = [weighted(f, 0.5) for f in files]
    a, b = (deltas(f) for f in files)
    for settings in (Merge(method="svd", linear=RankRule(rank=4), dtype="fp32"), Merge(method="linear", dtype="fp32")):
        result = merge_adapters(both, tmp_path / "o.safetensors", settings, overwrite=True)
        c = deltas(tmp_path / "o.safetensors")
        wrong = sum(float((0.5 * a[k] + 0.5 * b[k] - c[k]).square().sum()) for k in a) ** 0.5
        norm = sum(float((0.5 * a[k] + 0.5 * b[k]).square().sum()) for k in a) ** 0.5
        assert result.error == pytest.approx(wrong / norm, rel=1e-3)
    with pytest.raises(UsageError, match="at least two"):
        merge_adapters(both[:1], tmp_path / "p.safetensors")


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        ((0.7, 0.4), [-0.11945, -0.14993, -0.1804, -0.21088, 0.36415, 0.42338, 0.4826, 0.54183, 0.84775, 0.99668]),
        ((1, 0), [-0.025, -0.0325, -0.04, -0.0475, 0.015, 0.0175, 0.02, 0.0225, 0.055, 0.0675]),
        ((0.7, -0.4), [0.07255, 0.08448, 0.0964, 0.10833, -0.19265, -0.21583, -0.239, -0.26218, -0.45785, -0.51613]),
        ((-1, -1), [0.545, 0.6825, 0.82, 0.9575, -1.975, -2.2875, -2.6, -2.9125, -4.495, -5.2575]),
        ((0.5, 2), [-1.48625, -1.85813, -2.23, -2.60188, 6.76375, 7.79438, 8.825, 9.85563, 15.01375, 17.44687]),
    ],
)
def test_linear_merges_as_kohya(weights, wanted, tmp_path):
    """ΔW of what merge_lora_models of sd-scripts' merge_lora.py (48d368fa) writes of these two files."""
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    for name, seed, alpha in (("a", 1, 1.0), ("b", 2, 16.0)):
        tensors = {
            f"{stem}.lora_up.weight": torch.arange(6.0).reshape(3, 2) * 0.1 * seed - 0.2,
            f"{stem}.lora_down.weight": torch.arange(8.0).reshape(2, 4) * 0.05 + 0.1 * seed,
            f"{stem}.alpha": torch.tensor(alpha),
        }
        save_file(tensors, tmp_path / f"{name}.safetensors")
    files = [weighted(tmp_path / f"{name}.safetensors", w) for name, w in zip("ab", weights, strict=True)]
    merge_adapters(files, tmp_path / "o.safetensors", Merge(method="linear", dtype="fp32"))
    made = load_file(tmp_path / "o.safetensors")
    B, A = (made[f"{stem}.lora_{side}.weight"] for side in ("up", "down"))
    assert made[f"{stem}.alpha"] == 1
    assert (B @ A / 2).flatten()[:10].tolist() == pytest.approx(wanted, abs=1e-5)


def test_what_was_right_at_half_is_right_at_more(adapter_file, deltas, same, tmp_path):
    path = adapter_file(LOCON)
    rescale(path, tmp_path / "o.safetensors", rescale_of(0.5, 1.1))
    before, after = deltas(path), deltas(tmp_path / "o.safetensors")
    assert same({k: 0.5 * v for k, v in before.items()}, {k: 1.1 * v for k, v in after.items()})
    a, b = load_file(path), load_file(tmp_path / "o.safetensors")
    assert all(torch.equal(a[k], b[k]) for k in a if not k.endswith(".alpha"))


def test_parts_and_blocks_have_their_own_factors(adapter_file, deltas, tmp_path):
    path = adapter_file(SPEC)
    settings = rescale_of(None, None, text=0.5, blocks=["MID=0", "unet.up_blocks.1.*=2"])
    rescale(path, tmp_path / "o.safetensors", settings)
    before, after = deltas(path), deltas(tmp_path / "o.safetensors")
    for stem, delta in before.items():
        factor = 0.5 if "_te_" in stem else 0.0 if "_mid_" in stem else 2.0 if "_up_blocks_1_" in stem else 1.0
        assert (stem in after) is bool(factor)
        if factor:
            assert torch.allclose(after[stem], factor * delta, atol=1e-6)
    with pytest.raises(UsageError, match="matches no module"):
        rescale(path, tmp_path / "p.safetensors", Rescale(blocks={"OUT77": 2.0}))
    assert block_name("lora_unet_down_blocks_1_attentions_0_proj_in", False) == "IN04"


def test_a_slice_is_what_training_ran(adapter_file, deltas, tmp_path):
    """Rank b runs as (alpha / b) B[:, :b] A[:b]."""
    path = adapter_file(LoRA(rank=4, alpha=6.0), ss_network_args=json.dumps({"algo": "dylora", "unit": "2"}))
    results = slice_ranks(path, tmp_path / "s.safetensors")
    assert [r.path.name for r in results] == ["s-0002.safetensors", "s-0004.safetensors"]
    state = load_file(path)
    for stem, delta in deltas(tmp_path / "s-0002.safetensors").items():
        B, A = (state[f"{stem}.lora_{side}.weight"].flatten(1) for side in ("up", "down"))
        assert torch.allclose(delta.flatten(1), 6.0 / 2 * B[:, :2] @ A[:2], atol=1e-5)
    with pytest.raises(UsageError, match="in steps of 2"):
        slice_ranks(path, tmp_path / "t.safetensors", [3])
    with pytest.raises(UsageError, match="not trained as a DyLoRA"):
        slice_ranks(adapter_file(SPEC, "plain"), tmp_path / "t.safetensors")


def test_a_changed_header_leaves_the_numbers_alone(adapter_file, tmp_path):
    path = adapter_file()
    Image.new("RGB", (600, 300), "red").save(tmp_path / "t.png")
    settings = Edit(title="Mira", triggers=("zwx", "robe"), thumbnail=tmp_path / "t.png", remove=("ss_network_*",))
    out = tmp_path / "o.safetensors"
    changes = edit(path, out, settings)
    before, after = hash_file(path), hash_file(out)
    assert after.sshs_model_hash == before.sshs_model_hash
    assert after.sshs_model_hash == header(out)["sshs_model_hash"]
    assert after.sshs_legacy_hash == header(out)["sshs_legacy_hash"]
    assert changes["modelspec.trigger_phrase"] == (None, "zwx, robe")
    assert header(out)["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
    a, b = load_file(path), load_file(out)
    assert all(torch.equal(a[k], b[k]) for k in a)
    with pytest.raises(UsageError, match="did you mean"):
        edit(path, tmp_path / "p.safetensors", edit_of({}, (), ["sshs_model_hsh"]))
    with pytest.raises(UsageError, match="cannot be set"):
        edit(path, tmp_path / "p.safetensors", edit_of({}, ["sshs_model_hash=1"], ()))
    with pytest.raises(UsageError, match="is the source"):
        edit(path, path, Edit(title="x"))
    edit(path, path, Edit(title="x"), overwrite=True)
    assert header(path)["modelspec.title"] == "x"


def test_hashes_are_those_of_their_definitions(adapter_file, tmp_path):
    path = tmp_path / "large.safetensors"
    state = {"b": torch.randn(300_000), "a": torch.randn(200_000).half(), "c": torch.arange(9)}
    planned = [Planned.of(name, t) for name, t in state.items()]
    write_tensors(path, planned, {"ss_x": "1", "y": "2"}, hashed=True)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    found = hash_file(path)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.autov2 == found.sha256[:10]
    assert found.autov1 == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    assert found.sshs_model_hash == hashlib.sha256(content[start:]).hexdigest()
    from bakehouse.adapters.file_metadata import with_hashes

    library = with_hashes(state, {"ss_x": "1", "y": "2"})
    assert header(path)["sshs_model_hash"] == library["sshs_model_hash"] == found.sshs_model_hash
    assert header(path)["sshs_legacy_hash"] == library["sshs_legacy_hash"] == found.sshs_legacy_hash
    own = adapter_file()
    assert hash_file(own).sshs_model_hash == header(own)["sshs_model_hash"]


def test_a_stream_is_the_librarys_file(tmp_path):
    state = {n: (torch.randn(3, 2) * 9).to(t) for n, t in zip("abcdefg", (torch.float16, torch.float32, torch.bfloat16,
             torch.int64, torch.uint8, torch.float64, torch.int32), strict=True)}  # fmt: skip
    state["empty"], state["scalar"] = torch.empty(0), torch.tensor(2.0)
    write_tensors(tmp_path / "a.safetensors", [Planned.of(n, t) for n, t in state.items()], {})
    save_file(state, tmp_path / "b.safetensors")
    a, b = ((tmp_path / f"{n}.safetensors").read_bytes() for n in "ab")
    n, m = (8 + int.from_bytes(x[:8], "little") for x in (a, b))
    assert a[n:] == b[m:]
    with open_tensors(tmp_path / "a.safetensors") as file:
        assert all(torch.equal(file[n], t) for n, t in state.items())


def test_info_tells_what_is_inside(adapter_file, tmp_path):
    tags = json.dumps({"10_x": {"hat": 3, "red": 1}, "5_y": {"hat": 2}})
    path = adapter_file(LOCON, ss_tag_frequency=tags, **{"modelspec.trigger_phrase": "zwx, robe"})
    found = adapter_info(path)
    assert found.algorithms == {"LoRA": len(found.modules)}
    assert found.triggers == ("zwx", "robe")
    assert found.tags == {"hat": 5, "red": 1}
    assert all(v.loads for v in found.loaders)
    json.dumps(found.to_json(keys=True))
    broken = {k: v * float("nan") if "mid_block" in k and "up.weight" in k else v for k, v in load_file(path).items()}
    save_file(broken, tmp_path / "nan.safetensors")
    assert "NaN" in adapter_info(tmp_path / "nan.safetensors").notes[0]


def test_norms_are_those_of_the_change(adapter_file, deltas):
    path = adapter_file(LOCON)
    norms = {m.name: m.norm for m in adapter_info(path).modules}
    for stem, delta in deltas(path).items():
        name = dotted(stem)
        part = "unet" if stem.startswith("lora_unet_") else "text_encoder"
        assert norms[f"{part}.{name}"] == pytest.approx(float(delta.norm()), rel=1e-4)


def test_who_loads_which_spelling(adapter_file, tmp_path):
    path = adapter_file(ATTENTION)
    loads = lambda p: {v.program for v in adapter_info(p).loaders if v.loads}  # noqa: E731
    assert loads(path) == {"A1111", "ComfyUI", "diffusers", "sd-scripts", "LyCORIS"}
    convert(path, tmp_path / "d.safetensors", Convert(to="diffusers"))
    assert loads(tmp_path / "d.safetensors") == {"diffusers"}
    convert(path, tmp_path / "old.safetensors", Convert(to="diffusers-old"))
    assert loads(tmp_path / "old.safetensors") == {"ComfyUI", "diffusers"}
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    ia3 = {f"{stem}.weight": torch.randn(16, 1), f"{stem}.on_input": torch.tensor(False)}
    save_file(ia3, tmp_path / "ia3.safetensors")
    assert not loads(tmp_path / "ia3.safetensors") & {"ComfyUI", "diffusers", "sd-scripts"}
