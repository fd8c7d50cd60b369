"""Derived numbers and their reasons, and what is refused."""

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from bakehouse.adapters.lr_relative_to_lora import MULTIPLIERS, SHORT_RUN_MULTIPLIERS, LoRAMultipliers
from bakehouse.cli.main import main
from bakehouse.core.errors import Problems, UsageError
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.recipe import Recipe, make_plan, plan_to_toml, recipe_for_folder, recipe_to_toml
from bakehouse.recipe.class_image_list import without_trigger
from bakehouse.recipe.presets import load_preset
from bakehouse.recipe.recipe import ConceptSpec
from bakehouse.recipe.words_in_captions import mostly_not_first


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(12):
        Image.new("RGB", (96, 96), (i * 20, 0, 0)).save(tmp_path / "photos" / f"{i}.png")
        (tmp_path / "photos" / f"{i}.txt").write_text(f"zwx person, place {i}")
    return tmp_path / "photos"


def records(n, concept=0, caption="zwx person, smiling", size=(512, 512)):
    return tuple(ImageRecord(Path(f"{concept}-{i}.png"), *size, "0", (caption,), concept=concept) for i in range(n))


def plan(n=20, kind="character", *, base="sd1", tmp_path, concepts=1, **settings):
    """A plan over made-up images; the model is an SD 1.5 folder of which only the settings are there."""
    subjects = ["zwx person", "qvk person", "hzn person"][:concepts]
    values = {
        "kind": kind,
        "model": {"base": base if base == "crumb" else str(sd15(tmp_path))},
        "concepts": [{"folder": str(tmp_path), "subject": s} for s in subjects],
    }
    recipe = Recipe.parse(values).with_values({k.replace("__", "."): v for k, v in settings.items()})
    counts = n if isinstance(n, list) else [n]
    images = ImageSet(tuple(r for i, count in enumerate(counts) for r in records(count, i, f"{subjects[i]}, smiling")))
    return make_plan(recipe, images)


