"""Sets of templates: the library, the user's files, and the prompts that a request draws from them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bakehouse.cli.main import main
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.model_catalogue.conventions import all_conventions
from bakehouse.data.crumb_attributes import Vocabulary
from bakehouse.generation import ImageRequest, infotext
from bakehouse.generation.templates import draw_prompts, find_templates, library, parse_slots, subject_slots
from bakehouse.generation.templates.wildcards import LIBRARY as WILDCARDS

CAT = {"subject": "a cat"}


def prompts(*names, count=40, seed=7, conventions=None, **more):
    request = ImageRequest(prompt="", count=count, seed=seed, **more)
    sets = [find_templates(name) for name in names]
    return draw_prompts(request, sets=sets, slots=CAT, conventions=conventions)


def test_the_library_has_prompts_for_many_uses():
    sets = library()
    assert sum(len(s.templates) for s in sets) >= 60
    assert {"portraits", "styles", "places", "outfits", "toys", "film-stills", "characters", "crumb"} <= {
        s.name for s in sets
    }
    assert all(s.about for s in sets)
    texts = [t.sentence for s in sets for t in s.templates]
    assert len(set(texts)) == len(texts)
    assert all("{subject}" in t.text(form) for s in sets for t in s.templates for form in ("sentences", "tags"))


@pytest.mark.parametrize("form", ["sentences", "tags"])
@pytest.mark.parametrize("name", [s.name for s in library()])
def test_every_template_of_the_library_comes_to_plain_words(name, form):
    likes = all_conventions()["sd1"].model_copy(update={"prompts": form})
    for one in prompts(name, count=60, conventions=likes):
        assert "a cat" in one.request.prompt
        assert not re.search(r"[{}|$]|__|\(|\)|, ,|  ", one.request.prompt), one.request.prompt
        if form == "tags":
            assert not re.match(r"(a|an|the) (?!cat)", one.request.prompt), one.request.prompt


def test_the_set_for_crumb_has_only_words_that_crumb_knows():
    vocabulary = Vocabulary.load()
    for one in prompts("crumb", count=300):
        for tag in one.request.prompt.removeprefix("a cat, ").split(", "):
            assert vocabulary.atoms(tag.removeprefix("wearing ")), tag


def test_painters_of_the_library_died_long_ago():
    lines = (WILDCARDS / "artist.txt").read_text("utf-8").splitlines()
    century = None
    for line in lines:
        if found := re.fullmatch(r"# (\d{4})-(\d{4})", line):
            century = int(found[2])
        elif not line.startswith("#"):
            assert century is not None and century < 1950, line


def test_a_prompt_depends_on_its_seed_alone():
    whole = prompts("portraits", "styles", count=30, seed=100)
    for i in (0, 1, 17, 29):
        (alone,) = prompts("portraits", "styles", count=1, seed=100 + i)
        assert alone == whole[i]
    assert prompts("portraits", "styles", count=10, seed=110) == whole[10:20]


def test_images_in_a_row_take_all_templates_in_turn():
    number = len(find_templates("toys").templates)
    names = [one.record["Template name"] for one in prompts("toys", count=2 * number, seed=3)]
    assert len(set(names[:number])) == number
    assert names[:number] == names[number:]


def test_a_prompt_without_templates_may_have_choices_and_plain_ones_are_left_alone():
    request = ImageRequest(prompt="a {red|blue} cat", negative="{dark|blurry}", count=20, seed=1)
    drawn = draw_prompts(request, conventions=all_conventions()["pony-xl"])
    assert {one.request.prompt for one in drawn} == {"a red cat", "a blue cat"}, "its own prompt gets no quality words"
    assert {one.request.negative for one in drawn} == {"dark", "blurry"}
    assert drawn[0].record == {"Template": "a {red|blue} cat", "Negative Template": "{dark|blurry}"}
    plain = replace(request, prompt="a (cat:1.2), [a|b]", negative="", count=3)
    assert [(one.request.prompt, dict(one.record)) for one in draw_prompts(plain)] == [("a (cat:1.2), [a|b]", {})] * 3


def test_templates_speak_as_the_base_likes():
    pony = prompts("styles:1", count=1, conventions=all_conventions()["pony-xl"])[0].request
    assert pony.prompt == (
        "score_9, score_8_up, score_7_up, score_6_up, score_5_up, score_4_up, a cat, oil painting, brush stroke, "
        "canvas texture, warm colors"
    )
    assert pony.negative == ""
    animagine = all_conventions()["animagine-xl-4"]
    at_the_end = prompts("styles:1", count=1, conventions=animagine)[0].request
    assert at_the_end.prompt.startswith("a cat, ") and at_the_end.prompt.endswith(", absurdres")
    assert at_the_end.negative == animagine.negative
    assert prompts("styles:1", count=1, conventions=animagine, negative="dark")[0].request.negative == "dark"
    assert prompts("styles:1", count=1)[0].request.prompt.startswith("an oil painting of a cat, ")


def test_what_fills_a_slot_and_what_goes_before_it(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[slots]\nplace = "at home"\n[[prompts]]\ntext = "{subject} {place}, {light}"\n')
    request = ImageRequest(prompt="", seed=1)

    def drawn(**slots):
        return draw_prompts(request, sets=[find_templates(str(file))], slots=slots)[0].request.prompt

    assert drawn(subject="a cat", light="dark") == "a cat at home, dark"
    assert drawn(subject="a cat", light="dark", place="in {a|a} barn") == "a cat in a barn, dark"
    assert drawn(subject="a cat").startswith("a cat at home, ")
    with pytest.raises(UsageError, match=r"mine.toml, line 4: nothing is known for \{subject\}"):
        drawn()


def test_a_text_file_is_one_prompt_per_line(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("# my own\n{subject} one\n\n# not this\n{subject} two\n", "utf-8")
    found = find_templates(str(file))
    assert (found.name, found.about, [t.name for t in found.templates]) == ("mine", "my own", ["mine:1", "mine:2"])
    assert [t.sentence for t in found.templates] == ["{subject} one", "{subject} two"]
    assert [t.sentence for t in find_templates(f"{file}:2").templates] == ["{subject} two"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "{subject}\n\na {cat\n", "a.txt, line 3: character 3, '{cat': a { without its }"),
        ("a.toml", 'about = "x"\n[[prompts]]\ntext = "fine"\n[[prompts]]\ntext = "a {cat"\n', "a.toml, line 5: "),
        ("a.toml", 'prompts = [\n"fine",\n"a } cat",\n]\n', "a.toml, line 3: character 3"),
        ("a.toml", 'prompts = ["fine"]\n[slots]\nhat = "{"\n', "a.toml, slots.hat: "),
        ("a.toml", "prompts = [", "a.toml"),
        ("a.toml", 'prompts = ["x"]\nprompt = 3\n', "unknown key 'prompt'"),
        ("a.toml", "prompts = []\n", "prompts"),
        ("a.txt", "# nothing\n", "has no template"),
        ("a.csv", "x\n", "must end in .toml or .txt"),
    ],
)
def test_a_bad_file_is_said_with_its_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises((UsageError, Problems)) as e:
        find_templates(str(tmp_path / name))
    assert said in str(e.value)


def test_unknown_sets_and_slots_are_said():
    with pytest.raises(UsageError, match=r"'portrait' is neither a file nor a set of templates; did you mean"):
        find_templates("portrait")
    with pytest.raises(UsageError, match=r"toys:99: toys has templates 1 to 8"):
        find_templates("toys:99")
    with pytest.raises(UsageError, match="is not NAME=WORDS"):
        parse_slots(["place"])
    with pytest.raises(UsageError, match=r"--slot .*without its \}"):
        parse_slots(["place={a"])


def test_the_file_of_the_documentation_can_be_read(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "templates.md").read_text("utf-8")
    (tmp_path / "mine.toml").write_text(re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1])
    mine = find_templates(str(tmp_path / "mine.toml"))
    (one,) = draw_prompts(ImageRequest(prompt="", seed=3), sets=[mine], slots=CAT)
    assert re.match(r"a photo of a cat in (my|our) garden, ", one.request.prompt)
    assert (one.request.negative, mine.about) == ("people", "my own places")


# --- through the command line -----------------------------------------------------------------------------------------


@pytest.fixture
def typed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main([str(w) for w in words])
        return (int(e.value.code or 0), *capsys.readouterr())

    return run


CHEAP = ("--steps", "1", "--seed", "1", "-o", "out")


def written():
    return [infotext.read(path) for path in sorted(Path("out").glob("*.png"))]


def test_a_run_fills_the_slots_and_the_infotext_says_the_prompt_and_its_template(typed, trained):
    code, _, err = typed("generate", trained.folder, "--templates", "crumb", "-n", 3, *CHEAP)
    assert code == 0, err
    from bakehouse.generation import resolve

    slots = subject_slots(resolve(trained.folder))
    assert slots == {"subject": "zwx person", "class": "person", "trigger": "zwx"}
    expected = draw_prompts(
        ImageRequest(prompt="", count=3, seed=1), sets=[find_templates("crumb")], slots=slots,
        conventions=all_conventions()["crumb"],
    )  # fmt: skip
    for info, one in zip(written(), expected, strict=True):
        assert info.networks()[0] == one.request.prompt
        assert info.get("Template") == one.record["Template"]
        assert info.get("Template name") == one.record["Template name"]
        assert info.get("Seed") == str(one.request.seed)


def test_the_prompt_of_a_model_without_a_run_is_the_subject(typed):
    code, _, err = typed(
        "generate", "crumb", "a {red|red} robot", "--templates", "crumb:1", "--slot", "place=at night", *CHEAP
    )
    assert code == 0, err
    assert written()[0].prompt == "a red robot, at night"
    code, _, err = typed("generate", "crumb", "--templates", "crumb", *CHEAP)
    assert code == 2 and '--slot subject="..."' in err
    code, _, err = typed("generate", "crumb", *CHEAP)
    assert code == 2 and "bakehouse templates" in err


def test_wildcards_of_a_folder_in_a_prompt(typed, tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "hair.txt").write_text("pink afro\nblue bob cut\n")
    code, _, err = typed("generate", "crumb", "person, __hair__", "--wildcards", "words", "-n", 6, *CHEAP)
    assert code == 0, err
    assert {info.prompt for info in written()} == {"person, pink afro", "person, blue bob cut"}
    code, _, err = typed("generate", "crumb", "person, __hiar__", "--wildcards", "words", *CHEAP)
    assert code == 2 and "did you mean 'hair'" in err


def test_the_list_of_templates(typed):
    code, out, _ = typed("templates")
    assert code == 0 and "portraits" in out
    code, out, _ = typed("templates", "toys", "--json")
    assert len(json.loads(out)["prompts"]) == 8
    assert typed("templates", "--quiet")[1].split() == [s.name for s in library()]
    code, _, err = typed("templates", "toyz")
    assert code == 2 and "did you mean 'toys'" in err
