"""`dataset extend`: what a dataset lacks is drawn by a run, judged, answered by a person, and added."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from bakehouse.cli.main import main
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Warned, result_of
from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.operation import apply_operation
from bakehouse.data import scan
from bakehouse.data.open_image import open_image
from bakehouse.data.provenance import read_provenance
from bakehouse.evaluation import evaluate
from bakehouse.evaluation.evaluation_inputs import training_images
from bakehouse.recipe.recipe import ConceptSpec
from bakehouse.synthesis.accept import accept
from bakehouse.synthesis.aspects import Aspect, Value, aspects_of, plan_values
from bakehouse.synthesis.candidates import Candidates, write_accept
from bakehouse.synthesis.draw_candidates import draw_candidates
from bakehouse.synthesis.extension import ExtendSpec, Extension
from tests.evaluation.conftest import HERO, SquareGenerator, SquareScorer, make_run, square


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A run that learned its subject in nine images of ten, and its evaluation."""
    folder = tmp_path_factory.mktemp("run")
    run = make_run(folder, ["0.9 0 0"])
    result_of(evaluate(run, scorer=SquareScorer(), generator=SquareGenerator()))
    return run


@pytest.fixture
def second(tmp_path):
    """A set of two images: the hero on yellow and on white."""
    folder = tmp_path / "second"
    folder.mkdir()
    for i, color in enumerate(("yellow", "white")):
        square(*HERO, color, noise=i).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("zwx person, portrait, at the beach\n")
    return folder


def drawn(run, folder, generator=None, **spec):
    events = []
    extension = Extension.make(run, folder, ExtendSpec(**{"count": 12, "tries": 3, **spec}))
    work = draw_candidates(extension, scorer=SquareScorer(), generator=generator or SquareGenerator())
    return result_of(work, events.append), events


def test_what_passes_shows_the_subject_and_is_no_copy_and_no_twin(evaluated, second):
    before = {p: p.read_bytes() for p in second.rglob("*")}
    candidates, events = drawn(evaluated, second)
    looks = [SquareScorer().attributes([open_image(candidates.path(c))])[0] for c in candidates.passed]
    assert looks
    assert all((look["body"], look["hat"]) == HERO for look in looks)
    grounds = [look["background"] for look in looks]
    assert len(set(grounds)) == len(grounds) and not {"yellow", "white"} & set(grounds)
    reasons = Counter(" ".join(c.reason.split()[:3]) for c in candidates.items if c.reason)
    assert reasons["it copies 0.png"] and reasons["it does not"] and reasons["it is the"]
    assert all(c.fidelity is not None and c.nearest in ("0.png", "1.png") for c in candidates.items)
    assert any("no image passed in 3 tries" in e.message for e in events if isinstance(e, Warned))
    assert {p: p.read_bytes() for p in second.rglob("*")} == before


def test_a_prompt_is_drawn_again_only_until_an_image_passes(evaluated, second):
    candidates, _ = drawn(evaluated, second)
    tries = {}
    for candidate in candidates.items:
        number, attempt = candidate.name.removesuffix(".png").split("-")
        tries.setdefault(number, []).append((int(attempt), candidate.passed))
    for attempts in tries.values():
        assert [a for a, _ in attempts] == list(range(1, len(attempts) + 1))
        assert not any(passed for _, passed in attempts[:-1])


def test_an_interrupted_drawing_resumes_to_the_same_images(evaluated, second):
    generator = SquareGenerator()
    generator.fail_after = 7
    with pytest.raises(RuntimeError, match="lights"):
        drawn(evaluated, second, generator, seed=40)
    resumed = SquareGenerator()
    first, _ = drawn(evaluated, second, resumed, seed=40)
    content = {c.name: first.path(c).read_bytes() for c in first.items}
    assert resumed.generated == len(first.items) - 7
    again = SquareGenerator()
    assert drawn(evaluated, second, again, seed=40)[0] == first and not again.generated
    for path in first.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    whole, _ = drawn(evaluated, second, seed=40)
    assert whole.items == first.items
    assert {c.name: whole.path(c).read_bytes() for c in whole.items} == content


