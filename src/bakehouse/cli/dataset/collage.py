from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.options import Json, Quiet

if TYPE_CHECKING:
    from bakehouse.curation.collage import Collage

A = Annotated[Path, typer.Argument(metavar="A", help="Images of the first subject, with masks or alpha.")]
B = Annotated[Path, typer.Argument(metavar="B", help="Images of the second subject.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the collages, new or existing.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be made; write nothing.")]
Preview = Annotated[
    Path | None,
    typer.Option(metavar="PAGE.html", help="Write an HTML page with the collages; change nothing else."),
]


@dataclass(frozen=True)
class CollageOptions:
    """Settings of the collages; `expand_option_groups` makes an option of each field."""

    pair: Annotated[str, typer.Option(metavar="WORD", help="Trigger of the pair, first in every caption.")] = ""
    trigger_a: Annotated[
        str, typer.Option(metavar="WORDS", help='First subject in captions, e.g. "zwx person". Default: as in A.')
    ] = ""
    trigger_b: Annotated[str, typer.Option(metavar="WORDS", help="Second subject in captions. Default: as in B.")] = ""
    count: Annotated[int, typer.Option("-n", "--count", help="Number of collages.")] = 16
    seed: Annotated[int, typer.Option(help="Decides which images are paired, and where they stand.")] = 0
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Size in pixels. Default: as high as the images, half as wide again.")
    ] = ""
    order: Annotated[
        Literal["mixed", "a-left", "b-left"], typer.Option(help="Who stands on the left. mixed: each half the time.")
    ] = "mixed"
    overlap: Annotated[
        float, typer.Option(metavar="SHARE", help="Maximum share of a subject hidden behind the other.")
    ] = 0.15
    vary: Annotated[float, typer.Option(metavar="SHARE", help="Variation of each subject's size.")] = 0.06
    ratio: Annotated[
        float, typer.Option(metavar="TIMES", help="Height of the second subject, as a share of the first.")
    ] = 1.0
    background: Annotated[
        list[str] | None,
        typer.Option(metavar="COLOR|FILE|FOLDER", help="Plain colour or images. Repeatable. Default: light colours."),
    ] = None
    write_masks: Annotated[
        bool, typer.Option("--write-masks", help="Write masks too, so that backgrounds are not learned.")
    ] = False
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Segmentation model for images without a mask. Default: u2netp."),
    ] = None
    color: Annotated[
        str | None,
        typer.Option(metavar="COLOR|border", help="Background colour to cut out of, instead of using a model."),
    ] = None

    def parse(self) -> Collage:
        """Return the settings.

        Raises:
            UsageError: the size is not two numbers.
            Problems: values out of range.
        """
        from bakehouse.curation.collage import Collage

        names = ("pair", "count", "seed", "order", "overlap", "vary", "ratio", "write_masks")
        values = {name: getattr(self, name) for name in names}
        values |= {"triggers": (self.trigger_a, self.trigger_b), "backgrounds": self.background or ()}
        values |= {"size": _size(self.size)} if self.size else {}
        masks = {"model": self.model, "color": self.color}
        values["masks"] = {name: value for name, value in masks.items() if value is not None}
        return Collage.parse(values, source="dataset collage")


@expand_option_groups
def collage(
    a: A, b: B, *, out: Out, options: CollageOptions, dry_run: DryRun = False, preview: Preview = None,
    json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Set cut-outs of two subjects side by side.

    The images and captions are for a pair of characters that are also trained together.
    """
    from bakehouse.cli.render.dataset import print_proposals, print_step
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.message_collector import MessageCollector
    from bakehouse.curation.collage import collage_folders
    from bakehouse.data import ImageSet

    spec = options.parse()
    with progress_renderer(quiet=quiet or json) as on_event:
        messages = MessageCollector(on_event)
        made = collage_folders(a, b, out, spec, dry_run=dry_run, preview=preview, on_event=messages)
    images = ImageSet((), root=out)
    if dry_run or preview is not None:
        print_proposals("collage", images, made.proposals, page=preview, messages=messages, json=json)
    else:
        print_step("collage", made.step, out, images=images, messages=messages, json=json)


def _size(text: str) -> tuple[int, int]:
    from bakehouse.core.errors import UsageError

    width, _, height = text.lower().partition("x")
    if not (width.strip().isdigit() and height.strip().isdigit()):
        raise UsageError(f"--size {text}: must be width and height in pixels, e.g. 768x512")
    return int(width), int(height)
