from __future__ import annotations

import pytest

from bakehouse.recipe import Recipe
from bakehouse.recipe.importers import Imported, import_settings

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A place with images in kohya's folders, where settings are written and imported."""
    for name in ("img/10_zwx person", "img/3_hzn hat", "reg/1_person"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(PIXEL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def imported(bench):
    """Imports a text as a file of that name; what it writes must load as what it returns."""

    def make(text: str, name: str = "settings.toml", **options) -> Imported:
        (bench / name).write_text(text, "utf-8")
        made = import_settings(bench / name, **options)
        written = bench / "me.toml"
        written.write_text(made.to_toml(beside=bench), "utf-8")
        assert Recipe.load(written).model_dump() == made.recipe.resolved_from(bench).model_dump()
        return made

    return make


@pytest.fixture
def statuses():
    """What became of each key, by its name without section or dashes."""
    return lambda made: {_bare(note): note.status for note in made.notes}


@pytest.fixture
def lost():
    """What could not be taken over, and why."""
    return lambda made: {_bare(note): note.why for note in made.lost}


@pytest.fixture
def beside(bench):
    """A path as seen from the bench."""
    return lambda path: path.resolve().relative_to(bench.resolve()).as_posix()


def _bare(note):
    return note.key.split("] ")[-1].removeprefix("--")
