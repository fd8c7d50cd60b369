"""Groups of options: a command takes a frozen dataclass, and each of its fields becomes an option.

If the class names a `panel` (see `help_panels`), the help lists under it every option that does not name another.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

from typer.models import OptionInfo


def expand_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command for typer, with the fields of each dataclass parameter as options of their own."""
    hints = typing.get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{f.name: given.pop(f.name) for f in dataclasses.fields(group)})
        command(**given)

    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in groups:
            parameters += _fields(groups[parameter.name])
        else:
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY))
    vars(wrapper)["__signature__"] = inspect.Signature(parameters)
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _fields(group: Any) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    panel = getattr(group, "panel", None)
    return [
        inspect.Parameter(f.name, kind, default=f.default, annotation=_in_panel(hints[f.name], panel))
        for f in dataclasses.fields(group)
    ]


def _in_panel(hint: Any, panel: str | None) -> Any:
    """Return an option's annotation with the panel of its group, unless it has one."""
    kind, *extras = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
    options = [copy.copy(extra) for extra in extras]
    for option in options:
        if isinstance(option, OptionInfo) and option.rich_help_panel is None:
            option.rich_help_panel = panel
    return typing.Annotated[(kind, *options)] if options else hint
