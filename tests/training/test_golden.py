"""The first losses of every preset on a tiny model: whatever changes them is meant, and noted here."""

import pytest

from bakehouse.core.events import Step
from bakehouse.training import train

GOLDEN = {
    "character": [1.198462, 1.234747, 1.071984, 1.128829],
    "object": [1.198462, 1.234754, 1.072326, 1.129333],
    "concept": [1.198462, 1.234747, 1.071984, 1.128829],
    "pose": [1.198462, 1.234765, 1.072642, 1.129818],
    "style": [1.198462, 1.234773, 1.072470, 1.129537],
    "dreambooth": [1.196402, 1.224751, 1.075767, 1.131203],
}
SMALL = {
    "train__steps": 4,
    "train__batch": 2,
    "concepts__0__repeats": 2,
    "prior__images": 2,
    "prior__steps": 1,
    "prior__source": None,
    "optimizer__lr": None,
}
"""What a preset would do at a length that nobody waits for."""


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_first_losses(recipe, tmp_path, monkeypatch, kind):
    # Class images that an earlier test made beside other pictures may differ from these by a level.
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    made = recipe(kind=kind, **SMALL)
    losses = [e.loss for e in train(made, tmp_path / "run") if isinstance(e, Step)]
    assert losses == pytest.approx(GOLDEN[kind], abs=1e-4)
