"""Pictures with captions, and base models' settings without their weights: all that a plan reads."""

import json

import pytest
from PIL import Image

UNET = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "attention_head_dim": 2, "norm_num_groups": 4,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "cross_attention_dim": 16,
}  # fmt: skip
TEXT = {"vocab_size": 99, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
PIPELINES = {"sd1": "StableDiffusionPipeline", "sd2": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}


@pytest.fixture(autouse=True)
def _settings_alone(monkeypatch):
    """Models here are settings without weights; what the plan says of broken files is asked of real ones elsewhere."""
    monkeypatch.setattr("bakehouse.recipe.plan.check_model", lambda *_: None)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (64, 64), (i * 40, 0, 0)).save(tmp_path / "photos" / f"{i}.png")
        (tmp_path / "photos" / f"{i}.txt").write_text(f"zwx person, place {i}")
    return tmp_path / "photos"


@pytest.fixture
def base(tmp_path):
    """A model's settings without its weights: all that a plan reads."""

    def make(family, *, scheduler=None):
        if family == "crumb":
            return "crumb"
        text = {**TEXT, "hidden_act": "gelu" if family == "sd2" else "quick_gelu"}
        files = {
            "model_index.json": {"_class_name": PIPELINES[family]},
            "unet/config.json": UNET,
            "vae/config.json": {"block_out_channels": [1, 2, 3, 4]},
            "scheduler/scheduler_config.json": scheduler or {},
            "text_encoder/config.json": text,
            "text_encoder_2/config.json": {**text, "num_hidden_layers": 4},
        }
        for name, content in files.items():
            (tmp_path / family / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / family / name).write_text(json.dumps(content))
        return str(tmp_path / family)

    return make
