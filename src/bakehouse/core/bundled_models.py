"""The models inside the package: what users call them and where their files are. Needs no torch.

This is all that packages without base models (`data`, `vision`, `curation`, `captions`, `audit`) may know of them. What
else differs from one base model to another (guidance, scorer, batch size, ...) is in `models/families.py`; packages
that may not import that get a value (a family's name, a tokenizer's path) from the command that calls it.
"""

from __future__ import annotations

from pathlib import Path

_ASSETS = Path(__file__).resolve().parents[1] / "assets"

BUNDLED_BASE = "crumb"
"""The name of the base model, wherever a base model is expected."""
BUNDLED_BASE_FOLDER = _ASSETS / "crumb"
"""Its diffusers folder."""
BUNDLED_TAGGER = "crumb"
"""The name of the tagger, wherever a tagger, an image embedder or a tag vocabulary is expected."""
BUNDLED_TAGGER_NAMES = (BUNDLED_TAGGER, "crumb-tagger")
"""All its names; the second is the one in `bakehouse models list`."""
