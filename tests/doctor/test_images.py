"""Each problem of the images is made on purpose in the world of squares, evaluated, and named."""

from __future__ import annotations

import dataclasses
import random
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bakehouse.core.errors import UsageError
from bakehouse.core.events import result_of
from bakehouse.data.image_records import ImageRecord
from bakehouse.doctor import Facts, Report, run_checks
from bakehouse.doctor.facts import RunFacts
from bakehouse.doctor.image_facts import look_at_images, read_evaluation, relative_sharpness
from bakehouse.doctor.run_or_files import RunOrFiles
from bakehouse.evaluation import evaluate
from bakehouse.evaluation.trigger_groups import (
    measure,
    saved_trigger_scores,
    score_triggers,
    trigger_groups,
)
from bakehouse.recipe import Recipe
from bakehouse.vision.faces import Face
from tests.doctor.conftest import found, look
from tests.evaluation.conftest import COLORS, SquareGenerator, SquareScorer, make_run, square


class SmearedFaces(SquareScorer):
    """Sees a smeared face wherever a hat is red; the photos and the base have none."""

    def broken(self, images):
        return np.asarray([shown["hat"] == "red" for shown in self.attributes(images)])


def examine_images(tmp_path, text: str, *, scorer=None, detector=None, images: int = 24) -> Report:
    """Evaluate a run whose weights are `text` (learned, leak, lost), and run the checks of its images."""
    run = make_run(tmp_path, [text], images=images)
    scorer = scorer or SquareScorer()
    result_of(evaluate(run, scorer=scorer, generator=SquareGenerator(), changes={"weights": [1.0]}))
    facts, missing = look_at_images(read_evaluation(run), scorer, detector)
    return run_checks(facts_of(run, evaluation=facts, missing=missing), RunOrFiles(run=run))


def facts_of(run, **more) -> Facts:
    recipe = Recipe.load(run.recipe).with_values({"optimizer.lr": 1e-3, "train.epochs": 4})
    of_run = RunFacts(str(run.folder), recipe, started=True, finished=True, planned_steps=40, steps=(), failed=None)
    return Facts(run=of_run, **more)


def of(report: Report, *ids: str) -> dict[str, str]:
    return {f.id: f.result for f in report.findings if f.id in ids}


def only(report: Report, check: str):
    (finding,) = [f for f in report.findings if f.id == check]
    return finding


IMAGES = ("D01", "D02", "D03", "D04", "D05")


def test_a_good_run_is_called_healthy_with_its_figures(tmp_path):
    report = examine_images(tmp_path, "1 0 0")
    assert of(report, *IMAGES) == dict.fromkeys(IMAGES, "healthy")
    assert "subject fidelity 100 % (100 to 100), learned from 50 %" in only(report, "D02").why
    assert "moved 0 points towards the subject" in only(report, "D04").why
    assert "face detector" in report.skipped["D06"]


def test_nothing_changes(tmp_path):
    report = examine_images(tmp_path, "0 0 0")
    finding = only(report, "D01")
    assert finding.result == "error"
    assert finding.why.startswith("with the trigger, images move 0 % (0 to 0) of the way from the class to the subject")
    assert finding.fix == f"bakehouse find-rate {tmp_path}/run/recipe.toml"


def test_undertrained(tmp_path):
    report = examine_images(tmp_path, "0.3 0 0")
    assert of(report, "D01", "D02", "D03", "D04") == {
        "D01": "healthy", "D02": "error", "D03": "healthy", "D04": "healthy",
    }  # fmt: skip
    assert "--set train.epochs=8" in only(report, "D02").fix


def test_burnt(tmp_path):
    report = examine_images(tmp_path, "1 0 0.9")
    finding = only(report, "D03")
    assert finding.result == "error" and "of the base's prompt accuracy" in finding.why
    assert "--set optimizer.lr=0.0005" in finding.fix
    assert of(report, "D01", "D02") == {"D01": "healthy", "D02": "healthy"}


def test_a_burnt_run_with_a_gentler_checkpoint_names_it(tmp_path):
    run = make_run(tmp_path, ["0.9 0 0", "1 0 0.9"])
    scorer = SquareScorer()
    result_of(evaluate(run, scorer=scorer, generator=SquareGenerator(), changes={"weights": [1.0]}))
    facts = read_evaluation(run)
    burnt = next(c for c in facts.report.cells if c.epoch == 2)
    report = run_checks(facts_of(run, evaluation=dataclasses.replace(facts, shown=burnt)), RunOrFiles(run=run))
    gentler = f"{run.folder}/weights/zwx-person-000001.safetensors"
    assert only(report, "D03").fix == f"bakehouse generate {gentler} 'zwx person' --weight 1"


def test_the_class_word_became_the_subject(tmp_path):
    report = examine_images(tmp_path, "1 0.6 0")
    finding = only(report, "D04")
    assert finding.result == "error"
    assert "points towards the subject" in finding.why and "points more often" in finding.why
    assert finding.fix.endswith("--set prior.source=class")


