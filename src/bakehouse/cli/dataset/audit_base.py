"""What a base model says of how images will be used."""

from __future__ import annotations

from typing import Any


def of_base(base: str) -> dict[str, Any]:
    """Family, buckets and tokenizer of a base model; of an SD 1.5 where none is named."""
    from bakehouse.models import resolve_model
    from bakehouse.models.families import family_of, native_size

    if not base:
        return {"base": "sd15", "family": "sd1", "buckets": {"resolution": 512}}
    model = resolve_model(base)
    side = native_size(model)
    values: dict[str, Any] = {
        "base": base,
        "family": family_of(model).name,
        "buckets": {"resolution": side, "step": 32 if side < 256 else 64},
    }
    if model.path is not None and (found := model.path / "tokenizer" / "tokenizer.json").is_file():
        values["tokenizer"] = found
    return values
