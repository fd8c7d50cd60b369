"""LyCORIS loads our tensors and we load its, and ΔW is the same: for every layout of LoRA, LoHa, LoKr and DoRA on them.

Its `get_diff_weight` counts alpha / rank twice for LoHa and LoKr (4.1.3), its forward once, as do A1111 and ComfyUI; so
the oracle is the forward: what an identity goes to.
"""

import warnings

import pytest
import torch
from torch import nn

from bakehouse.adapters import LoHa, LoKr, LoRA
from bakehouse.adapters.adapter_file import READERS
from bakehouse.adapters.lokr import factorize
from bakehouse.adapters.target_modules import Site

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lycoris.functional.general import factorization
    from lycoris.modules import get_module, make_module
    from lycoris.modules.locon import LoConModule
    from lycoris.modules.loha import LohaModule
    from lycoris.modules.lokr import LokrModule

BASES = {
    "linear": lambda: nn.Linear(24, 20),
    "1x1": lambda: nn.Conv2d(24, 20, 1),
    "3x3": lambda: nn.Conv2d(24, 20, 3, padding=1),
}
OURS = {
    "lora": LoRA(rank=3, alpha=2.0),
    "lora-tucker": LoRA(rank=3, alpha=2.0, tucker=True),
    "dora": LoRA(rank=3, alpha=2.0, dora=True, wd_on_output=True),
    "loha": LoHa(rank=3, alpha=2.0),
    "loha-tucker": LoHa(rank=3, alpha=2.0, tucker=True),
    "loha-dora": LoHa(rank=3, alpha=2.0, dora=True, wd_on_output=True),
    "lokr": LoKr(rank=2, alpha=3.0),
    "lokr-both": LoKr(rank=1, alpha=3.0, decompose_both=True),
    "lokr-factor": LoKr(rank=2, alpha=3.0, factor=2),
    "lokr-whole": LoKr(rank=9, alpha=3.0),
    "lokr-tucker": LoKr(rank=1, alpha=3.0, tucker=True),
    "lokr-dora": LoKr(rank=2, alpha=3.0, dora=True, wd_on_output=True),
}
THEIRS = {
    "lora": (LoConModule, {}),
    "rs": (LoConModule, {"rs_lora": True}),
    "lora-tucker": (LoConModule, {"use_tucker": True}),
    "dora": (LoConModule, {"weight_decompose": True}),
    "dora-in": (LoConModule, {"weight_decompose": True, "wd_on_out": False}),
    "loha": (LohaModule, {}),
    "loha-tucker-dora": (LohaModule, {"use_tucker": True, "weight_decompose": True}),
    "lokr": (LokrModule, {}),
    "lokr-both": (LokrModule, {"decompose_both": True}),
    "lokr-factor": (LokrModule, {"factor": 4}),
    "lokr-whole": (LokrModule, {"full_matrix": True}),
    "lokr-unbalanced": (LokrModule, {"unbalanced_factorization": True}),
    "lokr-tucker-dora": (LokrModule, {"use_tucker": True, "weight_decompose": True, "wd_on_out": False}),
}


@torch.no_grad()
def fill(layer):
    for parameter in layer.parameters():
        parameter.copy_(torch.randn(parameter.shape) * 0.5)
    return layer


@torch.no_grad()
def delta_in_forward(base, theirs):
    """ΔW of every unit image, out of the module's forward."""
    weight = base.weight
    _, ins, *kernel = weight.shape
    x = torch.eye(ins * weight[0, 0].numel())
    if not kernel:
        return (theirs(x) - base(x)).mT
    # One pixel of one channel at a time, seen where the kernel lies on the whole patch.
    x = x.view(-1, ins, *kernel)
    middle = kernel[0] // 2
    return (theirs(x) - base(x))[..., middle, middle].mT.reshape(weight.shape)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", OURS)
def test_lycoris_loads_ours(name, base):
    torch.manual_seed(0)
    module = BASES[base]()
    spec = OURS[name]
    ours = fill(spec.build(Site("lora_unet", "x", module), None))
    state = {f"x.{key}": tensor for key, tensor in ours.state_dict().items()}
    if "lokr_t2" in ours.state_dict():
        # Its reader takes the rank from the wrong side of a Tucker factor, and cannot load its own files of that kind.
        theirs = LokrModule("x", module, 1.0, spec.rank, spec.alpha, use_tucker=True)
        theirs.load_state_dict(ours.state_dict())
    else:
        theirs = make_module(*get_module(state, "x"), "x", module)
    theirs.eval()
    torch.testing.assert_close(delta_in_forward(module, theirs), ours.delta(module.weight), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", THEIRS)
def test_we_load_that_of_lycoris(name, base):
    torch.manual_seed(0)
    module = BASES[base]()
    kind, options = THEIRS[name]
    theirs = fill(kind("x", module, 1.0, 2, 3.0, **options)).eval()
    tensors = {key: tensor.detach().half().float() for key, tensor in theirs.state_dict().items()}
    theirs.load_state_dict({**theirs.state_dict(), **tensors})
    reader = next(layer for layer in READERS if layer.recognizes(tensors))
    ours = reader.from_tensors(tensors, module)
    torch.testing.assert_close(ours.delta(module.weight), delta_in_forward(module, theirs), atol=1e-4, rtol=1e-3)
    assert tensors.keys() == ours.state_dict().keys()


def test_sizes_are_split_as_lycoris_splits_them():
    for size in (*range(1, 200), 320, 640, 768, 960, 1280, 1920, 2560, 5120, 10240):
        for factor in (-1, 2, 3, 4, 8, 16, 19, 30):
            assert factorize(size, factor) == factorization(size, factor), (size, factor)


def test_files_that_do_not_fit_say_what_does_not():
    base = nn.Linear(24, 20)
    good = {name: spec.build(Site("lora_unet", "x", base), None).state_dict() for name, spec in OURS.items()}
    wrong = [
        ("lora", {"lora_up.weight": torch.zeros(21, 3)}, "do not fit a weight of"),
        ("dora", {"dora_scale": torch.zeros(7, 1)}, "dora_scale"),
        ("loha", {"hada_w2_b": torch.zeros(3, 23)}, "do not fit a weight of"),
        ("lokr", {"lokr_w1": torch.zeros(4, 5)}, "do not fit a weight of"),
        ("lokr", {"lokr_w2_a": torch.zeros(5, 7)}, "do not fit"),
    ]
    for name, change, says in wrong:
        tensors = {**good[name], **change}
        reader = next(layer for layer in READERS if layer.recognizes(tensors))
        with pytest.raises(ValueError, match=says):
            reader.from_tensors(tensors, base)
    with pytest.raises(ValueError, match="lacks hada_w2_b"):
        READERS[1].from_tensors({k: v for k, v in good["loha"].items() if k != "hada_w2_b"}, base)
