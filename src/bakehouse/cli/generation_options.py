"""Options of every command that makes pictures: what is drawn, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from bakehouse.generation import ImageRequest

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="crumb, a folder, a Hub id, a run folder or a weights file.")
]
Base = Annotated[
    str | None, typer.Option(metavar="MODEL", help="What an adapter goes on, where it is not what it was trained on.")
]
Seed = Annotated[int, typer.Option(help="Of the first picture; the next has the next. -1 draws one.")]
Weight = Annotated[float | None, typer.Option(help="How strong the adapter is: 1 as trained, 0 the base alone.")]
Prediction = Annotated[
    Literal["epsilon", "v_prediction"] | None,
    typer.Option(help="What the base's UNet says, where its files tell nothing or the wrong thing."),
]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Side = Annotated[int | None, typer.Option(help="In pixels. Left out: the model's own.")]


@dataclass(frozen=True)
class Drawing:
    """How pictures are made: a command decorated with `spread` has one option for each field."""

    negative: Annotated[str, typer.Option(metavar="WORDS", help="What not to draw.")] = ""
    steps: Annotated[int, typer.Option(help="Of denoising.")] = 20
    guidance: Annotated[
        float | None, typer.Option(help="How strictly to follow the prompt (CFG scale). Left out: the base's own.")
    ] = None
    guidance_rescale: Annotated[
        float, typer.Option(metavar="SHARE", help="Contrast that guidance added taken back; 0.7 for zero-terminal SNR.")
    ] = 0.0
    sampler: Annotated[str, typer.Option(metavar="NAME", help="As A1111 calls it.")] = "dpm++ 2m"
    width: Side = None
    height: Side = None
    batch: Annotated[int | None, typer.Option(help="Pictures at once; never changes a picture.")] = None
    precision: Annotated[
        Precision, typer.Option(help="Of the arithmetic. auto: fp16 or what was trained in on a GPU, fp32 on a CPU.")
    ] = "auto"
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:WEIGHT]", help="One more adapter: a file, a run or a name. May come again."),
    ] = None

    def request(self, prompt: str, **more: Any) -> ImageRequest:
        """What a pipeline is asked for; `more` are its other fields. Raises `Problems` where no model could mean it."""
        from bakehouse.generation import ImageRequest

        return ImageRequest(
            prompt=prompt, negative=self.negative, width=self.width, height=self.height, steps=self.steps,
            guidance=self.guidance, guidance_rescale=self.guidance_rescale, sampler=self.sampler, **more,
        )  # fmt: skip
