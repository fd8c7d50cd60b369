"""The committed notebook: forms alone, short cells, nothing stored."""

from __future__ import annotations

import nbformat
import pytest

from tools.write_notebook import NOTEBOOK, STEPS, notebook_text


@pytest.fixture(scope="module")
def notebook():
    return nbformat.reads(NOTEBOOK.read_text("utf-8"), as_version=4)


def test_the_notebook_is_up_to_date():
    assert NOTEBOOK.read_text("utf-8") == notebook_text(), "run: python -m tools.write_notebook"


def test_every_cell_is_a_form_whose_code_is_hidden(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code] == ["install", "answers", *STEPS]
    for cell in code:
        lines = cell.source.splitlines()
        assert lines[0].startswith("# @title "), "Colab shows a cell with this first line as a form"
        assert cell.metadata.cellView == "form" and cell.metadata.jupyter.source_hidden
        assert len(lines) <= (12 if cell.id == "answers" else 7)
        if cell.id in STEPS:
            assert len(lines) == 2


def test_nothing_is_stored_in_it(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert "widgets" not in notebook.metadata


def test_answers_are_parameters_with_a_form_field_each(notebook):
    (answers,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    lines = [line for line in answers.source.splitlines() if not line.startswith("#")]
    assert all("# @param" in line for line in lines)
    given = {line.partition(" = ")[0] for line in lines}
    used = "\n".join(line for _, line in STEPS.values())
    assert not {name for name in given if name not in used}
