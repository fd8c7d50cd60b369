from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.dataset.audit_settings import AuditOptions
from bakehouse.cli.dataset.options import Folder
from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.options import Json, Quiet

Page = Annotated[
    Path | None, typer.Option("--html", metavar="PAGE.html", help="Write an HTML report with images to this file.")
]
Against = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Show only changes since an earlier audit, saved with --json.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 1 for warnings too.")]


@expand_option_groups
def audit(
    folder: Folder, *, options: AuditOptions, page: Page = None, against: Against = None, strict: Strict = False,
    json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Check a dataset; name the command that fixes each problem.

    Exit code 1 if there are errors.
    """
    from bakehouse.audit import audit as run_audit
    from bakehouse.audit import read_report, write_html_report
    from bakehouse.cli.dataset.audit_settings import audit_spec
    from bakehouse.cli.render.audit import print_audit
    from bakehouse.cli.render.dataset import progress_callbacks
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.core.checks import exit_code
    from bakehouse.curation.apply_and_undo import recover

    earlier = read_report(against) if against else None
    with progress_renderer(quiet=quiet or json) as on_event:
        recover(folder)
        spec = audit_spec(folder, options)
        progress = progress_callbacks(on_event)("reading images")
        report = run_audit(folder, spec, thumbnails=page is not None, progress=progress)
    changes = report.since(earlier) if earlier else None
    if page:
        write_html_report(report, page, changes=changes)
    print_audit(report, changes=changes, page=page, json=json, quiet=quiet)
    new = report.findings if changes is None else changes.worse
    if exit_code((f.level for f in new), strict=strict):
        raise typer.Exit(1)
