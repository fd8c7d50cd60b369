"""Hugging Face's JavaScript client, unmodified, draws from the server: version 2.8 and version 4."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bakehouse.core.parse_json_toml_yaml import parse_json

HERE = Path(__file__).parent / "javascript"
NODE = shutil.which("node")


def _missing() -> str:
    """Why the clients cannot run; empty if they can."""
    if NODE is None:
        return "Node is not installed"
    if not (HERE / "node_modules").is_dir():
        return f"the clients are not installed: npm ci --prefix {HERE.relative_to(Path(__file__).parents[2])}"
    return ""


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing())


@pytest.mark.parametrize("version", ["2", "4"])
def test_the_client_draws(live, version):
    command = [NODE, str(HERE / "draw.mjs"), version, live.ready["url"], live.ready["token"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = parse_json(done.stdout)
    assert found["first"]["start"] == "ffd8ffe0" or found["first"]["start"].startswith("ffd8ff"), found
    assert found["first"]["type"] == "image/jpeg"
    assert found["again"]["base64"] == found["first"]["base64"]
    assert found["changed"]["type"] == "image/jpeg" and found["changed"]["base64"] != found["first"]["base64"]
    assert "error" in found["stranger"] and "hf_nobody" not in found["stranger"]["error"]
