"""The documentation is correct: its commands and code are run, its links, tables and command names are checked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import shutil
import sys
import types
from importlib import resources
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from bakehouse.audit import detector_availability
from bakehouse.cli.main import app, main
from bakehouse.data.captions import CaptionOptions
from bakehouse.vision.text_detection import RapidOcrDetector, TextRegion
from tests.pages import CHEAP_TRAINING, CONSOLE, PAGES, ROOT, cheaper, commands

EXAMPLES = Path(str(resources.files("bakehouse"))) / "assets" / "examples"
PACK = ("pack/zwx person", "pack/qvk robot", "pack/zwx person + qvk robot")
WALKED = {"walkthrough.md", "extending-a-small-set.md"}
"""Pages whose commands are run by a test of their own, which also checks files and output."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One cache for all pages, as a reader has it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def read_texts():
    """A detector of text that reads an image once for all pages: it takes most of an audit's time."""
    known: dict[bytes, list[TextRegion]] = {}

    class Known(RapidOcrDetector):
        def __call__(self, image: Image.Image) -> list[TextRegion]:
            key = hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).digest()
            if key not in known:
                known[key] = super().__call__(image)
            return known[key]

    return Known


@pytest.fixture
def workdir(tmp_path, cache, read_texts, one_level_of_errors, monkeypatch):
    """A working folder with photos, as a reader of the pages has it."""
    monkeypatch.setattr(detector_availability, "RapidOcrDetector", read_texts)
    shutil.copytree(EXAMPLES / "mira", tmp_path / "photos")
    for path in sorted((tmp_path / "photos").glob("*.png"))[4:]:
        path.unlink()
        path.with_suffix(".txt").unlink()
    for group in ("wardrobe/red dress", "wardrobe/red dress + vest", "wardrobe/misc", *PACK):
        shutil.copytree(tmp_path / "photos", tmp_path / group)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(cache))
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))
    return tmp_path


def run_command(line: str) -> None:
    """Run one command in this process; it must succeed.

    Evaluations of all pages share what they have generated and scored, which they find by its content.
    """
    shared, own = Path(os.environ["BAKEHOUSE_CACHE"]) / "of evaluations", Path("runs/me/report/cache")
    is_evaluation = line.startswith("bakehouse evaluate runs/me")
    if is_evaluation and shared.is_dir():
        shutil.copytree(shared, own, dirs_exist_ok=True)
    with pytest.raises(SystemExit) as e:
        main(cheaper(line)[1:])
    assert not e.value.code, line
    if is_evaluation:
        shutil.copytree(own, shared, dirs_exist_ok=True)


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p) and p.name not in WALKED], ids=lambda p: p.name)
def test_every_command_of_a_page_runs(page, workdir, capsys):
    lines = commands(page)
    if not any(" -o me.toml" in line for line in lines):
        run_command('bakehouse plan photos --subject "zwx person" -o me.toml')
    needs_run = any("runs/me" in line for line in lines) and not any("--run runs/me" in line for line in lines)
    if needs_run:
        run_command("bakehouse train me.toml --run runs/me")
    for line in lines:
        assert line.startswith("bakehouse "), f"{page.name}: {line}"
        run_command(line)


def test_the_commands_of_the_page_about_small_sets_run(workdir):
    """The run of a few steps has learned nothing: its evaluation is made to pick it all the same."""
    run_command('bakehouse plan photos --subject "zwx person" -o me.toml')
    run_command("bakehouse train me.toml --run runs/me")
    for name, color in (("anna", "#b03030"), ("ben", "#3050b0")):
        (workdir / name).mkdir()
        figure = Image.new("RGBA", (64, 128))
        ImageDraw.Draw(figure).rectangle((20, 20, 44, 120), fill=color)
        figure.save(workdir / name / "1.png")
        (workdir / name / "1.txt").write_text(f"{name} person, full body")
    (workdir / "places").mkdir()
    Image.new("RGB", (96, 64), "#a0c0a0").save(workdir / "places" / "field.png")
    for line in commands(ROOT / "docs" / "extending-a-small-set.md"):
        run_command(line)
        scores = workdir / "runs" / "me" / "report" / "scores.json"
        if "evaluate" in line:
            value = json.loads(scores.read_text("utf-8"))
            value["pick"] = {"weights": "weights/zwx-person.safetensors", "weight": 1.0, "epoch": 1, "why": "a test"}
            scores.write_text(json.dumps(value), "utf-8")
    drawn = list((workdir / "runs" / "me" / "extend").rglob("*.png"))
    assert len(drawn) >= 2 and len(list((workdir / "pair").glob("*.png"))) == 18
    assert (workdir / "photos-large").is_dir() and len(list((workdir / "photos").glob("*.png"))) == 4


