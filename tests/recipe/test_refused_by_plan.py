"""What training would refuse late, the plan refuses: told by settings, headers and the machine, before any work."""

import pytest
import torch

from bakehouse.adapters import LoRA, inject, save_adapter
from bakehouse.adapters.inject import adapted_module_facts
from bakehouse.cli.main import main
from bakehouse.models.model_facts import model_facts, why_no_vae
from bakehouse.models.model_reference import resolve_model
from bakehouse.recipe import Recipe, make_plan, recipe_for_folder
from tests.adapters.conftest import SPECS

CPU = pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU says")
V = {"prediction_type": "v_prediction"}

CASES = {
    "a v loss on a v model": ("sd2", ["loss.weighting.v_pred_like=0.5"], "v_pred_like = 0.5 adds a v-prediction loss"),
    "zero SNR on an epsilon model": ("sd1", ["noise.zero_terminal_snr=true"], "needs a v-prediction model"),
    "layers": ("sd1", ["model.clip_skip=4"], "model.clip_skip = 4: allowed are 1 (the last layer) to 3"),
    "layers of the shorter encoder": ("sdxl", ["model.clip_skip=4"], "allowed are 1 (the last layer) to 3"),
    "one rate, the other left out": (
        "sd1", ["optimizer.name=prodigy", "optimizer.text_lr=0.5"], "text_lr = 0.5 differs from optimizer.lr = 1"),
    "one rate, the other 0": (
        "sd1", ["optimizer.name=prodigy", "optimizer.lr=1", "optimizer.text_lr=0"], "text_lr = 0 differs from"),
    "no module": ("sd1", ["adapter.include=['*nothing*']"], "leave none of the"),
    "no module left": ("sdxl", ["adapter.exclude=['*']"], "leave none of the"),
    "no rank": ("sd1", ["adapter.dims={'*' = 0}"], "adapter.dims and adapter.blocks leave out all"),
    "blocks": ("sd1", ["adapter.blocks.dims=[1, 2]"], "adapter.blocks.dims has 2 numbers, this model takes 25"),
    "outputs": ("sd1", ["adapter.kind=oft", "adapter.block_count=7"], "7 blocks do not fill evenly"),
    "an optimizer's own word": ("sd1", ["optimizer.args={betas = [2, 3]}"], "AdamW says: Invalid beta parameter"),
    "no such device": ("sd1", ["train.device=cuda:9"], "is not on this machine: available are auto"),
    "no such sampler": ("sd1", ["prior.sampler=dpm"], "prior.sampler: sampler = 'dpm': unknown"),
    "a sample's sampler": ("sd1", ["sample.prompts=['a --ss foo']"], "sampler = 'foo': unknown"),
    "no such VAE": ("sd1", ["model.vae=/nowhere"], "model.vae = '/nowhere': no such file or folder"),
    "no holdout": ("sd1", ["evaluate.holdout=/nowhere"], "evaluate.holdout = '/nowhere': the folder does not exist"),
    "a warm-up that is the run": ("sd1", ["schedule.warmup=9999"], "schedule.warmup = 9999 is 9,999 steps"),
}  # fmt: skip
ON_A_CPU = {
    "half precision": ("sd1", ["train.precision=fp16"], "train.precision = 'fp16' needs a GPU"),
    "a kernel": ("sd1", ["train.attention=xformers"], "train.attention = 'xformers' needs a CUDA device"),
}


@pytest.fixture
def refused(photos, base, capsys, monkeypatch):
    """A case through both commands, which say the same and do nothing."""

    def run(family, settings, words):
        monkeypatch.chdir(photos.parent)
        model = base(family, scheduler=V if family == "sd2" else None)
        changes = [part for setting in settings for part in ("--set", setting)]
        said = []
        for command in ("plan", "train"):
            with pytest.raises(SystemExit) as ended:
                main([command, "photos", "--subject", "zwx person", "--base", model, *changes])
            assert ended.value.code == 2
            said.append(capsys.readouterr().err.partition("error: ")[2])
        assert " ".join(words.split()) in " ".join(said[0].split())
        assert said[0] == said[1]
        assert "bug in bakehouse" not in said[0]
        assert not (photos.parent / "runs").exists()

    return run


@pytest.mark.parametrize("case", CASES)
def test_the_plan_refuses_what_training_would(refused, case):
    refused(*CASES[case])


@CPU
@pytest.mark.parametrize("case", ON_A_CPU)
def test_the_plan_refuses_what_a_cpu_cannot(refused, case):
    refused(*ON_A_CPU[case])


def test_a_file_to_go_on_from_has_to_fit(refused, photos, base):
    parts = model_facts(resolve_model(base("sd1"))).skeleton()
    narrow = {name: part.to_empty(device="cpu") for name, part in parts.items()}
    for part in narrow.values():
        for parameter in part.parameters():
            torch.nn.init.zeros_(parameter)
    file = save_adapter(inject(LoRA(rank=2, alpha=2), narrow), photos.parent / "first.safetensors", {})
    refused("sd1", [f"adapter.start={file}", "adapter.rank=8"], "adapter.rank = 8, but")
    refused("sd1", [f"adapter.start={file}", "adapter.kind=lokr"], "is LoRA, but adapter.kind is 'lokr'")
    settings = {"adapter.start": str(file)}
    made = make_plan(recipe_for_folder(photos, "zwx person", base=base("sd1"), settings=settings))
    assert made.recipe.adapter.text is False  # the file has no text encoder


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_asking_about_networks_leaves_them_as_they_were(base, spec):
    """They are built once for all plans on a base."""
    facts = model_facts(resolve_model(base("sd1")))

    def seen(parts):
        modules = {(prefix, name): m for prefix, part in parts.items() for name, m in part.named_modules()}
        hooks = {at: ("forward" in vars(m), len(m._forward_hooks), m.training) for at, m in modules.items()}
        parameters = {
            (*at, name): (p.shape, p.requires_grad)
            for at, m in modules.items()
            for name, p in m.named_parameters(recurse=False)
        }
        return {at: type(m) for at, m in modules.items()}, hooks, parameters

    adapted_module_facts(spec, facts.shared_skeleton())
    assert seen(facts.shared_skeleton()) == seen(facts.skeleton())
    assert model_facts(resolve_model(base("sd1"))).shared_skeleton() is facts.shared_skeleton()


