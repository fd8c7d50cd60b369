"""Every kind of subject on every base, through the command line: what the written recipe trains, and at which rate."""

import json
import shutil

import pytest

from bakehouse.adapters import inject
from bakehouse.cli.main import main
from bakehouse.models.model_facts import model_facts
from bakehouse.models.model_reference import resolve_model
from bakehouse.recipe import Recipe, make_plan, recipe_for_folder

KINDS = {
    # kind: (adapter, text encoder learns, attention alone, UNet's rate)
    "character": ("lora", True, False, 1e-4),
    "object": ("lora", True, False, 1e-4),
    "concept": ("lora", True, False, 1e-4),
    "pose": ("lora", True, True, 1e-4),
    "outfits": ("lora", True, False, 1e-4),
    "pack": ("lora", True, False, 1e-4),
    "style": ("lora", False, False, 5e-5),
    "dreambooth": ("full", True, False, 2e-6),
}
CRUMB = {
    "character": ("lora", True, True, 2e-3),
    "object": ("lora", True, True, 2e-3),
    "concept": ("lora", True, True, 2e-3),
    "pose": ("lora", True, True, 2e-3),
    "outfits": ("lora", True, True, 2e-3),
    "pack": ("lora", True, True, 2e-3),
    "style": ("lora", True, False, 2e-3),
    "dreambooth": ("full", True, False, 5e-4),
}
FOLDERS = {
    "outfits": ("red dress", "red dress + vest", "misc"),
    "pack": ("zwx person/red dress", "zwx person/misc", "qvk robot", "zwx person + qvk robot"),
}
"""Kinds whose images are sorted into folders."""


def command(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    assert ended.value.code == 0


def written(photos, *arguments):
    out = photos.parent / "recipe.toml"
    subject = () if "pack" in arguments else ("--subject", "zwx person")  # a pack's folders name its characters
    command("plan", photos, *subject, *arguments, "-o", out, "-q")
    return Recipe.load(out)


@pytest.fixture
def images_of(photos):
    """Gives the images of a kind, sorted into folders where it needs that."""

    def make(kind):
        if kind not in FOLDERS:
            return photos
        for folder in FOLDERS[kind]:
            shutil.copytree(photos, photos.parent / kind / folder)
            for image in (photos.parent / kind / folder).glob("*.png"):
                image.with_suffix(".txt").write_text(f"person, {folder.replace('/', ', ').replace(' + ', ', ')}")
        return photos.parent / kind

    return make


def put_on(recipe):
    """What of a model learns, by network: numbers that learn, all numbers, rates; and the modules."""
    parts = model_facts(resolve_model(recipe.model.base)).skeleton()
    whole = sum(p.numel() for part in parts.values() for p in part.parameters())
    adapter = inject(recipe.adapter, parts)
    groups = adapter.parameter_groups(recipe.optimizer.lr, recipe.optimizer.text_lr)
    rates = {g["name"]: g["lr"] for g in groups}
    return rates, sum(p.numel() for g in groups for p in g["params"]), whole, adapter.module_names()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["crumb", "sd1", "sd2", "sdxl"])
def test_what_a_kind_trains_on_a_base(images_of, base, kind, family):
    adapter, text, attention_alone, rate = (CRUMB if family == "crumb" else KINDS)[kind]
    recipe = written(images_of(kind), "--kind", kind, "--base", base(family))
    again = make_plan(recipe)
    assert not [w for w in again.warnings if "does nothing" in w]  # of what the plan has chosen itself
    assert again.recipe == recipe, "a recipe without open numbers is planned as it is"
    assert len(recipe.concepts) == len(FOLDERS.get(kind, ("",)))
    rates, learning, whole, modules = put_on(recipe)
    assert recipe.adapter.kind == adapter
    assert set(rates) == ({"unet", "text"} if text else {"unet"})
    assert rates["unet"] == pytest.approx(rate)
    if adapter == "full":
        assert learning == whole
    else:
        assert recipe.adapter.start is None
        assert any("ff.net" in name for name in modules) is not attention_alone


def test_an_embedding_trains_no_network(photos):
    recipe = written(photos, "--kind", "embedding")
    assert (recipe.adapter.kind, recipe.prior.source, recipe.optimizer.lr) == ("none", "none", None)
    assert recipe.embedding.lr and recipe.embedding.vectors
    assert not [w for w in make_plan(recipe).warnings if "does nothing" in w]
    beside = written(photos, "--kind", "character", "--set", "embedding.vectors=2")
    assert (beside.adapter.kind, beside.embedding.init) == ("lora", "person")
    assert beside.embedding.lr == pytest.approx(10 * beside.optimizer.lr)
    one_rate = written(photos, "--set", "embedding.vectors=2", "--set", "optimizer.name=prodigy")
    assert one_rate.embedding.lr == one_rate.optimizer.lr == 1.0


