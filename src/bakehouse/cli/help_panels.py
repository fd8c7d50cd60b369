"""Groups of options in the help of commands with many: their titles, their order, and the command that prints them.

An option names its group with `rich_help_panel`, which typer's plain help would ignore; all options of a dataclass for
`expand_option_groups` are in the group that the class names as `panel`, unless they name another.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

AXES = "Axes"
RECIPE = "Recipe"
SLIDER = "Slider"
MODEL = "Model"
PROMPT = "Prompt"
TEMPLATES = "Prompt templates"
REGIONS = "Regions of an image"
IMAGE = "Image"
SAMPLING = "Sampling"
NOISE = "Noise"
FROM_IMAGE = "Start from an image (image-to-image)"
INPAINTING = "Change a part of it (inpainting, outpainting)"
HIRES = "Second pass in a larger size (hires fix)"
COMPUTATION = "Computation"
OUTPUT = "Output"

ORDER = (
    *(AXES, RECIPE, SLIDER, MODEL, PROMPT, IMAGE, SAMPLING, NOISE),
    *(TEMPLATES, REGIONS, FROM_IMAGE, INPAINTING, HIRES, COMPUTATION, OUTPUT),
)
"""The order in every help: what most commands need comes first."""


class PanelCommand(TyperCommand):
    """A command whose help lists its options in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then each group of options under its title."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(panel_of(parameter), []).append(record)
        for title in sorted(sections, key=lambda title: (*_FIRST, *ORDER).index(title)):
            with formatter.section(title):
                formatter.write_dl(sections[title])


_ARGUMENTS, _OTHER = "Arguments", "Options"
_FIRST = (_ARGUMENTS, _OTHER)


def panel_of(parameter: Any) -> str:
    """Return the title under which a parameter of a command is listed; `Options` if it names none."""
    if parameter.param_type_name == "argument":
        return _ARGUMENTS
    if parameter.name == "help":
        return OUTPUT
    return getattr(parameter, "rich_help_panel", None) or _OTHER
