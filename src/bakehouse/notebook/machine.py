"""What the notebook runs on: Google Colab or another Jupyter, with a GPU or without."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from IPython.display import display
from ipywidgets import HTML

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import BakehouseError
from bakehouse.notebook.html import message, styled

DRIVE = Path("/content/drive")


def show(content: str) -> None:
    """Display HTML in the cell."""
    shown: Any = HTML(styled(content))
    display(shown)  # type: ignore[no-untyped-call]


def is_colab() -> bool:
    """Whether this is a kernel of Google Colab, which brings a package of its own."""
    try:
        importlib.import_module("google.colab")
    except ImportError:
        return False
    return True


def gpus() -> list[str]:
    """Return the NVIDIA GPUs with their memory: `Tesla T4, 15 GB`; found without loading torch."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # installed without a GPU, or without its driver
        return []
    rows = [line.rsplit(",", 1) for line in found.splitlines() if "," in line]
    return [f"{name.strip()}, {float(mib) / 1024:.0f} GB" for name, mib in rows]


def usual_base() -> str:
    """Return the base model that most people would take: a full one where there is a GPU, else crumb."""
    return "sd15" if gpus() else BUNDLED_BASE


def show_machine() -> None:
    """Display what the machine is, and what can be trained on it."""
    show(_machine())


def _machine() -> str:
    import bakehouse

    ready = f"bakehouse {bakehouse.__version__} is installed."
    if found := gpus():
        return message("done", f"{ready} GPU: {'; '.join(found)}.")
    if sys.platform == "darwin":
        return message("done", f"{ready} No NVIDIA GPU; PyTorch uses Apple's GPU where the machine has one.")
    advice = "Without one, only the small built-in model crumb trains in minutes"
    if is_colab():
        advice += ". Menu Runtime, Change runtime type, T4 GPU, then run all cells again"
    return message("warning", f"{ready} There is no GPU.", f"{advice}.")


def mounted_drive() -> Path:
    """Return the folder of the user's Google Drive; asks the user for it where it is not mounted yet.

    Raises:
        BakehouseError: this is not Colab, or the user did not allow it.
    """
    if not is_colab():
        raise BakehouseError(
            "a Google Drive is mounted on Colab alone", hint="name a folder or a URL for the copy, or leave it empty"
        )
    drive: Any = importlib.import_module("google.colab.drive")
    try:
        drive.mount(str(DRIVE))
    # Colab raises errors of several kinds, of which none is documented.
    except Exception as e:
        raise BakehouseError(
            f"Google Drive was not mounted: {e}", hint="run the cell again and allow it, or choose no copy"
        ) from e
    return DRIVE / "MyDrive"


def public_address(port: int) -> str | None:
    """Return the address under which a browser reaches a port of this machine; None: only by the machine's own.

    Raises:
        BakehouseError: Colab gave no address.
    """
    if not is_colab():
        return None
    output: Any = importlib.import_module("google.colab.output")
    address = str(output.eval_js(f"google.colab.kernel.proxyPort({port})") or "").rstrip("/")
    if urlsplit(address).scheme != "https":
        raise BakehouseError(f"Colab gave no address for port {port}", hint="run the cell again")
    return address
