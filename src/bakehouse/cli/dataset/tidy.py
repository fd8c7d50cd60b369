from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Metadata = Annotated[bool, typer.Option("--metadata", help="Also remove location and generation metadata from images.")]


@expand_option_groups
def tidy(folder: Folder, *, metadata: Metadata = False, options: RunOptions) -> None:
    """Remove unusable files and rename images that share a name."""
    from bakehouse.audit.tidy_files import Tidy
    from bakehouse.cli.dataset.run_operation import run_operation

    run_operation(folder, Tidy(metadata=metadata), options)
