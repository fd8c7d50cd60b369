"""Several adapters at once: they add up, in any order; whatever form their file has; and only on their own family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bakehouse.adapters import BOFT, IA3, OFT, FullDiff, GLoRA, LoHa, LoKr, LoRA, inject, load_adapter, save_adapter
from bakehouse.adapters.target_modules import all_sites
from bakehouse.adapters.tensor_names import to_diffusers
from bakehouse.cli.main import main
from bakehouse.core.errors import UsageError
from bakehouse.core.files import write_json
from bakehouse.generation import Pipeline, infotext
from bakehouse.generation.adapter_header import adapter_at, tensor_hash, unapplied_notes
from bakehouse.generation.adapter_options import parse_adapters
from bakehouse.generation.model_source import resolve

KINDS = {
    "lora": LoRA(rank=4, alpha=6.0, text=True),
    "dora": LoRA(rank=4, alpha=6.0, dora=True),
    "norms": LoRA(rank=4, alpha=6.0, train_norm=True),
    "loha": LoHa(rank=3, alpha=2.0),
    "lokr": LoKr(rank=1, alpha=2.0, decompose_both=True, text=True),
    "ia3": IA3(),
    "oft": OFT(block_size=4),
    "boft": BOFT(block_size=4),
    "glora": GLoRA(rank=3, alpha=2.0),
    "diff": FullDiff(),
}


@pytest.fixture(scope="module")
def files(crumb, tmp_path_factory) -> dict[str, Path]:
    """One adapter of each kind, at random, in single precision."""
    made, folder = {}, tmp_path_factory.mktemp("kinds")
    for number, (name, spec) in enumerate(KINDS.items()):
        adapter, generator = inject(spec, crumb.trainable_modules()), torch.Generator().manual_seed(number)
        with torch.no_grad():
            for p in adapter.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
        made[name] = save_adapter(adapter, folder / f"{name}.safetensors", dtype=torch.float32)
        adapter.remove()
    return made


def drawn(asked, *adapters: tuple[Path, float], ref="crumb", base=None) -> np.ndarray:
    """A picture, 0 to 1."""
    with Pipeline.open(ref, base=base, adapters=adapters) as pipeline:
        return np.asarray(next(pipeline.txt2img(asked)).image, dtype=np.float64) / 255


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """In the mean to a ten-thousandth; rounding to 8 bits may fall either way."""
    return bool(np.abs(a - b).mean() < 1e-4)


@pytest.mark.parametrize("pair", [("lora", "lokr"), ("loha", "glora"), ("diff", "lora")])
def test_two_at_once_are_the_sum_of_both_merged(files, crumb, asked, pair):
    a, b = files[pair[0]], files[pair[1]]
    both = drawn(asked, (a, 0.7), (b, -0.5))
    assert not same(both, drawn(asked, (a, 0.7)))
    assert same(both, drawn(asked, (b, -0.5), (a, 0.7))), "order does not matter to what is added"
    merged = [load_adapter(path, crumb.trainable_modules(), weight) for path, weight in ((a, 0.7), (b, -0.5))]
    for adapter in merged:
        adapter.merge_into()
    try:
        assert same(both, drawn(asked))
    finally:
        for adapter in reversed(merged):
            adapter.remove()
    assert not same(both, drawn(asked))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_known_by_its_keys_alone(files, tmp_path, kind):
    assert adapter_at(files[kind]) == files[kind]
    state = {
        key.replace("lora_unet_", "lycoris_").replace("lora_te_", "lycoris_"): t
        for key, t in load_file(files[kind]).items()
    }
    save_file(state, tmp_path / "wrapped.safetensors")
    assert resolve(tmp_path / "wrapped.safetensors", base="crumb").adapters


def forms(state: dict[str, torch.Tensor], crumb) -> dict[str, dict[str, torch.Tensor]]:
    """One LoRA's tensors under everybody's names; those without alpha have it in their weights."""
    sites = all_sites(crumb.trainable_modules())
    dotted = to_diffusers(state, sites)

    def renamed(*pairs: tuple[str, str], of=dotted):
        found = {}
        for key, tensor in of.items():
            for old, new in pairs:
                key = key.replace(old, new)
            found[key] = tensor
        return found

    olds = (".lora_A.weight", ".lora.down.weight"), (".lora_B.weight", ".lora.up.weight")
    return {
        "kohya": state,
        "kohya as for SDXL": renamed(("lora_te_", "lora_te1_"), of=state),
        "lycoris": renamed(("lora_unet_", "lycoris_"), ("lora_te_", "lycoris_"), of=state),
        "diffusers": dotted,
        "diffusers before PEFT": renamed(*olds),
        "PEFT": {f"base_model.model.{k.split('.', 1)[1]}": t for k, t in dotted.items()},
        "PEFT with a name": renamed((".lora_A.", ".lora_A.default."), (".lora_B.", ".lora_B.default.")),
        "ComfyUI": renamed(("unet.", "diffusion_model."), ("text_encoder.", "text_encoders.clip_l.transformer.")),
    }


def test_every_form_of_the_same_lora_draws_the_same_picture(files, crumb, asked, tmp_path):
    state = load_file(files["lora"])
    assert any("lora_te_" in key for key in state)
    expected = drawn(asked, (files["lora"], 0.8))
    assert not same(expected, drawn(asked))
    for name, tensors in forms(state, crumb).items():
        path = tmp_path / f"{name}.safetensors"
        save_file({k: t.contiguous() for k, t in tensors.items()}, path)
        assert parse_adapters(resolve("crumb"), [f"{path}:0.8"]) == ((path, 0.8),), name
        assert same(drawn(asked, (path, 0.8)), expected), name


def test_the_attention_processors_of_old_diffusers(crumb, asked, tmp_path):
    adapter = inject(LoRA(rank=4, alpha=4.0, targets="attention"), crumb.trainable_modules())
    with torch.no_grad():
        for p in adapter.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.1)
    kohya = save_adapter(adapter, tmp_path / "k.safetensors", dtype=torch.float32)
    adapter.remove()
    dotted = to_diffusers(load_file(kohya), all_sites(crumb.trainable_modules()))
    old = {}
    for key, tensor in dotted.items():
        key = key.removeprefix("unet.").replace(".to_out.0.", ".to_out.")
        block, layer, end = key.rsplit(".", 3)[0], *key.rsplit(".", 3)[1:3]
        old[f"{block}.processor.{layer}_lora.{'down' if end == 'lora_A' else 'up'}.weight"] = tensor.contiguous()
    save_file(old, tmp_path / "old.safetensors")
    assert same(drawn(asked, (tmp_path / "old.safetensors", 1.0)), drawn(asked, (kohya, 1.0)))


def test_the_picture_names_all_of_them(files, asked, lora):
    with Pipeline.open(lora, adapters=[(files["lokr"], 0.5), (files["ia3"], 1.0)]) as pipeline:
        text = next(pipeline.txt2img(asked)).infotext
    assert "<lora:zwx:1> <lora:lokr:0.5> <lora:ia3:1>" in str(text).replace("><", "> <")
    for path in (lora, files["lokr"], files["ia3"]):
        assert f"{path.stem}: {tensor_hash(path)}" in str(text)


def test_what_an_option_means(files, trained, tmp_path):
    source, a = resolve("crumb"), files["lora"]
    last = trained.weights / "zwx.safetensors"
    assert parse_adapters(source, [str(a), f"{a}:-1", str(trained.folder), f"{trained.folder}:.5"]) == (
        (a, 1.0), (a, -1.0), (last, 1.0), (last, 0.5),
    )  # fmt: skip
    write_json(trained.report / "pick.json", {"weights": "weights/zwx-000002.safetensors", "weight": 0.8})
    try:
        assert parse_adapters(source, [str(trained.folder)])[0][1] == 0.8
    finally:
        (trained.report / "pick.json").unlink()
    for text, said in (
        (f"{a}:strong", "'strong' is not a number"),
        (f"{a}:nan", "is not a number"),
        ("crum.safetensors", "does not exist"),
        ("crumb", "is a base model, not an adapter"),
        (str(trained.recipe), "is not an adapter"),
        (str(tmp_path), "is not an adapter"),
    ):
        with pytest.raises(UsageError, match=said):
            parse_adapters(source, [text])


@pytest.mark.parametrize(
    ("key", "shape", "family"),
    [
        ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight", (4, 2048), "SDXL"),
        ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", (4, 1024), "SD 2"),
        ("lora_unet_input_blocks_7_1_transformer_blocks_4_attn1_to_q.lokr_w1", (4, 4), "SDXL"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1.hada_w1_a", (4, 4), "SDXL"),
        ("text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", (4, 4), "SDXL"),
        ("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", (4, 4), "FLUX"),
    ],
)
def test_another_familys_adapter_is_refused_by_name(tmp_path, key, shape, family):
    path = tmp_path / "other.safetensors"
    save_file({key: torch.zeros(shape)}, path)
    for refused in (lambda: parse_adapters(resolve("crumb"), [str(path)]), lambda: resolve(path, base="crumb")):
        with pytest.raises(UsageError, match=rf"other\.safetensors is an? {family}.* the base crumb is SD 1\.x"):
            refused()


def test_embeddings_in_a_file_are_used(files, tmp_path):
    path = tmp_path / "bundle.safetensors"
    save_file({**load_file(files["lora"]), "bundle_emb.qwerty.string_to_param.*": torch.zeros(2, 16)}, path)
    assert parse_adapters(resolve("crumb"), [str(path)]) == ((path, 1.0),)
    assert unapplied_notes(path) == unapplied_notes(files["lora"]) == []


def test_the_commands(files, lora, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def typed(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main([*words, "--steps", "1", "--width", "64", "--height", "64", "--quiet"])
        return int(e.value.code or 0), *capsys.readouterr()

    two = ("--adapter", f"{files['lora']}:0.7", "--adapter", str(files["lokr"]))
    code, out, err = typed("generate", "crumb", "a person", "--seed", "1", *two)
    assert code == 0, err
    assert "<lora:lora:0.7>" in str(infotext.read(Path(out.strip())))
    code, out, err = typed("grid", str(lora), "--x", "weight=0,1", "--prompt", "a person", *two)
    assert code == 0, err
    code, _, err = typed("generate", "crumb", "a person", "--weight", "0.5", *two)
    assert (code, "has none" in err) == (2, True)
