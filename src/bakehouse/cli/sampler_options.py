"""Options of the commands that generate images: A1111's settings of sampling and noise."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

import typer

from bakehouse.cli.help_panels import NOISE, SAMPLING


@dataclass(frozen=True)
class SamplerOptions:
    """A1111's settings; `expand_option_groups` makes an option of each field."""

    panel: ClassVar[str] = SAMPLING

    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Sigma schedule, by its A1111 name, such as karras, automatic or trailing. Default: trailing, "
            "or automatic for samplers that do not have it.",
        ),
    ] = None
    eta: Annotated[
        float | None, typer.Option(help="Share of the noise that samplers add, 0 to 1. Default: the sampler's.")
    ] = None
    discard_penultimate: Annotated[
        bool, typer.Option("--discard-penultimate", help="Leave out the last noise level but one.")
    ] = False
    rng: Annotated[
        Literal["cpu", "nv"],
        typer.Option(help="Source of the noise: cpu, or nv for numbers like an NVIDIA GPU's.", rich_help_panel=NOISE),
    ] = "cpu"
    ensd: Annotated[
        int,
        typer.Option(help="Added to the seed for the noise that samplers add (A1111's ENSD).", rich_help_panel=NOISE),
    ] = 0
    variation_seed: Annotated[
        int,
        typer.Option(
            help="Seed that --variation-strength mixes in; image i uses it + i. -1: random.", rich_help_panel=NOISE
        ),
    ] = -1
    variation_strength: Annotated[
        float, typer.Option(help="How much of the variation seed's noise is mixed in, 0 to 1.", rich_help_panel=NOISE)
    ] = 0.0
    seed_resize: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHxHEIGHT",
            help="Keep the composition that the seed has in this size, in pixels.",
            rich_help_panel=NOISE,
        ),
    ] = None
    tiling: Annotated[bool, typer.Option("--tiling", help="Make images whose opposite edges fit together.")] = False

    def fields(self) -> dict[str, Any]:
        """Return the fields of an `ImageRequest`.

        Raises:
            UsageError: a size that is not WIDTHxHEIGHT.
        """
        from bakehouse.core.errors import UsageError

        if self.seed_resize is None:
            return asdict(self)
        found = re.fullmatch(r"(\d+)x(\d+)", self.seed_resize)
        if found is None:
            raise UsageError(f"--seed-resize {self.seed_resize}: write WIDTHxHEIGHT in pixels, as 512x768")
        return {**asdict(self), "seed_resize": (int(found[1]), int(found[2]))}
