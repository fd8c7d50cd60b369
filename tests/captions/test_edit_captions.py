from __future__ import annotations

import json

import pytest

from bakehouse.captions import RuleSet, parse_rules
from bakehouse.captions.caption_files import list_images, read_captions
from bakehouse.captions.edit_captions import Edit
from bakehouse.cli.main import main
from bakehouse.core.errors import UsageError
from bakehouse.core.events import Warned
from bakehouse.curation import apply_and_undo
from bakehouse.curation.changeset import Proposal

JAPANESE = "初音ミク, 青い髪"


def run(root, *rules, **options):
    """Edits a folder; gives what was told."""
    made = list(Edit(rules=RuleSet(rules=parse_rules(rules)), **options).propose(list_images(root)))
    apply_and_undo.apply_proposals(root, "edit", [p for p in made if isinstance(p, Proposal)])
    return made


def typed(*words):
    with pytest.raises(SystemExit) as e:
        main(["captions", *map(str, words)])
    return e.value.code


ADD = {"kind": "add", "tags": ["zwx"]}


@pytest.mark.parametrize(
    ("data", "after"),
    [
        (b"a, b", b"zwx, a, b"),
        (b"a, b\n", b"zwx, a, b\n"),
        (b"\xef\xbb\xbfa", b"zwx, a"),
        ("a, é".encode("utf-16"), "zwx, a, é".encode()),
        ("a, é".encode("utf-16-be"), "zwx, a, é".encode()),
        (JAPANESE.encode("cp932"), f"zwx, {JAPANESE}".encode()),
        ("Zoé, crème".encode("cp1252"), "zwx, Zoé, crème".encode()),
        (b"one, two\r\n", b"zwx, one, two\n"),
        (b"one\r\n\r\ntwo", b"zwx, one\n\nzwx, two"),
        (b"", b""),
        (b" \n", b"\n"),
        ("1girl，solo".encode(), "zwx, 1girl，solo".encode()),
        ("a\u00a0b".encode(), "zwx, a\u00a0b".encode()),
    ],
)
def test_every_encoding_is_edited_as_utf8_and_comes_back_byte_for_byte(folder, data, after):
    root = folder(a=data)
    run(root, ADD)
    now = (root / "a.txt").read_bytes()
    assert now == (after if data.strip() else data)
    if now != data:
        apply_and_undo.undo(root)
    assert (root / "a.txt").read_bytes() == data


def test_what_the_rules_leave_is_not_touched_and_utf8_is_asked_for(folder):
    data = JAPANESE.encode("cp932")
    root = folder(a=data, b="x\r\ny", c="plain")
    assert not run(root, {"kind": "remove", "tags": ["nothing"]})
    made = run(root, utf8=True)
    assert {str(p.path): p.why for p in made} == {"a.txt": "cp932 to UTF-8", "b.txt": "CRLF to LF"}
    assert (root / "a.txt").read_text("utf-8") == JAPANESE
    assert (root / "b.txt").read_bytes() == b"x\ny"
    apply_and_undo.undo(root)
    assert (root / "a.txt").read_bytes() == data


def test_bytes_that_cannot_be_read_are_left_alone_and_told(folder):
    data = "zwx, a".encode("utf-16") + b"m"
    root = folder(a=data, b="x")
    told = [e.message for e in run(root, ADD, utf8=True) if isinstance(e, Warned)]
    assert "undecodable bytes" in told[0]
    assert "a.txt" in told[0]
    assert (root / "a.txt").read_bytes() == data
    assert (root / "b.txt").read_text() == "zwx, x"


def test_one_tag_a_line_becomes_a_caption(folder):
    root = folder(a="1girl\nsolo\nblue hair\n", b="one")
    run(root, join_lines=True)
    assert (root / "a.txt").read_text() == "1girl, solo, blue hair\n"
    assert (root / "b.txt").read_text() == "one"


def test_json_stays_and_text_comes_beside_it(folder):
    root = folder(a=None)
    (root / "a.json").write_text(json.dumps({"tags": ["1girl", "solo"]}))
    run(root, ADD)
    assert (root / "a.txt").read_text() == "zwx, 1girl, solo\n"
    assert json.loads((root / "a.json").read_text()) == {"tags": ["1girl", "solo"]}
    assert read_captions(root).captions[0].captions == ("zwx, 1girl, solo",)


def test_raw_tags_are_edited_where_captions_are_compiled_from_them(folder):
    root = folder(a="compiled")
    (root / "a.tags").write_text("raw, tags\n")
    run(root, ADD)
    assert (root / "a.tags").read_text() == "zwx, raw, tags\n"
    assert (root / "a.txt").read_text() == "compiled"


