"""An epoch is an epoch."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bakehouse.recipe.epoch_order import EpochOrder

BUCKETS = [(128, 128), (96, 160), (160, 96)]


@st.composite
def orders(draw):
    n = draw(st.integers(1, 20))
    return EpochOrder(
        buckets=[draw(st.sampled_from(BUCKETS)) for _ in range(n)],
        repeats=[draw(st.integers(1, 5)) for _ in range(n)],
        prior_buckets=[draw(st.sampled_from(BUCKETS)) for _ in range(draw(st.integers(0, 8)))],
        prior_per_image=draw(st.sampled_from([0.5, 1.0, 2.0])),
        batch=draw(st.integers(1, 7)),
    )


@given(orders(), st.integers(0, 3), st.integers(0, 5))
def test_every_image_is_shown_exactly_repeats_times(order, seed, epoch):
    batches = order.epoch(seed, epoch)
    shown = Counter(s.index for b in batches for s in b if not s.prior)
    assert shown == dict(enumerate(order.repeats))
    assert len(batches) == order.batches_per_epoch
    assert all(0 < len(b) <= order.batch for b in batches)


@given(orders(), st.integers(0, 3))
def test_a_batch_holds_one_shape(order, seed):
    for batch in order.epoch(seed, 0):
        shapes = {order.prior_buckets[s.index] if s.prior else order.buckets[s.index] for s in batch}
        assert len(shapes) == 1


@given(orders(), st.integers(0, 3))
def test_class_images_come_equally_often(order, seed):
    shown = Counter()
    for epoch in range(6):
        shown.update(s.index for b in order.epoch(seed, epoch) for s in b if s.prior)
    for bucket in BUCKETS:
        counts = [shown[i] for i, b in enumerate(order.prior_buckets) if b == bucket]
        assert not counts or max(counts) - min(counts) <= 1


def test_epochs_differ_and_repeat_themselves():
    order = EpochOrder([(64, 64)] * 12, [2] * 12, [], 1.0, 4)
    assert order.epoch(1, 0) == order.epoch(1, 0)
    assert order.epoch(1, 0) != order.epoch(1, 1)
    assert order.epoch(1, 0) != order.epoch(2, 0)


def test_subject_and_class_images_are_mixed_in_every_batch():
    order = EpochOrder([(64, 64)] * 16, [1] * 16, [(64, 64)] * 16, 1.0, 4)
    assert all(sum(s.prior for s in batch) == 2 for batch in order.epoch(0, 0))
