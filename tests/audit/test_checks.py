"""When a check finds something and when it does not. That each finding is fixed is in `test_fixes.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakehouse.audit import AuditSpec, Detectors, audit
from bakehouse.audit.facts import Box
from bakehouse.vision.text_detection import TextRegion
from tests.audit import make_datasets as make
from tests.audit.cases import KNOWN_TAGS
from tests.audit.run_checks import SPEC, ZWX, audit_with, run, trigger


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    return make.clean_set(tmp_path_factory.mktemp("clean") / "set")


@pytest.fixture
def known(tmp_path) -> str:
    said = {tag.strip() for n in range(10) for tag in make.caption(n).split(",")}
    rows = "".join(f"{100 + i},{tag},0,5000\n" for i, tag in enumerate(sorted(said)))
    path = tmp_path / "selected_tags.csv"
    path.write_text(KNOWN_TAGS + rows)
    return str(path)


def test_a_clean_set_has_no_faults(clean, known):
    report = audit_with(clean, {"triggers": ZWX, "vocabulary": "@known"}, known)
    assert [(f.name, f.why, f.notes) for f in report.findings if f.level != "info"] == []
    assert report.exit_code() == 0 and report.fixes() == ()


# --- with detectors ---------------------------------------------------------------------------------------------------


def boxes(*found: Box) -> Detectors:
    return Detectors(detect_faces=lambda image: tuple(found))


def ids(report) -> dict[str, str]:
    return {f.name: f.level for f in report.findings}


def test_small_and_many_faces(clean):
    far = audit_with(clean, {}, detectors=boxes(Box(0.4, 0.4, 0.45, 0.5)))
    assert ids(far)["B08 far"] == "warning" and "B10 many" not in ids(far)
    two = audit_with(clean, {}, detectors=boxes(Box(0.1, 0.1, 0.4, 0.6), Box(0.6, 0.1, 0.9, 0.6)))
    assert ids(two)["B10 many"] == "warning" and "B08 far" not in ids(two)
    assert "B10 many" not in ids(
        audit_with(clean, {"kind": "style"}, detectors=boxes(Box(0, 0, 1, 1), Box(0, 0, 1, 1)))
    )
    assert ids(audit_with(clean, {}, detectors=boxes()))["B10 none"] == "info"


def test_a_face_that_the_bucket_cuts_is_an_error(clean, tmp_path):
    folder = make.copy_of(clean, tmp_path / "photos")
    make.long(folder)
    top = boxes(Box(0.3, 0.0, 0.7, 0.25))
    assert ids(audit_with(folder, {}, detectors=top))["B02 face"] == "error"
    middle = boxes(Box(0.3, 0.4, 0.7, 0.6))
    assert "B02 face" not in ids(audit_with(folder, {}, detectors=middle))


def test_framings_are_told_by_faces_where_tags_say_nothing(clean, tmp_path):
    folder = make.copy_of(clean, tmp_path / "photos")
    for n in range(10):
        make.set_caption(folder, f"zwx person, hat {n}", n)
    report = audit_with(folder, {}, detectors=boxes(Box(0.4, 0.05, 0.5, 0.15)))
    assert "100\u00a0% full body" in next(f.why for f in report.findings if f.id == "B11")


def test_writing_and_watermarks(clean):
    line = TextRegion(((4.0, 4.0), (60.0, 4.0), (60.0, 12.0), (4.0, 12.0)), "www.example.com", 0.99, "url")
    report = audit_with(clean, {"kind": "style"}, detectors=Detectors(detect_texts=lambda image: (line,)))
    assert ids(report)["B09 rough"] == "warning" and ids(report)["B09 watermark rough"] == "error"
    sign = TextRegion(((40.0, 60.0), (80.0, 60.0), (80.0, 80.0), (40.0, 80.0)), "BAKERY", 0.99, "text")
    seen = iter(range(100))
    one = audit_with(clean, {}, detectors=Detectors(detect_texts=lambda image: (sign,) if next(seen) == 0 else ()))
    assert [f.name for f in one.findings if f.id == "B09"] == ["B09 signs rough"]


def test_what_could_not_be_looked_for_is_said(clean):
    report = audit_with(clean, {})
    assert report.skipped["B08"] == "switched off by --no-faces"
    assert "--subject" in report.skipped["D01"] and "selected_tags.csv" in report.skipped["C11"]
    many = audit(clean, AuditSpec.parse({**SPEC, "faces": None, "text": None, "slow": 3}))
    assert "pass --text" in many.skipped["B09"] and "pass --faces" in many.skipped["B10"]


# --- triggers and balance ---------------------------------------------------------------------------------------------


def outfits(tmp_path, names=("3_red dress", "2_blue coat"), counts=(10, 15)) -> Path:
    folder = tmp_path / "photos"
    make.outfit_folders(folder, names, counts)
    return folder


def test_triggers_that_cannot_be_told_apart_come_with_both_ways_out(tmp_path):
    folder = outfits(tmp_path)
    report = audit_with(folder, {"triggers": [trigger("zwx"), trigger("qvx", kind="outfit")]})
    finding = next(f for f in report.findings if f.id == "D02")
    assert finding.level == "error" and "share = 0.5" in finding.advice and "also_without = true" in finding.advice


def test_a_tag_that_grows_together_with_a_trigger(clean, tmp_path):
    folder = make.copy_of(clean, tmp_path / "photos")
    make.add_tags(folder, "looking at viewer", range(7))
    found = audit_with(folder, {"triggers": ZWX})
    assert "'looking at viewer' (70\u00a0%)" in next(f.why for f in found.findings if f.name == "D04 zwx often")
    make.add_tags(folder, "looking at viewer", range(10))
    assert ids(audit_with(folder, {"triggers": ZWX}))["D04 zwx"] == "warning"


def test_words_that_mean_something(clean, tmp_path):
    path = tmp_path / "tags.csv"
    path.write_text("tag_id,name,category,count\n1,mira,0,900\n2,bulma,4,5000\n")
    for word, name in (("mira", "D08 mira"), ("bulma_dbz", "D08 bulma_dbz")):
        spec = {"triggers": [trigger(word, strategy="fluid")], "vocabulary": str(path)}
        assert ids(audit_with(clean, spec)).get(name) == "warning"
    spec = {"triggers": ZWX, "vocabulary": str(path)}
    assert not [name for name in ids(audit_with(clean, spec)) if name.startswith("D08")]


def test_few_images_and_packs(tmp_path, clean):
    folder = outfits(tmp_path, counts=(10, 5))
    assert ids(audit_with(folder, {}))["E01 2_blue coat"] == "warning" and "E01 3_red dress" not in ids(
        audit_with(folder, {})
    )
    assert ids(audit_with(clean, {"kind": "pack"}))["E01"] == "warning"


def test_folders_of_a_heap_are_no_subjects(tmp_path, clean):
    folder = make.copy_of(clean, tmp_path / "heap")
    for n in range(4):
        place = folder / ("from the web" if n % 2 else "phone/2024")
        place.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"{n:02d}.*"):
            path.rename(place / path.name)
    assert not [f for f in audit_with(folder, {}).findings if f.id == "E01"]
    told = {"repeats": {"phone": 3, ".": 1}}
    few = [f for f in audit_with(folder, told).findings if f.id == "E01"]
    assert [(f.key, len(f.files)) for f in few] == [("phone", 2)] and few[0].why.startswith("'phone' has 2 images")
    for path in [*folder.glob("*.png"), *folder.glob("*.txt")]:
        path.unlink()
    few = [f for f in audit_with(folder, {}).findings if f.id == "E01"]
    assert [(f.key, len(f.files)) for f in few] == [("", 4)] and few[0].why.startswith("the folder has 4 images")


def test_each_trigger_goes_where_it_belongs(tmp_path):
    folder = outfits(tmp_path)
    triggers = [trigger("zwx", class_word="dress", folders=["3_red dress"]), trigger("qvl", folders=["2_blue coat"])]
    spec = {"triggers": triggers}
    for path in folder.rglob("*.txt"):
        path.write_text(path.read_text().replace("zwx person, ", ""))
    found = [f for f in audit_with(folder, spec).findings if f.id == "D01"]
    assert [f.key for f in found] == ["zwx", "qvl"]
    for finding in found:
        run(f"{finding.fix} --quiet")
    assert not [f for f in audit_with(folder, spec).findings if f.id == "D01"]
    assert not any("qvl" in path.read_text() for path in (folder / "3_red dress").glob("*.txt"))


def test_more_tokens_kept_than_there_are_triggers(clean):
    report = audit_with(clean, {"triggers": ZWX, "keep_tokens": 2})
    (finding,) = (f for f in report.findings if f.id == "D01")
    assert not finding.fix and "at most 1" in finding.advice


@pytest.mark.parametrize(
    ("optimizer", "epochs", "found"),
    [("prodigy", 8, False), ("adamw", 8, True), ("prodigy", 2, True), ("adamw", 16, False)],
)
def test_images_shown_in_all(clean, optimizer, epochs, found):
    spec = {"family": "sd1", "optimizer": optimizer, "epochs": epochs, "repeats": {".": 30}}
    report = audit_with(clean, spec)  # 10 images x 30 = 300 an epoch
    assert ("E03" in ids(report)) == found
    assert ids(report)["E06"] == ("warning" if 30 * epochs > 200 else "info")


@pytest.mark.parametrize(("repeats", "fewer"), [(48, 4), (80, 0)])
def test_fewer_epochs_are_advised_only_if_the_plan_s_exposures_are_still_reached(clean, repeats, fewer):
    # On crumb the plan shows 1,920: 10 images x 48 x 4. Two epochs of 10 x 80 are less.
    spec = {"family": "crumb", "optimizer": "adamw", "epochs": 5, "repeats": {".": repeats}, "recipe": "r.toml"}
    (finding,) = (f for f in audit_with(clean, spec).findings if f.id == "E06")
    assert finding.level == "warning"
    if fewer:
        assert f"--set train.epochs={fewer} " in finding.fix and not finding.advice
    else:
        assert not finding.fix and "find more images" in finding.advice and "1,920" in finding.advice


@pytest.mark.parametrize(
    ("kind", "folders", "words"),
    [
        ("outfits", ("3_red dress", "2_blue coat"), "--subject 'zwx person' --kind outfits"),
        ("pack", ("zwx person", "qvk robot"), "set --kind pack"),
        ("outfits", (), "--kind character"),
    ],
)
def test_commands_that_plan_name_the_kind_that_was_asked_for(tmp_path, kind, folders, words):
    images = make.clean_set(tmp_path / "set")
    if folders:
        make.outfit_folders(images, folders)
    report = audit_with(images, {"kind": kind, "family": "sd1", "triggers": ZWX, "epochs": 1, "repeats": {".": 1}})
    (finding,) = (f for f in report.findings if f.id == "E03")
    assert finding.fix.startswith("bakehouse plan") and words in finding.fix
