from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bakehouse.cli.options import BaseOption, Json, KindOption, Quiet
from bakehouse.cli.render.safe_printing import echo

if TYPE_CHECKING:
    from bakehouse.core.events import Event
    from bakehouse.recipe import Recipe

Data = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FOLDER]",
        help="DreamBooth's dataset folder, or folders of examples. Default: the examples of the package.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of runs, images and tables.")]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="Subject to run. Repeatable.")]
Token = Annotated[str, typer.Option(metavar="WORD", help="Trigger of subjects that name none.")]
Prompts = Annotated[int, typer.Option(metavar="N", min=1, help="Most prompts of each subject.")]
Images = Annotated[int, typer.Option(metavar="N", min=1, help="Images of each prompt.")]
Clip = Annotated[str | None, typer.Option(metavar="MODEL", help="CLIP model: Hub id or folder.")]
Dino = Annotated[str | None, typer.Option(metavar="MODEL", help="DINO model: Hub id or folder.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of every recipe, e.g. train.epochs=4. Repeatable."),
]


def dreambench(
    folder: Data = None, *, base: BaseOption = None, out: Out = Path("dreambench"), only: Only = None,
    kind: KindOption = None, token: Token = "zwx", prompts: Prompts = 25, images: Images = 4, clip: Clip = None,
    dino: Dino = None, settings: Settings = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="Device: auto, cpu, mps, cuda or cuda:1.")] = "auto",
    json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Run the DreamBooth benchmark: train, generate and score.

    Run the same command again to resume.
    """
    from bakehouse.cli.render.events import render_events
    from bakehouse.core.bundled_models import BUNDLED_BASE
    from bakehouse.core.settings import parse_setting
    from bakehouse.data.crumb_attributes import ASSETS
    from bakehouse.dreambench import BenchSpec, read_benchmark, run_benchmark
    from bakehouse.dreambench.scorers import scorer_of
    from bakehouse.models.families import family_of

    base = base or BUNDLED_BASE
    crumb = family_of(base).bundled
    found = read_benchmark(folder or ASSETS / "examples", token=token, kind=kind, crumb=crumb).only(only or ())
    values = {"base": base, "prompts": prompts, "images": images, "recipe": dict(map(parse_setting, settings or ()))}
    spec = BenchSpec.parse(values, source="dreambench")
    scorer = scorer_of(base, clip=clip, dino=dino)
    render_events(run_benchmark(found, spec, out, train=_train, scorer=scorer, device=device), json=json, quiet=quiet)
    if not json:
        echo((out / "table.md").read_text("utf-8"))
        echo(f"table: {out / 'table.md'}, table.json")


def _train(recipe: Recipe, folder: Path) -> Iterator[Event]:
    """Train a subject; what uses a trained model does not know the trainer."""
    from bakehouse.training import train

    yield from train(recipe, folder)
