"""Options of `generate` and `grid` about images, masks and second passes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from bakehouse.cli.help_panels import FROM_IMAGE, HIRES, INPAINTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bakehouse.generation import ImageRequest
    from bakehouse.generation.img2img_inputs import Img2ImgInput
    from bakehouse.generation.img2img_settings import Extend, FromImage, Hires, Inpaint

_inpainting = partial(typer.Option, rich_help_panel=INPAINTING)
_hires = partial(typer.Option, rich_help_panel=HIRES)

Content = Literal["fill", "original", "latent noise", "latent nothing"]


@dataclass(frozen=True)
class DrawOptions:
    """What an image is made from beside words; `expand_option_groups` makes an option of each field."""

    panel: ClassVar[str] = FROM_IMAGE

    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE|FOLDER", help="Start from this image, or from each image of a folder."),
    ] = None
    strength: Annotated[
        float | None, typer.Option(metavar="SHARE", help="How much of the image changes, 0 to 1. Default: 0.75.")
    ] = None
    resize: Annotated[
        Literal["stretch", "crop", "pad"] | None,
        typer.Option(help="How the image is fitted to --width and --height. Default: stretch."),
    ] = None
    mask: Annotated[
        Path | None,
        _inpainting(metavar="FILE|FOLDER", help="Change only the white part of this mask (inpainting)."),
    ] = None
    invert_mask: Annotated[bool, _inpainting("--invert-mask", help="Change only the black part of the mask.")] = False
    mask_blur: Annotated[
        float | None, _inpainting(metavar="PIXELS", help="Soft edge of the mask. Default: 4 pixels.")
    ] = None
    masked_content: Annotated[
        Content | None,
        _inpainting(help="What the masked part starts from. Default: original; with --extend: fill."),
    ] = None
    only_masked: Annotated[
        bool, _inpainting("--only-masked", help="Generate the mask's surroundings alone, at --width and --height.")
    ] = False
    padding: Annotated[
        int | None, _inpainting(metavar="PIXELS", help="Surroundings of the mask for --only-masked. Default: 32.")
    ] = None
    extend: Annotated[
        str | None,
        _inpainting(
            metavar="SIDE=PIXELS,...", help="Continue the image beyond its edges (outpainting), e.g. down=64,left=32."
        ),
    ] = None
    hires: Annotated[
        float | None, _hires(metavar="TIMES", help="Enlarge the image and denoise it again (hires fix), e.g. 2.")
    ] = None
    upscaler: Annotated[
        str | None,
        _hires(metavar="NAME|FILE", help="Upscaler for --hires: latent, lanczos or a network. Default: latent."),
    ] = None
    hires_steps: Annotated[
        int | None, _hires(help="Denoising steps of the second pass. Default: as many as of the first.")
    ] = None
    hires_strength: Annotated[
        float | None, _hires(metavar="SHARE", help="How much the second pass changes, 0 to 1. Default: 0.7.")
    ] = None

    def requests(
        self, request: Callable[..., ImageRequest], prompt: str | None, out: Path
    ) -> tuple[list[ImageRequest], tuple[str, ...]]:
        """Return one request for each image to start from, or the one that starts from words; and warnings.

        Args:
            request: makes a request from a prompt and further fields.
            prompt: for all images. None: each image's caption.
            out: the output folder, which must not be the folder of the images.

        Raises:
            Problems: values out of range, options that have no effect, or images without a prompt.
        """
        from bakehouse.generation.img2img_inputs import img2img_inputs

        self._check(prompt)
        if self.image is None:
            return [request(prompt, hires=self._hires())], ()
        sources = img2img_inputs(self.image, self.mask)
        _check_place(self.image, out)
        prompts = _prompts(sources.images, prompt)
        made = [
            request(text, image=self._from_image(source), inpaint=self._inpaint(source), hires=self._hires())
            for source, text in zip(sources.images, prompts, strict=True)
        ]
        return made, sources.notes

    def _check(self, prompt: str | None) -> None:
        from bakehouse.core.errors import Problems

        masked = self.mask is not None or self.extend is not None
        needs = (
            ("--image", self.image is not None, ("strength", "resize", "mask", "extend")),
            ("--mask", self.mask is not None, ("invert_mask",)),
            ("--mask or --extend", masked, ("mask_blur", "masked_content", "only_masked")),
            ("--only-masked", self.only_masked, ("padding",)),
            ("--hires", self.hires is not None, ("upscaler", "hires_steps", "hires_strength")),
        )
        problems = [
            f"--{name.replace('_', '-')} has no effect without {needed}"
            for needed, given, names in needs
            for name in names
            if not given and getattr(self, name) not in (None, False)
        ]
        if prompt is None and self.image is None:
            problems.append(
                "PROMPT is missing; only --templates (`bakehouse templates` lists them) or the captions of --image can "
                "take its place"
            )
        if problems:
            raise Problems("these options do not fit together:", problems)

    def _from_image(self, source: Img2ImgInput) -> FromImage:
        from bakehouse.generation.img2img_settings import DEFAULT_STRENGTH, FromImage

        strength = DEFAULT_STRENGTH if self.strength is None else self.strength
        return FromImage(image=source.path, strength=strength, resize=self.resize or "stretch", extend=self._extend())

    def _extend(self) -> Extend | None:
        from bakehouse.generation.img2img_settings import Extend

        return None if self.extend is None else Extend.parse(self.extend)

    def _inpaint(self, source: Img2ImgInput) -> Inpaint | None:
        from bakehouse.generation.img2img_settings import Inpaint

        if source.mask is None and self.extend is None:
            return None
        default = Inpaint(content="original" if self.extend is None else "fill")
        return Inpaint(
            mask=source.mask,
            invert=self.invert_mask,
            blur=default.blur if self.mask_blur is None else self.mask_blur,
            content=self.masked_content or default.content,
            area="only masked" if self.only_masked else "whole picture",
            padding=default.padding if self.padding is None else self.padding,
        )

    def _hires(self) -> Hires | None:
        from bakehouse.generation.img2img_settings import Hires

        if self.hires is None:
            return None
        default = Hires()
        return Hires(
            scale=self.hires,
            upscaler=self.upscaler or default.upscaler,
            steps=self.hires_steps,
            strength=default.strength if self.hires_strength is None else self.hires_strength,
        )


def _check_place(image: Path, out: Path) -> None:
    from bakehouse.core.errors import UsageError

    if image.is_dir() and out.resolve().is_relative_to(image.resolve()):
        hint = "choose another: results would be taken for images the next time"
        raise UsageError(f"--out {out} is in the folder of the images, {image}", hint=hint)


def _prompts(sources: tuple[Img2ImgInput, ...], prompt: str | None) -> list[str]:
    from bakehouse.core.errors import Problems

    if prompt is not None:
        return [prompt] * len(sources)
    if missing := [f"{source.path} has no caption" for source in sources if source.caption is None]:
        raise Problems("PROMPT is missing, and captions cannot take its place:", missing, hint="give a PROMPT for all")
    return [source.caption or "" for source in sources]
