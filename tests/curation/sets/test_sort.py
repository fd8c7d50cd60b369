"""Images find the folder of their concept: by words, by likeness, by example."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from bakehouse.core.errors import Problems, UsageError
from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.operation import apply_operation, collect_proposals
from bakehouse.curation.sorting import Sort
from bakehouse.curation.sorting.clustering import cluster, kmeans, silhouette
from bakehouse.data import scan
from bakehouse.vision.image_embeddings import load_embedder, normalize_rows

from .make_images import put

EXAMPLES = Path(str(resources.files("bakehouse"))) / "assets" / "examples"


def places(folder):
    """Folder of each image by its stem."""
    images = scan(folder)
    return {r.path.stem: images.name(r.path).parent.as_posix() for r in images}


@pytest.fixture
def heap(tmp_path):
    """Six images of each of two people in one folder."""
    for name in ("mira", "tobi"):
        for path in sorted((EXAMPLES / name).glob("*.png"))[:6]:
            shutil.copy(path, tmp_path / f"{name}-{path.name}")
            shutil.copy(path.with_suffix(".txt"), tmp_path / f"{name}-{path.stem}.txt")
    return tmp_path


def captioned(folder, **captions):
    put(folder, **{f"{name}_png": Image.new("RGB", (8, 8)) for name in captions})
    for name, text in captions.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_by_tag(tmp_path):
    captioned(tmp_path, a="person, red_dress", b="red dress, hat", c="person, Hat", d="red dress shirt", e="")
    told = []
    verb = Sort(tags=("red dress", "hat"))
    assert len(collect_proposals(verb, scan(tmp_path), told.append)) == 3
    assert [t.message for t in told] == [
        "1 image with several of the tags; the first tag was used",
        "no folder for 2 images: d.png, e.png",
    ]
    apply_operation(tmp_path, verb)
    assert places(tmp_path) == {"a": "1_red dress", "b": "1_red dress", "c": "1_hat", "d": ".", "e": "."}
    assert (tmp_path / "1_hat" / "c.txt").read_text() == "person, Hat"
    assert apply_operation(tmp_path, verb) is None
    undo(tmp_path)
    assert set(places(tmp_path).values()) == {"."}


def test_a_folder_that_is_there_is_used(tmp_path):
    captioned(tmp_path / "12_hat", z="hat")
    captioned(tmp_path, a="hat")
    apply_operation(tmp_path, Sort(tags=("hat",)))
    assert places(tmp_path) == {"z": "12_hat", "a": "12_hat"}


def test_into_folders_by_a_trigger(tmp_path):
    captioned(tmp_path, a="zwx person, hat", b="qvr person", c="person")
    apply_operation(tmp_path, Sort(folders={"zwx": "sets/one", "qvr": "sets/two"}))
    assert places(tmp_path) == {"a": "sets/one", "b": "sets/two", "c": "."}


def test_two_people_are_two_groups(heap):
    apply_operation(heap, Sort(by="cluster", clusters=2))
    found = places(heap)
    assert len({found[name] for name in found if name.startswith("mira")}) == 1
    assert len(set(found.values())) == 2
    assert all(folder.startswith("1_") for folder in found.values())


def test_the_rest_follows_a_few_examples(heap):
    for name in ("mira", "tobi"):
        (heap / f"3_{name}").mkdir()
        for i in ("01", "02"):
            for ending in ("png", "txt"):
                (heap / f"{name}-{i}.{ending}").rename(heap / f"3_{name}" / f"{name}-{i}.{ending}")
    apply_operation(heap, Sort(by="example"))
    assert places(heap) == {name: f"3_{name.split('-')[0]}" for name in places(heap)}


def test_who_is_not_sure_stays(heap):
    for name in ("mira", "tobi"):
        (heap / name).mkdir()
        (heap / f"{name}-01.png").rename(heap / name / "01.png")
    told = []
    assert collect_proposals(Sort(by="example", sure=1), scan(heap), told.append) == []
    assert told[-1].message.startswith("no folder for 10 images")


def test_errors(heap):
    with pytest.raises(UsageError, match="has 0 folders of images"):
        apply_operation(heap, Sort(by="example"))
    with pytest.raises(Problems, match="needs the tags to sort by"):
        Sort.parse({"by": "tag"})
    with pytest.raises(UsageError, match="does not exist"):
        load_embedder("nothing.onnx")


# --- the parts --------------------------------------------------------------------------------------------------------


def blobs(count, each=12, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.eye(8)[:count] * 4
    return normalize_rows((np.repeat(centres, each, 0) + rng.normal(0, 0.5, (count * each, 8))).astype(np.float32))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_groups_and_their_number_are_found(count):
    vectors = blobs(count)
    shuffled = np.random.default_rng(1).permutation(len(vectors))
    labels = cluster(vectors[shuffled])
    assert len(set(labels.tolist())) == count
    for k in range(count):
        assert len(set(labels[np.isin(shuffled, range(12 * k, 12 * k + 12))].tolist())) == 1


def test_k_means_rests():
    vectors = blobs(3)
    labels = kmeans(vectors, 4)
    centres = normalize_rows(np.stack([vectors[labels == k].sum(0) for k in range(4)]))
    assert ((vectors @ centres.T).argmax(1) == labels).all()
    assert silhouette(vectors, kmeans(vectors, 3)) > silhouette(vectors, labels)


def test_few_images_are_one_group():
    assert cluster(blobs(1, 3)).tolist() == [0, 0, 0]
    assert sorted(cluster(blobs(1, 3), 5).tolist()) == [0, 1, 2]


def test_a_network_of_ones_own(tmp_path):
    node = helper.make_node("ReduceMean", ["picture"], ["vector"], axes=[2, 3], keepdims=0)
    graph = helper.make_graph(
        [node],
        "means",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    embed = load_embedder(str(tmp_path / "net.onnx"))
    found = embed([Image.new("RGB", (40, 30), c) for c in ("red", "blue", (250, 5, 5))])
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert found[0] @ found[2] > 0.95 > found[0] @ found[1]
