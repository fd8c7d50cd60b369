"""Everything in an adapter file is applied, carried along, or refused by name: for every algorithm, tensor, setting."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bakehouse.adapters import load_adapter
from bakehouse.adapters.adapter import LayerAdapter
from bakehouse.adapters.adapter_file import READERS, from_state, read_layer
from bakehouse.adapters.file_coverage import Coverage, UnappliedItem
from bakehouse.adapters.inject import inject
from bakehouse.adapters.layer import BIAS
from bakehouse.adapters.lora import LoRA
from bakehouse.adapters.target_modules import Site
from bakehouse.core.errors import BakehouseError, UsageError

SURPLUS = ("scalar", "bias_indices", "bias_values", "bias_size", "lokr_t1", "hada_w3", "lambda_layer", "oft_diag", "x")
"""Tensors that other programs have written beside the usual ones."""
BUNDLED = {"bundle_emb.zwx.string_to_param.*": torch.ones(2, 16)}


@pytest.fixture
def tiny(small):
    return small


def biased(adapter: LayerAdapter) -> str:
    """A module of it with a bias."""
    return next(s for s, site in adapter.sites.items() if site.module.bias is not None and not site.is_norm)


def one_module(spec: Any, tiny: Any, *, bias: bool = False) -> tuple[Site, dict[str, torch.Tensor]]:
    """A module that a spec sits on, and noise in all that its layer would write."""
    site = next(
        s for s in spec.select(tiny.trainable_modules()) if not s.is_norm and (s.module.bias is not None or not bias)
    )
    generator = torch.Generator().manual_seed(0)
    layer = spec.build(site, generator)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return site, {f"{site.stem}.{name}": tensor for name, tensor in layer.state_dict().items()}


def test_every_layer_names_all_that_it_writes(spec, tiny):
    for site in spec.select(tiny.trainable_modules()):
        layer = spec.build(site, torch.Generator())
        assert set(layer.state_dict()) <= layer.suffixes


def test_a_bias_beside_any_algorithm_is_applied(spec, tiny):
    """Beside the weight and merged, at weights 1 and 0.5: what the module gives without it, and that much more."""
    site, state = one_module(spec, tiny, bias=True)
    stem, plain = site.stem, {k: v for k, v in state.items() if not k.endswith(BIAS)}
    diff_b = torch.randn(site.module.bias.shape, generator=torch.Generator().manual_seed(5))
    x = (
        torch.randn(2, 5, site.module.weight.shape[1])
        if isinstance(site.module, torch.nn.Linear | torch.nn.LayerNorm)
        else torch.randn(2, site.module.weight.shape[1], 6, 6)
    )
    with torch.no_grad():
        for weight in (1.0, 0.5):
            before = LayerAdapter([(site, read_layer(from_state(plain), stem, site.module))])
            before.set_multiplier(weight)
            want = site.module(x) + weight * (diff_b if x.ndim == 3 else diff_b[:, None, None])
            before.remove()
            layer = read_layer(from_state({**plain, f"{stem}.{BIAS}": diff_b}), stem, site.module)
            after = LayerAdapter([(site, layer)])
            after.set_multiplier(weight)
            torch.testing.assert_close(site.module(x), want, atol=1e-5, rtol=1e-5)
            after.merge_into()
            torch.testing.assert_close(site.module(x), want, atol=1e-5, rtol=1e-5)
            after.remove()


def test_a_bias_alone_is_applied(tiny, output):
    before = output(tiny)
    diff_b = torch.full(tiny.unet.conv_in.bias.shape, 0.5)
    adapter = load_adapter({f"lora_unet_conv_in.{BIAS}": diff_b}, tiny.trainable_modules())
    with torch.no_grad():
        tiny.unet.conv_in.bias += 0.5
        with adapter.scaled(0):
            want = output(tiny)
        tiny.unet.conv_in.bias -= 0.5
    assert not torch.allclose(want, before)
    torch.testing.assert_close(output(tiny), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_bias_where_the_base_has_none_counts_beside_it_and_is_not_merged(spec, tiny, dtype):
    sites = [s for s in spec.select(tiny.trainable_modules()) if s.module.bias is None]
    assert sites
    site = sites[0]
    layer = spec.build(site, torch.Generator())
    base = deepcopy(site.module).to(dtype)
    layer.set_bias_delta(torch.full((len(base.weight),), 0.5), base)
    adapter = LayerAdapter([(replace(site, module=base), layer)])
    x = torch.randn(2, 70, base.in_features, dtype=dtype)
    with torch.no_grad():
        given = base(x)
        with adapter.scaled(0):
            before = base(x)
        torch.testing.assert_close(given - before, torch.full_like(given, 0.5), atol=2e-2, rtol=2e-2)
        with pytest.raises(BakehouseError, match="adds a bias to a module without one"):
            adapter.merge_into()


def test_a_bias_of_another_size_is_refused(tiny, randomised):
    state = randomised(LoRA(rank=2), tiny).state_dict()
    stem = next(k.partition(".")[0] for k in state if "to_q" in k)
    with pytest.raises(UsageError, match=rf"{stem}: diff_b \(3,\) does not fit"):
        load_adapter({**state, f"{stem}.{BIAS}": torch.ones(3)}, tiny.trainable_modules())


def test_a_tensor_that_an_algorithm_makes_nothing_of_is_refused_by_name(spec, tiny):
    site, state = one_module(spec, tiny)
    for suffix in SURPLUS:
        more = {**state, f"{site.stem}.{suffix}": torch.ones(1)}
        with pytest.raises(UsageError, match=rf"{site.stem}\.{suffix}"):
            from_state(more)
        assert [e.name for e in from_state(more, strict=False).coverage.entries] == [f"{site.stem}.{suffix}"]


def test_one_algorithms_tensors_beside_anothers_are_applied_or_named(spec, tiny):
    """Whatever stands beside whatever: a layer that reads them all, or a name for each that it does not."""
    site, state = one_module(spec, tiny)
    inside = {"turns", "out_factors", "bias_factors"}
    for suffix in {name for reader in READERS for name in reader.suffixes} - inside:
        file = from_state({f"{site.stem}.{suffix}": torch.ones(1), **state}, strict=False)
        reader = next(r for r in READERS if r.recognizes(file.modules[site.stem]))
        named = {e.name.removeprefix(f"{site.stem}.") for e in file.coverage.entries}
        assert file.modules[site.stem].keys() - named == file.modules[site.stem].keys() & {*reader.suffixes, BIAS}


def test_an_alpha_that_no_program_counts_is_carried(tiny, output):
    state = {"lora_unet_conv_in.diff": torch.ones(8, 4, 3, 3), "lora_unet_conv_in.alpha": torch.tensor(3.0)}
    adapter = load_adapter({k: v for k, v in state.items() if "alpha" not in k}, tiny.trainable_modules())
    want = output(tiny)
    adapter.remove()
    file = from_state(state)
    load_adapter(file, tiny.trainable_modules())
    assert torch.equal(output(tiny), want)
    assert file.coverage.notes == ("lora_unet_conv_in.alpha: full difference has no alpha",)
    many = {
        **state,
        "lora_unet_conv_in.lora_down.weight": torch.ones(2, 4, 3, 3),
        "lora_unet_conv_in.alpha": torch.ones(7),
    }
    with pytest.raises(UsageError, match="alpha must be one number, not 7"):
        from_state(many)


def test_embeddings_are_carried_and_named(tiny, randomised):
    file = from_state({**randomised(LoRA(rank=2), tiny).state_dict(), **BUNDLED})
    assert file.extras.keys() == file.state.keys() & BUNDLED.keys() == BUNDLED.keys()
    assert "bundle_emb.zwx" in file.coverage.notes[0] and file.coverage.refusals == ()


def test_what_is_refused_is_named_by_the_files_own_key():
    """So that `convert --drop` finds it."""
    name = "unet.down_blocks.0.attentions.0.proj_in"
    state = {f"{name}.lora_A.weight": torch.ones(2, 8), f"{name}.lora_B.weight": torch.ones(8, 2)}
    with pytest.raises(UsageError, match=rf" {name}\.scalar: LoRA does not use"):
        from_state({**state, f"{name}.scalar": torch.ones(1)})
    assert from_state({**state, f"{name}.scalar": torch.ones(1)}, drop=[f"{name}.scalar"]).coverage == Coverage()


def test_two_spellings_of_one_tensor_are_refused(tiny, randomised):
    state = randomised(LoRA(rank=2), tiny).state_dict()
    path = "down_blocks.0.attentions.0.proj_in"
    stem = f"lora_unet_{path.replace('.', '_')}"
    again = {f"unet.{path}.lora_A.weight": state[f"{stem}.lora_down.weight"]}
    with pytest.raises(UsageError, match=rf"twice: {stem}\.lora_down\.weight and unet\.{path}\.lora_A\.weight"):
        load_adapter({**state, **again}, tiny.trainable_modules())
    two = {f"{path}.lora_A.{name}.weight": torch.ones(2, 8) for name in ("default", "style")}
    with pytest.raises(UsageError, match=r"lora_A\.default\.weight and .*lora_A\.style\.weight"):
        from_state(two)


def test_headers_that_say_what_no_tensor_holds():
    stem = "lora_unet_down_blocks_0_attentions_0_proj_in"
    glora = {f"{stem}.{name}.weight": torch.ones(2, 2) for name in ("a1", "a2", "b1", "b2")}
    for text in ('{"algo": "glora", "rs_lora": "True"}', "{'algo': 'glora', 'rs_lora': True}"):
        (note,) = from_state(glora, {"ss_network_args": text}).coverage.notes
        assert "rs_lora = True" in note and "sqrt(rank)" in note
    (note,) = from_state(glora, {"ss_network_args": json.dumps({"algo": "glora", "swirl": "3"})}).coverage.notes
    assert "swirl = '3'" in note
    assert from_state(glora, {"ss_network_args": "broken {"}).coverage == Coverage()


def test_a_training_goes_on_from_a_file_with_biases_and_from_none_with_more(tiny, randomised, tmp_path, output):
    from bakehouse.adapters import save_adapter

    adapter = randomised(LoRA(rank=2), tiny)
    state, stem = adapter.state_dict(), biased(adapter)
    diff_b = torch.full(adapter.sites[stem].module.bias.shape, 0.5)
    adapter.remove()
    path = save_adapter({**state, f"{stem}.{BIAS}": diff_b}, tmp_path / "b.safetensors", dtype=torch.float32)
    started = inject(LoRA(start=path), tiny.trainable_modules())
    assert torch.equal(started.state_dict()[f"{stem}.{BIAS}"], diff_b)
    again = save_adapter(started, tmp_path / "c.safetensors", dtype=torch.float32)
    said = output(tiny)
    started.remove()
    load_adapter(again, tiny.trainable_modules())
    assert torch.equal(output(tiny), said)
    save_file({**state, **BUNDLED}, tmp_path / "e.safetensors")
    with pytest.raises(UsageError, match="bundle_emb"):
        inject(LoRA(start=tmp_path / "e.safetensors"), tiny.trainable_modules())


def test_reasons_are_said_once():
    entries = [UnappliedItem(f"k{i}", "refused", "no use") for i in range(9)]
    assert Coverage(tuple(entries)).refusals == ("k0, k1, k2, k3 and 5 more: no use",)


def test_our_own_headers_hold_nothing_that_is_not_known(spec):
    from bakehouse.adapters import metadata_for
    from bakehouse.adapters.header_coverage import coverage_of_header

    assert coverage_of_header(metadata_for(spec, name="me", base_model="crumb"), set()) == Coverage()
