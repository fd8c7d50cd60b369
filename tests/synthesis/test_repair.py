"""`dataset upscale --img2img`: enlarged images are drawn over by a model, and keep their size, alpha and provenance."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Warned
from bakehouse.curation.apply_and_undo import last_applied, undo
from bakehouse.curation.operation import apply_operation, collect_proposals
from bakehouse.curation.output_images import encode_png
from bakehouse.curation.upscale import Upscale
from bakehouse.data import scan
from bakehouse.data.open_image import open_image
from bakehouse.data.provenance import Provenance, read_provenance
from bakehouse.synthesis.repair import RepairedUpscale


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "set"
    path.mkdir()
    image = Image.new("RGBA", (30, 40), (200, 60, 60, 255))
    ImageDraw.Draw(image).rectangle((0, 0, 29, 9), fill=(0, 0, 0, 0))
    image.save(path / "a.png")
    (path / "a.txt").write_text("zwx person (smiling)")
    made = Provenance("drawn", ("x.safetensors",), {"seed": 3})
    (path / "b.png").write_bytes(encode_png(Image.new("RGB", (48, 64), "navy"), made))
    return path


def repaired(folder, tiny_folder, **more):
    values = {"model": "lanczos", "resolution": 64, "img2img": 0.3, "repair_with": str(tiny_folder), **more}
    return RepairedUpscale.parse(values)


def test_enlarged_images_are_drawn_over_and_keep_what_they_have(folder, tiny_folder):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    plain = [p.resized for p in Upscale(model="lanczos", resolution=64).placements(scan(folder))]
    events = []
    with repaired(folder, tiny_folder) as operation:
        apply_operation(folder, operation, on_event=events.append)
    assert any("without a caption" in e.message for e in events if isinstance(e, Warned))
    a, b = scan(folder)
    assert [(r.width, r.height) for r in (a, b)] == plain
    alpha = np.asarray(open_image(a.path, mode="RGBA").getchannel("A"))
    assert alpha[0, 0] == 0 and alpha[-1, -1] == 255
    assert np.asarray(open_image(b.path)).std() > 0, "the model drew it"
    assert read_provenance(b.path).origin == "drawn"
    assert last_applied(folder).operation == "upscale"
    assert last_applied(folder).settings["img2img"] == 0.3
    undo(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_a_repair_alone_keeps_the_size_and_a_seed_the_pixels(folder, tiny_folder, tmp_path, monkeypatch):
    results = []
    for cache, seed in (("one", 0), ("two", 0), ("three", 1)):
        monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / cache))
        with repaired(folder, tiny_folder, model="none", seed=seed) as operation:
            apply_operation(folder, operation, out=tmp_path / f"out-{cache}")
        results.append(np.asarray(open_image(tmp_path / f"out-{cache}" / "b.png")))
    assert results[0].shape == (64, 48, 3)
    assert (results[0] == results[1]).all() and (results[0] != results[2]).any()


def test_strengths_that_change_the_image_are_warned_of_and_bad_ones_refused(folder, tiny_folder):
    events = []
    with repaired(folder, tiny_folder, img2img=0.6) as operation:
        proposals = collect_proposals(operation, scan(folder), events.append)
    assert "repaired at strength 0.6" in proposals[0].why
    assert any("changes what the images show" in e.message for e in events if isinstance(e, Warned))
    with pytest.raises(Problems) as error:
        repaired(folder, tiny_folder, img2img=0, repair_with="")
    assert len(error.value.problems) == 2


def test_nothing_to_enlarge_with_and_nothing_to_repair_with_is_an_error(folder):
    with pytest.raises(UsageError, match="model = none enlarges nothing"):
        collect_proposals(Upscale(model="none"), scan(folder))
    with pytest.raises(UsageError, match="runs before one"):
        collect_proposals(Upscale(model="lanczos", before="1x-dejpeg.pth"), scan(folder))
