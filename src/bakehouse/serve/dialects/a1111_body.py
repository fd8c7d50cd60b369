"""A1111's requests of pictures, translated. What bakehouse does not have is refused by name, never passed over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from bakehouse.generation.img2img_settings import FromImage, Hires, Inpaint, MaskedContent, Resize
from bakehouse.generation.request import ImageRequest
from bakehouse.serve.errors import ServeError
from bakehouse.serve.work.drawing import Drawing, ImageFormat
from bakehouse.serve.work.served_models import ServedModel, ServedModels

SaveImage = Callable[[str, str], Awaitable[Path]]
_RESIZES: tuple[Resize, ...] = ("stretch", "crop", "pad")
_CONTENTS: tuple[MaskedContent, ...] = ("fill", "original", "latent noise", "latent nothing")
_SAME = ("", None, "Use same sampler", "Use same scheduler", "Use same checkpoint", "None")
DEFAULT_OPTIONS: Mapping[str, Any] = {
    "CLIP_stop_at_last_layers": None,
    "eta_noise_seed_delta": 0,
    "randn_source": "CPU",
    "always_discard_next_to_last_sigma": False,
    "samples_format": "png",
    "sd_vae": "Automatic",
    "sd_model_checkpoint": None,
}
"""The options that can be set, and their values here. None: the model's own."""


