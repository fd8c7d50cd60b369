"""Stable Diffusion 1.x: one CLIP text encoder, a UNet with cross-attention, an 8x image autoencoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bakehouse.core.errors import UsageError
from bakehouse.core.files import atomic_folder, write_json
from bakehouse.families.components import checkpoint_text_encoder, config_json, file_text_names
from bakehouse.families.denoiser import Conditioning, Denoiser, Moments
from bakehouse.families.fingerprint import files_fingerprint, tensors_sha256
from bakehouse.families.schedule import schedule_from_config

DEFAULT_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
"""Stable Diffusion 1.5's own, for files that say nothing."""


class SD1(Denoiser):
    """A base model of the SD 1.x architecture, of any width.

    Everything is frozen and in evaluation mode; an adapter says what trains.
    """

    family = "sd1"

    def __init__(
        self,
        *,
        unet: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler_config: Mapping[str, Any] = DEFAULT_SCHEDULER,
        name: str = "sd1",
        files: Sequence[Path] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """`files` are what the networks were read from, for the fingerprint; none: the tensors are hashed."""
        super().__init__()
        self.unet = unet
        self.vae = vae
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.scheduler_config = dict(scheduler_config)
        self.schedule = schedule_from_config(scheduler_config)
        self.name = name
        self.notes = tuple(notes)
        self.files = tuple(files)
        self.latent_channels = int(vae.config.latent_channels)
        self.downscale = 2 ** (len(vae.config.block_out_channels) - 1)
        self.native_size = int(unet.config.sample_size) * self.downscale
        self._fingerprint: str | None = None
        if unet.config.in_channels != self.latent_channels:
            raise UsageError(
                f"{name} is not a plain text-to-image model: its UNet takes {unet.config.in_channels} channels, "
                f"its latents have {self.latent_channels}",
                hint="inpainting (9) and pix2pix (8) models cannot be trained; take the plain model behind them",
            )
        self.requires_grad_(False)
        self.eval()

    @property
    def device(self) -> torch.device:
        device: torch.device = self.unet.conv_in.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.unet.conv_in.weight.dtype
        return dtype

    @property
    def fingerprint(self) -> str:
        if self._fingerprint is None:
            self._fingerprint = files_fingerprint(self.files) if self.files else tensors_sha256(self.state_dict())
        return self._fingerprint

    def parts(self) -> dict[str, nn.Module]:
        return {"lora_unet": self.unet, "lora_te": under_text_model(self.text_encoder)}

    def encode_image(self, pixels: Tensor) -> Moments:
        _check_multiple(pixels, self.downscale)
        posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        scale, shift = self._latent_scale()
        return Moments((posterior.mean.float() - shift) * scale, posterior.std.float() * scale)

    def encode_prompt(self, prompts: Sequence[str], *, clip_skip: int = 1, chunks: int = 1) -> Conditioning:
        layers = int(self.text_encoder.config.num_hidden_layers)
        if not 1 <= clip_skip <= layers:
            raise UsageError(f"clip_skip = {clip_skip}: allowed are 1 (the last layer) to {layers} for {self.name}")
        ids = self.token_ids(prompts, chunks=chunks).to(self.text_encoder.device)
        flat = ids.view(-1, ids.shape[-1])
        if clip_skip == 1:
            hidden = self.text_encoder(flat).last_hidden_state
        else:
            states = self.text_encoder(flat, output_hidden_states=True).hidden_states
            inner = getattr(self.text_encoder, "text_model", self.text_encoder)
            # SD 1.x was trained on normed states, so the last norm follows whichever layer is taken.
            hidden = inner.final_layer_norm(states[-clip_skip])
        return Conditioning(hidden.reshape(len(prompts), -1, hidden.shape[-1]))

    def token_ids(self, prompts: Sequence[str], *, chunks: int = 1) -> Tensor:
        """Token numbers [B, chunks, 77]: each chunk has its own begin mark, 75 places and an end mark."""
        if not 1 <= chunks <= 3:
            raise UsageError(f"chunks = {chunks}: allowed are 1 to 3 (75, 150 or 225 tokens)")
        length = int(self.text_encoder.config.max_position_embeddings)
        room = length - 2
        begin, end, pad = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        rows = []
        for words in self._tokens(prompts):
            for k in range(chunks):
                piece = [begin, *words[k * room : (k + 1) * room], end]
                rows.append(piece + [pad] * (length - len(piece)))
        return torch.tensor(rows).view(len(prompts), chunks, length)

    def token_count(self, prompts: Sequence[str]) -> list[int]:
        return [len(words) for words in self._tokens(prompts)]

    def _tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        if not prompts:
            return []
        encoded = self.tokenizer(list(prompts), add_special_tokens=False, truncation=False, verbose=False)
        return [list(words) for words in encoded.input_ids]

    def use_gradient_checkpointing(self, on: bool = True) -> None:
        if on:
            self.unet.enable_gradient_checkpointing()
        else:
            self.unet.disable_gradient_checkpointing()
        checkpoint_text_encoder(self.text_encoder, on)

    def use_attention(self, kernel: str) -> None:
        if kernel == "sdpa":
            return
        if find_spec("xformers") is None:
            raise UsageError("attention = 'xformers': it is not installed", hint="pip install xformers, or use 'sdpa'")
        self.unet.enable_xformers_memory_efficient_attention()

    def use_compiler(self) -> None:
        self.unet.compile()

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        dtype = self.dtype
        pred: Tensor = self.unet(
            x_t.to(dtype), t.to(x_t.device), encoder_hidden_states=cond.hidden.to(dtype), return_dict=False
        )[0]
        return pred.to(x_t.dtype)

    def decode(self, latents: Tensor) -> Tensor:
        scale, shift = self._latent_scale()
        pixels: Tensor = self.vae.decode((latents / scale + shift).to(self.vae.dtype), return_dict=False)[0]
        return pixels.float()

    def _latent_scale(self) -> tuple[float, float]:
        return float(self.vae.config.scaling_factor), float(self.vae.config.shift_factor or 0.0)

    def save(self, folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
        with atomic_folder(Path(folder)) as temporary:
            self._write(temporary, dtype)

    def _write(self, folder: Path, dtype: torch.dtype) -> None:
        self.tokenizer.save_pretrained(str(folder / "tokenizer"))
        write_json(folder / "scheduler" / "scheduler_config.json", self.scheduler_config)
        write_json(folder / "model_index.json", _model_index(str(self.scheduler_config["_class_name"])))
        text_config = {**config_json(self.text_encoder), "dtype": str(dtype).removeprefix("torch.")}
        networks = (
            ("unet", "diffusion_pytorch_model", config_json(self.unet), self.unet.state_dict()),
            ("vae", "diffusion_pytorch_model", config_json(self.vae), self.vae.state_dict()),
            ("text_encoder", "model", text_config, file_text_names(self.text_encoder.state_dict())),
        )
        for part, stem, config, state in networks:
            write_json(folder / part / "config.json", json.loads(json.dumps(config, default=str)))
            # One network at a time in the new type: never two copies of the whole model.
            cast = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
            save_file(cast, folder / part / f"{stem}.safetensors", metadata={"format": "pt"})


class _Named(nn.Module):
    """Gives a network one more level of name and nothing else."""

    def __init__(self, text_model: nn.Module) -> None:
        super().__init__()
        self.text_model = text_model


def under_text_model(text_encoder: nn.Module) -> nn.Module:
    """A CLIP text encoder whose modules are called `text_model.encoder...`, as every adapter file calls them.

    transformers 5 took that level out of the network; the files of the world keep it.
    """
    return text_encoder if hasattr(text_encoder, "text_model") else _Named(text_encoder)


def _check_multiple(pixels: Tensor, of: int) -> None:
    height, width = pixels.shape[-2:]
    if height % of or width % of:
        raise ValueError(f"pixels are {width}x{height}: both sides must be multiples of {of}")


def _model_index(scheduler: str) -> dict[str, Any]:
    import diffusers

    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
