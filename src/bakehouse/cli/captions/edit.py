from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.captions.options import EditOptions
from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups


@expand_option_groups
def edit(
    folder: Folder,
    changes: EditOptions,
    options: RunOptions,
    utf8: Annotated[bool, typer.Option("--utf8", help="Write all captions as UTF-8.")] = False,
    join_lines: Annotated[
        bool, typer.Option("--join-lines", help="Join lines of one tag each into one caption.")
    ] = False,
) -> None:
    """Edit captions by rules. Rules are applied in the order of these options."""
    from bakehouse.captions import RuleSet
    from bakehouse.captions.caption_files import list_images
    from bakehouse.captions.edit_captions import Edit
    from bakehouse.cli.dataset.run_operation import run_operation

    has_rules = any(vars(changes).values())
    rules = changes.ruleset() if has_rules or not (utf8 or join_lines) else RuleSet()
    flags = {"utf8": utf8, "join_lines": join_lines}
    operation = Edit(rules=rules, **{name: True for name, wanted in flags.items() if wanted})
    run_operation(folder, operation, options, read_images=list_images)
