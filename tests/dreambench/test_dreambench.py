"""The benchmark in a world of squares: what is read, what is trained and asked, what the table says, and resuming."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from bakehouse.core.errors import UsageError
from bakehouse.core.events import result_of
from bakehouse.core.run_folder import Run
from bakehouse.dreambench import Benched, BenchSpec, markdown, read_benchmark, run_benchmark
from bakehouse.dreambench.benchmark_data import parse_prompts_file
from bakehouse.dreambench.prompts import LIVE, own_prompts
from bakehouse.dreambench.scorers import BundledScorer, PaperScorer
from bakehouse.evaluation.metrics import similarity
from bakehouse.recipe import recipe_to_toml
from tests.evaluation.conftest import HERO, PLACES, SquareGenerator, SquareScorer, square

PROMPTS = """Classes

subject_name,class
cup,cup
pup,dog
lamp,desk lamp

Prompts

Object Prompts

prompt_list = [
'a {0} {1} at the beach'.format(unique_token, class_token),
"a tall {0} {1}".format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} in the snow'.format(unique_token, class_token),
]
"""


@pytest.fixture
def data(tmp_path):
    """A dataset as DreamBooth's is laid out: two subjects of three."""
    root = tmp_path / "repository" / "dataset"
    for name in ("cup", "pup"):
        (root / name).mkdir(parents=True)
        for i, place in enumerate(PLACES.values()):
            square(*HERO, place, noise=i).save(root / name / f"{i:02d}.png")
    (root / "prompts_and_classes.txt").write_text(PROMPTS)
    return root


class Trainer:
    """Writes weights that say what was learned."""

    def __init__(self) -> None:
        self.recipes = []

    def __call__(self, recipe, folder):
        self.recipes.append(recipe)
        run = Run(folder)
        run.weights.mkdir(parents=True, exist_ok=True)
        run.recipe.write_text(recipe_to_toml(recipe))
        (run.weights / f"{recipe.title}.safetensors").write_text("1 0 0")
        yield from ()


class CountingPaper:
    """DINO and CLIP of the world of squares."""

    name, columns = "squares", PaperScorer.columns

    def __init__(self) -> None:
        self.squares = SquareScorer()

    def embeddings(self, images):
        rows = self.squares.embed(images)
        return {"dino": rows, "clip_i": rows[:, ::-1]}

    def prompt_scores(self, images, prompts):
        return np.full(len(images), 0.25)


def run(benchmark, out, trainer, scorer, generator, **spec):
    values = {"base": "crumb", "images": 2, **spec}
    events = []
    made = run_benchmark(benchmark, BenchSpec(**values), out, train=trainer, scorer=scorer, generator=generator)
    return result_of(made, events.append), [e for e in events if isinstance(e, Benched)]


def test_the_authors_file_gives_classes_and_prompts_of_both_kinds(data):
    found = read_benchmark(data.parent)
    assert [(s.name, s.class_word, len(s.prompts), s.kind) for s in found.subjects] == [
        ("cup", "cup", 2, "dreambooth"), ("pup", "dog", 1, "dreambooth"),
    ]  # fmt: skip
    cup = found.subjects[0]
    assert [cup.prompt(t) for t in cup.prompts] == ["a zwx cup at the beach", "a tall zwx cup"]
    assert [cup.bare_prompt(t) for t in cup.prompts] == ["a cup at the beach", "a tall cup"]
    assert found.notes == ("1 subject without images: lamp",)
    with pytest.raises(UsageError, match=r"no subject 'pub'.*did you mean 'pup'"):
        found.only(["pub"])


@pytest.mark.parametrize(
    ("lost", "message"), [("Live Subject", "prompts of live"), ("Object", "prompts of objects"), (",", "subject,class")]
)  # fmt: skip
def test_a_file_without_one_of_them_is_refused(lost, message):
    with pytest.raises(UsageError, match=message):
        parse_prompts_file(PROMPTS.replace(lost, ""), "prompts_and_classes.txt")


