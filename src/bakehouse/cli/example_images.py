"""Copies of the example images of the package."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

from bakehouse.core.files import writing_to
from bakehouse.core.parse_json_toml_yaml import parse_json


def copy_example(name: str, folder: Path) -> tuple[Path, str]:
    """Copy an example and its held-out images into `folder`; return the image folder and the subject.

    Existing folders are left as they are.
    """
    examples = Path(str(resources.files("bakehouse"))) / "assets" / "examples"
    with writing_to(folder):
        for part in (name, f"{name}-holdout"):
            if not (folder / part).exists():
                shutil.copytree(examples / part, folder / part)
    facts = parse_json((examples / name / "example.json").read_text("utf-8"))
    return folder / name, str(facts["phrase"])