class TextToImageBody(BaseModel):
    """`POST /sdapi/v1/txt2img`; other fields are passed over, as A1111 does."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    prompt: str | None = ""
    negative_prompt: str | None = ""
    styles: list[str] | None = None
    seed: int | None = -1
    subseed: int | None = -1
    subseed_strength: float | None = 0
    seed_resize_from_h: int | None = -1
    seed_resize_from_w: int | None = -1
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    batch_size: int | None = 1
    n_iter: int | None = 1
    steps: int | None = 50
    cfg_scale: float | None = 7
    width: int | None = None
    height: int | None = None
    restore_faces: bool | None = False
    tiling: bool | None = False
    eta: float | None = None
    denoising_strength: float | None = None
    s_churn: float | None = 0
    override_settings: dict[str, Any] | None = None
    refiner_checkpoint: str | None = None
    enable_hr: bool | None = False
    firstphase_width: int | None = 0
    firstphase_height: int | None = 0
    hr_scale: float | None = 2
    hr_upscaler: str | None = None
    hr_second_pass_steps: int | None = 0
    hr_resize_x: int | None = 0
    hr_resize_y: int | None = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_prompt: str | None = ""
    hr_negative_prompt: str | None = ""
    force_task_id: str | None = None
    script_name: str | None = None
    send_images: bool | None = True
    save_images: bool | None = False
    alwayson_scripts: dict[str, Any] | None = None
    infotext: str | None = None


class ImageToImageBody(TextToImageBody):
    """`POST /sdapi/v1/img2img`."""

    init_images: list[str] | None = None
    resize_mode: int | None = 0
    denoising_strength: float | None = 0.75
    image_cfg_scale: float | None = None
    mask: str | None = None
    mask_blur: int | None = None
    mask_blur_x: int | None = 4
    mask_blur_y: int | None = 4
    inpainting_fill: int | None = 0
    inpaint_full_res: bool | int | None = True
    inpaint_full_res_padding: int | None = 0
    inpainting_mask_invert: int | None = 0
    initial_noise_multiplier: float | None = None


@dataclass(frozen=True)
class Translator:
    """Makes drawings of bodies."""

    models: ServedModels
    options: Mapping[str, Any]
    """The caller's saved options."""
    samplers: Sequence[Mapping[str, Any]]
    schedules: Sequence[Mapping[str, Any]]
    hashes: Mapping[str, str]
    """Of models by name, as far as they are known."""
    save: SaveImage
    """Keeps an image that is given as text."""

    async def drawing(self, body: TextToImageBody) -> Drawing:
        """Return what a body asks for.

        Raises:
            ServeError: something that bakehouse does not have (422), or an unknown sampler or model (404).
            Problems: values out of range.
        """
        _refuse(body)
        options = {**DEFAULT_OPTIONS, **self.options, **check_options(body.override_settings or {})}
        model = self.find_model(options["sd_model_checkpoint"])
        request = self._words(body, options)
        if isinstance(body, ImageToImageBody):
            request = replace(request, image=await self._image(body), inpaint=await self._inpaint(body))
        elif body.enable_hr:
            request = replace(request, hires=_hires(body, model.native_size))
        kind = {"jpg": "jpeg"}.get(str(options["samples_format"]), str(options["samples_format"]))
        return Drawing(model=model.name, request=request, format=ImageFormat(kind), preview_every=5)  # type: ignore[arg-type]

    def find_model(self, title: str | None) -> ServedModel:
        """Return a model by its name, title, or hash.

        Raises:
            ServeError: there is none (404).
        """
        for model in self.models:
            if title in (model.name, model_title(model, self.hashes), self.hashes.get(model.name)):
                return model
        return self.models.find(title)

    def _words(self, body: TextToImageBody, options: Mapping[str, Any]) -> ImageRequest:
        sampler, schedule = self._sampler(body)
        width, height = body.seed_resize_from_w or 0, body.seed_resize_from_h or 0
        takes_eta = next((row["eta"] for row in self.samplers if row["name"] == sampler), False)
        return ImageRequest(
            prompt=body.prompt or "",
            negative=body.negative_prompt or "",
            width=body.width or None,
            height=body.height or None,
            steps=50 if body.steps is None else body.steps,
            guidance=7.0 if body.cfg_scale is None else body.cfg_scale,
            sampler=sampler,
            schedule=schedule,
            seed=-1 if body.seed is None else body.seed,
            count=(body.batch_size or 1) * (body.n_iter or 1),
            clip_skip=options["CLIP_stop_at_last_layers"],
            eta=body.eta if takes_eta else None,  # A1111 too passes it only to samplers that have one
            discard_penultimate=bool(options["always_discard_next_to_last_sigma"]),
            rng="cpu" if options["randn_source"] == "CPU" else "nv",
            ensd=int(options["eta_noise_seed_delta"]),
            variation_seed=-1 if body.subseed is None else body.subseed,
            variation_strength=body.subseed_strength or 0.0,
            seed_resize=(width, height) if width > 0 and height > 0 else None,
            tiling=bool(body.tiling),
        )

    def _sampler(self, body: TextToImageBody) -> tuple[str, str]:
        """Return sampler and schedule; before A1111 1.9 they were one name, `DPM++ 2M Karras`.

        Raises:
            ServeError: unknown (404).
        """
        name = (body.sampler_name or body.sampler_index or "Euler").strip()
        schedule = body.scheduler
        sampler = self._named(self.samplers, "name", name)
        if sampler is None:
            for row in self.schedules:
                for ending in (row["label"], *row["aliases"]):
                    before = name[: -len(ending) - 1]
                    if name.lower() == f"{before} {ending}".lower() and (
                        found := self._named(self.samplers, "name", before)
                    ):
                        sampler, schedule = found, schedule if schedule not in (None, "", "Automatic") else ending
        if sampler is None or not sampler["a1111"]:
            raise ServeError(404, "HTTPException", "Sampler not found")
        found = self._named(self.schedules, "label", schedule or "Automatic")
        if found is None:
            raise ServeError(404, "HTTPException", f"Scheduler not found: {schedule}")
        return str(sampler["name"]), str(found["label"])

    @staticmethod
    def _named(rows: Sequence[Mapping[str, Any]], key: str, name: str) -> Mapping[str, Any] | None:
        wanted = name.lower()
        return next((r for r in rows if wanted in (r[key].lower(), *(alias.lower() for alias in r["aliases"]))), None)

    async def _image(self, body: ImageToImageBody) -> FromImage:
        images = body.init_images or []
        if len(images) != 1:
            status = 404 if not images else 422
            raise ServeError(status, "HTTPException", "Init image not found" if not images else "give one init image")
        if body.resize_mode not in (0, 1, 2):
            raise _unsupported("resize_mode", body.resize_mode, "0 (stretch), 1 (crop) and 2 (pad)")
        strength = 0.75 if body.denoising_strength is None else body.denoising_strength
        path = await self.save(images[0], "init_images[0]")
        return FromImage(image=path, strength=strength, resize=_RESIZES[body.resize_mode])

    async def _inpaint(self, body: ImageToImageBody) -> Inpaint | None:
        if body.mask is None:
            return None
        if body.inpainting_fill not in range(len(_CONTENTS)):
            raise _unsupported("inpainting_fill", body.inpainting_fill, "0 to 3")
        blurs = {body.mask_blur} if body.mask_blur is not None else {body.mask_blur_x, body.mask_blur_y}
        if len(blurs) != 1:
            raise _unsupported("mask_blur_y", body.mask_blur_y, f"mask_blur_x = {body.mask_blur_x}, the same")
        return Inpaint(
            mask=await self.save(body.mask, "mask"),
            invert=bool(body.inpainting_mask_invert),
            blur=float(blurs.pop() or 0),
            content=_CONTENTS[body.inpainting_fill or 0],
            area="only masked" if body.inpaint_full_res else "whole picture",
            padding=body.inpaint_full_res_padding or 0,
        )


