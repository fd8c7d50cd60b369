from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.captions.options import Many
from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread
from bakehouse.core.bundled_models import BUNDLED_TAGGER

_Taggers = Annotated[
    Many, typer.Option(metavar="NAME|PATH", help="crumb, wd-vit-v3, FILE.onnx, a captioner. Left out: crumb.")
]
_Existing = Annotated[
    Literal["keep", "append", "replace"], typer.Option(help="Captions that a person wrote or changed.")
]
_Threshold = Annotated[Many, typer.Option(metavar="[CATEGORY=]P", help="0.3, or character=0.9. Left out: its own.")]
_Categories = Annotated[Many, typer.Option(metavar="NAME", help="Also said: rating, copyright, artist, meta, ...")]


@spread
def tag(
    folder: Folder,
    way: Way,
    tagger: _Taggers = None,
    existing: _Existing = "keep",
    threshold: _Threshold = None,
    also: _Categories = None,
    exclude: Annotated[Many, typer.Option(metavar="TAG", help="Never written; * stands for anything.")] = None,
    front: Annotated[Many, typer.Option(metavar="TAG", help="Put in front: a trigger.")] = None,
    merge: Annotated[Literal["any", "all"], typer.Option(help="Of several taggers: what one sees, or all.")] = "any",
    underscores: Annotated[bool, typer.Option("--underscores", help="Tags as boorus spell them.")] = False,
    most: Annotated[int, typer.Option(min=0, help="Tags from each tagger; 0 is all.")] = 0,
    prompt: Annotated[str, typer.Option(metavar="WORDS", help="For captioners.")] = "",
    extension: Annotated[Literal[".txt", ".caption"], typer.Option(help="Of new caption files.")] = ".txt",
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 8,
    device: Annotated[str, typer.Option(metavar="NAME", help="For captioners: auto, cpu, cuda, mps.")] = "auto",
) -> None:
    """Write captions of what taggers see. What a person wrote stays; what was stopped goes on."""
    from bakehouse.captions.tag_images import Tag, thresholds_of
    from bakehouse.cli.dataset.run_operation import run_verb

    wanted = {
        "taggers": tagger or [BUNDLED_TAGGER], "existing": existing, "thresholds": thresholds_of(threshold or ()),
        "categories": also and [*also, "character", "general"], "exclude": exclude, "front": front, "merge": merge,
        "most": most, "underscores": underscores, "prompt": prompt, "extension": extension, "batch": batch,
        "device": device,
    }  # fmt: skip
    default = {name: field.default for name, field in Tag.model_fields.items()}
    said = {name: value for name, value in wanted.items() if value and value != default[name]}
    run_verb(folder, Tag.parse(said, source="captions tag"), way)
