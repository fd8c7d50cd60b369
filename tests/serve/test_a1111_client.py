"""An A1111 client as it is, that of the editor IntraPaint: it finds out what the server is, lists and draws."""

from __future__ import annotations

import pytest
from PIL import Image
from sd_backend_client import DiffusionParams, connect_to_backend


@pytest.fixture
def backend(live):
    return connect_to_backend(live.ready["url"], credentials_provider=lambda: ("me", live.ready["token"]))


def test_the_client_takes_the_server_for_a_webui(backend):
    assert type(backend).__name__ == "A1111Webservice"
    assert "crumb" in [m.model_name for m in backend.get_models()]
    assert {"Euler a", "DPM++ 2M"} <= {s.name for s in backend.get_samplers()}
    assert {"None", "Lanczos"} <= {u.name for u in backend.get_upscalers()}


def test_the_client_draws_changes_and_enlarges(backend):
    params = DiffusionParams(prompt="a cat", steps=2, width=64, height=64, seed=42)
    drawn = backend.submit_txt2img(params).wait(timeout=120)
    again = backend.submit_txt2img(params).wait(timeout=120)
    assert drawn.seeds == [42] and drawn.images[0].tobytes() == again.images[0].tobytes()
    params.init_images = [drawn.images[0]]
    changed = backend.submit_img2img(params).wait(timeout=120).images[0]
    assert changed.size == (64, 64) and changed.tobytes() != drawn.images[0].tobytes()
    left = Image.new("L", (64, 64), 0)
    left.paste(255, (0, 0, 24, 64))
    params.mask = left
    painted = backend.submit_inpaint(params).wait(timeout=120).images[0]
    right = (40, 0, 64, 64)
    assert painted.convert("RGB").crop(right).tobytes() == drawn.images[0].convert("RGB").crop(right).tobytes()
    assert backend.submit_upscale(drawn.images[0], 128, 128).wait(timeout=120).images[0].size == (128, 128)