def check_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that were set, checked.

    Raises:
        ServeError: one that does not exist, or whose value is not possible (422).
    """
    for name, value in values.items():
        if name not in DEFAULT_OPTIONS:
            raise ServeError(
                422, "unknown_option", f"option {name!r} is unknown", hint=f"known are {', '.join(DEFAULT_OPTIONS)}"
            )
        allowed = {
            "randn_source": ("CPU", "GPU", "NV"),
            "samples_format": ("png", "jpg", "jpeg", "webp"),
            "sd_vae": ("Automatic", "None", None),
        }.get(name)
        if allowed is not None and value not in allowed:
            raise _unsupported(name, value, ", ".join(map(str, allowed)))
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name in ("CLIP_stop_at_last_layers", "eta_noise_seed_delta") and not whole and value is not None:
            raise _unsupported(name, value, "whole numbers")
        if name == "sd_model_checkpoint" and not isinstance(value, str | None):
            raise _unsupported(name, value, "names of /sdapi/v1/sd-models")
    return dict(values)


def model_title(model: ServedModel, hashes: Mapping[str, str]) -> str:
    """Return a model's title as A1111 writes it: with its hash once that is known."""
    found = hashes.get(model.name)
    return f"{model.name} [{found}]" if found else model.name


def _refuse(body: TextToImageBody) -> None:
    """Refuse what would change the picture and is not there."""
    image = isinstance(body, ImageToImageBody)
    for name, asked in (
        ("restore_faces", bool(body.restore_faces)),
        ("refiner_checkpoint", body.refiner_checkpoint not in _SAME),
        ("hr_checkpoint_name", body.hr_checkpoint_name not in _SAME),
        ("hr_sampler_name", body.hr_sampler_name not in _SAME),
        ("hr_scheduler", body.hr_scheduler not in _SAME),
        ("hr_prompt", bool(body.hr_prompt)),
        ("hr_negative_prompt", bool(body.hr_negative_prompt)),
        ("firstphase_width", bool(body.firstphase_width or body.firstphase_height)),
        ("s_churn", bool(body.s_churn)),
        ("infotext", bool(body.infotext)),
        ("styles", bool(body.styles)),
        ("initial_noise_multiplier", image and getattr(body, "initial_noise_multiplier", None) not in (None, 1)),
        ("enable_hr", image and bool(body.enable_hr)),
    ):
        if asked:
            raise _unsupported(name, getattr(body, name), "leave it out")
    if body.script_name:
        raise ServeError(422, "HTTPException", f"Script '{body.script_name}' not found")
    for name in body.alwayson_scripts or {}:
        raise ServeError(422, "HTTPException", f"always on script {name} not found")


def _hires(body: TextToImageBody, native: int) -> Hires:
    width, height = body.width or native, body.height or native
    scale = 2.0 if body.hr_scale is None else body.hr_scale
    if body.hr_resize_x or body.hr_resize_y:
        scales = [new / old for new, old in ((body.hr_resize_x, width), (body.hr_resize_y, height)) if new]
        if max(scales) - min(scales) > 0.01:
            raise _unsupported("hr_resize_y", body.hr_resize_y, f"the shape of the picture, {width}x{height}")
        scale = scales[0]
    strength = 0.7 if body.denoising_strength is None else body.denoising_strength
    steps = body.hr_second_pass_steps or None
    return Hires(scale=scale, upscaler=body.hr_upscaler or "Latent", steps=steps, strength=strength)


def _unsupported(name: str, value: object, allowed: str) -> ServeError:
    return ServeError(422, "unsupported", f"{name} = {value!r} is not possible here", hint=f"possible: {allowed}")