def test_every_subject_is_trained_asked_and_scored(data, tmp_path):
    trainer, scorer, generator = Trainer(), CountingPaper(), SquareGenerator()
    result, rows = run(read_benchmark(data), tmp_path / "out", trainer, scorer, generator)
    assert [(r.subject, r.done, r.total) for r in rows] == [("cup", 1, 2), ("pup", 2, 2)]
    assert [r.concepts[0].subject for r in trainer.recipes] == ["zwx cup", "zwx dog"]
    assert generator.generated == 2 * 2 + 1 * 2
    # The mean of all pairs of generated and real images, as the paper has it.
    photos = [square(*HERO, place, noise=i) for i, place in enumerate(PLACES.values())]
    images = [image.convert("RGB") for image in SquareGenerator().generate(*_asked(tmp_path / "out", "cup", generator))]
    expected = similarity(SquareScorer().embed(images), SquareScorer().embed(photos)).mean()
    assert result.rows[0].scores["dino"].value == pytest.approx(expected, abs=1e-6)
    assert result.mean("dino").value == pytest.approx(np.mean([r.scores["dino"].value for r in result.rows]))
    low, high = result.mean("dino").low, result.mean("dino").high
    assert low <= result.mean("dino").value <= high and not math.isnan(low)
    text = (tmp_path / "out" / "table.md").read_text()
    assert text == markdown(result)
    assert "| DreamBooth, Stable Diffusion | 0.668 | 0.803 | 0.305 |" in text
    assert "Not the whole protocol" in text and "cup (`zwx cup`)" in text
    saved = json.loads((tmp_path / "out" / "table.json").read_text())
    assert saved["mean"]["clip_t"]["value"] == 0.25 and not saved["full_protocol"]


def _asked(out, name, generator):
    from bakehouse.evaluation.image_cache import AdapterVariant
    from bakehouse.evaluation.prompt_set import EvalPrompt

    weights = next((out / "runs" / name / "weights").iterdir())
    prompts = ["a zwx cup at the beach", "a zwx cup at the beach", "a tall zwx cup", "a tall zwx cup"]
    bare = [p.replace("zwx ", "") for p in prompts]
    return (
        AdapterVariant(weights),
        [EvalPrompt("subject", *p, i) for i, p in enumerate(zip(prompts, bare, strict=True))],
        None,
    )


def test_a_second_call_makes_nothing_again_and_a_broken_one_goes_on(data, tmp_path):
    scorer, generator = CountingPaper(), SquareGenerator()
    generator.fail_after = 5
    with pytest.raises(RuntimeError):
        run(read_benchmark(data), tmp_path / "out", Trainer(), scorer, generator)
    assert "1 subject still to come" in (tmp_path / "out" / "table.md").read_text().lower()
    generator.fail_after = None
    first, _ = run(read_benchmark(data), tmp_path / "out", Trainer(), scorer, generator)
    assert generator.generated == 6, "no image was made twice"
    scored = scorer.squares.scored
    again, _ = run(read_benchmark(data), tmp_path / "out", Trainer(), scorer, generator)
    assert again == first and scorer.squares.scored == scored
    more, _ = run(read_benchmark(data), tmp_path / "out", Trainer(), scorer, generator, images=3)
    assert more.rows[0].images == 6 and generator.generated > 6


def test_examples_get_prompts_of_the_package_and_the_table_says_what_scored_them(tmp_path):
    for name, facts in {
        "tin": {"kind": "subject", "trigger": "qvk", "class": "mug", "preset": "object"},
        "brush": {"kind": "style", "trigger": "hzn", "class": "person"},
    }.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "example.json").write_text(json.dumps(facts))
        square(*HERO, "white").save(tmp_path / "set" / name / "0.png")
    found = read_benchmark(tmp_path / "set", crumb=True)
    assert [(s.name, s.trigger, s.kind, len(s.prompts)) for s in found.subjects] == [("tin", "qvk", "object", 25)]
    scorer = BundledScorer(SquareScorer())
    result, _ = run(found, tmp_path / "out", Trainer(), scorer, SquareGenerator(), prompts=3)
    text = markdown(result)
    assert "tagger's embedding (for DINO) | CLIP-I: not measured | tagger's prompt accuracy (for CLIP-T)" in text
    assert "cannot be compared with the published" in text and "Styles are not subjects" in text


@pytest.mark.parametrize("class_word", [*LIVE, "mug", "stuffed animal"])
@pytest.mark.parametrize("crumb", [True, False])
def test_each_class_has_twenty_five_different_prompts(class_word, crumb):
    prompts = own_prompts(class_word, crumb=crumb)
    assert len(prompts) == len(set(prompts)) == 25
    assert all(t.count("{0} {1}") == 1 and "{}" not in t for t in prompts)
