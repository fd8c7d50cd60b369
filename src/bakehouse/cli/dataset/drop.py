from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.dataset.audit_settings import AuditOptions
from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of audit findings, e.g. B05.")]


@expand_option_groups
def drop(folder: Folder, ids: Ids, *, audit: AuditOptions, options: RunOptions) -> None:
    """Remove the images of an audit finding, with captions and masks."""
    from bakehouse.audit.drop_images import Drop
    from bakehouse.cli.dataset.audit_settings import audit_spec
    from bakehouse.cli.dataset.run_operation import run_operation

    operation = Drop.parse({"findings": ids, "audit": audit_spec(folder, audit)}, source="dataset drop")
    run_operation(folder, operation, options)
