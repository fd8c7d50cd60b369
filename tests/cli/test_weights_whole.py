"""Every command on adapter files that hold more than up and down: applied, carried along, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bakehouse.adapters import LoRA, inject, load_adapter, save_adapter
from bakehouse.cli.main import main
from bakehouse.models import load_model

STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
EMBEDDING = "bundle_emb.zwx.string_to_param.*"
BIAS = f"{STEM}.diff_b"
SCALAR = f"{STEM}.scalar"
HEADER = {"ss_network_args": '{"algo": "dylora", "unit": "2"}'}

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))

    def type_(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as e:
            main([*map(str, words)])
        return int(e.value.code or 0), "".join(capsys.readouterr())

    return type_


@pytest.fixture
def state(tiny) -> dict[str, torch.Tensor]:
    adapter = inject(
        LoRA(rank=4, alpha=2.0, targets="attention"), tiny.trainable_modules(), generator=torch.Generator()
    )
    with torch.no_grad():
        for p in adapter.parameters():
            p.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    made = {k: v.clone() for k, v in adapter.state_dict().items()}
    adapter.remove()
    return made


def write(state: dict[str, torch.Tensor], name: str, **header: str) -> Path:
    path = Path(name)
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata={**HEADER, **header})
    return path


def biases(tiny, path: Path) -> torch.Tensor:
    """What a file adds to the bias."""
    adapter = load_adapter(path, tiny.trainable_modules())
    found = adapter.layers[STEM].bias_delta(None).detach().clone()
    adapter.remove()
    return found


MAKING = {
    "convert": ("weights", "convert", "a.safetensors", "-o", "out.safetensors"),
    "resize": ("weights", "resize", "a.safetensors", "--rank", "2", "-o", "out.safetensors"),
    "rescale": ("weights", "rescale", "a.safetensors", "--factor", "2", "-o", "out.safetensors"),
    "slice": ("weights", "slice", "a.safetensors", "--rank", "2", "-o", "out.safetensors"),
    "merge": ("weights", "merge", "a.safetensors=0.5", "b.safetensors", "-o", "out.safetensors"),
    "merge linear": ("weights", "merge", "a.safetensors=0.5", "b.safetensors", "--method", "linear",
                     "-o", "out.safetensors"),
    "merge svd": ("weights", "merge", "a.safetensors=0.5", "b.safetensors", "--method", "svd", "--rank", "2",
                  "-o", "out.safetensors"),
    "edit": ("weights", "edit", "a.safetensors", "--title", "t", "-o", "out.safetensors"),
}  # fmt: skip
"""Commands that make an adapter of one."""
FACTORS = {"rescale": 2.0, "merge": 0.5, "merge linear": 0.5, "merge svd": 0.5}
APPLYING = {
    "merge into a base": ("weights", "merge", "a.safetensors", "--base", "MODEL", "-o", "out"),
    "generate": ("generate", "MODEL", "x", "--adapter", "a.safetensors", "--steps", "1", "-o", "out"),
    "grid": (
        "grid",
        "MODEL",
        "--prompt",
        "x",
        "--adapter",
        "a.safetensors",
        "--steps",
        "1",
        "--x",
        "seed=1",
        "-o",
        "out",
    ),
}
"""Commands that put one on a base."""


@pytest.mark.parametrize("name", MAKING)
def test_what_is_made_of_a_file_keeps_embeddings_and_biases(run, state, tiny, name):
    diff_b = torch.arange(8.0)
    write({**state, BIAS: diff_b, EMBEDDING: torch.ones(2, 16)}, "a.safetensors")
    write(state, "b.safetensors")
    code, said = run(*MAKING[name])
    assert code == 0, said
    made = load_file("out.safetensors")
    assert torch.equal(made[EMBEDDING], torch.ones(2, 16))
    assert name == "edit" or "bundle_emb.zwx" in said
    found = biases(tiny, Path("out.safetensors"))
    torch.testing.assert_close(found, FACTORS.get(name, 1.0) * diff_b)


@pytest.mark.parametrize("name", [*MAKING, *APPLYING])
def test_a_file_that_cannot_be_applied_whole_is_refused_by_name(run, state, tiny_folder, name):
    words = [str(tiny_folder) if w == "MODEL" else w for w in {**MAKING, **APPLYING}[name]]
    write(state, "b.safetensors")
    write({**state, SCALAR: torch.ones(())}, "a.safetensors")
    code, said = run(*words)
    if name == "edit":
        assert code == 0 and torch.equal(load_file("out.safetensors")[SCALAR], torch.ones(()))
        return
    assert code == 2 and SCALAR in "".join(said.split()) and not Path("out.safetensors").exists()
    settings = json.dumps({"unet.peft_type": "LORA", "unet.modules_to_save": ["conv_in"]})
    write(state, "a.safetensors", lora_adapter_metadata=settings)
    code, said = run(*words)
    assert code == 2 and "modules_to_save" in said


@pytest.mark.parametrize("name", APPLYING)
def test_embeddings_are_named_where_they_are_not_used(run, state, tiny_folder, name):
    words = [str(tiny_folder) if w == "MODEL" else w for w in APPLYING[name]]
    write({**state, EMBEDDING: torch.ones(2, 16)}, "a.safetensors")
    code, said = run(*words)
    assert code == 0
    assert ("bundle_emb.zwx" in "".join(said.split())) is (name == "merge into a base"), said


def test_a_bias_is_in_the_merged_base(run, state, tiny_folder):
    write({**state, BIAS: torch.arange(8.0)}, "a.safetensors")
    assert run("weights", "merge", "a.safetensors=0.5", "--base", tiny_folder, "-o", "out")[0] == 0
    key = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.bias"
    file = "unet/diffusion_pytorch_model.safetensors"
    before, after = load_file(tiny_folder / file)[key], load_file(Path("out") / file)[key]
    torch.testing.assert_close(after - before, 0.5 * torch.arange(8.0))


def test_a_bias_that_the_base_has_no_place_for_is_not_merged(run, state, tiny_folder):
    key = f"{STEM.replace('to_out_0', 'to_q')}.diff_b"
    write({**state, key: torch.ones(8)}, "a.safetensors")
    code, said = run("weights", "merge", "a.safetensors", "--base", tiny_folder, "-o", "out")
    assert code == 2 and key.removesuffix(".diff_b") in said and not Path("out").exists()


@pytest.mark.parametrize("form", ["diffusers-old", "peft"])
def test_forms_that_cannot_hold_embeddings_say_so_and_can_leave_them_out(run, state, form):
    state = {k: v for k, v in state.items() if "proj" not in k and "ff" not in k}
    write({**state, EMBEDDING: torch.ones(2, 16)}, "a.safetensors")
    out = "out" if form == "peft" else "out.safetensors"
    code, said = run("weights", "convert", "a.safetensors", "--to", form, "-o", out)
    assert code == 2 and "bundle_emb.zwx" in said and "--drop" in said
    words = ("weights", "convert", "a.safetensors", "--to", form, "--drop", "bundle_emb.*", "-o", out)
    code, said = run(*words)
    assert code == 0, said
    code, said = run(*words[:-3], "nothing*", "-o", f"other-{out}")
    assert code == 2 and "'nothing*'" in said


@pytest.fixture
def parts(run) -> Path:
    """An adapter on both networks of crumb, as `a.safetensors`, and as the folder that `--to peft` makes of it."""
    adapter = inject(
        LoRA(rank=4, alpha=6.0, text=True), load_model("crumb").trainable_modules(), generator=torch.Generator()
    )
    with torch.no_grad():
        for p in adapter.parameters():
            p.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    save_adapter(adapter, "a.safetensors", {"ss_base_model_version": "sd_v1"}, torch.float32)
    adapter.remove()
    code, said = run("weights", "convert", "a.safetensors", "--to", "peft", "-o", "parts")
    assert code == 0, said
    assert {p.name for p in Path("parts").iterdir()} == {"unet", "text_encoder"}
    return Path("parts")


def test_a_folder_of_one_peft_adapter_for_each_network_draws_the_same_pictures(run, parts):
    """To the bit: beside a model, as the model itself, at a weight, and in a grid."""
    pictures = {}
    for name in ("a.safetensors", "parts"):
        small = ("--steps", 2, "--width", 64, "--height", 64, "--quiet")
        ways = {
            "beside": ("generate", "crumb", "a person", "--adapter", f"{name}:0.7", "--seed", 1),
            "itself": ("generate", name, "a person", "--base", "crumb", "--weight", "0.7", "--seed", 1),
            "grid": ("grid", name, "--base", "crumb", "--prompt", "a person", "--x", "weight=0,0.7"),
        }
        for way, words in ways.items():
            code, said = run(*words, *small, "-o", f"{way}-{name}")
            assert code == 0, said
            made = [Image.open(p).convert("RGB") for p in sorted(Path(f"{way}-{name}").rglob("*.png"))]
            pictures[way, name] = {p.tobytes() for p in made if p.size == (64, 64)}
    for way, count in (("beside", 1), ("itself", 1), ("grid", 2)):
        assert pictures[way, "parts"] == pictures[way, "a.safetensors"] and len(pictures[way, "parts"]) == count
    assert pictures["beside", "parts"] == pictures["itself", "parts"] < pictures["grid", "parts"]


@pytest.mark.parametrize("name", [name for name in MAKING if name not in ("edit", "slice")])
def test_a_folder_of_peft_makes_what_its_file_makes(run, parts, name):
    shutil.copy("a.safetensors", "b.safetensors")
    made = []
    for source in ("a.safetensors", "parts"):
        words = [w.replace("a.safetensors", source) for w in MAKING[name]]
        code, said = run(*words, "--overwrite")
        assert code == 0, said
        made.append(load_file("out.safetensors"))
    assert made[0].keys() == made[1].keys() and all(torch.equal(made[0][k], made[1][k]) for k in made[0])


def test_a_folder_of_peft_is_told_and_merged_and_gone_on_from(run, parts):
    code, said = run("weights", "info", "parts", "--json")
    assert code == 0 and json.loads(said)["algorithms"] == {"LoRA": len(load_file("a.safetensors")) // 3}
    for source in ("a.safetensors", "parts"):
        code, said = run("weights", "merge", source, "--base", "crumb", "-o", f"on-{source}.safetensors")
        assert code == 0, said
    one, two = load_file("on-a.safetensors.safetensors"), load_file("on-parts.safetensors")
    assert all(torch.equal(one[k], two[k]) for k in one)
    Path("photos").mkdir()
    Image.new("RGB", (128, 128), "red").save("photos/a.png")
    words = ("plan", "photos", "--subject", "zwx person", "--set", "prior.source=none", "--set", "adapter.text=true")
    code, said = run(*words, "--set", "adapter.start=parts")
    assert code == 0, said
    code, said = run("weights", "convert", "parts", "--drop", "nothing*", "-o", "x.safetensors")
    assert code == 2 and "parts has no tensor that matches 'nothing*'" in said
    assert run("models", "add", "mine", "parts")[0] == 0
    code, said = run("generate", "mine", "zwx", "--base", "crumb", "--steps", 1, "--width", 64, "--height", 64)
    assert code == 0, said
    Path("empty").mkdir()
    code, said = run("generate", "crumb", "zwx", "--adapter", "empty")
    assert code == 2 and "empty is not an adapter" in said and "PEFT" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("convert a.safetensors --to peft -o x.safetensors", "--to peft writes a folder|--to peft -o x;"),
        ("convert a.safetensors --to peft -o x.pt", "--to peft writes a folder"),
        ("convert a.safetensors --to diffusers -o x", "one .safetensors file|-o x.safetensors"),
        ("convert a.safetensors --to kohya -o x.pt", "one .safetensors file"),
        ("convert a.safetensors -o parts", "-o parts/NAME.safetensors"),
        ("resize a.safetensors --rank 2 -o x.ckpt", "one .safetensors file"),
        ("merge a.safetensors parts -o x", "one .safetensors file"),
        ("convert crumb -o x.pth", "the output is a folder"),
        ("merge a.safetensors --base crumb -o x.bin", "the output is a folder"),
    ],
)
def test_a_place_is_named_as_what_is_written(run, parts, words, says):
    before = sorted(Path().rglob("*"))
    code, said = run("weights", *words.split())
    assert code == 2 and all(part in " ".join(said.split()) for part in says.split("|")), said
    assert sorted(Path().rglob("*")) == before


def header(path: str) -> dict[str, str]:
    with safe_open(path, "pt") as f:
        return dict(f.metadata())


@pytest.mark.parametrize("name", ["resize", "rescale", "merge"])
def test_what_a_source_said_of_its_ranks_is_not_said_of_what_is_made_of_it(run, parts, name):
    """In kohya's form alphas stand in the tensors: diffusers would go by settings that another rank was written for."""
    assert run("weights", "convert", "a.safetensors", "--to", "diffusers", "-o", "d.safetensors")[0] == 0
    shutil.copy("d.safetensors", "b.safetensors")
    words = [w.replace("a.safetensors", "d.safetensors") for w in MAKING[name]]
    code, said = run(*words)
    assert code == 0, said
    assert "lora_adapter_metadata" in header("d.safetensors")
    assert not {"lora_adapter_metadata", "bakehouse.converted"} & header("out.safetensors").keys()


