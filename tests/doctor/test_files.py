"""Each problem of a file, or of two, is made on purpose and named; a healthy file is called healthy."""

from __future__ import annotations

import json
import math
import shlex

import pytest
import torch

from bakehouse.adapters import LoHa, LoKr, LoRA
from bakehouse.adapters.adapter_reader import read_adapter
from bakehouse.cli.main import main
from bakehouse.core.errors import UsageError
from bakehouse.weights.adapter_info import adapter_info
from tests.doctor.conftest import changed, found, look


@pytest.fixture
def healthy_file(write_adapter, tmp_path):
    return write_adapter(tmp_path / "a.safetensors")


def only(report, check: str):
    (finding,) = [f for f in report.findings if f.id == check]
    return finding


def run_command(line: str) -> None:
    with pytest.raises(SystemExit) as e:
        main(shlex.split(line)[1:])
    assert not e.value.code, line


def test_a_healthy_file_is_called_healthy_with_its_figures(healthy_file, tiny_folder):
    report = look(healthy_file, base=str(tiny_folder))
    assert report.is_healthy and report.problems == () and report.exit_code(strict=True) == 0
    assert report.skipped == {}
    modules = len(adapter_info(healthy_file).modules)
    assert only(report, "A01").why == f"all numbers of {modules} modules are finite"
    assert only(report, "A02").why == f"{modules} of {modules} modules change the base"
    assert "% of the norm of the base's weights" in only(report, "A08").why
    assert only(report, "A09").why == "'zwx person' is in the captions 8 times"


def test_without_a_base_the_checks_beside_it_are_skipped_with_the_command(healthy_file):
    report = look(healthy_file)
    assert set(report.skipped) == {"A04", "A05", "A06", "A08"}
    assert f"bakehouse doctor {healthy_file} --base MODEL" in report.skipped["A04"]


def test_nan_and_infinity(healthy_file):
    def broken(key, tensor):
        if key.endswith("lora_down.weight"):
            tensor.view(-1)[0] = math.nan
        return tensor

    report = look(changed(healthy_file, broken))
    modules = len(adapter_info(healthy_file).modules)
    assert only(report, "A01").result == "error"
    assert only(report, "A01").why.startswith(f"{modules} of {modules} modules hold NaN or infinity: ")


@pytest.mark.parametrize("spec", [LoRA(rank=4), LoHa(rank=4), LoKr(rank=4)], ids=lambda s: s.kind)
def test_zero_weights_and_alpha_zero_do_nothing(write_adapter, tmp_path, spec):
    path = write_adapter(tmp_path / "a.safetensors", spec=spec)
    assert only(look(path), "A02").result == "healthy"
    ends = ("lora_up.weight", "hada_w2_a", "lokr_w2", "lokr_w2_a")
    zero = changed(path, lambda k, t: t * 0 if k.endswith(ends) else t, tmp_path / "zero.safetensors")
    assert only(look(zero), "A02").result == "error"
    no_alpha = changed(path, lambda k, t: t * 0 if k.endswith(".alpha") else t, tmp_path / "alpha.safetensors")
    finding = only(look(no_alpha), "A02")
    modules = len(adapter_info(path).modules)
    assert finding.result == "error"
    assert finding.why == f"all {modules} modules have a change of zero; alpha is 0 in {modules} of them"


def test_an_untrained_text_encoder_is_a_note_and_its_command_takes_it_out(healthy_file):
    def untrained(key, tensor):
        return tensor * 0 if key.startswith("lora_te_") and "lora_up" in key else tensor

    report = look(changed(healthy_file, untrained))
    finding = only(report, "A02")
    assert (finding.result, finding.key) == ("info", "text_encoder")
    run_command(finding.fix)
    left = read_adapter(healthy_file.with_name("a-smaller.safetensors"))
    assert all(stem.startswith("lora_unet_") for stem in left.modules)