def sd15(tmp_path):
    folder = tmp_path / "sd15"
    for name, text in {
        "model_index.json": '{"_class_name": "StableDiffusionPipeline"}',
        "unet/config.json": '{"sample_size": 64, "cross_attention_dim": 768}',
        "vae/config.json": '{"block_out_channels": [1, 2, 3, 4]}',
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def decided(made):
    return {d.key: d.value for d in made.decisions}


def test_every_number_has_a_reason_and_nothing_is_left_open(tmp_path):
    made = plan(tmp_path=tmp_path)
    assert all(len(d.reason) > 5 for d in made.decisions)
    recipe = made.recipe
    assert None not in (recipe.train.epochs, recipe.train.batch, recipe.optimizer.lr, recipe.prior.source)
    assert recipe.concepts[0].repeats is not None
    assert recipe.buckets.resolution == 512


def test_planning_the_plan_changes_nothing(tmp_path):
    made = plan(tmp_path=tmp_path)
    again = make_plan(made.recipe, ImageSet(records(20)))
    assert again.recipe == made.recipe
    assert (again.steps, again.epochs) == (made.steps, made.epochs)


@pytest.mark.parametrize(
    ("settings", "per_epoch"),
    [
        ({"optimizer__name": "prodigy"}, 300),
        ({}, 600),
        ({"optimizer__name": "prodigy", "loss__weighting__kind": "min_snr"}, 180),
        ({"optimizer__name": "prodigy", "noise__ip_gamma": 0.1}, 180),
    ],
)
def test_shows_an_epoch(tmp_path, settings, per_epoch):
    made = plan(20, tmp_path=tmp_path, **settings)
    assert 20 * decided(made)["concepts.0.repeats"] == per_epoch
    assert made.epochs == 8


@pytest.mark.parametrize(("optimizer", "low", "high"), [("prodigy", 2000, 3000), ("adamw", 4000, 6000)])
def test_the_whole_budget(tmp_path, optimizer, low, high):
    for n in (8, 15, 40, 90):
        made = plan(n, tmp_path=tmp_path, optimizer__name=optimizer)
        shown = made.epochs * sum(i.repeats for i in made.subject_images)
        assert low <= shown <= high, n


def test_the_cap_holds_with_many_images(tmp_path):
    made = plan(2000, tmp_path=tmp_path, optimizer__name="prodigy")
    assert made.epochs * 2000 <= 3000


def test_siblings_are_balanced(tmp_path):
    for counts in [(40, 20, 10), (100, 50, 10), (70, 33, 21), (8, 9, 160)]:
        made = plan(list(counts), concepts=3, tmp_path=tmp_path, optimizer__name="prodigy")
        shows = [n * decided(made)[f"concepts.{i}.repeats"] for i, n in enumerate(counts)]
        assert max(shows) <= 1.15 * min(shows)


def test_dreambooth_counts_per_image(tmp_path):
    for n, shown in [(6, 700), (12, 1200), (40, 2000)]:
        made = plan(n, "dreambooth", tmp_path=tmp_path)
        assert made.recipe.adapter.kind == "full"
        total = made.epochs * sum(i.repeats for i in made.subject_images)
        assert 0.85 * shown <= total <= 2000
        assert made.recipe.prior.source == "class"
        assert {c.prompt for c in made.class_images} == {"person"}
        assert len(made.class_images) == 200


def test_style_is_slow_and_even(tmp_path):
    made = plan(160, "style", tmp_path=tmp_path)
    assert decided(made)["concepts.0.repeats"] == 1
    assert 1e-5 <= made.recipe.optimizer.lr <= 5e-5
    assert made.epochs >= 20


def test_known_pose(tmp_path):
    made = plan(40, "pose", tmp_path=tmp_path)
    assert (made.recipe.adapter.rank, made.recipe.adapter.alpha) == (1, 1)
    assert decided(made)["concepts.0.repeats"] == 1


def test_alpha_follows_the_rank(tmp_path):
    assert plan(tmp_path=tmp_path, adapter__rank=64).recipe.adapter.alpha == 32
    assert plan(tmp_path=tmp_path, adapter__rank=64, adapter__alpha=1).recipe.adapter.alpha == 1


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "dylora", "glora", "oft", "boft", "ia3", "diff"])
def test_every_kind_gets_the_sizes_that_mean_something_to_it(tmp_path, kind):
    adapter = {"kind": kind}
    preset = load_preset("character", "crumb")
    made = plan(base="crumb", tmp_path=tmp_path, adapter=adapter)
    for name, usual in preset.sizes():
        settable = name in made.recipe.adapter.settable
        assert decided(made).get(f"adapter.{name}") == (usual if settable else None)
    assert ("adapter.targets" in decided(made)) == (kind != "ia3")
    assert plan(base="crumb", tmp_path=tmp_path, adapter=made.recipe.adapter.model_dump()).recipe == made.recipe


@pytest.mark.parametrize("given", [{"kind": "lokr", "full_matrix": True}, {"kind": "oft", "block_count": 4}])
def test_a_size_without_meaning_is_not_decided(tmp_path, given):
    made = plan(base="crumb", tmp_path=tmp_path, adapter=given)
    assert not {"adapter.rank", "adapter.alpha", "adapter.block_size"} & set(decided(made))


def test_kinds_learn_at_their_own_pace(tmp_path):
    def rates(base, **adapter):
        made = plan(base=base, tmp_path=tmp_path, adapter=adapter).recipe
        return made.optimizer.lr, made.optimizer.text_lr

    for base, multipliers in (("sd1", MULTIPLIERS), ("crumb", SHORT_RUN_MULTIPLIERS)):
        for kind in ("loha", "lokr", "ia3", "oft", "diff"):
            factors = multipliers.get(kind, LoRAMultipliers())
            assert rates(base, kind=kind) == pytest.approx([factors.lr * r for r in rates(base, kind="lora")])
    faster = SHORT_RUN_MULTIPLIERS["lora_fa"].lr
    assert rates("crumb", kind="lora", lora_fa=True)[0] == pytest.approx(faster * rates("crumb", kind="lora")[0])
    assert rates("sd1", kind="lora", lora_fa=True) == rates("sd1", kind="lora")