def test_the_python_of_the_readme_runs(workdir, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[1]
    call = 'recipe_for_folder("photos", "zwx person")'
    assert call in code
    settings = "{" + ", ".join(f'"{k}": {v}' for k, v in CHEAP_TRAINING.items()).replace("false", "False") + "}"
    code = code.replace(call, f"{call[:-1]}, settings={settings})").replace("seed=1)", "seed=1, steps=1)")
    exec(compile(code, "README.md", "exec"), {})
    assert (workdir / "me.png").is_file()


def test_the_python_of_the_page_about_pictures_runs(workdir):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "image-to-image.md").read_text("utf-8"), re.DOTALL)[1]
    cheap = code.replace("image=begin)", "image=begin, steps=2)").replace("height=96,", "height=96, steps=2,")
    exec(compile(cheap.replace("preview_every=5", "preview_every=1"), "image-to-image.md", "exec"), {})
    assert {"wide.png", "large.png", "preview.png"} <= {path.name for path in workdir.iterdir()}


def test_the_python_of_the_page_about_regions_runs(workdir):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "regions.md").read_text("utf-8"), re.DOTALL)[1]
    exec(compile(code.replace("regions=both)", "regions=both, steps=2)"), "regions.md", "exec"), {})
    assert (workdir / "two.png").is_file()


def test_the_python_of_the_page_about_grids_runs(workdir):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "grids.md").read_text("utf-8"), re.DOTALL)[1]
    assert "steps=8" in code
    exec(compile(code.replace("steps=8", "steps=1"), "grids.md", "exec"), {})
    assert (workdir / "grids" / "python" / "grid.html").is_file()


def test_blocks_that_are_not_run_have_a_reason():
    for page in PAGES:
        text = page.read_text("utf-8")
        assert text.count("```console") == len(CONSOLE.findall(text)), page.name


def test_links_lead_to_files_and_headings():
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text("utf-8")):
            if "://" in target:
                continue
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name}: {target}"
            headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE) if anchor else []
            anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert not anchor or anchor in anchors, f"{page.name}: {target}#{anchor}"


def test_every_command_is_documented():
    text = "\n".join(p.read_text("utf-8") for p in PAGES)
    names = [c.name or c.callback.__name__ for c in app.registered_commands]
    names += [
        f"{g.name} {c.name or c.callback.__name__}"
        for g in app.registered_groups
        for c in g.typer_instance.registered_commands
    ]
    assert not [name for name in names if f"bakehouse {name}" not in text]


def test_tables_of_the_recipe_are_up_to_date():
    page = runpy.run_path(str(ROOT / "tools" / "write_recipe_docs.py"))["page"]
    text = (ROOT / "docs" / "recipe.md").read_text("utf-8")
    assert page(text) == text, "run `make docs`"


def test_the_table_of_embeddings_is_up_to_date():
    page = runpy.run_path(str(ROOT / "tools" / "write_embedding_docs.py"))["page"]
    text = (ROOT / "docs" / "embeddings.md").read_text("utf-8")
    assert page(text) == text, "run `make docs`"


@pytest.mark.parametrize("name", ["templates.md", "base-models.md"])
def test_tables_of_templates_and_conventions_are_up_to_date(name):
    page = runpy.run_path(str(ROOT / "tools" / "write_prompt_docs.py"))["PAGES"][name]
    text = (ROOT / "docs" / name).read_text("utf-8")
    assert page(text) == text, "run `make docs`"


def test_docstrings_below_fields_are_found():
    described = runpy.run_path(str(ROOT / "tools" / "write_recipe_docs.py"))["described"]
    assert described(CaptionOptions).keys() == CaptionOptions.model_fields.keys()


@pytest.fixture
def svdiff(monkeypatch):
    """The module of the example in CONTRIBUTING."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)[1]
    module = types.ModuleType("contributed_svdiff")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    return module


def test_the_worked_example_is_not_there_yet(svdiff):
    from bakehouse.recipe.importers.kohya_network import kinds

    assert svdiff.SVDiff().kind not in kinds()


def test_the_worked_example_works(svdiff, tiny):
    import torch

    from bakehouse.adapters import inject

    x, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 700])
    cond = tiny.encode_prompt(["zwx person", "person"])
    unet = tiny.trainable_modules()["lora_unet"]
    before = {name: p.detach().clone() for name, p in unet.named_parameters()}
    with torch.no_grad():
        base = tiny(x, t, cond)
        adapter = inject(svdiff.SVDiff(), tiny.trainable_modules())
        assert torch.equal(tiny(x, t, cond), base)
        for p in adapter.parameters():
            p.copy_(torch.randn(p.shape) * 0.3)
        beside = tiny(x, t, cond)
        assert not torch.allclose(beside, base, atol=1e-3)
        with adapter.scaled(0):
            assert torch.equal(tiny(x, t, cond), base)
        adapter.merge_into()
        adapter.merge_into()
        assert torch.allclose(tiny(x, t, cond), beside, atol=1e-4)
        adapter.unmerge()
    assert all(torch.equal(p, before[name]) for name, p in unet.named_parameters())
    stem, layer = next(iter(adapter.layers.items()))
    again = svdiff.SVDiffLayer.from_tensors(layer.state_dict(), adapter.sites[stem].module)
    weight = adapter.sites[stem].module.weight
    assert torch.equal(again.delta(weight), layer.delta(weight))
