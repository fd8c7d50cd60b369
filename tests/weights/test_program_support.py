"""The measured answers, and that everything written here has one."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bakehouse.adapters import OFT, GLoRA, LoRA, save_adapter
from bakehouse.adapters.tensor_files import Shape
from bakehouse.weights.adapter_info import adapter_info
from bakehouse.weights.program_support import FAMILIES, module_end, program_verdicts, programs
from bakehouse.weights.tensor_form import form_of
from tests.adapters.conftest import SPECS

ROOT = Path(__file__).parents[2]
PARTS = {
    f"{FAMILIES[family]} {part}"
    for family, parts in {
        "sd1": ("UNet", "text encoder"),
        "sd2": ("UNet", "text encoder"),
        "sdxl": ("UNet", "text encoder 1", "text encoder 2"),
    }.items()
    for part in parts
}


def verdicts(path):
    return {v.program: v for v in adapter_info(path).loaders}


@pytest.mark.parametrize("name", SPECS)
def test_every_form_that_is_written_was_measured_in_every_reader(name, tiny, randomised, tmp_path):
    adapter = randomised(SPECS[name], tiny)
    path = save_adapter(adapter, tmp_path / "a.safetensors", {"ss_base_model_version": "sd_v1"}, torch.float32)
    modules: dict[str, dict[str, Shape]] = {}
    for key, tensor in load_file(path).items():
        stem, _, suffix = key.partition(".")
        modules.setdefault(stem, {})[suffix] = Shape(tensor.dtype, tuple(tensor.shape))
    for stem, tensors in modules.items():
        part = "SD 1 UNet" if stem.startswith("lora_unet_") else "SD 1 text encoder"
        for program in programs():
            row = program.form(form_of(tensors), part, module_end(stem))
            assert row is not None, (program.name, form_of(tensors), stem)
    assert not [why for v in verdicts(path).values() for why in (*v.problems, *v.limits) if "not measured" in why]


def test_the_answers_are_whole():
    assert [r.name for r in programs()] == ["A1111", "ComfyUI", "diffusers", "sd-scripts", "LyCORIS"]
    assert len({form for r in programs() for form in r.forms}) >= 35
    for program in programs():
        assert program.version
        for form, rows in program.forms.items():
            parts = {part for row in rows for part in row.parts}
            assert parts <= PARTS
            assert parts == PARTS or "Tucker" in form or "of PEFT" in form, (program.name, form)
            for row in rows:
                assert (row.outcome == "none") is (row.error is None)
                if row.error is not None:
                    worst = max(row.error) if row.outcome != "at 1" else row.error[1]
                    assert (worst <= 1e-3) is (row.outcome != "other")


def test_what_is_written_by_default_is_read_by_the_interfaces():
    """LoRA, LoCon, LoHa, LoKr and DoRA as a recipe writes them, in every part, at every weight."""
    by_name = {r.name: r for r in programs()}
    for form in ("LoRA", "LoHa", "LoKr", *(f"{kind}, DoRA by input" for kind in ("LoRA", "LoHa", "LoKr"))):
        for name in ("A1111", "ComfyUI"):
            assert {row.outcome for row in by_name[name].forms[form]} == {"same"}, (name, form)
    for program in programs():
        assert {row.outcome for row in program.forms["LoRA"]} == {"same"}
        # The spelling that is written: block numbers for SDXL, diffusers' names for the others.
        for spelling, family in (("kohya", "SD 1"), ("kohya", "SD 2"), ("kohya blocks", "SDXL")):
            rows = [row for row in program.spellings[spelling] if any(p.startswith(family + " ") for p in row.parts)]
            assert {row.outcome for row in rows} == {"same"}, (program.name, spelling)


def test_dora_of_either_axis(adapter_file):
    """Lengths of outputs, which were the default once, are another weight in both interfaces."""
    new, old = (verdicts(adapter_file(LoRA(rank=4, dora=True, wd_on_output=axis), f"{axis}")) for axis in (False, True))
    for program in ("A1111", "ComfyUI"):
        assert new[program].loads and not new[program].limits
        assert not old[program].loads and re.search(
            r"another change \(measured error \d+ %\): LoRA, DoRA by output in the UNet", old[program].why
        )


def test_the_rank_of_glora_is_that_of_its_factors(adapter_file):
    info = adapter_info(adapter_file(GLoRA(rank=3), "glora"))
    assert {m.rank for m in info.modules} == {3}


def test_rotations_glora_and_norms(adapter_file, tmp_path):
    oft = verdicts(adapter_file(OFT(text=True), "oft"))
    assert oft["ComfyUI"].loads and "at strength 1 only: OFT in the text encoder and UNet" in oft["ComfyUI"].why
    assert oft["A1111"].loads and not oft["A1111"].limits
    held = {**load_file(tmp_path / "oft.safetensors")}
    held |= {key: torch.tensor(0.01) for key in held if key.endswith(".alpha")}
    save_file(held, tmp_path / "held.safetensors")
    # Files of others, and older ones, say their constraint.
    assert not verdicts(tmp_path / "held.safetensors")["ComfyUI"].loads
    constrained = verdicts(adapter_file(OFT(constraint=0.01), "new"))
    assert constrained["ComfyUI"].loads and constrained["A1111"].loads
    glora = verdicts(adapter_file(GLoRA(), "glora"))
    assert glora["ComfyUI"].loads and "does not load GLoRA in the UNet" in glora["A1111"].why
    norm = verdicts(adapter_file(LoRA(rank=2, train_norm=True, text=True), "norm"))
    assert norm["ComfyUI"].why.startswith("does not load norm layers in the text encoder (")


def test_what_was_not_measured_is_said_to_be_so():
    shape = Shape(torch.float32, (4, 8))
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    found = program_verdicts({f"{stem}.q_layer.weight": shape, f"{stem}.p_layer.weight": shape})
    assert not any(v.loads for v in found)
    assert all("not measured: T-LoRA in the UNet" in v.why for v in found)


def test_the_page_says_what_was_measured():
    page = runpy.run_path(str(ROOT / "tools" / "write_program_support_docs.py"))["page"]
    text = (ROOT / "docs" / "adapters.md").read_text("utf-8")
    assert page(text) == text, "run `python -m tools.write_program_support_docs`"
    assert re.search(r"\| LoRA \| yes \| yes \| yes \| yes \| yes \|", text)