@pytest.mark.parametrize("name", ["adamw", "lion", "prodigy"])
def test_a_given_rate_sets_the_pace_of_the_words_too(tmp_path, name):
    usual, given = (
        plan(base="crumb", tmp_path=tmp_path, optimizer__name=name, **more).recipe.optimizer
        for more in ({}, {"optimizer__lr": 3e-4})
    )
    assert given.lr == 3e-4
    assert given.text_lr / given.lr == pytest.approx(usual.text_lr / usual.lr)


def test_prodigy_as_the_field_uses_it(tmp_path):
    made = plan(tmp_path=tmp_path, optimizer__name="prodigy")
    assert made.recipe.optimizer.lr == made.recipe.optimizer.text_lr == 1.0
    assert made.recipe.schedule.kind == "annealed_cosine_with_restarts"


def test_where_there_is_no_time_to_find_a_rate_it_begins_at_the_usual_one(tmp_path):
    fixed, found = (plan(base="crumb", tmp_path=tmp_path, optimizer__name=n) for n in ("adamw", "prodigy"))
    assert found.recipe.optimizer.args == {"d0": max(fixed.recipe.optimizer.lr, fixed.recipe.optimizer.text_lr)}
    assert found.steps == fixed.steps
    lokr = plan(base="crumb", tmp_path=tmp_path, optimizer__name="prodigy", adapter={"kind": "lokr"})
    times = SHORT_RUN_MULTIPLIERS["lokr"].initial_lr
    assert lokr.recipe.optimizer.args == {"d0": pytest.approx(times * found.recipe.optimizer.args["d0"])}
    own = plan(base="crumb", tmp_path=tmp_path, optimizer__name="prodigy", optimizer__args={"d0": 1e-5})
    assert own.recipe.optimizer.args == {"d0": 1e-5}
    assert not plan(tmp_path=tmp_path, optimizer__name="prodigy").recipe.optimizer.args


def test_steps_decide_the_epochs(tmp_path):
    made = plan(20, tmp_path=tmp_path, train__steps=10, train__batch=4)
    assert made.steps == 10


def test_partial_batches_are_counted_and_said(tmp_path):
    values = {
        "model": {"base": "crumb"},
        "concepts": [{"folder": str(tmp_path), "subject": "zwx person", "repeats": 1}],
    }
    recipe = Recipe.parse(values).with_values({"train.batch": 4, "prior.source": "none"})
    images = ImageSet(records(5) + records(1, size=(512, 900)))
    made = make_plan(recipe, images)
    assert made.steps_per_epoch == 3
    assert any("fewer images than the batch" in w for w in made.warnings)


def test_a_trigger_that_is_not_in_the_subject_is_what_captions_get(folder):
    for path in folder.glob("*.txt"):
        path.write_text("person, smiling")
    recipe = recipe_for_folder(folder, "person").with_values({"concepts.0.trigger": "qvk"})
    assert make_plan(recipe).recipe.captions.prefix == "qvk person,"


def test_captions_without_the_trigger_get_it(folder):
    for path in folder.glob("*.txt"):
        path.write_text("person, smiling")
    made = make_plan(recipe_for_folder(folder, "zwx person"))
    assert made.recipe.captions.prefix == "zwx person,"
    one = next(folder.glob("*.txt"))
    one.write_text("zwx person, smiling")
    made = make_plan(recipe_for_folder(folder, "zwx person"))
    assert made.recipe.captions.prefix == ""
    assert any("without the trigger 'zwx'" in w for w in made.warnings)


def test_class_images_of_a_style_are_made_of_what_its_captions_say_beside_it(folder):
    def prior():
        return make_plan(recipe_for_folder(folder, "in hzn style", kind="style")).recipe.prior.source

    for i, path in enumerate(sorted(folder.glob("*.txt"))):
        path.write_text(f"in hzn style, person, place {i}")
    assert prior() == "captions"
    path.write_text("in hzn style")
    assert prior() == "none", "nothing is left of a caption to make a picture of"
    path.unlink()
    assert prior() == "none"


