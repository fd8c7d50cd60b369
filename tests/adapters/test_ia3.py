"""IA3: one factor for each channel, as LyCORIS writes them."""

import pytest
import torch
from lycoris.modules.ia3 import IA3Module
from torch import nn

from bakehouse.adapters import IA3, IA3Layer, inject
from bakehouse.core.errors import UsageError

from .oracle import BASES, check_same_delta, check_ways, randomise


@pytest.mark.parametrize("on_input", [False, True])
@pytest.mark.parametrize("kind", BASES)
def test_theirs_and_ours_are_the_same(kind, on_input):
    torch.manual_seed(0)
    base = BASES[kind]()
    theirs = IA3Module("x", base, 1.0, train_on_input=on_input)
    randomise(theirs)
    ours = IA3Layer.from_tensors(theirs.state_dict(), base)
    check_same_delta(ours, theirs, base)
    # LyCORIS 4.1.3 cannot make one of a file: its reader takes no on_input. A made one loads.
    again = IA3Module("x", base, 1.0, train_on_input=on_input)
    again.load_state_dict(ours.state_dict())
    check_same_delta(ours, again, base)
    check_ways(ours, base)


def test_it_sits_on_keys_values_and_second_layers(tiny):
    adapter = inject(IA3(text=True), tiny.trainable_modules())
    ends = {name.rsplit(".", 1)[-1] if "ff" not in name else "ff.net.2" for name in adapter.module_names()}
    assert ends == {"to_k", "to_v", "ff.net.2", "k_proj", "v_proj", "fc2"}
    for stem, layer in adapter.layers.items():
        outs, ins = adapter.sites[stem].module.weight.shape[:2]
        on_input = stem.endswith(("ff_net_2", "mlp_fc2"))
        assert bool(layer.on_input) is on_input and layer.weight.shape == ((ins,) if on_input else (outs,))


def test_the_state_says_which_side():
    layer = IA3Layer(torch.randn(6), on_input=False)
    layer.load_state_dict(IA3Layer(torch.randn(6), on_input=True).state_dict())
    weight = torch.randn(6, 6)
    assert torch.equal(layer.delta(weight), weight * layer.weight)


def test_what_means_nothing_is_refused():
    for wrong in ({"rank": 4}, {"alpha": 2.0}, {"dropout": 0.1}, {"train_norm": True}):
        with pytest.raises(UsageError, match=f"{next(iter(wrong))} = .* means nothing to kind = 'ia3'"):
            IA3.parse(wrong)
    with pytest.raises(ValueError, match="5 factors do not fit the outputs"):
        IA3Layer.from_tensors({"weight": torch.zeros(5)}, nn.Linear(5, 6))
