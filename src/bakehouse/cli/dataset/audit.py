from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.dataset.audit_options import Use
from bakehouse.cli.dataset.options import Folder
from bakehouse.cli.option_groups import spread
from bakehouse.cli.options import Json, Quiet

Page = Annotated[Path | None, typer.Option("--html", metavar="PAGE", help="Write a page with pictures.")]
Against = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Show only what differs from an earlier audit's --json.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")]


@spread
def audit(
    folder: Folder, *, use: Use, page: Page = None, against: Against = None, strict: Strict = False,
    json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Check a dataset for problems; each finding names the command that fixes it. Exit code 1: there are errors."""
    from bakehouse.audit import audit as run_audit
    from bakehouse.audit import read_report, write_html_report
    from bakehouse.audit.report import exit_code
    from bakehouse.cli.dataset.audit_spec import spec_of
    from bakehouse.cli.render.audit import print_audit
    from bakehouse.cli.render.dataset import counting
    from bakehouse.cli.render.events import painting
    from bakehouse.curation.history import recover

    earlier = read_report(against) if against else None
    with painting(quiet=quiet or json) as paint:
        recover(folder)
        spec = spec_of(folder, use)
        report = run_audit(folder, spec, thumbnails=page is not None, progress=counting(paint)("looking"))
    changes = report.since(earlier) if earlier else None
    if page:
        write_html_report(report, page, changes=changes)
    print_audit(report, changes=changes, page=page, json=json, quiet=quiet)
    if exit_code(report.findings if changes is None else changes.worse, strict=strict):
        raise typer.Exit(1)