def test_headers_say_what_is_in_the_file(run, state, tiny_folder):
    """Rank, alpha and arguments are those of what was written; a model says what it was merged of."""
    write(state, "a.safetensors", ss_network_args='{"algo": "dylora", "unit": "2", "prefix_scale": "rank"}')
    for words in ("resize a.safetensors --rank 2", "slice a.safetensors --rank 2"):
        code, said = run("weights", *words.split(), "-o", "out.safetensors", "--overwrite")
        assert code == 0, said
        told, made = header("out.safetensors"), load_file("out.safetensors")
        (alpha,) = {float(t) for key, t in made.items() if key.endswith(".alpha")}
        assert (told["ss_network_dim"], float(told["ss_network_alpha"])) == ("2", alpha)
        assert "dylora" not in told.get("ss_network_args", "")
    code, said = run("weights", "merge", "a.safetensors=0.5", "--base", tiny_folder, "-o", "merged.safetensors")
    assert code == 0, said
    assert header("merged.safetensors")["modelspec.merged_from"] == f"{tiny_folder.stem}, a x 0.5"


def test_info_tells_of_what_is_not_applied(run, state):
    write({**state, EMBEDDING: torch.ones(2, 16), SCALAR: torch.ones(()), "swirl": torch.ones(1)}, "a.safetensors")
    code, said = run("weights", "info", "a.safetensors", "--json")
    told = {e["name"]: e["verdict"] for e in json.loads(said)["not_applied"]}
    assert (code, told) == (0, {EMBEDDING: "carried", SCALAR: "refused", "swirl": "refused"})
    code, said = run("weights", "info", "a.safetensors")
    assert code == 0 and "refused by bakehouse" in said and "not applied" in said


def test_a_bias_has_no_place_in_the_oldest_form(run, state):
    write({**state, BIAS: torch.ones(8)}, "a.safetensors")
    code, said = run("weights", "convert", "a.safetensors", "--to", "diffusers-old", "-o", "out.safetensors")
    assert code == 2 and f"{STEM}: diff_b" in said


def test_a_plan_tells_what_a_training_cannot_go_on_from(run, state, tmp_path):
    Path("photos").mkdir()
    Image.new("RGB", (128, 128), "red").save("photos/a.png")
    plan = ("plan", "photos", "--subject", "zwx person", "--set", "prior.source=none", "--set")
    write({**state, SCALAR: torch.ones(()), EMBEDDING: torch.ones(2, 16)}, "a.safetensors")
    code, said = run(*plan, "adapter.start=a.safetensors")
    assert code == 2 and SCALAR in said and "bundle_emb.zwx" in said
    Path("b.safetensors").write_bytes(b"junk")
    code, said = run(*plan, "adapter.start=b.safetensors")
    assert code == 2 and "b.safetensors is text, not weights" in " ".join(said.split())
