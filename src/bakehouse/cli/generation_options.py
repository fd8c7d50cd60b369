"""Options of the commands that generate images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from bakehouse.cli.help_panels import COMPUTATION, IMAGE, MODEL, PROMPT, SAMPLING

if TYPE_CHECKING:
    from bakehouse.generation import ImageRequest

_MODEL = typer.Argument(
    metavar="MODEL", help="Model: crumb, a name, a folder, a Hub id, a run folder or a weights file."
)
Model = Annotated[str, _MODEL]
OptionalModel = Annotated[str | None, _MODEL]
ModelOrServer = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="Model: crumb, a name, a folder, a Hub id, a run folder, a weights file, or http://HOST:PORT/MODEL of "
        "`bakehouse serve`.",
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="Base model for the adapter. Default: the one it was trained on.", rich_help_panel=MODEL
    ),
]
Seed = Annotated[
    int, typer.Option(help="Seed of the first image; image i uses seed + i. -1: random.", rich_help_panel=IMAGE)
]
Weight = Annotated[
    float | None,
    typer.Option(help="Strength of the adapter: 1 as trained, 0 the base model alone.", rich_help_panel=MODEL),
]
Prediction = Annotated[
    Literal["epsilon", "v_prediction"] | None,
    typer.Option(help="Prediction type of the base model, if detection is wrong.", rich_help_panel=MODEL),
]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Side = Annotated[
    int | None, typer.Option(help="Image size in pixels. Default: the model's native size.", rich_help_panel=IMAGE)
]


@dataclass(frozen=True)
class GenerationOptions:
    """How images are generated; `expand_option_groups` makes an option of each field."""

    panel: ClassVar[str] = SAMPLING

    negative: Annotated[str, typer.Option(metavar="WORDS", help="Negative prompt.", rich_help_panel=PROMPT)] = ""
    steps: Annotated[int, typer.Option(help="Number of denoising steps.")] = 20
    guidance: Annotated[float | None, typer.Option(help="Guidance (CFG) scale. Default: the base model's.")] = None
    guidance_rescale: Annotated[
        float,
        typer.Option(metavar="SHARE", help="CFG rescale, 0 to 1 (0: off; 0.7 is usual for zero-terminal-SNR models)."),
    ] = 0.0
    sampler: Annotated[str, typer.Option(metavar="NAME", help="Sampler, by its A1111 name.")] = "dpm++ 2m"
    clip_skip: Annotated[
        int | None,
        typer.Option(help="Layer of the text encoder, as in A1111: 1 is the last. Default: as the model was trained."),
    ] = None
    width: Side = None
    height: Side = None
    batch: Annotated[
        int | None,
        typer.Option(
            help="Images at once; does not change the images. Default: by image size.", rich_help_panel=COMPUTATION
        ),
    ] = None
    precision: Annotated[
        Precision,
        typer.Option(
            help="Number format of the computation. auto: fp16 or the trained one on a GPU, fp32 on a CPU.",
            rich_help_panel=COMPUTATION,
        ),
    ] = "auto"
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:WEIGHT]",
            help="Additional adapter: a file, a run or a name, with its strength. Repeatable.",
            rich_help_panel=MODEL,
        ),
    ] = None

    def request(self, prompt: str, **more: Any) -> ImageRequest:
        """Return the request with these options and the fields in `more`. Raises `Problems` for invalid values."""
        from bakehouse.generation import ImageRequest

        return ImageRequest(
            prompt=prompt, negative=self.negative, width=self.width, height=self.height, steps=self.steps,
            guidance=self.guidance, guidance_rescale=self.guidance_rescale, sampler=self.sampler,
            clip_skip=self.clip_skip, **more,
        )  # fmt: skip