def test_a_style_leak(tmp_path):
    report = examine_images(tmp_path, "1 0.9 0", images=48)
    finding = only(report, "D05")
    assert finding.result == "warning"
    assert finding.why.startswith("images of other subjects moved by ")


def test_smeared_faces_by_the_scorer(tmp_path):
    class Smearing(SquareGenerator):
        def generate(self, variant, prompts, settings):
            for image, prompt in zip(super().generate(variant, prompts, settings), prompts, strict=True):
                if variant.weights and prompt.series == "subject" and prompt.seed % 2:
                    image.paste(COLORS["red"], (8, 8, 24, 16))
                yield image

    run, scorer = make_run(tmp_path, ["1 0 0"]), SmearedFaces()
    result_of(evaluate(run, scorer=scorer, generator=Smearing(), changes={"weights": [1.0]}))
    facts, _ = look_at_images(read_evaluation(run), scorer, None)
    report = run_checks(facts_of(run, evaluation=facts), RunOrFiles(run=run))
    finding = only(report, "D06")
    assert finding.result == "warning" and finding.why.startswith("smeared faces in 50 % ")
    healthy = examine_images(tmp_path / "healthy", "1 0 0", scorer=SmearedFaces())
    assert found(healthy, "D06") == {"D06 smeared": "healthy"}


def noise(blur: float, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur))


def test_the_sharpness_of_faces_is_compared_with_photos_and_base():
    def middle(image):
        return [Face((24.0, 24.0, 72.0, 72.0), 0.9)]

    sharp, soft = ([noise(blur, seed) for seed in range(8)] for blur in (0.5, 3.0))
    same = relative_sharpness(sharp, sharp, sharp, middle)
    assert same.value == pytest.approx(1.0)
    assert relative_sharpness(soft, sharp, sharp, middle).high < 0.5
    # A base, or photos, with soft faces: the subject's are as soft.
    assert relative_sharpness(soft, soft, sharp, middle).value == pytest.approx(1.0)
    assert relative_sharpness(soft, sharp, soft, middle).value == pytest.approx(1.0)
    assert relative_sharpness(sharp, sharp, sharp, lambda image: []) is None


def test_faces_softer_than_in_the_photos_are_named(tmp_path):
    from bakehouse.doctor.facts import FaceFacts
    from bakehouse.evaluation.metrics import Interval

    run = make_run(tmp_path, ["1 0 0"])
    result_of(evaluate(run, scorer=SquareScorer(), generator=SquareGenerator(), changes={"weights": [1.0]}))
    evaluation = read_evaluation(run)
    results = {}
    for name, high in (("soft", 0.4), ("open", 0.6), ("sharp", 1.1)):
        low = 0.9 if name == "sharp" else 0.2
        faces = FaceFacts(None, None, Interval((low + high) / 2, low, high, 24))
        facts = facts_of(run, evaluation=dataclasses.replace(evaluation, faces=faces))
        results[name] = only(run_checks(facts, RunOrFiles(run=run)), "D06").result
    assert results == {"soft": "warning", "open": "undecided", "sharp": "healthy"}


# --- outfits ----------------------------------------------------------------------------------------------------------

RED_COAT, GREEN_COAT = ("red", "black"), ("green", "white")


class OutfitGenerator(SquareGenerator):
    """Draws the coat that `coats` gives for the words of a prompt."""

    def __init__(self, coats) -> None:
        super().__init__()
        self.coats = coats

    def generate(self, variant, prompts, settings):
        for prompt in prompts:
            self.generated += 1
            rng = random.Random(prompt.seed)
            body, hat = ("blue", "yellow") if variant.weights is None else self.coats(prompt.prompt, rng)
            yield square(body, hat, rng.choice(["yellow", "white"]), noise=prompt.seed)


def honest(prompt, rng):
    return RED_COAT if "qvx" in prompt else GREEN_COAT


def outfit_run(tmp_path):
    """A run of two outfits with eight photos each, and their records."""
    run = make_run(tmp_path, ["1 0 0"])
    records = []
    for word, coat in (("qvx", RED_COAT), ("wbx", GREEN_COAT)):
        folder = tmp_path / word
        folder.mkdir()
        for i in range(8):
            path = folder / f"{i}.png"
            square(*coat, ["yellow", "white", "green", "black"][i % 4], noise=i).save(path)
            records.append(ImageRecord(path, 32, 32, f"{word}{i}", captions=(f"zwx person, {word} coat, place {i}",)))
    recipe = Recipe.load(run.recipe)
    triggers = [{"word": w, "class_word": "coat", "kind": "outfit"} for w in ("qvx", "wbx")]
    return run, recipe.with_values({"triggers": triggers}), records


def examine_outfits(tmp_path, coats) -> Report:
    run, recipe, records = outfit_run(tmp_path)
    groups = trigger_groups(recipe, records)
    weights = (run.list_weights()[-1], 1.0)
    outfits = result_of(
        score_triggers(run, recipe, groups, weights, count=8, scorer=SquareScorer(), generator=OutfitGenerator(coats))
    )
    assert saved_trigger_scores(run, groups, weights) == outfits
    return run_checks(facts_of(run, outfits=outfits), RunOrFiles(run=run))


