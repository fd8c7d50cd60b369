"""Write the table of files in docs/embeddings.md, from files written here: `python -m tools.write_embedding_docs`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from bakehouse.models.textual_inversion import TextualInversion
from bakehouse.models.write_textual_inversion import Layout, write_textual_inversion

PAGE = Path(__file__).parent.parent / "docs" / "embeddings.md"
BEGIN, END = "<!-- files: written by `make docs` -->", "<!-- end of files -->"
_ROWS: tuple[tuple[Layout, str, str], ...] = (
    ("a1111", "zwx.safetensors", "A1111, ComfyUI, kohya; diffusers with `token=`"),
    ("a1111", "zwx.pt", "A1111, ComfyUI; diffusers with `token=`"),
    ("diffusers", "learned_embeds.safetensors", "diffusers, A1111"),
    ("diffusers", "learned_embeds.bin", "diffusers, A1111"),
)
"""Layout, a file's name, and the programs that read it for SD 1.x and 2.x."""
_SD: Mapping[str, torch.Tensor] = {"text_encoder": torch.zeros(1, 2)}
_SDXL: Mapping[str, torch.Tensor] = {**_SD, "text_encoder_2": torch.zeros(1, 3)}


def page(text: str) -> str:
    """Return the page with an up-to-date table."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{''.join(table())}\n{END}{tail}"


def table() -> Iterator[str]:
    """Yield the table: what each kind of file holds."""
    yield "| `--to` | file | SD 1.x, SD 2.x | SDXL | read by |\n|---|---|---|---|---|\n"
    for layout, name, readers in _ROWS:
        to = "kohya" if layout == "a1111" else layout
        held = (", ".join(f"`{key}`" for key in _keys(layout, name, vectors)) for vectors in (_SD, _SDXL))
        yield f"| `{to}` | `{name}` | {' | '.join(held)} | {readers} |\n"


def _keys(layout: Layout, name: str, vectors: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names of the tensors in a file of the word `zwx`."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_textual_inversion(TextualInversion("zwx", None, vectors), Path(folder) / name, layout=layout)
        content: Mapping[str, Any] = (
            load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        )
    if "string_to_param" in content:
        return [f"string_to_param.{key}" for key in content["string_to_param"]]
    return sorted(content)


if __name__ == "__main__":
    before = PAGE.read_text("utf-8")
    after = page(before)
    PAGE.write_text(after, "utf-8")
    print(f"{PAGE.name}: {'up to date' if after == before else 'written'}", file=sys.stderr)
