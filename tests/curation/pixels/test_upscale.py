"""Upscaling: the same with and without pieces, the same from every form of a file, and no larger than needed."""

from __future__ import annotations

import itertools
import struct
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Warned
from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.operation import apply_operation, collect_proposals
from bakehouse.curation.upscale import Upscale
from bakehouse.data import BucketSpec, assign, scan
from bakehouse.vision.upscalers.find_upscaler import upscaler_path
from bakehouse.vision.upscalers.ncnn_weights import read_ncnn_weights
from bakehouse.vision.upscalers.tiling import RAMP, run_tiled, tile_spans
from bakehouse.vision.upscalers.upscale_image import run_network, spread_colors, upscale_to_size

needs_spandrel = pytest.mark.skipif(find_spec("spandrel") is None, reason="needs spandrel, of the extra curate")

# --- pieces


@given(st.integers(1, 4000), st.integers(64, 512), st.integers(RAMP, 31))
def test_pieces_cover_a_side_and_overlap(length, tile, overlap):
    found = tile_spans(length, tile, overlap)
    assert found[0][0] == 0 and found[-1][1] == length
    assert all(0 < end - start <= tile for start, end in found)
    assert all(before[1] - after[0] >= overlap for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("size", [(150, 97), (64, 64), (65, 200), (300, 40)])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_pieces_give_what_the_whole_gives(size, scale):
    """A network that looks 8 pixels far, on pieces of 64 with 24 of overlap: (24 - 8) / 2 = 8 are thrown away."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 3, 5, padding=2) for _ in range(4)), torch.nn.Upsample(scale_factor=scale)
    ).eval()

    @torch.inference_mode()
    def run(image):
        x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        return net(x)[0].permute(1, 2, 0).numpy()

    image = np.random.default_rng(0).random((size[1], size[0], 3), dtype=np.float32)
    seen = []
    made = run_tiled(image, lambda x: seen.append(x.shape) or run(x), tile=64, overlap=24)
    np.testing.assert_allclose(made, run(image), atol=2e-5)
    assert max(max(shape[:2]) for shape in seen) <= 64
    if max(size) > 64:  # and with less thrown away than it looks, it would not
        assert np.abs(run_tiled(image, run, tile=64, overlap=RAMP) - run(image)).max() > 1e-3


# --- files


def compact(scale=2, features=8, seed=0):
    """Random weights of a SRVGGNetCompact."""
    torch.manual_seed(seed)
    shapes = [(features, 3), None, (features, features), None, (3 * scale * scale, features)]
    weights = {}
    for i, shape in enumerate(shapes):
        if shape is None:
            weights[f"body.{i}.weight"] = torch.rand(features) / 2
        else:
            weights[f"body.{i}.weight"] = torch.randn(*shape, 3, 3) / 20
            weights[f"body.{i}.bias"] = torch.randn(shape[0]) / 50
    return weights


def dense(features=16, growth=32, seed=0):
    """Random weights of an RRDBNet of one block that makes pictures four times as large."""
    torch.manual_seed(seed)
    shapes = {"conv_first": (features, 3)}
    for r in (1, 2, 3):
        for c in range(5):
            out = growth if c < 4 else features
            shapes[f"body.0.rdb{r}.conv{c + 1}"] = (out, features + c * growth)
    shapes |= dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (features, features))
    shapes["conv_last"] = (3, features)
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = torch.randn(*shape, 3, 3) / 20
        weights[f"{name}.bias"] = torch.randn(shape[0]) / 50
    weights["conv_last.weight"] *= 20  # else its pictures are all but black
    weights["conv_last.bias"] += 0.5
    return weights


def write_ncnn(weights, path, *, half):
    """Weights as the two files that ncnn reads, after ncnn's own description of them."""
    lines, data = ["7767517", f"{len(weights) + 1} 99", "Input data 0 1 data"], b""
    for i, name in enumerate(n for n in weights if n.endswith("weight")):
        values = weights[name].numpy()
        if values.ndim == 1:
            lines.append(f"PReLU p{i} 1 1 b{i} b{i + 1} 0={values.size}")
            data += values.astype("<f4").tobytes()
            continue
        out, _, side, _ = values.shape
        lines.append(
            f"Convolution c{i} 1 1 b{i} b{i + 1} 0={out} 1={side} 4=1 5=1 6={values.size} 9=2 -23310=1,2.0e-01"
        )
        packed = values.astype("<f2" if half else "<f4").tobytes()
        data += struct.pack("<I", 0x01306B47 if half else 0) + packed + b"\0" * (-len(packed) % 4)
        data += weights[name.replace("weight", "bias")].numpy().astype("<f4").tobytes()
    path.with_suffix(".param").write_text("\n".join(lines))
    path.with_suffix(".bin").write_bytes(data)
    return path.with_suffix(".bin")


@pytest.mark.parametrize("make", [compact, dense])
@pytest.mark.parametrize("half", [False, True])
def test_ncnn_s_files_give_the_weights_they_were_made_from(tmp_path, make, half):
    weights = make()
    found = read_ncnn_weights(write_ncnn(weights, tmp_path / "net", half=half))
    assert {*found} == {*weights}
    for name, values in weights.items():
        if half and values.ndim == 4:
            values = values.half().float()
        np.testing.assert_array_equal(found[name], values.numpy())


def test_broken_ncnn_files_are_refused(tmp_path):
    path = write_ncnn(dense(), tmp_path / "net", half=True)
    path.write_bytes(path.read_bytes() + b"1234")
    with pytest.raises(UsageError, match="4 bytes too many"):
        read_ncnn_weights(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match=r"net\.bin does not match net\.param"):
        read_ncnn_weights(path)
    path.with_suffix(".param").unlink()
    with pytest.raises(UsageError, match=r"net\.param does not exist"):
        read_ncnn_weights(path)


@needs_spandrel
@pytest.mark.parametrize(("make", "scale"), [(compact, 2), (dense, 4)])
def test_one_network_from_pth_safetensors_and_ncnn(tmp_path, make, scale):
    from safetensors.torch import save_file

    from bakehouse.vision.upscalers.upscaler import Upscaler

    weights = make()
    torch.save(weights, tmp_path / "a.pth")
    save_file(weights, tmp_path / "a.safetensors")
    write_ncnn(weights, tmp_path / "a", half=False)
    image = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)
    made = [Upscaler(tmp_path / f"a.{end}", device="cpu")(image) for end in ("pth", "safetensors", "bin")]
    assert made[0].shape == (20 * scale, 24 * scale, 3) and made[0].std() > 0.01
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])


