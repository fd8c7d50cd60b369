"""From PROMPT and its options to the images that `bakehouse generate` makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.cli.draw_options import DrawOptions
from bakehouse.cli.prompt_options import PromptOptions
from bakehouse.cli.template_options import TemplateOptions

if TYPE_CHECKING:
    from bakehouse.generation import ImageRequest, ModelSource
    from bakehouse.generation.templates import DrawnPrompt


def image_requests(
    prompt: str | None,
    make: Callable[..., ImageRequest],
    source: ModelSource | None,
    draw: DrawOptions,
    words: TemplateOptions,
    prompts: PromptOptions,
    *,
    out: Path,
) -> list[DrawnPrompt]:
    """Return one request for each image with its prompt drawn; print warnings.

    Args:
        prompt: PROMPT: for all images, the subject of templates, or None: templates or captions alone.
        make: makes a request from a prompt and further fields.
        source: the model; a run gives templates their subject. None: a model on a server.
        draw: images to begin from.
        words: templates, slots and wildcards.
        prompts: styles and emphasis, which are applied to the drawn prompts.
        out: the output folder.

    Raises:
        Problems, UsageError: as `DrawOptions.requests`, `TemplateOptions.draw` and `PromptOptions.applied_to`.
    """
    from bakehouse.cli.render.consoles import print_warnings

    requests, notes = draw.requests(make, "" if prompt is None and words.templates else prompt, out)
    drawn = [
        replace(one, request=prompts.applied_to(one.request))
        for request in requests
        for one in words.draw(request, source, prompt=prompt)
    ]
    print_warnings(notes)
    return drawn
