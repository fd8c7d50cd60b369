from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.captions.options import Many
from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.core.bundled_models import BUNDLED_BASE, BUNDLED_TAGGER

_Taggers = Annotated[
    Many,
    typer.Option(
        metavar="NAME|PATH", help="Tagger or captioner: crumb, wd-vit-v3, FILE.onnx. Repeatable. Default: by --base."
    ),
]
_Base = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Base model that the captions are for; it decides the tagger. Default: crumb."),
]
_Existing = Annotated[
    Literal["keep", "append", "replace"],
    typer.Option(help="Hand-written captions: keep them, append tags, or replace them."),
]
_Threshold = Annotated[
    Many,
    typer.Option(
        metavar="[CATEGORY=]P", help="Threshold, e.g. 0.3 or character=0.9. Repeatable. Default: the tagger's."
    ),
]
_Categories = Annotated[
    Many,
    typer.Option(metavar="NAME", help="Extra tag category: rating, copyright, artist, meta and others. Repeatable."),
]
_UNNAMED = (
    f"no base model is named: the captions get the words of {BUNDLED_BASE}, which describe its own pictures only; "
    "for another base pass --base, such as --base sd15"
)


@expand_option_groups
def tag(
    folder: Folder,
    options: RunOptions,
    tagger: _Taggers = None,
    base: _Base = None,
    existing: _Existing = "keep",
    threshold: _Threshold = None,
    also: _Categories = None,
    exclude: Annotated[
        Many, typer.Option(metavar="TAG", help="Tag to leave out; wildcards allowed. Repeatable.")
    ] = None,
    front: Annotated[Many, typer.Option(metavar="TAG", help="Tag to put first, e.g. a trigger. Repeatable.")] = None,
    merge: Annotated[
        Literal["any", "all"], typer.Option(help="Several taggers: tags of any of them, or of all.")
    ] = "any",
    underscores: Annotated[bool, typer.Option("--underscores", help="Write tags with underscores.")] = False,
    most: Annotated[int, typer.Option(min=0, help="Maximum tags per tagger; 0: all.")] = 0,
    prompt: Annotated[str, typer.Option(metavar="WORDS", help="Prompt for captioners.")] = "",
    extension: Annotated[Literal[".txt", ".caption"], typer.Option(help="Extension of new caption files.")] = ".txt",
    batch: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 8,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Device for captioners: auto, cpu, cuda or mps.")
    ] = "auto",
) -> None:
    """Write captions with taggers. Hand-written captions are kept; run it again to resume."""
    from bakehouse.captions.tag_images import Tag, parse_thresholds
    from bakehouse.cli.dataset.run_operation import run_operation

    wanted = {
        "taggers": tagger or [_tagger_of(base)], "existing": existing, "thresholds": parse_thresholds(threshold or ()),
        "categories": also and [*also, "character", "general"], "exclude": exclude, "front": front, "merge": merge,
        "most": most, "underscores": underscores, "prompt": prompt, "extension": extension, "batch": batch,
        "device": device,
    }  # fmt: skip
    default = {name: field.default for name, field in Tag.model_fields.items()}
    changed = {name: value for name, value in wanted.items() if value and value != default[name]}
    warnings = () if tagger or base else (_UNNAMED,)
    run_operation(folder, Tag.parse(changed, source="captions tag"), options, warnings=warnings)


def _tagger_of(base: str | None) -> str:
    """Return the tagger for a base model, by default for the one that `plan` and `train` take by default."""
    if base is None:
        return BUNDLED_TAGGER
    from bakehouse.captions.tagger_of_base import tagger_of_base
    from bakehouse.models import resolve_model
    from bakehouse.models.families import family_of

    return tagger_of_base(base, family_of(resolve_model(base)).name)