def test_triggers_that_stand_for_some_of_the_images_are_compared(tmp_path):
    _, recipe, records = outfit_run(tmp_path)
    groups = trigger_groups(recipe, records)
    # zwx is in all images: it is what the outfits have in common.
    assert [(g.word, g.prompt, len(g.photos)) for g in groups] == [
        ("qvx", "zwx person, qvx coat", 8), ("wbx", "zwx person, wbx coat", 8),
    ]  # fmt: skip
    assert trigger_groups(recipe, records[:8]) == []


def test_outfits_that_are_told_apart_are_healthy(tmp_path):
    report = examine_outfits(tmp_path, honest)
    assert found(report, "D07") == {"D07 qvx wbx": "healthy"}
    assert found(report, "D08") == {"D08 qvx": "healthy", "D08 wbx": "healthy"}


def test_two_outfits_alike(tmp_path):
    report = examine_outfits(tmp_path, lambda prompt, rng: rng.choice([RED_COAT, GREEN_COAT]))
    finding = only(report, "D07")
    assert finding.result == "error"
    assert finding.why.startswith("images of 'qvx' and 'wbx' are 0 % (0 to 0) as far apart as their photos")
    assert finding.fix.startswith("bakehouse triggers explain ")


def test_one_outfit_everywhere(tmp_path):
    report = examine_outfits(tmp_path, lambda prompt, rng: RED_COAT)
    assert found(report, "D08") == {"D08 qvx": "error", "D08 wbx": "healthy"}
    finding = next(f for f in report.findings if f.name == "D08 qvx")
    assert finding.why == "'qvx' shows in 100 % (68 to 100) of its images and in 100 % (68 to 100) of those of 'wbx'"


def test_photos_that_the_scorer_cannot_tell_apart_decide_nothing():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(24, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    facts = measure(["a", "b"], ["a", "b"], [rows[:8], rows[8:16]], [rows[:4], rows[4:8]], rows[16:])
    run = SimpleNamespace(folder="run")
    recipe = Recipe.parse({"concepts": [{"folder": "photos", "subject": "zwx person"}]})
    of_run = RunFacts("run", recipe, started=True, finished=True, planned_steps=1, steps=(), failed=None)
    report = run_checks(Facts(run=of_run, outfits=facts), RunOrFiles(run=run))  # type: ignore[arg-type]
    assert set(found(report, "D07").values()) == {"undecided"}


def test_a_comparison_of_other_weights_is_not_used(tmp_path):
    run, recipe, records = outfit_run(tmp_path)
    groups = trigger_groups(recipe, records)
    weights = run.list_weights()[-1]
    made = score_triggers(
        run, recipe, groups, (weights, 1.0), count=4, scorer=SquareScorer(), generator=OutfitGenerator(honest)
    )
    result_of(made)
    assert saved_trigger_scores(run, groups, (weights, 0.8)) is None
    weights.write_text("0.5 0 0")
    assert saved_trigger_scores(run, groups, (weights, 1.0)) is None


def test_with_draw_the_images_are_made_and_later_calls_use_them(new_run, monkeypatch):
    coats = ("red coat", "green coat")
    triggers = [
        {"word": word, "kind": "outfit", "when": [coat], "strategy": "static"}
        for word, coat in zip(("qvx", "wbx"), coats, strict=True)
    ]
    run = new_run(captions=lambda i: f"zwx person, {coats[i % 2]}, place {i}", settings={"triggers": triggers})
    for path in Recipe.load(run.recipe).concepts[0].folder.glob("*.png"):
        square(*(RED_COAT, GREEN_COAT)[int(path.stem) % 2], "yellow", noise=int(path.stem)).save(path)
    generator = OutfitGenerator(honest)
    for place in ("evaluation.evaluate_run", "evaluation.trigger_groups"):
        monkeypatch.setattr(f"bakehouse.{place}.pipeline", lambda *_: generator)
    for place in ("evaluate_run", "image_scorers"):
        monkeypatch.setattr(f"bakehouse.evaluation.{place}.scorer_for", lambda *_: SquareScorer())
    before = look(run)
    assert before.skipped["D07"] == f"no images of each trigger yet: bakehouse doctor {run.folder} --draw 8"
    made = look(run, draw=8)
    assert not {"D01", "D02", "D03", "D04", "D05", "D07", "D08"} & made.skipped.keys()
    assert found(made, "D07") == {"D07 qvx wbx": "healthy"}
    generated = generator.generated
    assert look(run) == made and generator.generated == generated


def test_without_an_evaluation_the_command_is_named(tmp_path):
    run = make_run(tmp_path, ["1 0 0"])
    with pytest.raises(UsageError, match=f"bakehouse evaluate {run.folder}"):
        read_evaluation(run)
