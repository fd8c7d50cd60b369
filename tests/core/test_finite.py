import math

import pytest
import torch

from bakehouse.core.errors import BakehouseError
from bakehouse.core.finite import check_finite, count_not_finite


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_every_kind_of_float_is_looked_at(dtype):
    values = torch.linspace(-3, 3, 77)
    assert count_not_finite(values.to(dtype)) == 0
    for bad, count in ((math.nan, 1), (math.inf, 1), (-math.inf, 1)):
        values[5] = bad
        assert count_not_finite(values.to(dtype).view(7, 11)) == count
    values[6] = math.inf
    values[5] = -math.inf
    assert count_not_finite(values.to(dtype)) == 2, "opposite infinities do not cancel"


def test_large_sums_of_small_numbers_are_no_infinity():
    assert count_not_finite(torch.full((1 << 12,), 60000.0, dtype=torch.float16)) == 0
    assert count_not_finite(torch.full((9,), 3e38)) == 0


def test_what_holds_no_floats_is_fine():
    assert count_not_finite(torch.arange(5)) == count_not_finite(torch.zeros(0, 4)) == 0
    assert count_not_finite(torch.tensor(math.nan)) == 1


def test_the_message_names_file_tensor_and_counts():
    tensors = {"a": torch.ones(3), "b": torch.tensor([math.nan, 1.0]), "c": torch.tensor([math.inf])}
    with pytest.raises(BakehouseError, match=r"x\.pt: b holds NaN or infinity in 1 of 2 numbers; so do 1 more") as e:
        check_finite(tensors, "x.pt", hint="fetch it again")
    assert e.value.hint == "fetch it again"