def test_what_a_model_is_comes_from_its_settings(base):
    for family, layers in (("sd1", 3), ("sd2", 3), ("sdxl", 3)):
        facts = model_facts(resolve_model(base(family, scheduler=V)))
        assert (facts.family, facts.text_layers, facts.schedule.prediction) == (family, layers, "v_prediction")
        assert set(facts.skeleton()) == (
            {"lora_unet", "lora_te1", "lora_te2"} if family == "sdxl" else {"lora_unet", "lora_te"}
        )
    assert model_facts(resolve_model("crumb")).schedule.prediction == "epsilon"
    assert model_facts(resolve_model(base("sd1")), "v_prediction").schedule.prediction == "v_prediction"


def test_paths_of_a_recipe_are_its_own_folders(photos, base):
    (photos.parent / "vae").mkdir()
    (photos.parent / "vae" / "config.json").write_text("{}")
    (photos.parent / "me.toml").write_text(
        f'[model]\nbase = "{base("sd1")}"\nvae = "vae"\n[[concepts]]\nfolder = "photos"\nsubject = "zwx person"\n'
    )
    recipe = Recipe.load(photos.parent / "me.toml")
    assert recipe.model.vae == str(photos.parent / "vae")
    assert why_no_vae(recipe.model.vae) == ""
    assert "no config.json" in why_no_vae(str(photos))


def test_sdxl_reads_the_last_layer_but_one_in_any_case(photos, base):
    said = make_plan(
        recipe_for_folder(photos, "zwx person", base=base("sdxl"), settings={"model.clip_skip": 2})
    ).warnings
    assert "model.clip_skip = 2 does nothing with model.family = 'sdxl'" in said


# --- numbers and names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        "optimizer.lr=inf", "optimizer.lr=nan", "optimizer.lr=1e400", "adapter.alpha=inf", "adapter.max_norm=nan",
        "adapter.blocks.alphas=[inf]", "noise.offset=nan", "noise.offset_adaptive=-inf", "prior.weight=nan",
        "loss.huber_c=inf", "loss.weighting.gamma=inf", "schedule.pieces=[[0.5, nan]]", "schedule.warmup=inf",
        "schedule.power=inf", "save.state_every_seconds=inf", "train.ema=nan", "train.max_grad_norm=inf",
        "evaluate.weights=[nan]", "data.augment.zoom=nan", "optimizer.args={betas = [inf, 0.9]}",
        "optimizer.args={eps = nan}", "sample.guidance=inf",
    ],
)  # fmt: skip
def test_every_number_is_finite(photos, capsys, setting):
    key = setting.partition("=")[0].removesuffix(".s")
    said = complaint(photos, setting, capsys)
    assert "finite number" in said
    assert key.partition(".")[0] in said


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "seed=100000000000000000000000",
            "seed = 100000000000000000000000: should be less than or equal to 4294967295",
        ),
        ("seed=-1", "seed = -1: should be greater than or equal to 0"),
        ("sample.seed=4294967296", "sample.seed = 4294967296"),
        ("evaluate.seed=-1", "evaluate.seed = -1"),
        ("adapter.rank=1000000000", "adapter.rank = 1000000000"),
        ("adapter.alpha=1e300", "adapter.alpha = 1e+300"),
        ("concepts.0.repeats=1000000000", "concepts.0.repeats = 1000000000"),
        ("train.epochs=100000000000000000000", "train.epochs"),
        ("train.batch=100000000", "train.batch = 100000000"),
        ("prior.images=100000000", "prior.images = 100000000"),
        ("evaluate.images=100000000", "evaluate.images = 100000000"),
        ('name="../../evil"', "'../../evil' cannot name a file: it holds '/'"),
        ('name="a:b"', "it holds ':'"),
        ('name="NUL"', "Windows reserves this name for a device"),
        ('name="con.v1"', "Windows reserves this name for a device"),
        ('name="a."', "ends with a dot"),
        ('name=".hidden"', "begins with a dot"),
        (f'name="{"x" * 300}"', "longer than 100 bytes"),
    ],
)
def test_absurd_values_are_refused(photos, capsys, setting, words):
    assert words in complaint(photos, setting, capsys)


def complaint(folder, setting, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(folder), "--subject", "zwx person", "--set", setting])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("subject", "title"),
    [("con", "subject-con"), ("zwx person", "zwx-person"), ("图" * 99, "图" * 33), ("///", "subject")],
)
def test_a_title_is_a_file_name_everywhere(photos, subject, title):
    assert Recipe.parse({"concepts": [{"folder": str(photos), "subject": subject}]}).title == title
