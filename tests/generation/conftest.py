from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bakehouse.adapters import LoRA, inject, metadata_for, save_adapter
from bakehouse.core.events import Saved
from bakehouse.core.run_folder import Run
from bakehouse.generation import ImageRequest, ModelSource, Pipeline
from bakehouse.generation import pipeline as pipelines
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.load import load_model

PROMPT = "pink afro, tan skin, green hoodie, at the beach"
RECIPE = """
name = "zwx"
[model]
base = "crumb"
clip_skip = 2
[[concepts]]
folder = "photos"
subject = "zwx person"
"""


@pytest.fixture(scope="session")
def crumb(make_tiny: Callable[..., Denoiser]) -> Denoiser:
    """What these tests open as `crumb`: a tiny model of the same architecture, 64x64 pixels, random weights.

    Its text encoder's last norm has a bias, as that of a trained one: emphasis divides by the mean of the output.
    """
    model = make_tiny()
    for name, parameter in model.text_encoders["text_encoder"].named_parameters():
        if name.endswith("final_layer_norm.bias"):
            torch.nn.init.constant_(parameter, 0.5)
    return model


@pytest.fixture(autouse=True)
def loaded_once(crumb: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipelines leave their base as it was, so that all tests can share one."""
    load = pipelines.load_model
    monkeypatch.setattr(pipelines, "load_model", lambda ref, **k: crumb if ref == "crumb" else load(ref, **k))


@pytest.fixture
def pipeline(crumb: Denoiser) -> Iterator[Pipeline]:
    """A pipeline on a shared base, which it leaves as it was."""
    with Pipeline(crumb, ModelSource("crumb", title="crumb")) as opened:
        yield opened


@pytest.fixture(scope="session")
def _drawing_model() -> Denoiser:
    return load_model("crumb")


@pytest.fixture
def drawing(_drawing_model: Denoiser) -> Iterator[Pipeline]:
    """A pipeline on the real base, for what only a model that heeds its prompts can show."""
    with Pipeline(_drawing_model, ModelSource("crumb", title="crumb")) as opened:
        yield opened


@pytest.fixture
def asked() -> ImageRequest:
    """A picture that is cheap to make."""
    return ImageRequest(prompt=PROMPT, width=64, height=64, steps=2, seed=5)


def write_adapter(crumb: Denoiser, path: Path, seed: int, **metadata: object) -> Path:
    """A LoRA whose every weight is random and whose alpha is not its rank."""
    spec = LoRA(rank=4, alpha=6)
    adapter = inject(spec, crumb.trainable_modules())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    words = {"base_model": "crumb", **metadata}
    save_adapter(adapter, path, metadata_for(spec, name=path.stem, **words) if words["base_model"] else {})
    adapter.remove()
    return path


@pytest.fixture(scope="session")
def lora(crumb: Denoiser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(crumb, tmp_path_factory.mktemp("lora") / "zwx.safetensors", 1)


@pytest.fixture(scope="session")
def other_lora(crumb: Denoiser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(crumb, tmp_path_factory.mktemp("lora") / "qqq.safetensors", 2)


@pytest.fixture(scope="session")
def trained(crumb: Denoiser, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of three epochs, as the trainer leaves it."""
    run = Run(tmp_path_factory.mktemp("runs") / "zwx-run")
    run.weights.mkdir(parents=True)
    (run.folder / "photos").mkdir()
    run.recipe.write_text(RECIPE)
    for epoch, name in ((1, "zwx-000001"), (2, "zwx-000002"), (3, "zwx")):
        write_adapter(crumb, run.weights / f"{name}.safetensors", epoch)
        run.append(Saved(step=epoch * 10, epoch=epoch, path=f"weights/{name}.safetensors"))
    return run
