from dataclasses import replace

import pytest

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import result_of
from bakehouse.evaluation import evaluate
from bakehouse.evaluation.grid_scores import bare_prompt, scores_of_run
from bakehouse.generation import ImageRequest
from bakehouse.recipe.recipe import ConceptSpec

from .conftest import HERO, square


def drawn(folder, **images):
    """Write images of body, hat and background; return their paths."""
    paths = []
    for name, colors in images.items():
        paths.append(folder / f"{name}.png")
        square(*colors).save(paths[-1])
    return paths


def test_images_are_scored_as_the_evaluation_scores_its_own(new_run, scorer, generator, tmp_path):
    run = new_run(["0.5 0 0", "1 0 0"])
    assert scores_of_run(run, scorer, generator) is None, "the run was not evaluated"
    result_of(evaluate(run, scorer=scorer, generator=generator))
    generated = generator.generated

    scores = scores_of_run(run, scorer, generator)
    paths = drawn(tmp_path, hero=(*HERO, "yellow"), other=("red", "blue", "black"))
    requests = [ImageRequest(prompt="(zwx person:1.2), at the beach")] * 2
    hero, other = (dict(part.split() for part in text.split(", ")) for text in scores(paths, requests))
    assert (float(hero["subject"]), float(hero["prompt"])) == (1.0, 1.0)
    assert float(other["subject"]) < 0.2
    assert float(other["prompt"]) == 0
    assert scores([paths[0]], [replace(requests[0], prompt="zwx person")]) == ["subject 1.00"], "nothing else is asked"
    assert scores([], []) == []
    assert generator.generated == generated, "the images of the evaluation are used again"


def test_scores_need_the_images_of_the_evaluation(new_run, scorer, generator):
    run = new_run(["1 0 0"])
    result_of(evaluate(run, scorer=scorer, generator=generator))
    for path in (run.report / "cache" / "pictures").iterdir():
        path.unlink()
    with pytest.raises(BakehouseError, match="not in its cache any more"):
        scores_of_run(run, scorer, generator)


@pytest.mark.parametrize(
    ("prompt", "syntax", "read"),
    [
        ("zwx person, (a hat:1.3) <lora:zwx:0.5>", "a1111", "person, a hat"),
        ("zwx smiles, zwxy", "a1111", "person smiles, zwxy"),
        ("(zwx person), a hat", "plain", "(person), a hat"),
    ],
)
def test_prompts_are_read_without_syntax_and_trigger(prompt, syntax, read, tmp_path):
    concept = ConceptSpec(folder=tmp_path, subject="zwx person")
    assert bare_prompt(ImageRequest(prompt=prompt, prompt_syntax=syntax), concept) == read
