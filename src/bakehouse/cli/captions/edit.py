from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.captions.options import Changes
from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread


@spread
def edit(
    folder: Folder,
    changes: Changes,
    way: Way,
    utf8: Annotated[bool, typer.Option("--utf8", help="Write all captions as plain UTF-8.")] = False,
    join_lines: Annotated[bool, typer.Option("--join-lines", help="One caption out of one tag a line.")] = False,
) -> None:
    """Edit all captions at once by rules. In order, until nothing changes; applied again, they change nothing."""
    from bakehouse.captions import RuleSet
    from bakehouse.captions.caption_files import list_images
    from bakehouse.captions.edit_captions import Edit
    from bakehouse.cli.dataset.run_operation import run_verb

    asked = any(vars(changes).values())
    rules = changes.ruleset() if asked or not (utf8 or join_lines) else RuleSet()
    given = {"utf8": utf8, "join_lines": join_lines}
    verb = Edit(rules=rules, **{name: True for name, wanted in given.items() if wanted})
    run_verb(folder, verb, way, look=list_images)