def test_every_door_leads_to_the_same_plan(photos, capsys, monkeypatch):
    monkeypatch.chdir(photos.parent)
    asked = ["--subject", "zwx person", "--kind", "dreambooth", "--json"]
    command("plan", "photos", *asked)
    planned = json.loads(capsys.readouterr().out)
    command("train", "photos", *asked, "--dry-run")
    assert json.loads(capsys.readouterr().out)["recipe"] == planned["recipe"]
    made = make_plan(recipe_for_folder("photos", "zwx person", kind="dreambooth"))
    assert made.to_json()["recipe"] == planned["recipe"]
    by_set = make_plan(recipe_for_folder("photos", "zwx person", settings={"kind": "dreambooth"}))
    assert by_set.recipe == made.recipe
    assert planned["recipe"]["adapter"]["kind"] == "full"


@pytest.mark.parametrize(
    ("arguments", "kind", "rate"),
    [
        (["--kind", "dreambooth", "--set", "adapter.text=false"], "full", 2e-6),
        (["--kind", "dreambooth", "--set", "adapter.rank=8"], "lora", 1e-4),
        (["--kind", "dreambooth", "--set", "adapter.kind=lora"], "lora", 1e-4),
        (["--kind", "dreambooth", "--set", "adapter.kind=lokr"], "lokr", 6e-5),
        (["--kind", "character", "--set", "adapter.kind=full"], "full", 2e-6),
        (["--kind", "style", "--set", "adapter.kind=full"], "full", 1e-6),
        (["--set", "kind=dreambooth"], "full", 2e-6),
    ],
    ids=str,
)
def test_a_rate_is_that_of_what_learns(photos, base, arguments, kind, rate):
    recipe = written(photos, "--base", base("sd1"), *arguments)
    assert recipe.adapter.kind == kind
    assert recipe.optimizer.lr == pytest.approx(rate)


def test_a_network_in_the_place_of_a_fine_tune_is_said(photos, base):
    recipe = recipe_for_folder(photos, "zwx person", kind="dreambooth", base=base("sd1"), settings={"adapter.rank": 4})
    assert any("trains the whole network by default" in w for w in make_plan(recipe).warnings)


def test_one_key_of_a_table_leaves_the_presets_others(photos):
    recipe = written(photos, "--set", "loss.weighting.gamma=3", "--set", "schedule.warmup=2", "--set", "sample.seed=9")
    assert recipe.loss.weighting.kind == "min_snr"
    assert recipe.loss.weighting.gamma == 3
    recipe = written(photos, "--set", "schedule.warmup=2", "--set", "optimizer.name=prodigy")
    assert recipe.schedule.kind == "annealed_cosine_with_restarts"
    assert recipe.schedule.warmup == 2
    recipe = written(photos, "--set", "schedule.warmup=2", "--set", "optimizer.name=AdamWScheduleFree")
    assert recipe.schedule.kind == "constant"


@pytest.mark.parametrize("name", ["prodigy", "AdamWScheduleFree", "adafactor", "DAdaptation", "lion"])
@pytest.mark.parametrize("settings", [{}, {"captions.shuffle": True}, {"loss.kind": "huber"}, {"adapter.text": False}])
def test_the_plan_chooses_nothing_that_does_nothing(photos, name, settings):
    given = {"optimizer.name": name, **settings}
    if name == "adafactor":
        given["optimizer.args"] = {"relative_step": True}
    made = make_plan(recipe_for_folder(photos, "zwx person", settings=given))
    assert not [w for w in (*made.warnings, *make_plan(made.recipe).warnings) if "does nothing" in w]


@pytest.mark.parametrize("kind", KINDS)
def test_finding_paths_sets_nothing(photos, images_of, kind):
    recipe = recipe_for_folder(images_of(kind), "" if kind == "pack" else "zwx person", kind=kind)
    assert set(recipe.settings()) - {"triggers"} == {"kind", "model", "concepts"}
    assert recipe.resolved_from(photos).settings() == recipe.settings()
    assert Recipe.parse({"concepts": [{"folder": "x"}]}).resolved_from(photos).settings()["concepts"] == [
        {"folder": photos / "x"}
    ]


def test_a_style_is_renamed_whole(photos):
    recipe = written(photos, "--kind", "style")
    assert recipe.concepts[0].trigger == "zwx person"
    out = photos.parent / "recipe.toml"
    command("plan", out, "--subject", "in hzn style", "-o", out, "-q")
    concept = Recipe.load(out).concepts[0]
    assert (concept.subject, concept.trigger_word, concept.class_name) == ("in hzn style", "in hzn style", "")
    assert written(photos, "--set", "kind=style").concepts[0].trigger == "zwx person"