def test_nothing_to_edit_is_explained(folder):
    (silent,) = run(folder(a=None), ADD)
    assert "captions tag" in silent.message
    asked = {**ADD, "where": {"has": ["x", "dog"], "path": "!b*"}}
    (unmet,) = run(folder(a="x", b="dog, x"), asked, {**asked, "kind": "remove"})
    assert "the filter (path !b*, has x, dog)" in unmet.message
    assert run(folder(a="zwx", b="zwx"), ADD) == []


def test_captions_without_images(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    run(tmp_path, ADD)
    assert (tmp_path / "a.txt").read_text() == "zwx, x"


def test_a_text_that_is_no_caption_is_left_alone(folder):
    root = folder(a="x")
    (root / "notes.txt").write_text("not a caption")
    run(root, ADD)
    assert (root / "notes.txt").read_text() == "not a caption"
    assert read_captions(root).notes == ("notes.txt: no image with this name; ignored",)


def test_the_same_stem_in_two_folders(folder):
    root = folder(a="x")
    for name in ("1_one", "2_two"):
        (root / name).mkdir()
        (root / name / "001.png").write_bytes((root / "a.png").read_bytes())
        (root / name / "001.txt").write_text(name)
    run(root, ADD)
    assert (root / "1_one/001.txt").read_text() == "zwx, 1_one"
    assert (root / "2_two/001.txt").read_text() == "zwx, 2_two"


def test_captions_in_a_metadata_file_are_named(folder):
    root = folder(a=None)
    (root / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "x"}\n')
    with pytest.raises(UsageError, match=r"metadata\.jsonl"):
        read_captions(root)


def test_reasons_say_what_comes_and_goes(folder):
    root = folder(a="meme, Blue_Hair, b", b="b, a", c="A girl sits on a long green bench.")
    rules = RuleSet.load_rules("clean").with_rules(parse_rules([{"kind": "sort", "by": "alphabet"}, ADD]))
    made = list(Edit(rules=rules).propose(list_images(root)))
    why = {str(p.path): p.why for p in made if isinstance(p, Proposal)}
    assert why["a.txt"] == "-meme +zwx 1 respelled"
    assert why["b.txt"] == "+zwx"
    assert "1 caption with sentences" in next(e.message for e in made if isinstance(e, Warned))


def test_the_command(folder, capsys):
    root = folder(a="meme, blue_hair, zwx", b="x, blue hair")
    words = ["edit", root, "--rules", "clean", "--add", "zwx", "--replace", "x=y=z", "--regex", "s/^y/w/"]
    assert typed(*words, "--dry-run") == 0
    assert (root / "a.txt").read_text() == "meme, blue_hair, zwx"
    assert "edit: 2 changes proposed" in capsys.readouterr().out
    assert typed(*words, "--sort", "frequency") == 0
    assert (root / "a.txt").read_text() == "zwx, blue hair"
    assert (root / "b.txt").read_text() == "zwx, blue hair, w=z"
    assert "bakehouse dataset undo" in capsys.readouterr().out
    assert typed("edit", root, "--add", "zwx") == 0
    assert "edit: nothing to change" in capsys.readouterr().out
    assert typed("edit", root, "--lower", "--has", "dog", "--path", "b*") == 0
    assert "matches the filter (path b*, has dog)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to do"),
        (["--split"], "needs the vocabulary"),
        (["--regex", "a/b"], "s/FIND/PUT/"),
        (["--regex", "s/(/x/"], "not a valid regular expression"),
        (["--replace", "ab"], "on both sides of '='"),
        (["--replace", "=ab"], "on both sides of '='"),
        (["--replace", "ab="], "to delete a tag, use --remove"),
        (["--add", " "], "' ' is not a tag"),
        (["--remove", ""], "'' is not a tag"),
        (["--junk", "--has", ","], "',' is not a tag"),
        (["--rules", "cleen"], "no rules file"),
        (["--synonyms", "--vocabulary", "nothing"], "nothing"),
        (["--sort", "size"], "size"),
    ],
)
def test_wrong_words_are_named(folder, capsys, words, said):
    root = folder(a="x")
    assert typed("edit", root, *words) == 2
    assert said in capsys.readouterr().err
    assert (root / "a.txt").read_text() == "x"


def test_shipped_rules_are_printed(capsys):
    assert typed("rules", "clean") == 0
    assert "[[rules]]" in capsys.readouterr().out
    assert typed("rules") == 0
    assert "junk            Tags that describe nothing visible" in capsys.readouterr().out
    assert typed("rules", "jnk") == 2
    assert "did you mean 'junk'" in capsys.readouterr().err
