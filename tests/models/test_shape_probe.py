"""Words can be probed on every family."""

from __future__ import annotations

import pytest

from bakehouse.core.events import result_of
from bakehouse.evaluation.trigger_probe import ProbeSpec, bank_of, probe_words

V = {"prediction_type": "v_prediction"}


@pytest.mark.parametrize(("family", "scheduler"), [("sd1", None), ("sd2", V), ("sdxl", None)])
def test_words_are_probed(make_family, family, scheduler):
    model = make_family(family, scheduler=scheduler)
    spec = ProbeSpec(noises=1, rare=4, known=4)
    found = result_of(probe_words(model, ["zwx", "red hair"], bank_of("another"), spec))
    assert [r.word for r in found.readings] == ["zwx", "red hair"]
    assert all(r.shift > 0 and len(r.neighbours) == 3 for r in found.readings)
    assert [len(r.pieces) for r in found.readings] == model.token_count(["zwx", "red hair"])


def test_whole_words_are_one_piece_each(make_family):
    model = make_family("sd1")
    words = model.single_token_words()
    assert "person" in words and "zwx" in words
    assert [w for w in words[-40:] if model.token_count([w]) != [1]] == []
    assert model.tokens(["red hair", "zwx"]) == [["red</w>", "hair</w>"], ["zwx</w>"]]
