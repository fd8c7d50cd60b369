"""Laws of whitened likeness and of the measure that is made of it, on random subjects."""

import math

import numpy as np
import pytest

from bakehouse.evaluation import likeness as lk
from bakehouse.evaluation.metrics import similarity
from bakehouse.evaluation.scored_images import ScoredImages
from bakehouse.evaluation.subject_measure import SHOWN_FROM, Calibration, KnownImages, fit_measure

SIZE = 24


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class World:
    """Embeddings: who is shown in the last dimensions, backgrounds four times as strong in the first."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.common = self.rng.normal(size=SIZE) * 3

    def who(self):
        return np.concatenate([np.zeros(8), self.rng.normal(size=SIZE - 8)])

    def images(self, count, who=None):
        each = [self.who() if who is None else who for _ in range(count)]
        backgrounds = np.pad(self.rng.normal(size=(count, 8)) * 4, ((0, 0), (0, SIZE - 8)))
        return unit(self.common + np.stack(each) + backgrounds + 0.1 * self.rng.normal(size=(count, SIZE)))


def scored(embeddings, attributes=None, marks=None):
    n = len(embeddings)
    return ScoredImages(embeddings, np.full(n, math.nan), attributes or [{}] * n, np.zeros((n, 3)), marks)


def test_another_subject_lies_in_another_direction():
    world = World()
    me, you = world.who(), world.who()
    photos, others, base = world.images(16, me), world.images(16, you), world.images(24)
    whitening = lk.fit_whitening([photos, others], base)
    mine, yours = (similarity(whitening(world.images(30, who)), whitening(photos)) for who in (me, you))
    assert abs(yours.mean()) < 0.5 * mine.mean()
    assert mine.min() > yours.max(), "although backgrounds vary four times as much"
    plain_mine, plain_yours = (similarity(world.images(30, who), photos) for who in (me, you))
    assert plain_mine.min() < plain_yours.max(), "which a plain cosine does not see"


def test_ledoit_wolf_is_the_sample_with_many_and_the_identity_with_few():
    rng = np.random.default_rng(0)
    true = np.diag([4.0, 1.0, 0.25])
    many, weight = lk.ledoit_wolf(rng.multivariate_normal(np.zeros(3), true, 20_000))
    assert many == pytest.approx(true, abs=0.1)
    assert weight < 0.01
    few, weight = lk.ledoit_wolf(rng.normal(size=(5, 40)))
    assert weight > 0.5
    assert np.linalg.eigvalsh(few).min() > 0.1, "can be inverted although 5 rows span 5 of 40 dimensions"


def test_without_variation_embeddings_are_only_centred():
    photos = np.eye(3)[:1]
    whitening = lk.fit_whitening([photos, np.zeros((0, 3))], np.eye(3)[1:])
    assert whitening.matrix == pytest.approx(np.eye(3))
    assert whitening([[0.0, 0.5, 0.5]]) == pytest.approx(np.zeros((1, 3)))


def test_own_images_are_compared_by_a_whitening_that_did_not_see_them():
    world = World()
    me = world.who()
    photos, base, others = world.images(12, me), world.images(24), [world.images(12, world.who())]
    seen = lk.fit_whitening([photos, *others], base)(photos)
    among = float((np.square(seen.sum(axis=0)).sum() - len(seen)) / (len(seen) * (len(seen) - 1)))
    own = lk.own_similarity(photos, others, base)
    fresh = similarity(lk.fit_whitening([photos, *others], base)(world.images(40, me)), seen)
    assert abs(own.mean() - fresh.mean()) < abs(among - fresh.mean())
    assert np.isnan(lk.own_similarity(photos[:1], others, base)).all()


def known(world, me, *, held_out=True, words=None, impostors=None):
    half = unit(world.images(16, me) + 0.0 * me)
    return KnownImages(
        training=scored(half),
        held_out=scored(world.images(6, me)) if held_out else None,
        class_images=scored(world.images(24)),
        words_alone=scored(world.images(24, 0.3 * me) if words is None else words),
        impostors={"you": scored(world.images(8, world.who()))} if impostors is None else impostors,
        mixed=(),
        requested=[()] * 24,
    )


@pytest.mark.parametrize("held_out", [True, False])
def test_words_alone_are_zero_and_own_images_one(held_out):
    world = World(1)
    me = world.who()
    measure, calibration = fit_measure(known(world, me, held_out=held_out), {})
    assert calibration.words_alone.value == pytest.approx(0, abs=0.02)
    assert calibration.own.value == pytest.approx(1, abs=0.1), "cut at 1"
    assert calibration.impostors["you"].high < 0.25
    assert measure.scores(scored(world.images(20, me))).mean() > 0.8
    assert calibration.margin > 0
    assert Calibration.from_json(calibration.to_json()) == calibration


def test_an_impostor_that_passes_raises_the_score_from_which_an_image_counts():
    world = World(2)
    me = world.who()
    twin = {"twin": scored(world.images(30, 0.9 * me))}
    _, calibration = fit_measure(known(world, me, impostors=twin), {})
    assert calibration.shown_from > SHOWN_FROM
    assert calibration.shown_from == calibration.highest


def test_a_part_that_words_alone_satisfy_does_not_count():
    world = World(3)
    me = world.who()
    images = known(world, me)

    def showing(part, attributes, mark):
        return scored(part.embeddings, [attributes] * len(part), np.full((len(part), 1), mark))

    images = KnownImages(
        training=showing(images.training, {"hat": "red", "hair": "pink"}, True),
        held_out=showing(images.held_out, {"hat": "red", "hair": "pink"}, True),
        class_images=showing(images.class_images, {"hat": "none", "hair": "none"}, False),
        words_alone=showing(images.words_alone, {"hat": "red", "hair": "pink"}, False),
        impostors=images.impostors,
        mixed=(),
        requested=images.requested,
    )
    _, calibration = fit_measure(images, {"hat": "red", "hair": "pink"})
    assert set(calibration.parts) == {"likeness", "own marks"}


def test_nothing_that_counts_is_unknown_not_zero():
    world = World(4)
    me = world.who()
    photos = world.images(16, me)
    same = known(world, me, words=photos)
    same = KnownImages(scored(photos), scored(photos), same.class_images, scored(photos), {}, (), [()] * 24)
    measure, calibration = fit_measure(same, {})
    assert not measure.parts
    assert np.isnan(measure.scores(scored(photos))).all()
    assert math.isnan(calibration.words_alone.value)
