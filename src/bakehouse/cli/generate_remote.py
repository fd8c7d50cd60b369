"""`bakehouse generate http://host:port/MODEL`: what a server draws with the same options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from bakehouse.cli.draw_options import DrawOptions
    from bakehouse.cli.generation_options import GenerationOptions
    from bakehouse.cli.prompt_options import PromptOptions
    from bakehouse.cli.template_options import TemplateOptions

_OF_THE_SERVER = ("precision", "batch", "adapter", "loras", "embeddings")
"""Options that say how, or with which files of this machine, images are drawn here."""


@dataclass(frozen=True)
class Output:
    """Where images are written, and what is printed."""

    folder: Path
    preview: int
    """Steps between two previews; 0: none."""
    json: bool
    quiet: bool


def generate_remotely(
    where: tuple[str, str | None],
    prompt: str | None,
    make: partial[Any],
    options: tuple[GenerationOptions, DrawOptions, TemplateOptions, PromptOptions],
    here_only: Mapping[str, object],
    output: Output,
) -> None:
    """Have a server draw, and save its images as those that are drawn here.

    Args:
        where: address of the model, `http://127.0.0.1:7860/crumb`, and the token of the server.
        prompt: PROMPT.
        make: makes a request from a prompt and further fields.
        options: groups of options.
        here_only: values of options that only make sense here; None: not given.
        output: where images are written.

    Raises:
        UsageError: options that have no effect there, or what the server refuses.
        BakehouseError: the server cannot be reached.
    """
    from bakehouse.cli.image_requests import image_requests
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.preview_file import previews_to_file
    from bakehouse.cli.render.save_images import save_images
    from bakehouse.generation.remote import RemoteModel
    from bakehouse.generation.templates import recorded

    generation, draw, words, prompts = options
    _refuse_local(where[0], (generation, prompts), here_only)
    model = RemoteModel.parse(*where)
    drawn = image_requests(prompt, make, None, draw, words, prompts, out=output.folder)
    with (
        progress_renderer(quiet=output.quiet or output.json) as render,
        previews_to_file(output.folder / "preview-in-progress.png", render) as on_event,
    ):
        images = model.generate([one.request for one in drawn], preview_every=output.preview, on_event=on_event)
        save_images(recorded(images, drawn), output.folder, json=output.json)


def _refuse_local(address: str, groups: Sequence[Any], here_only: Mapping[str, object]) -> None:
    given = [name for name, value in here_only.items() if value is not None]
    for group in groups:
        given += [f.name for f in fields(group) if f.name in _OF_THE_SERVER and getattr(group, f.name) != f.default]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(
            f"{names}: {address} decides this, not the command",
            hint="start the server with it, or name adapters of the server in the prompt: <lora:NAME:0.8>",
        )