@needs_spandrel
def test_what_is_no_upscaler_is_refused_in_words(tmp_path):
    from bakehouse.vision.upscalers.upscaler import Upscaler

    torch.save({"some.weight": torch.zeros(3)}, tmp_path / "a.pth")
    (tmp_path / "b.safetensors").write_bytes(b"\xffno")
    for name in ("a.pth", "b.safetensors"):
        with pytest.raises(UsageError, match="is not a known upscaler"):
            Upscaler(tmp_path / name)


@needs_spandrel
def test_spandrel_is_had_without_a_torchvision_and_leaves_none_behind():
    from bakehouse.vision.upscalers.spandrel_import import import_spandrel

    module = import_spandrel()
    assert module.ModelLoader
    vision = sys.modules.get("torchvision")
    assert vision is None or vision.__file__


@pytest.mark.usefixtures("empty_shelf")
def test_without_an_upscaler_it_says_what_to_fetch():
    with pytest.raises(UsageError, match="models fetch realesrgan-x4plus-ncnn or realesrgan-x4plus-anime-ncnn"):
        upscaler_path("auto")
    with pytest.raises(UsageError, match="models fetch realesrgan-x4plus-anime-ncnn;"):
        upscaler_path("anime")
    with pytest.raises(UsageError, match="models fetch realesrgan-x4plus "):
        upscaler_path("realesrgan-x4plus")


# --- pictures


def doubled(image):
    """A network of scale 2: every pixel four times."""
    return image.repeat(2, 0).repeat(2, 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(30, 40), (39, 55), (75, 99), (160, 200)])
def test_what_comes_out_is_as_large_as_was_asked(mode, size):
    made = upscale_to_size(Image.new(mode, (20, 26)), doubled, 2, size)
    assert made.size == size and made.mode == mode


def test_a_network_runs_as_often_as_it_must():
    calls = []
    run = lambda x: calls.append(1) or doubled(x)  # noqa: E731
    for wanted, times in (((30, 30), 1), ((40, 40), 1), ((41, 41), 2), ((400, 400), 2)):
        calls.clear()
        upscale_to_size(Image.new("RGB", (20, 20)), run, 2, wanted)
        assert len(calls) == times


def test_what_lies_hidden_under_transparent_pixels_is_not_drawn_into_the_edge():
    """A white disc on black that nobody was to see: with plain colours the edge of the disc would turn grey."""
    values = np.zeros((40, 40, 4), np.uint8)
    y, x = np.mgrid[:40, :40]
    values[(x - 20) ** 2 + (y - 20) ** 2 < 144] = 255
    image = Image.fromarray(values)
    assert np.asarray(spread_colors(image)).min() == 255

    def smear(image):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
        return np.mean([padded[i : i + 40, j : j + 40] for i in range(5) for j in range(5)], axis=0, dtype=np.float32)

    made = np.asarray(run_network(image, smear))
    assert made[..., :3].min() >= 254
    assert 0 < made[20, 8, 3] < 255 and made[20, 20, 3] == 255 and made[0, 0, 3] == 0


