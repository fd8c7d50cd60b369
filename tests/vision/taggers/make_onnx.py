"""Tiny ONNX taggers of the shapes of the real ones: scores are linear in the mean of each channel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WD_TAGS = (
    ("general", 9), ("sensitive", 9), ("questionable", 9), ("explicit", 9),
    ("first_channel", 0), ("second_channel", 0), ("third_channel", 0), ("^_^", 0), ("never", 0), ("a_hero", 4),
)  # fmt: skip


def save_network(
    path: Path, weight: np.ndarray, bias: np.ndarray, *, channels_first=False, side=16, batch="N", sigmoid=True
) -> None:
    """`sigmoid(mean over pixels @ weight [3, tags] + bias [tags])`."""
    shape = [batch, 3, side, side] if channels_first else [batch, side, side, 3]
    axes = [2, 3] if channels_first else [1, 2]
    nodes = [
        helper.make_node("ReduceMean", ["picture"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["logits"], ["probabilities"]))
    out = "probabilities" if sigmoid else "logits"
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, [batch, weight.shape[1]])],
        [
            numpy_helper.from_array(weight.astype(np.float32), "weight"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def wd(folder: Path, **options) -> Path:
    """A WD tagger: NHWC, bytes, probabilities. Each channel has its tag; `a_hero` is there when all are bright."""
    folder.mkdir(parents=True, exist_ok=True)
    weight = np.zeros((3, len(WD_TAGS)))
    weight[0, 4] = weight[1, 5] = weight[2, 6] = 8 / 255
    weight[:, 9] = 4 / 255
    bias = np.array([0, 3, 0, 0, -4, -4, -4, 1, -9, -8.0])
    save_network(folder / "model.onnx", weight, bias, **options)
    rows = "".join(f"{i},{name},{category},{1000 - i}\n" for i, (name, category) in enumerate(WD_TAGS))
    (folder / "selected_tags.csv").write_text("tag_id,name,category,count\n" + rows)
    return folder / "model.onnx"


def cl(folder: Path) -> Path:
    """A cl_tagger: NCHW, -1..1, logits, eight categories."""
    folder.mkdir(parents=True, exist_ok=True)
    tags = {"first_channel": "General", "hero_(series)": "Character", "best quality": "Quality", "safe": "Rating"}
    weight = np.zeros((3, 4))
    weight[0, 0] = weight[1, 1] = 4
    save_network(folder / "model.onnx", weight, np.array([0, 0, 2, 2.0]), channels_first=True, sigmoid=False)
    mapping = {"idx_to_tag": {str(i): t for i, t in enumerate(tags)}, "tag_to_category": tags}
    (folder / "tag_mapping.json").write_text(json.dumps(mapping))
    return folder / "model.onnx"


def deepdanbooru(folder: Path) -> Path:
    """DeepDanbooru: NHWC, 0..1, probabilities, tags in lines."""
    folder.mkdir(parents=True, exist_ok=True)
    weight = np.zeros((3, 3))
    weight[0, 0] = weight[2, 1] = 8
    save_network(folder / "model.onnx", weight, np.array([-4, -4, 2.0]))
    (folder / "tags.txt").write_text("red_all_over\nblue_all_over\nrating:safe\n")
    return folder / "model.onnx"