def test_a_style_behind_its_content_is_warned_of_and_the_named_command_mends_it(folder):
    def warned(kind):
        made = make_plan(recipe_for_folder(folder, "in hzn style", kind=kind))
        return [w for w in made.warnings if "left to right" in w]

    for i, path in enumerate(sorted(folder.glob("*.txt"))):
        path.write_text(f"person, place {i}, in hzn style")
    (warning,) = warned("style")
    assert not warned("character")
    with pytest.raises(SystemExit) as end:
        main(shlex.split(warning.partition("bakehouse ")[2]))
    assert not end.value.code
    assert next(folder.glob("*.txt")).read_text().startswith("in hzn style, person, place")
    assert not warned("style")


def test_where_a_phrase_stands_in_most_captions():
    front, behind = (
        ["in hzn style, person", "in hzn style ||| robot"],
        ["person, in hzn style", "person||| in hzn style"],
    )
    assert mostly_not_first([*behind, front[0]], "in hzn style")
    assert mostly_not_first(["person, in hzn style, at the beach"], "in hzn style")
    assert not mostly_not_first(front + behind, "in hzn style")
    assert not mostly_not_first([], "in hzn style")


def test_few_images_are_warned_about(tmp_path):
    assert any("needs at least 8" in w for w in plan(3, tmp_path=tmp_path).warnings)


def test_the_file_says_why_and_reads_back_the_same(folder, tmp_path):
    made = make_plan(recipe_for_folder(folder, "zwx person"))
    path = tmp_path / "me.toml"
    path.write_text(plan_to_toml(made, beside=tmp_path))
    text = path.read_text()
    assert 'folder = "photos"' in text
    assert "# " in text
    assert Recipe.load(path) == made.recipe
    bare = tmp_path / "bare.toml"
    bare.write_text(recipe_to_toml(made.recipe))
    assert Recipe.load(bare) == made.recipe


def test_everything_impossible_is_said_at_once(folder, tmp_path):
    reg = tmp_path / "reg"
    reg.mkdir()
    Image.new("RGB", (64, 64)).save(reg / "a.png")
    (reg / "a.txt").write_text("zwx person")
    recipe = recipe_for_folder(
        folder,
        "zwx person",
        settings={
            "prior.folder": str(reg),
            "adapter.unet": False,
            "adapter.text": False,
            "noise.zero_terminal_snr": True,
            "sample.prompts": ["a cat --q 3"],
        },
    )
    with pytest.raises(Problems) as e:
        make_plan(recipe)
    text = str(e.value)
    for part in ["the trigger 'zwx'", "nothing would be trained", "zero_terminal_snr", "unknown option --q"]:
        assert part in text
    assert e.value.exit_code == 2


