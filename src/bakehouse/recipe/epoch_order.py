"""The order of an epoch: a pure function of the seed and the epoch's number.

Every subject image is shown exactly `repeats` times an epoch whatever the number of workers, devices or restarts,
because no shuffled list is kept: the images of step k can be computed at any time.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Bucket = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Slot:
    """One image in one batch: `index` into the subject images, or into the class images where `prior`."""

    index: int
    prior: bool


@dataclass(frozen=True)
class EpochOrder:
    """Images of an epoch: buckets and repeats of the subject images, buckets of the class images."""

    buckets: Sequence[Bucket]
    repeats: Sequence[int]
    prior_buckets: Sequence[Bucket]
    prior_per_image: float
    batch: int

    def shows(self) -> Mapping[Bucket, tuple[int, int]]:
        """Number of subject and class images in an epoch, by bucket."""
        subject: dict[Bucket, int] = defaultdict(int)
        for bucket, repeats in zip(self.buckets, self.repeats, strict=True):
            subject[bucket] += repeats
        have = set(self.prior_buckets)
        return {b: (n, round(n * self.prior_per_image) if b in have else 0) for b, n in sorted(subject.items())}

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches in an epoch; partial batches count, since no image is dropped."""
        return sum(-(-(subject + prior) // self.batch) for subject, prior in self.shows().values())

    def epoch(self, seed: int, epoch: int) -> list[list[Slot]]:
        """Return the batches of an epoch (0-based). Each has one bucket, with subject and class images evenly mixed."""
        rng = random.Random(f"order/{seed}/{epoch}")
        batches: list[list[Slot]] = []
        for bucket, (_, prior_count) in self.shows().items():
            subject = [
                Slot(i, prior=False)
                for i, (b, repeats) in enumerate(zip(self.buckets, self.repeats, strict=True))
                if b == bucket
                for _ in range(repeats)
            ]
            rng.shuffle(subject)
            mixed = _interleave(subject, self._prior(bucket, prior_count, seed, epoch))
            batches += [mixed[i : i + self.batch] for i in range(0, len(mixed), self.batch)]
        rng.shuffle(batches)
        return batches

    def _prior(self, bucket: Bucket, count: int, seed: int, epoch: int) -> list[Slot]:
        """Return the next `count` class images of a bucket, in rounds over all of them, each shuffled anew."""
        pool = [i for i, b in enumerate(self.prior_buckets) if b == bucket]
        chosen: list[Slot] = []
        position = epoch * count
        while len(chosen) < count:
            round_, at = divmod(position + len(chosen), len(pool))
            shuffled = pool[:]
            random.Random(f"prior/{seed}/{bucket}/{round_}").shuffle(shuffled)
            chosen += [Slot(i, prior=True) for i in shuffled[at : at + count - len(chosen)]]
        return chosen


def _interleave(a: list[Slot], b: list[Slot]) -> list[Slot]:
    """Merge both lists evenly, each in its own order."""
    keyed = [((i + 0.5) / len(a), 0, s) for i, s in enumerate(a)] + [
        ((i + 0.5) / len(b), 1, s) for i, s in enumerate(b)
    ]
    return [s for _, _, s in sorted(keyed, key=lambda k: k[:2])]
