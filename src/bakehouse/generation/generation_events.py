"""Events of a pipeline while it generates: progress, previews and warnings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bakehouse.core.events import OnEvent, Previewed, Progress, Warned
from bakehouse.core.message_text import listed
from bakehouse.generation.preview_png import preview_png
from bakehouse.models.text_to_image import Watch

if TYPE_CHECKING:
    from PIL.Image import Image

_LARGE_TIMES = 4
"""Times the model's native area from which an image that is drawn whole is called large."""


def event_watch(
    on_event: OnEvent, *, before: int, steps: int, total: int, preview_every: int, first_image: int
) -> Watch:
    """Return what turns the reports about one batch into events.

    Args:
        on_event: receives them.
        before: steps of the batches before this one.
        steps: steps of this batch.
        total: steps of all batches.
        preview_every: steps between two previews; 0: none.
        first_image: number of the batch's first image.
    """

    def progress(done: int, of: int) -> None:
        # Some samplers call the network twice a step: progress counts the user's steps.
        on_event(Progress(what="denoising", done=before + steps * done // of, total=total))

    def preview(first: int, step: int, of: int, images: Sequence[Image]) -> None:
        for number, image in enumerate(images, start=first):
            on_event(Previewed(image=number, step=step, steps=of, png=preview_png(image)))

    def halved(tried: int, half: int) -> None:
        message = f"a batch of {tried} images does not fit into memory; continuing with batches of {half}"
        on_event(Warned(message=message))

    return Watch(
        on_progress=progress,
        on_halved=halved,
        on_preview=preview,
        preview_every=preview_every,
        first_image=first_image,
    )


def warn_of_large_images(
    drawn: Iterable[tuple[str, tuple[int, int]]], native: int, title: str, on_event: OnEvent
) -> None:
    """Warn of images that keep a size far above the model's own, where subjects repeat and memory runs out.

    Args:
        drawn: names of images with the width and height in which they are drawn.
        native: the model's native size.
        title: the model's name.
        on_event: receives the warning, one for all of them.
    """
    large = {name: f"{width}x{height}" for name, (width, height) in drawn if width * height >= _LARGE_TIMES * native**2}
    if large:
        names = listed([f"{name} ({size})" for name, size in large.items()], most=3)
        message = f"far larger than the {native}x{native} that {title} was trained on: {names}"
        on_event(Warned(message=f"{message}; --width or --height makes them smaller"))
