"""Options of `generate` and `grid` about regions of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from bakehouse.cli.help_panels import REGIONS

if TYPE_CHECKING:
    from bakehouse.generation import Regions


@dataclass(frozen=True)
class RegionOptions:
    """Regions of an image; `expand_option_groups` makes an option of each field."""

    panel: ClassVar[str] = REGIONS

    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AREA: PROMPT",
            help="Part of the image with a prompt of its own: left, right, top, bottom, left-third, ...; "
            "10,0,50,100 in percent; or mask=FILE. Repeatable.",
        ),
    ] = None
    region_base: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Weight of PROMPT inside regions, 0 to 1. Default: 0.1.")
    ] = None
    region_edge: Annotated[
        float | None,
        typer.Option(metavar="PERCENT", help="Soft edge of regions in percent of the shorter side. Default: 3."),
    ] = None

    def parse(self) -> Regions | None:
        """Return the regions; None without any.

        Raises:
            UsageError: a region that cannot be read, a value out of range, or an option without effect.
        """
        from bakehouse.core.errors import UsageError
        from bakehouse.generation.regions import DEFAULT_BASE, DEFAULT_EDGE, Regions

        if not self.region:
            for name, given in (("--region-base", self.region_base), ("--region-edge", self.region_edge)):
                if given is not None:
                    raise UsageError(f"{name} has no effect without --region")
            return None
        return Regions.parse(
            self.region,
            base=DEFAULT_BASE if self.region_base is None else self.region_base,
            edge=DEFAULT_EDGE if self.region_edge is None else self.region_edge,
        )
