from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.audit_options import Use
from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Of the audit's findings: B05.")]


@spread
def drop(folder: Folder, ids: Ids, *, use: Use, way: Way) -> None:
    """Put the files away that a finding of the audit names, with their captions and masks."""
    from bakehouse.audit.drop_images import Drop
    from bakehouse.cli.dataset.audit_spec import spec_of
    from bakehouse.cli.dataset.run_operation import run_verb

    run_verb(folder, Drop.parse({"findings": ids, "audit": spec_of(folder, use)}, source="dataset drop"), way)
