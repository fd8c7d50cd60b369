from __future__ import annotations

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """Makes a dataset: images by name, with captions where there are any (text, or bytes as they stand in the file)."""

    def make(**captions):
        root = tmp_path / "set"
        root.mkdir(exist_ok=True)
        for i, (name, caption) in enumerate(captions.items()):
            Image.new("RGB", (40, 30), (40 * i % 255, 99, 200)).save(root / f"{name}.png")
            if caption is not None:
                data = caption if isinstance(caption, bytes) else caption.encode()
                (root / f"{name}.txt").write_bytes(data)
        return root

    return make