def test_no_images_no_plan(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty"):
        make_plan(recipe_for_folder(tmp_path / "empty", "zwx person"))


def test_two_concepts_need_two_words(tmp_path):
    with pytest.raises(Problems, match="'zwx' is used by several"):
        plan([5, 5], concepts=2, tmp_path=tmp_path, concepts__1__subject="zwx dog")


def test_images_without_caption_need_a_subject(tmp_path):
    recipe = Recipe.parse({"concepts": [{"folder": str(tmp_path)}]})
    with pytest.raises(Problems, match="no subject to use instead"):
        make_plan(recipe, ImageSet((ImageRecord(Path("a.png"), 64, 64, "0"),)))


@pytest.mark.parametrize(
    ("caption", "bare"),
    [
        ("zwx person, winking", "person, winking"),
        ("a photo of ZWX person at the beach", "a photo of person at the beach"),
        ("zwx, winking", "person, winking"),
        ("winking, zwxy", "person, winking, zwxy"),
    ],
)
def test_class_prompts_are_captions_without_the_trigger(caption, bare):
    assert without_trigger(caption, ConceptSpec(folder=Path("x"), subject="zwx person")) == bare


def test_kohya_folders_and_class_images(tmp_path):
    for name in ("img/3_zwx person", "img/2_qvk dog", "reg/1_person"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / name / "a.png")
    recipe = recipe_for_folder(tmp_path)
    assert [(c.subject, c.repeats) for c in recipe.concepts] == [("qvk dog", 2), ("zwx person", 3)]
    assert recipe.prior.source == "folder"
    with pytest.raises(UsageError, match="contains 2"):
        recipe_for_folder(tmp_path, "me")


def test_settings_of_another_trainer_are_told_from_a_recipe(tmp_path):
    (tmp_path / "set.toml").write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "me"\n')
    with pytest.raises(Problems, match=r"become a recipe with: bakehouse import .*set\.toml"):
        Recipe.load(tmp_path / "set.toml")


def class_images(root, *, captioned):
    """Two subjects, each with a folder of class images; returns the file that lists them."""
    names = {"zwx person": "person", "qvk dog": "dog"}
    for name in ("me", "it", "reg/person", "reg/dog"):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(root / name / "a.png")
        if captioned:
            (root / name / "a.txt").write_text(f"a picture of {name}")
    listed = [
        {"instance_prompt": prompt, "class_prompt": kind, "instance_data_dir": own, "class_data_dir": f"reg/{kind}"}
        for (prompt, kind), own in zip(names.items(), ("me", "it"), strict=True)
    ]
    (root / "concepts.json").write_text(json.dumps(listed))
    return root / "concepts.json"


def test_class_images_of_several_folders_are_all_used(tmp_path):
    source = class_images(tmp_path, captioned=True)
    plan = make_plan(recipe_for_folder(source))
    assert sorted(i.record.captions for i in plan.images if i.prior) == [
        ("a picture of reg/dog",),
        ("a picture of reg/person",),
    ]


def test_class_images_that_cannot_be_used_together_are_refused(tmp_path):
    source = class_images(tmp_path, captioned=False)
    with pytest.raises(UsageError, match=r"of several classes: .*person.*dog"):
        recipe_for_folder(source)
    Image.new("RGB", (64, 64)).save(tmp_path / "reg" / "other.png")
    with pytest.raises(UsageError, match=r"in 2 folders, but a recipe has one: .*person.*dog"):
        recipe_for_folder(source)


def test_dreambooth_concepts_list(tmp_path):
    (tmp_path / "me").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "me" / "a.png")
    (tmp_path / "concepts_list.json").write_text(
        '[{"instance_prompt": "photo of zwx dog", "class_prompt": "photo of a dog", "instance_data_dir": "me"}]'
    )
    recipe = recipe_for_folder(tmp_path, kind="dreambooth")
    assert recipe.concepts[0].subject == "photo of zwx dog"
    assert (recipe.prior.source, recipe.prior.prompt) == ("class", "photo of a dog")


def test_metadata_captions_are_used(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "zwx person, waving"}\n')
    made = make_plan(recipe_for_folder(tmp_path, "zwx person"))
    assert made.subject_images[0].record.captions == ("zwx person, waving",)


def test_class_images_without_captions_share_the_class_prompt_and_several_classes_are_warned_of(photos):
    reg = photos.parent / "reg"
    reg.mkdir()
    Image.new("RGB", (64, 64)).save(reg / "0.png")

    def said(*subjects, **more):
        values = {
            "concepts": [{"folder": str(photos), "subject": s} for s in subjects],
            "prior": {"source": "folder", "folder": str(reg), **more},
        }
        return [w for w in make_plan(Recipe.parse(values)).warnings if "class image" in w]

    assert not said("zwx person")
    assert not said("zwx person", "qvk person")
    (warned,) = said("zwx person", "qvk dog")
    assert (
        "1 of 1 class image without a caption: they are trained with 'person', the first concept's class word" in warned
    )
    assert not said("zwx person", "qvk dog", prompt="a photo")
    (warned,) = said("zwx")
    assert "an empty prompt" in warned


def test_a_file_of_triggers_that_a_training_does_not_read_is_said(photos):
    (photos / "triggers.toml").write_text('[[triggers]]\nword = "zwx"\n')

    def said():
        return [w for w in make_plan(recipe_for_folder(photos, "zwx person")).warnings if "triggers.toml" in w]

    assert f"bakehouse captions compile {photos}" in said()[0]
    next(photos.glob("*.png")).with_suffix(".tags").write_text("zwx")
    assert not said()
