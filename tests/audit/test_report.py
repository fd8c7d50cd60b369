"""What an audit comes to: fixes, changes, exit codes, the page, and the same on every machine."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bakehouse.audit import AuditSpec, Detectors, Finding, Report, audit, collect_facts, read_report, write_html_report
from bakehouse.cli.main import main
from bakehouse.core import thread_pool
from bakehouse.core.errors import UsageError
from tests.audit import make_datasets as make
from tests.audit.run_checks import SPEC

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Path:
    folder = make.clean_set(tmp_path_factory.mktemp("faulty") / "my photos")
    make.unreadable(folder)
    make.inks(folder)
    make.add_tags(folder, "shirt, white shirt", range(1, 6))
    return folder


@pytest.fixture(scope="module")
def report(faulty) -> Report:
    return audit(faulty, AuditSpec.parse(SPEC), detectors=Detectors(), thumbnails=True)


def finding(name: str, level="warning", files=("a.png",), fix="bakehouse x", **more) -> Finding:
    return Finding(id=name, level=level, title=name, why="why", files=tuple(files), fix=fix, **more)


def of(*findings: Finding, images: int = 100) -> Report:
    return Report("photos", images, 0, findings, ())


def test_the_order_of_workers_does_not_matter(faulty, monkeypatch):
    first = collect_facts(faulty, AuditSpec.parse(SPEC))
    monkeypatch.setattr(thread_pool, "WORKERS", 1)
    again = collect_facts(faulty, AuditSpec.parse(SPEC))
    assert [i.name for i in first.images] == [i.name for i in again.images]
    for a, b in zip(first.images, again.images, strict=True):
        assert (a.problem, a.header, a.record, a.placement) == (b.problem, b.header, b.record, b.placement)
        assert a.pixels is b.pixels is None or (
            a.pixels.sharpness == b.pixels.sharpness and a.pixels.outline == b.pixels.outline
        )


def test_an_image_is_decoded_once(faulty, monkeypatch):
    from PIL import ImageFile

    decoded = []
    load = ImageFile.ImageFile.load

    def counted(file):
        decoded.extend([file.filename] * bool(file.tile))  # a file that was decoded has nothing left to decode
        return load(file)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    collect_facts(faulty, AuditSpec.parse(SPEC))
    assert {decoded.count(str(p)) for p in faulty.glob("0[1-9].png")} == {1}


def test_captions_of_a_metadata_file_count(tmp_path):
    folder = make.clean_set(tmp_path / "set")
    rows = [
        {"file_name": p.with_suffix(".png").name, "text": p.read_text().strip()} for p in sorted(folder.glob("*.txt"))
    ]
    for path in folder.glob("*.txt"):
        path.unlink()
    spec = AuditSpec.parse(SPEC)
    assert "C01" in {f.id for f in audit(folder, spec, detectors=Detectors()).findings}
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not [f for f in audit(folder, spec, detectors=Detectors()).findings if f.level != "info"]


def test_an_audit_changes_nothing(faulty):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(faulty.rglob("*"))}
    audit(faulty, AuditSpec.parse(SPEC), detectors=Detectors())
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(faulty.rglob("*"))} == before


def test_the_fixes_that_help_most_come_first():
    many = finding("C06", files=[f"{n}.png" for n in range(30)], fix="bakehouse b")
    bad = finding("A01", level="error", files=["x.png", "y.png"], fix="bakehouse a")
    whole = finding("B03", files=(), fix="bakehouse c")
    fact = finding("A13", level="info", fix="bakehouse d")
    unsure = finding("B05", files=[f"{n}.png" for n in range(30)], fix="bakehouse e", heuristic=True)
    fixes = of(many, bad, whole, fact, unsure).fixes()
    assert [fix.command[-1] for fix in fixes] == ["c", "b", "e", "a"]
    assert [fix.images for fix in fixes] == [100, 30, 30, 2]
    assert fixes[1].benefit == 2 * fixes[2].benefit


def test_findings_with_one_command_are_one_fix():
    a = finding("A07", files=["a.png", "b.png"], fix="bakehouse dataset convert photos")
    b = finding("A10", files=["b.png", "c.png"], fix="bakehouse dataset convert photos")
    (fix,) = of(a, b).fixes()
    assert fix.findings == ("A07", "A10") and fix.images == 3
    assert len(of(*(finding(f"C0{n}", fix=f"bakehouse {n}") for n in range(9))).fixes()) == 5


def test_exit_codes():
    error, warning, info = (finding("A01", level=level) for level in ("error", "warning", "info"))
    assert [of(f).exit_code() for f in (error, warning, info)] == [1, 0, 0]
    assert [of(f).exit_code(strict=True) for f in (error, warning, info)] == [1, 1, 0]


def test_only_changes_are_told():
    old = of(finding("A01"), finding("C06", files=["a.png", "b.png"]), finding("B11", files=()), finding("E02"))
    new = of(finding("C06", files=["b.png", "c.png"]), replace(finding("B11", files=()), why="other"), finding("E02"),
             finding("D01", key="zwx"))  # fmt: skip
    changes = new.since(old)
    assert [f.name for f in changes.new] == ["D01 zwx"] and [f.name for f in changes.gone] == ["A01"]
    changed = [(f.name, came, went) for f, came, went in changes.changed]
    assert changed == [("B11", (), ()), ("C06", ("c.png",), ("a.png",))]
    assert [f.name for f in changes.worse] == ["D01 zwx", "C06"]
    assert not new.since(new)


def test_a_finding_that_becomes_an_error_is_new():
    changes = of(finding("B01", level="error")).since(of(finding("B01")))
    assert [f.level for f in changes.new] == ["error"] and [f.level for f in changes.gone] == ["warning"]


def test_written_and_read_it_is_the_same(report, tmp_path):
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(report.to_json()))
    assert read_report(path) == report


def test_a_report_of_an_older_version_is_read(report, tmp_path):
    values = report.to_json()
    values["findings"] = [{("mend" if k == "fix" else k): v for k, v in f.items()} for f in values["findings"]]
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(values))
    assert read_report(path) == report


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 7}'])
def test_what_is_no_report_is_refused(text, tmp_path):
    path = tmp_path / "audit.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="report"):
        read_report(path)


def test_the_page_stands_alone(report, tmp_path):
    page = write_html_report(report, tmp_path / "audit.html").read_text("utf-8")
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "<script" not in page and "http" not in page
    for f in report.findings:
        assert f'id="{f.id}"' in page
    assert page.count("data:image/webp") >= 6 and "my photos" in page
    assert "Most effective fixes" in page and "Skipped checks" in page


def test_a_page_of_changes_shows_only_those(report, tmp_path):
    earlier = replace(report, findings=tuple(f for f in report.findings if f.id != "C06"))
    page = write_html_report(report, tmp_path / "a.html", changes=report.since(earlier)).read_text("utf-8")
    assert 'id="C06"' in page and 'id="A01"' not in page


def test_names_in_a_page_are_no_markup(tmp_path):
    folder = make.clean_set(tmp_path / "<b>set", 2)
    make.add(folder, "<i>.png", 60).with_suffix(".txt").unlink()
    report = audit(folder, AuditSpec.parse(SPEC), detectors=Detectors(), thumbnails=True)
    page = write_html_report(report, tmp_path / "a.html").read_text("utf-8")
    assert "<i>" not in page and "<b>set" not in page and "&lt;i&gt;.png" in page


# --- the command ------------------------------------------------------------------------------------------------------


def typed(capsys, *words) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as e:
        main(["dataset", "audit", *map(str, words), "--no-faces", "--no-text"])
    out = capsys.readouterr()
    return int(e.value.code or 0), out.out, out.err


def test_the_command_line(faulty, tmp_path, capsys):
    code, out, err = typed(capsys, faulty, "--base", "crumb", "--html", tmp_path / "a.html")
    assert code == 1 and "A01" in out and "bakehouse dataset tidy" in out and (tmp_path / "a.html").is_file()
    assert "most effective fixes" in out and "checks skipped: B08" in err
    code, out, _ = typed(capsys, faulty, "--base", "crumb", "--json")
    assert code == 1 and json.loads(out)["findings"][0]["id"] == "A01"
    (tmp_path / "before.json").write_text(out)
    code, out, _ = typed(capsys, faulty, "--base", "crumb", "--against", tmp_path / "before.json")
    assert code == 0 and "no changes" in out


def test_warnings_count_if_one_is_strict(tmp_path, capsys):
    folder = make.clean_set(tmp_path / "set")
    make.add_tags(folder, "shirt, white shirt")
    assert typed(capsys, folder, "--base", "crumb")[0] == 0
    assert typed(capsys, folder, "--base", "crumb", "--strict")[0] == 1


def test_a_recipe_says_how_images_are_used(tmp_path, capsys):
    folder = make.clean_set(tmp_path / "photos")
    recipe = tmp_path / "me.toml"
    with pytest.raises(SystemExit):
        main(["plan", str(folder), "--subject", "zwx person", "-o", str(recipe), "--quiet"])
    capsys.readouterr()
    code, out, _ = typed(capsys, folder, "--recipe", recipe, "--json")
    settings = json.loads(out)["settings"]
    assert code == 0 and settings["family"] == "crumb" and settings["buckets"]["resolution"] == 128
    assert settings["triggers"][0]["word"] == "zwx" and settings["repeats"]["."] > 1 and settings["epochs"]


def test_wrong_words_are_told(tmp_path, capsys):
    for words in ([tmp_path / "nowhere"], [tmp_path]):
        code, _, err = typed(capsys, *words)
        assert code == 2 and ("does not exist" in err or "no images" in err)
    folder = make.clean_set(tmp_path / "set", 2)
    with pytest.raises(SystemExit) as e:
        main(["dataset", "drop", str(folder), "B99"])
    assert e.value.code == 2 and "unknown check 'B99'" in capsys.readouterr().err


def test_the_table_of_checks_is_up_to_date():
    from tools.write_audit_docs import page

    text = (ROOT / "docs" / "audit.md").read_text("utf-8")
    assert page(text) == text, "run `python -m tools.write_audit_docs`"