def test_accepted_images_have_captions_say_that_they_are_drawn_and_can_be_undone(evaluated, second):
    candidates, _ = drawn(evaluated, second)
    before = {p.name: p.read_bytes() for p in second.iterdir() if p.is_file()}
    first, *rest = candidates.passed
    candidates.caption_path(first).write_text("zwx person, by hand\n")
    assert apply_operation(second, accept("all", candidates.folder))
    images = scan(second)
    new = [r for r in images if r.path.name not in before]
    assert len(new) == len(candidates.passed)
    assert {r.captions[0] for r in new} == {"zwx person, by hand", *(c.prompt for c in rest)}
    assert all((found := read_provenance(r.path)).origin == "drawn" and found.details["seed"] >= 0 for r in new)
    assert apply_operation(second, accept("all", candidates.folder)) is None, "they are there already"
    own, notes = training_images([second], 99)
    assert {r.path.name for r in own} == {"0.png", "1.png"} and "drawn" in notes[0], "an evaluation leaves them out"
    undo(second)
    assert {p.name: p.read_bytes() for p in second.iterdir() if p.is_file()} == before


def test_a_file_of_answers_decides(evaluated, second):
    candidates, _ = drawn(evaluated, second)
    names = [c.name for c in candidates.passed]
    path = write_accept(candidates, yes=names[:1])
    assert path.read_text().count("\nno ") == len(names) - 1
    assert accept(str(path)).accepted == (names[0],)
    page = (candidates.folder / "sheet.html").read_text()
    assert all(f'data-name="{name}"' in page for name in names)
    path.write_text(f"yes {names[0]}\nyes 999-1.png\nperhaps {names[0]}\n")
    with pytest.raises(Problems) as error:
        accept(str(path))
    assert len(error.value.problems) == 2
    write_accept(candidates)
    with pytest.raises(UsageError, match="no images were drawn"):
        accept(str(second / "0.txt"))
    assert Candidates.load(candidates.folder) == candidates


def test_options_of_drawing_beside_a_file_of_answers_are_refused(evaluated, second, capsys):
    words = ["dataset", "extend", str(evaluated.folder), str(second), "--accept", str(second / "accept.txt")]
    with pytest.raises(SystemExit) as end:
        main([*words, "--count", "3", "--aspect", "view", "--device", "cpu"])
    assert end.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "drawn already, so it cannot be used with --count, --aspect, --device" in said


def test_runs_that_cannot_extend_are_refused(evaluated, second, tmp_path):
    with pytest.raises(UsageError, match="was not evaluated"):
        Extension.make(make_run(tmp_path / "new", ["1 0 0"]), second, ExtendSpec())
    scores = evaluated.report / "scores.json"
    text = scores.read_text()
    value = json.loads(text)
    value["pick"]["weights"] = ""
    scores.write_text(json.dumps(value))
    try:
        with pytest.raises(UsageError, match="none is good enough to generate with"):
            Extension.make(evaluated, second, ExtendSpec())
    finally:
        scores.write_text(text)
    with pytest.raises(Problems, match="aspects"):
        ExtendSpec.parse({"aspects": ["weather"], "tries": 0})


def test_what_is_shown_least_is_drawn_most():
    values = tuple(Value(tag) for tag in ("a", "b", "c"))
    aspects = [Aspect("framing", values, {"a": 5, "b": 0, "c": 2}), Aspect("place", values, dict.fromkeys("abc", 0))]
    planned = plan_values(aspects, 8, seed=3)
    total = Counter({"a": 5, "c": 2}) + Counter(chosen[0][1] for chosen in planned)
    assert total == {"a": 5, "b": 5, "c": 5}
    places = Counter(chosen[1][1] for chosen in planned)
    assert max(places.values()) - min(places.values()) <= 1
    assert planned == plan_values(aspects, 8, seed=3) != plan_values(aspects, 8, seed=4)


def test_aspects_are_read_from_captions(tmp_path):
    texts = (
        "zwx person, close-up, from the side, red dress",
        "zwx person, full_body, in the woods, blue coat",
        "zwx person",
    )
    for i, text in enumerate(texts):
        square(*HERO, "white", noise=i).save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text(text)
    images, concept = scan(tmp_path), ConceptSpec(folder=tmp_path, subject="zwx person")
    found = {a.name: a for a in aspects_of(concept, "character", images)}
    assert found["framing"].shown == {"portrait": 1, "upper body": 0, "cowboy shot": 0, "full body": 1}
    assert found["view"].shown["from side"] == 1 and found["view"].shown["from the front"] == 2
    assert found["place"].shown["in a forest"] == 1 and "in a kitchen" in found["place"].missing
    assert set(found) == {"framing", "view", "place", "outfit"}, "the captions name several outfits"
    alone = replace(images, records=images.records[:1])
    assert "outfit" not in {a.name for a in aspects_of(concept, "character", alone)}
    assert [a.name for a in aspects_of(concept, "character", alone, ("outfit",))] == ["outfit"]
    thing = ConceptSpec(folder=tmp_path, subject="zwx mug")
    assert {a.name for a in aspects_of(thing, "object", images, ("framing", "outfit"))} == {"framing"}
