"""The common base class of the Stable Diffusion families: autoencoder, UNet with cross-attention, CLIP encoders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bakehouse.core.errors import UsageError
from bakehouse.core.files import atomic_folder, sha256_file, write_json
from bakehouse.data.weighted_prompt import PromptText
from bakehouse.models.denoiser import Conditioning, Denoiser, Moments
from bakehouse.models.detect_prediction_type import ZERO_TERMINAL
from bakehouse.models.diffusers_networks import checkpoint_text_encoder, config_json, file_text_names
from bakehouse.models.learned_words import LearnedWords
from bakehouse.models.noise_schedule import schedule_from_config
from bakehouse.models.prompt_chunks import TokenChunk, chunk_rows, emphasized, plain_chunks, token_chunks
from bakehouse.models.text_encoders import (
    layer_count,
    normalized_hidden_state,
    prompt_token_ids,
    prompt_tokens,
    single_token_words,
    token_ids,
    with_text_model_level,
)
from bakehouse.models.textual_inversion import TextualInversion, TextualInversions, inserted_vectors
from bakehouse.models.weights_fingerprint import file_sha256, files_fingerprint, tensors_sha256

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
"""The scheduler settings of files that have none."""


class StableDiffusion(Denoiser):
    """A base model of any width. Subclasses override what differs, beginning with the class variables below.

    All weights are frozen and in evaluation mode; an adapter decides what is trained.
    """

    pipeline: ClassVar[str] = "StableDiffusionPipeline"
    """diffusers' pipeline class, for model_index.json."""
    text_parts: ClassVar[Mapping[str, str]] = {"text_encoder": "lora_te"}
    """The text encoders by diffusers' name, and kohya's prefix for each."""

    def __init__(
        self,
        *,
        unet: Any,
        vae: Any,
        scheduler_config: Mapping[str, Any] = DEFAULT_SCHEDULER,
        name: str = "",
        files: Sequence[Path] = (),
        settings: Sequence[Path] = (),
        notes: Sequence[str] = (),
        **text: Any,
    ) -> None:
        """Wrap loaded networks.

        Args:
            files: what the networks were read from, for the fingerprint; none: the tensors are hashed.
            settings: separate files that configure networks, tokenizers and schedule.
            text: text encoders and tokenizers: `text_encoder`, `tokenizer`, for SDXL `text_encoder_2`, ...

        Raises:
            UsageError: the UNet is not a plain text-to-image one.
        """
        super().__init__()
        self.unet = unet
        self.vae = vae
        for part in self.text_parts:
            setattr(self, part, text.pop(part))
            setattr(self, tokenizer_part(part), text.pop(tokenizer_part(part)))
        if text:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(text)}")
        self.scheduler_config = dict(scheduler_config)
        self.schedule = schedule_from_config(scheduler_config)
        self.name = name or self.family
        self.notes = tuple(notes)
        self.files = tuple(files)
        self.settings = tuple(settings)
        self.latent_channels = int(vae.config.latent_channels)
        self.downscale = 2 ** (len(vae.config.block_out_channels) - 1)
        self.native_size = int(unet.config.sample_size) * self.downscale
        self._fingerprint: str | None = None
        self.words = LearnedWords(self.text_encoders, {p: getattr(self, tokenizer_part(p)) for p in self.text_parts})
        self.inpaints = unet.config.in_channels == 2 * self.latent_channels + 1
        if unet.config.in_channels != self.latent_channels and not self.inpaints:
            raise UsageError(
                f"{self.name} is not a plain text-to-image model: its UNet takes {unet.config.in_channels} channels, "
                f"its latents have {self.latent_channels}",
                hint="pix2pix (8 channels) and depth (5) models are not supported; plain and inpainting models are",
            )
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def vae_dtype(cls, config: Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
        """Return the type of an autoencoder with these settings in a model of type `dtype`."""
        return dtype

    @property
    def networks(self) -> dict[str, Any]:
        """Every network, by diffusers' names."""
        return {"unet": self.unet, "vae": self.vae, **self.text_encoders}

    @property
    def text_encoders(self) -> dict[str, Any]:
        """By diffusers' names, in the order in which their hidden states are concatenated."""
        return {part: getattr(self, part) for part in self.text_parts}

    @property
    def tokenizers(self) -> dict[str, Any]:
        """By diffusers' names, one per text encoder."""
        return {tokenizer_part(part): getattr(self, tokenizer_part(part)) for part in self.text_parts}

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

    @property
    def origin(self) -> Mapping[str, str]:
        if not self.files:
            return super().origin
        hashes = {p: file_sha256(p) for p in self.files} | {p: sha256_file(p) for p in self.settings}
        return {f"{path.parent.name}/{path.name}": digest for path, digest in hashes.items()}

    def trainable_modules(self) -> dict[str, nn.Module]:
        text = {prefix: with_text_model_level(getattr(self, part)) for part, prefix in self.text_parts.items()}
        return {"lora_unet": self.unet, **text}

    def blocks(self) -> list[nn.Module]:
        from diffusers.models.attention import BasicTransformerBlock
        from diffusers.models.resnet import ResnetBlock2D

        return [m for m in self.unet.modules() if isinstance(m, (BasicTransformerBlock, ResnetBlock2D))]

    def encode_image(self, pixels: Tensor) -> Moments:
        height, width = pixels.shape[-2:]
        if height % self.downscale or width % self.downscale:
            raise ValueError(f"pixels are {width}x{height}: both sides must be multiples of {self.downscale}")
        moments = self._moments(pixels)
        if _overflowed(moments.mean, pixels):
            self.vae.to(torch.float32)
            moments = self._moments(pixels)
        return moments

    def _moments(self, pixels: Tensor) -> Moments:
        posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        scale, shift = self._latent_scale()
        return Moments((posterior.mean.float() - shift) * scale, posterior.std.float() * scale)

    def decode(self, latents: Tensor) -> Tensor:
        pixels = self._pixels(latents)
        if _overflowed(pixels, latents):
            self.vae.to(torch.float32)
            pixels = self._pixels(latents)
        return pixels

    def _pixels(self, latents: Tensor) -> Tensor:
        scale, shift = self._latent_scale()
        pixels: Tensor = self.vae.decode((latents / scale + shift).to(self.vae.dtype), return_dict=False)[0]
        return pixels.float()

    def _latent_scale(self) -> tuple[float, float]:
        return float(self.vae.config.scaling_factor), float(self.vae.config.shift_factor or 0.0)

    def encode_prompt(self, prompts: Sequence[str], *, clip_skip: int = 1, chunks: int = 1) -> Conditioning:
        hidden, pooled = [], None
        for part, encoder in self.text_encoders.items():
            ids, placed = self._plain_rows(prompts, chunks=chunks, part=part)
            with inserted_vectors(encoder, part, placed):
                state, projected = self._encode_ids(part, ids, clip_skip)
            hidden.append(state.reshape(len(prompts), -1, state.shape[-1]))
            if projected is not None:
                pooled = projected.view(len(prompts), chunks, -1)[:, 0]
        return Conditioning(torch.cat(hidden, dim=-1), pooled)

    def _plain_rows(
        self, prompts: Sequence[str], *, chunks: int, part: str
    ) -> tuple[Tensor, list[list[tuple[int, TextualInversion]]]]:
        """Return token ids [B x chunks, 77] of plain prompts, and where each row has the vectors of words."""
        if not len(self.words) or chunks < 1:
            ids = self.token_ids(prompts, chunks=chunks, part=part)
            return ids.view(-1, ids.shape[-1]), []
        tokenizer = getattr(self, tokenizer_part(part))
        rows: list[TokenChunk] = []
        for prompt_ids in prompt_token_ids(tokenizer, prompts):
            kept = plain_chunks(prompt_ids, self.words)[:chunks]
            rows += [*kept, *(TokenChunk() for _ in range(chunks - len(kept)))]
        length = int(getattr(self, part).config.max_position_embeddings)
        ids, _ = chunk_rows(tokenizer, rows, count=len(rows), length=length)
        return ids, _after_start(rows)

    def encode_text(
        self,
        text: PromptText,
        *,
        clip_skip: int = 1,
        chunks: int = 1,
        inversions: TextualInversions | None = None,
        is_negative: bool = False,
    ) -> Conditioning:
        hidden, pooled = [], None
        for part, encoder in self.text_encoders.items():
            tokenizer = getattr(self, tokenizer_part(part))
            found = token_chunks(tokenizer, text, self.words.or_else(inversions))
            length = int(encoder.config.max_position_embeddings)
            ids, weights = chunk_rows(tokenizer, found, count=max(chunks, len(found)), length=length)
            with inserted_vectors(encoder, part, _after_start(found)):
                state, projected = self._encode_ids(part, ids, clip_skip)
            hidden.append(emphasized(state, weights, text.emphasis).reshape(1, -1, state.shape[-1]))
            if projected is not None:
                pooled = projected[:1]
        return Conditioning(torch.cat(hidden, dim=-1), pooled)

    def _encode_ids(self, part: str, ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        """Return a text encoder's hidden states [N, L, D] for ids [N, L], and pooled [N, P] if the UNet reads it."""
        encoder = self.text_encoders[part]
        self._check_clip_skip(clip_skip, layer_count(encoder))
        return normalized_hidden_state(encoder, ids.to(encoder.device), clip_skip), None

    def _check_clip_skip(self, clip_skip: int, layers: int) -> None:
        if not 1 <= clip_skip <= layers:
            raise UsageError(f"clip_skip = {clip_skip}: allowed are 1 (the last layer) to {layers} for {self.name}")

    def token_ids(self, prompts: Sequence[str], *, chunks: int = 1, part: str = "text_encoder") -> Tensor:
        """Return token ids [B, chunks, 77] for one of the text encoders; see `text_encoders.token_ids`."""
        length = int(getattr(self, part).config.max_position_embeddings)
        return token_ids(getattr(self, tokenizer_part(part)), prompts, chunks=chunks, length=length)

    def token_count(self, prompts: Sequence[str]) -> list[int]:
        found = prompt_token_ids(self.tokenizers["tokenizer"], prompts)
        return [sum(len(chunk.ids) for chunk in plain_chunks(ids, self.words)) for ids in found]

    def chunk_token_counts(self, text: PromptText, inversions: TextualInversions | None = None) -> list[int]:
        words = self.words.or_else(inversions)
        return [len(chunk.ids) for chunk in token_chunks(self.tokenizers["tokenizer"], text, words)]

    def textual_inversions(self, files: Mapping[str, Path]) -> TextualInversions:
        widths = {
            part: int(encoder.get_input_embeddings().weight.shape[1]) for part, encoder in self.text_encoders.items()
        }
        return TextualInversions(files, self.tokenizers["tokenizer"], widths)

    def tokens(self, prompts: Sequence[str]) -> list[list[str]]:
        return prompt_tokens(self.tokenizers["tokenizer"], prompts)

    def single_token_words(self) -> list[str]:
        return single_token_words(self.tokenizers["tokenizer"])

    def use_gradient_checkpointing(self, on: bool = True) -> None:
        if on:
            self.unet.enable_gradient_checkpointing()
        else:
            self.unet.disable_gradient_checkpointing()
        for encoder in self.text_encoders.values():
            checkpoint_text_encoder(encoder, on)

    def use_zero_terminal_snr(self) -> None:
        super().use_zero_terminal_snr()
        self.scheduler_config.update(ZERO_TERMINAL)

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
        if x_t.shape[1] != self.unet.config.in_channels:
            raise UsageError(
                f"{self.name} is an inpainting model: its UNet reads a mask and an image too, so it only draws",
                hint="use the plain model that it was made from; adapters trained on that one go on this one",
            )
        pred: Tensor = self.unet(
            x_t.to(dtype),
            t.to(x_t.device),
            encoder_hidden_states=cond.hidden.to(dtype),
            added_cond_kwargs=self._added(x_t, cond),
            return_dict=False,
        )[0]
        return pred.to(x_t.dtype)

    def _added(self, x_t: Tensor, cond: Conditioning) -> dict[str, Tensor] | None:
        """Return the UNet's conditions beside the hidden states."""
        return None

    def save(
        self, folder: Path, *, dtype: torch.dtype = torch.float16, unet: Mapping[str, Tensor] | None = None
    ) -> None:
        with atomic_folder(Path(folder)) as temporary:
            self._write(temporary, dtype, {} if unet is None else {"unet": unet})

    def _write(self, folder: Path, dtype: torch.dtype, given: Mapping[str, Mapping[str, Tensor]]) -> None:
        for part, tokenizer in self.tokenizers.items():
            tokenizer.save_pretrained(str(folder / part))
        write_json(folder / "scheduler" / "scheduler_config.json", self.scheduler_config)
        write_json(folder / "model_index.json", self._model_index())
        for part, network in self.networks.items():
            state = given[part] if part in given else network.state_dict()
            self._write_network(folder / part, network, state, dtype, is_text=part in self.text_parts)

    @staticmethod
    def _write_network(
        folder: Path, network: Any, state: Mapping[str, Tensor], dtype: torch.dtype, *, is_text: bool
    ) -> None:
        config = config_json(network)
        if is_text:
            config, state = {**config, "dtype": str(dtype).removeprefix("torch.")}, file_text_names(state)
        write_json(folder / "config.json", json.loads(json.dumps(config, default=str)))
        # Cast one network at a time: never two copies of the whole model.
        cast = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
        stem = "model" if is_text else "diffusion_pytorch_model"
        save_file(cast, folder / f"{stem}.safetensors", metadata={"format": "pt"})

    def _model_index(self) -> dict[str, Any]:
        import diffusers

        text = {part: ["transformers", type(encoder).__name__] for part, encoder in self.text_encoders.items()}
        return {
            "_class_name": self.pipeline.replace("Pipeline", "InpaintPipeline") if self.inpaints else self.pipeline,
            "_diffusers_version": diffusers.__version__,
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "scheduler": ["diffusers", str(self.scheduler_config["_class_name"])],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
            **text,
            **{part: ["transformers", "CLIPTokenizer"] for part in self.tokenizers},
            **self._index_facts(),
        }

    def _index_facts(self) -> dict[str, Any]:
        return {"requires_safety_checker": False, "safety_checker": [None, None]}


def _after_start(chunks: Sequence[TokenChunk]) -> list[list[tuple[int, TextualInversion]]]:
    """Return the vectors in each chunk and the index of the first token that they replace, start token included."""
    return [[(1 + at, vectors) for at, vectors in chunk.inserted] for chunk in chunks]


def tokenizer_part(text_part: str) -> str:
    """Return diffusers' name of a text encoder's tokenizer: `tokenizer_2` for `text_encoder_2`."""
    return text_part.replace("text_encoder", "tokenizer")


def _overflowed(result: Tensor, given: Tensor) -> bool:
    """Return whether an autoencoder overflowed in fp16: its output is not finite although its input is.

    Some do for some images. The caller then switches the autoencoder to fp32.
    """
    return not bool(torch.isfinite(result).all()) and bool(torch.isfinite(given).all())
