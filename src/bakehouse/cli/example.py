"""The example images of the package, laid out where a person can look at them and change them."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

from bakehouse.core.files import writing_to
from bakehouse.core.json_toml_yaml import parse_json


def lay_out(name: str, folder: Path) -> tuple[Path, str]:
    """Copies an example and its held-out images into `folder`; gives the images' place and the subject's words.

    What is there already stays as it is.
    """
    examples = Path(str(resources.files("bakehouse"))) / "assets" / "examples"
    with writing_to(folder):
        for part in (name, f"{name}-holdout"):
            if not (folder / part).exists():
                shutil.copytree(examples / part, folder / part)
    facts = parse_json((examples / name / "example.json").read_text("utf-8"))
    return folder / name, str(facts["phrase"])
