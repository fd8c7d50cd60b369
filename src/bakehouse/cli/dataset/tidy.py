from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Metadata = Annotated[
    bool, typer.Option("--metadata", help="Also rewrite images that say where they were taken or how they were drawn.")
]


@spread
def tidy(folder: Folder, *, metadata: Metadata = False, way: Way) -> None:
    """Put away what nobody can use, and give images of one name each their own."""
    from bakehouse.audit.tidy_dataset import Tidy
    from bakehouse.cli.dataset.run_operation import run_verb

    run_verb(folder, Tidy(metadata=metadata), way)
