"""Each finding names the command that fixes it, and that command fixes it; else the finding has advice."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from bakehouse.audit import CHECKS, Report
from bakehouse.cli.main import main
from tests.audit import make_datasets as make
from tests.audit.cases import CASES, KNOWN_TAGS, SIDE_EFFECTS, Case
from tests.audit.run_checks import audit_with, audit_with_recipe, run, stand_in


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    return make.clean_set(tmp_path_factory.mktemp("clean") / "set")


@pytest.fixture
def folder(clean, tmp_path, monkeypatch) -> Path:
    """A clean set in the folder that commands are run in."""
    stand_in(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    said = {tag.strip() for n in range(10) for tag in make.caption(n).split(",")}
    rows = "".join(f"{100 + i},{tag},0,5000\n" for i, tag in enumerate(sorted(said)))
    Path("selected_tags.csv").write_text(KNOWN_TAGS + rows)
    return make.copy_of(clean, tmp_path / "photos")


def audit_case(case: Case, folder: Path, recipe: str = "me.toml") -> Report:
    if case.recipe or recipe != "me.toml":
        return audit_with_recipe(folder, recipe)
    return audit_with(folder, case.spec, "selected_tags.csv")


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.id}-{c.key}-{c.by}".replace("--", "-"))
def test_the_command_of_each_finding_fixes_it(case, folder):
    case.fault(folder)
    report = audit_case(case, folder)
    advice_missing = [f.name for f in report.findings if f.level != "info" and not (f.fix or f.advice)]
    assert not advice_missing, f"{advice_missing} have neither a fix nor advice"
    (finding,) = (f for f in report.findings if (f.id, f.key) == (case.id, case.key))
    assert finding.why and case.level in ("", finding.level), finding.level
    assert all((folder / name).exists() or (folder / name).is_symlink() for name in finding.files)
    if case.by != "command":
        assert not finding.fix
        assert bool(finding.advice) == (case.by == "person")
        return
    run(f"{finding.fix} --quiet")
    after = folder.with_name("photos-plain") if "-plain" in finding.fix else folder
    then = audit_case(case, after, "recipe.toml" if "-o recipe.toml" in finding.fix else "me.toml").findings
    left = [f for f in then if (f.id, f.key) == (case.id, case.key)]
    # A fixed finding may still be reported as info.
    assert all(f.level == "info" != finding.level for f in left), left
    before = {f.name for f in report.findings if f.level != "info"}
    allowed = SIDE_EFFECTS.get(case.id, ())
    side_effects = [(f.name, f.why) for f in then if f.level != "info" and f.name not in before and f.id not in allowed]
    assert not side_effects


@pytest.mark.parametrize("number", ["A10", "C06"])
def test_a_fix_can_be_undone_and_the_finding_returns(number, folder):
    case = next(case for case in CASES if case.id == number)
    case.fault(folder)
    report = audit_case(case, folder)
    run(f"{next(f.fix for f in report.findings if f.id == number)} --quiet")
    run(f"bakehouse dataset undo {shlex.quote(str(folder))}")
    assert audit_case(case, folder).findings == report.findings


def test_every_check_is_in_the_table():
    assert {case.id for case in CASES} == {check.id for check in CHECKS}
    fixed = Counter(case.id for case in CASES if case.by == "command")
    named = {check.id for check in CHECKS if check.fix}
    assert named <= fixed.keys(), "a command of the table is never run"
    without_fix = {check.id for check in CHECKS if not (check.fix or check.advice)}
    assert without_fix <= {check.id for check in CHECKS if check.level == "info"}


def test_every_key_that_a_check_gives_has_a_case():
    """Keys are words in the source, or names of the dataset's own: the words are audit_with for."""
    source = Path(make.__file__).parents[2] / "src" / "bakehouse" / "audit"
    keys = {
        key for file in source.glob("*_checks.py") for key in re.findall(r'key="([a-z ]+)"', file.read_text("utf-8"))
    }
    assert keys and keys <= {case.key for case in CASES}


def test_commands_hold_any_tag_as_one_word(folder):
    """A shell runs what is copied: braces, quotes and dollars of a tag stay letters, and the command removes them."""
    odd = ["{blobfish", 'red"hat', "$(hat)", "blue`hat"]
    make.add_tags(folder, ", ".join(odd), range(1, 6))
    report = audit_with(folder, {"vocabulary": "selected_tags.csv"})
    (found,) = [f for f in report.findings if f.id == "C11"]
    words = shlex.split(found.fix)
    assert {words[i + 1] for i, word in enumerate(words) if word == "--remove"} == set(odd)
    run(found.fix)
    assert not [f for f in audit_with(folder, {"vocabulary": "selected_tags.csv"}).findings if f.id == "C11"]


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        ("B05", lambda image, path: image.filter(ImageFilter.GaussianBlur(4)).save(path)),
        ("B06", lambda image, path: image.save(path, "JPEG", quality=15)),
        ("B01", lambda image, path: image.resize((60, 60)).save(path)),
        ("B07", lambda image, path: image.convert("L").save(path)),
    ],
)
def test_dropping_most_of_the_images_is_never_advised(number, fault, folder, capsys):
    images = sorted(folder.glob("*.png"))
    for count in (1, len(images) * 9 // 10, len(images)):
        for path in images[:count]:
            with Image.open(path) as image:
                fault(image.convert("RGB"), path)
        with pytest.raises(SystemExit):
            main(["dataset", "audit", str(folder), "--base", "crumb", "--resolution", "128", "--json"])
        found = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["id"] == number]
        named = {name for f in found for name in f["files"]}
        assert len(named) >= count
        for finding in found:
            if count == 1 and number in ("B05", "B06"):
                assert "dataset drop" in finding["fix"]
            elif count > 1:
                assert "dataset drop" not in finding["fix"]
                assert finding["fix"] or "find" in finding["advice"]