def test_opaque_pixels_keep_their_colours():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (30, 30, 4), dtype=np.uint8)
    values[..., 3] = rng.choice([0, 255], (30, 30)).astype(np.uint8)
    spread = np.asarray(spread_colors(Image.fromarray(values)))
    opaque = values[..., 3] == 255
    np.testing.assert_array_equal(spread[opaque], values[opaque][:, :3])


# --- the verb


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "set"
    path.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("small.jpg", (60, 80)), ("large.png", (300, 200)), ("tiny.png", (20, 24))):
        Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(path / name)
    cut = Image.new("RGBA", (50, 50), (200, 10, 10, 0))
    cut.paste((200, 10, 10, 255), (10, 10, 40, 40))
    cut.save(path / "cut.png")
    (path / "small.txt").write_text("small")
    return path


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(compact(), path)
    return str(path)


@needs_spandrel
def test_only_what_is_too_small_is_enlarged_and_no_further(folder, net):
    told = []
    large = (folder / "large.png").read_bytes()
    before = {r.path.stem: r for r in scan(folder)}
    step = apply_operation(folder, Upscale(model=net, resolution=128), on_event=told.append)
    assert step is not None
    after = {r.path.stem: r for r in scan(folder)}
    for stem in ("small", "tiny", "cut"):
        place = assign([(before[stem].width, before[stem].height)], BucketSpec(resolution=128))[0]
        assert (after[stem].width, after[stem].height) == place.resized
        assert after[stem].path.suffix == ".png"
    assert (folder / "large.png").read_bytes() == large
    assert after["cut"].has_alpha and after["small"].captions == ("small",)
    assert [e.message for e in told if isinstance(e, Warned)] == [
        "tiny.png would be enlarged x6.4: find a larger copy, or remove it"
    ]
    assert collect_proposals(Upscale(model=net, resolution=128), scan(folder)) == []
    undo(folder)
    assert {p.name for p in folder.iterdir()} == {
        ".bakehouse", "small.jpg", "small.txt", "large.png", "tiny.png", "cut.png"
    }  # fmt: skip


@needs_spandrel
def test_what_was_made_before_a_stop_is_not_made_again(folder, net, tmp_path, monkeypatch):
    from bakehouse.vision.upscalers.upscaler import Upscaler

    def stop(self, image):
        raise KeyboardInterrupt

    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    made, other, *_ = collect_proposals(Upscale(model=net, resolution=128), scan(folder))
    first, real = made.make_edits(), Upscaler.__call__
    monkeypatch.setattr(Upscaler, "__call__", stop)
    assert made.make_edits() == first
    with pytest.raises(KeyboardInterrupt):
        other.make_edits()
    monkeypatch.setattr(Upscaler, "__call__", real)
    assert len(other.make_edits()) > 0, "what was stopped left nothing half"


@needs_spandrel
def test_a_filter_runs_over_every_image_and_changes_no_size(folder, tmp_path):
    path = tmp_path / "filter.pth"
    torch.save(compact(scale=1), path)
    before = {r.path.stem: (r.width, r.height) for r in scan(folder)}
    step = apply_operation(folder, Upscale(model=str(path), resolution=128))
    assert step is not None
    assert {r.path.stem: (r.width, r.height) for r in scan(folder)} == before
    assert len({c.path.stem for c in step.changes}) == 4


@needs_spandrel
def test_only_a_filter_goes_before(folder, net, tmp_path):
    path = tmp_path / "filter.pth"
    torch.save(compact(scale=1), path)
    with pytest.raises(UsageError, match=r"is an upscaler \(x2\); only filters of scale 1"):
        collect_proposals(Upscale(model=net, before=net), scan(folder))
    verb = Upscale(model=net, before=str(path), resolution=128)
    plain = Upscale(model=net, resolution=128)
    both, one = (collect_proposals(v, scan(folder))[0].make_edits()[0].content for v in (verb, plain))
    assert both != one


@needs_spandrel
@pytest.mark.slow
def test_real_esrgan_is_sharper_than_lanczos(fetched, art):
    from bakehouse.vision.upscalers.upscaler import Upscaler

    net = Upscaler(fetched("realesr-animevideo-ncnn"), device="cpu")
    assert (net.architecture, net.scale) == ("RealESRGAN Compact", 4)
    sprite = Image.open(art / "sylvie blue normal.png").convert("RGBA")
    white = Image.new("RGBA", sprite.size, "white")
    white.alpha_composite(sprite)
    truth = white.convert("RGB").crop((60, 0, 260, 200))
    small = truth.resize((50, 50), Image.Resampling.BOX)
    error = {
        "net": np.abs(np.asarray(upscale_to_size(small, net, 4, truth.size), float) - np.asarray(truth)).mean(),
        "lanczos": np.abs(
            np.asarray(small.resize(truth.size, Image.Resampling.LANCZOS), float) - np.asarray(truth)
        ).mean(),
    }
    assert error["net"] < error["lanczos"]
