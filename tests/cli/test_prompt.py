"""`bakehouse prompt`, and prompts of `generate`, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from bakehouse.cli.main import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]):
    """Types a command; gives its exit code, standard output and standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main(list(words))
        out, err = capsys.readouterr()
        return int(e.value.code or 0), out, err

    return run


def test_a_prompt_is_explained_step_by_step(typed):
    code, out, err = typed(
        "prompt", "a (red:1.2) [cat:robot:0.5] AND night :0.4", "--steps", "10", "--negative", "blur"
    )
    assert code == 0 and "warning" not in err
    for said in ("emphasis 1.2", "switch after step 5 of 10", "AND, weight 0.4", "steps 1 to 5", "steps 6 to 10"):
        assert said in out
    assert "weight 1: a (red:1.2) cat" in out and "weight 0.4: night" in out
    assert "of 75 tokens" in out and "negative: blur" in out


def test_an_explanation_is_one_json_document(typed):
    code, out, _ = typed("prompt", "a BREAK [b|c] <lora:zwx:0.5:te=1>", "--steps", "2", "--json")
    found = json.loads(out)
    assert code == 0
    assert [one["last"] for one in found["steps"]] == [1, 2]
    assert [len(one["conditions"][0]["tokens_per_chunk"]) for one in found["steps"]] == [2, 2]
    assert found["adapters"] == [{"name": "zwx", "text": 1.0, "unet": 1.0, "rank": None, "file": None}]
    assert any("<lora:zwx> is not used" in message for message in found["warnings"])
    assert found["tree"][0]["inside"][1]["text"].startswith("BREAK")


def test_warnings_are_on_standard_error_and_no_failure(typed):
    code, out, err = typed("prompt", "a (red", "-q")
    assert code == 0
    assert "warning: '(' at character 3 is never closed" in err
    assert "steps 1 to 20" in out and "unmatched bracket" not in out


def test_values_that_are_not_allowed_are_refused(typed):
    for words in (["--steps", "0"], ["--emphasis", "loud"], ["--loras", "nowhere"], ["--model", "no-such-model"]):
        code, _, err = typed("prompt", "a", *words)
        assert code == 2 and words[1] in err, words


def test_styles_and_brackets_reach_the_picture(typed, here, tiny_folder):
    (here / "styles.csv").write_text('name,prompt,negative_prompt\nnight,"{prompt}, (night:1.2)",day\n')
    words = ("a hat", "--seed", "1", "--steps", "1", "-o", "out", "-q")
    code, _, err = typed(
        "generate", str(tiny_folder), *words, "--style", "night", "--emphasis", "no-norm", "--clip-skip", "2"
    )
    assert code == 0, err
    with Image.open(next((here / "out").glob("*.png"))) as picture:
        text = picture.info["parameters"]
    assert text.startswith("a hat, (night:1.2)\nNegative prompt: day\n")
    assert "Emphasis: No norm" in text and "Clip skip: 2" in text
    code, _, err = typed("generate", str(tiny_folder), *words, "--style", "nihgt")
    assert code == 2 and "did you mean 'night'" in err
    code, _, err = typed("generate", str(tiny_folder), *words, "--styles", "no.csv", "--style", "night")
    assert code == 2 and "no.csv" in err
    code, _, err = typed("generate", str(tiny_folder), *words, "--styles", "styles.csv")
    assert code == 2 and "--style NAME" in err


def test_a_strange_prompt_is_warned_of_and_drawn(typed, here, tiny_folder):
    code, out, err = typed("generate", str(tiny_folder), "a (hat <lora:zwx:1>", "--steps", "1", "-o", "out", "-q")
    assert code == 0 and Path(out.strip()).is_file()
    assert "'(' at character 3 is never closed" in err and "<lora:zwx> is not used" in err
