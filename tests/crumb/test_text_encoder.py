"""What the text encoder is taught with: readers of its states, and a loss that counts what is known."""

import torch
import torch.nn.functional as F

from tools.crumb.tagger import UNKNOWN
from tools.crumb.text_encoder import Readers, _cross_entropy


def test_readers_see_every_token_and_not_their_order():
    torch.manual_seed(0)
    readers, states = Readers(8, [3, 2]), torch.randn(4, 5, 8)
    logits = readers(states)
    assert logits.shape == (4, 5)
    torch.testing.assert_close(readers(states[:, [4, 2, 0, 1, 3]]), logits)
    for token in range(5):
        other = states.clone()
        other[:, token] += 1
        assert not torch.allclose(readers(other), logits)


def test_the_loss_is_the_mean_over_known_values():
    torch.manual_seed(0)
    logits = torch.randn(3, 5)
    wanted = torch.tensor([[2, UNKNOWN], [0, 1], [UNKNOWN, UNKNOWN]])
    each = [
        F.cross_entropy(logits[:1, :3], torch.tensor([2])),
        F.cross_entropy(logits[1:2, :3], torch.tensor([0])),
        F.cross_entropy(logits[1:2, 3:], torch.tensor([1])),
    ]
    torch.testing.assert_close(_cross_entropy(logits, wanted, [3, 2]), torch.stack(each).mean())
    assert _cross_entropy(logits, torch.full((3, 2), UNKNOWN), [3, 2]) == 0