def test_tensors_of_no_algorithm_are_named_and_the_command_leaves_them_out(healthy_file, tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "b.safetensors"
    mystery = {f"mystery.{{{i}}}": torch.ones(3) for i in range(3)}
    save_file({**load_file(healthy_file), **mystery}, path)
    finding = only(look(path), "A03")
    assert finding.result == "error" and "mystery.{0}" in finding.why and "--drop 'mystery.{*'" in finding.fix
    run_command(finding.fix)
    assert only(look(tmp_path / "b-smaller.safetensors"), "A03").result == "healthy"


def test_keys_of_no_module_of_the_base(healthy_file, tiny_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "b.safetensors"
    renamed = {key.replace("down_blocks_0", "down_blocks_7"): t for key, t in load_file(healthy_file).items()}
    save_file(renamed, path)
    finding = only(look(path, base=str(tiny_folder)), "A04")
    assert finding.result == "warning" and finding.key == "missing" and "unet.down_blocks.7" in finding.why
    all_of_them = {key.replace("_blocks_", "_blocks_9"): t for key, t in load_file(healthy_file).items()}
    save_file({k: t for k, t in all_of_them.items() if not k.startswith("lora_te")}, path)
    assert only(look(path, base=str(tiny_folder)), "A04").result == "error"


def test_modules_of_another_size(healthy_file, tiny_folder):
    def wider(key, tensor):
        return torch.ones(tensor.shape[0], 768) if key.endswith("attn2_to_k.lora_down.weight") else tensor

    finding = only(look(changed(healthy_file, wider), base=str(tiny_folder)), "A04")
    assert (finding.result, finding.key) == ("error", "size")
    assert "it seems to be made for SD 1.x with cross-attention of 768 channels" in finding.why


def test_another_family_and_another_prediction_type(write_adapter, tiny_folder, tmp_path):
    path = write_adapter(
        tmp_path / "a.safetensors",
        ss_base_model_version="sdxl_base_v1-0",
        **{"modelspec.architecture": "stable-diffusion-xl-v1-base/lora", "modelspec.prediction_type": "v"},
    )
    report = look(path, base=str(tiny_folder))
    assert only(report, "A05").result == "error"
    assert "the file is for SDXL" in only(report, "A05").why and "is SD 1.x" in only(report, "A05").why
    assert only(report, "A06").result == "error"
    assert "trained for v_prediction" in only(report, "A06").why
    silent = write_adapter(tmp_path / "b.safetensors", **{"modelspec.prediction_type": ""})
    assert only(look(silent, base=str(tiny_folder)), "A06").result == "undecided"


def test_a_program_that_cannot_load_the_file_and_the_command_that_helps(write_adapter, tiny_folder, tmp_path):
    path = write_adapter(tmp_path / "a.safetensors", spec=LoHa(rank=2, unet=True))
    report = look(path, base=str(tiny_folder))
    verdicts = {v.program: v.loads for v in adapter_info(path).loaders}
    assert not verdicts["diffusers"] and verdicts["A1111"]
    results = found(report, "A07")
    assert results["A07 diffusers"] == "info" and results["A07 A1111"] == "healthy"
    assert report.exit_code() == 0

    asked = look(path, base=str(tiny_folder), programs=("Diffusers",))
    finding = only(asked, "A07")
    assert finding.result == "error" and asked.exit_code() == 1
    run_command(finding.fix)
    made = tmp_path / "a-lora.safetensors"
    assert only(look(made, programs=("diffusers",)), "A07").result == "healthy"


def test_another_spelling_is_converted(healthy_file, tmp_path):
    other = tmp_path / "peft"
    run_command(f"bakehouse weights convert {healthy_file} --to peft -o {other}")
    verdicts = {v.program: v.loads for v in adapter_info(other).loaders}
    assert not verdicts["A1111"]
    finding = next(f for f in look(other, programs=("A1111",)).findings if f.id == "A07")
    assert finding.result == "error"
    run_command(finding.fix)
    assert only(look(tmp_path / "peft-kohya.safetensors", programs=("A1111",)), "A07").result == "healthy"


def test_kohya_is_a_name_of_its_scripts_and_unknown_programs_are_refused(healthy_file):
    assert only(look(healthy_file, programs=("kohya",)), "A07").key == "sd-scripts"
    with pytest.raises(UsageError, match="--program comfi: not a measured program; did you mean 'comfyui'"):
        look(healthy_file, programs=("comfi",))


def test_a_change_that_rounding_removes_or_that_replaces_the_base(write_adapter, tiny_folder, tmp_path):
    small = write_adapter(tmp_path / "small.safetensors", scale=1e-5)
    finding = only(look(small, base=str(tiny_folder)), "A08")
    assert (finding.result, finding.key) == ("warning", "small")
    run_command(finding.fix)
    assert only(look(tmp_path / "small-scaled.safetensors", base=str(tiny_folder)), "A08").result == "healthy"
    large = write_adapter(tmp_path / "large.safetensors", scale=4.0)
    assert only(look(large, base=str(tiny_folder)), "A08").key == "large"


def test_the_measured_size_is_that_of_the_merged_weights(healthy_file, tiny_folder, tiny):
    from bakehouse.adapters import load_adapter

    adapter = load_adapter(read_adapter(healthy_file), tiny.trainable_modules())
    weights = [(layer, adapter.sites[stem].module.weight) for stem, layer in adapter.layers.items()]
    with torch.no_grad():
        changes = sum(float(layer.delta(w).square().sum()) for layer, w in weights)
        norm = sum(float(w.square().sum()) for _, w in weights)
    adapter.remove()
    expected = f"{100 * math.sqrt(changes / norm):.2g} %"
    assert expected in only(look(healthy_file, base=str(tiny_folder)), "A08").why


def test_a_trigger_that_is_in_no_caption(write_adapter, tmp_path):
    tags = json.dumps({"10_sks": {"sks person": 20, "hat": 3}})
    path = write_adapter(tmp_path / "a.safetensors", ss_tag_frequency=tags)
    finding = only(look(path), "A09")
    assert finding.result == "error"
    assert finding.why == (
        "the trigger 'zwx person' is in none of the captions (2 tags); the most frequent tag is 'sks person' (20)"
    )
    run_command(finding.fix)
    assert only(look(path), "A09").result == "healthy"
    put_in_front = write_adapter(
        tmp_path / "b.safetensors",
        ss_tag_frequency=tags,
        **{"bakehouse.recipe": '[captions]\nprefix = "zwx person,"'},
    )
    assert only(look(put_in_front), "A09").result == "healthy"
    none = write_adapter(tmp_path / "c.safetensors", **{"modelspec.trigger_phrase": ""})
    assert only(look(none), "A09").result == "info"


# --- two files --------------------------------------------------------------------------------------------------------


def pair_of(write_adapter, tmp_path, factor: float, **header: str):
    """An adapter, and one whose change is `factor` times its change."""
    a = write_adapter(tmp_path / "a.safetensors")
    b = write_adapter(tmp_path / "b.safetensors", **{"modelspec.trigger_phrase": "qvx", **header})
    return a, changed(b, lambda k, t: t * factor if k.endswith("lora_up.weight") else t)


def test_independent_adapters_are_healthy_together(write_adapter, tmp_path):
    a = write_adapter(tmp_path / "a.safetensors")
    tags = json.dumps({"photos": {"qvx": 8}})
    header = {"modelspec.trigger_phrase": "qvx", "ss_tag_frequency": tags}
    report = look(a, write_adapter(tmp_path / "b.safetensors", seed=1, **header))
    assert [f.id for f in report.problems] == []
    assert set(found(report, "B03").values()) == set(found(report, "B04").values()) == {"healthy"}
    assert len(found(report, "B03")) == 2  # UNet and text encoder


def test_adapters_that_fight(write_adapter, tmp_path):
    report = look(*pair_of(write_adapter, tmp_path, -0.5))
    finding = next(f for f in report.findings if f.name == "B03 unet a.safetensors b.safetensors")
    assert finding.result == "warning"
    # Beside -A/2, A keeps a half; beside A, -A/2 is turned around.
    assert "cosine -1.00" in finding.why
    assert "a.safetensors loses 50 % and b.safetensors loses 200 % of its change" in finding.why
    assert set(found(report, "B04").values()) == {"healthy"}


def test_adapters_that_make_the_same_change(write_adapter, tmp_path):
    report = look(*pair_of(write_adapter, tmp_path, 1.0))
    finding = next(f for f in report.findings if f.name == "B04 unet a.safetensors b.safetensors")
    assert finding.result == "warning" and "cosine 1.00" in finding.why
    run_command(finding.fix)
    # Merged at half strength each, they have the change of one.
    merged, one = (
        {m.name: m.norm for m in adapter_info(tmp_path / name).modules}
        for name in ("both.safetensors", "a.safetensors")
    )
    assert all(merged[name] == pytest.approx(one[name], rel=0.01) for name in one)


@pytest.mark.parametrize("factor", [-0.1, 0.1])
def test_a_small_part_in_common_is_healthy(write_adapter, tmp_path, factor):
    a = write_adapter(tmp_path / "a.safetensors")
    other = write_adapter(tmp_path / "c.safetensors", seed=1)
    mixed = f"bakehouse weights merge {a}={factor} {other} -o {tmp_path / 'b.safetensors'}"
    run_command(mixed)
    report = look(a, tmp_path / "b.safetensors")
    assert set(found(report, "B03").values()) == set(found(report, "B04").values()) == {"healthy"}


def test_other_kinds_are_compared_on_their_base(write_adapter, tiny_folder, tmp_path):
    a = write_adapter(tmp_path / "a.safetensors", spec=LoKr(rank=2))
    b = changed(a, lambda k, t: -t if k.endswith("lokr_w1") else t, tmp_path / "b.safetensors")
    assert set(found(look(a, b), "B03").values()) == {"undecided"}
    report = look(a, b, base=str(tiny_folder))
    assert "warning" in found(report, "B03").values()


def test_different_bases_and_the_same_trigger(write_adapter, tmp_path):
    a = write_adapter(tmp_path / "a.safetensors")
    sdxl = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}
    b = write_adapter(tmp_path / "b.safetensors", seed=1, ss_base_model_version="sdxl_base_v1-0", **sdxl)
    report = look(a, b)
    assert found(report, "B01") == {"B01 a.safetensors b.safetensors": "error"}
    assert found(report, "B02") == {"B02 a.safetensors b.safetensors": "warning"}
