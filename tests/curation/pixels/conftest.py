"""Tiny networks made on the spot, tiny datasets, and where real models and real art are, if they are here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue import model_path

ART = Path(os.environ.get("BAKEHOUSE_TEST_ART", "/usr/share/games/renpy/the_question/game/images"))


@pytest.fixture
def empty_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no model was fetched."""
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "no-models"))


@pytest.fixture
def fetched() -> Callable[[str], Path]:
    """The file of a real model; skips the test where it was not fetched."""

    def path(name: str) -> Path:
        try:
            return model_path(name)
        except UsageError as e:
            pytest.skip(f"needs a real model: {e.hint}")

    return path


@pytest.fixture
def art() -> Path:
    """Sprites with true alpha, and backgrounds; skips the test where they are not."""
    if not ART.is_dir():
        pytest.skip(f"needs Debian's renpy-thequestion ({ART}), or BAKEHOUSE_TEST_ART")
    return ART


@pytest.fixture
def bright_matte(tmp_path: Path) -> Callable[..., Path]:
    """An ONNX segmentation model by which what is brighter than `level` is the subject."""
    onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra dev")
    from onnx import TensorProto, helper, numpy_helper

    def make(name: str = "bright.onnx", *, size: int | str = 32, level: float = 0.5, channels: int = 1) -> Path:
        level_, steep = np.float32(level).reshape(1, 1, 1, 1), np.full((1, channels, 1, 1), 40, np.float32)
        nodes = [
            helper.make_node("ReduceMean", ["x"], ["grey"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["grey", "level"], ["above"]),
            helper.make_node("Mul", ["above", "steep"], ["steeper"]),
            helper.make_node("Sigmoid", ["steeper"], ["mask"]),
        ]
        graph = helper.make_graph(
            nodes,
            "bright",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
            [helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, channels, size, size])],
            [numpy_helper.from_array(level_, "level"), numpy_helper.from_array(steep, "steep")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        path = tmp_path / name
        onnx.save(model, str(path))
        return path

    return make


def figure(width: int = 96, height: int = 128, *, ground: str = "#203020") -> Image.Image:
    """A bright shape with a head on a dark ground."""
    image = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.35, height * 0.1, width * 0.65, height * 0.4), fill="#fff0e0")
    draw.rectangle((width * 0.3, height * 0.38, width * 0.7, height * 0.9), fill="#f0e0ff")
    return image


@pytest.fixture
def draw_figure() -> Callable[..., Image.Image]:
    """Draws a subject that `bright_matte` can tell from its ground."""
    return figure
