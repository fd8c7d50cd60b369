"""Options of what prompts mean and name, for the commands that read prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from bakehouse.cli.help_panels import PROMPT

if TYPE_CHECKING:
    from bakehouse.generation import ImageRequest
    from bakehouse.generation.prompt_files import PromptFiles


@dataclass(frozen=True)
class PromptOptions:
    """How prompts are read; `expand_option_groups` makes an option of each field."""

    panel: ClassVar[str] = PROMPT

    emphasis: Annotated[
        Literal["original", "no-norm", "ignore", "none"],
        typer.Option(help="Effect of weights such as (x:1.2), as in A1111; none: brackets are characters."),
    ] = "original"
    loras: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the adapters that prompts name: <lora:NAME:0.8>.")
    ] = None
    embeddings: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the textual inversions that prompts name.")
    ] = None
    styles: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Styles of A1111. Default: styles.csv, if --style is given.")
    ] = None
    style: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Style to add to the prompts. Repeatable.")
    ] = None

    def styled(self, prompt: str, negative: str) -> tuple[str, str]:
        """Return prompt and negative prompt with the styles.

        Raises:
            UsageError: an unknown style or file, or a file without a style.
        """
        from bakehouse.core.errors import UsageError
        from bakehouse.generation.prompt.styles import DEFAULT_FILE, find_styles, with_styles

        if not self.style:
            if self.styles is not None:
                raise UsageError(f"--styles {self.styles} has no effect alone", hint="name a style of it: --style NAME")
            return prompt, negative
        return with_styles(prompt, negative, find_styles(self.styles or Path(DEFAULT_FILE), self.style))

    def applied_to(self, request: ImageRequest) -> ImageRequest:
        """Return the request with styles and emphasis."""
        prompt, negative = self.styled(request.prompt, request.negative)
        return replace(request, prompt=prompt, negative=negative, emphasis=self.emphasis)

    @property
    def files(self) -> PromptFiles:
        """Where to look for what prompts name."""
        from bakehouse.generation.prompt_files import PromptFiles

        return PromptFiles(self.loras, self.embeddings)

    @property
    def folders(self) -> dict[str, Any]:
        """The folders, for `Pipeline.open`."""
        return {"loras": self.loras, "embeddings": self.embeddings}
