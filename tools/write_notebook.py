"""Write `notebooks/bakehouse.ipynb`: form cells without outputs, each a line that calls `bakehouse.notebook`.

    python -m tools.write_notebook [FILE]

Colab shows the forms and hides the code; Jupyter hides the code too. The cell `answers` has the tag `parameters`, so
that papermill and others can fill it in.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "bakehouse.ipynb"
INTRODUCTION = """\
# bakehouse

Teach Stable Diffusion a subject: a person, a pet, a thing or a style, from about 20 photos.

1. Run all cells: on Colab menu **Runtime**, **Run all**; in Jupyter menu **Run**, **Run All Cells**.
2. Go through the panels from top to bottom.

Everything is kept. After a disconnect, run all cells again: the panels show what is there, and a training goes on
where it was.
"""
INSTALL = """\
# @title Install
try:
    from bakehouse import notebook
except ImportError:
    %pip install --quiet "bakehouse[curate,notebook,publish,serve]"
    from bakehouse import notebook
notebook.show_machine()"""
ANSWERS = """\
# @title Answers in advance
# @markdown All of this may stay as it is: the panels below ask. `by_itself` does every step without a click.
project = "me"  # @param {type:"string"}
keep_in = "auto"  # @param ["auto", "drive", "nowhere"] {allow-input: true}
photos = ""  # @param {type:"string", placeholder:"/content/drive/MyDrive/photos"}
subject = ""  # @param {type:"string", placeholder:"zwx person"}
base = ""  # @param ["", "crumb", "sd15", "sdxl"] {allow-input: true}
settings = ""  # @param {type:"string", placeholder:"train.steps=800"}
prompt = ""  # @param {type:"string"}
publish_to = ""  # @param {type:"string", placeholder:"hub:me/zwx"}
person = ""  # @param ["", "none", "real"]
by_itself = False  # @param {type:"boolean"}"""
STEPS = {
    "place": ("Where things are kept", "steps = notebook.open_project(project, keep_in=keep_in, by_itself=by_itself)"),
    "photos": ("Photos", "steps.photos(photos)"),
    "mend": ("What is wrong with them", "steps.mend(base)"),
    "subject": ("Name and kind", "steps.subject(subject, base)"),
    "plan": ("Plan", "steps.plan(settings)"),
    "train": ("Training", "steps.train()"),
    "judge": ("Judge", "steps.judge()"),
    "draw": ("Draw", "steps.draw(prompt)"),
    "publish": ("Publish", "steps.publish(publish_to, person)"),
    "share": ("In a browser", "steps.share()"),
}
"""Title and line of each cell, by its id."""
_HIDDEN: dict[str, Any] = {"cellView": "form", "jupyter": {"source_hidden": True}}


def notebook_text() -> str:
    """Return the notebook, the same each time."""
    cells = [
        nbformat.v4.new_markdown_cell(INTRODUCTION, id="introduction"),
        _cell("install", INSTALL),
        _cell("answers", ANSWERS, tags=["parameters"]),
        *(_cell(name, f"# @title {title}\n{line}") for name, (title, line) in STEPS.items()),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    colab = {"provenance": [], "toc_visible": True}
    metadata = {"accelerator": "GPU", "colab": colab, "kernelspec": kernel, "language_info": {"name": "python"}}
    made = nbformat.v4.new_notebook(cells=cells, metadata=metadata, nbformat_minor=5)
    nbformat.validate(made)
    return str(nbformat.writes(made)) + "\n"


def _cell(name: str, source: str, **metadata: Any) -> Any:
    return nbformat.v4.new_code_cell(source, id=name, metadata={**_HIDDEN, **metadata})


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(notebook_text(), "utf-8")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
