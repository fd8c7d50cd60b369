"""Loading holds one copy of the weights: measured in a process of its own, by the kernel's own count."""

import sys
from pathlib import Path

import pytest
import torch

from bakehouse.models.mmap_weights import read_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One model in every layout."""
    from benchmarks.load_memory import write_models

    folder = tmp_path_factory.mktemp("models")
    write_models(folder, widths=(96, 192, 384, 384))
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/self/clear_refs is Linux")
def test_one_copy_at_most(written, monkeypatch):
    monkeypatch.chdir(ROOT)
    from benchmarks.load_memory import measure

    layouts = [("folder", "fp16"), ("file.safetensors", "fp16"), ("file.ckpt", "fp16"), ("file.ckpt", "fp32")]
    for case, found in zip(layouts, measure([(written / layout, dtype) for layout, dtype in layouts]), strict=True):
        assert found["weights"] > 100 << 20 and found["peak"] <= 1.15 * found["weights"], case


def test_weights_of_the_same_type_are_views_of_the_file(family_folders):
    """No copy is made, the file is never changed, and what was let go is read again."""
    path = family_folders["sd1"] / "unet" / "diffusion_pytorch_model.safetensors"
    before = path.read_bytes()
    weights, other = read_weights([path]), read_weights([path])
    name = "conv_in.weight"
    kept = weights[name].clone()
    weights.release()
    assert torch.equal(weights[name], kept)
    weights[name].add_(1)
    assert path.read_bytes() == before and torch.equal(other[name], kept)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/self/maps is Linux")
def test_pages_of_a_pickle_are_let_go_and_read_again(tmp_path):
    """Memory of other tensors stays as it is, also of those that the same file holds in an older layout."""
    torch.manual_seed(0)
    tensors = {name: torch.randn(300, 1000) for name in "ab"}
    torch.save({"state_dict": tensors}, tmp_path / "new.ckpt")
    torch.save(tensors, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    new, again, old = (read_weights([tmp_path / f"{name}.ckpt"]) for name in ("new", "new", "old"))
    again["a"].add_(1)
    changed = again["a"].clone()
    for weights in (new, old):
        weights.release()
        assert all(torch.equal(weights[name], tensor) for name, tensor in tensors.items())
    assert torch.equal(again["a"], changed), "what somebody else has changed of the same file is theirs"
    assert len(new._regions) == 1
    assert not old._regions
